"""Folds purged of samples that begin within the test fold's labels, but not of those that end there."""

import numpy as np

ITEM = {
    "leak": "L15",
    "kind": "splitter",
    "reach": None,
    "why": "the purge compares begins only: labels of earlier train samples end inside the test",
}
HORIZON = 5
PER_DATE = 1


def splits(n):
    out = []
    begin = np.arange(n)
    for test in np.array_split(begin, 5):
        touched = (begin >= test[0]) & (begin <= test[-1] + HORIZON)
        out.append((begin[~touched], test))
    return out
