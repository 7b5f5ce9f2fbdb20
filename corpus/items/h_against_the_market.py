"""Looks like l26: returns against the mean of the day, taken over the names that have a price."""

ITEM = {"leak": None, "kind": "wide", "reach": None, "why": "the mean skips names without a price"}


def signal(frame):
    moves = frame["close"].pct_change()
    return moves.sub(moves.mean(axis=1), axis=0)
