"""Looks like l19: one reversal book, decided beforehand, whose costs make its Sharpe ratio negative on noise."""

import numpy as np

ITEM = {"leak": None, "kind": "score", "reach": None, "why": "one rule, one bar later, after costs"}


def score(panel):
    close = panel.fields["close"] * panel.fields["factor"]
    day = np.nan_to_num(np.diff(close, axis=0) / close[:-1])
    held = -np.sign(day - day.mean(axis=1, keepdims=True))[:-1]
    earned = (held * day[1:]).mean(axis=1)
    traded = np.abs(np.diff(held, axis=0, prepend=0.0)).mean(axis=1)
    net = earned - 0.0005 * traded
    return float(net.mean() / net.std() * np.sqrt(252))
