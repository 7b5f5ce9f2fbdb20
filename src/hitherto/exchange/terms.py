"""Terms: what one trade is held to, as one row of numbers that the kernels read; Costs and Rulings become such rows."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import ConfigError

Floats = NDArray[np.float64]

# Columns of a row of terms. Compiled into exchange/kernels.py, whose disk cache does not see this file: append only.
(
    UP, DOWN, TICK, BAND, LOT, STEP, SETTLE, COMMISSION, MINIMUM, TAX_BUY, TAX_SELL, TRANSFER, OTHER, SHARE_BOTH,
    SHARE_SELL, SHARE_CAP,
) = range(16)  # fmt: skip
COLUMNS = 16
E8 = 1e8  # rates are whole numbers of 1e-8
FEN = 100  # money units in one unit of the currency
PIPS = 10_000  # price units in one unit of the currency


@dataclass(frozen=True)
class Costs:
    """What trading costs, per fill: max(value x fee_bps, min_fee), plus value x sell_tax_bps on sells, plus friction.

    fee_bps, slippage_bps: per side, basis points of the executed value; slippage is a cost beside the tape's price.
    min_fee: currency. lot: 0 trades fractions of a share, a whole number trades multiples of it (a whole holding can
    always be sold). volume_cap: the largest share of a bar's volume that one order may take, 0 for no cap; a fill at
    the open goes by the last volume known before it. impact: Y of the square-root law, a further
    value x Y x sigma x sqrt(shares / adv), with the standard deviation of simple returns and the mean volume of the 20
    bars before the fill (Almgren et al., "Direct estimation of equity market impact", 2005; the exponent 1/2 is
    Barra's); 0 for none.

    Under dated rules (``Rulings``) lot and tax come from the rules: leave both 0; min_fee 0 takes the rules' minimum.
    """

    fee_bps: float = 0.0
    slippage_bps: float = 0.0
    min_fee: float = 0.0
    sell_tax_bps: float = 0.0
    lot: int = 0
    volume_cap: float = 0.0
    impact: float = 0.0

    def __post_init__(self) -> None:
        for spec in dataclasses.fields(self):
            value = getattr(self, spec.name)
            if not (np.isfinite(value) and value >= 0):
                raise ConfigError(f"costs: {spec.name} must be a number >= 0, got {value!r}")
        if self.fee_bps + self.sell_tax_bps + self.slippage_bps >= 10_000:
            raise ConfigError("costs: fee, tax and slippage together must stay below 10000 bps (100 %)")
        if self.lot != int(self.lot):
            raise ConfigError(f"costs: lot must be a whole number of shares (0 = fractions), got {self.lot!r}")
        if self.volume_cap > 1:
            raise ConfigError(f"costs: volume_cap is a share of the volume in 0..1, got {self.volume_cap!r}")

    def times(self, k: float) -> Costs:
        """Return the costs with fees, slippage, tax and impact ``k`` times as large; lot and cap stay."""
        names = ("fee_bps", "slippage_bps", "min_fee", "sell_tax_bps", "impact")
        return dataclasses.replace(self, **{n: k * getattr(self, n) for n in names})

    def terms(self) -> Floats:
        """Return the one row of terms (1, 16) of a market without rules: no limits, T+0, money not rounded."""
        row = np.zeros((1, COLUMNS))
        row[0, [UP, DOWN, TICK]] = -1.0, -1.0, 1.0
        row[0, [LOT, STEP]] = self.lot
        row[0, COMMISSION], row[0, MINIMUM] = self.fee_bps * 1e4, self.min_fee
        row[0, TAX_SELL], row[0, SHARE_CAP] = self.sell_tax_bps * 1e4, np.inf
        return row


@dataclass(frozen=True, eq=False)
class Rulings:
    """The rules in force on every bar and for every name of a panel, ready for the kernels.

    kind: (T, N) uint8, the row of ``terms`` that holds for name n on bar t. terms: (M, 16) float64, whole numbers:

    - up, down: price limit in bps of the reference (1000 = 10 %), -1 for none; tick: in pips of 0.0001 of the currency;
      band: least distance of a limit from the reference, in ticks
    - lot: least number of shares of a buy; step: increment above it; settle: 1 where shares cannot be sold in the
      session that bought them (T+1)
    - commission: the largest lawful rate; minimum: least commission an order, in fen (0.01 of the currency)
    - tax_buy, tax_sell, transfer, other: rates of the value (stamp duty, transfer fee, handling fees and levies)
    - share_both (with transfer) and share_sell (with other, at most share_cap fen): fees per share

    Rates are in 1e-8 of the value, fees per share in 1e-8 of the currency. digest: SHA-256 of the rule records in
    force. assumptions: sentences that a reader must see. shorts: whether holdings may be negative. falls: whether the
    cumulative factor may fall; where it may not, a fall is a fault of the data and moves no money.
    """

    market: str
    kind: NDArray[np.uint8]
    terms: Floats
    digest: str
    assumptions: tuple[str, ...] = field(default=())
    shorts: bool = False
    falls: bool = True

    def __post_init__(self) -> None:
        if self.terms.ndim != 2 or self.terms.shape[1] != COLUMNS or not 1 <= len(self.terms) <= 255:
            raise ConfigError(f"rulings: terms have shape {self.terms.shape}, wanted (1..255, {COLUMNS})")
        if self.kind.size and int(self.kind.max()) >= len(self.terms):
            raise ConfigError(f"rulings: kind speaks of row {int(self.kind.max())}, terms have {len(self.terms)} rows")

    @property
    def label(self) -> str:
        """The market and the first twelve figures of the digest, such as "cn:3f2a90b1c4d5"."""
        return f"{self.market}:{self.digest[:12]}"

    def with_costs(self, costs: Costs) -> Floats:
        """Return the terms (M, 16) with the trader's own commission in them.

        Errors: a lot or a sell tax beside the rules, a commission above the largest lawful one (ConfigError).
        """
        if costs.lot or costs.sell_tax_bps:
            raise ConfigError(
                f"costs: lot {costs.lot} and sell_tax_bps {costs.sell_tax_bps:g} are given beside the rules of "
                f"'{self.market}', which know both by date; leave them 0"
            )
        rate, top = round(costs.fee_bps * 1e4), float(self.terms[:, COMMISSION].min())
        if rate > top:
            raise ConfigError(
                f"costs: fee_bps {costs.fee_bps:g} is above the largest commission of '{self.market}', {top / 1e4:g}"
            )
        terms = self.terms.copy()
        terms[:, COMMISSION] = rate
        if costs.min_fee:
            terms[:, MINIMUM] = round(costs.min_fee * FEN)
        return terms
