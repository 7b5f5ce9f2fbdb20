"""Exponential weights along time, recursively, in float64; part of the table in operators.py."""

from __future__ import annotations

import numpy as np

from hitherto.features.elementwise import Floats


def ema_weights(x: Floats, alpha: float) -> tuple[Floats, Floats]:
    """Return the exponential mean and variance of each column at each row, (T, N) float64.

    The value of row t - k weighs (1 - alpha)^k; unknown values are skipped while their age still counts; weights
    are divided by their sum (pandas ``ewm(alpha=alpha)``, ``var(bias=True)``). Rows that are unknown keep the last
    result; NaN before the first known value. Recursive: West (1979), one pass.
    """
    mean, square = np.full(x.shape[1], np.nan), np.zeros(x.shape[1])
    weight = np.zeros(x.shape[1])
    means, variances = np.empty(x.shape), np.empty(x.shape)
    for t, now in enumerate(x):
        known = np.isfinite(now)
        weight = (1 - alpha) * weight + known
        distance = np.where(weight > 1, now - mean, 0.0)
        new = np.where(weight > 1, mean + distance / np.where(known, weight, 1.0), now)
        square = (1 - alpha) * square + np.where(known, distance * (now - new), 0.0)
        mean = np.where(known, new, mean)
        means[t] = mean
        variances[t] = square / np.where(weight > 0, weight, np.nan)
    return means, variances


def ew_mean(x: Floats, alpha: float) -> Floats:
    """Mean under exponential weights (pandas ``ewm(alpha=alpha).mean()``)."""
    return ema_weights(x, alpha)[0]


def ew_var(x: Floats, alpha: float) -> Floats:
    """Variance under exponential weights, corrected for their bias (pandas ``ewm(alpha=alpha).var()``)."""
    weight, square, count = np.zeros(x.shape[1]), np.zeros(x.shape[1]), np.zeros(x.shape[1])
    correction = np.empty(x.shape)
    for t, now in enumerate(x):
        known = np.isfinite(now)
        weight, square, count = (1 - alpha) * weight + known, (1 - alpha) ** 2 * square + known, count + known
        correction[t] = np.where(count > 1, weight**2 / (weight**2 - square), np.nan)
    return ema_weights(x, alpha)[1] * correction


def ew_std(x: Floats, alpha: float) -> Floats:
    """Square root of ``ew_var``."""
    return np.sqrt(ew_var(x, alpha))
