"""Momentum whose shift is a difference of two settings in the wrong order: the number is negative, the window ahead."""

FAST, SLOW = 9, 10

ITEM = {"leak": "L01", "kind": "frame", "reach": 1, "why": "shift(FAST - SLOW) is shift(-1)"}


def lag():
    return FAST - SLOW


def signal(frame):
    past = frame["close"].shift(lag())
    return frame["close"].rolling(SLOW, min_periods=2).mean() / past - 1.0
