"""Looks like l01: a shift, but to the past: yesterday's close against today's."""

ITEM = {"leak": None, "kind": "frame", "reach": None, "why": "shift(1) brings the past to the row"}


def signal(frame):
    return frame["close"] / frame["close"].shift(1) - 1.0
