"""Sixty trailing signals are tried, and the best one is reported on the very stretch that chose it."""

import numpy as np
import pandas as pd

ITEM = {"leak": "L19", "kind": "score", "reach": None, "why": "the best of 60 is reported where it was chosen"}


def ranked(values):
    """Ranks by date, of mean 0 and length 1: the sum of two products is their rank correlation."""
    ranks = values.rank(axis=1).sub(values.rank(axis=1).mean(axis=1), axis=0)
    return ranks.div(np.sqrt((ranks**2).sum(axis=1)), axis=0).to_numpy()


def score(panel):
    close = pd.DataFrame(panel.fields["close"] * panel.fields["factor"]).ffill()
    day = close.pct_change()
    ahead = ranked(day.shift(-1))
    ics = [np.nanmean(np.nansum(ranked(day.shift(k)) * ahead, axis=1)[60:-1]) for k in range(60)]
    return float(np.max(np.abs(ics)))  # whoever was worst is best upside down
