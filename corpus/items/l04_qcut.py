"""Volume is cut into five states with equal counts over the whole sample."""

import pandas as pd

ITEM = {"leak": "L04", "kind": "frame", "reach": "end", "why": "qcut's bin edges are quantiles over all rows"}


def signal(frame):
    return pd.qcut(frame["volume"], 5, labels=False, duplicates="drop")
