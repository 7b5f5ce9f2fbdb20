"""The tone of each article is joined in time, but centred and scaled by all articles of the archive."""

import pandas as pd

ITEM = {"leak": "L04", "kind": "frame", "reach": "end", "why": "later articles move the mean and spread of the tone"}
EVENTS = {
    "known_at": ["2018-01-09 08:00", "2018-04-17 09:00", "2018-07-10 08:30", "2018-10-23 12:00", "2019-02-05 10:00"],
    "tone": [0.2, -0.5, 0.9, -0.1, 0.6],
}


def signal(frame, events):
    tone = events.rename(columns={"known_at": "at"})
    tone["z"] = (tone["tone"] - tone["tone"].mean()) / tone["tone"].std()
    rows = pd.DataFrame({"at": frame.index + pd.Timedelta(hours=15)})
    return pd.Series(pd.merge_asof(rows, tone, on="at")["z"].to_numpy(), frame.index)
