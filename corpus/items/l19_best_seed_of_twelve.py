"""A random-weight model is run with twelve seeds on the test stretch, and the luckiest seed is the one reported."""

import numpy as np

ITEM = {"leak": "L19", "kind": "trials", "reach": None, "why": "each seed that was looked at is a trial"}


def trials(panel):
    close = panel.fields["close"] * panel.fields["factor"]
    day = np.nan_to_num(np.diff(close, axis=0) / close[:-1])
    lags = np.stack([np.roll(day, k, axis=0) for k in range(10)], axis=-1)[10:-1]
    books = []
    for seed in range(12):
        hidden = np.random.default_rng(seed).standard_normal((10, 8))
        out = np.tanh(lags @ hidden * 30).sum(axis=-1)
        books.append(((out - out.mean(axis=1, keepdims=True)) * day[11:]).mean(axis=1))
    return {"returns": np.column_stack(books)[len(day) // 2 :]}
