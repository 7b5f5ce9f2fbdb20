"""Each name is replaced by its mean label, and the mean is taken over all rows."""

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge

ITEM = {
    "leak": "L17",
    "kind": "pipeline",
    "reach": None,
    "why": "target encoding: the mean holds the labels of the test dates",
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
        rows = samples(frame)
        self.own = rows["y"].groupby("symbol").mean()
        past = before_test(frame, self.known(rows))
        self.model = Ridge(0.01).fit(past[[*X, "own"]], past["y"])

    def known(self, rows):
        return rows.assign(own=rows.index.get_level_values("symbol").map(self.own).astype(float))

    def predict(self, frame):
        rows = self.known(samples(frame))
        return pd.Series(self.model.predict(rows[[*X, "own"]]), rows.index)
