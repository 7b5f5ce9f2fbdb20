"""Looks like l02: np.convolve, in mode 'full' and cut to the first T numbers, which end at their row."""

import numpy as np

ITEM = {"leak": None, "kind": "frame", "reach": None, "why": "the first T numbers of the full convolution are causal"}


def signal(frame):
    values = np.log1p(frame["volume"].ffill().to_numpy())
    return np.convolve(values, np.ones(7) / 7.0, mode="full")[: len(values)]
