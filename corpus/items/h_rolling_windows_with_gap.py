"""Looks like l14: a rolling year trains and the next quarter tests, with the label's length between them."""

import numpy as np

ITEM = {
    "leak": None,
    "kind": "splitter",
    "reach": None,
    "why": "like l14_rolling_windows_touch, with HORIZON dates left out",
}
HORIZON = 10
PER_DATE = 1


def splits(n):
    year, quarter = 120, 40
    starts = range(0, n - year - HORIZON - quarter + 1, quarter)
    return [(np.arange(s, s + year), np.arange(s + year + HORIZON, s + year + HORIZON + quarter)) for s in starts]
