"""Outliers are clipped at the 2 % and 98 % points of the whole sample: most numbers do not change at all."""

ITEM = {"leak": "L04", "kind": "frame", "reach": "end", "why": "clip bounds are quantiles over all rows"}


def winsorise(column):
    return column.clip(column.quantile(0.02), column.quantile(0.98))


def signal(frame):
    return winsorise(frame["close"].pct_change(3))
