"""A quarter of the names is held out for the test; the others train on the same dates."""

import numpy as np

ITEM = {
    "leak": "L15",
    "kind": "splitter",
    "reach": None,
    "why": "rows of one date stand on both sides, and names move together",
}
HORIZON = 5
PER_DATE = 24


def splits(n):
    name = np.arange(n) % PER_DATE
    return [(np.flatnonzero(name % 4 != k), np.flatnonzero(name % 4 == k)) for k in range(4)]
