"""Optimise: the portfolio that balances score, risk and costs within limits, row after row in time.

Row t reads scores, masks, benchmark and closes of rows 0..t only. What is held before a rebalance is the last target,
drifted by the closes known since: fills and costs are the exchange's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import ConfigError, DataError
from hitherto.panel import Panel
from hitherto.portfolio.base import Weights
from hitherto.portfolio.construct import scheduled, usable
from hitherto.portfolio.program import Limits, Program, Row, grown, need_cvxpy
from hitherto.portfolio.risk import Model, Risk, one_bar_returns, risk_at

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def optimise(
    panel: Panel, scores: Floats, mask: Mask, limits: Limits | None = None, *, risk_aversion: float = 5.0,
    costs: float = 0.001, benchmark: Floats | None = None, groups: NDArray[np.integer[Any]] | None = None,
    model: Model = "factor", factors: int = 10, window: int = 250, least: int = 60, every: int = 1,
) -> Weights:  # fmt: skip
    """Maximise score . w - risk_aversion (w - b)'S(w - b) - costs x sum |w - before| at every ``every``-th bar.

    panel: closes for risk and drift, adjusted. scores: (T, N) float64 expected simple returns until the next
    rebalance, NaN = no opinion; for standard scores see ``expected_returns``. mask: (T, N) bool, names that may be
    held. S: ``every`` times the covariance of one bar's returns of the names with a score, from the last ``window``
    bars ("factor": PCA with ``factors`` components; "shrinkage": Ledoit-Wolf). risk_aversion >= 0: half of the relative
    risk aversion of utility. costs >= 0: fraction of the traded value, per side. before: the last target, drifted.
    benchmark: (T, N) weights b known at t, 0 without one; on each row it is cut to the names with a score and scaled
    back to its sum. groups: (N,) integers for ``limits.group_cap``.
    A name without a score, or outside the mask, is not held. Rows before bar ``least`` and rows without a score decide
    nothing: no risk is known yet. Weights below 1e-6 are written as 0.
    Errors: ConfigError for settings, DataError naming date and limit where no portfolio meets the limits or the solver
    fails, MissingExtraError without cvxpy (CLARABEL is the solver).
    Source: Boyd et al. 2017, "Multi-Period Trading via Convex Optimization", section 4 (one period).
    """
    need_cvxpy()
    limits = limits or Limits()
    _check(limits, risk_aversion, costs, benchmark, groups)
    if model not in ("factor", "shrinkage"):
        raise ConfigError(f"optimise: model must be 'factor' or 'shrinkage', got {model!r}")
    for what, given in (("scores", scores), ("benchmark", benchmark)):
        if given is not None and given.shape != panel.shape:
            raise DataError(f"optimise: {what} of shape {given.shape}, panel of shape {panel.shape}; they must agree")
    scores, mask, known = usable(scores, mask, every)
    index, groups = _labels(groups, panel.shape[1])
    decided = scheduled((known > 0) & (np.arange(len(known)) >= least), every)
    returns, close = one_bar_returns(panel), _carried(panel.view("close"))
    settings = {"model": model, "window": window, "factors": factors, "least": least}
    values = np.zeros(scores.shape)
    walk = _Walk(limits, risk_aversion * every, costs, window if model == "shrinkage" else factors, len(groups))
    last = -1
    for t in np.flatnonzero(decided).tolist():
        day = str(panel.sessions[t])
        names = np.flatnonzero(mask[t] & np.isfinite(scores[t]))
        held = np.zeros(scores.shape[1]) if last < 0 else drifted(values[last], close[last], close[t], day)
        try:
            risk = risk_at(returns, t, names, **settings)
        except DataError as e:
            raise DataError(f"optimise: on {day}: {e}") from None
        b = np.zeros(len(names)) if benchmark is None else _cut(benchmark[t], names, day)
        left = float(np.abs(held).sum() - np.abs(held[names]).sum())
        row = Row(scores[t, names], held[names], b, risk, index[names], day, max(left, 0.0), last < 0)
        values[t, names] = walk.solve(row, scores.shape[1])
        last = t
    return Weights("optimised", values, decided)


def expected_returns(scores: Floats, returns: Floats, ic: float, *, every: int = 1, window: int = 250) -> Floats:
    """Turn standard scores into expected returns until the next rebalance: IC x volatility x score.

    scores: (T, N) float64 of mean 0 and deviation 1 on each date, NaN = no opinion. returns: (T, N) one-bar returns
    (``risk.one_bar_returns``). ic: the correlation of score and return that is believed in, in (0, 1], say 0.03.
    Volatility: of the last ``window`` bars' known returns, rows <= t, times sqrt(every). NaN with fewer than 20 of
    them. Source: Grinold 1994, "Alpha is Volatility times IC times Score".
    """
    if not 0 < ic <= 1:
        raise ConfigError(f"expected_returns: ic must lie in (0, 1], got {ic:g}")
    if scores.shape != returns.shape:
        raise DataError(f"expected_returns: scores have shape {scores.shape}, returns {returns.shape}; use one panel")
    from hitherto.portfolio import kernels

    returns = np.ascontiguousarray(returns, np.float64)
    return ic * np.sqrt(every) * scores * kernels.volatilities(returns, window, 20)


def drifted(weights: Floats, before: Floats, now: Floats, day: str) -> Floats:
    """Return the (N,) weights that targets have become as prices went from ``before`` to ``now``; cash stays cash.

    A name without a price has not moved. DataError, naming ``day``, where the capital is lost.
    """
    moved = np.where((before > 0) & np.isfinite(now), now / np.where(before > 0, before, 1.0), 1.0)
    capital = 1.0 + weights @ (moved - 1.0)
    if not capital > 0:
        raise DataError(f"optimise: on {day} the targets have lost all capital; lower gross or cap")
    return weights * moved / capital


class _Walk:
    """The programme of the rows so far: it grows with the widest row seen, and never looks at those to come."""

    def __init__(self, limits: Limits, aversion: float, costs: float, factors: int, groups: int) -> None:
        self.limits, self.aversion, self.costs = limits, aversion, costs
        self.factors, self.groups = factors, groups
        self.program: Program | None = None

    def solve(self, row: Row, most: int) -> Floats:
        """Return the weights of a row, from a programme wide enough."""
        now = self.program.shape[0] if self.program else 0
        slots = grown(now, len(row.score), most)
        if self.program is None or slots > now:
            factors = min(self.factors, slots)
            self.program = Program(slots, factors, self.groups, self.limits, self.aversion, self.costs)
        return self.program.solve(row)


def _check(limits: Limits, aversion: float, costs: float, benchmark: Floats | None, groups: object) -> None:
    for name, value in (("risk_aversion", aversion), ("costs", costs)):
        if not (np.isfinite(value) and value >= 0):
            raise ConfigError(f"optimise: {name} must be a number >= 0, got {value:g}")
    if limits.band is not None and benchmark is None:
        raise ConfigError("optimise: band limits the distance from a benchmark; give benchmark, (T, N) weights")
    if (limits.group_cap is None) != (groups is None):
        raise ConfigError("optimise: groups and limits.group_cap go together; give both or neither")
    if benchmark is not None and not limits.long_only:
        raise ConfigError("optimise: a benchmark is for long-only books; a long-short book sums to 0")


def _labels(groups: NDArray[np.integer[Any]] | None, N: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (N,) group numbers 0..G-1 and the labels that they stand for."""
    if groups is None:
        return np.zeros(N, np.int64), np.zeros(1, np.int64)
    if np.shape(groups) != (N,):
        raise DataError(f"optimise: groups have shape {np.shape(groups)}; give one integer for each of {N} names")
    labels, index = np.unique(groups, return_inverse=True)
    return index.astype(np.int64), labels.astype(np.int64)


def _carried(close: Floats) -> Floats:
    """Return (T, N) last known closes: a halted name keeps its price."""
    row = np.where(np.isfinite(close), np.arange(len(close))[:, None], -1)
    row = np.maximum.accumulate(row, axis=0)
    return np.where(row >= 0, np.take_along_axis(close, np.maximum(row, 0), axis=0), np.nan)


def _cut(benchmark: Floats, names: NDArray[np.intp], day: str) -> Floats:
    """Return the benchmark of the names that can be held, scaled back to its own sum."""
    if not np.isfinite(benchmark).all() or (benchmark < 0).any():
        raise DataError(f"optimise: the benchmark of {day} is not a row of weights >= 0; write 0 for a name not in it")
    inside = benchmark[names].sum()
    if not inside > 0:
        raise DataError(f"optimise: on {day} no name of the benchmark has a score; a book cannot follow it")
    return benchmark[names] * (benchmark.sum() / inside)


__all__ = ["Limits", "Risk", "drifted", "expected_returns", "optimise"]
