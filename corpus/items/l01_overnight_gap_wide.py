"""The overnight gap is measured from today's close to tomorrow's open and used at today's close, for all names."""

ITEM = {"leak": "L01", "kind": "wide", "reach": 1, "why": "open.shift(-1) is tomorrow's open"}


def signal(frame):
    gap = frame["open"].shift(-1) / frame["close"] - 1.0
    return gap.sub(gap.mean(axis=1), axis=0)
