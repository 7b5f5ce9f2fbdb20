"""Looks like l21: some orders lie before the first bar or after the last, where nothing can be compared."""

import numpy as np
import pandas as pd

ITEM = {
    "leak": None,
    "kind": "fills",
    "reach": None,
    "why": "every order fills a session after its decision, the bars cover only part of the table",
}


def orders(panel):
    """After each bar: buy the fifth that fell most in five bars, sell the fifth that rose most."""
    price = pd.DataFrame(panel.fields["close"] * panel.fields["factor"])
    rank = price.pct_change(5, fill_method=None).rank(axis=1, pct=True).to_numpy()
    t, n = np.nonzero((rank <= 0.2) | (rank > 0.8))
    return t, n, np.where(rank[t, n] <= 0.2, 1, -1)


def table(panel, t, n, side, price, decided):
    """The fills that have a price."""
    made = {"date": panel.sessions[t], "symbol": np.array(panel.symbols)[n], "side": np.where(side > 0, "buy", "sell")}
    made |= {"shares": 100, "price": price, "decided": panel.sessions[decided]}
    return pd.DataFrame(made)[np.isfinite(price)]


def fills(panel):
    t, n, side = orders(panel)
    keep = t + 1 < len(panel.sessions)
    t, n, side = t[keep], n[keep], side[keep]
    bar = {name: panel.fields[name][t + 1, n] for name in ("open", "high", "low", "close")}

    made = table(panel, t + 1, n, side, bar["open"], t)
    earlier = made.head(40).assign(date=lambda m: m["date"] - pd.Timedelta(days=700))
    return pd.concat([earlier.assign(decided=earlier["date"] - pd.Timedelta(days=1)), made])
