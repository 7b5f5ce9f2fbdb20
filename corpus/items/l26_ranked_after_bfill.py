"""Prices are filled backward before the cross-sectional rank, so that suspended and unlisted names are ranked."""

ITEM = {"leak": "L26", "kind": "wide", "reach": None, "why": "a name without a price is ranked by its first later one"}


def signal(frame):
    return frame["close"].bfill().rank(axis=1, pct=True)
