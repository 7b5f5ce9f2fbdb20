"""Expanding windows with a gap of three dates before the test, for labels of five dates."""

import numpy as np
from sklearn.model_selection import TimeSeriesSplit

ITEM = {"leak": "L14", "kind": "splitter", "reach": None, "why": "the gap is shorter than the label"}
HORIZON = 5
PER_DATE = 1


def splits(n):
    return list(TimeSeriesSplit(5, gap=HORIZON - 2).split(np.zeros((n, 1))))
