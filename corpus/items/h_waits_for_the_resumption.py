"""Looks like l29: orders are placed during suspensions, but fill at the first open after them."""

import numpy as np
import pandas as pd

ITEM = {
    "leak": None,
    "kind": "fills",
    "reach": None,
    "why": "like l29_sold_while_suspended, with the order carried over instead of the price",
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
    rows = np.where(np.isfinite(panel.fields["open"]), np.arange(len(panel.sessions))[:, None], np.nan)
    resumed = pd.DataFrame(rows).bfill().shift(-1).to_numpy()[t, n]
    keep = np.isfinite(resumed)
    t, n, side, at = t[keep], n[keep], side[keep], resumed[keep].astype(int)
    return table(panel, at, n, side, panel.fields["open"][at, n], t)
