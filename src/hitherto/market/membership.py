"""Dated universes: who was a member when, and how many of them have prices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import DataError
from hitherto.market import dates, files
from hitherto.market.place import Origin, show

if TYPE_CHECKING:
    import polars as pl

LAST = np.datetime64("2199-12-31", "D")


@dataclass(frozen=True, eq=False)
class MembershipReport:
    """What a membership mask covers; a universe that silently lacks its failures flatters every result.

    names: number of distinct members in the span. lacking: of those, without prices; lacking_names: the first ten.
    members, priced: (T,) int64 members on each session, and those of them that have prices. *_per_day: their means.
    """

    names: int
    lacking: int
    lacking_names: tuple[str, ...]
    members: NDArray[np.int64]
    priced: NDArray[np.int64]

    @property
    def members_per_day(self) -> float:
        """Mean number of members on a session."""
        return float(self.members.mean())

    @property
    def priced_per_day(self) -> float:
        """Mean number of members with prices on a session."""
        return float(self.priced.mean())

    def __str__(self) -> str:
        first = f" ({', '.join(self.lacking_names)}{', ...' if self.lacking > 10 else ''})" if self.lacking else ""
        return (
            f"{self.names} names were members, {self.lacking} of them have no prices{first}; on a mean session "
            f"{self.priced_per_day:.1f} of {self.members_per_day:.1f} members have prices"
        )


def read(path: str | Path) -> pl.DataFrame:
    """Read membership intervals: polars (symbol, start, end), both ends included, an empty end = still a member.

    path: .csv or .parquet with columns symbol, start, end (more are ignored). Errors: DataError by file and row.
    """
    import polars as pl

    path = Path(path)
    name = show(path.name, 80)
    if not path.is_file():
        raise DataError(f"{show(path, 200)}: no such file; check the path of the membership table")
    try:
        if path.suffix.lower() == ".csv":
            raw, rows = files.csv(path.read_bytes(), name)
            origin = Origin(name, "line", 2, rows=rows)
        else:
            raw, origin = files.parquet(path, name), Origin(name)
    except OSError as e:
        raise DataError(f"{show(path, 200)}: cannot be read ({e.strerror}); check the path and its rights") from None
    raw.columns = [c.strip().lower() for c in raw.columns]
    lacking = [c for c in ("symbol", "start", "end") if c not in raw.columns]
    if lacking or raw.height == 0:
        what = f"no column '{lacking[0]}'" if lacking else "no rows"
        raise DataError(f"{name}: {what}; a membership table has symbol, start, end (end may be empty)")
    symbol = raw["symbol"].cast(pl.String).str.strip_chars()
    start, end = (_days(raw[c], origin, c, c == "end") for c in ("start", "end"))
    for bad, column, what in (
        (symbol.is_null() | (symbol == ""), "symbol", "the symbol is empty; fill it in"),
        ((end < start).fill_null(False), "end", "the end lies before the start; correct the row"),
    ):
        if bad.any():
            raise DataError(f"{origin.cell(int(bad.arg_max() or 0), column)}: {what}")
    return pl.DataFrame({"symbol": symbol, "start": start, "end": end})


def _days(column: pl.Series, origin: Origin, name: str, may_be_empty: bool) -> pl.Series:
    """The column as dates."""
    import polars as pl

    if column.dtype in (pl.String, pl.Categorical):
        text = column.cast(pl.String).str.strip_chars()
        column = text.set(text == "", None)
    rows = np.flatnonzero(column.is_not_null().to_numpy())
    if not may_be_empty and len(rows) < len(column):
        i = int(column.is_null().arg_max() or 0)
        raise DataError(f"{origin.cell(i, name)}: the date is missing; write the first day of membership")
    if not len(rows):
        return column.cast(pl.Date)
    numbers = np.array([origin.count(int(i)) - origin.first for i in rows], np.int64)
    place = Origin(origin.name, origin.word, origin.first, {"date": name}, rows=numbers)
    stamps = dates.parse(column.gather(rows), place)
    if stamps.kind != "date":
        raise DataError(f"{place.cell(0, 'date')}: plain dates are needed; write them as YYYY-MM-DD")
    out = pl.Series([None] * len(column), dtype=pl.Date)
    return out.scatter(rows, stamps.values)


def mask(
    table: pl.DataFrame, sessions: NDArray[np.datetime64], symbols: Sequence[str]
) -> tuple[NDArray[np.bool_], MembershipReport]:
    """Return (T, N) bool: symbol n was a member on session t, and a report on members without prices.

    table: as from ``read``. sessions: (T,) datetime64[D], rising. symbols: N listings; ``FB#2`` is the ticker FB.
    """
    sessions = sessions.astype("datetime64[D]")
    T = len(sessions)
    where: dict[str, list[int]] = {}
    for n, s in enumerate(symbols):
        base, _, number = s.rpartition("#")
        for key in {s, base if number.isdigit() and base else s}:
            where.setdefault(key, []).append(n)
    out = np.zeros((T, len(symbols)), bool)
    starts = table["start"].to_numpy().astype("datetime64[D]")
    ends = table["end"].fill_null(LAST.astype(object)).to_numpy().astype("datetime64[D]")
    first, stop = np.searchsorted(sessions, starts), np.searchsorted(sessions, ends, side="right")
    days: dict[str, NDArray[np.bool_]] = {}
    for name, a, b in zip(table["symbol"], first, stop, strict=True):
        if a < b:
            days.setdefault(name, np.zeros(T, bool))[a:b] = True
            out[a:b, where.get(name, [])] = True
    members, priced = np.zeros(T, np.int64), np.zeros(T, np.int64)
    for name, on in days.items():
        members += on
        priced += on if name in where else 0
    lacking = sorted(set(days) - set(where))
    return out, MembershipReport(len(days), len(lacking), tuple(lacking[:10]), members, priced)
