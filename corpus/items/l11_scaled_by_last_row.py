"""Windows are divided by their last row, and the last row of a training window is the label."""

import numpy as np

ITEM = {"leak": "L11", "kind": "frame", "reach": 1, "why": "the divisor is the price of the label row"}
INPUTS = 8


def signal(frame):
    close = frame["close"].ffill().to_numpy()
    out = np.full(len(close), np.nan)
    for t in range(INPUTS - 1, len(close) - 1):
        sample = close[t - INPUTS + 1 : t + 2]
        inputs = sample[:-1] / sample[-1]
        out[t] = inputs.mean()
    return out
