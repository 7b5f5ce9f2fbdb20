"""Looks like l15: pairs of blocks are tested in the midst of train samples, purged by the label on each side."""

import itertools

import numpy as np

ITEM = {
    "leak": None,
    "kind": "splitter",
    "reach": None,
    "why": "like l15_combinations_purged_too_little, with HORIZON samples left out around each block",
}
HORIZON = 5
PER_DATE = 1


def splits(n):
    blocks = np.array_split(np.arange(n), 6)
    out = []
    for pair in itertools.combinations(range(6), 2):
        test = np.concatenate([blocks[k] for k in pair])
        near = np.unique(test[:, None] + np.arange(-HORIZON, HORIZON + 1))
        out.append((np.setdiff1d(np.arange(n), near), test))
    return out
