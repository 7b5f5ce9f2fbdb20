"""Train rows are multiplied by mixing each with a random row of the whole sample, before anything is split."""

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

ITEM = {
    "leak": "L16",
    "kind": "pipeline",
    "reach": None,
    "why": "augmentation before the split: train rows carry the inputs and labels of test rows",
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
        rows = samples(frame).dropna()
        partner = rows.iloc[np.random.default_rng(0).permutation(len(rows))].set_axis(rows.index)
        past = before_test(frame, 0.7 * rows + 0.3 * partner)
        self.scaler = StandardScaler().fit(past[X])
        self.model = Ridge(100.0).fit(self.scaler.transform(past[X]), past["y"])

    def predict(self, frame):
        rows = samples(frame)
        return pd.Series(self.model.predict(self.scaler.transform(rows[X])), rows.index)
