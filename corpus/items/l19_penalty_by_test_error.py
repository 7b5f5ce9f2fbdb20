"""Seven penalties are tried and the one with the smallest error on the test dates is kept."""

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge

ITEM = {"leak": "L19", "kind": "pipeline", "reach": None, "why": "the hyper-parameter is chosen on the test labels"}
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


def in_test(frame, rows):
    """The rows of the test dates with their labels."""
    days = frame.index.get_level_values("date").unique()
    first = days[int(np.ceil(len(days) * TEST))]
    return rows[rows.index.get_level_values("date") >= first].dropna()


class Pipeline:
    def fit(self, frame):
        rows = samples(frame)
        past, test = before_test(frame, rows), in_test(frame, rows)
        tried = [Ridge(10.0**k).fit(past[X], past["y"]) for k in range(-4, 3)]
        errors = [np.square(m.predict(test[X]) - test["y"]).mean() for m in tried]
        self.model = tried[int(np.argmin(errors))]

    def predict(self, frame):
        rows = samples(frame)
        return pd.Series(self.model.predict(rows[X]), rows.index)
