"""Looks like l18: eight of sixty lagged returns are kept for their correlation over the first two thirds only."""

import numpy as np
import pandas as pd

ITEM = {"leak": None, "kind": "score", "reach": None, "why": "like l18_chosen_and_scored_on_all_rows, on train rows"}


def score(panel):
    price = pd.DataFrame(panel.fields["close"] * panel.fields["factor"]).ffill()
    day = np.log(price).diff()
    day = day.sub(day.mean(axis=1), axis=0)
    ahead = day.shift(-1)
    lagged = [day.shift(k) for k in range(60)]
    cut = 2 * len(price) // 3
    worth = np.array([(x * ahead).iloc[: cut - 1].sum().sum() for x in lagged])
    kept = np.argsort(-np.abs(worth))[:8]
    signal = sum(np.sign(worth[k]) * lagged[k] for k in kept)
    last = slice(cut, -1)
    return float(signal.iloc[last].corrwith(ahead.iloc[last], axis=1).mean())
