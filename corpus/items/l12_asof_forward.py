"""A survey taken every ten sessions is joined forward, as if the period it closes carried its start date."""

import pandas as pd

ITEM = {
    "leak": "L12",
    "kind": "long",
    "reach": 9,
    "why": "direction='forward' takes the next survey, up to nine sessions ahead",
}


def signal(frame):
    days = frame["close"].reset_index().sort_values("date", kind="stable")
    dates = days["date"].drop_duplicates().iloc[::10]
    survey = days[days["date"].isin(dates)].rename(columns={"close": "survey"})
    joined = pd.merge_asof(days, survey, on="date", by="symbol", direction="forward")
    return (joined["close"] / joined["survey"]).set_axis(pd.MultiIndex.from_frame(days[["date", "symbol"]]))
