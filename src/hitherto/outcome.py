"""The one door to the future: realised prices after the decision. Imported by labels, exchange and hindsight only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hitherto.panel import Panel

Floats = NDArray[np.float64]


class MarketRow(NamedTuple):
    """What the market offers at one bar, each (N,): raw prices as traded, volume in shares, NaN when suspended.

    growth: factor_t / factor_{t-1}, 1 where unknown: the ex price is last / growth, and the holder is paid
    shares x last x (1 - 1 / growth), which leaves his wealth as it was.
    tradable: listed, not suspended, price known. last: the last known raw close before this bar.
    """

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    growth: Floats
    tradable: NDArray[np.bool_]
    last: Floats


@dataclass(frozen=True, eq=False)
class Outcome:
    """Realised prices of a panel, read forward."""

    panel: Panel

    def ahead(self, name: str, bars: int) -> Floats:
        """Return (T, N) float64: the adjusted field ``bars`` >= 0 rows later; NaN past the end of the panel."""
        values = self.panel.view(name)
        out = np.full(values.shape, np.nan)
        if bars < len(values):
            out[: len(values) - bars] = values[bars:]
        return out

    def next_known(self, name: str) -> tuple[Floats, NDArray[np.int32]]:
        """Return per (t, n) the first known adjusted value at or after row t, and its row (-1 and NaN when none).

        A suspension between t and that row moves the end of a label: the position can only be closed then.
        """
        values = self.panel.view(name)
        T, N = values.shape
        price, row = np.full((T, N), np.nan), np.full((T, N), -1, np.int32)
        ahead_price, ahead_row = np.full(N, np.nan), np.full(N, -1, np.int32)
        for t in range(T - 1, -1, -1):
            known = np.isfinite(values[t])
            ahead_price = np.where(known, values[t], ahead_price)
            ahead_row = np.where(known, t, ahead_row).astype(np.int32)
            price[t], row[t] = ahead_price, ahead_row
        return price, row

    def last_known(self) -> Floats:
        """Return (T, N) float64: the raw close known at the end of row t, carried over gaps while listed."""
        close = self.panel.fields["close"]
        out = close.copy()
        for t in range(1, len(out)):
            hold = np.isnan(out[t]) & self.panel.listed[t]
            out[t, hold] = out[t - 1, hold]
        return out

    def growth(self) -> Floats:
        """Return (T, N) float64: factor_t / factor_{t-1} against the last known factor, 1 where unknown."""
        factor = self.panel.fields.get("factor")
        T, N = self.panel.shape
        out = np.ones((T, N))
        if factor is None:
            return out
        last = factor[0].copy()
        for t in range(1, T):
            now = factor[t]
            both = np.isfinite(now) & np.isfinite(last)
            out[t, both] = now[both] / last[both]
            last = np.where(np.isfinite(now), now, last)
        return out

    def markets(self) -> list[MarketRow]:
        """Return the T market rows, row t being what can be traded at bar t."""
        f, shape = self.panel.fields, self.panel.shape
        nothing = np.full(shape, np.nan)
        last, growth = self.last_known(), self.growth()
        before = np.vstack([np.full((1, shape[1]), np.nan), last[:-1]])
        tradable = self.panel.listed & ~self.panel.suspended & np.isfinite(f["close"])
        o, h, lo, c, v = (f.get(k, nothing) for k in ("open", "high", "low", "close", "volume"))
        return [MarketRow(o[t], h[t], lo[t], c[t], v[t], growth[t], tradable[t], before[t]) for t in range(shape[0])]

    def market(self, t: int) -> MarketRow:
        """Return what the market offers at bar ``t``."""
        return self.markets()[t]
