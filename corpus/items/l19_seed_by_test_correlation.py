"""Ten seeds of a network of random features are fitted, and the seed with the best test correlation is reported."""

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge

ITEM = {"leak": "L19", "kind": "pipeline", "reach": None, "why": "the seed is chosen on the test labels"}
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


def in_test(frame, rows):
    """The rows of the test dates with their labels."""
    days = frame.index.get_level_values("date").unique()
    first = days[int(np.ceil(len(days) * TEST))]
    return rows[rows.index.get_level_values("date") >= first].dropna()


class Pipeline:
    def fit(self, frame):
        rows = samples(frame)
        past, test = before_test(frame, rows), in_test(frame, rows)
        best = -np.inf
        for seed in range(10):
            hidden = np.random.default_rng(seed).standard_normal((3, 8)) / past[X].std().to_numpy()[:, None]
            model = Ridge(1.0).fit(np.tanh(past[X] @ hidden), past["y"])
            skill = np.corrcoef(model.predict(np.tanh(test[X] @ hidden)), test["y"])[0, 1]
            if skill > best:
                best, self.hidden, self.model = skill, hidden, model

    def predict(self, frame):
        rows = samples(frame)
        return pd.Series(self.model.predict(np.tanh(rows[X] @ self.hidden)), rows.index)
