"""Swing highs are marked on the bar of the high, although they can be told only three lower bars later."""

import numpy as np

ITEM = {"leak": "L02", "kind": "frame", "reach": 3, "why": "a high is confirmed by the three bars after it"}
SIDE = 3


def signal(frame):
    high = frame["high"].ffill().to_numpy()
    padded = np.concatenate([np.full(SIDE, -np.inf), high, np.full(SIDE, -np.inf)])
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * SIDE + 1)
    peak = high >= around.max(axis=1)
    return np.where(peak, 1.0, 0.0)
