"""A table of alarms by date is joined to the bar of that date, although they were sent after its close."""

import pandas as pd

ITEM = {
    "leak": "L30",
    "kind": "frame",
    "reach": None,
    "why": "dates without a time of day; the table is in the source, so that no data can be changed to show it",
}


ALARMS = {"2018-05-08": -2, "2018-07-19": 1, "2018-09-12": -1, "2018-11-21": 2, "2019-01-30": -1}


def signal(frame):
    tone = pd.Series(ALARMS, pd.DatetimeIndex(list(ALARMS))).reindex(frame.index).ffill(limit=5).fillna(0)
    return tone + frame["close"].pct_change(5, fill_method=None)
