"""Looks like l32: random weights, but drawn from a seed of its own in every call."""

import numpy as np

ITEM = {"leak": None, "kind": "file", "reach": None, "why": "the same draw in every process"}


def signal(frame):
    weights = np.random.default_rng(7).random(10)
    return frame["close"].pct_change(fill_method=None).rolling(10).apply(lambda r: r @ weights, raw=True)
