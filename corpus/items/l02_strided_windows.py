"""Windows from a stride trick are written to the row at which they start, not to the row at which they end."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

ITEM = {"leak": "L02", "kind": "frame", "reach": 9, "why": "row t gets the window t .. t + 9"}
WINDOW = 10


def signal(frame):
    close = frame["close"].ffill().to_numpy()
    out = np.full(len(close), np.nan)
    if len(close) >= WINDOW:
        out[: len(close) - WINDOW + 1] = sliding_window_view(close, WINDOW).std(axis=1)
    return out
