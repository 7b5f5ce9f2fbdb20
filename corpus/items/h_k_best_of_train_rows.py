"""Looks like l18: three inputs of twenty are selected by their labels, but on the train rows only."""

import numpy as np
import pandas as pd
from sklearn.feature_selection import SelectKBest, f_regression
from sklearn.linear_model import Ridge

ITEM = {
    "leak": None,
    "kind": "pipeline",
    "reach": None,
    "why": "nested selection: like l18_k_best_of_all_rows, with labels that end before the test",
}
TEST = 0.6
HORIZON = 5


def samples(frame):
    """Twenty trailing returns as inputs "r1" to "r20" and the return of the next HORIZON days."""
    price = np.log(frame["close"] * frame["factor"]).unstack().ffill()
    made = {f"r{k}": price - price.shift(k) for k in range(1, 21)}
    made["y"] = price.shift(-HORIZON) - price
    return pd.DataFrame({name: values.stack() for name, values in made.items()}).dropna(subset=[*made][:-1])


def before_test(frame, rows, purged=HORIZON):
    """Of the rows, those whose label ends before the test dates begin."""
    days = frame.index.get_level_values("date").unique()
    last = days[int(np.ceil(len(days) * TEST)) - purged]
    return rows[rows.index.get_level_values("date") < last].dropna()


class Pipeline:
    def fit(self, frame):
        past = before_test(frame, samples(frame))
        selector = SelectKBest(f_regression, k=3).fit(past.drop(columns="y"), past["y"])
        self.chosen = [str(name) for name in selector.get_feature_names_out()]
        self.model = Ridge(1.0).fit(past[self.chosen], past["y"])

    def predict(self, frame):
        rows = samples(frame)
        return pd.Series(self.model.predict(rows[self.chosen]), rows.index)
