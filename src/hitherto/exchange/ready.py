"""A panel made ready for the kernels: growth, halts, volatility and volume as known before each bar; weights seen."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hitherto.exchange.account import NOT_LISTED, SUSPENDED

Floats = NDArray[np.float64]
SPAN = 20  # bars behind sigma and adv of the square-root law


def read_only(x: NDArray[Any]) -> NDArray[Any]:
    """Return a contiguous read-only view: numba compiles read-only arrays apart, and one version is enough."""
    out = np.ascontiguousarray(x).view()
    out.flags.writeable = False
    return out


@njit(cache=True, nogil=True)
def growth(factor):
    """(T, N) factor_t / last known factor, 1 where either is unknown."""
    T, N = factor.shape
    out, last = np.ones((T, N)), factor[0].copy()
    for t in range(1, T):
        for n in range(N):
            now = factor[t, n]
            if np.isfinite(now):
                if np.isfinite(last[n]) and now != last[n]:
                    out[t, n] = now / last[n]
                last[n] = now
    return out


@njit(cache=True, nogil=True)
def halts(listed, suspended):
    """(T, N) uint8 reason for which a name does not trade at all, 0 for none."""
    out = np.zeros(listed.shape, np.uint8)
    for t in range(listed.shape[0]):
        for n in range(listed.shape[1]):
            if not listed[t, n]:
                out[t, n] = NOT_LISTED
            elif suspended[t, n]:
                out[t, n] = SUSPENDED
    return out


@njit(cache=True, nogil=True)
def known_before(close, volume, grown, span):
    """(T, N) standard deviation (n - 1) of simple returns and mean volume of the last ``span`` known bars before each.

    A return runs from known close to known close, corporate actions taken out; NaN with fewer than two of them.
    """
    T, N = close.shape
    sigma, adv = np.full((T, N), np.nan), np.full((T, N), np.nan)
    returns, sold = np.empty(span), np.empty(span)
    for n in range(N):
        last, r, v = np.nan, 0, 0
        for t in range(T):
            m = min(r, span)
            if m >= 2:
                mean = returns[:m].mean()
                sigma[t, n] = np.sqrt(((returns[:m] - mean) ** 2).sum() / (m - 1))
            if v:
                adv[t, n] = sold[: min(v, span)].mean()
            last /= grown[t, n]
            if np.isfinite(close[t, n]):
                if np.isfinite(last):
                    returns[r % span] = close[t, n] / last - 1.0
                    r += 1
                last = close[t, n]
            if np.isfinite(volume[t, n]):
                sold[v % span] = volume[t, n]
                v += 1
    return sigma, adv


@njit(cache=True, nogil=True)
def survey(values, decided, first, last):
    """Per row: 1 where a decided row holds NaN or infinity, 2 where a weight is negative; and the sum of each row."""
    code, total = np.zeros(len(values), np.uint8), np.zeros(len(values))
    for t in range(first, last):
        if not decided[t]:
            continue
        for n in range(values.shape[1]):
            w = values[t, n]
            if not np.isfinite(w):
                code[t] |= 1
            elif w < 0.0:
                code[t] |= 2
            total[t] += w
    return code, total
