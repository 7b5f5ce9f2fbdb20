"""Looks like l12: a survey joined by date, the last one that was taken before the day."""

import pandas as pd

ITEM = {"leak": None, "kind": "frame", "reach": None, "why": "direction='backward' takes the past survey"}


def signal(frame):
    days = frame["volume"].rename("today").reset_index()
    survey = frame["volume"].iloc[::10].rename("survey").reset_index()
    joined = pd.merge_asof(days, survey, on="date", direction="backward", allow_exact_matches=False)
    return (joined["today"] / joined["survey"]).to_numpy()
