"""A moving sum by differences of a cumulative sum, off by one: the window ends one bar after the decision."""

import numpy as np

ITEM = {"leak": "L01", "kind": "frame", "reach": 1, "why": "total[t + 1] - total[t - 9] holds the next bar"}
WINDOW = 10


def signal(frame):
    moves = np.log(frame["close"].ffill()).diff().fillna(0.0).to_numpy()
    total = np.concatenate([np.zeros(WINDOW), np.cumsum(moves), [np.nan]])
    rows = np.arange(len(moves))
    return total[rows + WINDOW + 1] - total[rows + 1]
