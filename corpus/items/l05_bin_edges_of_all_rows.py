"""Inputs are put into ten bins of equal count; the edges are quantiles of the whole sample."""

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge

ITEM = {"leak": "L05", "kind": "pipeline", "reach": None, "why": "quantile edges over the test dates"}
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
        rows = samples(frame)
        self.edges = np.quantile(rows[X], np.arange(0.1, 1.0, 0.1), axis=0).T
        past = before_test(frame, rows)
        self.model = Ridge(1.0).fit(self.bins(past), past["y"])

    def bins(self, rows):
        return np.column_stack([np.searchsorted(e, rows[name]) for e, name in zip(self.edges, X, strict=True)])

    def predict(self, frame):
        rows = samples(frame)
        return pd.Series(self.model.predict(self.bins(rows)), rows.index)
