"""The day's volume is ranked among all days of the sample, later ones too."""

ITEM = {"leak": "L04", "kind": "frame", "reach": "end", "why": "rank(pct=True) over time counts later days"}


def signal(frame):
    return frame["volume"].rank(pct=True)
