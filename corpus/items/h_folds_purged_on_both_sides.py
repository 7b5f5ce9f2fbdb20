"""Looks like l15: train samples lie after the test fold too, but both sides are purged by the label."""

import numpy as np

ITEM = {
    "leak": None,
    "kind": "splitter",
    "reach": None,
    "why": "like l15_folds_without_embargo, with HORIZON dates left out before and after",
}
HORIZON = 5
PER_DATE = 1


def splits(n):
    out = []
    for test in np.array_split(np.arange(n), 5):
        before, after = np.arange(max(0, test[0] - HORIZON)), np.arange(test[-1] + 1 + HORIZON, n)
        out.append((np.concatenate([before, after]), test))
    return out
