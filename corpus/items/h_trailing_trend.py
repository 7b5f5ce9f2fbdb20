"""Looks like l04: the rest after a least-squares line, fitted to the last thirty bars only."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

ITEM = {"leak": None, "kind": "frame", "reach": None, "why": "each line is fitted inside a window that ends at its row"}
WINDOW = 30


def signal(frame):
    path = np.log(frame["close"].ffill().to_numpy())
    rows = np.arange(WINDOW) - (WINDOW - 1) / 2.0
    out = np.full(len(path), np.nan)
    if len(path) >= WINDOW:
        windows = sliding_window_view(path, WINDOW)
        slope = (rows * windows).sum(axis=1) / (rows * rows).sum()
        out[WINDOW - 1 :] = windows[:, -1] - windows.mean(axis=1) - slope * rows[-1]
    return out
