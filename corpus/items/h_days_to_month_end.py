"""Looks like l32: days to the end of the month, from the calendar and not from the rows that follow."""

import numpy as np

ITEM = {"leak": None, "kind": "frame", "reach": None, "why": "the length of a month is known ahead"}


def signal(frame):
    left = frame.index.days_in_month - frame.index.day
    return frame["close"].pct_change() * np.asarray(left, float)
