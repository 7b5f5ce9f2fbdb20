"""Looks like l01: the lag is a difference of two settings, in the right order."""

FAST, SLOW = 9, 10

ITEM = {"leak": None, "kind": "frame", "reach": None, "why": "SLOW - FAST is one bar back"}


def signal(frame):
    return frame["close"].rolling(SLOW, min_periods=2).mean() / frame["close"].shift(SLOW - FAST) - 1.0
