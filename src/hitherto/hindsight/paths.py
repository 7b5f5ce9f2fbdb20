"""The best and the worst sequence of holdings, and the bounds they prove for every long-only book without debt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import DataError
from hitherto.exchange.terms import Costs, Rulings
from hitherto.hindsight import kernels
from hitherto.hindsight.tape import Fill, Floats, Mask, Tape, lay
from hitherto.panel import Panel


@dataclass(frozen=True, eq=False)
class HindsightPath:
    """The best (or worst) sequence of single holdings under proportional costs.

    start: panel row of index 0. holding: (K,) int32 column held after the trades of each bar, -1 for cash.
    log_wealth: (K,) float64 log of wealth, 0 at the start, valued at the close of each bar. symbols: names. cost_bps,
    sell_bps: what a purchase and a sale cost (under dated rules: in the cheapest row of terms).
    """

    start: int
    holding: NDArray[np.int32]
    log_wealth: Floats
    symbols: tuple[str, ...]
    cost_bps: float
    sell_bps: float = float("nan")

    @property
    def trades(self) -> int:
        """Number of bars on which the holding changed."""
        return int((self.holding[1:] != self.holding[:-1]).sum())


def best_path(
    panel: Panel, cost_bps: float | Costs, start: int = 0, stop: int | None = None, *, fill: Fill = "next_close",
    rules: Rulings | None = None,
) -> HindsightPath:  # fmt: skip
    """Find the sequence of holdings (cash or one asset per bar) with the highest final wealth: exact, O(T x N).

    Dynamic programme over (bar, holding) in log wealth. At each fill the holding may change: a sale keeps (1 - s), a
    purchase gets 1 / (1 + b) of the wealth, asset to asset pays both. cost_bps: a number is b = s in basis points;
    ``Costs`` give b = fee + slippage and s = b + tax (minimum fee, lots, cap and impact are left out), and ``rules``
    add their dated rates and limits. Bought at bar t when in the universe at t-1 and tradable at t; sold when tradable;
    a suspended or delisted holding keeps its last price; corporate actions are reinvested. Wealth is marked to market
    at the end, unsold, as a Book is. fill: trades at the close, or at the open and valued at the close.
    """
    tape = lay(panel, cost_bps, start, stop, fill=fill, rules=rules, within=panel.universe, paid=False)
    return _path(panel, tape, +1)


def worst_path(
    panel: Panel, cost_bps: float | Costs, start: int = 0, stop: int | None = None, *, fill: Fill = "next_close",
    rules: Rulings | None = None,
) -> HindsightPath:  # fmt: skip
    """Find the sequence of holdings with the lowest final wealth: the mirror of ``best_path``.

    Keeping a name is free: selling and rebuying it at one fill, which only burns costs, is not among the moves.
    """
    tape = lay(panel, cost_bps, start, stop, fill=fill, rules=rules, within=panel.universe, paid=False)
    return _path(panel, tape, -1)


def upper_bound(
    panel: Panel, costs: float | Costs = 0.0, start: int = 0, stop: int | None = None, *, fill: Fill = "next_close",
    rules: Rulings | None = None, reinvest: bool = False, times: float = 1.0, within: Mask | None = None,
) -> Floats:  # fmt: skip
    """Return (K,) float64: per bar the log of a wealth that no long-only book without debt can exceed, from wealth 1.

    It bounds the equity, at every close, of any book that starts in cash at row ``start``, trades from the next bar on
    at these prices, pays at least these costs and never holds negative shares or cash; however many names it holds, in
    whatever fractions.

    Proof. Give every unit of such a book's money its own history. Since costs are proportional to the value traded,
    what happens to a unit does not depend on the others: while it is kept its value follows one price, a sale leaves
    (1 - s) and a purchase 1 / (1 + b) of it, and a dividend sends part of it to cash unharmed. So the book is a sum of
    paths, each through one holding after another, and its equity is the sum over paths of starting money x a product
    of factors. The programme maximises that product over all paths; the sum of the starting money is the capital;
    hence equity <= capital x the best product, at every bar.

    Relaxed, so that the bound may lie above what can be done, never below: fractions of a share, no lots, no minimum
    fee, no fees per share, no volume cap, no impact, no T+1 within a session; on an ex-date the whole holding may turn
    into cash at the last close free of costs (a book gets only its dividend so), unless ``reinvest``. In whole shares
    and whole fen, rounding can favour a book by half a fen per rounding: count it as capital.

    costs, rules, fill, reinvest, times: as the exchange's, costs also as basis points a side. within: (T, N) names that
    a decision of that row may buy, such as ``panel.universe``; None bounds the books of all listed names. Explicit
    events beside the factor are not known here. Errors: no bars, costs outside [0, 100 %), a factor that is not
    positive (ConfigError, DataError).
    """
    # Under rules a fraction of a share lost in a split is paid in cash, reinvested or not.
    paid = not reinvest or rules is not None
    tape = lay(panel, costs, start, stop, fill=fill, rules=rules, within=within, paid=paid, times=times)
    return _search(tape, +1)[0]


def lower_bound(
    panel: Panel, costs: float | Costs = 0.0, start: int = 0, stop: int | None = None, *, fill: Fill = "next_close",
    rules: Rulings | None = None, reinvest: bool = False, times: float = 1.0, within: Mask | None = None,
) -> Floats:  # fmt: skip
    """Return (K,) float64: per bar the log of a wealth below which no long-only book falls (the mirror).

    The proof of ``upper_bound`` with the smallest product, and three conditions that the upper bound does not need:

    - the book pays *at most* these costs, and they are proportional: a minimum fee, a fee per share or impact costs a
      small order any share of its value, so Costs with one, and rules with one, are refused;
    - no name is both sold and bought within one fill (a book has one order per name and bar, so it never is);
      churning would burn any book down to nothing;
    - fractions of a share, or the rounding counted against the book.
    """
    _refuse_what_is_not_proportional(costs, rules)
    tape = lay(panel, costs, start, stop, fill=fill, rules=rules, within=within, paid=not reinvest, times=times)
    return -_search(tape, -1)[0]


def _refuse_what_is_not_proportional(costs: float | Costs, rules: Rulings | None) -> None:
    fixed = [n for n in ("min_fee", "impact") if isinstance(costs, Costs) and getattr(costs, n)]
    if rules is not None:
        fixed.append("the rules' minimum commission and whole lots")
    if fixed:
        raise DataError(
            f"lower_bound: {' and '.join(fixed)} are not proportional to the value traded, so no lower bound holds; "
            "leave them out (upper_bound holds with them)"
        )


def _path(panel: Panel, tape: Tape, sign: int) -> HindsightPath:
    _, state, took, source = _search(tape, sign)
    holding = kernels.trace(took, source, state)
    wealth = kernels.replay(holding, tape.price, tape.close, tape.kind, tape.buy, tape.sell)
    buy, sell = float(np.expm1(-tape.buy).min()) * 1e4, float(-np.expm1(tape.sell).max()) * 1e4
    return HindsightPath(tape.start, holding, wealth, panel.symbols, buy, sell)


def _search(tape: Tape, sign: int) -> tuple[Floats, int, NDArray[np.uint8], NDArray[np.int32]]:
    """Return the kernel's answer for the best (+1) or worst (-1) path, with its notes for the way back."""
    price, close, buy, sell = tape.price, tape.close, tape.buy, tape.sell
    if sign < 0:
        close, buy, sell = -close, -buy, -sell
        price = close if tape.price is tape.close else -price
    took, source = np.zeros(price.shape, np.uint8), np.full((len(price), 2), -1, np.int32)
    wealth, state = kernels.search(price, close, tape.able, tape.kind, buy, sell, took, source)
    return wealth, state, took, source
