"""The input is the mean label of rows of similar risk, from a table made over the whole sample."""

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge

ITEM = {"leak": "L17", "kind": "pipeline", "reach": None, "why": "group means of the label over the test dates"}
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


EDGES = np.arange(0.012, 0.03, 0.002)


class Pipeline:
    def fit(self, frame):
        rows = samples(frame)
        self.encodings_ = rows["y"].groupby(np.searchsorted(EDGES, rows["risk"])).mean().to_dict()
        past = before_test(frame, rows)
        self.model = Ridge(0.001).fit(self.known(past), past["y"])

    def known(self, rows):
        codes = pd.Series(np.searchsorted(EDGES, rows["risk"]), rows.index)
        return np.column_stack([rows["week"], codes.map(self.encodings_).fillna(0.0)])

    def predict(self, frame):
        rows = samples(frame)
        return pd.Series(self.model.predict(self.known(rows)), rows.index)
