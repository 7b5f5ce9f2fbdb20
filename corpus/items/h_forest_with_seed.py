"""Looks like l07 and l32: random trees on random rows, but every draw comes from a fixed seed."""

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestRegressor

ITEM = {
    "leak": None,
    "kind": "pipeline",
    "reach": None,
    "why": "a seeded random forest on purged train rows gives the same trees twice",
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
        past = before_test(frame, samples(frame))
        forest = RandomForestRegressor(3, max_depth=3, max_samples=0.2, random_state=0)
        self.model = forest.fit(past[X], past["y"])

    def predict(self, frame):
        rows = samples(frame)
        return pd.Series(self.model.predict(rows[X]), rows.index)
