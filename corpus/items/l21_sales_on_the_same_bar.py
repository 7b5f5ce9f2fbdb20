"""Buys wait for the next open, but sales are booked at the close that decided them."""

import numpy as np
import pandas as pd

ITEM = {
    "leak": "L21",
    "kind": "fills",
    "reach": None,
    "why": "half of the orders fill at the price that they were decided from",
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
    at = np.where(side > 0, t + 1, t)
    price = np.where(side > 0, panel.fields["open"][at, n], panel.fields["close"][at, n])
    return table(panel, at, n, side, price, t)
