"""A helper adjusts by multiplying the steps of later splits from the end backward, as vendors describe it."""

ITEM = {"leak": "L28", "kind": "frame", "reach": "end", "why": "the product over later steps is a front adjustment"}


def adjust(frame):
    step = (frame["factor"] / frame["factor"].shift(1)).fillna(1.0)
    later = step[::-1].cumprod()[::-1].shift(-1).fillna(1.0)
    return frame["close"] / later


def signal(frame):
    return adjust(frame)
