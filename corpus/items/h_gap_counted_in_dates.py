"""Looks like l14: a panel is cut by row numbers, but the gap counts whole dates."""

import numpy as np

ITEM = {
    "leak": None,
    "kind": "splitter",
    "reach": None,
    "why": "like l14_gap_counted_in_rows, with HORIZON * PER_DATE rows left out",
}
HORIZON = 5
PER_DATE = 24


def splits(n):
    cut = int(0.7 * n) // PER_DATE * PER_DATE
    return [(np.arange(cut - HORIZON * PER_DATE), np.arange(cut, n))]
