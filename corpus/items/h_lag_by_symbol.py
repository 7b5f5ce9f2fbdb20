"""Looks like l01: a table of lagged values is merged back by date and symbol; the lag goes to the past."""

ITEM = {"leak": None, "kind": "long", "reach": None, "why": "groupby.shift(1) is yesterday's value"}


def signal(frame):
    before = frame["volume"].groupby(level="symbol").shift(1).rename("before").reset_index()
    table = frame["volume"].reset_index().merge(before, on=["date", "symbol"], how="left")
    return (table["volume"] / table["before"]).set_axis(frame.index)
