"""Fills at the open go with the move of the same bar, and nobody wrote down when they were decided."""

import numpy as np
import pandas as pd

ITEM = {
    "leak": "L21",
    "kind": "fills",
    "reach": None,
    "why": "the side is the sign of close over open, and no decision dates say otherwise",
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
    t, n, _ = orders(panel)
    side = np.where(panel.fields["close"][t, n] > panel.fields["open"][t, n], 1, -1)
    return table(panel, t, n, side, panel.fields["open"][t, n], t).drop(columns="decided")
