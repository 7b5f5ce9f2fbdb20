"""Earnings over price, with earnings as the vendor shows them today."""

ITEM = {
    "leak": "L27",
    "kind": "frame",
    "reach": None,
    "why": "a third of the first prints was restated after sixty bars",
}
VINTAGES = True


def signal(frame):
    return frame["earnings"] / (frame["close"] * frame["factor"])
