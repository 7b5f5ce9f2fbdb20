"""Looks like l04: the distance to a maximum, to that of the past."""

ITEM = {"leak": None, "kind": "frame", "reach": None, "why": "cummax goes forward"}


def signal(frame):
    close = frame["close"].ffill()
    return close / close.cummax() - 1.0
