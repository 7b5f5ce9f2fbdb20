"""Looks like l30: filings are joined by date alone, but with a lag of one session, which makes any hour safe."""

ITEM = {"leak": None, "kind": "long", "reach": None, "why": "like l30_filings_of_the_weekend_on_friday, lagged"}
EVENTS = {
    "known_at": [
        "2018-02-08 21:00", "2018-04-13 09:30", "2018-06-05 16:15", "2018-08-20 20:00", "2018-10-22 12:00",
        "2018-12-14 18:30",
    ],
    "symbol": ["MADE01", "MADE03", "MADE01", "MADE07", "MADE03", "MADE07"],
    "surprise": [0.4, -1.2, 0.9, 2.1, -0.3, 1.4],
}  # fmt: skip


def signal(frame, events):
    day = events["known_at"].dt.normalize()
    filed = events.assign(date=day).set_index(["date", "symbol"])["surprise"].unstack()
    sessions = frame.index.get_level_values("date").unique()
    table = filed.reindex(sessions).shift(1).ffill(limit=20).reindex(columns=frame.index.levels[1])
    return table.stack().reindex(frame.index).fillna(0.0)
