"""Looks like l30: notes on the opening are joined by date, in the session's own zone."""

import pandas as pd

ITEM = {
    "leak": None,
    "kind": "frame",
    "reach": None,
    "why": "like l30_dated_in_the_writers_zone, with the zone of the exchange kept",
}


def signal(frame):
    price = frame[["open", "close"]].mul(frame["factor"], axis=0).dropna()
    at = (price.index + pd.Timedelta(hours=9, minutes=35)).tz_localize("Asia/Shanghai").tz_convert("UTC")
    dated = at.tz_convert("Asia/Shanghai").tz_localize(None).normalize()
    notes = pd.DataFrame({"date": dated, "tone": (price["open"] / price["close"].shift()).to_numpy() - 1})
    joined = pd.merge_asof(frame[[]].reset_index(), notes.dropna(), on="date")
    return pd.Series(joined["tone"].to_numpy(), frame.index)
