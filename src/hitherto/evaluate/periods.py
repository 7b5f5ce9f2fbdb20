"""When it was earned: by year, month and regime, with exposure, turnover, drawdowns with dates and a rolling Sharpe.

A return belongs to the bar that ends it. What each figure rests on (bars a year, risk-free rate, compounding, costs)
is a ``Basis`` that goes with it, so that it can be printed beside it.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import ConfigError, DataError
from hitherto.evaluate.inference import MIN_POINTS, Interval, mean_interval, ratio_intervals
from hitherto.evaluate.performance import clean, drawdown_curve, drawdowns, max_drawdown, sharpe
from hitherto.exchange.account import Book

Floats = NDArray[np.float64]
Dates = NDArray[np.datetime64]
Codes = NDArray[np.int64]
Compounding = Literal["compound", "simple mean", "linked in logs", "none"]

CALM, MIDDLE, TURBULENT = range(3)
FALLING, RISING = range(2)
REGIMES = {"volatility": ("calm", "middle", "turbulent"), "trend": ("falling", "rising")}
UNKNOWN = "not known"  # too few bars before it to say


@dataclass(frozen=True)
class Basis:
    """What a figure rests on, to be printed beside it.

    periods_per_year: bars a year. rf: yearly risk-free rate, a fraction, taken off arithmetically (rf / periods a bar).
    compounding: "compound" (product of 1 + r), "simple mean" (mean per bar x periods_per_year), "linked in logs"
    (parts scaled so that they add up to the compounded return), "none" (a share, a count, a correlation).
    costs: what was paid before the figure, in words, such as "net of fees and slippage".
    """

    periods_per_year: float
    rf: float
    compounding: Compounding
    costs: str

    def __str__(self) -> str:
        return f"{self.periods_per_year:g} bars a year, rf {self.rf:.2%} a year, {self.compounding}, {self.costs}"


@dataclass(frozen=True, eq=False)
class Heatmap:
    """Compounded net returns by month.

    years: (Y,) int64. months: (Y, 12) float64 fractions, NaN = no bar. bars: (Y, 12) int64 bars behind each (a first
    or last month may be cut). total: (Y,) float64 compounded return of each year.
    """

    years: NDArray[np.int64]
    months: Floats
    bars: NDArray[np.int64]
    total: Floats
    basis: Basis


@dataclass(frozen=True)
class ExposureRow:
    """One year of a book: mean gross and net exposure (fractions of equity), mean names held, and its trading.

    year: 0 for all of them. turnover: one-way, a year. cost: fees and slippage, fraction of equity a year.
    """

    year: int
    bars: int
    gross: float
    net: float
    names: float
    turnover: float
    cost: float


@dataclass(frozen=True, eq=False)
class Exposure:
    """What a book held after each bar.

    dates: (K,). gross, net: (K,) float64 fractions of equity. names: (K,) int64 holdings that are not 0. turnover:
    (K,) float64 one-way, per bar. rows: one per calendar year, and one of all (year 0) last.
    """

    dates: Dates
    gross: Floats
    net: Floats
    names: NDArray[np.int64]
    turnover: Floats
    rows: tuple[ExposureRow, ...]
    basis: Basis


@dataclass(frozen=True)
class RegimeRow:
    """The strategy on the bars of one regime.

    kind: "volatility" or "trend". name: see ``REGIMES``, or "not known". net: compounded over its bars. mean: annual
    arithmetic mean of the net return, with interval. sharpe: annual, with interval. market: compounded return of the
    market over the same bars. None where there are too few bars.
    """

    kind: str
    name: str
    bars: int
    share: float
    net: float
    market: float
    mean: Interval | None
    sharpe: Interval | None
    max_drawdown: float


@dataclass(frozen=True, eq=False)
class Regimes:
    """The strategy by the state of the market, as it was known before each bar.

    rows: the volatility regimes, then the trend ones. volatility, trend: (K - 1,) int64 codes of the bars of the
    returns, -1 = not known. window, trend_window: trailing bars behind them. least: earlier volatilities needed.
    """

    rows: tuple[RegimeRow, ...]
    volatility: Codes
    trend: Codes
    window: int
    trend_window: int
    least: int
    basis: Basis


@dataclass(frozen=True)
class DrawdownRow:
    """One fall: dates, depth (fraction <= 0), bars from peak to trough and from trough to recovery (None = not yet)."""

    peak: np.datetime64
    trough: np.datetime64
    recovery: np.datetime64 | None
    depth: float
    down: int
    up: int | None
    bars: int


@dataclass(frozen=True, eq=False)
class Drawdowns:
    """The deepest falls, the deepest first, and the underwater curve.

    dates, curve: (K,) wealth over its running peak, minus 1; entry 0 is the start. under: share of the bars below the
    peak. rows: ``DrawdownRow.bars`` counts from the peak to the recovery, or to the last bar while the fall lasts.
    """

    rows: tuple[DrawdownRow, ...]
    dates: Dates
    curve: Floats
    under: float
    basis: Basis


@dataclass(frozen=True, eq=False)
class Rolling:
    """The Sharpe ratio of the last ``window`` bars at each bar, with its pointwise band.

    dates, value, lo, hi: (K - window,) float64, annual; NaN where the window does not move. level: of the band.
    method: how the band was made, to be printed. outside: share of the windows whose band leaves out the Sharpe ratio
    of the whole series, ``whole``.
    """

    dates: Dates
    value: Floats
    lo: Floats
    hi: Floats
    window: int
    level: float
    method: str
    whole: float | None
    outside: float
    basis: Basis


def heatmap(returns: Floats, dates: Dates, basis: Basis) -> Heatmap:
    """Return the compounded returns by year and month; returns (K,), dates (K,) of the bars that end them."""
    r = _dated(returns, dates)
    month = dates.astype("datetime64[M]").astype(np.int64)
    years = np.arange(month.min() // 12, month.max() // 12 + 1)
    at = month - years[0] * 12
    bars = np.bincount(at, minlength=12 * len(years))
    grown, whole = np.ones(12 * len(years)), np.ones(len(years))
    np.multiply.at(grown, at, 1.0 + r)
    np.multiply.at(whole, at // 12, 1.0 + r)
    months = np.where(bars > 0, grown - 1.0, np.nan).reshape(-1, 12)
    total = np.where(bars.reshape(-1, 12).any(axis=1), whole - 1.0, np.nan)
    return Heatmap(years + 1970, months, bars.reshape(-1, 12), total, basis)


def exposure(book: Book, dates: Dates, basis: Basis) -> Exposure:
    """Return what ``book`` held after each of its K bars; dates (K,). DataError for a ruined book.

    A year's means and sums run over its bars; the first bar of the book only trades (it ends no return).
    """
    _alive(book)
    if len(dates) != len(book.equity) or len(dates) < 2:
        raise DataError(
            f"exposure: book '{book.name}' has {len(book.equity)} bars, given {len(dates)} dates; two at least"
        )
    value = np.where(book.shares != 0, book.shares * book.price, 0.0)
    gross, net = np.abs(value).sum(axis=1) / book.equity, value.sum(axis=1) / book.equity
    names = (book.shares != 0).sum(axis=1)
    paid = (book.fees + book.slippage) / np.r_[book.equity[:1], book.equity[:-1]]
    year = _years(dates)
    ends = np.arange(len(dates)) > 0
    rows = []
    for y in [*np.unique(year[ends]).tolist(), 0]:
        at = ends & (year == y) if y else ends
        sums = at | ((year == y) if y else True) & ~ends  # what the first bar traded counts in its year
        per = basis.periods_per_year / at.sum()
        rows.append(ExposureRow(
            y, int(at.sum()), float(gross[at].mean()), float(net[at].mean()), float(names[at].mean()),
            float(book.turnover[sums].sum() * per), float(paid[sums].sum() * per),
        ))  # fmt: skip
    return Exposure(dates, gross, net, names, book.turnover, tuple(rows), basis)


def regime_codes(market: Floats, window: int = 60, trend_window: int = 120, least: int = 250) -> tuple[Codes, Codes]:
    """Return the volatility and the trend regime of each bar, both (T,) int64, as they were known before it.

    market: (T,) simple returns, NaN = unknown. Row t reads rows before t alone: its volatility is the deviation
    (ddof = 1) of the last ``window`` returns, ranked among all the earlier ones of its kind (0 below a third of them,
    2 above two thirds, ties in the middle); its trend is the sign of the compounded last ``trend_window`` returns (1
    above 0). -1 = not known: fewer than half of a window's returns, or fewer than ``least`` earlier volatilities.
    """
    if window < 2 or trend_window < 1 or least < 1:
        raise ConfigError(f"regimes: windows of {window} and {trend_window} bars, least {least}; ask for more")
    T = len(market)
    volatility, trend, past = np.full(T, -1, np.int64), np.full(T, -1, np.int64), []
    seen, count = _trailing(np.log1p(market), trend_window)
    trend[2 * count >= trend_window] = FALLING
    trend[(2 * count >= trend_window) & (np.where(np.isnan(seen), 0.0, seen).sum(axis=1) > 0)] = RISING
    seen, count = _trailing(market, window)
    known = np.flatnonzero((count >= 2) & (2 * count >= window))
    for t, v in zip(known.tolist(), np.nanstd(seen[known], axis=1, ddof=1).tolist(), strict=True):
        if len(past) >= least:
            share = (bisect.bisect_left(past, v) + bisect.bisect_right(past, v)) / 2 / len(past)
            volatility[t] = CALM if share < 1 / 3 else TURBULENT if share > 2 / 3 else MIDDLE
        bisect.insort(past, v)
    return volatility, trend


def _trailing(x: Floats, window: int) -> tuple[Floats, NDArray[np.int64]]:
    """Return (T, window) the values of the rows before each row, NaN before the first, and how many are known."""
    padded = np.concatenate([np.full(window, np.nan), x[:-1]])
    seen = np.lib.stride_tricks.sliding_window_view(padded, window)
    return seen, (~np.isnan(seen)).sum(axis=1)


def regimes(
    returns: Floats, market: Floats, start: int, rng: np.random.Generator, basis: Basis, *, window: int = 60,
    trend_window: int = 120, least: int = 250, draws: int = 2000,
) -> Regimes:  # fmt: skip
    """Return the net returns (K,) of a book by regime of the market.

    market: (T,) simple returns of the market, all that is known of them; ``start``: row of the first return. The bars
    of a regime are laid end to end for the block bootstrap of mean and Sharpe ratio (95 %): it knows no dependence
    across the seams. Errors: DataError when the market is shorter than the returns.
    """
    r = clean(returns)
    if start < 0 or start + len(r) > len(market):
        raise DataError(f"regimes: {len(r)} returns from row {start}, the market has {len(market)} rows")
    codes = [c[start : start + len(r)] for c in regime_codes(market, window, trend_window, least)]
    m, rows = market[start : start + len(r)], []
    for (kind, names), code in zip(REGIMES.items(), codes, strict=True):
        for k in [*range(len(names)), -1]:
            at = code == k
            if k < 0 and not at.any():
                continue
            rows.append(_regime(kind, names[k] if k >= 0 else UNKNOWN, r[at], m[at], len(r), rng, basis, draws))
    return Regimes(tuple(rows), codes[0], codes[1], window, trend_window, least, basis)


def _regime(
    kind: str, name: str, r: Floats, market: Floats, whole: int, rng: np.random.Generator, basis: Basis, draws: int
) -> RegimeRow:
    n, per = len(r), basis.periods_per_year
    mean = ratio = None
    if n >= MIN_POINTS:
        mean = Interval(*(v * per for v in mean_interval(r, rng, draws)))
        try:
            ratio = ratio_intervals(r, rng, periods_per_year=per, rf=basis.rf, draws=draws).get("sharpe")
        except DataError:  # it hardly moved: the mean says so
            ratio = None
    known = market[np.isfinite(market)]
    return RegimeRow(
        kind, name, n, n / whole, float(np.prod(1.0 + r) - 1.0) if n else math.nan,
        float(np.prod(1.0 + known) - 1.0) if len(known) else math.nan, mean, ratio, max_drawdown(r) if n else math.nan,
    )  # fmt: skip


def falls(returns: Floats, dates: Dates, basis: Basis, top: int = 10) -> Drawdowns:
    """Return the ``top`` deepest drawdowns of returns (K - 1,) with their dates; dates (K,), the first is the start."""
    if len(dates) != len(returns) + 1:
        raise DataError(f"drawdowns: {len(returns)} returns need {len(returns) + 1} dates, got {len(dates)}")
    curve, rows = drawdown_curve(returns), []
    for d in drawdowns(returns, top):
        end = len(returns) if d.recovery is None else d.recovery
        rows.append(DrawdownRow(
            dates[d.peak], dates[d.trough], None if d.recovery is None else dates[end], d.depth, d.trough - d.peak,
            None if d.recovery is None else end - d.trough, end - d.peak,
        ))  # fmt: skip
    return Drawdowns(tuple(rows), dates, curve, float((curve[1:] < -1e-13).mean()), basis)


METHOD = (
    "pointwise band from the standard error of Mertens (2002): it allows for skew and fat tails and takes the bars of "
    "a window as independent; neighbouring windows share their bars"
)


def rolling_sharpe(returns: Floats, dates: Dates, basis: Basis, window: int = 252, level: float = 0.95) -> Rolling:
    """Return the Sharpe ratio of the last ``window`` of returns (K,) at each bar that has as many, with a band.

    Annual, mean(r - rf / p) / std(ddof=1) * sqrt(p). Standard error per bar: sqrt((1 - g S + (k - 1) / 4 S^2) / (n -
    1)) with skew g, kurtosis k (3 for a normal), the one behind the probabilistic Sharpe ratio. DataError when there
    are fewer returns than the window. Source: Mertens, "Comments on variance of the IID estimator in Lo (2002)", 2002.
    """
    from scipy.special import ndtri

    r = _dated(returns, dates)
    if not MIN_POINTS <= window <= len(r):
        raise DataError(f"rolling Sharpe: a window of {window} bars needs {MIN_POINTS} to {len(r)} (all there are)")
    if not 0 < level < 1:
        raise ConfigError(f"rolling Sharpe: level must lie between 0 and 1, got {level:g}")
    per = basis.periods_per_year
    w = np.lib.stride_tricks.sliding_window_view(r - basis.rf / per, window)
    mean, e = w.mean(axis=1), w - w.mean(axis=1, keepdims=True)
    second = (e * e).mean(axis=1)
    moves = np.ptp(w, axis=1) > 1e-13
    with np.errstate(divide="ignore", invalid="ignore"):
        s = mean / np.sqrt(second * window / (window - 1))
        skew, kurt = (e**3).mean(axis=1) / second**1.5, (e**4).mean(axis=1) / second**2
        error = np.sqrt(np.maximum(1.0 - skew * s + (kurt - 1.0) / 4.0 * s * s, 0.0) / (window - 1))
    half = float(ndtri((1 + level) / 2)) * error
    value, lo, hi = (np.where(moves, x * math.sqrt(per), np.nan) for x in (s, s - half, s + half))
    whole = sharpe(r, per, basis.rf)
    out = math.nan if whole is None or not moves.any() else float(((lo > whole) | (hi < whole))[moves].mean())
    return Rolling(dates[window - 1 :], value, lo, hi, window, level, METHOD, whole, out, basis)


def _years(dates: Dates) -> NDArray[np.int64]:
    return dates.astype("datetime64[Y]").astype(np.int64) + 1970


def _dated(returns: Floats, dates: Dates) -> Floats:
    r = clean(returns)
    if len(r) != len(dates):
        raise DataError(f"periods: {len(r)} returns, {len(dates)} dates; give the date of the bar that ends each")
    return r


def _alive(book: Book) -> None:
    if not (book.equity > 0).all():
        k = int(np.argmax(~(book.equity > 0)))
        raise DataError(
            f"book '{book.name}' is ruined at bar {k}: shares of an equity of {book.equity[k]:.6g} say nothing"
        )
