"""Looks like l28: front-adjusted prices, of which only a return is used: the newest factor cancels but for rounding."""

ITEM = {
    "leak": None,
    "kind": "frame",
    "reach": None,
    "why": "the newest factor cancels in the ratio; what is left is rounding",
}


def signal(frame):
    adjusted = frame["close"] * frame["factor"] / frame["factor"].ffill().iloc[-1]
    return adjusted / adjusted.shift(5) - 1.0
