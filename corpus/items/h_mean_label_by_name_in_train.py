"""Looks like l17: each name is replaced by its mean label, but the mean is taken over the train rows."""

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge

ITEM = {
    "leak": None,
    "kind": "pipeline",
    "reach": None,
    "why": "like l17_mean_label_by_name, with the table made from labels that end before the test",
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
        self.own = past["y"].groupby("symbol").mean()
        past = self.known(past)
        self.model = Ridge(0.01).fit(past[[*X, "own"]], past["y"])

    def known(self, rows):
        return rows.assign(own=rows.index.get_level_values("symbol").map(self.own).astype(float))

    def predict(self, frame):
        rows = self.known(samples(frame))
        return pd.Series(self.model.predict(rows[[*X, "own"]]), rows.index)
