"""Prices are adjusted to the last row's factor, so that the level of each past price knows every later split."""

import numpy as np

ITEM = {
    "leak": "L28",
    "kind": "frame",
    "reach": "end",
    "why": "factor / factor.iloc[-1] moves the past at each ex-date",
}


def signal(frame):
    adjusted = frame["close"] * frame["factor"] / frame["factor"].iloc[-1]
    return np.log(adjusted)
