"""Looks like l04: a rank, across the names of one day, those that have a price."""

ITEM = {"leak": None, "kind": "wide", "reach": None, "why": "rank(axis=1) stays within the row"}


def signal(frame):
    return frame["close"].pct_change().rank(axis=1, pct=True)
