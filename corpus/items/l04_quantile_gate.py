"""A gate opens on days of high range, where 'high' is a quantile of the whole sample: only a 0 or 1 comes out."""

ITEM = {"leak": "L04", "kind": "frame", "reach": "end", "why": "the threshold is a quantile over all rows"}


def signal(frame):
    span = frame["high"] / frame["low"] - 1.0
    return (span > span.quantile(0.8)).astype(float)
