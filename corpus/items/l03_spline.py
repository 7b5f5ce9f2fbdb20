"""Gaps of every symbol are filled by scipy's interpolation on row numbers, inside a group transform."""

import numpy as np
from scipy.interpolate import interp1d

ITEM = {"leak": "L03", "kind": "long", "reach": None, "why": "interp1d draws through the next known bar"}


def fill(column):
    known = np.flatnonzero(column.notna().to_numpy())
    if len(known) < 2:
        return column
    line = interp1d(known, column.to_numpy()[known], bounds_error=False)
    return column.where(column.notna(), line(np.arange(len(column))))


def signal(frame):
    return frame["close"].groupby(level="symbol").transform(fill)
