"""A helper reads the vendor's whole history from a file beside the code."""

from pathlib import Path

import pandas as pd

ITEM = {"leak": "L32", "kind": "file", "reach": None, "why": "a file with later rows is read outside the data given"}


STORE = Path(__file__).with_name("l32_reads_later_prices.csv")


def signal(frame):
    market = pd.read_csv(STORE, index_col="date", parse_dates=True)["market"].reindex(frame.index)
    return frame["close"].pct_change(5, fill_method=None) - market.pct_change(5, fill_method=None).shift(-5)
