"""What the scores are worth by themselves: IC by horizon and its decay, quantile returns, and how fast ranks change."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import ConfigError, DataError
from hitherto.evaluate.forecast import average_ranks, daily_ics
from hitherto.evaluate.inference import MIN_POINTS, Interval, mean_interval, optimal_block, resampled_means
from hitherto.evaluate.periods import Basis
from hitherto.labels import Label

Floats = NDArray[np.float64]
HORIZONS = (1, 2, 3, 5, 10, 20)
LAGS = (0, 1, 2, 3, 5, 10, 20)


@dataclass(frozen=True)
class ICRow:
    """Mean cross-sectional IC and RankIC of the scores over ``dates`` dates; None: too few dates for an interval.

    bars: the horizon (return of the next ``bars`` bars) or the lag (return of one bar, ``bars`` bars later).
    """

    bars: int
    ic: Interval | None
    rank_ic: Interval | None
    dates: int


@dataclass(frozen=True)
class Decay:
    """The IC by horizon (returns add up over it) and by lag (one later bar alone: what is left of the signal then).

    half_life: bars after which the RankIC by lag has fallen to half that of lag 0, by straight lines; inf = not within
    the lags tried; None = the interval of lag 0 is not above 0: there is nothing to halve.
    """

    horizons: tuple[ICRow, ...]
    lags: tuple[ICRow, ...]
    half_life: float | None
    entry: str
    basis: Basis


@dataclass(frozen=True)
class QuantileRow:
    """One quantile of the scores, 1 = lowest: annual mean return of its equal-weighted names, gross and net.

    excess: gross less the mean of all scored names. turnover: share of its names that were not in it ``horizon`` bars
    before, mean over dates. names: mean number of names.
    """

    quantile: int
    gross: Interval | None
    net: Interval | None
    excess: Interval | None
    turnover: float
    names: float


@dataclass(frozen=True, eq=False)
class Quantiles:
    """Returns by quantile of the scores: formed on each date, held ``horizon`` bars, equal weights.

    rows: lowest scores first. spread_gross, spread_net: highest less lowest, annual; net pays for both sides.
    daily: (T, Q) float64 gross return a bar of the names chosen at t (mean over the holding), NaN = none. cost:
    what a side costs, a fraction of the value. dates: dates with a return. rising: Spearman correlation of the
    quantile's number with its gross mean (1 = each earns more than the one below).
    """

    rows: tuple[QuantileRow, ...]
    spread_gross: Interval | None
    spread_net: Interval | None
    daily: Floats
    horizon: int
    cost: float
    dates: int
    rising: float
    basis: Basis


@dataclass(frozen=True)
class AutocorrelationRow:
    """Mean correlation of the ranks of the scores with those of ``lag`` bars before, with its interval, over dates."""

    lag: int
    value: Interval | None
    dates: int


@dataclass(frozen=True, eq=False)
class Autocorrelation:
    """Autocorrelation of the cross-sectional ranks, as alphalens defines it.

    daily: (T,) float64, that of the first lag, NaN where there is none.
    """

    rows: tuple[AutocorrelationRow, ...]
    daily: Floats
    basis: Basis


def decay(
    scores: Floats, labels: Iterable[Label], next_bar: Label, rng: np.random.Generator, *, periods_per_year: float,
    lags: tuple[int, ...] = LAGS, draws: int = 2000, level: float = 0.95,
) -> Decay:  # fmt: skip
    """Return the IC of scores (T, N), NaN = none, with each output of ``labels`` and with later single bars.

    labels: forward returns of the same rows, one Label after another (so that only one need be in memory). next_bar:
    close-to-close return of one bar (entry "next_close"), output 0. Lag 0 is horizon 1 itself; lag d is the bar that
    begins d bars after the labels' entry bar does (after the close of the entry bar for one entered at its open).
    Intervals: block bootstrap of the mean over dates, blocks of at least the horizon, since the returns of neighbouring
    dates overlap; IC and RankIC are drawn together. Errors: DataError when shapes differ or a score is infinite,
    ConfigError for a next_bar that is not close to close.
    """
    if next_bar.entry != "next_close" or next_bar.horizons[0] != 1:
        raise ConfigError(
            "decay: next_bar must be the return of one bar, close to close; entry 'next_close', horizon 1"
        )
    entry, rows = next_bar.entry, []
    for label in labels:
        entry = label.entry
        for o, h in enumerate(label.horizons):
            rows.append(_ic_row(h, h, scores, label.values[:, :, o], rng, draws, level))
    late = [dataclasses.replace(r, bars=0) for r in rows if r.bars == 1 and 0 in lags]
    for lag in lags:
        ahead = lag - (entry == "next_open")
        if lag > 0 and ahead < len(scores):
            later = next_bar.values[ahead:, :, 0]
            late.append(_ic_row(lag, 1, scores[: len(later)], later, rng, draws, level))
    basis = Basis(periods_per_year, 0.0, "none", "before costs")
    return Decay(tuple(rows), tuple(late), half_life(late), entry, basis)


def _ic_row(
    bars: int, horizon: int, scores: Floats, real: Floats, rng: np.random.Generator, draws: int, level: float
) -> ICRow:
    _same(scores, real)
    both = np.stack(daily_ics(scores, real), axis=1)
    both = both[~np.isnan(both).any(axis=1)]
    ic, rank_ic = _means(both, both[:, 1], horizon, rng, 1.0, draws, level)
    return ICRow(bars, ic, rank_ic, len(both))


def half_life(rows: Sequence[ICRow]) -> float | None:
    """Return the lag at which the RankIC first falls to half of that of the first row; see ``Decay``."""
    known = [(r.bars, r.rank_ic.estimate) for r in rows if r.rank_ic is not None]
    if len(known) < 2 or rows[0].rank_ic is None or not rows[0].rank_ic.lo > 0:
        return None
    half = known[0][1] / 2
    for (a, above), (b, below) in pairwise(known):
        if below <= half:
            return a + (b - a) * (above - half) / (above - below)
    return math.inf


def quantile_codes(scores: Floats, quantiles: int) -> NDArray[np.int64]:
    """Return (T, N) int64: quantile 0.. of each score among those of its row, -1 = no score.

    The bins of ``pandas.qcut`` where no scores are equal; equal scores share the quantile of their average rank. Rows
    with fewer scores than quantiles, or all scores equal, have none. ConfigError below two quantiles.
    """
    if quantiles < 2:
        raise ConfigError(f"quantiles: {quantiles} is no split of the names; ask for 2 or more")
    rank = average_ranks(np.asarray(scores, np.float64))
    count = (~np.isnan(rank)).sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        place = np.ceil((rank - 1.0) * quantiles / np.maximum(count - 1, 1) - 1e-9) - 1.0
    high, low = np.nanmax(rank, axis=1, initial=0.0), np.nanmin(rank, axis=1, initial=np.inf)
    usable = (count[:, 0] >= quantiles) & (high > low)
    code = np.clip(np.where(np.isnan(place), 0.0, place), 0, quantiles - 1).astype(np.int64)
    return np.where(np.isnan(rank) | ~usable[:, None], -1, code)


def quantile_returns(
    scores: Floats, label: Label, rng: np.random.Generator, *, cost: float, periods_per_year: float, quantiles: int = 5,
    output: int = 0, draws: int = 2000, level: float = 0.95,
) -> Quantiles:  # fmt: skip
    """Return what the quantiles of scores (T, N) earned, gross and net of ``cost`` a side (a fraction of the value).

    Formed at the scores of each date and held for the label's h bars; a name without a label is left out of the mean.
    Turnover compares the names with those of h bars before, so that each date is one of h books that trade every h
    bars; net = gross - 2 x cost x turnover per holding, and the weights' drift is left out. Annual figures: mean over
    dates / h x periods_per_year, simple, rf not taken off. Only dates with a return of every quantile and a known
    turnover count. Intervals: blocks of dates, at least h long, all quantiles drawn together. Errors: DataError when
    shapes differ, ConfigError for a cost below 0 or fewer than two quantiles.
    """
    real, h = label.values[:, :, output], label.horizons[output]
    _same(scores, real)
    if not cost >= 0:
        raise ConfigError(f"quantiles: cost must be a fraction of the value >= 0, got {cost!r}")
    code, Q = quantile_codes(scores, quantiles), quantiles
    earned = _quantile_means(real, code, Q)
    turned, names = _turnover(code, Q, h)
    scored = np.where(code >= 0, real, np.nan)
    known = np.isfinite(scored)
    everyone = np.where(known, scored, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    seen = np.isfinite(earned).all(axis=1) & np.isfinite(turned).all(axis=1)
    g, t = earned[seen] / h, turned[seen]
    net = g - 2.0 * cost * t / h
    spent = 2.0 * cost * (t[:, -1] + t[:, 0]) / h
    spread = g[:, -1] - g[:, 0]
    columns = np.column_stack([g, net, g - everyone[seen, None] / h, spread, spread - spent])
    made = _means(columns, spread, h, rng, periods_per_year, draws, level)
    n = int(seen.sum())
    rows = tuple(
        QuantileRow(
            q + 1, made[q], made[Q + q], made[2 * Q + q], float(t[:, q].mean()) if n else math.nan,
            float(names[seen, q].mean()) if n else math.nan,
        )
        for q in range(Q)
    )  # fmt: skip
    rising = _spearman(g.mean(axis=0)) if n else math.nan
    basis = Basis(periods_per_year, 0.0, "simple mean", f"gross, and net of {1e4 * cost:.3g} bps a side")
    return Quantiles(rows, made[-2], made[-1], earned / h, h, cost, n, rising, basis)


def _quantile_means(real: Floats, code: NDArray[np.int64], quantiles: int) -> Floats:
    """Return (T, Q): mean realised value of the names of each quantile, NaN where none has one."""
    known = (code >= 0) & np.isfinite(real)
    cell = (np.arange(len(code))[:, None] * quantiles + code)[known]
    size = len(code) * quantiles
    count = np.bincount(cell, minlength=size)
    total = np.bincount(cell, weights=real[known], minlength=size)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).reshape(-1, quantiles)


def _turnover(code: NDArray[np.int64], quantiles: int, lag: int) -> tuple[Floats, NDArray[np.int64]]:
    """Return (T, Q) share of a quantile's names that were not in it ``lag`` rows before, and its number of names."""
    T = len(code)
    row = np.arange(T)[:, None] * quantiles
    count = np.bincount((row + code)[code >= 0], minlength=T * quantiles).reshape(T, quantiles)
    out = np.full((T, quantiles), np.nan)
    if lag < T:
        stayed = (code[lag:] == code[:-lag]) & (code[lag:] >= 0)
        kept = np.bincount((row[: T - lag] + code[lag:])[stayed], minlength=(T - lag) * quantiles)
        both = (count[lag:] > 0) & (count[:-lag] > 0)
        share = 1.0 - kept.reshape(-1, quantiles) / np.maximum(count[lag:], 1)
        out[lag:] = np.where(both, share, np.nan)
    return out, count


def autocorrelation(
    scores: Floats, rng: np.random.Generator, *, periods_per_year: float, lags: tuple[int, ...] = (1, 2, 3, 5, 10, 20),
    draws: int = 2000, level: float = 0.95,
) -> Autocorrelation:  # fmt: skip
    """Return the correlation of the ranks of scores (T, N) with those of ``lag`` rows before, mean over dates.

    alphalens' ``factor_rank_autocorrelation``: each date is ranked over its own names, ties averaged, and the Pearson
    correlation taken over the names that both dates rank. 1 = the order does not change. Intervals by block bootstrap,
    blocks at least ``lag`` long.
    """
    ranks = average_ranks(np.asarray(scores, np.float64))
    rows, first = [], np.full(len(ranks), np.nan)
    for i, lag in enumerate(lags):
        if lag < 1:
            raise ConfigError(f"autocorrelation: lags must be whole numbers of bars >= 1, got {lag}")
        if lag >= len(ranks):
            continue
        daily = daily_ics(ranks[lag:], ranks[:-lag])[0]
        x = daily[~np.isnan(daily)]
        rows.append(AutocorrelationRow(lag, _mean(x, lag, rng, draws, level), len(x)))
        if i == 0:
            first[lag:] = daily
    return Autocorrelation(tuple(rows), first, Basis(periods_per_year, 0.0, "none", "before costs"))


def _mean(x: Floats, least: int, rng: np.random.Generator, draws: int, level: float) -> Interval | None:
    if len(x) < MIN_POINTS:
        return None
    return mean_interval(x, rng, draws, level, min(max(optimal_block(x), float(least)), float(len(x))))


def _means(
    columns: Floats, lead: Floats, least: int, rng: np.random.Generator, per: float, draws: int, level: float
) -> list[Interval | None]:
    """The annual means of columns (n, C) with intervals from the same resamples, block length by ``lead`` (n,)."""
    if len(columns) < MIN_POINTS:
        return [None] * columns.shape[1]
    block = min(max(optimal_block(lead), float(least)), float(len(lead)))
    drawn = resampled_means(columns, rng, draws, block)
    lo, hi = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return [Interval(*(float(v) * per for v in row)) for row in zip(columns.mean(axis=0), lo, hi, strict=True)]


def _spearman(values: Floats) -> float:
    """Spearman correlation of values (Q,) with their position; NaN when all are equal."""
    rank = average_ranks(values[None, :])[0]
    at = np.arange(len(values), dtype=np.float64)
    a, b = rank - rank.mean(), at - at.mean()
    return float(a @ b / math.sqrt((a @ a) * (b @ b))) if (a != 0).any() else math.nan


def _same(scores: Floats, real: Floats) -> None:
    if scores.ndim != 2 or scores.shape != real.shape:
        raise DataError(
            f"signal: scores have shape {scores.shape}, the label {real.shape}; use the label of these rows"
        )
