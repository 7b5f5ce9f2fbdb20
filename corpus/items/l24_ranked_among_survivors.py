"""The fifths are taken among the names that end above half of their first price, so that others fill the gaps."""

import numpy as np
import pandas as pd

ITEM = {
    "leak": "L24",
    "kind": "fills",
    "reach": None,
    "why": "like l24_fills_of_survivors, with places handed on to those who lived on",
}


def orders(panel):
    """After each bar: buy the fifth that fell most in five bars, sell the fifth that rose most, of those alive."""
    price = pd.DataFrame(panel.fields["close"] * panel.fields["factor"])
    alive = price.ffill().iloc[-1] > 0.5 * price.bfill().iloc[0]
    rank = price.pct_change(5, fill_method=None).where(alive, axis=1).rank(axis=1, pct=True).to_numpy()
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
    return table(panel, t + 1, n, side, panel.fields["open"][t + 1, n], t)
