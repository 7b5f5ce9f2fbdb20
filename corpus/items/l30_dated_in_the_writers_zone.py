"""Notes on the opening are written at 9:35 in Shanghai and dated by a server in New York, a day earlier."""

import pandas as pd

ITEM = {
    "leak": "L30",
    "kind": "frame",
    "reach": 1,
    "why": "a note is joined to the session before the one whose open it quotes",
}


def signal(frame):
    price = frame[["open", "close"]].mul(frame["factor"], axis=0).dropna()
    at = (price.index + pd.Timedelta(hours=9, minutes=35)).tz_localize("Asia/Shanghai")
    dated = at.tz_convert("America/New_York").tz_localize(None).normalize()
    notes = pd.DataFrame({"date": dated, "tone": (price["open"] / price["close"].shift()).to_numpy() - 1})
    joined = pd.merge_asof(frame[[]].reset_index(), notes.dropna(), on="date")
    return pd.Series(joined["tone"].to_numpy(), frame.index)
