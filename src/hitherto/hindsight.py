"""Hindsight: what perfect foresight could have made or lost. Bounds to stand beside a result, never a signal.

The types here are their own and frozen; nothing in the library turns one into a Forecast, a score or Weights. Returns
are of adjusted prices (raw x factor, dividends reinvested). A name is eligible for a stretch when it was in the
universe on its decision row and could be traded (listed, not suspended, price known) at both its entry and its exit; a
name suspended at either end is left out, one suspended in between is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hitherto.errors import ConfigError, DataError
from hitherto.exchange.account import Book
from hitherto.outcome import Outcome
from hitherto.panel import Panel

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
Every = int | Literal["month", "year"]


@dataclass(frozen=True)
class Period:
    """One line of the perfect-foresight list.

    start, end: rows of the entry and exit closes; first, last: their sessions as ISO dates. asset: symbol, "" when none
    was eligible (then gain 0). gain: simple return, a fraction. wealth: running wealth after the period.
    """

    start: int
    end: int
    first: str
    last: str
    asset: str
    gain: float
    wealth: float


@dataclass(frozen=True, eq=False)
class HindsightPath:
    """The best (or worst) sequence of single holdings under proportional costs.

    start: panel row of index 0. holding: (K,) int32 column held after the close of each bar, -1 for cash.
    log_wealth: (K,) float64 log of wealth, 0 at the start, valued at the close after that bar's trades. symbols: names.
    """

    start: int
    holding: NDArray[np.int32]
    log_wealth: Floats
    symbols: tuple[str, ...]
    cost_bps: float

    @property
    def trades(self) -> int:
        """Number of bars on which the holding changed."""
        return int((self.holding[1:] != self.holding[:-1]).sum())


@dataclass(frozen=True, eq=False)
class RandomCapture:
    """Capture of books of k random eligible names: mean, 95 % interval (2.5 and 97.5 percentiles), all values."""

    mean: float
    low: float
    high: float
    values: Floats


def compound(gains: ArrayLike, start: float = 1.0) -> Floats:
    """Return running wealth after each gain: start x (1 + g1) x (1 + g2) ... gains are fractions (0.8089 = 80.89 %)."""
    g = np.asarray(gains, np.float64)
    if not (np.isfinite(g).all() and (g >= -1).all()):
        raise DataError("compound: gains must be finite fractions >= -1 (0.05 = 5 %)")
    return np.asarray(start * np.cumprod(1.0 + g), np.float64)


def best_single(
    panel: Panel, start: int = 0, stop: int | None = None, every: Every = "month", capital: float = 1.0
) -> tuple[Period, ...]:
    """List the single asset that gained most in each period, held close to close, all wealth, no costs.

    Rows start..stop-1 are cut into periods of ``every`` bars, or at the last session of each calendar month or year; a
    shorter last period counts. Ties go to the first column.
    """
    return _single(panel, start, stop, every, capital, +1)


def worst_single(
    panel: Panel, start: int = 0, stop: int | None = None, every: Every = "month", capital: float = 1.0
) -> tuple[Period, ...]:
    """List the single asset that lost most in each period: the mirror of ``best_single``."""
    return _single(panel, start, stop, every, capital, -1)


def _single(
    panel: Panel, start: int, stop: int | None, every: Every, capital: float, sign: int
) -> tuple[Period, ...]:  # fmt: skip
    last = _stop(panel, start, stop)
    if isinstance(every, int):
        if every < 1:
            raise ConfigError(f"hindsight: every must be a whole number of bars >= 1, 'month' or 'year', got {every}")
        ends = np.arange(start + every, last, every)
    elif every in ("month", "year"):
        unit = panel.sessions[start:last].astype("datetime64[M]" if every == "month" else "datetime64[Y]")
        ends = start + np.flatnonzero(unit[1:] != unit[:-1])
        ends = ends[ends > start]
    else:
        raise ConfigError(f"hindsight: every must be a whole number of bars >= 1, 'month' or 'year', got {every!r}")
    rows = np.unique(np.r_[start, ends, last - 1])
    price = _prices(panel, "close")
    out, wealth = [], capital
    for a, b in zip(rows[:-1].tolist(), rows[1:].tolist(), strict=True):
        gain = np.where(panel.universe[a], price[b] / price[a] - 1.0, np.nan)
        asset, g = "", 0.0
        if np.isfinite(gain).any():
            n = int(np.nanargmax(sign * gain))
            asset, g = panel.symbols[n], float(gain[n])
        wealth *= 1.0 + g
        out.append(Period(a, b, str(panel.sessions[a]), str(panel.sessions[b]), asset, g, wealth))
    return tuple(out)


def best_topk(
    panel: Panel, k: int, rebalances: Rows, fill: Literal["next_close", "next_open"] = "next_close"
) -> Floats:
    """Return (R - 1,) float64: the return of the best k names between the fills of consecutive rebalances, no costs.

    rebalances: R decision rows, rising. A period runs from the fill price of the bar after its decision to that of the
    bar after the next decision; its return is the sum of the k highest returns / k (with fewer eligible names the rest
    is cash at 0).
    """
    return _topk(_period_returns(panel, rebalances, fill), k, +1)


def worst_topk(
    panel: Panel, k: int, rebalances: Rows, fill: Literal["next_close", "next_open"] = "next_close"
) -> Floats:
    """Return (R - 1,) float64: the mirror of ``best_topk``, the k lowest returns."""
    return _topk(_period_returns(panel, rebalances, fill), k, -1)


def rebalance_returns(book: Book, rebalances: Rows) -> Floats:
    """Return (R - 1,) float64: the net returns of a book from the close of each rebalance's fill bar to the next one's.

    To be laid against ``best_topk(..., fill="next_close")`` of the same rows.
    """
    at = _checked(rebalances) + 1 - book.start
    if at[0] < 0 or at[-1] >= len(book.equity):
        raise DataError(
            f"hindsight: the rebalances fill on bars {at[0] + book.start}..{at[-1] + book.start}, the book has "
            f"{book.start}..{book.start + len(book.equity) - 1}; drop those outside"
        )
    return book.equity[at[1:]] / book.equity[at[:-1]] - 1.0


def capture(r: Floats, best: Floats, worst: Floats) -> float:
    """Return the mean over rebalances of (r - worst) / (best - worst): 0 = the worst k, 1 = the best k names.

    Rebalances with best == worst (no choice) are left out. A net or short return may fall outside [0, 1].
    Errors: shapes that differ, a value that is not finite, or no rebalance with a choice (DataError).
    """
    if not (r.shape == best.shape == worst.shape):
        raise DataError(f"capture: {r.shape} returns, {best.shape} best, {worst.shape} worst; use the same rebalances")
    if not np.isfinite([r, best, worst]).all():
        raise DataError("capture: a return is NaN or infinite; drop that rebalance from all three")
    choice = best > worst
    if not choice.any():
        raise DataError(
            "capture: best and worst k are the same at every rebalance; k must be below the number of names"
        )
    return float(np.mean((r[choice] - worst[choice]) / (best[choice] - worst[choice])))


def random_capture(
    panel: Panel, k: int, rebalances: Rows, n: int = 200, *, rng: np.random.Generator,
    fill: Literal["next_close", "next_open"] = "next_close",
) -> RandomCapture:  # fmt: skip
    """Return the capture of ``n`` books that draw k eligible names at random at each rebalance, no costs."""
    returns = _period_returns(panel, rebalances, fill)
    best, worst = _topk(returns, k, +1), _topk(returns, k, -1)
    r = np.empty((n, len(returns)))
    for i, row in enumerate(returns):
        known = row[np.isfinite(row)]
        if len(known) <= k:
            r[:, i] = known.sum() / k
            continue
        picks = np.argpartition(rng.random((n, len(known))), k - 1, axis=1)[:, :k]
        r[:, i] = known[picks].sum(axis=1) / k
    values = np.array([capture(one, best, worst) for one in r])
    low, high = np.percentile(values, [2.5, 97.5])
    return RandomCapture(float(values.mean()), float(low), float(high), values)


def best_path(panel: Panel, cost_bps: float, start: int = 0, stop: int | None = None) -> HindsightPath:
    """Find the sequence of holdings (cash or one asset per bar) with the highest final wealth: exact, O(T x N).

    Dynamic programme over (bar, holding) in log wealth. At each close the holding may change: a sale keeps (1 - c), a
    purchase gets 1 / (1 + c) of the wealth, c = cost_bps / 10000 of the value; asset to asset pays both. Bought at bar
    t when in the universe at t-1 and tradable at t; sold when tradable; a suspended or delisted holding keeps its last
    price. Wealth is marked to market at the end, unsold, as a Book is. Stated relaxation: fractional shares and no
    minimum fee, lot or limit, so it bounds from above every book that fills at the next close, holds no short and pays
    at least these costs (corporate actions reinvested).
    """
    return _path(panel, cost_bps, start, stop, +1)


def worst_path(panel: Panel, cost_bps: float, start: int = 0, stop: int | None = None) -> HindsightPath:
    """Find the sequence of holdings with the lowest final wealth: the mirror of ``best_path``.

    Keeping a name is free: selling and rebuying it at one close, which only burns costs, is not among the moves.
    """
    return _path(panel, cost_bps, start, stop, -1)


def _stop(panel: Panel, start: int, stop: int | None) -> int:
    T = panel.shape[0]
    last = T if stop is None else stop
    if not 0 <= start < last - 1 < T:
        raise ConfigError(f"hindsight: rows {start}..{last} hold no period; the panel has rows 0..{T - 1}")
    return last


def _prices(panel: Panel, name: str) -> Floats:
    """Return (T, N): the adjusted price where the name can be traded, NaN elsewhere."""
    panel.need({name, "close"}, "the hindsight bound")
    close = panel.fields["close"]
    price = Outcome(panel).ahead(name, 0)
    ok = panel.listed & ~panel.suspended & np.isfinite(close) & (price > 0)
    return np.where(ok, price, np.nan)


def _checked(rebalances: Rows) -> Rows:
    rows = np.asarray(rebalances, np.intp)
    if rows.ndim != 1 or len(rows) < 2 or np.any(np.diff(rows) <= 0):
        raise DataError("hindsight: rebalances must be at least two rising rows")
    return rows


def _period_returns(panel: Panel, rebalances: Rows, fill: str) -> Floats:
    """Return (R - 1, N): adjusted return from fill to fill, NaN where not eligible."""
    if fill not in ("next_close", "next_open"):
        raise ConfigError(f"hindsight: fill must be 'next_close' or 'next_open', got {fill!r}")
    rows = _checked(rebalances)
    if rows[0] < 0 or rows[-1] + 1 >= panel.shape[0]:
        raise DataError(
            f"hindsight: rebalances {rows[0]}..{rows[-1]} fill one bar later; the panel's last is {panel.shape[0] - 1}"
        )
    price = _prices(panel, "open" if fill == "next_open" else "close")[rows + 1]
    return np.where(panel.universe[rows[:-1]], price[1:] / price[:-1] - 1.0, np.nan)


def _topk(returns: Floats, k: int, sign: int) -> Floats:
    if k < 1:
        raise ConfigError(f"hindsight: k must be a whole number of names >= 1, got {k}")
    ordered = np.sort(np.where(np.isfinite(returns), -sign * returns, np.inf), axis=1)[:, :k]
    return -sign * np.where(np.isfinite(ordered), ordered, 0.0).sum(axis=1) / k


def _path(panel: Panel, cost_bps: float, start: int, stop: int | None, sign: int) -> HindsightPath:
    if not (np.isfinite(cost_bps) and 0 <= cost_bps < 10_000):
        raise ConfigError(f"hindsight: cost_bps must lie in [0, 10000), got {cost_bps!r}")
    last = _stop(panel, start, stop)
    price = _prices(panel, "close")[start:last]
    trade = np.isfinite(price)
    grow = _log_growth(price)
    can_buy = np.zeros(trade.shape, bool)
    can_buy[1:] = trade[1:] & panel.universe[start : last - 1]
    can_sell = trade.copy()
    can_sell[0] = False
    sell, buy = np.log1p(-cost_bps / 1e4), -np.log1p(cost_bps / 1e4)
    holding = _search(sign * grow, can_buy, can_sell, sign * sell, sign * buy)
    return HindsightPath(start, holding, _replay(grow, holding, sell, buy), panel.symbols, float(cost_bps))


def _log_growth(price: Floats) -> Floats:
    """Return (K, N): log price change since the bar before, the price carried where unknown, 0 before the first one."""
    known = np.isfinite(price)
    row = np.maximum.accumulate(np.where(known, np.arange(len(price))[:, None], -1), axis=0)
    log = np.log(np.take_along_axis(price, np.maximum(row, 0), axis=0))
    out = np.zeros(price.shape)
    out[1:] = np.where(row[:-1] >= 0, log[1:] - log[:-1], 0.0)
    return out


def _search(
    grow: Floats, can_buy: NDArray[np.bool_], can_sell: NDArray[np.bool_], sell: float, buy: float
) -> NDArray[np.int32]:  # fmt: skip
    """Return (K,) holdings that maximise the sum of growth and trade terms, from cash at bar 0; -1 is cash."""
    K, N = grow.shape
    none = -np.inf
    cash, asset = 0.0, np.full(N, none)
    cash_from, asset_from = np.full(K, -1, np.int32), np.full((K, N), -1, np.int32)
    own = np.arange(N, dtype=np.int32)
    for i in range(1, K):
        asset = asset + grow[i]
        sold = np.where(can_sell[i], asset + sell, none)
        first = int(np.argmax(sold))
        top = float(sold[first])
        # Whoever buys the best seller's own name must finance it from cash or from the second best seller: a name
        # held on is never sold to itself. That matters to the worst path, where costs are sought.
        sold[first] = none
        second = int(np.argmax(sold))
        source = np.full(N, first if top > cash else -1, np.int32)
        funds = np.full(N, max(cash, top))
        source[first] = second if sold[second] > cash else -1
        funds[first] = max(cash, float(sold[second]))
        bought = funds + buy
        take = can_buy[i] & (bought > asset)
        asset_from[i] = np.where(take, source, own)
        cash_from[i] = first if top > cash else -1
        asset, cash = np.where(take, bought, asset), max(cash, top)
    holding = np.full(K, -1, np.int32)
    state = int(np.argmax(asset)) if N and asset.max() > cash else -1
    for i in range(K - 1, 0, -1):
        holding[i] = state
        state = int(asset_from[i, state] if state >= 0 else cash_from[i])
    return holding


def _replay(grow: Floats, holding: NDArray[np.int32], sell: float, buy: float) -> Floats:
    """Return (K,) log wealth of a sequence of holdings."""
    before, after = holding[:-1], holding[1:]
    bars = np.arange(1, len(holding))
    change = before != after
    earned = np.where(before >= 0, grow[bars, np.maximum(before, 0)], 0.0)
    paid = np.where(change & (before >= 0), sell, 0.0) + np.where(change & (after >= 0), buy, 0.0)
    return np.r_[0.0, np.cumsum(earned + paid)]
