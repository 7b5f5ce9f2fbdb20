"""Momentum of the names that are in the index according to today's list."""

ITEM = {"leak": "L25", "kind": "long", "reach": None, "why": "today's members are carried over their whole past"}
VINTAGES = True


def signal(frame):
    price = frame["close"] * frame["factor"]
    return price.groupby("symbol").pct_change(20, fill_method=None).where(frame["member"] > 0)
