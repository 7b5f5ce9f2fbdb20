"""Eight of sixty lagged returns are kept for their correlation over all dates, then scored on the last third."""

import numpy as np
import pandas as pd

ITEM = {"leak": "L18", "kind": "score", "reach": None, "why": "the inputs were chosen on the dates that judge them"}


def score(panel):
    price = pd.DataFrame(panel.fields["close"] * panel.fields["factor"]).ffill()
    day = np.log(price).diff()
    day = day.sub(day.mean(axis=1), axis=0)
    ahead = day.shift(-1)
    lagged = [day.shift(k) for k in range(60)]
    worth = np.array([(x * ahead).sum().sum() for x in lagged])
    kept = np.argsort(-np.abs(worth))[:8]
    signal = sum(np.sign(worth[k]) * lagged[k] for k in kept)
    last = slice(2 * len(price) // 3, -1)
    return float(signal.iloc[last].corrwith(ahead.iloc[last], axis=1).mean())
