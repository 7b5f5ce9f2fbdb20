"""The week's high, computed in its own table, comes back to the days by a merge on symbol and week."""

ITEM = {
    "leak": "L12",
    "kind": "long",
    "reach": 4,
    "why": "the merge key is the week, not a date at which the high is known",
}


def signal(frame):
    table = frame[["close", "high"]].reset_index()
    table["week"] = table["date"].dt.to_period("W")
    weeks = table.groupby(["symbol", "week"], as_index=False)["high"].max().rename(columns={"high": "week_high"})
    table = table.merge(weeks, on=["symbol", "week"], how="left").set_index(["date", "symbol"])
    return table["close"] / table["week_high"] - 1.0
