"""Looks like l27: earnings over price, but the earnings as they were first printed."""

ITEM = {
    "leak": None,
    "kind": "frame",
    "reach": None,
    "why": "like l27_restated_yield, from the field that is never restated",
}
VINTAGES = True


def signal(frame):
    return frame["first_earnings"] / (frame["close"] * frame["factor"])
