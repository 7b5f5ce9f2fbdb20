"""A trend is fitted by least squares to all rows and taken off."""

import numpy as np

ITEM = {"leak": "L04", "kind": "frame", "reach": "end", "why": "polyfit sees the whole path"}


def trend(values, degree):
    rows = np.arange(len(values)) / 250.0
    return np.polyval(np.polyfit(rows, values, degree), rows)


def signal(frame):
    path = np.log(frame["close"].ffill().to_numpy())
    return path - trend(path, 2)
