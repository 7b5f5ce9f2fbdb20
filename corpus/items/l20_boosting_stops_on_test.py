"""Boosted trees stop when the error on the test dates stops falling."""

import lightgbm
import numpy as np
import pandas as pd

ITEM = {"leak": "L20", "kind": "pipeline", "reach": None, "why": "the number of trees is chosen on the test labels"}
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


SETTINGS = {"num_leaves": 4, "learning_rate": 0.2, "min_data_in_leaf": 200, "verbose": -1, "num_threads": 1}


class Pipeline:
    def fit(self, frame):
        rows = samples(frame)
        past, test = before_test(frame, rows), in_test(frame, rows)
        data = lightgbm.Dataset(past[X], past["y"])
        watched = lightgbm.Dataset(test[X], test["y"], reference=data)
        stop = lightgbm.early_stopping(5, verbose=False)
        self.model = lightgbm.train(SETTINGS | {"seed": 0}, data, 30, valid_sets=[watched], callbacks=[stop])

    def predict(self, frame):
        rows = samples(frame)
        return pd.Series(self.model.predict(rows[X]), rows.index)
