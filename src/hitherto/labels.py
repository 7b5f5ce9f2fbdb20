"""Labels: what to forecast. Each entry knows the bars it spans, so that purging follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import ConfigError, FutureError
from hitherto.outcome import Outcome
from hitherto.panel import Panel

Entry = Literal["next_open", "next_close"]


@dataclass(frozen=True, eq=False)
class Label:
    """Future quantities per (t, n, output).

    values: (T, N, O) float64, NaN where there is none. start, end: (T, N, O) int32 rows of the first and last price
    the entry reads; it becomes known at the decision of row ``end``. -1 where there is no label.
    names: O output names. horizons: O bar counts.
    """

    values: NDArray[np.float64]
    start: NDArray[np.int32]
    end: NDArray[np.int32]
    names: tuple[str, ...]
    horizons: tuple[int, ...]
    entry: Entry = "next_close"

    def known_until(self) -> NDArray[np.int32]:
        """Return (T, N) int32: the last row that any output of the sample reads (-1 when it has no label)."""
        return self.end.max(axis=2)


def forward_return(panel: Panel, horizons: tuple[int, ...] = (1,), entry: Entry = "next_close") -> Label:
    """Simple return from entry at bar t+1 to the close ``h`` bars later (h closes later; next_open: h-1 closes later).

    values (T, N, O) float64 fractions. ``next_close``: close(t+1+h) / close(t+1) - 1 (h=1 is Qlib's
    ``Ref($close,-2)/Ref($close,-1)-1``). ``next_open``: close(t+h) / open(t+1) - 1.
    No label when the entry bar cannot be traded; an exit bar that cannot be traded moves to the next one that can,
    and ``end`` with it. Adjusted prices (raw x factor) on both ends.
    """
    if not horizons or any(h < 1 for h in horizons):
        raise FutureError(f"labels: horizons must be whole numbers of bars >= 1, got {list(horizons)}")
    if entry not in ("next_open", "next_close"):
        raise ConfigError(f"labels: entry must be 'next_open' or 'next_close', got {entry!r}")
    price = "open" if entry == "next_open" else "close"
    panel.need({price, "close"}, f"a label entered at the {entry.replace('_', ' ')}")
    outcome = Outcome(panel)
    T, N = panel.shape
    into = outcome.ahead(price, 1)
    exit_price, exit_row = outcome.next_known("close")
    shape = (T, N, len(horizons))
    values, start, end = np.full(shape, np.nan), np.full(shape, -1, np.int32), np.full(shape, -1, np.int32)
    for o, h in enumerate(horizons):
        shift = h if entry == "next_open" else h + 1
        if shift >= T:
            continue
        out_price, out_row = exit_price[shift:], exit_row[shift:]
        rows = slice(0, T - shift)
        with np.errstate(divide="ignore", invalid="ignore"):
            r = out_price / into[rows] - 1.0
        ok = np.isfinite(r)
        values[rows, :, o] = np.where(ok, r, np.nan)
        start[rows, :, o] = np.where(ok, np.arange(1, T - shift + 1, dtype=np.int32)[:, None], -1)
        end[rows, :, o] = np.where(ok, out_row, -1)
    return Label(values, start, end, tuple(f"return_{h}" for h in horizons), tuple(horizons), entry)
