"""A Gaussian blur of the price path: an image filter that knows nothing of time and weighs both sides alike."""

import numpy as np
from scipy.ndimage import gaussian_filter1d

ITEM = {"leak": "L02", "kind": "frame", "reach": 8, "why": "sigma 2 cut at 4 sigma reaches 8 bars to both sides"}


def signal(frame):
    path = np.log(frame["close"].ffill().to_numpy())
    return path - gaussian_filter1d(path, sigma=2.0, truncate=4.0, mode="nearest")
