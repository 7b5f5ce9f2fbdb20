"""The tape of a bound: at which prices money can change hands, what each change costs, and where it is not possible."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import ConfigError, DataError
from hitherto.exchange import ready
from hitherto.exchange import terms as col
from hitherto.exchange.terms import Costs, Rulings
from hitherto.hindsight.kernels import BUY, PAID, SELL, barriers, on_tick
from hitherto.outcome import Outcome
from hitherto.panel import Panel

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Rows = NDArray[np.intp]
Fill = Literal["next_close", "next_open"]


@dataclass(frozen=True, eq=False)
class Tape:
    """Bars start..start+K-1 as the programme reads them.

    price, close: (K, N) log of the fill price and of the close, both adjusted (x the factor's growth since start), NaN
    where nothing can be traded, or is known. able: (K, N) bits BUY, SELL, PAID. kind: (K, N) row of buy and sell, (M,)
    log factors <= 0 of one purchase and one sale.
    """

    start: int
    price: Floats
    close: Floats
    able: NDArray[np.uint8]
    kind: NDArray[np.uint8]
    buy: Floats
    sell: Floats


def lay(
    panel: Panel, costs: float | Costs, start: int, stop: int | None, *, fill: str, rules: Rulings | None,
    within: Mask | None, paid: bool, times: float = 1.0,
) -> Tape:  # fmt: skip
    """Return the tape of rows start..stop-1.

    within: (T, N) names that a decision of that row may buy one bar later, None for all. paid: mark the bars of
    corporate actions with the bit PAID. Errors: no bars, a factor that is not positive, costs outside [0, 100 %)
    (ConfigError, DataError).
    """
    last = span(panel, start, stop)
    rows = slice(start, last)
    buy, sell = rates(costs, rules, times)
    growth = _growth(panel, start, last, falls=rules is None or rules.falls)
    kind = np.zeros(growth.shape, np.uint8) if rules is None else rules.kind[rows]
    buys, sells = permissions(panel, fill, rules, start, last)
    able = BUY * buys.astype(np.uint8) + SELL * sells.astype(np.uint8)
    if within is not None:
        able[1:][~within[start : last - 1]] &= 255 - BUY
    if paid:
        able[growth != 1.0] |= PAID
    level = np.cumprod(growth, axis=0)
    close = _log(prices(panel, "close", rules)[rows] * level)
    at = close if fill == "next_close" else _log(prices(panel, "open", rules)[rows] * level)
    return Tape(start, at, close, able, kind, np.asarray(-np.log1p(buy)), np.asarray(np.log1p(-sell)))


def prices(panel: Panel, name: str, rules: Rulings | None = None) -> Floats:
    """Return (T, N): the raw prices that money changes hands at, under rules rounded to the tick."""
    panel.need({name, "close"}, "the hindsight bound")
    values = panel.fields[name]
    if rules is None:
        return values
    return on_tick(ready.read_only(values), rules.kind, rules.terms)


def tradable(panel: Panel, rows: Rows, name: str = "close", rules: Rulings | None = None) -> Floats:
    """Return (R, N): the adjusted price on ``rows`` where the name can be traded, NaN elsewhere."""
    panel.need({name, "close"}, "the hindsight bound")
    price = Outcome(panel).ahead(name, 0)[rows]
    if rules is not None:
        price = price * (prices(panel, name, rules)[rows] / panel.fields[name][rows])
    known = panel.listed[rows] & ~panel.suspended[rows] & np.isfinite(panel.fields["close"][rows])
    with np.errstate(invalid="ignore"):
        return np.where(known & (price > 0), price, np.nan)


def permissions(
    panel: Panel, fill: str, rules: Rulings | None, start: int = 0, stop: int | None = None
) -> tuple[Mask, Mask]:
    """Return (K, N) bool twice: on which of rows start..stop-1 a name can be bought at its fill, and sold.

    Neither while it is not listed, suspended or without a price. Under rules: no purchase at the upper price limit or
    above, no sale at the lower one or below, and at a close neither on a board of one price at a limit. As for an
    account opened at ``start``, the first close from there on is the first reference of a limit.
    """
    _check_fill(fill)
    last, name = panel.shape[0] if stop is None else stop, "open" if fill == "next_open" else "close"
    rows = slice(start, last)
    price = prices(panel, name, rules)[rows]
    with np.errstate(invalid="ignore"):
        trades = panel.listed[rows] & ~panel.suspended[rows] & np.isfinite(price) & (price > 0)
    if rules is None:
        return trades, trades
    at_close = fill == "next_close" and {"high", "low"} <= set(panel.fields)
    high, low = (prices(panel, x, rules)[rows] if at_close else np.empty((0, 0)) for x in ("high", "low"))
    growth = _growth(panel, start, last, falls=rules.falls)
    code = barriers(price, prices(panel, "close", rules)[rows], high, low, growth, rules.kind[rows], rules.terms)
    return trades & (code & 5 == 0), trades & (code & 6 == 0)


def rates(costs: float | Costs, rules: Rulings | None, times: float = 1.0) -> tuple[Floats, Floats]:
    """Return (M,) twice: the share of the value that a purchase and a sale cost, one entry per row of terms.

    A number is basis points a side. Commission, slippage, stamp duty, transfer and other fees count in full; the
    minimum fee, fees per share and impact are left out, so the rates are never above what a fill really costs.
    """
    if not (np.isfinite(times) and times >= 0):
        raise ConfigError(f"hindsight: times must be a number >= 0, got {times!r}")
    if not isinstance(costs, Costs):
        if not (np.isfinite(costs) and 0 <= costs < 10_000):
            raise ConfigError(f"hindsight: cost_bps must lie in [0, 10000), got {costs!r}")
        costs = Costs(fee_bps=float(costs))
    terms = costs.terms() if rules is None else rules.with_costs(costs)
    both = terms[:, [col.COMMISSION, col.TRANSFER, col.OTHER]]
    parts = np.column_stack([both, np.full(len(terms), costs.slippage_bps * 1e4)])
    tax = terms[:, [col.TAX_BUY, col.TAX_SELL]]
    if rules is not None:  # whole mode reads rates as whole numbers of 1e-8
        parts, tax = np.round(parts * times), np.round(tax * times)
        times = 1.0
    buy, sell = (times * (parts.sum(axis=1) + tax[:, i]) / col.E8 for i in (0, 1))
    if (sell >= 1).any():
        raise ConfigError(f"hindsight: a sale would cost {sell.max():.0%} of its value; costs must stay below 100 %")
    return buy, sell


def span(panel: Panel, start: int, stop: int | None) -> int:
    """Return one past the last row; ConfigError where start..stop hold no period."""
    T = panel.shape[0]
    last = T if stop is None else stop
    if not 0 <= start < last - 1 < T:
        raise ConfigError(f"hindsight: rows {start}..{last} hold no period; the panel has rows 0..{T - 1}")
    return last


def _growth(panel: Panel, start: int, last: int, *, falls: bool) -> Floats:
    """Return (K, N): the factor's growth on each bar, 1 on the first; a fall counts as 1 unless ``falls``."""
    if "factor" not in panel.fields:
        return np.ones((last - start, panel.shape[1]))
    growth = ready.growth(ready.read_only(panel.fields["factor"]))[start:last]
    bad = ~(growth > 0)
    if bad.any():
        t, n = np.argwhere(bad)[0]
        raise DataError(
            f"hindsight: the factor of {panel.symbols[n]} on {panel.sessions[start + t]} is not positive; "
            "correct it, or read the bars without a factor"
        )
    growth[0] = 1.0
    return growth if falls else np.maximum(growth, 1.0)


def _log(price: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        return np.log(np.where(price > 0, price, np.nan))


def _check_fill(fill: str) -> None:
    if fill not in ("next_close", "next_open"):
        raise ConfigError(f"hindsight: fill must be 'next_close' or 'next_open', got {fill!r}")
