"""Looks like l07: an online scaler, whose state starts anew at each call and meets the rows in their order."""

import numpy as np

ITEM = {"leak": None, "kind": "frame", "reach": None, "why": "Welford's mean and variance of the rows so far"}


class Scaler:
    def __init__(self):
        self.count, self.mean, self.square = 0, 0.0, 0.0

    def step(self, x):
        if not np.isfinite(x):
            return np.nan
        self.count += 1
        gap = x - self.mean
        self.mean += gap / self.count
        self.square += gap * (x - self.mean)
        return gap / np.sqrt(self.square / self.count) if self.count > 10 else np.nan


def signal(frame):
    scaler = Scaler()
    return np.array([scaler.step(x) for x in np.log(frame["volume"].to_numpy() + 1.0)])
