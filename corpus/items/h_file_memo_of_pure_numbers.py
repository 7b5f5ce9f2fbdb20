"""Looks like l32: a module-level memo outlives the call, but it holds weights that depend on their length alone."""

import functools

import numpy as np

ITEM = {"leak": None, "kind": "file", "reach": None, "why": "what earlier calls left is what this call would compute"}


@functools.cache
def weights(length):
    return np.exp(-np.arange(length)[::-1] / length)


def signal(frame):
    w = weights(15)
    return frame["close"].rolling(15).apply(lambda v: v @ w / w.sum(), raw=True) / frame["close"]
