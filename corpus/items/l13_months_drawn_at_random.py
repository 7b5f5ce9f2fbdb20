"""Whole months are drawn at random for the test, which keeps the days of a month together."""

import numpy as np

ITEM = {
    "leak": "L13",
    "kind": "splitter",
    "reach": None,
    "why": "labels cross the ends of the months, on both sides of a dozen test months",
}
HORIZON = 5
PER_DATE = 1


def splits(n):
    month = np.arange(n) // 21
    drawn = np.random.default_rng(0).permutation(month[-1] + 1)[::2]
    test = np.isin(month, drawn)
    return [(np.flatnonzero(~test), np.flatnonzero(test))]
