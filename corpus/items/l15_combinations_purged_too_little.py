"""All pairs of six blocks are tested; two samples are purged on each side, for labels of five."""

import itertools

import numpy as np

ITEM = {
    "leak": "L15",
    "kind": "splitter",
    "reach": None,
    "why": "combinatorial split with a purge shorter than the label",
}
HORIZON = 5
PER_DATE = 1


def splits(n):
    blocks = np.array_split(np.arange(n), 6)
    out = []
    for pair in itertools.combinations(range(6), 2):
        test = np.concatenate([blocks[k] for k in pair])
        near = np.unique(test[:, None] + np.arange(-2, 3))
        out.append((np.setdiff1d(np.arange(n), near), test))
    return out
