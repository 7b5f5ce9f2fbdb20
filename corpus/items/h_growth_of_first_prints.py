"""Looks like l27: growth of earnings over a quarter, from first prints at both ends."""

ITEM = {
    "leak": None,
    "kind": "long",
    "reach": None,
    "why": "like l27_restated_growth, from the field that is never restated",
}
VINTAGES = True


def signal(frame):
    return frame.groupby("symbol")["first_earnings"].pct_change(60, fill_method=None)
