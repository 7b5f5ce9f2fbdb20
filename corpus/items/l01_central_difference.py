"""The slope of the log price by np.gradient, which takes central differences: half of it is the next bar's move."""

import numpy as np

ITEM = {"leak": "L01", "kind": "frame", "reach": 1, "why": "np.gradient uses x[t + 1] - x[t - 1]"}


def signal(frame):
    path = np.log(frame["close"].ffill().to_numpy())
    return np.gradient(path)
