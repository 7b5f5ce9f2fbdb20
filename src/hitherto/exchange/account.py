"""Book: the simulated truth of one portfolio, and its fills, every order with its fee parts or its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl

    from hitherto.panel import Panel

Floats = NDArray[np.float64]

REASONS = (
    "filled", "not tradable", "no cash", "no shares", "below one lot", "limit up", "limit down", "one price", "T+1",
    "volume cap", "suspended", "not listed",
)  # fmt: skip
# Compiled into exchange/kernels.py, whose disk cache does not see this file: append, never renumber.
(
    FILLED, NOT_TRADABLE, NO_CASH, NO_SHARES, BELOW_LOT, LIMIT_UP, LIMIT_DOWN, ONE_PRICE, T_PLUS_1, VOLUME_CAP,
    SUSPENDED, NOT_LISTED,
) = range(len(REASONS))  # fmt: skip


@dataclass(frozen=True, eq=False)
class Fills:
    """The fills table, one row per order that met the market: K rows, in time order.

    t, n: (K,) int32 bar and listing of the fill. decided: (K,) int32 bar of the decision (always < t, except in a book
    flagged "same_close"). ordered, shares: (K,) float64 signed shares, asked for and done (0 when refused): less is
    done where cash, holding, lots or volume did not allow it all. price: (K,) float64 price on the tape, NaN when
    refused. commission, tax, transfer, other: (K,) float64 >= 0, the parts of the fee in currency; slippage: (K,)
    float64, slippage and impact, a cost beside the price. reason: (K,) uint8 code, see REASONS; 0 = filled, perhaps in
    part.
    """

    t: NDArray[np.int32]
    n: NDArray[np.int32]
    decided: NDArray[np.int32]
    ordered: Floats
    shares: Floats
    price: Floats
    commission: Floats
    tax: Floats
    transfer: Floats
    other: Floats
    slippage: Floats
    reason: NDArray[np.uint8]

    @property
    def fee(self) -> Floats:
        """(K,) float64: commission + tax + transfer + other, in currency."""
        return self.commission + self.tax + self.transfer + self.other

    def table(self, panel: Panel) -> pl.DataFrame:
        """Return the fills as a table: date, decided, symbol, side, ordered, shares, price, fee parts, reason."""
        import polars as pl

        symbols = np.asarray(panel.symbols, object)
        return pl.DataFrame({
            "date": panel.sessions[self.t], "decided": panel.sessions[self.decided],
            "symbol": pl.Series(symbols[self.n].tolist(), dtype=pl.String),
            "side": pl.Series(np.where(self.ordered > 0, "buy", "sell").tolist(), dtype=pl.String),
            "ordered": self.ordered, "shares": self.shares, "price": self.price, "commission": self.commission,
            "tax": self.tax, "transfer": self.transfer, "other": self.other, "slippage": self.slippage,
            "reason": pl.Series([REASONS[r] if r else "" for r in self.reason], dtype=pl.String),
        })  # fmt: skip


@dataclass(frozen=True, eq=False)
class Book:
    """What a portfolio really did. Rows are bars start..stop-1 of the panel; K = stop - start.

    equity = cash + sum(shares x last price) on every bar; under rules to the fen, each holding's value rounded by
    itself. cash, equity, fees, corporate: (K,) float64 in currency. slippage: (K,) float64 currency paid beside the
    prices of the tape. corporate: what corporate actions were worth; with ``reinvest`` it comes in shares, not in cash.
    shares: (K, N) float64. price: (K, N) float64 last known raw price used for valuation. traded:
    (K,) float64 value traded. fills: the fills table. flags: what a reader must know before trusting the figures
    (same-close fills, positions frozen by a delisting, ruin). rules: market and digest of the rules in force, "" for a
    market without rules.
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
    rules: str = ""

    @property
    def returns(self) -> Floats:
        """(K - 1,) float64 simple net returns per bar; -1 on the bar of ruin (equity <= 0), and 0 from then on."""
        alive = np.logical_and.accumulate(self.equity > 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            r = self.equity[1:] / self.equity[:-1] - 1.0
        return np.where(alive[1:], r, np.where(alive[:-1], -1.0, 0.0))

    @property
    def turnover(self) -> Floats:
        """(K,) float64 one-way turnover: half the traded value over the equity of the bar before; 0 after ruin."""
        before = np.r_[self.equity[:1], self.equity[:-1]]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(before > 0, 0.5 * self.traded / before, 0.0)
