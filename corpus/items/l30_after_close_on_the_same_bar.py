"""A table of alarms by date is joined to the bar of that date, although they were sent after its close."""

import pandas as pd

ITEM = {"leak": "L30", "kind": "frame", "reach": 1, "why": "sent in the evening, used at 15:00 of the same day"}
EVENTS = {
    "known_at": [
        "2018-03-06 17:20", "2018-05-08 16:05", "2018-07-19 18:40", "2018-09-12 15:45", "2018-11-21 20:10",
        "2019-01-30 16:30",
    ],
    "alarm": [1, -2, 1, -1, 2, -1],
}  # fmt: skip


def signal(frame, events):
    day = events["known_at"].dt.normalize()
    alarm = pd.Series(events["alarm"].to_numpy(), day).reindex(frame.index)
    return alarm.ffill(limit=5).fillna(0) + frame["close"].pct_change(5, fill_method=None)
