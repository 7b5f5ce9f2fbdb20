"""Looks like l14: expanding windows right before the test, but with a gap as long as the label."""

import numpy as np
from sklearn.model_selection import TimeSeriesSplit

ITEM = {"leak": None, "kind": "splitter", "reach": None, "why": "like l14_gap_too_short, with gap = HORIZON"}
HORIZON = 5
PER_DATE = 1


def splits(n):
    return list(TimeSeriesSplit(5, gap=HORIZON).split(np.zeros((n, 1))))
