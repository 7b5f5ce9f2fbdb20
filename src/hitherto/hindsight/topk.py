"""The best and the worst k names of every rebalance, and where between the two a book lies (its capture)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import ConfigError, DataError
from hitherto.exchange.account import Book
from hitherto.exchange.terms import Costs, Rulings
from hitherto.hindsight.tape import Fill, Floats, Rows, permissions, rates, tradable
from hitherto.panel import Panel


@dataclass(frozen=True, eq=False)
class RandomCapture:
    """Capture of books of k random eligible names: mean, 95 % interval (2.5 and 97.5 percentiles), all values."""

    mean: float
    low: float
    high: float
    values: Floats


def best_topk(
    panel: Panel, k: int, rebalances: Rows, fill: Fill = "next_close", *, costs: float | Costs | None = None,
    rules: Rulings | None = None,
) -> Floats:  # fmt: skip
    """Return (R - 1,) float64: the return of the best k names between the fills of consecutive rebalances.

    rebalances: R decision rows, rising. A period runs from the fill price of the bar after its decision to that of the
    bar after the next decision; its return is the sum of the k highest returns / k (with fewer eligible names the rest
    is cash at 0). rules: a name must not be barred by its price limit from being bought at the first fill and sold at
    the second.

    Without costs (None) no book of k names at 1/k each can do better in any period. With costs (as ``best_path`` takes
    them) each return is net of the trades that open its period: the same names, and the book that goes from one
    period's to the next, drifted weights brought back to 1/k. That book is not the best of all net of costs (to hold on
    to a name can be cheaper than to change it): the bounds are the returns before costs, and ``upper_bound``.
    """
    return _bounds(panel, k, rebalances, fill, costs, rules, +1)


def worst_topk(
    panel: Panel, k: int, rebalances: Rows, fill: Fill = "next_close", *, costs: float | Costs | None = None,
    rules: Rulings | None = None,
) -> Floats:  # fmt: skip
    """Return (R - 1,) float64: the mirror of ``best_topk``, the k lowest returns."""
    return _bounds(panel, k, rebalances, fill, costs, rules, -1)


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
    panel: Panel, k: int, rebalances: Rows, n: int = 200, *, rng: np.random.Generator, fill: Fill = "next_close"
) -> RandomCapture:
    """Return the capture of ``n`` books that draw k eligible names at random at each rebalance, no costs."""
    returns = _period_returns(panel, rebalances, fill, None)
    best, worst = (_sums(returns, _picks(returns, k, sign)) / k for sign in (+1, -1))
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


def _bounds(
    panel: Panel, k: int, rebalances: Rows, fill: Fill, costs: float | Costs | None, rules: Rulings | None, sign: int
) -> Floats:  # fmt: skip
    returns = _period_returns(panel, rebalances, fill, rules)
    picks = _picks(returns, k, sign)
    if costs is None:
        return _sums(returns, picks) / k
    rows = _checked(rebalances)[:-1] + 1
    kind = np.zeros((len(rows), panel.shape[1]), np.uint8) if rules is None else rules.kind[rows]
    buy, sell = rates(costs, rules)
    return _net(returns, picks, k, buy[kind], sell[kind])


def _period_returns(panel: Panel, rebalances: Rows, fill: str, rules: Rulings | None) -> Floats:
    """Return (R - 1, N): adjusted return from fill to fill, NaN where not eligible."""
    buys, sells = permissions(panel, fill, rules)
    rows = _checked(rebalances)
    if rows[0] < 0 or rows[-1] + 1 >= panel.shape[0]:
        raise DataError(
            f"hindsight: rebalances {rows[0]}..{rows[-1]} fill one bar later; the panel's last is {panel.shape[0] - 1}"
        )
    price = tradable(panel, rows + 1, "open" if fill == "next_open" else "close", rules)
    eligible = panel.universe[rows[:-1]] & buys[rows[:-1] + 1] & sells[rows[1:] + 1]
    return np.where(eligible, price[1:] / price[:-1] - 1.0, np.nan)


def _picks(returns: Floats, k: int, sign: int) -> NDArray[np.intp]:
    """Return (R - 1, k or N): the columns of the best (+1) or worst (-1) returns, -1 where fewer are eligible."""
    if k < 1:
        raise ConfigError(f"hindsight: k must be a whole number of names >= 1, got {k}")
    order = np.argsort(np.where(np.isfinite(returns), -sign * returns, np.inf), axis=1, kind="stable")[:, :k]
    return np.where(np.isfinite(np.take_along_axis(returns, order, axis=1)), order, -1)


def _sums(returns: Floats, picks: NDArray[np.intp]) -> Floats:
    got = np.take_along_axis(returns, np.maximum(picks, 0), axis=1)
    return np.where(picks >= 0, got, 0.0).sum(axis=1)


def _net(returns: Floats, picks: NDArray[np.intp], k: int, buy: Floats, sell: Floats) -> Floats:
    """Return (R - 1,): the returns of the book that goes from pick to pick, each net of the trades that open it."""
    out = np.empty(len(returns))
    held, cash = np.zeros(returns.shape[1]), 1.0
    for i, row in enumerate(picks):
        chosen = np.zeros(len(held), bool)
        chosen[row[row >= 0]] = True
        before = held.sum() + cash
        after = _rebalanced(held, before, chosen, k, buy[i], sell[i])
        held = np.where(chosen, after / k, 0.0)
        cash = after - held.sum()
        held = held * np.where(chosen, 1.0 + returns[i], 1.0)
        out[i] = (held.sum() + cash) / before - 1.0
        # Only ratios count; a wealth kept at 1 neither overflows nor vanishes.
        held, cash = held / (held.sum() + cash), cash / (held.sum() + cash)
    return out


def _rebalanced(held: Floats, before: float, chosen: NDArray[np.bool_], k: int, buy: Floats, sell: Floats) -> float:
    """Return the wealth left when the chosen names are brought to 1/k of it and all others are sold.

    It solves after + costs(after) = before. The left side rises and is convex in ``after``, straight between at most 2k
    corners, so Newton falls onto the root from above.
    """
    after = before
    for _ in range(2 * k + 4):
        change = np.where(chosen, after / k, 0.0) - held
        rate = np.where(change > 0, buy, -sell)
        excess = after + float((rate * change).sum()) - before
        if excess <= 1e-15 * before:
            break
        after -= excess / (1.0 + float(rate[chosen].sum()) / k)
    return after


def _checked(rebalances: Rows) -> Rows:
    rows = np.asarray(rebalances, np.intp)
    if rows.ndim != 1 or len(rows) < 2 or np.any(np.diff(rows) <= 0):
        raise DataError("hindsight: rebalances must be at least two rising rows")
    return rows
