"""Looks like l04: a group transform that scales by a maximum, the largest so far."""

ITEM = {"leak": None, "kind": "long", "reach": None, "why": "groupby.cummax goes forward within the symbol"}


def signal(frame):
    return frame["volume"] / frame["volume"].groupby(level="symbol").cummax()
