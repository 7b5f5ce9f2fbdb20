"""Turnover in front-adjusted shares: the last factor of each symbol is broadcast over its whole life."""

ITEM = {"leak": "L28", "kind": "long", "reach": "end", "why": "transform('last') of the factor is the newest one"}


def signal(frame):
    newest = frame["factor"].groupby(level="symbol").transform("last")
    return frame["volume"] * newest / frame["factor"]
