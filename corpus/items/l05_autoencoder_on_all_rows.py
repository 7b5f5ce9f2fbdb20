"""An autoencoder learns the inputs without labels, on all dates; a regression on the train dates reads its code."""

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

ITEM = {"leak": "L05", "kind": "pipeline", "reach": None, "why": "unsupervised weights have seen the test rows"}
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
        past = before_test(frame, rows)
        self.scaler = StandardScaler().fit(past[X])
        self.encoder = train_encoder(self.scaler.transform(rows[X]))
        self.model = Ridge(1.0).fit(self.code(past), past["y"])

    def code(self, rows):
        x = torch.tensor(self.scaler.transform(rows[X]))
        return torch.tanh(x @ self.encoder).detach().numpy()

    def predict(self, frame):
        rows = samples(frame)
        return pd.Series(self.model.predict(self.code(rows)), rows.index)


def train_encoder(x, steps=8):
    """Weights of a one-layer autoencoder with tied weights."""
    x = torch.tensor(x)
    w = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), dtype=x.dtype).mul(0.5).requires_grad_()
    step = torch.optim.Adam([w], 0.05)
    for _ in range(steps):
        step.zero_grad()
        loss = (torch.tanh(x @ w) @ w.T - x).square().mean()
        loss.backward()
        step.step()
    return w.detach()
