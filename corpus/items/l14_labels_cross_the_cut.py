"""Train rows end the day before the test begins, their five-day labels four days after it has begun."""

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

ITEM = {
    "leak": "L14",
    "kind": "pipeline",
    "reach": 4,
    "why": "no purge: the label of the last train date ends four bars after the first test date",
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
        past = before_test(frame, samples(frame), purged=0)
        self.scaler = StandardScaler().fit(past[X])
        self.model = Ridge(100.0).fit(self.scaler.transform(past[X]), past["y"])

    def predict(self, frame):
        rows = samples(frame)
        return pd.Series(self.model.predict(self.scaler.transform(rows[X])), rows.index)
