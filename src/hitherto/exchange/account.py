"""Book: the simulated truth of one portfolio."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Fills:
    """The fills table, one row per order that met the market: K rows, in time order.

    t, n: (K,) int32 bar and listing of the fill. decided: (K,) int32 bar of the decision (always < t,
    except in a book flagged "same_close").
    shares: (K,) float64 signed (0 when refused). price: (K,) float64, slippage included, NaN when refused.
    fee: (K,) float64 >= 0.
    reason: (K,) uint8 code, 0 = filled, perhaps in part; see REASONS. ordered: (K,) float64 signed shares asked for,
    empty when not recorded: ``shares`` is smaller where cash, holding or lots did not allow it all.
    """

    t: NDArray[np.int32]
    n: NDArray[np.int32]
    decided: NDArray[np.int32]
    shares: Floats
    price: Floats
    fee: Floats
    reason: NDArray[np.uint8]
    ordered: Floats = field(default_factory=lambda: np.zeros(0))


REASONS = ("filled", "not tradable", "no cash", "no shares", "below one lot")
# Compiled into exchange/step.py, whose disk cache does not see this file: append, never renumber.
FILLED, NOT_TRADABLE, NO_CASH, NO_SHARES, BELOW_LOT = range(len(REASONS))


@dataclass(frozen=True, eq=False)
class Book:
    """What a portfolio really did. Rows are bars start..stop-1 of the panel; K = stop - start.

    equity = cash + sum(shares x last price) on every bar. cash, equity, fees, corporate: (K,) float64 in currency.
    slippage: (K,) float64 currency paid against the undisturbed price. shares: (K, N) float64. price: (K, N) float64
    last known raw price used for valuation. traded: (K,) float64 value traded. fills: the fills table. flags: what a
    reader must know before trusting the figures (same-close fills, positions frozen by a delisting, ruin).
    """

    name: str
    start: int
    equity: Floats
    cash: Floats
    shares: Floats
    price: Floats
    fees: Floats
    slippage: Floats
    corporate: Floats
    traded: Floats
    fills: Fills
    flags: tuple[str, ...] = ()

    @property
    def returns(self) -> Floats:
        """(K - 1,) float64 simple net returns per bar."""
        return self.equity[1:] / self.equity[:-1] - 1.0

    @property
    def turnover(self) -> Floats:
        """(K,) float64 one-way turnover: half the traded value over the equity of the bar before."""
        before = np.r_[self.equity[:1], self.equity[:-1]]
        return 0.5 * self.traded / before
