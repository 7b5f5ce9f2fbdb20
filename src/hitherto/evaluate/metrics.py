"""The further figures of the field, one definition each: tails, pain, hits, and the strategy against a market.

The conventions are those of ``performance``: simple returns per bar, ``periods_per_year`` and ``rf`` (a yearly
fraction, rf / periods_per_year taken off each bar) stated in every call, ddof = 1, NaN and inf refused, a ratio without
a denominator is None. Definitions are those of empyrical-reloaded where it has one; docs/metrics.md lists them all and
says where they part. ``figures`` returns every one of them together with what it rests on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hitherto.errors import ConfigError, DataError
from hitherto.evaluate import performance as perf
from hitherto.evaluate.performance import ROUNDING, Floats, clean, excess
from hitherto.evaluate.periods import Basis, Compounding

Side = Literal["all", "up", "down"]
By = Literal["week", "month", "quarter", "year"]
MONDAY = 3  # 1970-01-01, day 0 of datetime64, was a Thursday

REASONS = perf.REASONS | {
    "stability_of_timeseries": "fewer than two returns, or wealth that never moved or was lost altogether",
    "martin_ratio": "there was no drawdown",
    "recovery_factor": "there was no drawdown",
    "gain_to_pain_ratio": "there was no loss",
    "profit_factor": "there was no loss",
    "common_sense_ratio": "there was no loss, or the 5 % quantile of the returns is 0",
    "payoff_ratio": "there was no gain or no loss",
    "win_rate": "every return is 0",
    "starr_ratio": "the mean of the worst 5 % is no loss",
    "alpha": "no beta, or a mean excess of -100 % a bar or less: it cannot be compounded",
    "beta": "fewer than two bars of this market, or it stood still",
    "capture": "no bar of this market, or it ended where it began",
    "up_down_capture": "no rising or no falling bar of the market",
    "batting_average": "no bar of this market",
    "tracking_error": "fewer than two returns",
    "information_ratio": "the active returns are constant: their deviation is 0",
    "treynor_ratio": "beta is 0, or there is none",
    "r_squared": "the returns or the market are constant",
    "beta_fragility_heuristic": "fewer than three bars",
}  # fmt: skip


def cum_returns(returns: ArrayLike) -> Floats:
    """Return (K,) float64: the compounded return from the start up to and including each bar, fractions."""
    return perf.wealth(returns)[1:] - 1.0


def aggregate_returns(returns: ArrayLike, dates: ArrayLike, by: By) -> tuple[NDArray[np.datetime64], Floats]:
    """Return the first days (P,) datetime64[D] of the calendar weeks, months, quarters or years, and their returns.

    The returns (P,) are compounded, float64 fractions; ``dates`` (K,) are the days of the bars, none before the one
    above it; a return belongs to the bar that ends it; weeks begin on Monday. Periods without a bar are left out.
    """
    r = clean(returns)
    d = np.asarray(dates, dtype="datetime64[D]")
    if d.shape != r.shape:
        raise DataError(f"returns and dates: {len(r)} returns and dates of shape {d.shape}; give one date to each")
    if np.isnat(d).any() or (d[1:] < d[:-1]).any():
        raise DataError("dates: one is empty or before the one above it; sort the returns by date")
    if by == "week":
        days = d.astype(np.int64)
        start = (days - (days + MONDAY) % 7).astype("datetime64[D]")
    elif by in ("month", "year"):
        start = d.astype("datetime64[M]" if by == "month" else "datetime64[Y]").astype("datetime64[D]")
    elif by == "quarter":
        start = (d.astype("datetime64[M]").astype(np.int64) // 3 * 3).astype("datetime64[M]").astype("datetime64[D]")
    else:
        raise ConfigError(f"aggregate_returns: by must be 'week', 'month', 'quarter' or 'year', got {by!r}")
    first = np.flatnonzero(np.concatenate([[True], start[1:] != start[:-1]]))
    return start[first], np.multiply.reduceat(1.0 + r, first) - 1.0


def downside_risk(returns: ArrayLike, periods_per_year: float, rf: float) -> float:
    """Return sqrt(mean(min(e, 0)^2)) * sqrt(p), e = r - rf / p, a yearly fraction >= 0; all bars count in the mean.

    Source: Sortino & van der Meer (1991).
    """
    e = excess(returns, periods_per_year, rf)
    return math.sqrt(float(np.mean(np.minimum(e, 0.0) ** 2))) * math.sqrt(periods_per_year)


def stability_of_timeseries(returns: ArrayLike) -> float | None:
    """Return R^2 of the straight line through the cumulated log returns, 0 to 1.

    None for one return, for wealth that never moved, and where everything was lost. Source: empyrical.
    """
    r = clean(returns)
    if len(r) < 2 or (r == -1).any():
        return None
    return _correlation_squared(np.arange(len(r), dtype=np.float64), np.cumsum(np.log1p(r)))


def ulcer_index(returns: ArrayLike) -> float:
    """Return the root mean square of the drawdowns at the K bars, a fraction >= 0. Source: Martin & McCann (1989)."""
    return math.sqrt(float(np.mean(perf.drawdown_curve(returns)[1:] ** 2)))


def martin_ratio(returns: ArrayLike, periods_per_year: float, rf: float) -> float | None:
    """Return (CAGR - rf) / ulcer index, also called ulcer performance index; None when there was no drawdown.

    Source: Martin & McCann (1989).
    """
    excess(returns, periods_per_year, rf)  # refuses a rate that is no yearly fraction
    pain = ulcer_index(returns)
    return (perf.cagr(returns, periods_per_year) - rf) / pain if pain > ROUNDING else None


def recovery_factor(returns: ArrayLike) -> float | None:
    """Return the compounded return of the whole series / |max drawdown|; None when there was no drawdown."""
    depth = perf.max_drawdown(returns)
    return perf.total_return(returns) / -depth if depth < -ROUNDING else None


def longest_drawdown(returns: ArrayLike) -> int:
    """Return the bars from the peak to the recovery of the longest fall, or to the end if it lasts; 0 without one."""
    last = len(clean(returns))
    return max(
        (((last if d.recovery is None else d.recovery) - d.peak) for d in perf.drawdowns(returns, last)), default=0
    )


def gain_to_pain_ratio(returns: ArrayLike) -> float | None:
    """Return sum(r) / |sum of the losses|, which is the profit factor less 1; None without a loss.

    Source: Schwager (2012), who takes it of monthly returns: use ``aggregate_returns`` first for his figure.
    """
    factor = profit_factor(returns)
    return None if factor is None else factor - 1.0


def profit_factor(returns: ArrayLike) -> float | None:
    """Return the sum of the gains / |sum of the losses| (omega against 0); None without a loss."""
    return perf.omega(returns, 1.0)


def payoff_ratio(returns: ArrayLike) -> float | None:
    """Return the mean gain / |mean loss|, bars of exactly 0 in neither; None without a gain or without a loss."""
    r = clean(returns)
    loss = -float(r[r < 0].mean()) if (r < 0).any() else 0.0
    return float(r[r > 0].mean()) / loss if loss > ROUNDING and (r > 0).any() else None


def win_rate(returns: ArrayLike) -> float | None:
    """Return the share of gains among the bars whose return is not 0; None when every return is 0."""
    r = clean(returns)
    moved = int((r != 0).sum())
    return int((r > 0).sum()) / moved if moved else None


def common_sense_ratio(returns: ArrayLike) -> float | None:
    """Return the profit factor times the tail ratio; None where either is."""
    factor, tail = profit_factor(returns), perf.tail_ratio(returns)
    return None if factor is None or tail is None else factor * tail


def starr_ratio(returns: ArrayLike, periods_per_year: float, rf: float, cutoff: float = 0.05) -> float | None:
    """Return mean(e) / -CVaR(e), e = r - rf / p, per bar, not annualised; None when the CVaR is no loss.

    The CVaR is the historical one of ``performance``. Source: Martin, Rachev & Siboulet (2003).
    """
    e = excess(returns, periods_per_year, rf)
    tail = perf.tail_mean(e, cutoff)
    return float(e.mean()) / -tail if tail < -ROUNDING else None


def _pair(returns: ArrayLike, market: ArrayLike, side: Side = "all") -> tuple[Floats, Floats]:
    """Return both series, valid and of one length, on the bars where the market rose, fell, or on all."""
    r, m = clean(returns), clean(market, what="market")
    if len(r) != len(m):
        raise DataError(f"returns and market: {len(r)} and {len(m)} bars; bar k of both must be the same bar")
    same = getattr(getattr(returns, "index", None), "equals", None)  # of a pandas Series
    if same is not None and hasattr(market, "iloc") and not same(getattr(market, "index", None)):
        raise DataError("returns and market: their dates differ; join them by date first")
    if side not in ("all", "up", "down"):
        raise ConfigError(f"metrics: side must be 'all', 'up' or 'down', got {side!r}")
    keep = m > 0 if side == "up" else m < 0 if side == "down" else np.ones(len(m), bool)
    return r[keep], m[keep]


def beta(returns: ArrayLike, market: ArrayLike, side: Side = "all") -> float | None:
    """Return cov(r, m) / var(m) over all bars, or those where the market rose (m > 0) or fell (m < 0).

    None for fewer than two such bars or a market that stood still. A constant rf would not change it.
    """
    r, m = _pair(returns, market, side)
    return _slope(r, m)


def alpha(
    returns: ArrayLike, market: ArrayLike, periods_per_year: float, rf: float, side: Side = "all"
) -> float | None:
    """Return (1 + mean(e - beta * e_m))^p - 1, Jensen's alpha a year; e and e_m are in excess of rf / p a bar.

    The intercept of the regression of a bar is compounded over a year, as empyrical does. ``side`` as for ``beta``.
    None without a beta, or with a mean of -100 % or less. Source: Jensen (1968).
    """
    excess(returns, periods_per_year, rf)
    r, m = _pair(returns, market, side)
    b = _slope(r, m)
    if b is None:
        return None
    per_bar = rf / periods_per_year
    mean = float(np.mean((r - per_bar) - b * (m - per_bar)))
    return perf.grown(1.0 + mean, periods_per_year, "alpha") if mean > -1 else None


def capture(returns: ArrayLike, market: ArrayLike, periods_per_year: float, side: Side = "all") -> float | None:
    """Return the CAGR of the strategy / that of the market, over all bars or those where the market rose or fell.

    The bars of a side are strung together and annualised as if there were no others, as empyrical does. None without
    such a bar, or when the market ended where it began.
    """
    r, m = _pair(returns, market, side)
    if not len(m):
        return None
    base = perf.cagr(m, periods_per_year)
    return perf.cagr(r, periods_per_year) / base if abs(base) > ROUNDING else None


def up_down_capture(returns: ArrayLike, market: ArrayLike, periods_per_year: float) -> float | None:
    """Return the up capture / the down capture; None where either is None or the latter is 0."""
    up, down = (capture(returns, market, periods_per_year, side) for side in ("up", "down"))
    return None if up is None or down is None or abs(down) <= ROUNDING else up / down


def batting_average(returns: ArrayLike, market: ArrayLike, side: Side = "all") -> float | None:
    """Return the share of bars on which the strategy beat the market (a tie is no win), of all, rising or falling."""
    r, m = _pair(returns, market, side)
    return float(np.mean(r > m)) if len(m) else None


def tracking_error(returns: ArrayLike, market: ArrayLike, periods_per_year: float) -> float | None:
    """Return std(r - m, ddof=1) * sqrt(p), a yearly fraction; None for a single bar."""
    r, m = _pair(returns, market)
    perf.check_clock(periods_per_year)
    return float((r - m).std(ddof=1)) * math.sqrt(periods_per_year) if len(r) > 1 else None


def information_ratio(returns: ArrayLike, market: ArrayLike, periods_per_year: float) -> float | None:
    """Return mean(r - m) / std(r - m, ddof=1) * sqrt(p); None when r - m is constant.

    empyrical's excess_sharpe is this with p = 1. Source: Grinold & Kahn (1999).
    """
    r, m = _pair(returns, market)
    perf.check_clock(periods_per_year)
    active = r - m
    if np.ptp(active) <= ROUNDING:
        return None
    return float(active.mean() / active.std(ddof=1) * math.sqrt(periods_per_year))


def treynor_ratio(returns: ArrayLike, market: ArrayLike, periods_per_year: float, rf: float) -> float | None:
    """Return mean(r - rf / p) * p / beta, a yearly fraction; None when beta is 0. Source: Treynor (1965)."""
    b = beta(returns, market)
    e = excess(returns, periods_per_year, rf)
    return None if b is None or abs(b) <= ROUNDING else float(e.mean()) * periods_per_year / b


def r_squared(returns: ArrayLike, market: ArrayLike) -> float | None:
    """Return the squared correlation of strategy and market, 0 to 1; None when either is constant."""
    r, m = _pair(returns, market)
    return _correlation_squared(r, m)


def beta_fragility_heuristic(returns: ArrayLike, market: ArrayLike) -> float | None:
    """Return the convexity of the strategy in the market from three bars: negative means fragile, a fraction per bar.

    The bars of the market's lowest, middle (position K // 2 of the sorted) and highest return; the strategy's middle
    return is taken off the straight line through the outer two. Ties stand in the order of time. None for fewer than
    three bars. Source: Taleb, Canetti, Kinda, Loukoianova & Schmieder (2012), as empyrical reads it.
    """
    r, m = _pair(returns, market)
    if len(r) < 3:
        return None
    low, mid, high = np.argsort(m, kind="stable")[[0, len(m) // 2, len(m) - 1]]
    span = m[high] - m[low]
    share = (m[high] - m[mid]) / span if span > 0 else 0.5
    rest = (m[mid] - m[low]) / span if span > 0 else 0.5
    return float(share * r[low] + rest * r[high] - r[mid])


def rolling(metric: Callable[..., float | None], window: int, *series: ArrayLike, **settings: Any) -> Floats:
    """Return (K - window + 1,) float64: ``metric`` of the last ``window`` bars at each bar from the first full window.

    ``series`` are its (K,) inputs (returns, or returns and market), ``settings`` its other arguments by name, such as
    ``periods_per_year=252, rf=0.0``. NaN where the metric is None. Nothing after a bar enters its value.
    """
    s = [clean(x) for x in series]
    if len({len(x) for x in s}) != 1 or not 1 <= window <= len(s[0]):
        raise ConfigError(
            f"rolling: a window of {window} bars over series of {', '.join(str(len(x)) for x in s)}; "
            "give series of one length and a window of 1 up to it"
        )
    values = [metric(*(x[k : k + window] for x in s), **settings) for k in range(len(s[0]) - window + 1)]
    return np.array([math.nan if v is None else v for v in values])


def _slope(r: Floats, m: Floats) -> float | None:
    if len(m) < 2 or np.ptp(m) <= ROUNDING:
        return None
    e = m - m.mean()
    return float(np.mean(e * (r - r.mean())) / np.mean(e**2))  # centred twice: exact where r hardly moves


def _correlation_squared(x: Floats, y: Floats) -> float | None:
    if np.ptp(x) <= ROUNDING or np.ptp(y) <= ROUNDING:
        return None
    u, v = x - x.mean(), y - y.mean()
    return min(1.0, float(np.mean(u * v) ** 2 / (np.mean(u**2) * np.mean(v**2))))


class Metric(NamedTuple):
    """One figure of the table: how it is worked out from (returns, market, periods_per_year, rf), and its unit.

    unit: "fraction" (of wealth; "a bar", "a year", "of bars"), "ratio", "ratio a year" (annualised), "number", "bars".
    """

    of: Callable[[Floats, Floats, float, float], float | None]
    unit: str
    compounding: Compounding
    reason: str = ""
    market: bool = False


def _metric(
    of: Callable[..., float | None], unit: str, compounding: Compounding = "none", takes: str = "", side: str = ""
) -> Metric:
    """Return the row of ``of``, which ``takes`` "m" (the market), "p" (periods_per_year), "f" (rf) in this order."""
    extra = {"side": side} if side else {}

    def call(r: Floats, m: Floats, p: float, f: float) -> float | None:
        return of(r, *({"m": m, "p": p, "f": f}[k] for k in takes), **extra)

    return Metric(call, unit, compounding, REASONS.get(of.__name__, ""), "m" in takes)


METRICS: dict[str, Metric] = {
    "total_return": _metric(perf.total_return, "fraction", "compound"),
    "cagr": _metric(perf.cagr, "fraction a year", "compound", "p"),
    "annual_volatility": _metric(perf.annual_volatility, "fraction a year", "simple mean", "p"),
    "downside_risk": _metric(downside_risk, "fraction a year", "simple mean", "pf"),
    "sharpe": _metric(perf.sharpe, "ratio a year", "simple mean", "pf"),
    "sortino": _metric(perf.sortino, "ratio a year", "simple mean", "pf"),
    "calmar": _metric(perf.calmar, "ratio a year", "compound", "p"),
    "omega": _metric(perf.omega, "ratio", "none", "pf"),
    "max_drawdown": _metric(perf.max_drawdown, "fraction", "compound"),
    "longest_drawdown": _metric(longest_drawdown, "bars", "compound"),
    "ulcer_index": _metric(ulcer_index, "fraction", "compound"),
    "martin_ratio": _metric(martin_ratio, "ratio a year", "compound", "pf"),
    "recovery_factor": _metric(recovery_factor, "ratio", "compound"),
    "stability_of_timeseries": _metric(stability_of_timeseries, "ratio", "compound"),
    "value_at_risk": _metric(perf.value_at_risk, "fraction a bar"),
    "conditional_value_at_risk": _metric(perf.conditional_value_at_risk, "fraction a bar"),
    "starr_ratio": _metric(starr_ratio, "ratio", "none", "pf"),
    "tail_ratio": _metric(perf.tail_ratio, "ratio"),
    "skew": _metric(perf.skew, "number"),
    "kurtosis": _metric(perf.kurtosis, "number"),
    "win_rate": _metric(win_rate, "fraction of bars"),
    "payoff_ratio": _metric(payoff_ratio, "ratio"),
    "profit_factor": _metric(profit_factor, "ratio"),
    "gain_to_pain_ratio": _metric(gain_to_pain_ratio, "ratio"),
    "common_sense_ratio": _metric(common_sense_ratio, "ratio"),
    "alpha": _metric(alpha, "fraction a year", "compound", "mpf"),
    "up_alpha": _metric(alpha, "fraction a year", "compound", "mpf", "up"),
    "down_alpha": _metric(alpha, "fraction a year", "compound", "mpf", "down"),
    "beta": _metric(beta, "number", "none", "m"),
    "up_beta": _metric(beta, "number", "none", "m", "up"),
    "down_beta": _metric(beta, "number", "none", "m", "down"),
    "r_squared": _metric(r_squared, "ratio", "none", "m"),
    "tracking_error": _metric(tracking_error, "fraction a year", "simple mean", "mp"),
    "information_ratio": _metric(information_ratio, "ratio a year", "simple mean", "mp"),
    "treynor_ratio": _metric(treynor_ratio, "fraction a year", "simple mean", "mpf"),
    "capture": _metric(capture, "ratio", "compound", "mp"),
    "up_capture": _metric(capture, "ratio", "compound", "mp", "up"),
    "down_capture": _metric(capture, "ratio", "compound", "mp", "down"),
    "up_down_capture": _metric(up_down_capture, "ratio", "compound", "mp"),
    "batting_average": _metric(batting_average, "fraction of bars", "none", "m"),
    "up_batting_average": _metric(batting_average, "fraction of bars", "none", "m", "up"),
    "down_batting_average": _metric(batting_average, "fraction of bars", "none", "m", "down"),
    "beta_fragility_heuristic": _metric(beta_fragility_heuristic, "fraction a bar", "none", "m"),
}


@dataclass(frozen=True)
class Figure:
    """One metric with its unit and what it rests on; ``value`` is None for the reason given."""

    name: str
    value: float | None
    unit: str
    basis: Basis
    reason: str = ""

    def __str__(self) -> str:
        value = f"none: {self.reason}" if self.value is None else f"{self.value:.6g}"
        return f"{self.name} {value} ({self.unit}; {self.basis})"


def figures(
    returns: ArrayLike, *, periods_per_year: float, rf: float, costs: str, market: ArrayLike | None = None
) -> tuple[Figure, ...]:
    """Return every metric of (K,) simple returns, and with ``market`` (K,) those against it too, each with its basis.

    Nothing is assumed: ``costs`` says in words what was paid before these returns ("net of fees and slippage",
    "gross"). ConfigError where it says nothing.
    """
    if not costs.strip():
        raise ConfigError("figures: say what was paid before these returns, such as costs='net of fees and slippage'")
    r = clean(returns)
    m = r if market is None else _pair(r, market)[1]
    out = []
    for name, metric in METRICS.items():
        if metric.market and market is None:
            continue
        value = metric.of(r, m, periods_per_year, rf)
        basis = Basis(periods_per_year, rf, metric.compounding, costs)
        out.append(Figure(name, value, metric.unit, basis, metric.reason if value is None else ""))
    return tuple(out)
