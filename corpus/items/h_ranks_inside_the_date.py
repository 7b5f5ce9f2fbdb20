"""Looks like l04: inputs are ranked among all names, at predict time too, but only among those of the same date."""

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge

ITEM = {
    "leak": None,
    "kind": "pipeline",
    "reach": None,
    "why": "a rank inside the date needs no later row, for train and for test dates alike",
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
        past = before_test(frame, self.ranked(frame))
        self.model = Ridge(1.0).fit(past[X], past["y"])

    def ranked(self, frame):
        rows = samples(frame)
        rows[X] = rows[X].groupby("date").rank(pct=True)
        return rows

    def predict(self, frame):
        rows = self.ranked(frame)
        return pd.Series(self.model.predict(rows[X]), rows.index)
