"""The first seventy percent of the dates train, the rest test."""

import numpy as np

ITEM = {
    "leak": "L14",
    "kind": "splitter",
    "reach": None,
    "why": "no purge: the last five train labels end inside the test dates",
}
HORIZON = 5
PER_DATE = 1


def splits(n):
    cut = int(0.7 * n)
    return [(np.arange(cut), np.arange(cut, n))]
