"""Looks like l03: gaps are filled, with the last price that was known."""

ITEM = {"leak": None, "kind": "frame", "reach": None, "why": "ffill carries the past"}


def signal(frame):
    return frame["close"].ffill(limit=10).pct_change(5)
