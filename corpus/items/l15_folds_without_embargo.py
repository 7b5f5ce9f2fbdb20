"""Folds of consecutive dates, purged before each test fold but not after it."""

import numpy as np

ITEM = {
    "leak": "L15",
    "kind": "splitter",
    "reach": None,
    "why": "train samples right after the test begin while test labels still run",
}
HORIZON = 5
PER_DATE = 1


def splits(n):
    out = []
    for test in np.array_split(np.arange(n), 5):
        before, after = np.arange(max(0, test[0] - HORIZON)), np.arange(test[-1] + 1, n)
        out.append((np.concatenate([before, after]), test))
    return out
