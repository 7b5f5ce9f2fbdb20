"""A year of dates trains, the next quarter tests, and the window rolls on without a gap."""

import numpy as np

ITEM = {
    "leak": "L14",
    "kind": "splitter",
    "reach": None,
    "why": "each train window ends the day before its test begins",
}
HORIZON = 10
PER_DATE = 1


def splits(n):
    year, quarter = 120, 40
    starts = range(0, n - year - quarter + 1, quarter)
    return [(np.arange(s, s + year), np.arange(s + year, s + year + quarter)) for s in starts]
