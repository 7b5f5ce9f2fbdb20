"""Filings are joined as of the end of their week, so that Friday's close knows what was filed on Saturday."""

import pandas as pd

ITEM = {"leak": "L30", "kind": "long", "reach": 1, "why": "Friday's row takes filings up to Sunday's afternoon"}
EVENTS = {
    "known_at": [
        "2018-02-10 11:00", "2018-04-14 09:30", "2018-06-05 10:15", "2018-08-18 20:00", "2018-10-20 12:00",
        "2018-12-15 18:30",
    ],
    "symbol": ["MADE01", "MADE03", "MADE01", "MADE07", "MADE03", "MADE07"],
    "surprise": [0.4, -1.2, 0.9, 2.1, -0.3, 1.4],
}  # fmt: skip


def signal(frame, events):
    rows = frame[[]].reset_index()
    until = rows["date"].where(rows["date"].dt.day_of_week < 4, rows["date"] + pd.Timedelta(days=2))
    rows["until"] = until + pd.Timedelta(hours=15)
    told = events.rename(columns={"known_at": "at"}).sort_values("at")
    joined = pd.merge_asof(
        rows.sort_values("until"), told, left_on="until", right_on="at", by="symbol", tolerance=pd.Timedelta(days=20)
    )
    return joined.set_index(["date", "symbol"])["surprise"].reindex(frame.index).fillna(0.0)
