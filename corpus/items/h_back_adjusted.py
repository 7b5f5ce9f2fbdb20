"""Looks like l28: adjusted price levels, anchored at the first row, so that a later split moves later prices only."""

import numpy as np

ITEM = {"leak": None, "kind": "frame", "reach": None, "why": "close * factor / factor.iloc[0] is a back adjustment"}


def signal(frame):
    return np.log(frame["close"] * frame["factor"] / frame["factor"].iloc[0])
