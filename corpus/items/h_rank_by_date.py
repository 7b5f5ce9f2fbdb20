"""Looks like l26: a long table is ranked by date, within the rows that the date has."""

ITEM = {"leak": None, "kind": "long", "reach": None, "why": "groupby('date').rank stays within the day"}


def signal(frame):
    return frame["close"].groupby(level="date").rank(pct=True)
