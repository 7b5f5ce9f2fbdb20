"""Looks like l30: alarms are joined as of the decision at 15:00, so that those of the evening count the next day."""

import pandas as pd

ITEM = {"leak": None, "kind": "frame", "reach": None, "why": "like l30_after_close_on_the_same_bar, joined by the hour"}
EVENTS = {
    "known_at": [
        "2018-03-06 17:20", "2018-05-08 16:05", "2018-07-19 18:40", "2018-09-12 15:00", "2018-11-21 10:10",
        "2019-01-30 16:30",
    ],
    "alarm": [1, -2, 1, -1, 2, -1],
}  # fmt: skip


def signal(frame, events):
    rows = pd.DataFrame({"at": frame.index + pd.Timedelta(hours=15)})
    told = events.rename(columns={"known_at": "at"})
    alarm = pd.merge_asof(rows, told, on="at", tolerance=pd.Timedelta(days=7))["alarm"].fillna(0)
    return pd.Series(alarm.to_numpy(), frame.index) + frame["close"].pct_change(5, fill_method=None)
