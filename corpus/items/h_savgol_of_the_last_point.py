"""Looks like l02: Savitzky-Golay, with the coefficients of the window's last point, applied to the past only."""

import numpy as np
from scipy.signal import savgol_coeffs

ITEM = {
    "leak": None,
    "kind": "frame",
    "reach": None,
    "why": "pos=10 evaluates the polynomial at the newest of eleven bars",
}


def signal(frame):
    weights = savgol_coeffs(11, 2, pos=10, use="dot")
    values = frame["close"].ffill()
    return values.rolling(11).apply(lambda window: float(np.dot(weights, window)), raw=True)
