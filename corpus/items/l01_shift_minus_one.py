"""The return to the next bar is handed out as a feature: the next close is not known yet."""

ITEM = {"leak": "L01", "kind": "frame", "reach": 1, "why": "close.shift(-1) is tomorrow's close"}


def signal(frame):
    return frame["close"].shift(-1) / frame["close"] - 1.0
