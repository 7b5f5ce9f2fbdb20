"""Looks like l04: the tone of each article is scaled by the articles that came before it, then joined in time."""

import pandas as pd

ITEM = {"leak": None, "kind": "frame", "reach": None, "why": "like l04_tone_scaled_by_the_whole_archive, expanding"}
EVENTS = {
    "known_at": ["2018-01-09 08:00", "2018-04-17 09:00", "2018-07-10 08:30", "2018-10-23 19:00", "2019-02-05 10:00"],
    "tone": [0.2, -0.5, 0.9, -0.1, 0.6],
}


def signal(frame, events):
    tone = events.rename(columns={"known_at": "at"})
    tone["z"] = (tone["tone"] - tone["tone"].expanding().mean()) / tone["tone"].expanding().std()
    rows = pd.DataFrame({"at": frame.index + pd.Timedelta(hours=15)})
    return pd.Series(pd.merge_asof(rows, tone, on="at")["z"].to_numpy(), frame.index)
