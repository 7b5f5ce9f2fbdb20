"""Momentum of the names that have bars in the last twenty sessions of the file."""

ITEM = {
    "leak": "L24",
    "kind": "long",
    "reach": "end",
    "why": "names that stopped trading are dropped from the whole past",
}


def signal(frame):
    dates = frame.index.get_level_values("date")
    tail = frame[dates.isin(dates.unique()[-3:])]
    alive = tail["close"].groupby("symbol").count()
    kept = frame.index.isin(alive.index[alive == 3], level="symbol")
    price = (frame["close"] * frame["factor"]).where(kept)
    return price.groupby("symbol").pct_change(20, fill_method=None)
