"""The length of the mean is taken from a variable of the environment."""

import os

ITEM = {"leak": "L32", "kind": "file", "reach": None, "why": "a setting outside code and data changes the numbers"}


def signal(frame):
    length = int(os.environ.get("SIGNAL_LENGTH", "20"))
    return frame["close"] / frame["close"].rolling(length, min_periods=1).mean()
