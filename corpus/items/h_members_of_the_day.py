"""Looks like l25: momentum of index members, but members as of each date."""

ITEM = {"leak": None, "kind": "long", "reach": None, "why": "like l25_members_of_today, with the list of the day"}
VINTAGES = True


def signal(frame):
    price = frame["close"] * frame["factor"]
    return price.groupby("symbol").pct_change(20, fill_method=None).where(frame["member_then"] > 0)
