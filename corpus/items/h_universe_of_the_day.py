"""Looks like l26: the larger half of the market is ranked, by the volume of the last sixty bars."""

ITEM = {"leak": None, "kind": "wide", "reach": None, "why": "members are chosen anew each day from the past"}


def signal(frame):
    size = frame["volume"].rolling(60, min_periods=20).median()
    member = size.ge(size.median(axis=1), axis=0)
    return frame["close"].pct_change().where(member).rank(axis=1, pct=True)
