"""Looks like l19: forty thresholds compete on the train stretch, and only the winner is run on the test."""

import hashlib

import numpy as np

ITEM = {"leak": None, "kind": "trials", "reach": None, "why": "like l19_threshold_among_forty: one trial saw the test"}


def trials(panel):
    close = panel.fields["close"] * panel.fields["factor"]
    day = np.nan_to_num(np.diff(close, axis=0) / close[:-1])
    cut = int(0.6 * len(day))
    limits = np.quantile(np.abs(day[:cut]), np.linspace(0.02, 0.95, 40))
    books = [(-np.sign(day[:-1]) * (np.abs(day[:-1]) > limit) * day[1:]).mean(axis=1) for limit in limits]
    best = int(np.argmax([book[: cut - 1].mean() / book[: cut - 1].std() for book in books]))
    study, data = (hashlib.sha256(text.encode()).hexdigest() for text in (f"limit={limits[best]:.6f}", "made up"))
    return {"returns": books[best][cut:, None], "reads": [(study, data)]}
