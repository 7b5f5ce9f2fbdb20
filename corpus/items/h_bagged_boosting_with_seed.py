"""Looks like l07: boosted trees draw rows and columns at random, but from a seed, and stop after a fixed number."""

import lightgbm
import numpy as np
import pandas as pd

ITEM = {"leak": None, "kind": "pipeline", "reach": None, "why": "seeded bagging on purged train rows"}
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


SETTINGS = {"num_leaves": 4, "bagging_fraction": 0.5, "bagging_freq": 1, "feature_fraction": 0.7, "verbose": -1}


class Pipeline:
    def fit(self, frame):
        past = before_test(frame, samples(frame))
        settings = SETTINGS | {"seed": 0, "num_threads": 1, "deterministic": True}
        self.model = lightgbm.train(settings, lightgbm.Dataset(past[X], past["y"]), 15)

    def predict(self, frame):
        rows = samples(frame)
        return pd.Series(self.model.predict(rows[X]), rows.index)
