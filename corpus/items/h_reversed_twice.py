"""Looks like l01 and l02: a negative shift, on the reversed column, which is a shift to the past."""

ITEM = {"leak": None, "kind": "frame", "reach": None, "why": "reversing turns the sign of the shift round"}


def signal(frame):
    before = frame["close"][::-1].shift(-1)[::-1]
    return frame["close"] - before
