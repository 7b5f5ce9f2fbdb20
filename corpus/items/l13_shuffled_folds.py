"""Five folds of shuffled samples, as the defaults of many tutorials have them."""

import numpy as np
from sklearn.model_selection import KFold

ITEM = {
    "leak": "L13",
    "kind": "splitter",
    "reach": None,
    "why": "train samples lie on both sides of every test sample, their labels overlap",
}
HORIZON = 5
PER_DATE = 1


def splits(n):
    return list(KFold(5, shuffle=True, random_state=0).split(np.zeros((n, 1))))
