"""Looks like l01: a forward return is computed, and used only when it is known, five bars later."""

ITEM = {"leak": None, "kind": "frame", "reach": None, "why": "shift(5) of the label undoes its shift(-5)"}
HORIZON = 5


def label(frame):
    return frame["close"].shift(-HORIZON) / frame["close"] - 1.0


def signal(frame):
    return label(frame).shift(HORIZON)
