"""Looks like l13 and l16: train dates are drawn at random with replacement, all of them before the test."""

import numpy as np

ITEM = {"leak": None, "kind": "splitter", "reach": None, "why": "a seeded bootstrap inside the purged train stretch"}
HORIZON = 5
PER_DATE = 1


def splits(n):
    cut = int(0.7 * n)
    draw = np.random.default_rng(0)
    return [(draw.integers(0, cut - HORIZON, cut), np.arange(cut, n)) for _ in range(5)]
