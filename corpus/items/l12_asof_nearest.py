"""A survey taken every second Monday is joined to the days by the nearest date, the coming one as well."""

import pandas as pd

ITEM = {
    "leak": "L12",
    "kind": "frame",
    "reach": 4,
    "why": "from Tuesday on the coming Monday is nearer: four sessions ahead",
}


def signal(frame):
    days = frame["volume"].rename("today").reset_index()
    survey = frame["volume"].iloc[::10].rename("survey").reset_index()
    joined = pd.merge_asof(days, survey, on="date", direction="nearest")
    return (joined["today"] / joined["survey"]).to_numpy()
