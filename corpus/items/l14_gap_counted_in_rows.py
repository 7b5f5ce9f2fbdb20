"""The gap is as long as the label, but it counts rows of a panel, and a date has twenty-four of them."""

import numpy as np

ITEM = {
    "leak": "L14",
    "kind": "splitter",
    "reach": None,
    "why": "five rows are not one date: the labels of five train dates reach into the test",
}
HORIZON = 5
PER_DATE = 24


def splits(n):
    cut = int(0.7 * n) // PER_DATE * PER_DATE
    return [(np.arange(cut - HORIZON), np.arange(cut, n))]
