"""A moving average by np.convolve in mode 'same': numpy centres the kernel on the row."""

import numpy as np

ITEM = {"leak": "L02", "kind": "frame", "reach": 3, "why": "mode 'same' centres the kernel of seven"}


def signal(frame):
    values = np.log1p(frame["volume"].ffill().to_numpy())
    return np.convolve(values, np.ones(7) / 7.0, mode="same")
