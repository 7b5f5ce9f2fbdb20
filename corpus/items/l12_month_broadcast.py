"""The month's last close is broadcast to all days of the month by a group transform."""

ITEM = {"leak": "L12", "kind": "frame", "reach": 22, "why": "a month of 23 sessions: its first day holds its last"}


def signal(frame):
    month = frame.index.to_period("M")
    return frame["close"] / frame["close"].groupby(month).transform("last") - 1.0
