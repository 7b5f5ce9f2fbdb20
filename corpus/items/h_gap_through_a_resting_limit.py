"""Looks like l21_open_of_a_bar_it_knows: fills at the open, no decision dates, bars that often go their way."""

import numpy as np
import pandas as pd

ITEM = {
    "leak": None,
    "kind": "fills",
    "reach": None,
    "why": "an order that rests at the last close fills at the open of a bar that opens beyond it",
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

    last = panel.fields["close"][t, n]
    through = np.where(side > 0, bar["open"] < last, bar["open"] > last)
    return table(panel, t + 1, n, side, np.where(through, bar["open"], np.nan), t).drop(columns="decided")
