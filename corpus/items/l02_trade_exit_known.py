"""Each day carries the result of the trade that starts there, cut by a stop: up to six bars ahead, in a numpy loop."""

import numpy as np

ITEM = {"leak": "L02", "kind": "frame", "reach": 6, "why": "the exit of a trade of at most six bars is looked up"}
HOLD, STOP = 6, 0.05


def signal(frame):
    close = frame["close"].ffill().to_numpy()
    out = np.full(len(close), np.nan)
    for t in range(len(close) - HOLD):
        path = close[t + 1 : t + 1 + HOLD] / close[t] - 1.0
        out[t] = path[(path < -STOP).argmax()] if path.min() < -STOP else path[-1]
    return out
