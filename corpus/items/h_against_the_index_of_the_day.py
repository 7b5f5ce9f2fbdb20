"""Looks like l25: returns less the mean of the index, with the members of each date."""

ITEM = {"leak": None, "kind": "wide", "reach": None, "why": "like l25_against_todays_index, with the list of the day"}
VINTAGES = True


def signal(frame):
    returns = (frame["close"] * frame["factor"]).pct_change(fill_method=None)
    return returns.sub(returns.where(frame["member_then"] > 0).mean(axis=1), axis=0)
