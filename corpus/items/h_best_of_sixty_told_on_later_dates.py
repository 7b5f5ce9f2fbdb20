"""Looks like l19: sixty signals are tried on the first half, and the best one is reported on the second."""

import numpy as np
import pandas as pd

ITEM = {"leak": None, "kind": "score", "reach": None, "why": "like l19_best_of_sixty_signals, on unseen dates"}


def ranked(values):
    """Ranks by date, of mean 0 and length 1: the sum of two products is their rank correlation."""
    ranks = values.rank(axis=1).sub(values.rank(axis=1).mean(axis=1), axis=0)
    return ranks.div(np.sqrt((ranks**2).sum(axis=1)), axis=0).to_numpy()


def score(panel):
    close = pd.DataFrame(panel.fields["close"] * panel.fields["factor"]).ffill()
    day = close.pct_change()
    ahead = ranked(day.shift(-1))
    half = len(close) // 2
    daily = [np.nansum(ranked(day.shift(k)) * ahead, axis=1)[60:-1] for k in range(60)]
    ics = [np.mean(values[: half - 61]) for values in daily]
    best = int(np.argmax(np.abs(ics)))
    return float(np.sign(ics[best]) * np.mean(daily[best][half - 60 :]))
