"""Lists of perfect foresight: which assets gained or lost most, period after period, and what that compounds to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hitherto.errors import ConfigError, DataError
from hitherto.hindsight.tape import span, tradable
from hitherto.panel import Panel

Floats = NDArray[np.float64]
Every = int | Literal["week", "month", "quarter", "year"]
UNITS = ("week", "month", "quarter", "year")


@dataclass(frozen=True)
class Period:
    """One line of the perfect-foresight list.

    start, end: rows of the entry and exit closes; first, last: their sessions as ISO dates. asset: symbol, "" when none
    was eligible (then gain 0); of a list of several names a period the first. gain: simple return, a fraction, of the
    equal parts. wealth: running wealth after the period. assets, gains: all its names, best (or worst) first.
    """

    start: int
    end: int
    first: str
    last: str
    asset: str
    gain: float
    wealth: float
    assets: tuple[str, ...] = ()
    gains: tuple[float, ...] = ()


def compound(gains: ArrayLike, start: float = 1.0) -> Floats:
    """Return running wealth after each gain: start x (1 + g1) x (1 + g2) ... gains are fractions (0.8089 = 80.89 %)."""
    g = np.asarray(gains, np.float64)
    if not (np.isfinite(g).all() and (g >= -1).all()):
        raise DataError("compound: gains must be finite fractions >= -1 (0.05 = 5 %)")
    return np.asarray(start * np.cumprod(1.0 + g), np.float64)


def power_of_time(total: float, periods: float) -> float:
    """Return the constant gain per period that compounds to ``total`` over ``periods``: total ** (1 / periods) - 1.

    total: final over initial wealth, > 0 (37.78). periods: how many, > 0 (365). 37.78 over 365 days is 0.01 a day.
    """
    if not (np.isfinite(total) and total > 0):
        raise DataError(f"power_of_time: total must be final over initial wealth, a number > 0, got {total!r}")
    _check_periods("power_of_time", periods)
    return math.expm1(math.log(total) / periods)


def compound_edge(edge: float, periods: float) -> float:
    """Return what a constant gain per period makes of 1: (1 + edge) ** periods; 0.01 over 365 days is 37.78.

    edge: a fraction > -1. periods: > 0. Errors: outside these, or a result too large for a float (DataError).
    """
    if not (np.isfinite(edge) and edge > -1):
        raise DataError(f"compound_edge: edge must be a fraction > -1 (0.01 = 1 %), got {edge!r}")
    _check_periods("compound_edge", periods)
    log = periods * math.log1p(edge)
    if log > math.log(np.finfo(np.float64).max):
        raise DataError(
            f"compound_edge: (1 + {edge:g}) ** {periods:g} is about 10^{log / math.log(10):.0f}, too large for a "
            "float; use fewer periods, or periods x log(1 + edge)"
        )
    return math.exp(log)


def amount(value: float) -> str:
    """Return a positive amount for reading: 4 figures, plain where that is short, else as a power of ten."""
    if 1e-4 <= value < 1e3:
        return f"{value:.4g}"
    return f"{value:,.0f}" if 1e3 <= value < 1e12 else f"{value:.3e}"


def best_single(
    panel: Panel, start: int = 0, stop: int | None = None, every: Every = "month", capital: float = 1.0, *,
    top: int = 1,
) -> tuple[Period, ...]:  # fmt: skip
    """List the asset that gained most in each period, held close to close, all wealth, no costs.

    Rows start..stop-1 are cut into periods of ``every`` bars, or at the last session of each calendar week, month,
    quarter or year; a shorter last period counts. Ties go to the first column. top: so many names a period, in equal
    parts (fewer where fewer were eligible).
    """
    return _list(panel, start, stop, every, capital, top, +1)


def worst_single(
    panel: Panel, start: int = 0, stop: int | None = None, every: Every = "month", capital: float = 1.0, *,
    top: int = 1,
) -> tuple[Period, ...]:  # fmt: skip
    """List the asset that lost most in each period: the mirror of ``best_single``."""
    return _list(panel, start, stop, every, capital, top, -1)


def _list(
    panel: Panel, start: int, stop: int | None, every: Every, capital: float, top: int, sign: int
) -> tuple[Period, ...]:  # fmt: skip
    last = span(panel, start, stop)
    if top < 1:
        raise ConfigError(f"hindsight: top must be a whole number of names >= 1, got {top}")
    if not (np.isfinite(capital) and capital > 0):
        raise ConfigError(f"hindsight: capital must be a positive amount, got {capital!r}")
    rows = np.unique(np.r_[start, _ends(panel.sessions[start:last], every) + start, last - 1])
    price = tradable(panel, rows)
    out, wealth = [], capital
    for i, (a, b) in enumerate(zip(rows[:-1].tolist(), rows[1:].tolist(), strict=True)):
        gain = np.where(panel.universe[a], price[i + 1] / price[i] - 1.0, np.nan)
        order = np.argsort(-sign * gain, kind="stable")[: min(top, int(np.isfinite(gain).sum()))]
        names, gains = tuple(panel.symbols[n] for n in order), tuple(float(gain[n]) for n in order)
        mean = sum(gains) / len(gains) if gains else 0.0
        wealth *= 1.0 + mean
        first, end = str(panel.sessions[a]), str(panel.sessions[b])
        out.append(Period(a, b, first, end, names[0] if names else "", mean, wealth, names, gains))
    return tuple(out)


def _ends(sessions: NDArray[np.datetime64], every: Every) -> NDArray[np.intp]:
    """Return the last row of each period but the last one, counted from 0."""
    if isinstance(every, int) and every >= 1:
        return np.arange(every, len(sessions), every)
    if every not in UNITS:
        raise ConfigError(
            f"hindsight: every must be a whole number of bars >= 1, or one of {', '.join(UNITS)}; got {every!r}"
        )
    months, days = sessions.astype("datetime64[M]").astype(np.int64), sessions.astype("datetime64[D]").astype(np.int64)
    # 1970-01-01 was a Thursday: three days later weeks that begin on Monday change.
    unit = {"week": (days + 3) // 7, "month": months, "quarter": months // 3, "year": months // 12}[every]
    ends = np.flatnonzero(unit[1:] != unit[:-1])
    return ends[ends > 0]


def _check_periods(what: str, periods: float) -> None:
    if not (np.isfinite(periods) and periods > 0):
        raise DataError(f"{what}: periods must be a number > 0, got {periods!r}")
