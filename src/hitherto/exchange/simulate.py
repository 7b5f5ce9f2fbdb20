"""Simulate: weights decided at t meet the market of t+1, bar after bar, through the one step of the exchange."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import ConfigError, DataError
from hitherto.exchange.account import Book, Fills
from hitherto.exchange.step import Costs, fold
from hitherto.outcome import Outcome
from hitherto.panel import Panel
from hitherto.portfolio.base import Weights

Fill = Literal["next_close", "next_open", "same_close"]
SAME_CLOSE = "same_close: fills at the very close that the decision read; the result is optimistic"


def simulate(
    panel: Panel, weights: Weights, *, costs: Costs | None = None, fill: Fill = "next_close", capital: float = 1e6,
    start: int | None = None, stop: int | None = None, allow_short: bool | None = None, delay: int = 1,
    reinvest: bool = False,
) -> Book:  # fmt: skip
    """Trade target weights under the rules of ``exchange.step`` and return the book of bars start..stop-1.

    At each decided row t the order for name n is weight x equity(t) / close(t) - shares(t), all known at t; a name
    without a close at t is kept. Orders fill at bar t+1: at its close (``next_close``) or its open (``next_open``,
    valued at the close). ``same_close`` fills at close t itself and flags the book. What does not fill is dropped; the
    next decision orders again. Rows not decided trade nothing.

    start: first bar, default the first decided row (decisions before it are ignored); the account then holds
    ``capital`` in cash. stop: one past the last bar, default T. costs: None is free. allow_short: None allows it from
    the first decision on that holds a negative weight, so that no later row changes an earlier fill. delay: bars
    between the decision and the fill (1 is normal; 2 is the audit's late fill: the same weights, sized one bar later).
    reinvest: corporate actions in shares instead of cash (see ``step``).

    Errors: shapes that differ, NaN weights on a decided row, weights of a long-only row that sum to more than 1, a
    factor that is not positive, an empty range (DataError or ConfigError).
    """
    costs = costs or Costs()
    first, last = _range(panel, weights, start, stop)
    _check(panel, weights, first, last, fill, capital, delay, allow_short)
    outcome = Outcome(panel)
    price = panel.fields["open" if fill == "next_open" else "close"]
    close = panel.fields["close"]
    tradable = panel.listed & ~panel.suspended & np.isfinite(close)
    growth = outcome.growth()
    if not (growth[first:last] > 0).all():
        t, n = np.argwhere(~(growth[first:last] > 0))[0]
        raise DataError(
            f"simulate: the factor of {panel.symbols[n]} on {panel.sessions[first + t]} is not positive; "
            "correct it, or read the bars without a factor"
        )
    values = np.where(weights.decided[:, None], weights.values, 0.0)
    short = np.full(len(values), bool(allow_short))
    if allow_short is None:
        short = np.logical_or.accumulate((values < 0).any(axis=1))
    money, shares, marks, table, count = fold(
        values, np.array(weights.decided), short, np.ascontiguousarray(price), np.ascontiguousarray(close), growth,
        tradable, float(capital), costs.rates(), first, last, delay - 1, fill == "same_close", reinvest,
    )  # fmt: skip
    equity, cash, fees, slippage, corporate, traded = (column.copy() for column in money.T)
    return Book(
        name=weights.name, start=first, equity=equity, cash=cash, shares=shares, price=marks, fees=fees,
        slippage=slippage, corporate=corporate, traded=traded, fills=_fills(table[:count]),
        flags=_flags(panel, first, last, fill, delay, equity, shares),
    )  # fmt: skip


def _range(panel: Panel, weights: Weights, start: int | None, stop: int | None) -> tuple[int, int]:
    T = panel.shape[0]
    if weights.values.shape != panel.shape or weights.decided.shape != (T,):
        raise DataError(
            f"simulate: weights '{weights.name}' have shape {weights.values.shape} and {weights.decided.shape}, "
            f"the panel {panel.shape}; build them from this panel"
        )
    rows = np.flatnonzero(weights.decided)
    if start is None and not len(rows):
        raise DataError(f"simulate: weights '{weights.name}' decide nothing on any row; check scores and universe")
    first = int(rows[0]) if start is None else start
    last = T if stop is None else stop
    if not 0 <= first < last <= T:
        raise ConfigError(f"simulate: bars {first}..{last} are empty or outside the panel's 0..{T}")
    return first, last


def _check(
    panel: Panel, weights: Weights, first: int, last: int, fill: str, capital: float, delay: int,
    allow_short: bool | None,
) -> None:  # fmt: skip
    if fill not in ("next_close", "next_open", "same_close"):
        raise ConfigError(f"simulate: fill must be 'next_close', 'next_open' or 'same_close', got {fill!r}")
    if delay < 1:
        raise ConfigError(f"simulate: delay must be >= 1 bar, got {delay}; for the same bar say fill='same_close'")
    if not (np.isfinite(capital) and capital > 0):
        raise ConfigError(f"simulate: capital must be a positive amount, got {capital!r}")
    panel.need({"close", "open"} if fill == "next_open" else {"close"}, f"a fill at the {fill.replace('_', ' ')}")
    decided = weights.decided.copy()
    decided[:first], decided[last:] = False, False
    rows = np.flatnonzero(decided)
    values = weights.values[rows]
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        day = panel.sessions[rows[bad][0]]
        raise DataError(f"simulate: weights '{weights.name}' are not finite on {day}; 0 means no position")
    negative = (values < 0).any(axis=1)
    if allow_short is False and negative.any():
        raise ConfigError(
            f"simulate: weights '{weights.name}' are negative on {panel.sessions[rows[negative][0]]} "
            "but allow_short is False; allow it, or clip them at 0"
        )
    long_only = ~np.logical_or.accumulate(negative) if allow_short is None else np.full(len(rows), not allow_short)
    over = long_only & (values.sum(axis=1) > 1 + 1e-9)
    if over.any():
        raise ConfigError(
            f"simulate: weights '{weights.name}' sum to {values[over][0].sum():.4g} on "
            f"{panel.sessions[rows[over][0]]}; a long-only book cannot borrow: scale them to at most 1, or set "
            "allow_short=True"
        )


def _fills(table: NDArray[np.float64]) -> Fills:
    t, n, decided = (table[:, i].astype(np.int32) for i in range(3))
    ordered, shares, price, fee = (table[:, i].copy() for i in range(3, 7))
    return Fills(t, n, decided, shares, price, fee, table[:, 7].astype(np.uint8), ordered)


def _flags(
    panel: Panel, first: int, last: int, fill: str, delay: int, equity: NDArray[np.float64], shares: NDArray[np.float64]
) -> tuple[str, ...]:
    flags = [SAME_CLOSE] if fill == "same_close" else []
    if delay > 1:
        flags.append(f"delay: fills {delay - 1} bars later than normal")
    frozen = np.flatnonzero((shares[-1] != 0) & ~panel.listed[last - 1])
    if len(frozen):
        names = ", ".join(panel.symbols[n] for n in frozen[:5]) + (", ..." if len(frozen) > 5 else "")
        flags.append(f"delisted: {len(frozen)} positions are frozen at their last price: {names}")
    ruined = np.flatnonzero(equity <= 0)
    if len(ruined):
        flags.append(f"ruined: equity fell to {equity[ruined[0]]:.2f} on {panel.sessions[first + ruined[0]]}")
    return tuple(flags)
