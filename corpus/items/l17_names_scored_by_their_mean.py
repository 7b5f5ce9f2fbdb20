"""Every name is scored by its mean next return over all dates, and that score is then judged on the same dates."""

import numpy as np

ITEM = {"leak": "L17", "kind": "score", "reach": None, "why": "a name's score is made of its own labels"}


def score(panel):
    close = np.log(panel.fields["close"] * panel.fields["factor"])
    ahead = close[1:] - close[:-1]
    ahead = ahead - np.nanmean(ahead, axis=1, keepdims=True)
    habit = np.nanmean(ahead, axis=0)
    earned = np.nansum(np.sign(habit) * ahead, axis=1)
    return float(earned.mean() / earned.std() * np.sqrt(252))
