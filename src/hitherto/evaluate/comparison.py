"""Comparisons: one forecast against another, many p-values at once, and the best of a set against a benchmark."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hitherto.errors import ConfigError, DataError, MissingExtraError
from hitherto.evaluate.inference import optimal_block, series

Floats = NDArray[np.float64]


class DieboldMariano(NamedTuple):
    """Mean loss difference (first minus second), its t-statistic with the small-sample correction, the two-sided
    p-value, the number of losses, the horizon, and the weights of the autocovariances that were used."""

    mean: float
    t: float
    p: float
    n: int
    horizon: int
    weights: Literal["equal", "bartlett"]


class Superior(NamedTuple):
    """Hansen's test: p-values (lower, consistent, upper bound) of "no model beats the benchmark", the column with the
    lowest mean loss, the mean block length (bars) and the number of draws. The consistent one is the one to read."""

    lower: float
    p: float
    upper: float
    best: int
    block: int
    draws: int


def diebold_mariano(loss_a: ArrayLike, loss_b: ArrayLike, horizon: int = 1) -> DieboldMariano:
    """Return the Diebold-Mariano test that two forecasts lose the same on average; t > 0: the first loses more.

    loss_a, loss_b: (n,) losses of the same bars, in order (squared errors, or minus a daily IC). horizon: bars that a
    forecast looks ahead, so horizon - 1 autocovariances of the difference enter, with equal weights; where these make
    the variance negative, Bartlett weights are used and said. p from Student's t with n - 1 degrees of freedom. The
    losses must not come from a nested model fitted on them. Errors: DataError for NaN, inf, fewer than 10 losses,
    different lengths or equal losses; ConfigError for the horizon. Sources: Diebold and Mariano, Journal of Business &
    Economic Statistics 13(3), 1995; correction: Harvey, Leybourne and Newbold, International Journal of Forecasting
    13(2), 1997, equations 8 and 9.
    """
    from scipy.special import stdtr

    a, b = series(loss_a, "first losses"), series(loss_b, "second losses")
    if len(a) != len(b):
        raise DataError(f"Diebold-Mariano: {len(a)} against {len(b)} losses; pass the same bars of both")
    n = len(a)
    if not 1 <= horizon < n:
        raise ConfigError(f"Diebold-Mariano: horizon must lie in 1..{n - 1}, got {horizon}")
    d = a - b
    mean = float(d.mean())
    if np.ptp(d) <= 1e-14 * max(float(np.abs(a).max()), float(np.abs(b).max())):
        raise DataError("Diebold-Mariano: the losses differ by the same amount on every bar; nothing to test")
    e = (d - mean) / float(np.abs(d - mean).max())
    scale = float(np.abs(d - mean).max())
    lagged = np.array([e[k:] @ e[: n - k] for k in range(horizon)]) / n
    weights: Literal["equal", "bartlett"] = "equal"
    variance = float(lagged[0] + 2.0 * lagged[1:].sum())
    if variance <= 1e-12 * lagged[0]:
        weights = "bartlett"
        variance = float(lagged[0] + 2.0 * ((1.0 - np.arange(1, horizon) / horizon) @ lagged[1:]))
    small = math.sqrt((n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n)
    t = small * mean / (scale * math.sqrt(variance / n))
    return DieboldMariano(mean, t, float(2.0 * stdtr(n - 1, -abs(t))), n, horizon, weights)


def against_naive(
    forecast: ArrayLike, realised: ArrayLike, horizon: int = 1, naive: ArrayLike | None = None
) -> DieboldMariano:
    """Return the Diebold-Mariano test of a panel of forecasts against a naive one; t < 0: the forecast errs less.

    forecast, realised, naive: (T, N), in the same unit; naive None = 0, the return of an unchanged price. NaN
    in any leaves that entry out of all. The loss of a date is its mean squared error, since the names of one date
    are not independent; dates without an entry are left out. horizon: bars of the label. Errors: as
    ``diebold_mariano``; DataError for inf or unequal shapes.
    """
    real = np.asarray(realised, np.float64)
    one = np.asarray(forecast, np.float64)
    other = np.zeros_like(real) if naive is None else np.asarray(naive, np.float64)
    if real.ndim != 2 or one.shape != real.shape or other.shape != real.shape:
        raise DataError(
            f"Diebold-Mariano: forecasts of shape {one.shape} and {other.shape}, realised values {real.shape}; all "
            "must be (T, N)"
        )
    first, second = (one - real) ** 2, (other - real) ** 2
    whole = ~(np.isnan(first) | np.isnan(second))
    count = whole.sum(axis=1)
    dates = count > 0
    a, b = (np.where(whole, x, 0.0).sum(axis=1)[dates] / count[dates] for x in (first, second))
    return diebold_mariano(a, b, horizon)


def holm(p: ArrayLike) -> Floats:
    """Return Holm's adjusted p-values (N,): below a level, the chance of any false finding among them is at most that.

    p: (N,) in 0..1, in any order, from tests that may depend on each other. DataError for others, NaN or none. Source:
    Holm, Scandinavian Journal of Statistics 6(2), 1979.
    """
    v = _p_values(p)
    order = np.argsort(v, kind="stable")
    out = np.empty(len(v))
    out[order] = np.minimum(1.0, np.maximum.accumulate(v[order] * np.arange(len(v), 0, -1)))
    return out


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """Return the adjusted p-values (N,) of Benjamini and Hochberg: below a level, at most that share of the findings
    is expected to be false.

    p: (N,) in 0..1, in any order; the promise holds for independent or positively dependent tests. DataError for
    others, NaN or none. Source: Benjamini and Hochberg, Journal of the Royal Statistical Society B 57(1), 1995.
    """
    v = _p_values(p)
    order = np.argsort(v, kind="stable")
    n = len(v)
    raised = v[order] * n / np.arange(1, n + 1)
    out = np.empty(n)
    out[order] = np.minimum(1.0, np.minimum.accumulate(raised[::-1])[::-1])
    return out


def superior_predictive_ability(
    benchmark_losses: ArrayLike, losses: ArrayLike, rng: np.random.Generator, *, draws: int = 1000,
    block: float | None = None,
) -> Superior:  # fmt: skip
    """Return Hansen's test that none of N models has a lower expected loss than the benchmark (``arch``).

    benchmark_losses: (T,); losses: (T, N), the same bars, every model that was tried. Stationary bootstrap of the
    studentised differences; block: mean length in bars, None = the longest ``optimal_block`` of the differences. A
    model that equals the benchmark on every bar is refused. Errors: MissingExtraError without ``arch``; DataError
    for NaN, inf, shapes or such a model. Source: Hansen, "A Test for Superior Predictive Ability", Journal of Business
    & Economic Statistics 23(4), 2005.
    """
    try:
        from arch.bootstrap import SPA
    except ImportError as error:
        raise MissingExtraError("Hansen's test of superior predictive ability", "stats") from error

    base, rivals = series(benchmark_losses, "benchmark losses"), np.asarray(losses, np.float64)
    if rivals.ndim == 1:
        rivals = rivals[:, None]
    if rivals.ndim != 2 or len(rivals) != len(base) or rivals.shape[1] < 1:
        raise DataError(f"superior ability: losses of shape {rivals.shape}; give ({len(base)}, N), one column a model")
    columns = [series(rivals[:, k], f"losses of model {k}") for k in range(rivals.shape[1])]
    for k, column in enumerate(columns):
        if np.ptp(base - column) <= 1e-14 * float(np.abs(base).max()):
            raise DataError(f"superior ability: model {k} differs from the benchmark by the same on every bar")
    if block is None:
        block = max(optimal_block(base - column, "stationary") for column in columns)
    if not 1 <= block <= len(base):
        raise ConfigError(f"superior ability: block must lie in 1..{len(base)}, got {block:g}")
    size = math.ceil(block)
    edge = np.stack([(base - c) / _long_run_deviation(base - c, size) for c in columns], axis=1)
    # arch compares plain mean differences: studentised ones are handed in, as losses below a benchmark of 0
    test = SPA(np.zeros(len(base)), -edge, block_size=size, reps=draws, bootstrap="stationary", seed=rng)
    test.compute()
    lower, p, upper = (float(v) for v in test.pvalues.to_numpy())
    return Superior(lower, p, upper, int(rivals.mean(axis=0).argmin()), size, draws)


def _long_run_deviation(d: Floats, block: int) -> float:
    """Return the square root of n times the variance of a stationary-bootstrap mean of ``d`` (n,).

    Source: Politis and Romano, Journal of the American Statistical Association 89, 1994, lemma 1.
    """
    n, lags, keep = len(d), np.arange(1, len(d)), 1.0 - 1.0 / block
    e = d - d.mean()
    spectrum = np.fft.rfft(e, 2 * n)
    lagged = np.fft.irfft((spectrum * spectrum.conj()).real, 2 * n)[:n] / n
    weights = (1.0 - lags / n) * keep**lags + lags / n * keep ** (n - lags)
    return math.sqrt(float(lagged[0] + 2.0 * (weights @ lagged[1:])))


def _p_values(p: ArrayLike) -> Floats:
    v = np.asarray(p, np.float64)
    if v.ndim != 1 or not len(v):
        raise DataError(f"p-values: expected one or more in one dimension, got shape {v.shape}")
    bad = np.flatnonzero(~((v >= 0) & (v <= 1)))
    if len(bad):
        raise DataError(f"p-values: {v[bad[0]]:g} at {bad[0]} is not in 0..1; leave out tests that gave none")
    return v
