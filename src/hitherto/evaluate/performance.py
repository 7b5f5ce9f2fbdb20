"""Performance of simple returns and of a Book: the definitions of empyrical-reloaded, our rules where it is silent.

Conventions, one each: returns are simple fractions per bar; ``periods_per_year`` is stated by the caller; ``rf`` is a
yearly rate, taken off arithmetically (rf / periods_per_year per bar); deviations use ddof = 1; VaR and CVaR are
historical. NaN and inf are refused, a ratio without a denominator (below 1e-13: rounding) is None, and a series is
never taken for prices.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hitherto.errors import ConfigError, DataError
from hitherto.exchange.account import Book

Floats = NDArray[np.float64]

ROUNDING = 1e-13  # returns of an equity curve carry errors of about 2e-16: a smaller spread is no spread

REASONS = {
    "annual_volatility": "fewer than two returns",
    "sharpe": "the returns are constant: their deviation is 0",
    "sortino": "no return is below the risk-free rate",
    "calmar": "there was no drawdown",
    "omega": "no return is below the risk-free rate",
    "tail_ratio": "the 5 % quantile of the returns is 0",
    "skew": "the returns are constant: their deviation is 0",
    "kurtosis": "the returns are constant: their deviation is 0",
    "cagr_calendar": "the length in calendar years was not given",
}


def clean(returns: ArrayLike, nan: Literal["refuse", "drop", "zero"] = "refuse", what: str = "returns") -> Floats:
    """Return ``returns`` as a valid (K,) float64 array of simple returns, fractions per bar.

    nan: "refuse" raises a DataError; "drop" leaves the bars out, so the clock runs on observed bars only; "zero"
    holds cash on them, so the clock counts them. what: its name in the messages. DataError also on inf, on an empty
    series and on a return below -100 % (equity below zero cannot be compounded).
    """
    r = np.asarray(returns, dtype=np.float64)
    if r.ndim != 1:
        raise DataError(f"{what}: expected one dimension, got shape {r.shape}")
    gaps = np.isnan(r)
    if gaps.any() and nan == "refuse":
        raise DataError(
            f"{what}: {int(gaps.sum())} of {len(r)} are NaN, the first at bar {int(np.argmax(gaps))}; "
            "say what they mean: clean(returns, nan='drop') or nan='zero'"
        )
    if nan not in ("refuse", "drop", "zero"):
        raise ConfigError(f"{what}: nan must be 'refuse', 'drop' or 'zero', got {nan!r}")
    r = r[~gaps] if nan == "drop" else np.where(gaps, 0.0, r)
    if not len(r):
        raise DataError(f"{what}: there is no return in this series")
    if np.isinf(r).any():
        raise DataError(f"{what}: infinite at bar {int(np.argmax(np.isinf(r)))}; a price of 0 was divided by")
    if (r < -1).any():
        k = int(np.argmax(r < -1))
        raise DataError(f"{what}: {r[k]:.2%} at bar {k}; below -100 % there is no equity left to compound")
    return r


def wealth(returns: ArrayLike) -> Floats:
    """Return (K + 1,) float64: what 1 has become after each return; entry 0 is the start. DataError beyond float64."""
    with np.errstate(over="ignore"):
        w = np.concatenate([[1.0], np.cumprod(1.0 + clean(returns))])
    if np.isinf(w).any():
        raise DataError(
            f"returns: wealth is beyond any number at bar {int(np.argmax(np.isinf(w))) - 1}; "
            "returns are fractions (0.01 = 1 %), not per cent and not prices"
        )
    return w


def _final(r: Floats) -> float:
    with np.errstate(over="ignore"):
        last = float(np.prod(1.0 + r))
    return last if math.isfinite(last) else float(wealth(r)[-1])


def total_return(returns: ArrayLike) -> float:
    """Return the compounded return of the whole series, a fraction."""
    return _final(clean(returns)) - 1.0


def cagr(returns: ArrayLike, periods_per_year: float, years: float | None = None) -> float:
    """Return the compound annual growth rate, a fraction; the clock is n / periods_per_year, or ``years`` if given."""
    r = clean(returns)
    check_clock(periods_per_year)
    span = len(r) / periods_per_year if years is None else years
    if not span > 0:
        raise ConfigError(f"CAGR: the series must span more than 0 years, got {span:g}")
    return grown(_final(r), 1.0 / span, "CAGR")


def annual_volatility(returns: ArrayLike, periods_per_year: float) -> float | None:
    """Return std(ddof=1) * sqrt(periods_per_year); None for a single return."""
    r = clean(returns)
    check_clock(periods_per_year)
    return float(r.std(ddof=1) * math.sqrt(periods_per_year)) if len(r) > 1 else None


def sharpe(returns: ArrayLike, periods_per_year: float, rf: float = 0.0) -> float | None:
    """Return mean(r - rf / p) / std(ddof=1) * sqrt(p), p = periods_per_year; None when the returns are constant."""
    r = excess(returns, periods_per_year, rf)
    if np.ptp(r) <= ROUNDING:
        return None
    return float(r.mean() / r.std(ddof=1) * math.sqrt(periods_per_year))


def sortino(returns: ArrayLike, periods_per_year: float, rf: float = 0.0) -> float | None:
    """Return mean(e) * p / (sqrt(mean(min(e, 0)^2)) * sqrt(p)), e = r - rf / p; None when no e is below 0."""
    e = excess(returns, periods_per_year, rf)
    down = math.sqrt(float(np.mean(np.minimum(e, 0.0) ** 2)))
    return float(e.mean() * periods_per_year / (down * math.sqrt(periods_per_year))) if down > ROUNDING else None


def drawdown_curve(returns: ArrayLike) -> Floats:
    """Return (K + 1,) float64 <= 0: wealth over its running peak, minus 1; entry 0 is the start: day one can lose."""
    w = wealth(returns)
    return w / np.maximum.accumulate(w) - 1.0


def max_drawdown(returns: ArrayLike) -> float:
    """Return the deepest fall of wealth from its peak, a fraction <= 0, a loss on the first bar included."""
    return float(drawdown_curve(returns).min())


def calmar(returns: ArrayLike, periods_per_year: float) -> float | None:
    """Return CAGR / |max drawdown|; None when there was no drawdown."""
    depth = max_drawdown(returns)
    return cagr(returns, periods_per_year) / -depth if depth < -ROUNDING else None


def omega(returns: ArrayLike, periods_per_year: float, rf: float = 0.0) -> float | None:
    """Return the sum of gains over the sum of losses against rf / periods_per_year; None without a loss."""
    e = excess(returns, periods_per_year, rf)
    loss = float(-e[e < 0].sum())
    return float(e[e > 0].sum()) / loss if loss > ROUNDING else None


def tail_ratio(returns: ArrayLike) -> float | None:
    """Return |95 % quantile| / |5 % quantile| (linear interpolation); None when the latter is 0."""
    low, high = np.percentile(clean(returns), [5, 95])
    return float(abs(high) / abs(low)) if abs(low) > ROUNDING else None


def value_at_risk(returns: ArrayLike, cutoff: float = 0.05) -> float:
    """Return the historical VaR: the ``cutoff`` quantile of the returns (linear interpolation), a fraction per bar."""
    r = clean(returns)
    _check_cutoff(cutoff)
    return float(np.percentile(r, 100.0 * cutoff))


def conditional_value_at_risk(returns: ArrayLike, cutoff: float = 0.05) -> float:
    """Return the historical CVaR: the mean of the floor((K - 1) cutoff) + 1 worst returns, a fraction per bar."""
    return tail_mean(clean(returns), cutoff)


def tail_mean(x: Floats, cutoff: float) -> float:
    """Return the mean of the floor((K - 1) cutoff) + 1 lowest of finite ``x`` (K,)."""
    _check_cutoff(cutoff)
    last = int((len(x) - 1) * cutoff)
    return float(np.partition(x, last)[: last + 1].mean())


def skew(returns: ArrayLike) -> float | None:
    """Return m3 / m2^1.5 with population moments; None when the returns are constant."""
    e = _standard(clean(returns))
    return None if e is None else float(np.mean(e**3))


def kurtosis(returns: ArrayLike) -> float | None:
    """Return the excess kurtosis m4 / m2^2 - 3 with population moments; None when the returns are constant."""
    e = _standard(clean(returns))
    return None if e is None else float(np.mean(e**4) - 3.0)


def _standard(r: Floats) -> Floats | None:
    return None if np.ptp(r) <= ROUNDING else (r - r.mean()) / r.std()


def _check_cutoff(cutoff: float) -> None:
    if not 0 < cutoff < 1:
        raise ConfigError(f"metrics: cutoff is the share of the worst bars (0.05 = 5 %), got {cutoff!r}")


def check_clock(periods_per_year: float) -> None:
    """Raise a ConfigError unless ``periods_per_year`` is a positive finite number of bars."""
    if not 0 < periods_per_year < math.inf:
        raise ConfigError(f"metrics: periods_per_year must be above 0, got {periods_per_year!r}")


def excess(returns: ArrayLike, periods_per_year: float, rf: float) -> Floats:
    """Return (K,) float64: valid returns less rf / periods_per_year; ``rf`` is a yearly fraction."""
    r = clean(returns)
    check_clock(periods_per_year)
    if not -0.5 < rf < 1:
        raise ConfigError(f"metrics: rf is a yearly fraction (0.03 = 3 % a year), got {rf!r}")
    return r - rf / periods_per_year


def grown(wealth: float, power: float, what: str) -> float:
    """Return wealth ** power - 1; DataError where that is beyond float64 (few bars, compounded to a year)."""
    try:
        return wealth**power - 1.0
    except OverflowError:
        raise DataError(
            f"{what}: {wealth:.6g} to the power {power:.6g} is beyond any number; "
            "the series is too short to be annualised"
        ) from None


@dataclass(frozen=True)
class Drawdown:
    """One fall: bars of its peak, trough and recovery (None = not yet), as positions in wealth (0 = the start)."""

    peak: int
    trough: int
    recovery: int | None
    depth: float

    @property
    def bars(self) -> int | None:
        """Bars from peak to recovery, None while it lasts."""
        return None if self.recovery is None else self.recovery - self.peak


def drawdowns(returns: ArrayLike, top: int = 5) -> tuple[Drawdown, ...]:
    """Return the ``top`` deepest separate drawdowns, the deepest first; wealth position k is after return k."""
    fall = drawdown_curve(returns)
    below = np.concatenate([[False], fall < -ROUNDING, [False]])
    starts = np.flatnonzero(below[1:] & ~below[:-1])
    ends = np.flatnonzero(below[:-1] & ~below[1:])
    out = []
    for a, b in zip(starts, ends, strict=True):
        trough = int(a + np.argmin(fall[a:b]))
        out.append(Drawdown(int(a) - 1, trough, int(b) if b < len(fall) else None, float(fall[trough])))
    return tuple(sorted(out, key=lambda d: (d.depth, d.peak))[:top])


@dataclass(frozen=True)
class Performance:
    """Net performance of one book. Rates are yearly fractions unless the name says otherwise; None has its reason.

    bars: number of returns. cagr: clock n / periods_per_year; cagr_calendar: clock of the dates, when given.
    value_at_risk, conditional_value_at_risk: historical, 5 %, per bar. turnover: one-way, a year. cost: fees and
    slippage, a year, as a fraction of equity; cost_total: in currency.
    """

    name: str
    bars: int
    periods_per_year: float
    rf: float
    total_return: float
    cagr: float
    cagr_calendar: float | None
    annual_volatility: float | None
    sharpe: float | None
    sortino: float | None
    max_drawdown: float
    calmar: float | None
    omega: float | None
    tail_ratio: float | None
    value_at_risk: float
    conditional_value_at_risk: float
    skew: float | None
    kurtosis: float | None
    turnover: float | None = None
    cost: float | None = None
    cost_total: float | None = None
    drawdowns: tuple[Drawdown, ...] = ()
    reasons: dict[str, str] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return dataclasses.asdict(self)


def describe(
    returns: ArrayLike, periods_per_year: float, rf: float = 0.0, *, name: str = "", years: float | None = None,
    nan: Literal["refuse", "drop", "zero"] = "refuse",
) -> Performance:  # fmt: skip
    """Return every metric of (K,) simple net returns; ``years`` is the calendar length, for the second CAGR."""
    r, p = clean(returns, nan), periods_per_year
    excess(r, p, rf)  # refuses a rate that is no yearly fraction before anything is worked out
    values: dict[str, Any] = {
        "total_return": total_return(r), "cagr": cagr(r, p), "annual_volatility": annual_volatility(r, p),
        "cagr_calendar": None if years is None else cagr(r, p, years),
        "sharpe": sharpe(r, p, rf), "sortino": sortino(r, p, rf), "max_drawdown": max_drawdown(r),
        "calmar": calmar(r, p), "omega": omega(r, p, rf), "tail_ratio": tail_ratio(r),
        "value_at_risk": value_at_risk(r), "conditional_value_at_risk": conditional_value_at_risk(r),
        "skew": skew(r), "kurtosis": kurtosis(r),
    }  # fmt: skip
    reasons = {k: REASONS[k] for k, v in values.items() if v is None}
    return Performance(
        name=name, bars=len(r), periods_per_year=p, rf=rf, drawdowns=drawdowns(r), reasons=reasons, **values
    )


def summary(book: Book, periods_per_year: float, rf: float = 0.0, *, years: float | None = None) -> Performance:
    """Return the net performance of a book: the metrics of ``book.returns`` with its turnover and costs.

    A ruined book (equity <= 0) loses all on that bar and stands still from then on. DataError when the book has fewer
    than two bars, or starts without equity.
    """
    if len(book.equity) < 2:
        raise DataError(f"book '{book.name}' has {len(book.equity)} bars; a return needs two")
    if not book.equity[0] > 0:
        raise DataError(f"book '{book.name}' starts with an equity of {book.equity[0]:.6g}; give it capital")
    out = describe(book.returns, periods_per_year, rf, name=book.name, years=years)
    span = (len(book.equity) - 1) / periods_per_year
    paid = book.fees + book.slippage
    before = np.concatenate([book.equity[:1], book.equity[:-1]])
    rate = np.divide(paid, before, out=np.zeros_like(paid), where=before > 0)
    return dataclasses.replace(
        out, turnover=float(book.turnover.sum() / span), cost=float(rate.sum() / span), cost_total=float(paid.sum()),
    )  # fmt: skip
