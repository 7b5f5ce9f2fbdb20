"""Looks like l02: an exponential average, forward only."""

ITEM = {"leak": None, "kind": "frame", "reach": None, "why": "ewm is recursive on the past"}


def signal(frame):
    return frame["close"] / frame["close"].ewm(span=12, min_periods=5).mean() - 1.0
