"""Looks like l05: the model is fitted while it predicts, but each date only with labels that had ended by then."""

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge

ITEM = {
    "leak": None,
    "kind": "pipeline",
    "reach": None,
    "why": "purged walk-forward: the fit for a block of dates ends HORIZON dates before it",
}
TEST = 0.6
HORIZON = 5
X = ["day", "week", "risk"]


def samples(frame):
    """Three trailing inputs and the return of the next HORIZON days, NaN where it is not known yet."""
    price = np.log(frame["close"] * frame["factor"]).unstack()
    day = price.diff()
    made = {"day": day, "week": price - price.shift(5), "risk": day.rolling(20, min_periods=10).std()}
    made["y"] = price.shift(-HORIZON) - price
    return pd.DataFrame({name: values.stack() for name, values in made.items()}).dropna(subset=X)


def before_test(frame, rows, purged=HORIZON):
    """Of the rows, those whose label ends before the test dates begin."""
    days = frame.index.get_level_values("date").unique()
    last = days[int(np.ceil(len(days) * TEST)) - purged]
    return rows[rows.index.get_level_values("date") < last].dropna()


class Pipeline:
    def fit(self, frame):
        days = frame.index.get_level_values("date").unique()
        self.first = days[int(np.ceil(len(days) * TEST))]

    def predict(self, frame):
        rows = samples(frame)
        dates = rows.index.get_level_values("date")
        days = dates.unique()
        start = int(np.searchsorted(days, self.first))
        out = []
        for k in range(start, len(days), 40):
            past = rows[dates < days[k - HORIZON]].dropna()
            asked = rows[dates.isin(days[k : k + 40])]
            out.append(pd.Series(Ridge(0.1).fit(past[X], past["y"]).predict(asked[X]), asked.index))
        return pd.concat(out) if out else pd.Series(dtype=float, index=rows.index[:0])
