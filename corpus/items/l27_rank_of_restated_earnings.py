"""Names are ranked by earnings inside each date, out of the latest snapshot."""

ITEM = {
    "leak": "L27",
    "kind": "wide",
    "reach": None,
    "why": "a rank of restated numbers: few names change, all ranks move",
}
VINTAGES = True


def signal(frame):
    return frame["earnings"].rank(axis=1, pct=True)
