"""The usual ffill().bfill(): the bfill is meant for the head, but the ffill is limited to two bars."""

ITEM = {"leak": "L03", "kind": "wide", "reach": None, "why": "what the limited ffill leaves is filled from later bars"}


def signal(frame):
    close = frame["close"]
    return close.ffill(limit=2).bfill().pct_change(3)
