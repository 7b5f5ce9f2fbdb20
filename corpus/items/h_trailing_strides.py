"""Looks like l02: windows from a stride trick, written to the row at which they end."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

ITEM = {"leak": None, "kind": "frame", "reach": None, "why": "row t gets the window t - 9 .. t"}
WINDOW = 10


def signal(frame):
    close = frame["close"].ffill().to_numpy()
    out = np.full(len(close), np.nan)
    if len(close) >= WINDOW:
        out[WINDOW - 1 :] = sliding_window_view(close, WINDOW).std(axis=1)
    return out
