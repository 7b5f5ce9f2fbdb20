"""How good forecasts are: per-date IC and RankIC, squared error against the zero forecast, hit rate.

Realised returns come in only inside a Label. The vectorised NumPy functions are the definition; ``daily_ics`` is the
compiled twin that gives both series in one pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import ConfigError, DataError
from hitherto.evaluate.inference import (
    MIN_POINTS,
    Interval,
    TStat,
    mean_interval,
    newey_west_t,
    nonoverlapping_t,
    optimal_block,
    resampled_means,
)
from hitherto.labels import Label
from hitherto.models.base import Forecast
from hitherto.seeds import Stream

Floats = NDArray[np.float64]
MIN_PAIRS = 3


def pairs(pred: NDArray[Any], real: NDArray[Any]) -> tuple[Floats, Floats]:
    """Return both (T, N) as float64 with NaN wherever either is NaN; DataError on inf or unequal shapes."""
    x, y = np.array(pred, np.float64), np.array(real, np.float64)
    if x.shape != y.shape or x.ndim != 2:
        raise DataError(f"IC: forecasts have shape {x.shape}, realised values {y.shape}; both must be (T, N)")
    for name, v in (("forecast", x), ("realised value", y)):
        if np.isinf(v).any():
            t, n = np.argwhere(np.isinf(v))[0]
            raise DataError(f"IC: the {name} at row {t}, column {n} is infinite; a forecast must be a number or NaN")
    gap = np.isnan(x) | np.isnan(y)
    x[gap] = np.nan
    y[gap] = np.nan
    return x, y


def average_ranks(x: Floats) -> Floats:
    """Return (T, N) ranks 1.. within each row of ``x``, ties averaged; NaN stays NaN and takes no rank."""
    order = np.argsort(x, axis=1, kind="stable")  # NaN last
    s = np.take_along_axis(x, order, axis=1)
    place = np.broadcast_to(np.arange(x.shape[1]), x.shape)
    new = np.ones(x.shape, bool)
    new[:, 1:] = s[:, 1:] != s[:, :-1]
    last = np.ones(x.shape, bool)
    last[:, :-1] = new[:, 1:]
    first = np.maximum.accumulate(np.where(new, place, 0), axis=1)
    end = np.minimum.accumulate(np.where(last, place, x.shape[1])[:, ::-1], axis=1)[:, ::-1]
    out = np.empty(x.shape)
    np.put_along_axis(out, order, (first + end) / 2.0 + 1.0, axis=1)
    out[np.isnan(x)] = np.nan
    return out


def _correlate(x: Floats, y: Floats) -> Floats:
    """Pearson correlation of each row over its non-NaN cells, NaN where ``_moves`` says so."""
    out = np.full(len(x), np.nan)
    ok = _moves(x) & _moves(y)
    if not ok.any():
        return out
    units = []
    for v in (x[ok], y[ok]):
        e = v - np.nanmean(v, axis=1, keepdims=True)
        e /= np.nanmax(np.abs(e), axis=1, keepdims=True)  # squares of tiny deviations would underflow
        e /= np.sqrt(np.nansum(e * e, axis=1, keepdims=True))
        units.append(e)
    out[ok] = np.clip(np.nansum(units[0] * units[1], axis=1), -1.0, 1.0)
    return out


def _moves(x: Floats) -> NDArray[np.bool_]:
    """Rows with at least 3 numbers that are not all equal, up to 1e-13 of their size (below that lies rounding)."""
    known = ~np.isnan(x)
    high = np.where(known, x, -np.inf).max(axis=1, initial=-np.inf)
    low = np.where(known, x, np.inf).min(axis=1, initial=np.inf)
    return (known.sum(axis=1) >= MIN_PAIRS) & (high - low > 1e-13 * np.maximum(np.abs(low), np.abs(high)))


def daily_ic(pred: NDArray[Any], real: NDArray[Any]) -> Floats:
    """Return the Pearson correlation across names of each date, the IC.

    pred, real: (T, N), any unit. Returns (T,) float64 in -1..1. Pairs with a NaN are dropped; a date with fewer than 3
    pairs, or whose forecasts or realised values are all equal (up to 1e-13 of their size), is NaN. DataError on inf.
    """
    return _correlate(*pairs(pred, real))


def daily_rank_ic(pred: NDArray[Any], real: NDArray[Any]) -> Floats:
    """Return the Spearman correlation (ties averaged) across names of each date, the RankIC; see ``daily_ic``."""
    x, y = pairs(pred, real)
    out = _correlate(average_ranks(x), average_ranks(y))
    out[~(_moves(x) & _moves(y))] = np.nan
    return out


def daily_ics(pred: NDArray[Any], real: NDArray[Any]) -> tuple[Floats, Floats]:
    """Return (``daily_ic``, ``daily_rank_ic``), each (T,) float64, from one compiled pass (within 1e-9 of them)."""
    x = np.ascontiguousarray(pred, np.float64)
    y = np.ascontiguousarray(real, np.float64)
    if x.shape != y.shape or x.ndim != 2:
        pairs(x, y)
    ic, rank_ic = np.empty(len(x)), np.empty(len(x))
    from hitherto.evaluate import kernels  # numba

    if not kernels.daily_ics(x, y, MIN_PAIRS, ic, rank_ic):
        pairs(x, y)  # raises the DataError that names the infinite cell
    return ic, rank_ic


def mse_ratio(pred: NDArray[Any], real: NDArray[Any]) -> float | None:
    """Return the squared error of ``pred`` over that of the zero forecast, pooled over all pairs of (T, N).

    Below 1 is better than forecasting nothing. None when there is no pair or every realised value is 0.
    """
    x, y = pairs(pred, real)
    zero = float(np.nansum(y * y))
    return float(np.nansum((x - y) ** 2)) / zero if zero > 0 else None


def hit_rate(pred: NDArray[Any], real: NDArray[Any]) -> float | None:
    """Return the share of pairs whose signs agree, among those where neither is 0; None when there is none."""
    x, y = pairs(pred, real)
    taken = (x * y != 0) & ~np.isnan(x)
    return float((np.sign(x[taken]) == np.sign(y[taken])).mean()) if taken.any() else None


@dataclass(frozen=True)
class FoldIC:
    """The daily IC of one fold: mean, ICIR and interval are None where the dates are too few; n dates have an IC."""

    mean: float | None
    icir: float | None
    n: int
    interval: Interval | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        bounds = {"lo": self.interval.lo, "hi": self.interval.hi} if self.interval else {"lo": None, "hi": None}
        return {"mean": self.mean, "icir": self.icir, "dates": self.n, **bounds}


@dataclass(frozen=True)
class ICSummary:
    """A daily IC series in short.

    mean, std (ddof=1), icir = mean / std (daily, not annualised): None when there are too few dates.
    n: dates with an IC. interval: block-bootstrap interval of the mean, None below 10 dates.
    folds: fold -> the same of its dates.
    reason: why numbers are missing, "" when none is.
    newey_west: t-statistic of the mean with horizon - 1 lags, None where there is none; it carries the warning to print
    with it. nonoverlapping: that of every horizon-th date alone, whose labels share no bar.
    """

    mean: float | None
    std: float | None
    icir: float | None
    n: int
    interval: Interval | None
    folds: dict[int, FoldIC]
    reason: str = ""
    newey_west: TStat | None = None
    nonoverlapping: TStat | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, without the warning (``inference.NEWEY_WEST_WARNING``)."""
        lo, hi = (self.interval.lo, self.interval.hi) if self.interval else (None, None)
        return {
            "mean": self.mean, "std": self.std, "icir": self.icir, "dates": self.n, "lo": lo, "hi": hi,
            "newey_west": _t_to_dict(self.newey_west), "nonoverlapping": _t_to_dict(self.nonoverlapping),
            "folds": {str(k): v.to_dict() for k, v in self.folds.items()}, "reason": self.reason,
        }  # fmt: skip


def _t_to_dict(t: TStat | None) -> dict[str, Any] | None:
    return None if t is None else {"t": t.t, "n": t.n}


@dataclass(frozen=True, eq=False)
class ForecastSummary:
    """One output of one forecast against what came.

    ic, rank_ic: the two IC summaries; daily_ic, daily_rank_ic: (T,) float64 behind them, NaN where there is none.
    daily_error, daily_zero: (T,) mean squared error of the forecast and of zero over the names of each date.
    mse_ratio: squared error over the zero forecast's; skill: 1 - that ratio, with its interval over dates.
    hit_rate: share of agreeing signs. horizon: bars.
    """

    model: str
    output: str
    horizon: int
    ic: ICSummary
    rank_ic: ICSummary
    mse_ratio: float | None
    skill: Interval | None
    hit_rate: float | None
    daily_ic: Floats
    daily_rank_ic: Floats
    daily_error: Floats
    daily_zero: Floats

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers (without the daily series) as plain JSON types."""
        out: dict[str, Any] = {"model": self.model, "output": self.output, "horizon": self.horizon}
        out |= {"ic": self.ic.to_dict(), "rank_ic": self.rank_ic.to_dict()}
        skill = list(self.skill) if self.skill else None
        return out | {"mse_ratio": self.mse_ratio, "skill": skill, "hit_rate": self.hit_rate}


def ic_summary(
    daily: Floats, fold: NDArray[np.integer[Any]], rng: np.random.Generator, *, horizon: int = 1, draws: int = 2000,
    level: float = 0.95,
) -> ICSummary:  # fmt: skip
    """Summarise a daily IC series.

    daily: (T,) float64, NaN = no IC that date (left out). fold: (T,) fold of origin, -1 outside. horizon: bars of the
    label; blocks are never shorter, since overlapping labels make neighbouring ICs dependent.
    """
    seen = (fold >= 0) & ~np.isnan(daily)
    x = daily[seen]
    whole = _fold_ic(x, rng, horizon, draws, level)
    folds = {int(k): _fold_ic(x[fold[seen] == k], rng, horizon, draws, level) for k in np.unique(fold[fold >= 0])}
    why = ""
    if len(x) < 2:
        dates = int((fold >= 0).sum())
        why = f"{len(x)} of {dates} dates have an IC; one needs {MIN_PAIRS} pairs and unequal forecasts"
    elif len(x) < MIN_POINTS:
        why = f"{len(x)} dates are too few for an interval"
    std = float(x.std(ddof=1)) if len(x) > 1 else None
    return ICSummary(
        whole.mean, std, whole.icir, len(x), whole.interval, folds, why,
        _t(newey_west_t, x, horizon - 1), _t(nonoverlapping_t, x, horizon),
    )  # fmt: skip


def _t(of: Callable[[Floats, int], TStat], x: Floats, bars: int) -> TStat | None:
    try:
        return of(x, bars) if bars < len(x) else None
    except DataError:  # too few dates, or a mean without variation
        return None


def _fold_ic(x: Floats, rng: np.random.Generator, horizon: int, draws: int, level: float) -> FoldIC:
    if len(x) < 2:
        return FoldIC(float(x[0]) if len(x) else None, None, len(x), None)
    mean = float(x.mean())
    icir = mean / float(x.std(ddof=1)) if x.max() > x.min() else None
    if len(x) < MIN_POINTS:
        return FoldIC(mean, icir, len(x), None)
    block = min(max(optimal_block(x), float(horizon)), float(len(x)))
    return FoldIC(mean, icir, len(x), mean_interval(x, rng, draws, level, block))


def summarise(
    forecast: Forecast, label: Label, output: int | str = 0, *, rng: Stream, draws: int = 2000, level: float = 0.95
) -> ForecastSummary:
    """Return IC, RankIC, squared error and hit rate of one output on its out-of-sample dates (fold >= 0).

    forecast.values and label.values: (T, N, O). output: position or name. ConfigError when the name is unknown,
    DataError when the shapes differ or a forecast is infinite.
    """
    if forecast.values.shape != label.values.shape:
        raise DataError(
            f"evaluate: forecast '{forecast.model}' has shape {forecast.values.shape}, the label {label.values.shape}; "
            "evaluate a forecast against the label it was made for"
        )
    if isinstance(output, str) and output not in forecast.names:
        raise ConfigError(f"evaluate: no output '{output}'; the forecast has {', '.join(forecast.names)}")
    o = forecast.names.index(output) if isinstance(output, str) else output
    pred, real = forecast.values[..., o], label.values[..., o]
    pred = np.where((forecast.fold >= 0)[:, None], pred, np.nan)
    ic, rank_ic = daily_ics(pred, real)
    horizon = label.horizons[o]
    short = [
        ic_summary(x, forecast.fold, rng.numpy(name), horizon=horizon, draws=draws, level=level)
        for name, x in (("ic", ic), ("rank_ic", rank_ic))
    ]
    x, y = pairs(pred, real)
    error, zero = np.square(x - y), np.square(y)
    return ForecastSummary(
        forecast.model, forecast.names[o], horizon, short[0], short[1], mse_ratio(pred, real),
        _skill(error, zero, rng.numpy("skill"), horizon, draws, level), hit_rate(pred, real), ic, rank_ic,
        _date_means(error), _date_means(zero),
    )  # fmt: skip


def _date_means(x: Floats) -> Floats:
    """Return the mean of each row of ``x`` (T, N) over its numbers, NaN where it has none."""
    count = (~np.isnan(x)).sum(axis=1)
    return np.where(count > 0, np.nansum(x, axis=1) / np.maximum(count, 1), np.nan)


def _skill(
    errors: Floats, zeros: Floats, rng: np.random.Generator, horizon: int, draws: int, level: float
) -> Interval | None:
    """1 - squared errors / those of zero, both (T, N); dates drawn in blocks, numerator and denominator together."""
    dates = ~np.isnan(errors).all(axis=1)
    error, zero = np.nansum(errors[dates], axis=1), np.nansum(zeros[dates], axis=1)
    if len(zero) < MIN_POINTS or zero.sum() <= 0:
        return None
    block = min(max(optimal_block(error - zero), float(horizon)), float(len(zero)))
    drawn = resampled_means(np.stack([error, zero], axis=1), rng, draws, block)
    ratios = drawn[:, 0][drawn[:, 1] > 0] / drawn[:, 1][drawn[:, 1] > 0]
    if not len(ratios):
        return None
    lo, hi = np.quantile(1.0 - ratios, [(1 - level) / 2, (1 + level) / 2])
    return Interval(1.0 - float(error.sum() / zero.sum()), float(lo), float(hi))
