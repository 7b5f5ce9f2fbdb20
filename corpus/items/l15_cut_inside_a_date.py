"""A purged cut by rows of a panel falls in the middle of a date, whose names stand on both sides."""

import numpy as np

ITEM = {
    "leak": "L15",
    "kind": "splitter",
    "reach": None,
    "why": "the share of rows is no whole number of dates, and the purge counts rows",
}
HORIZON = 5
PER_DATE = 24


def splits(n):
    cut = int(0.7 * n) + PER_DATE // 2
    return [(np.arange(cut), np.arange(cut, n))]
