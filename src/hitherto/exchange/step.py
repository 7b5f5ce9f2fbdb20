"""One step of the market: corporate actions, then sells, then buys, then valuation. The rules exist here only.

The kernels are compiled (float64, no fast-math, so that results repeat to the bit) and work on one account; ``step``
runs them over a batch of accounts, ``fold`` over the bars of a backtest. They share one file because numba's disk cache
follows the file of a function, not those of the functions it calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hitherto.errors import ConfigError, DataError
from hitherto.exchange.account import BELOW_LOT, FILLED, NO_CASH, NO_SHARES, NOT_TRADABLE
from hitherto.outcome import MarketRow

Floats = NDArray[np.float64]
# Long-only buys stay this share below the cash, so that rounding over thousands of names can never overdraw it.
HAIR = 1e-12


class State(NamedTuple):
    """An account, or B of them: cash () or (B,), shares and last (N,) or (B, N), all float64.

    last: the price each name is valued at, NaN where none was seen yet (then no share of it may be held).
    """

    cash: Floats
    shares: Floats
    last: Floats


class BarFills(NamedTuple):
    """What became of the orders of one bar, each (N,) or (B, N); corporate () or (B,).

    shares: signed, 0 where nothing was done. price: slippage included, NaN where nothing was done. fee, slippage: >= 0
    in currency. reason: code in ``account.REASONS``. corporate: currency credited by corporate actions.
    """

    shares: Floats
    price: Floats
    fee: Floats
    slippage: Floats
    reason: NDArray[np.uint8]
    corporate: Floats


@dataclass(frozen=True)
class Costs:
    """What trading costs, per fill: max(value x fee_bps, min_fee), plus value x sell_tax_bps on sells.

    fee_bps, slippage_bps: per side, basis points of the executed value and of the price. min_fee: currency.
    lot: 0 trades fractions of a share; a whole number trades multiples of it (a whole holding can always be sold).
    """

    fee_bps: float = 0.0
    slippage_bps: float = 0.0
    min_fee: float = 0.0
    sell_tax_bps: float = 0.0
    lot: int = 0

    def __post_init__(self) -> None:
        for name in ("fee_bps", "slippage_bps", "min_fee", "sell_tax_bps", "lot"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise ConfigError(f"costs: {name} must be a number >= 0, got {value!r}")
        if self.slippage_bps >= 10_000 or self.fee_bps + self.sell_tax_bps >= 10_000:
            raise ConfigError("costs: slippage, and fee plus tax, must stay below 10000 bps (100 %)")
        if self.lot != int(self.lot):
            raise ConfigError(f"costs: lot must be a whole number of shares (0 = fractions), got {self.lot!r}")

    def rates(self) -> Rates:
        """Return (fee, slippage, min_fee, tax, lot) as the kernels want them: fractions, currency, shares."""
        fee, slip, tax = (bps / 1e4 for bps in (self.fee_bps, self.slippage_bps, self.sell_tax_bps))
        return fee, slip, float(self.min_fee), tax, float(self.lot)


Rates = tuple[float, float, float, float, float]


def step(
    state: State, orders: Floats, row: MarketRow, costs: Costs, *, price: Literal["close", "open"] = "close",
    allow_short: bool = False, reinvest: bool = False,
) -> tuple[State, BarFills]:  # fmt: skip
    """Return the account after one bar, and what became of its orders.

    orders: (N,) or (B, N) signed shares, decided before the bar (0 = none). row: the bar's market, each (N,) for all
    accounts or (B, N). Accounts of a batch do not touch each other: a batch equals its accounts one by one, to the bit.

    Order of events:
    1. Corporate actions. growth g = factor now / factor before, so the ex price is last / g: the holder gets
       shares x last x (1 - 1/g) in cash (a short pays it), worth what the price loses. ``reinvest`` gives it in shares
       instead (shares and pending orders x g): dividends reinvested at the ex price, splits as they are.
    2. Sells, by column. Long-only: never more than is held, and no sale whose fee the proceeds and cash cannot pay.
    3. Buys. Long-only: when their cost with fees exceeds the cash, all are scaled by one factor, so that cash stays
       >= 0 (a hair of 1e-12 below, so no rounding can overdraw it); lots are then rounded down and the rest stays cash.
       ``allow_short`` fills all as ordered: cash may fall below zero and nothing is charged for borrowing.
    4. Valuation at the close; a name without a close keeps its last price.

    Refused with a reason code: not tradable (not listed, suspended, price unknown or not positive), no cash, no
    shares, below one lot. A delisted name is frozen at its last price: it can neither be sold nor does it vanish.
    Errors: NaN orders, shares without a price, shapes that differ (DataError).
    """
    single = np.ndim(state.shares) == 1
    shares, last, asked = (np.array(x, np.float64, ndmin=2, order="C") for x in (state.shares, state.last, orders))
    cash = np.array(state.cash, np.float64, ndmin=1)
    at, close, growth = (
        np.array(x, np.float64, ndmin=2, order="C") for x in (getattr(row, price), row.close, row.growth)
    )
    tradable = np.array(row.tradable, np.bool_, ndmin=2, order="C")
    _check(cash, shares, last, asked, (at, close, growth, tradable))
    out = np.empty((4, *shares.shape))
    reason = np.empty(shares.shape, np.uint8)
    rates = costs.rates()
    credited = _batch(
        cash, shares, last, asked, at, close, growth, tradable, rates, allow_short, reinvest, out, reason
    )  # fmt: skip
    fills = BarFills(out[0], out[1], out[2], out[3], reason, credited)
    after = State(cash, shares, last)
    if single:
        return State._make(x[0] for x in after), BarFills._make(x[0] for x in fills)
    return after, fills


def to_orders(state: State, weights: Floats, close: Floats) -> Floats:
    """Return the orders (signed shares) that bring accounts to target weights at the decision's closes.

    weights: (N,) or (B, N) fractions of equity; close: raw, (N,) or (B, N). order = weight x equity / close - shares.
    No order where the close is NaN (the name is kept); a ruined account (equity <= 0) aims at no position.
    """
    single = np.ndim(state.shares) == 1
    shares, last, target = (np.array(x, np.float64, ndmin=2, order="C") for x in (state.shares, state.last, weights))
    if target.shape != shares.shape:
        raise DataError(f"to_orders: weights have shape {np.shape(weights)}, the shares {np.shape(state.shares)}")
    cash = np.array(state.cash, np.float64, ndmin=1)
    prices = np.ascontiguousarray(np.broadcast_to(np.asarray(close, np.float64), shares.shape)).copy()
    out = np.empty(shares.shape)
    for b in range(len(shares)):
        _size(_value(cash[b], shares[b], last[b]), target[b], shares[b], prices[b], out[b])
    return out[0] if single else out


def _check(cash: Floats, shares: Floats, last: Floats, orders: Floats, market: tuple[NDArray[Any], ...]) -> None:
    B, N = shares.shape
    if not (cash.shape == (B,) and last.shape == (B, N) and orders.shape == (B, N)):
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
    if not (market[2] > 0).all():
        raise DataError("step: growth must be > 0 (1 where no corporate action is known)")


@njit(cache=True, nogil=True)
def _batch(cash, shares, last, orders, price, close, growth, tradable, rates, short, reinvest, out, reason):
    """Run one bar for B accounts in place; market arrays have 1 or B rows. Returns (B,) corporate credits."""
    credited = np.empty(len(cash))
    for b in range(len(cash)):
        p, c = price[min(b, len(price) - 1)], close[min(b, len(close) - 1)]
        g, ok = growth[min(b, len(growth) - 1)], tradable[min(b, len(tradable) - 1)]
        cash[b], credited[b] = _corporate(cash[b], shares[b], last[b], orders[b], g, reinvest)
        money = _trade(cash[b], shares[b], orders[b], p, ok, rates, short, out[:, b], reason[b])
        cash[b] = money[0]
        _mark(last[b], c)
    return credited


@njit(cache=True, nogil=True)
def _corporate(cash, shares, last, orders, growth, reinvest):
    """Pay what the price loses on the ex date, and take the last price to the ex price."""
    credited = 0.0
    for n in range(len(shares)):
        g = growth[n]
        if g == 1.0:
            continue
        if shares[n] != 0.0:
            paid = shares[n] * last[n] * (1.0 - 1.0 / g)
            credited += paid
            if reinvest:
                shares[n] *= g
            else:
                cash += paid
        if reinvest:
            orders[n] *= g
        last[n] /= g
    return cash, credited


@njit(cache=True, nogil=True)
def _trade(cash, shares, orders, price, tradable, rates, short, out, reason):
    """Fill the orders of one account; returns (cash, fees, slippage, value traded). out rows: shares price fee slip."""
    fees, slipped, traded, buys = 0.0, 0.0, 0.0, False
    fee_rate, slip, min_fee, tax, lot = rates
    for n in range(len(orders)):
        out[0, n], out[1, n], out[2, n], out[3, n], reason[n] = 0.0, np.nan, 0.0, 0.0, FILLED
        if orders[n] == 0.0:
            continue
        if not (tradable[n] and price[n] > 0.0):
            reason[n] = NOT_TRADABLE
            continue
        if orders[n] > 0.0:
            buys = True
            continue
        amount = -orders[n]
        if not short:
            amount = min(amount, max(shares[n], 0.0))
        if amount == 0.0:
            reason[n] = NO_SHARES
            continue
        if amount != shares[n]:
            amount = _lots(amount, lot)
            if not short:
                amount = min(amount, shares[n])
        if amount == 0.0:
            reason[n] = BELOW_LOT
            continue
        at = price[n] * (1.0 - slip)
        fee = max(amount * at * fee_rate, min_fee) + amount * at * tax
        if not short and cash + amount * at < fee:
            reason[n] = NO_CASH
            continue
        cash += amount * at - fee
        shares[n] -= amount
        out[0, n], out[1, n], out[2, n], out[3, n] = -amount, at, fee, amount * price[n] * slip
        fees, slipped, traded = fees + fee, slipped + out[3, n], traded + amount * at
    if buys:
        more = _buy(cash, shares, orders, price, rates, short, out, reason)
        cash, fees, slipped, traded = more[0], fees + more[1], slipped + more[2], traded + more[3]
    return cash, fees, slipped, traded


@njit(cache=True, nogil=True)
def _buy(cash, shares, orders, price, rates, short, out, reason):
    """Fill the buys of one account, scaled to the cash unless ``short``; returns as ``_trade`` does."""
    fee_rate, slip, min_fee, _, lot = rates
    for n in range(len(orders)):
        if orders[n] > 0.0 and reason[n] == FILLED:
            out[0, n] = _lots(orders[n], lot)
            if out[0, n] == 0.0:
                reason[n] = BELOW_LOT
    scale = 1.0 if short else _affordable(cash, out[0], price, fee_rate, slip, min_fee)
    fees, slipped, traded = 0.0, 0.0, 0.0
    for n in range(len(orders)):
        if out[0, n] <= 0.0:
            continue
        amount = out[0, n] if scale == 1.0 else _lots(out[0, n] * scale, lot)
        out[0, n] = amount
        if amount == 0.0:
            reason[n] = NO_CASH
            continue
        at = price[n] * (1.0 + slip)
        fee = max(amount * at * fee_rate, min_fee)
        shares[n] += amount
        out[1, n], out[2, n], out[3, n] = at, fee, amount * price[n] * slip
        fees, slipped, traded = fees + fee, slipped + out[3, n], traded + amount * at
    return cash - (traded + fees), fees, slipped, traded


@njit(cache=True, nogil=True)
def _lots(amount, lot):
    """Whole lots in ``amount`` (fractions when lot is 0); 1e-9 of a lot forgives the rounding of a division."""
    return amount if lot == 0.0 else np.floor(amount / lot + 1e-9) * lot


@njit(cache=True, nogil=True)
def _affordable(cash, amounts, price, fee_rate, slip, min_fee):
    """Return the largest s in [0, 1] for which buying s x amounts with fees stays a hair below the cash.

    The cost is convex and piecewise linear in s (the minimum fee), so Newton from s = 1 falls onto the root in at most
    one step per name.
    """
    s = 1.0
    for _ in range(len(amounts) + 2):
        cost, slope = 0.0, 0.0
        for n in range(len(amounts)):
            if amounts[n] > 0.0:
                full = amounts[n] * price[n] * (1.0 + slip)
                if s * full * fee_rate >= min_fee:
                    cost, slope = cost + s * full * (1.0 + fee_rate), slope + full * (1.0 + fee_rate)
                else:
                    cost, slope = cost + s * full + min_fee, slope + full
        if slope == 0.0 or cost <= cash * (1.0 - HAIR):
            return s
        s -= (cost - cash * (1.0 - 2.0 * HAIR)) / slope
        if s < HAIR:
            return 0.0
    return 0.0


@njit(cache=True, nogil=True)
def _mark(last, close):
    for n in range(len(last)):
        if np.isfinite(close[n]):
            last[n] = close[n]


@njit(cache=True, nogil=True)
def _value(cash, shares, last):
    value = cash
    for n in range(len(shares)):
        if shares[n] != 0.0:
            value += shares[n] * last[n]
    return value


@njit(cache=True, nogil=True)
def _size(equity, weights, shares, close, orders):
    for n in range(len(orders)):
        if close[n] > 0.0:
            target = weights[n] * equity / close[n] if equity > 0.0 else 0.0
            orders[n] = target - shares[n]
        else:
            orders[n] = 0.0


@njit(cache=True, nogil=True)
def _note(table, count, t, decided, orders, out, reason):
    """Append the orders of bar t to the growing fills table: t, n, decided, ordered, shares, price, fee, reason."""
    for n in range(len(orders)):
        if orders[n] == 0.0:
            continue
        if count == len(table):
            bigger = np.empty((2 * len(table), 8))
            for k in range(count):
                for i in range(8):
                    bigger[k, i] = table[k, i]
            table = bigger
        row = table[count]
        row[0], row[1], row[2], row[3] = t, n, decided, orders[n]
        row[4], row[5], row[6], row[7] = out[0, n], out[1, n], out[2, n], reason[n]
        count += 1
    return table, count


@njit(cache=True, nogil=True)
def fold(weights, decided, short, price, close, growth, tradable, capital, rates, start, stop, lag, same_bar, reinvest):
    """Fold the step over bars start..stop-1 of (T, N) arrays.

    At bar t the weights of row t - lag (when decided, and not before ``start``) become orders at close t; they fill at
    bar t+1, or at close t with ``same_bar``. Returns (K, 6) equity cash fees slippage corporate traded, (K, N) shares,
    (K, N) last, the fills table and its length.
    """
    N, K = close.shape[1], stop - start
    money = np.zeros((K, 6))
    held, marks, table, count = np.empty((K, N)), np.empty((K, N)), np.empty((1024, 8)), 0
    shares, last, orders = np.zeros(N), np.full(N, np.nan), np.zeros(N)
    out, reason, cash, pending = np.empty((4, N)), np.empty(N, np.uint8), capital, -1
    for t in range(start, stop):
        row = money[t - start]
        cash, row[4] = _corporate(cash, shares, last, orders, growth[t], reinvest)
        if pending >= 0 and not same_bar:
            cash, row[2], row[3], row[5] = _trade(
                cash, shares, orders, price[t], tradable[t], rates, short[pending], out, reason
            )
            table, count = _note(table, count, t, pending, orders, out, reason)
        _mark(last, close[t])
        pending = t - lag if t - lag >= start and decided[t - lag] else -1
        if pending >= 0:
            _size(_value(cash, shares, last), weights[pending], shares, close[t], orders)
            if same_bar:
                cash, row[2], row[3], row[5] = _trade(
                    cash, shares, orders, price[t], tradable[t], rates, short[pending], out, reason
                )
                table, count = _note(table, count, t, pending, orders, out, reason)
        row[0], row[1] = _value(cash, shares, last), cash
        for n in range(N):
            held[t - start, n], marks[t - start, n] = shares[n], last[n]
    return money, held, marks, table, count
