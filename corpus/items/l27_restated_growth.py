"""Growth of earnings over a quarter, both ends taken from the latest snapshot."""

ITEM = {"leak": "L27", "kind": "long", "reach": None, "why": "both ends of the ratio are restated later"}
VINTAGES = True


def signal(frame):
    return frame.groupby("symbol")["earnings"].pct_change(60, fill_method=None)
