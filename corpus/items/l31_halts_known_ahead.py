"""Sessions until the next day without a bar, as a holiday feature."""

import numpy as np
import pandas as pd

ITEM = {
    "leak": "L31",
    "kind": "frame",
    "reach": 9,
    "why": "whether a later session was held is only known when it comes",
}


def signal(frame):
    rows = np.arange(len(frame))
    closed = pd.Series(np.where(frame["close"].isna(), rows, np.nan), frame.index).bfill()
    return (closed - rows).clip(upper=10).fillna(10)
