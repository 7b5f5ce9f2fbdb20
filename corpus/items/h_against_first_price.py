"""Looks like l04: a price scaled by one number for all rows, the first price, which every row knows."""

ITEM = {"leak": None, "kind": "frame", "reach": None, "why": "the first known price is in everyone's past"}


def signal(frame):
    close = frame["close"]
    return close / close.loc[close.first_valid_index()] if close.notna().any() else close
