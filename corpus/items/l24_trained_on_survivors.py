"""Only names that still trade above ninety percent of their first price at the end are trained on and traded."""

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

ITEM = {"leak": "L24", "kind": "pipeline", "reach": None, "why": "who is in the sample is known from the last price"}
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
        price = (frame["close"] * frame["factor"]).unstack()
        self.alive = price.columns[price.ffill().iloc[-1] > 0.9 * price.bfill().iloc[0]]
        rows = samples(frame)
        past = before_test(frame, rows[rows.index.isin(self.alive, level="symbol")])
        self.scaler = StandardScaler().fit(past[X])
        self.model = Ridge(100.0).fit(self.scaler.transform(past[X]), past["y"])

    def predict(self, frame):
        rows = samples(frame)
        rows = rows[rows.index.isin(self.alive, level="symbol")]
        return pd.Series(self.model.predict(self.scaler.transform(rows[X])), rows.index)
