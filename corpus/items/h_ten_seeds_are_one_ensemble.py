"""Looks like l19: ten seeds are run on the test stretch, but their average is traded, decided so beforehand."""

import numpy as np

ITEM = {"leak": None, "kind": "trials", "reach": None, "why": "like l19_best_seed_of_twelve, nothing is chosen"}


def trials(panel):
    close = panel.fields["close"] * panel.fields["factor"]
    day = np.nan_to_num(np.diff(close, axis=0) / close[:-1])
    lags = np.stack([np.roll(day, k, axis=0) for k in range(10)], axis=-1)[10:-1]
    votes = 0.0
    for seed in range(10):
        hidden = np.random.default_rng(seed).standard_normal((10, 8))
        votes = votes + np.tanh(lags @ hidden * 30).sum(axis=-1)
    book = ((votes - votes.mean(axis=1, keepdims=True)) * day[11:]).mean(axis=1)
    return {"returns": book[len(day) // 2 :, None]}
