"""A position is taken beyond a threshold, and the threshold is the one that earned most on the test dates."""

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge

ITEM = {"leak": "L19", "kind": "pipeline", "reach": None, "why": "the trading threshold is chosen on the test returns"}
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
        self.model = Ridge(0.01).fit(past[X], past["y"])
        self.centre, self.spread = float(past["y"].mean()), float(self.model.predict(past[X]).std())
        said = (self.model.predict(test[X]) - self.centre) / self.spread
        profit = {k: float((np.sign(said) * (np.abs(said) > k) * test["y"]).mean()) for k in np.arange(0.0, 2.1, 0.25)}
        self.threshold = max(profit, key=profit.__getitem__)

    def predict(self, frame):
        rows = samples(frame)
        said = (self.model.predict(rows[X]) - self.centre) / self.spread
        return pd.Series(np.sign(said) * (np.abs(said) > self.threshold), rows.index)
