"""A sample maker normalises inputs and targets of every symbol in one go, by the mean of both."""

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view

ITEM = {"leak": "L11", "kind": "long", "reach": 3, "why": "the mean of the sample includes its three target rows"}
INPUTS, TARGETS = 12, 3


def first_input_scaled(column):
    out = pd.Series(np.nan, column.index)
    values = np.log(column.ffill().to_numpy())
    if len(values) >= INPUTS + TARGETS:
        samples = sliding_window_view(values, INPUTS + TARGETS)
        scaled = samples - samples.mean(axis=1, keepdims=True)
        out.iloc[INPUTS - 1 : len(values) - TARGETS] = scaled[:, INPUTS - 1]
    return out


def signal(frame):
    return frame["close"].groupby(level="symbol").transform(first_input_scaled)
