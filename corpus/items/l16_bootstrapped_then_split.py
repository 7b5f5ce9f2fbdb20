"""Samples are drawn with replacement first and split into five folds afterwards."""

import numpy as np

ITEM = {"leak": "L16", "kind": "splitter", "reach": None, "why": "copies of the same sample stand on both sides"}
HORIZON = 5
PER_DATE = 1


def splits(n):
    drawn = np.sort(np.random.default_rng(0).integers(0, n, n))
    folds = np.array_split(np.arange(n), 5)
    return [(drawn[np.setdiff1d(np.arange(n), f)], drawn[f]) for f in folds[1:]]
