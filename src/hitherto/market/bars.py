"""Bars: one validated OHLCV table from CSV, Parquet, pandas, polars or Arrow."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import ConfigError, DataError
from hitherto.market.findings import Finding, find

if TYPE_CHECKING:
    from hitherto.market.checks import Long
    from hitherto.market.dates import Clock
    from hitherto.market.load import Table

__all__ = ["Bars", "Finding", "read"]
Adjustment = Literal["raw", "factor", "restated_total_return"]
When = str | dt.date
REUSED = 250  # sessions without a bar after which a ticker counts as another listing


@dataclass(frozen=True, eq=False)
class Bars:
    """A long, validated table of bars: R rows of T times x N symbols, sorted by (symbol, time).

    times: (T,) int64 UTC ns decision times (closes). sessions: (T,) datetime64[D]. row, column: (R,) indices into
    times and symbols. values: field -> (R,) float64 raw. suspended: (R,) bool, volume 0 and price carried flat.
    lifetimes: per symbol, (first row, last row) that it is listed.
    """

    times: NDArray[np.int64]
    sessions: NDArray[np.datetime64]
    symbols: tuple[str, ...]
    row: NDArray[np.intp]
    column: NDArray[np.intp]
    values: Mapping[str, NDArray[np.float64]]
    suspended: NDArray[np.bool_]
    lifetimes: tuple[tuple[int, int], ...]
    zone: str = "UTC"
    adjustment: Literal["raw", "factor", "restated_total_return"] = "raw"
    findings: tuple[Finding, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)


def read(
    source: str | Path | Any, *, calendar: str = "from_data", zone: str | None = None, close: str | None = None,
    adjustment: Literal["auto", "raw", "factor", "restated_total_return"] = "auto",
    columns: Mapping[str, str] | None = None, start: When | None = None, end: When | None = None,
) -> Bars:  # fmt: skip
    """Read and check bars from a file, a folder of files (one per symbol) or a frame.

    source: .csv or .parquet, or pandas, polars, pyarrow, anything with ``__arrow_c_stream__``. Long (date, symbol,
    close, ...) or wide (date, then one column of closes per symbol); without a symbol column the file's stem is the
    symbol. Fields: open high low close vwap (currency, as traded), volume (shares), amount (currency), factor
    (cumulative adjustment known that day); other numeric columns are kept as they are, by lower-case name.
    columns: names in the source -> our names. start, end: first and last session to keep (both included).
    calendar: "from_data", or an exchange (XSHG, XNYS, ...) whose sessions the dates must be and which fills the clock.
    zone, close: a date is decided at local ``close`` in ``zone`` (defaults: the calendar's own, else 15:00:00 UTC);
    stamps with a time are the decision time itself: that of the bar's end. Stamps that are all midnight are dates.
    adjustment: "auto" is "factor" with a factor column, else "raw"; say "restated_total_return" for adjusted prices.
    NaN rule: rows without a close are no bars; other cells may be NaN. A suspended bar has volume 0 and a flat price.
    Errors: DataError (file, row, column, cure) for what cannot be used; ``findings`` for what is only odd.
    """
    from hitherto.market import calendar as exchange
    from hitherto.market import checks, dates, load

    choices = ("auto", "raw", "factor", "restated_total_return")
    if adjustment not in choices:
        raise ConfigError(f"adjustment: '{adjustment}' is none of {', '.join(choices)}")
    if calendar != "from_data":
        own_close, own_zone = exchange.close_time(calendar)
        zone, close = zone or own_zone, close or own_close
    table = load.load(source, columns)
    clock = dates.resolve(table.stamps, table.origins[0], zone)
    long = checks.in_order(table, clock, _inside(clock, table, start, end))
    checks.refuse_impossible(long, table)
    checks.refuse_identical(long, table)
    findings = [*table.findings]
    long = _with_close(long, table, findings)
    long, kind = _adjusted(long, table, adjustment)
    close = close or "15:00:00"
    times, sessions, row = _clock(long, table, clock, calendar, close)
    long, row = _split_reused(long, row, sessions, findings)
    first = np.flatnonzero(np.diff(long.column, prepend=-1))
    last = np.r_[first[1:], len(row)] - 1
    bars = Bars(
        times=times, sessions=sessions, symbols=long.symbols, row=row, column=long.column, values=long.values,
        suspended=_suspended(long), lifetimes=tuple(zip(row[first].tolist(), row[last].tolist(), strict=True)),
        zone=clock.zone, adjustment=kind,
        notes={"source": table.name, "calendar": calendar, "close": close if clock.daily else "as stamped"},
    )  # fmt: skip
    return replace(bars, findings=(*findings, *find(bars)))


def _inside(clock: Clock, table: Table, start: When | None, end: When | None) -> NDArray[np.bool_]:
    """(rows,) bool: the session lies in start..end."""
    from hitherto.market import dates

    out = np.ones(len(clock.key), bool)
    if start is not None:
        out &= clock.day >= dates.day(start, "start")
    if end is not None:
        out &= clock.day <= dates.day(end, "end")
    if not out.any():
        have = f"{clock.day.min()}..{clock.day.max()}"
        raise DataError(f"{table.name}: no bars between {start} and {end}; it holds {have}: choose dates inside")
    return out


def _with_close(long: Long, table: Table, findings: list[Finding]) -> Long:
    """Drop rows without a close: they are no bars."""
    from hitherto.market.load import no_prices

    known = np.isfinite(long.values["close"])
    if known.all():
        return long
    if not known.any():
        raise DataError(f"{table.name}, column 'close': no row has a price; fill the column in")
    lost = sorted(set(range(len(long.symbols))) - set(np.unique(long.column[known]).tolist()))
    if lost:
        findings.append(no_prices([long.symbols[n] for n in lost]))
    return long.take(np.flatnonzero(known))


def _adjusted(long: Long, table: Table, asked: str) -> tuple[Long, Adjustment]:
    """Settle what the prices are; a factor that is not to be used leaves the fields."""
    has = "factor" in long.values
    if asked == "factor" and not has:
        raise DataError(f"{table.name}: adjustment 'factor' needs a factor column; name it with columns, or say 'raw'")
    if asked == "auto":
        return long, "factor" if has else "raw"
    if asked == "factor":
        return long, "factor"
    values = {k: v for k, v in long.values.items() if k != "factor"}
    return replace(long, values=values), "raw" if asked == "raw" else "restated_total_return"


def _clock(
    long: Long, table: Table, clock: Clock, calendar: str, close: str
) -> tuple[NDArray[np.int64], NDArray[np.datetime64], NDArray[np.intp]]:
    """Return times (T,), sessions (T,) and each row's index into them."""
    from hitherto.market import calendar as exchange
    from hitherto.market import dates

    keys, index = np.unique(long.key, return_index=True)
    days = long.day[index]
    if calendar != "from_data":
        known = exchange.sessions(calendar, str(days.min()), str(days.max()))
        wrong = ~np.isin(days, known)
        if wrong.any():
            i = int(np.flatnonzero(wrong)[0])
            place = table.cell(int(long.source[index[i]]), "date")
            raise DataError(
                f"{place}: {days[i]} is no session of {calendar}; remove the row, or take the trading days from the "
                'data: calendar="from_data"'
            )
        if clock.daily:
            keys, days = known.astype(np.int64), known
    times = dates.closes(days, clock.zone, close) if clock.daily else keys
    return times, days, np.searchsorted(keys, long.key)


def _split_reused(
    long: Long, row: NDArray[np.intp], sessions: NDArray[np.datetime64], findings: list[Finding]
) -> tuple[Long, NDArray[np.intp]]:
    """Give a ticker that comes back after more than REUSED sessions a new listing, ``SYM#2``."""
    session = np.cumsum(np.diff(sessions, prepend=sessions[:1]) > np.timedelta64(0, "D"))[row]
    again = np.zeros(len(row), bool)
    again[1:] = (long.column[1:] == long.column[:-1]) & (np.diff(session) > REUSED + 1)
    if not again.any():
        return long, row
    part = np.cumsum(again)
    starts = np.flatnonzero(np.diff(long.column, prepend=-1))
    part -= part[starts][long.column]
    taken = set(long.symbols)
    names = list(long.symbols)
    column = long.column.copy()
    for i in np.flatnonzero(again):
        n, k = long.column[i], int(part[i]) + 1
        while f"{long.symbols[n]}#{k}" in taken:
            k += 1
        names.append(f"{long.symbols[n]}#{k}")
        taken.add(names[-1])
        column[(long.column == n) & (part == part[i])] = len(names) - 1
    i = int(np.flatnonzero(again)[0])
    name = long.symbols[long.column[i]]
    text = f"{int(again.sum())} tickers come back after over {REUSED} sessions, first {name}: taken as new listings"
    findings.append(Finding("reused_ticker", f"{name} {long.day[i]}", text, int(again.sum())))
    rank = np.argsort(np.argsort(np.array(names, object)))
    column = rank[column]
    order = np.argsort(column, kind="stable")
    long = replace(long, symbols=tuple(sorted(names)), column=column).take(order)
    return long, row[order]


def _suspended(long: Long) -> NDArray[np.bool_]:
    """(R,) bool: volume 0 and the bar flat; with closes only, volume 0 and the close of the bar before."""
    v = long.values
    if "volume" not in v:
        return np.zeros(len(long.key), bool)
    idle = v["volume"] == 0
    others = [v[name] for name in ("open", "high", "low") if name in v]
    if others:
        flat = np.ones(len(idle), bool)
        for price in others:
            flat &= (price == v["close"]) | np.isnan(price)
        known = np.any([np.isfinite(price) for price in others], axis=0)
        return idle & flat & (known | _carried(long))
    return idle & _carried(long)


def _carried(long: Long) -> NDArray[np.bool_]:
    close = long.values["close"]
    out = np.zeros(len(close), bool)
    out[1:] = (close[1:] == close[:-1]) & (long.column[1:] == long.column[:-1])
    return out
