"""Rows lose weight with their age, counted from today."""

import datetime as dt

ITEM = {
    "leak": "L32",
    "kind": "file",
    "reach": None,
    "why": "the numbers of the past change with the day on which they are computed",
}


def signal(frame):
    age = (dt.datetime.now(dt.UTC) - frame.index.tz_localize("UTC")).days
    return frame["close"].pct_change(5, fill_method=None) * 0.999**age
