"""Looks like l11: a momentum's information coefficient by date, with the return of the bar after the decision."""

import pandas as pd

ITEM = {"leak": None, "kind": "score", "reach": None, "why": "like l11_scored_with_its_own_bar, one bar later"}


def score(panel):
    close = pd.DataFrame(panel.fields["close"] * panel.fields["factor"]).ffill()
    momentum = close / close.shift(5) - 1
    label = close.shift(-1) / close - 1
    by_date = momentum.rank(axis=1).corrwith(label.rank(axis=1), axis=1)
    return by_date.to_numpy()
