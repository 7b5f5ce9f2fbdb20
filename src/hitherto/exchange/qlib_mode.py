"""Qlib mode: the backtest of Qlib 0.9.7 (TopkDropoutStrategy, SimulatorExecutor, Exchange) bar by bar, for comparison.

It exists to lay a figure beside Qlib's, not to trade: the rules that this library holds for true are those of
``simulate``. Money goes through the one ``step`` of the exchange (simple mode: sells, then buys). What Qlib does
otherwise is kept here, in one place, by its published behaviour:

- Prices are adjusted (raw x factor) and so are shares (raw / factor); a dividend or split moves no money, it is inside
  the price. ``trade_unit`` rounds *raw* shares down to whole lots.
- A fee of max(value x rate, min_cost) for each order, with one rate for buys and one for sells.
- A limit is a daily change of the adjusted close of at least ``limit_threshold``, whatever the board of the name, and
  the change of the bar on which the order fills decides. With ``forbid_all_trade_at_limit`` a name at either limit can
  be neither bought nor sold.
- The strategy's picks do not ask whether a name can be traded (``only_tradable=False``): a sale that is refused still
  makes room for a purchase, so the book may hold up to topk + n_drop names.
- Each purchase gets cash x risk_degree / (number of picks); a refused pick leaves its part in cash. Kept names are not
  brought back to equal weight.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import ConfigError, DataError
from hitherto.exchange.account import FILLED, LIMIT_DOWN, LIMIT_UP, SUSPENDED, Book, Fills
from hitherto.exchange.step import BarFills, State, step
from hitherto.exchange.terms import Costs
from hitherto.outcome import MarketRow
from hitherto.panel import Panel

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Columns = NDArray[np.intp]


@dataclass(frozen=True)
class _Rules:
    topk: int
    n_drop: int
    risk_degree: float
    hold_thresh: int
    forbid: bool
    trade_unit: int | None
    rates: tuple[float, float]  # of buys and sells, fractions of the value
    min_cost: float

    def costs(self, side: int) -> Costs:
        return Costs(fee_bps=self.rates[side] * 1e4, min_fee=self.min_cost)


@dataclass(frozen=True, eq=False)
class _Market:
    """What the loop reads, each (T, N): adjusted close, factor, at the upper limit, at the lower one."""

    price: Floats
    factor: Floats
    high: Mask
    low: Mask


def qlib_topk_dropout(
    panel: Panel, scores: Floats, *, topk: int = 50, n_drop: int = 5, capital: float = 1e8, open_cost: float = 0.0005,
    close_cost: float = 0.0015, min_cost: float = 5.0, limit_threshold: float | None = 0.095,
    risk_degree: float = 0.95, trade_unit: int | None = None, hold_thresh: int = 1,
    forbid_all_trade_at_limit: bool = True, start: int | None = None, stop: int | None = None,
) -> Book:  # fmt: skip
    """Return the book that Qlib's TopkDropoutStrategy makes of these scores, filled at the close of the next bar.

    scores: (T, N) float64; row t is known at close t and trades at close t+1; NaN = the name is not in the prediction
    of that day (a name outside the universe belongs there); a row of NaN trades nothing. Rates are fractions of the
    value, min_cost and capital in currency. limit_threshold: fraction, None = no limit (in Qlib None means the region's
    0.095). trade_unit: raw shares a lot, None = fractions (Qlib's adjusted-price mode). start: first bar that may
    trade, default the one after the first row with a score; stop: one past the last bar. hold_thresh: bars a name must
    have been held before its sale.

    The book's shares and prices are adjusted ones; ``equity[0]`` is after the trades of the first bar. Suspended =
    close unknown: such a name keeps its last price. Where Qlib's own result changes from run to run, a rule is fixed
    here: equal scores (its sort is not stable) go by symbol; held names without a score rank last, by symbol (Python's
    hash seed orders them in Qlib on days without a candidate); sales that cannot pay their fee are met by column.
    n_drop = 0 is refused: Qlib then sells everything every other day (its slice ``[-0:]`` is the whole list).
    Errors: shapes that differ, infinite scores, options outside their range, lots without a factor.
    Source: Qlib 0.9.7 (MIT), behaviour of ``signal_strategy.py``, ``exchange.py`` and ``executor.py``.
    """
    _check(panel, scores, topk, n_drop, capital, limit_threshold, risk_degree, trade_unit, hold_thresh)
    rules = _Rules(
        topk, n_drop, risk_degree, hold_thresh, forbid_all_trade_at_limit, trade_unit, (open_cost, close_cost), min_cost
    )  # fmt: skip
    first, last = _range(scores, start, stop)
    market = _market(panel, limit_threshold)
    by_name = np.argsort(np.array(panel.symbols))
    return _run(market, scores, by_name, rules, capital, first, last)


def _run(
    market: _Market, scores: Floats, by_name: Columns, rules: _Rules, capital: float, first: int, last: int
) -> Book:  # fmt: skip
    N, K = scores.shape[1], last - first
    buying, selling = rules.costs(0), rules.costs(1)
    state = State(np.array(capital), np.zeros(N), np.full(N, np.nan))
    age = np.zeros(N, np.int64)
    held, marks = np.empty((K, N)), np.empty((K, N))
    money = np.zeros((K, 4))  # equity cash fees traded
    rows: list[Floats] = []
    for t in range(first, last):
        row = _row(market.price[t])
        sell, buy = _pick(scores[t - 1], state.shares > 0, by_name, rules)
        orders, refused = _sales(market, t, sell, state.shares, age, rules)
        state, fills = step(state, orders, row, selling)
        done = [_note(t, orders, fills), refused]
        orders, refused = _purchases(market, t, buy, state, rules)
        if orders.any():
            state, fills = step(state, orders, row, buying)
            done.append(_note(t, orders, fills))
        done.append(refused)
        age = np.where(state.shares > 0, age + 1, 0)
        k, table = t - first, np.concatenate(done)
        rows.append(table)
        held[k], marks[k] = state.shares, state.last
        traded = np.abs(table[:, 4] * table[:, 5])[table[:, 4] != 0].sum()
        money[k] = _worth(state), float(state.cash), table[:, 6].sum(), traded
    zero = np.zeros(K)
    equity, cash, fees, traded = (column.copy() for column in money.T)
    return Book(
        name=f"qlib-top-{rules.topk}-drop-{rules.n_drop}", start=first, equity=equity, cash=cash, shares=held,
        price=marks, fees=fees, slippage=zero, corporate=zero.copy(), traded=traded,
        fills=_fills(np.concatenate(rows)), flags=("Qlib mode: rules of Qlib 0.9.7, adjusted prices and shares",),
    )  # fmt: skip


def _worth(state: State) -> float:
    return float(state.cash + np.where(state.shares > 0, state.shares * state.last, 0.0).sum())


def _pick(scores: Floats, held: Mask, by_name: Columns, rules: _Rules) -> tuple[Columns, Columns]:
    """Return the columns to sell and to buy, best score first, before any question of what can be traded."""
    known = np.isfinite(scores)
    none = np.zeros(0, np.intp)
    if not known.any():
        return none, none
    rank = np.where(known, scores, -np.inf)
    order = by_name[np.argsort(-rank[by_name], kind="stable")]
    room = rules.topk - int(held.sum())
    today = order[(known & ~held)[order]][: max(rules.n_drop + room, 0)]
    both = held.copy()
    both[today] = True
    worst = order[both[order]][-rules.n_drop :]
    sell = worst[held[worst]]
    return sell, today[: max(len(sell) + room, 0)]


def _sales(
    market: _Market, t: int, sell: Columns, shares: Floats, age: NDArray[np.int64], rules: _Rules
) -> tuple[Floats, Floats]:  # fmt: skip
    """Return (N,) orders that sell whole holdings, and the fills rows of the refused ones."""
    orders, refused = np.zeros(len(shares)), []
    for n in sell:
        reason = _barred(market, t, n, -1, rules)
        if reason != FILLED:
            refused.append((t, n, t - 1, -shares[n], 0.0, np.nan, 0.0, reason))
        elif age[n] >= rules.hold_thresh:
            orders[n] = -shares[n]
    return orders, np.array(refused, np.float64).reshape(-1, 8)


def _purchases(market: _Market, t: int, buy: Columns, state: State, rules: _Rules) -> tuple[Floats, Floats]:
    """Return (N,) orders of equal value from the cash after the sales, one after the other, and the refused rows."""
    orders, refused = np.zeros(market.price.shape[1]), []
    cash, last = float(state.cash), state.last
    part = cash * rules.risk_degree / len(buy) if len(buy) else 0.0
    # Qlib deals nothing up to 1e-5 of the currency. ``step`` never spends the last 1e-12 of the cash: that is dust too.
    dust = max(1e-5, 1e-11 * _worth(state))
    for n in buy:
        price = market.price[t, n]
        reason = _barred(market, t, n, +1, rules)
        if reason != FILLED:
            asked = part / last[n] if last[n] > 0 else part  # a name without any price yet counts at 1
            refused.append((t, n, t - 1, asked, 0.0, np.nan, 0.0, reason))
            continue
        amount = _lots(part / price, market.factor[t, n], rules.trade_unit)
        amount = _afford(amount, price, market.factor[t, n], cash, rules)
        if amount * price <= dust:
            continue
        orders[n] = amount
        cash -= amount * price + max(amount * price * rules.rates[0], rules.min_cost)
    return orders, np.array(refused, np.float64).reshape(-1, 8)


def _barred(market: _Market, t: int, n: int, side: int, rules: _Rules) -> int:
    """Return why Qlib would not trade the name on this side, FILLED when it would."""
    if not market.price[t, n] > 0:
        return SUSPENDED
    if market.high[t, n] and (rules.forbid or side > 0):
        return LIMIT_UP
    if market.low[t, n] and (rules.forbid or side < 0):
        return LIMIT_DOWN
    return FILLED


def _afford(amount: float, price: float, factor: float, cash: float, rules: _Rules) -> float:
    """Return the part of a purchase that the cash left can pay, with its fee."""
    rate, least = rules.rates[0], rules.min_cost
    fee = max(amount * price * rate, least)
    if cash >= amount * price + fee:
        return amount
    if cash < fee:
        return 0.0
    # Qlib takes the proportional fee from this cash on; a rate of 0 never gets there
    proportional = rate > 0 and cash >= least / rate + least
    most = cash / (1 + rate) if proportional else cash - least
    return _lots(min(amount, most / price), factor, rules.trade_unit)


def _lots(amount: float, factor: float, unit: int | None) -> float:
    """Round adjusted shares down to whole lots of raw shares; 0.1 of a share forgives the division, as in Qlib."""
    return amount if unit is None else (amount * factor + 0.1) // unit * unit / factor


def _row(price: Floats) -> MarketRow:
    ok = price > 0
    return MarketRow(price, price, price, price, np.full_like(price, np.nan), np.ones_like(price), ok, price)


def _note(t: int, orders: Floats, fills: BarFills) -> Floats:
    """Return the fills rows of a bar: t, n, decided, ordered, shares, price, fee, reason."""
    n = np.flatnonzero(orders)
    out = np.empty((len(n), 8))
    out[:, 0], out[:, 1], out[:, 2], out[:, 3] = t, n, t - 1, orders[n]
    out[:, 4], out[:, 5], out[:, 6], out[:, 7] = fills.shares[n], fills.price[n], fills.fee[n], fills.reason[n]
    return out


def _fills(table: Floats) -> Fills:
    t, n, decided = (table[:, i].astype(np.int32) for i in range(3))
    ordered, shares, price, fee = (table[:, i].copy() for i in range(3, 7))
    zero = np.zeros(len(table))
    return Fills(t, n, decided, ordered, shares, price, fee, zero, zero, zero, zero, table[:, 7].astype(np.uint8))


def _market(panel: Panel, threshold: float | None) -> _Market:
    """Lay out adjusted closes and limits. The change is against the last known close, so a gap counts in one piece."""
    price = panel.view("close")
    factor = panel.fields.get("factor", np.ones(panel.shape))
    none = np.zeros(panel.shape, bool)
    if threshold is None:
        return _Market(price, factor, none, none)
    row = np.where(np.isfinite(price), np.arange(len(price))[:, None], 0)
    last = np.take_along_axis(price, np.maximum.accumulate(row, axis=0), axis=0)
    change = np.full(panel.shape, np.nan)
    change[1:] = price[1:] / last[:-1] - 1.0
    return _Market(price, factor, change >= threshold, change <= -threshold)


def _range(scores: Floats, start: int | None, stop: int | None) -> tuple[int, int]:
    T = len(scores)
    known = np.flatnonzero(np.isfinite(scores).any(axis=1))
    if start is None and not len(known):
        raise DataError("qlib_topk_dropout: no row holds a score; check the scores and the universe")
    first = int(known[0]) + 1 if start is None else start
    last = T if stop is None else stop
    if not 1 <= first < last <= T:
        raise ConfigError(
            f"qlib_topk_dropout: bars {first}..{last} are empty or outside 1..{T}; the first bar trades on the scores "
            "of the row before"
        )
    return first, last


def _check(
    panel: Panel, scores: Floats, topk: int, n_drop: int, capital: float, limit_threshold: float | None,
    risk_degree: float, trade_unit: int | None, hold_thresh: int,
) -> None:  # fmt: skip
    panel.need({"close"}, "Qlib mode")
    if scores.shape != panel.shape:
        raise DataError(
            f"qlib_topk_dropout: scores have shape {scores.shape}, the panel {panel.shape}; use one panel for both"
        )
    if np.isinf(scores).any():
        t, n = np.argwhere(np.isinf(scores))[0]
        raise DataError(
            f"qlib_topk_dropout: the score of {panel.symbols[n]} on {panel.sessions[t]} is infinite; give a number, or "
            "NaN for none"
        )
    if topk < 1 or not 1 <= n_drop <= topk:
        raise ConfigError(
            f"qlib_topk_dropout: n_drop must lie in 1..topk, got n_drop {n_drop} and topk {topk}; with n_drop 0 Qlib "
            "sells everything every other day"
        )
    if not (np.isfinite(capital) and capital > 0):
        raise ConfigError(f"qlib_topk_dropout: capital must be a positive amount, got {capital!r}")
    if not 0 < risk_degree <= 1:
        raise ConfigError(f"qlib_topk_dropout: risk_degree must lie in (0, 1], got {risk_degree!r}")
    if limit_threshold is not None and not limit_threshold > 0:
        raise ConfigError(f"qlib_topk_dropout: limit_threshold must be > 0 or None, got {limit_threshold!r}")
    if hold_thresh < 0:
        raise ConfigError(f"qlib_topk_dropout: hold_thresh must be >= 0 bars, got {hold_thresh}")
    if trade_unit is not None and trade_unit < 1:
        raise ConfigError(f"qlib_topk_dropout: trade_unit must be >= 1 share or None, got {trade_unit}")
    known = np.isfinite(panel.fields["close"])
    factor = panel.fields.get("factor")
    if trade_unit is not None and (factor is None or np.isnan(factor[known]).any()):
        raise DataError(
            "qlib_topk_dropout: trade_unit counts raw shares and needs a factor wherever a close is known; without it "
            "Qlib trades fractions: give trade_unit=None"
        )
