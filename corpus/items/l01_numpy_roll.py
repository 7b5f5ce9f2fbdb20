"""A numpy translation of a lag with the sign of the roll mixed up, so that every row holds the next row's value."""

import numpy as np

ITEM = {"leak": "L01", "kind": "frame", "reach": 1, "why": "np.roll(x, -1) moves tomorrow to today"}


def lagged(values):
    return np.roll(values, -1)


def signal(frame):
    volume = np.log1p(frame["volume"].to_numpy())
    return volume - lagged(volume)
