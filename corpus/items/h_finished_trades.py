"""Looks like l02: the result of six-bar trades, entered at the row at which the trade has ended."""

import numpy as np

ITEM = {"leak": None, "kind": "frame", "reach": None, "why": "row t holds the trade that began at t - 6"}
HOLD = 6


def signal(frame):
    close = frame["close"].ffill().to_numpy()
    out = np.full(len(close), np.nan)
    for t in range(len(close) - HOLD):
        out[t + HOLD] = close[t + HOLD] / close[t] - 1.0
    return out
