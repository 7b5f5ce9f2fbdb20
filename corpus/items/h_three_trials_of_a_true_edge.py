"""Looks like l19: the best of three books is reported, in a market made with an edge that no luck explains."""

import numpy as np

ITEM = {"leak": None, "kind": "trials", "reach": None, "why": "the deflated Sharpe ratio of the best of 3 holds"}


def trials(panel):
    draw = np.random.default_rng(11)
    rows, names = panel.fields["close"].shape
    noise = 0.02 * draw.standard_normal((rows, names))
    day = noise.copy()
    for t in range(1, rows):
        day[t] -= 0.08 * day[t - 1]  # what rose falls back: known beforehand, and true
    books = [(-np.sign(day[:-1]) * (np.abs(day[:-1]) > limit) * day[1:]).mean(axis=1) for limit in (0.0, 0.01, 0.02)]
    return {"returns": np.column_stack(books)}
