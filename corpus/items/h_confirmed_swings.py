"""Looks like l02: swing highs, marked on the bar at which three lower bars have confirmed them."""

ITEM = {"leak": None, "kind": "frame", "reach": None, "why": "the mark is set three bars after the high"}
SIDE = 3


def signal(frame):
    high = frame["high"].ffill()
    around = high.rolling(2 * SIDE + 1).max()
    return (high.shift(SIDE) >= around).astype(float)
