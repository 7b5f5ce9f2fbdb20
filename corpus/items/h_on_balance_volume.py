"""A cumulative sum over the whole sample: it looks global, and is the past only."""

import numpy as np

ITEM = {"leak": None, "kind": "frame", "reach": None, "why": "cumsum ends at the row"}


def signal(frame):
    direction = np.sign(frame["close"].ffill().diff()).fillna(0.0)
    return (direction * frame["volume"].fillna(0.0)).cumsum()
