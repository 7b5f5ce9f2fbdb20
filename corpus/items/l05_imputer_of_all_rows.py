"""Days without a bar get the median volume of the whole sample, name by name."""

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge

ITEM = {
    "leak": "L05",
    "kind": "pipeline",
    "reach": None,
    "why": "the fill of a gap is a median over the test dates too",
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
        self.usual = frame["volume"].groupby("symbol").median()
        past = before_test(frame, self.rows(frame))
        self.model = Ridge(1.0).fit(past[[*X, "size"]], past["y"])

    def rows(self, frame):
        names = frame.index.get_level_values("symbol").map(self.usual)
        size = (
            frame["volume"]
            .fillna(pd.Series(names, frame.index))
            .groupby("symbol")
            .transform(lambda v: np.log(v.rolling(10).mean()))
        )
        return samples(frame).assign(size=size).dropna(subset=["size"])

    def predict(self, frame):
        rows = self.rows(frame)
        return pd.Series(self.model.predict(rows[[*X, "size"]]), rows.index)
