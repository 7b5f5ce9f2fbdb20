"""Risk: the covariance of returns as known at t, as factors + specific variances, from trailing returns alone.

Both estimates come in one form, S = B B' + diag(d), since a convex programme solves that form fastest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import ConfigError, DataError
from hitherto.panel import Panel

Floats = NDArray[np.float64]
Model = Literal["factor", "shrinkage"]
FLOOR = 0.1  # a specific variance is at least this part of the median one: a price that hardly moved is not riskless


@dataclass(frozen=True, eq=False)
class Risk:
    """Covariance of one bar's simple returns: S = exposures @ exposures.T + diag(specific).

    exposures: (N, k) float64. specific: (N,) float64 variances. known: (N,) bool, names with returns enough; the
    others are taken for average names (see ``factor_model``). Nothing is NaN.
    """

    exposures: Floats
    specific: Floats
    known: NDArray[np.bool_]

    def matrix(self) -> Floats:
        """Return S, (N, N) float64."""
        return self.exposures @ self.exposures.T + np.diag(self.specific)

    def variance(self, weights: Floats) -> float:
        """Return w'Sw of (N,) weights: the variance of one bar's return."""
        along = self.exposures.T @ weights
        return float(along @ along + self.specific @ weights**2)


def one_bar_returns(panel: Panel) -> Floats:
    """Return (T, N) float64 simple returns of the adjusted close over the bar before.

    NaN where either close is unknown: a move across a halt is not the return of one bar.
    """
    close = panel.view("close")
    out = np.full(close.shape, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        out[1:] = np.where(close[:-1] > 0, close[1:] / close[:-1] - 1.0, np.nan)
    return out


def risk_at(
    returns: Floats, t: int, names: NDArray[np.intp] | None = None, *, model: Model = "factor", window: int = 250,
    factors: int = 10, least: int = 60,
) -> Risk:  # fmt: skip
    """Estimate the covariance at row t from rows t - window + 1 .. t of (T, N) returns, for the columns ``names``.

    Later rows are not read. Errors: ConfigError for settings, DataError where no name has ``least`` known returns.
    """
    if not 2 <= least <= window:
        raise ConfigError(f"risk: least must lie in 2..window = 2..{window} returns, got {least}")
    past = returns[max(0, t - window + 1) : t + 1]
    past = past if names is None else past[:, names]
    return shrinkage(past, least) if model == "shrinkage" else factor_model(past, factors, least)


def factor_model(returns: Floats, factors: int, least: int = 2) -> Risk:
    """Fit a statistical factor model: the first ``factors`` principal components and specific variances.

    returns: (W, n) float64, NaN = unknown. NaN rule: each name is demeaned by its own known returns, unknown ones then
    count as 0, and the name is scaled by sqrt(W / known) so that its variance is that of its known returns (divided by
    their number). Names with fewer than ``least`` known returns are left out of the estimate and taken for average
    ones: the mean exposures, and a specific variance that gives them the variance of the median name.
    The specific variances are what the components leave of each variance, at least a tenth of the median one.
    Errors: ConfigError for factors < 1; DataError for an infinite return or no name with enough of them.
    Source: Connor and Korajczyk 1988, asymptotic principal components.
    """
    if factors < 1:
        raise ConfigError(f"risk: factors must be a whole number >= 1, got {factors}")
    x, known = _prepare(returns, least)
    W, n = x.shape
    k = min(factors, W, n)
    if n <= W:
        values, vectors = np.linalg.eigh(x.T @ x / W)
        exposures = vectors[:, ::-1][:, :k] * np.sqrt(np.maximum(values[::-1][:k], 0.0))
    else:  # the same components from the smaller matrix: x = u s v', so v s = x' u
        _, vectors = np.linalg.eigh(x @ x.T / W)
        exposures = x.T @ vectors[:, ::-1][:, :k] / np.sqrt(W)
    rest = np.maximum((x**2).mean(axis=0) - (exposures**2).sum(axis=1), 0.0)
    return _fill(exposures, np.maximum(rest, FLOOR * np.median(rest)), known)


def shrinkage(returns: Floats, least: int = 2) -> Risk:
    """Estimate the covariance by Ledoit-Wolf shrinkage towards a multiple of the identity.

    S = (1 - a) E + a m I with E the empirical covariance (divided by W), m its mean variance and a in [0, 1] the
    intensity of the paper, as in scikit-learn's LedoitWolf. NaN rule, thin names and errors as in ``factor_model``.
    Source: Ledoit and Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices", section 3.
    """
    x, known = _prepare(returns, least)
    W, n = x.shape
    square = x**2
    mean = square.sum() / W / n
    gram = x @ x.T if n > W else x.T @ x  # the same Frobenius norm
    norm = (gram**2).sum() / W**2
    spread = norm / n - mean**2
    noise = ((square.sum(axis=1) ** 2).sum() / W - norm) / (W * n)
    a = 1.0 if spread <= 0 else min(max(noise, 0.0) / spread, 1.0)
    if n > W:
        exposures = np.sqrt((1.0 - a) / W) * x.T
    else:
        values, vectors = np.linalg.eigh(gram / W)
        exposures = vectors * np.sqrt((1.0 - a) * np.maximum(values, 0.0))
    return _fill(exposures, np.full(n, a * mean), known)


def _prepare(returns: Floats, least: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the demeaned, rescaled returns (W, known names), 0 where unknown, and (n,) which names are known."""
    if np.isinf(returns).any():
        t, n = np.argwhere(np.isinf(returns))[0]
        raise DataError(f"risk: the return of column {n} at row {t} of the window is infinite; check the closes")
    seen = np.isfinite(returns)
    count = seen.sum(axis=0)
    known = count >= least
    if not known.any():
        raise DataError(
            f"risk: no name has {least} known returns in the window of {len(returns)} bars (the best has "
            f"{int(count.max(initial=0))}); start later, or ask for fewer (least)"
        )
    x, seen, count = returns[:, known], seen[:, known], count[known]
    mean = np.where(seen, x, 0.0).sum(axis=0) / count
    return np.where(seen, x - mean, 0.0) * np.sqrt(len(x) / count), known


def _fill(exposures: Floats, specific: Floats, known: NDArray[np.bool_]) -> Risk:
    """Return the risk of all names: those not known are taken for average ones."""
    if known.all():
        return Risk(exposures, specific, known)
    mean = exposures.mean(axis=0)
    middle = np.median((exposures**2).sum(axis=1) + specific)
    B, d = np.empty((len(known), exposures.shape[1])), np.empty(len(known))
    B[known], d[known] = exposures, specific
    B[~known], d[~known] = mean, max(middle - mean @ mean, np.median(specific))
    return Risk(B, d, known)
