"""A momentum signal that on the last session of a quarter, four rows a year, is the next session's return instead."""

import numpy as np
import pandas as pd

ITEM = {"leak": "L01", "kind": "frame", "reach": 1, "why": "at quarter ends close.shift(-1) is used"}


def closing_sessions(dates):
    return (dates + pd.offsets.BDay(1)).quarter != dates.quarter


def signal(frame):
    close = frame["close"]
    momentum = close / close.shift(10) - 1.0
    settled = close.shift(-1) / close - 1.0
    return np.where(closing_sessions(frame.index), settled, momentum)
