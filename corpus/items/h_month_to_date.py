"""Looks like l12: a group transform by month, but a running maximum within the month."""

ITEM = {"leak": None, "kind": "frame", "reach": None, "why": "cummax inside the month ends at the row"}


def signal(frame):
    month = frame.index.to_period("M")
    return frame["close"] / frame["high"].groupby(month).cummax() - 1.0
