"""Looks like l29: orders for suspended days are in the table, with no shares and no price."""

import numpy as np
import pandas as pd

ITEM = {"leak": None, "kind": "fills", "reach": None, "why": "an order that was not filled is no fill"}


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

    price = np.where(np.isfinite(bar["open"]), bar["open"], 0.0)
    made = table(panel, t + 1, n, side, price, t)
    return made.assign(shares=np.where(price > 0, 100, 0), price=np.where(price > 0, price, np.nan))
