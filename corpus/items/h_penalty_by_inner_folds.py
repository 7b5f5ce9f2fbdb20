"""Looks like l19: seven penalties are tried, but on folds inside the train dates with a gap for the labels."""

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge
from sklearn.model_selection import TimeSeriesSplit

ITEM = {
    "leak": None,
    "kind": "pipeline",
    "reach": None,
    "why": "like l19_penalty_by_test_error, with TimeSeriesSplit over train dates and gap = HORIZON",
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
        errors = np.zeros(7)
        for inner, outer in TimeSeriesSplit(2, gap=HORIZON).split(dates.unique()):
            a, b = (past[dates.isin(dates.unique()[i])].to_numpy() for i in (inner, outer))
            for k in range(7):
                tried = Ridge(10.0 ** (k - 4)).fit(a[:, :3], a[:, 3])
                errors[k] += np.square(tried.predict(b[:, :3]) - b[:, 3]).sum()
        self.model = Ridge(10.0 ** (int(errors.argmin()) - 4)).fit(past[X], past["y"])

    def predict(self, frame):
        rows = samples(frame)
        return pd.Series(self.model.predict(rows[X]), rows.index)
