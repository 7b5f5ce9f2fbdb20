"""Looks like l20: descent keeps its best round, judged on the last train dates behind a gap for the labels."""

import numpy as np
import pandas as pd
from sklearn.preprocessing import StandardScaler

ITEM = {
    "leak": None,
    "kind": "pipeline",
    "reach": None,
    "why": "like l20_best_round_on_test, with a validation stretch that ends before the test",
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
        dates = past.index.get_level_values("date")
        days = dates.unique()
        cut = int(0.8 * len(days))
        fit, valid = past[dates < days[cut - HORIZON]], past[dates >= days[cut]]
        self.scaler = StandardScaler().fit(fit[X])
        x, watched = self.scaler.transform(fit[X]), self.scaler.transform(valid[X])
        self.weights, self.best_round = descend(x, fit["y"].to_numpy(), watched, valid["y"].to_numpy())

    def predict(self, frame):
        rows = samples(frame)
        return pd.Series(self.scaler.transform(rows[X]) @ self.weights, rows.index)


def descend(x, y, watched, wanted, rounds=60):
    """Gradient descent that keeps the weights with the smallest error on the watched rows, and their round."""
    w, best, kept = np.zeros(x.shape[1]), np.inf, (np.zeros(x.shape[1]), 0)
    for i in range(rounds):
        w = w - 0.05 * x.T @ (x @ w - y) / len(y)
        error = np.square(watched @ w - wanted).mean()
        if error < best:
            best, kept = error, (w, i)
    return kept
