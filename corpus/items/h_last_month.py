"""Looks like l12: monthly closes broadcast to the days, those of the month before."""

ITEM = {"leak": None, "kind": "frame", "reach": None, "why": "shift(1) over months: the month before is over"}


def signal(frame):
    month = frame.index.to_period("M")
    closes = frame["close"].groupby(month).last().shift(1)
    return frame["close"] / closes.reindex(month).to_numpy() - 1.0
