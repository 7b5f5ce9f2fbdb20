"""Looks like l02: a centred window, moved by its half width so that it ends at the decision."""

ITEM = {"leak": None, "kind": "frame", "reach": None, "why": "shift(5) gives the five bars back"}


def signal(frame):
    return frame["close"].ffill().rolling(11, center=True).mean().shift(5)
