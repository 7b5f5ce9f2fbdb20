"""A momentum's information coefficient is taken with the return of the bar that the momentum already contains."""

import pandas as pd

ITEM = {"leak": "L11", "kind": "score", "reach": None, "why": "the label ends at the decision"}


def score(panel):
    close = pd.DataFrame(panel.fields["close"] * panel.fields["factor"]).ffill()
    momentum = close / close.shift(5) - 1
    label = close / close.shift(1) - 1
    by_date = momentum.rank(axis=1).corrwith(label.rank(axis=1), axis=1)
    return by_date.to_numpy()
