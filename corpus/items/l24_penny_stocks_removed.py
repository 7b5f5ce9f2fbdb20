"""Names that end below half of their highest price are taken out of the table before anything is ranked."""

ITEM = {
    "leak": "L24",
    "kind": "wide",
    "reach": "end",
    "why": "the losers of the whole sample are missing from every cross-section",
}


def signal(frame):
    price = frame["close"] * frame["factor"]
    last = price.ffill().iloc[-1]
    kept = last.index[last > 0.5 * price.max()]
    return price[kept].pct_change(10, fill_method=None).rank(axis=1, pct=True).reindex(columns=price.columns)
