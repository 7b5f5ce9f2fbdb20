"""One step of the market for one or many accounts: corporate actions, sells, buys, valuation.

The rules themselves are in ``exchange.kernels``, compiled once; here their inputs are checked and brought into the
kernels' units. The backtest folds the same kernels over time (``exchange.simulate``).
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import DataError
from hitherto.exchange import kernels
from hitherto.exchange.account import NOT_TRADABLE
from hitherto.exchange.terms import FEN, PIPS, Costs
from hitherto.outcome import MarketRow

Floats = NDArray[np.float64]


class State(NamedTuple):
    """An account, or B of them: cash () or (B,), shares, last and locked (N,) or (B, N), all float64.

    last: the price each name is valued at, NaN where none was seen yet (then no share of it may be held). locked:
    shares bought in this session that may not be sold in it (T+1); None for none. reference: the last price of the
    session before, which price limits go by; None takes ``last``.
    """

    cash: Floats
    shares: Floats
    last: Floats
    locked: Floats | None = None
    reference: Floats | None = None


class BarRules(NamedTuple):
    """The dated rules of one bar and what they need to know, each (N,).

    terms: (M, 16) and kind: uint8 row of it, see ``Rulings``. halt: uint8, the reason code (``account.REASONS``) for
    which a name does not trade at all, 0 for none. before: last volume known before the bar. sigma, adv: standard
    deviation of returns and mean volume before the bar, read by ``Costs.impact``. fresh: the bar opens a session.
    whole: False rounds nothing (a market without rules).
    """

    terms: Floats
    kind: NDArray[np.uint8]
    falls: bool
    halt: NDArray[np.uint8]
    before: Floats
    sigma: Floats
    adv: Floats
    fresh: bool = True
    whole: bool = True


class BarFills(NamedTuple):
    """What became of the orders of one bar, each (N,) or (B, N); corporate () or (B,).

    shares: signed, 0 where nothing was done. price: the tape's, NaN where nothing was done. commission, tax, transfer,
    other, slippage: >= 0 in currency. reason: code in ``account.REASONS``. corporate: currency credited by corporate
    actions.
    """

    shares: Floats
    price: Floats
    commission: Floats
    tax: Floats
    transfer: Floats
    other: Floats
    slippage: Floats
    reason: NDArray[np.uint8]
    corporate: Floats

    @property
    def fee(self) -> Floats:
        """Commission + tax + transfer + other, in currency."""
        return self.commission + self.tax + self.transfer + self.other


def step(
    state: State, orders: Floats, row: MarketRow, costs: Costs, *, price: Literal["close", "open"] = "close",
    allow_short: bool = False, reinvest: bool = False, rules: BarRules | None = None,
) -> tuple[State, BarFills]:  # fmt: skip
    """Return the account after one bar, and what became of its orders.

    orders: (N,) or (B, N) signed shares, decided before the bar (0 = none). row: the bar's market, each (N,) for all
    accounts or (B, N). rules: None trades in a market without rules. Accounts of a batch do not touch each other: a
    batch equals its accounts one by one, to the bit.

    Order of events:
    1. Corporate actions. growth g = factor now / factor before, so the ex price is last / g: the holder gets
       shares x last x (1 - 1/g) in cash (a short pays it), worth what the price loses. ``reinvest`` gives it in shares
       instead (shares and pending orders x g): dividends reinvested at the ex price, splits as they are. A factor
       that falls is a reverse split, always in shares, unless the rules say that it cannot fall (then no money moves).
    2. Sells, by column. Long-only: never more than is held and free to sell, and no sale whose fee the proceeds and
       cash cannot pay.
    3. Buys. Long-only: when their cost exceeds the cash, all are scaled by one factor and rounded down to lots, so that
       cash stays >= 0. ``allow_short`` fills all as ordered: cash may fall below zero and nothing is charged for
       borrowing.
    4. Valuation at the close; a name without a close keeps its last price.

    Refused with a reason code: see ``account.REASONS``. A delisted name is frozen at its last price: it can neither be
    sold nor does it vanish. A fill at the open reads nothing of its bar but the open, the factor and the halts.
    Errors: NaN orders, shares without a price, shapes that differ (DataError).
    """
    single = np.ndim(state.shares) == 1
    whole = rules is not None and rules.whole
    shares, last, asked = (np.array(x, np.float64, ndmin=2, order="C") for x in (state.shares, state.last, orders))
    locked = np.zeros(shares.shape) if state.locked is None else np.array(state.locked, np.float64, ndmin=2, order="C")
    fresh = rules is None or rules.fresh or state.reference is None
    reference = last.copy() if fresh else np.array(state.reference, np.float64, ndmin=2, order="C")
    cash = np.array(state.cash, np.float64, ndmin=1)
    market, before, terms = _market(row, price, costs, rules)
    _check(cash, shares, last, asked, market, locked)
    if rules is not None and rules.fresh:
        locked[:] = 0.0
    if whole:
        cash, last, reference = np.round(cash * FEN), last * PIPS, reference * PIPS
    out, reason = np.zeros((7, *shares.shape)), np.zeros(shares.shape, np.uint8)
    out[kernels.PRICE] = np.nan
    fixed = (terms, round(costs.slippage_bps * 1e4) * 1.0 if whole else costs.slippage_bps * 1e4,
             float(costs.volume_cap), float(costs.impact), whole, rules is None or rules.falls,
             price == "close")  # fmt: skip
    credited = kernels.bars(
        cash, shares, locked, last, reference, asked, market, before, fixed, allow_short, reinvest, out, reason
    )
    if whole:
        cash, last, reference, credited = cash / FEN, last / PIPS, reference / PIPS, credited / FEN
        out[kernels.PRICE] /= PIPS
        out[kernels.C_COMMISSION :] /= FEN
    fills = BarFills._make([*out, reason, credited])
    after = State(cash, shares, last, locked, reference)
    if single:
        return State._make(x[0] for x in after), BarFills._make(x[0] for x in fills)  # type: ignore[index]
    return after, fills


def to_orders(state: State, weights: Floats, close: Floats, *, whole: bool = False) -> Floats:
    """Return the orders (signed shares) that bring accounts to target weights at the decision's closes.

    weights: (N,) or (B, N) fractions of equity; close: raw, (N,) or (B, N). order = weight x equity / close - shares,
    with ``whole`` rounded down to whole shares. No order where the close is NaN (the name is kept); a ruined account
    (equity <= 0) aims at no position.
    """
    single = np.ndim(state.shares) == 1
    shares, last, target = (np.array(x, np.float64, ndmin=2, order="C") for x in (state.shares, state.last, weights))
    if target.shape != shares.shape:
        raise DataError(f"to_orders: weights have shape {np.shape(weights)}, the shares {np.shape(state.shares)}")
    cash = np.array(state.cash, np.float64, ndmin=1)
    if whole:
        cash, last = np.round(cash * FEN), last * PIPS
    prices = np.ascontiguousarray(np.broadcast_to(np.asarray(close, np.float64), shares.shape)).copy()
    out = np.empty(shares.shape)
    for b in range(len(shares)):
        equity = kernels.value_of(cash[b], shares[b], last[b], whole)
        kernels.size(equity, target[b], shares[b], last[b], prices[b], whole, out[b])
    return out[0] if single else out


def _market(
    row: MarketRow, price: str, costs: Costs, rules: BarRules | None
) -> tuple[tuple[NDArray[Any], ...], NDArray[Any], Floats]:  # fmt: skip
    """Return the kernels' market arrays with one row or B rows, the volume before, and the terms."""
    floats = [np.array(x, np.float64, ndmin=2) for x in (getattr(row, price), row.high, row.low, row.close, row.volume,
                                                         row.growth)]  # fmt: skip
    shape = np.broadcast_shapes(*(x.shape for x in floats))
    blank = np.full(shape, np.nan)
    if rules is None:
        halt, kind = np.where(np.array(row.tradable, ndmin=2), 0, NOT_TRADABLE), np.zeros(shape)
        before, sigma, adv, terms = blank, blank, blank, costs.terms()
    else:
        halt, kind, terms = rules.halt, rules.kind, rules.terms.view()
        before, sigma, adv = rules.before, rules.sigma, rules.adv
    wide = [np.ascontiguousarray(np.broadcast_to(x, shape)) for x in floats]
    codes = [np.ascontiguousarray(np.broadcast_to(np.asarray(x, np.uint8), shape)) for x in (halt, kind)]
    known = [np.ascontiguousarray(np.broadcast_to(np.asarray(x, np.float64), shape)) for x in (sigma, adv, before)]
    arrays = (*wide, *codes, *known)
    for x in (*arrays, terms):  # numba compiles read-only arrays apart; the backtest's are read-only too
        x.flags.writeable = False
    return arrays[:-1], arrays[-1], terms


def _check(
    cash: Floats, shares: Floats, last: Floats, orders: Floats, market: tuple[NDArray[Any], ...], locked: Floats
) -> None:
    B, N = shares.shape
    if not (cash.shape == (B,) and last.shape == (B, N) and orders.shape == (B, N) and locked.shape == (B, N)):
        raise DataError(
            f"step: cash {cash.shape}, shares {shares.shape}, last {last.shape} and orders {orders.shape} do not "
            "belong together; give (N,) each and one cash, or (B, N) and (B,)"
        )
    for values in market:
        if values.shape not in ((1, N), (B, N)):
            raise DataError(f"step: the market row has shape {values.shape}, the accounts {shares.shape}")
    if not np.isfinite(orders).all():
        raise DataError(f"step: {int((~np.isfinite(orders)).sum())} orders are NaN or infinite; 0 means no order")
    if np.any((shares != 0) & ~np.isfinite(last)):
        raise DataError("step: shares are held of a name that has no last price; set State.last where shares are not 0")
    if not (market[5] > 0).all():
        raise DataError("step: growth must be > 0 (1 where no corporate action is known)")
