"""Panel: a point-in-time market on one decision clock. Row t holds only what was public at decision time t.

Letters: T decision times, N listings. Missing is NaN; *not listed*, *suspended* and *missing* are three masks.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import DataError, FutureError
from hitherto.market.bars import Bars, Finding

Adjustment = Literal["raw", "factor", "restated_total_return"]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
PRICES = ("open", "high", "low", "close", "vwap")


@dataclass(frozen=True, eq=False)
class Panel:
    """Market data of N listings at T decision times.

    times: (T,) int64, UTC nanoseconds of each decision (the session's close unless the bars say otherwise).
    sessions: (T,) datetime64[D], local dates in ``zone``. symbols: N names, one per listing.
    fields: name -> (T, N) float64, prices *raw* as traded, volume in shares, ``factor`` the cumulative
    adjustment known on that day. NaN where unknown, also on suspended days.
    listed, suspended, missing, universe: (T, N) bool.
    adjustment: "raw" (no factor known), "factor" (raw prices and a factor), or "restated_total_return" (the vendor
    rewrote the past with later splits and dividends: levels know the future, only scale-free features are honest).
    """

    times: NDArray[np.int64]
    sessions: NDArray[np.datetime64]
    symbols: tuple[str, ...]
    fields: Mapping[str, Floats]
    listed: Mask
    suspended: Mask
    missing: Mask
    universe: Mask
    zone: str = "UTC"
    adjustment: Adjustment = "raw"
    findings: tuple[Finding, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = (len(self.times), len(self.symbols))
        if np.any(np.diff(self.times) <= 0):
            raise DataError("panel: decision times must rise strictly; sort the bars and drop duplicates")
        for name, values in [*self.fields.items(), *((m, getattr(self, m)) for m in MASKS)]:
            if values.shape != shape:
                raise DataError(f"panel: '{name}' has shape {values.shape}, the clock and symbols say {shape}")
            values.flags.writeable = False
        object.__setattr__(self, "fields", MappingProxyType(dict(self.fields)))

    @property
    def shape(self) -> tuple[int, int]:
        """(T, N)."""
        return len(self.times), len(self.symbols)

    def need(self, names: Iterable[str], for_what: str) -> None:
        """Raise a DataError that names what ``for_what`` lacks."""
        lacking = [n for n in names if n not in self.fields]
        if lacking:
            raise DataError(
                f"{for_what} needs {', '.join(lacking)}; these bars hold only {', '.join(self.fields)}. "
                "Use features of the fields at hand, or read bars that have them."
            )

    def view(self, name: str) -> Floats:
        """Return the (T, N) float64 field as features see it: prices x factor, volume / factor (Qlib's convention)."""
        self.need([name], "this view")
        values, factor = self.fields[name], self.fields.get("factor")
        if factor is None:
            return values
        if name in PRICES:
            return values * factor
        return values / factor if name == "volume" else values

    def until(self, t: int) -> Past:
        """Return what was known at decision time ``t``: rows 0..t, read-only."""
        if not 0 <= t < len(self.times):
            raise FutureError(f"asked for row {t}; the panel knows rows 0..{len(self.times) - 1}")
        return Past(self, t)

    def rows(self, stop: int) -> Panel:
        """Return the panel cut after row ``stop - 1``, as it would have been read on that day."""
        cut = {m: getattr(self, m)[:stop].copy() for m in MASKS}
        fields = {k: v[:stop].copy() for k, v in self.fields.items()}
        return dataclasses.replace(self, times=self.times[:stop], sessions=self.sessions[:stop], fields=fields, **cut)

    def since(self, start: int) -> Panel:
        """Return the panel without the rows before ``start``."""
        cut = {m: getattr(self, m)[start:].copy() for m in MASKS}
        fields = {k: v[start:].copy() for k, v in self.fields.items()}
        return dataclasses.replace(self, times=self.times[start:], sessions=self.sessions[start:], fields=fields, **cut)

    def assets(self, index: NDArray[np.intp]) -> Panel:
        """Return the panel of the listings at ``index`` (in that order)."""
        cut = {m: getattr(self, m)[:, index].copy() for m in MASKS}
        fields = {k: v[:, index].copy() for k, v in self.fields.items()}
        return dataclasses.replace(self, symbols=tuple(self.symbols[i] for i in index), fields=fields, **cut)

    def replace(self, **changes: object) -> Panel:
        """Return a copy with some attributes replaced (``fields=...``, ``universe=...``)."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    def asof(self, other: Panel, *, lag: int, prefix: str = "") -> Panel:
        """Return this panel with the fields of ``other`` joined as they were known ``lag`` ns before each decision.

        A row of ``other`` (its ``times`` are its known_at) enters row t only if known_at + lag <= times[t].
        Symbols are matched by name; a listing that ``other`` lacks gets NaN.
        """
        if lag < 0:
            raise FutureError(f"asof: lag {lag} ns would read what was not yet known; use lag >= 0")
        row = np.searchsorted(other.times + lag, self.times, side="right") - 1
        where = {s: i for i, s in enumerate(other.symbols)}
        column = np.array([where.get(s, -1) for s in self.symbols])
        fields = dict(self.fields)
        for name, values in other.fields.items():
            out = np.full(self.shape, np.nan)
            ok = np.ix_(row >= 0, column >= 0)
            out[ok] = values[np.ix_(row[row >= 0], column[column >= 0])]
            fields[prefix + name] = out
        return dataclasses.replace(self, fields=fields)

    def digest(self) -> str:
        """Return the SHA-256 of clock, symbols, fields and masks: the data digest of a run."""
        h = hashlib.sha256("\0".join(self.symbols).encode())
        h.update(f"{self.zone}|{self.adjustment}".encode())
        h.update(np.ascontiguousarray(self.times).tobytes())
        for name in sorted(self.fields):
            h.update(name.encode())
            h.update(np.ascontiguousarray(self.fields[name]).tobytes())
        for name in MASKS:
            h.update(np.packbits(getattr(self, name)).tobytes())
        return h.hexdigest()

    def __repr__(self) -> str:
        first, last = (str(self.sessions[0]), str(self.sessions[-1])) if len(self.times) else ("-", "-")
        return f"Panel({self.shape[0]} bars x {self.shape[1]} symbols, {first}..{last}, {', '.join(self.fields)})"


MASKS = ("listed", "suspended", "missing", "universe")


@dataclass(frozen=True, eq=False)
class Past:
    """Read-only rows 0..t of a panel: the information set at decision time t."""

    panel: Panel
    t: int

    def view(self, name: str) -> Floats:
        """Return the (t + 1, N) feature view of a field, read-only."""
        out = self.panel.view(name)[: self.t + 1]
        out.flags.writeable = False
        return out

    def universe(self) -> Mask:
        """Return the (N,) universe at t."""
        return self.panel.universe[self.t]


def from_bars(bars: Bars, universe: Mask | None = None) -> Panel:
    """Lay validated bars out on their clock.

    ``universe`` (T, N) bool limits the names that may be traded and trained on at each time; None means all listed.
    A bar between a listing's first and last one that is absent is *missing*; volume 0 carried flat is *suspended*.
    """
    shape = (len(bars.times), len(bars.symbols))
    listed = np.zeros(shape, bool)
    for n, (first, last) in enumerate(bars.lifetimes):
        listed[first : last + 1, n] = True
    seen = np.zeros(shape, bool)
    seen[bars.row, bars.column] = True
    suspended = np.zeros(shape, bool)
    suspended[bars.row, bars.column] = bars.suspended
    fields: dict[str, Floats] = {}
    for name, values in bars.values.items():
        dense = np.full(shape, np.nan)
        dense[bars.row, bars.column] = values
        if name != "factor":
            dense[suspended] = np.nan
        fields[name] = dense
    if universe is None:
        universe = listed.copy()
    return Panel(
        times=bars.times, sessions=bars.sessions, symbols=bars.symbols, fields=fields, listed=listed,
        suspended=suspended, missing=listed & ~seen, universe=universe & listed, zone=bars.zone,
        adjustment=bars.adjustment, findings=bars.findings, notes=bars.notes,
    )  # fmt: skip


def read_bars(
    source: object, *, membership: object | None = None, calendar: str = "from_data", zone: str | None = None,
    close: str | None = None, adjustment: str = "auto", columns: Mapping[str, str] | None = None,
    start: object | None = None, end: object | None = None,
) -> Panel:  # fmt: skip
    """Read OHLCV bars into a Panel.

    source: a CSV or Parquet file, a folder of them, "sample:NAME" for embedded data, or a frame (pandas, polars,
    Arrow), long (date, symbol, ...) or wide (dates x symbols, closes). membership: a table of (symbol, start, end)
    spans that limits the universe by date. Errors: DataError naming file, row, column and cure.
    """
    from hitherto.market import bars as reader
    from hitherto.market import membership as members
    from hitherto.market import sample

    if isinstance(source, str) and source.startswith("sample:"):
        bars = sample.load(source.removeprefix("sample:"))
    else:
        given = {"zone": zone, "close": close, "columns": columns, "start": start, "end": end}
        options = {k: v for k, v in given.items() if v is not None}
        bars = reader.read(source, calendar=calendar, adjustment=adjustment, **options)  # type: ignore[arg-type]
    if membership is None:
        return from_bars(bars)
    mask, report = members.mask(members.read(membership), bars.sessions, bars.symbols)  # type: ignore[arg-type]
    panel = from_bars(bars, mask)
    return panel.replace(notes={**panel.notes, "membership": str(report)})
