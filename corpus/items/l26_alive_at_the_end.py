"""Ranks are taken within the names that still trade on the last row of the sample."""

ITEM = {"leak": "L26", "kind": "wide", "reach": "end", "why": "the universe is chosen by the last row"}


def survivors(close):
    return close.columns[close.iloc[-1].notna()]


def signal(frame):
    close = frame["close"]
    return close[survivors(close)].pct_change().rank(axis=1, pct=True).reindex(columns=close.columns)
