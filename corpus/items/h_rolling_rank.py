"""Looks like l04: a rank over time, within the last sixty bars."""

ITEM = {"leak": None, "kind": "frame", "reach": None, "why": "rolling(60).rank ends at the row"}


def signal(frame):
    return frame["volume"].rolling(60, min_periods=10).rank(pct=True)
