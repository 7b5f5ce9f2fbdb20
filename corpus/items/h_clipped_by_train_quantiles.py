"""Looks like l04: inputs are clipped at quantiles over time, but over the train dates."""

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge

ITEM = {"leak": None, "kind": "pipeline", "reach": None, "why": "bounds come from rows before the test, and are kept"}
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
        past = before_test(frame, samples(frame))
        self.low, self.high = past[X].quantile(0.02), past[X].quantile(0.98)
        self.model = Ridge(0.1).fit(self.clipped(past), past["y"])

    def clipped(self, rows):
        return rows[X].clip(self.low, self.high, axis=1)

    def predict(self, frame):
        rows = samples(frame)
        return pd.Series(self.model.predict(self.clipped(rows)), rows.index)
