"""A 'bagged' momentum at prediction: past returns mixed with weights drawn anew in every call, without a seed."""

import numpy as np

ITEM = {"leak": "L07", "kind": "frame", "reach": None, "why": "default_rng() without a seed: no two runs are equal"}
LAGS = (5, 10, 20)


def signal(frame):
    weights = np.random.default_rng().dirichlet(np.ones(len(LAGS)))
    close = frame["close"]
    return sum(weight * (close / close.shift(lag) - 1.0) for lag, weight in zip(LAGS, weights, strict=True))
