"""Looks like l23: orders at the open are dropped at the price limit, but only when the open itself is there."""

import numpy as np
import pandas as pd

ITEM = {
    "leak": None,
    "kind": "fills",
    "reach": None,
    "why": "like l23_limit_asked_at_the_close, with the open alone deciding",
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


def limits(panel):
    """Highest and lowest price of each bar: three percent around the last close."""
    last = pd.DataFrame(panel.fields["close"]).ffill().shift().to_numpy()
    return 1.03 * last, 0.97 * last


def fills(panel):
    t, n, side = orders(panel)
    keep = t + 1 < len(panel.sessions)
    t, n, side = t[keep], n[keep], side[keep]
    bar = {name: panel.fields[name][t + 1, n] for name in ("open", "high", "low", "close")}
    up, down = (values[t + 1, n] for values in limits(panel))
    opens = np.where(side > 0, bar["open"] < up, bar["open"] > down)

    return table(panel, t + 1, n, side, np.where(opens, bar["open"], np.nan), t)
