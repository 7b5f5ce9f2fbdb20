"""The entry threshold of a reversal book is the one with the highest Sharpe ratio, which is also the one printed."""

import numpy as np

ITEM = {"leak": "L19", "kind": "score", "reach": None, "why": "60 books compete on the returns that are reported"}


def score(panel):
    close = panel.fields["close"] * panel.fields["factor"]
    day = np.nan_to_num(np.diff(close, axis=0) / close[:-1])
    ahead = day[1:] - day[1:].mean(axis=1, keepdims=True)
    sharpes = []
    for span in (1, 2, 3, 5, 8, 13, 21, 34, 55, 89):
        total = np.cumsum(day, axis=0)
        move = total.copy()
        move[span:] -= total[:-span]
        move = (move / (move.std(axis=1, keepdims=True) + 1e-9))[:-1]
        for limit in (0.0, 0.5, 1.0):
            for side in (-1, 1):
                held = side * np.sign(move) * (np.abs(move) > limit)
                earned = (held * ahead).mean(axis=1)
                sharpes.append(earned.mean() / earned.std())
    return float(max(sharpes) * np.sqrt(252))
