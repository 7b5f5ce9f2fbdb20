"""The learning rate is halved whenever the error on the test dates did not fall."""

import numpy as np
import pandas as pd
from sklearn.preprocessing import StandardScaler

ITEM = {
    "leak": "L20",
    "kind": "pipeline",
    "reach": None,
    "why": "a schedule that watches the test labels moves the weights",
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


def in_test(frame, rows):
    """The rows of the test dates with their labels."""
    days = frame.index.get_level_values("date").unique()
    first = days[int(np.ceil(len(days) * TEST))]
    return rows[rows.index.get_level_values("date") >= first].dropna()


class Pipeline:
    def fit(self, frame):
        rows = samples(frame)
        past, test = before_test(frame, rows), in_test(frame, rows)
        self.scaler = StandardScaler().fit(past[X])
        x, y, watched = self.scaler.transform(past[X]), past["y"].to_numpy(), self.scaler.transform(test[X])
        rate, last, self.weights = 0.5, np.inf, np.zeros(x.shape[1])
        for _ in range(10):
            self.weights = self.weights - rate * x.T @ (x @ self.weights - y) / len(y)
            error = np.square(watched @ self.weights - test["y"]).mean()
            rate, last = (rate if error < last else rate / 2), error

    def predict(self, frame):
        rows = samples(frame)
        return pd.Series(self.scaler.transform(rows[X]) @ self.weights, rows.index)
