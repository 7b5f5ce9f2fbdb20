"""Who is on which board, under special treatment or about to be delisted, and when; what the bars say against it."""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import DataError
from hitherto.exchange import terms as col
from hitherto.exchange.records import BOARDS, as_date
from hitherto.exchange.terms import PIPS, Rulings
from hitherto.market import dates, files, frames
from hitherto.market.place import Origin, show
from hitherto.panel import Panel

if TYPE_CHECKING:
    import polars as pl

NAMES = ("st", "delisting", "normal")
_DATES = ("start", "end", "listing_date", "known_at")
_LAST = dt.date(2199, 12, 31)
_EXCHANGES = {
    "SH": "SH",
    "SSE": "SH",
    "SS": "SH",
    "XSHG": "SH",
    "SZ": "SZ",
    "SZSE": "SZ",
    "XSHE": "SZ",
    "BJ": "BJ",
    "BSE": "BJ",
    "XBSE": "BJ",
    "BJSE": "BJ",
}
_CODE = re.compile(r"(?:([A-Z]{2,4})[.:]?)?([0-9]{6})(?:[.:]([A-Z]{2,4}))?(?:#[0-9]+)?", re.IGNORECASE)
# exchange and prefix of the code -> board, or what the name is (no rules are recorded for those)
_PREFIXES = {
    "SH": {
        "60": "main_sse", "688": "star", "689": "star", "51": "etf_sse", "56": "etf_sse", "58": "etf_sse",
        "900": "a B share", "000": "an index", "50": "a fund of another kind", "0": "a bond", "1": "a bond",
        "2": "a bond",
    },
    "SZ": {
        "000": "main_szse", "001": "main_szse", "002": "main_szse", "003": "main_szse", "300": "chinext",
        "301": "chinext", "302": "chinext", "15": "etf_szse", "200": "a B share", "399": "an index",
        "16": "a fund of another kind", "18": "a fund of another kind", "10": "a bond", "11": "a bond",
        "12": "a bond", "13": "a bond",
    },
    "BJ": {"4": "bse", "8": "bse", "920": "bse", "899": "an index"},
}  # fmt: skip
# a bare code: the exchanges to ask, in this order (000001 is the Shenzhen share, not the Shanghai index)
_BARE = {"6": "SH", "5": "SH", "9": "SH", "0": "SZ", "1": "SZ", "2": "SZ", "3": "SZ", "4": "BJ", "8": "BJ", "92": "BJ"}


def board_of(symbol: str) -> str:
    """Return the board of a mainland Chinese code: SH600000, 600000.SH, sh.600000, XSHG:600000, 600000 ...

    Errors: no such code, or one without rules: B shares, bonds, indices, other funds (DataError).
    """
    found = _CODE.fullmatch(symbol.strip())
    marks = [] if found is None else [m.upper() for m in (found[1], found[3]) if m]
    if found is None or len(marks) > 1 or any(m not in _EXCHANGES for m in marks):
        raise DataError(
            f"symbol '{show(symbol)}': no code of a mainland Chinese exchange; write it like SH600000 or 600000.SH, or "
            "name its board in the status table"
        )
    code = found[2]
    exchange = _EXCHANGES[marks[0]] if marks else _BARE.get(code[:2]) or _BARE.get(code[0], "")
    table = _PREFIXES.get(exchange, {})
    board = next((table[code[:k]] for k in (3, 2, 1) if code[:k] in table), None)
    if board is None:
        on = f" on {exchange}" if exchange else ""
        raise DataError(
            f"symbol '{show(symbol)}': the prefix {code[:3]} is not known{on}; name its board in the status table, or "
            "drop it"
        )
    if " " in board:
        raise DataError(
            f"symbol '{show(symbol)}' is {board}; no rules are recorded for it: drop it, or trade without rules"
        )
    return board


def boards_of(market: str, symbols: Sequence[str], status: Status | None = None) -> tuple[NDArray[np.str_], int]:
    """Return the board of every symbol, (N,) str, and how many of them follow from the code alone."""
    if market != "cn":
        return np.full(len(symbols), BOARDS[market][0]), len(symbols)
    given = {} if status is None else status.boards(symbols)
    boards = [given[n] if n in given else board_of(s) for n, s in enumerate(symbols)]
    return np.array(boards), len(symbols) - len(given)


@dataclass(frozen=True, eq=False)
class Status:
    """Dated facts on names that bars do not hold.

    table: polars, one row per span: symbol, start, end (both included; empty end = still), status ("st" for ST and *ST,
    "delisting" for the delisting period, "normal" for a row that only carries the other columns), and, where known,
    board, listing_date, issue_price and known_at (the day the row was public). Build with ``Status.read``.
    """

    table: pl.DataFrame

    @classmethod
    def read(cls, source: Any) -> Status:
        """Read a table from .csv, .parquet, or a frame (pandas, polars, Arrow).

        Errors: DataError by file, row and column: columns that lack, unknown status or board, dates out of order, an
        issue price that is no positive number, one symbol with two boards or listing dates.
        """
        return cls(_checked(*_raw(source)))

    def known(self, asof: dt.date | np.datetime64) -> Status:
        """Return the rows that were public on a day; rows without known_at stay."""
        import polars as pl

        day = as_date(asof)
        return Status(self.table.filter(pl.col("known_at").is_null() | (pl.col("known_at") <= day)))

    def spans(self, symbols: Sequence[str], days: NDArray[np.datetime64]) -> list[tuple[int, str, int, int]]:
        """Return (n, status, begin, end): sessions begin <= j < end; begin < 0 where it starts before the first."""
        out = []
        for n, row in self._rows(symbols):
            start, end = np.datetime64(row["start"]), np.datetime64(row["end"] or _LAST)
            begin = -int(np.busday_count(start, days[0])) if start < days[0] else int(np.searchsorted(days, start))
            if row["status"] != "normal":
                out.append((n, row["status"], begin, int(np.searchsorted(days, end, side="right"))))
        return out

    def boards(self, symbols: Sequence[str]) -> dict[int, str]:
        """Return the boards given in the table, by number of the symbol."""
        return {n: row["board"] for n, row in self._rows(symbols) if row["board"]}

    def listings(self, symbols: Sequence[str]) -> dict[int, dt.date]:
        """Return the listing days given in the table, by number of the symbol."""
        return {n: row["listing_date"] for n, row in self._rows(symbols) if row["listing_date"]}

    def _rows(self, symbols: Sequence[str]) -> Iterable[tuple[int, dict[str, Any]]]:
        where = {_key(s): n for n, s in enumerate(symbols)}
        rows = ((where.get(_key(r["symbol"])), r) for r in self.table.iter_rows(named=True))
        return [(n, r) for n, r in rows if n is not None]

    def strangers(self, symbols: Sequence[str]) -> tuple[int, int]:
        """Return how many names of the table are none of ``symbols``, and how many names it has."""
        known, mine = {_key(s) for s in symbols}, {_key(s) for s in self.table["symbol"]}
        return len(mine - known), len(mine)


def _key(symbol: str) -> str:
    """One spelling for a mainland Chinese code (600000.SH is SH600000); any other symbol as it stands."""
    found = _CODE.fullmatch(symbol.strip())
    marks = [] if found is None else [m.upper() for m in (found[1], found[3]) if m]
    if found is None or len(marks) > 1 or any(m not in _EXCHANGES for m in marks):
        return symbol
    code, again = found[2], symbol.partition("#")[2]
    exchange = _EXCHANGES[marks[0]] if marks else _BARE.get(code[:2]) or _BARE.get(code[0], "")
    return f"{exchange}{code}" + (f"#{again}" if again else "")


def _raw(source: Any) -> tuple[pl.DataFrame, Origin]:
    if not isinstance(source, (str, Path)):
        return frames.to_polars(source).clone(), Origin(frames.NAME)
    path = Path(source)
    name = show(path.name, 80)
    if not path.is_file():
        raise DataError(f"{show(path, 200)}: no such file; check the path of the status table")
    try:
        if path.suffix.lower() != ".csv":
            return files.parquet(path, name), Origin(name)
        raw, rows = files.csv(path.read_bytes(), name)
    except OSError as e:
        raise DataError(f"{show(path, 200)}: cannot be read ({e.strerror}); check the path and its rights") from None
    return raw, Origin(name, "line", 2, rows=rows)


def _checked(raw: pl.DataFrame, origin: Origin) -> pl.DataFrame:
    """The raw table with its columns checked and typed."""
    import polars as pl

    frames.lower_columns(raw, origin.name)
    lacking = [c for c in ("symbol", "start", "end", "status") if c not in raw.columns]
    if lacking:
        raise DataError(
            f"{origin.name}: no column '{lacking[0]}'; a status table has symbol, start, end (may be empty), status"
        )
    text = {c: _text(raw, c) for c in ("symbol", "status", "board")}
    day = {c: _days(raw, c, origin) for c in _DATES}
    status, board = text["status"].str.to_lowercase(), text["board"].str.to_lowercase()
    price = _text(raw, "issue_price")
    number = price.cast(pl.Float64, strict=False)
    boards = BOARDS["cn"]
    for bad, column, what in (
        (text["symbol"].is_null(), "symbol", "the symbol is empty; fill it in"),
        (status.is_null() | ~status.is_in(NAMES), "status", f"unknown status; write one of {', '.join(NAMES)}"),
        (day["start"].is_null(), "start", "the date is missing; write the first day of the span"),
        (day["end"] < day["start"], "end", "the end lies before the start; correct the row"),
        (board.is_not_null() & ~board.is_in(boards), "board", f"unknown board; one of {', '.join(boards)}, or empty"),
        (price.is_not_null() & ~(number.is_finite() & (number > 0)).fill_null(False), "issue_price", "no number > 0; "
         "correct it"),
    ):  # fmt: skip
        if bad.fill_null(False).any():
            raise DataError(f"{origin.cell(int(bad.fill_null(False).arg_max() or 0), column)}: {what}")
    table = pl.DataFrame({"symbol": text["symbol"], "status": status, "board": board, "issue_price": number, **day})
    for column in ("board", "listing_date"):
        twice = table.drop_nulls(column).group_by("symbol").agg(pl.col(column).n_unique()).filter(pl.col(column) > 1)
        if twice.height:
            name = show(sorted(twice["symbol"])[0])
            raise DataError(
                f"{origin.name}, column '{column}': two values for {name}; keep one (they do not change by date)"
            )
    return table


def _text(raw: pl.DataFrame, name: str) -> pl.Series:
    """A column as text without blanks; null where it is empty or absent."""
    import polars as pl

    if name not in raw.columns:
        return pl.Series(name, [None] * raw.height, dtype=pl.String)
    text = raw[name].cast(pl.String).str.strip_chars()
    return text.set(text == "", None)


def _days(raw: pl.DataFrame, name: str, origin: Origin) -> pl.Series:
    """A column as dates; null where it is empty or absent."""
    import polars as pl

    if name not in raw.columns:
        return pl.Series(name, [None] * raw.height, dtype=pl.Date)
    column = _text(raw, name) if raw[name].dtype in (pl.String, pl.Categorical) else raw[name]
    rows = np.flatnonzero(column.is_not_null().to_numpy())
    if not len(rows):
        return pl.Series(name, [None] * raw.height, dtype=pl.Date)
    numbers = np.array([origin.count(int(i)) - origin.first for i in rows], np.int64)
    place = Origin(origin.name, origin.word, origin.first, {"date": name}, rows=numbers)
    stamps = dates.parse(column.gather(rows), place)
    if stamps.kind != "date":
        raise DataError(f"{place.cell(0, 'date')}: plain dates are needed; write them as YYYY-MM-DD")
    return pl.Series(name, [None] * raw.height, dtype=pl.Date).scatter(rows, stamps.values)


@dataclass(frozen=True, eq=False)
class Contradictions:
    """Closes that the assumed limits say cannot be, and those that hint at a tighter limit.

    tested: closes with a known reference and a limit. table: polars, one row per close beyond a limit by more than one
    tick: date, symbol, close, reference (last close, adjusted for the ex-day), up, down, move (close / reference - 1).
    at_five: closes at exactly 5 % and at the day's high or low where 10 % is assumed, as names under special treatment
    (ST) would leave; by_chance: the mean of the same count at 4 % and at 6 %. None without high and low.
    """

    tested: int
    table: pl.DataFrame
    at_five: int | None = None
    by_chance: float | None = None

    def __str__(self) -> str:
        said = f"{self.table.height} of {self.tested} closes lie beyond the limits assumed"
        if self.table.height:
            most = ", ".join(f"{s} {k}" for s, k in Counter(self.table["symbol"]).most_common(3))
            said += f" by more than one tick ({self.table['symbol'].n_unique()} names; most: {most})"
        if self.at_five:
            said += (
                f"; {self.at_five} stand at exactly 5 % and at the day's high or low where 10 % is assumed, about "
                f"{self.by_chance:.0f} by chance: the rest hints at ST names"
            )
        return said + "."


def contradictions(panel: Panel, rulings: Rulings) -> Contradictions:
    """Count the closes of raw bars that contradict the limits in force.

    The reference of a close is the last known close of the sessions before it over the growth of ``factor`` in between
    (growth below 1 counts as 1 where the rulings say that factors cannot fall), half up to the tick.
    """
    import polars as pl

    at, reference = _references(panel, rulings)
    up, down, tick, band = (rulings.terms[rulings.kind, c] for c in (col.UP, col.DOWN, col.TICK, col.BAND))
    tested = np.isfinite(reference) & np.isfinite(at) & (up >= 0)
    reference = np.where(tested, reference, 0.0)
    top = np.maximum(_at(reference, up), reference + band)
    low = np.minimum(_at(reference, -down), reference - band)
    t, n = np.nonzero(tested & ((at > top + 1) | (at < low - 1)))
    unit, close = tick[t, n] / PIPS, panel.fields["close"][t, n]
    table = pl.DataFrame({
        "date": panel.sessions.astype("datetime64[D]")[t], "symbol": [panel.symbols[i] for i in n],
        "close": close, "reference": reference[t, n] * unit, "up": top[t, n] * unit, "down": low[t, n] * unit,
        "move": close / (reference[t, n] * unit) - 1.0,
    })  # fmt: skip
    if not {"high", "low"} <= set(panel.fields):
        return Contradictions(int(tested.sum()), table)
    extremes = [
        (tested & (up == 1_000) & (at == np.floor(panel.fields[name] * PIPS / tick + 0.5 + 1e-6)), sign)
        for name, sign in (("high", 1), ("low", -1))
    ]
    five, four, six = (
        sum(int((here & (at == _at(reference, sign * bps))).sum()) for here, sign in extremes)
        for bps in (500, 400, 600)
    )
    return Contradictions(int(tested.sum()), table, five, (four + six) / 2)


def _at(reference: NDArray[np.float64], bps: NDArray[np.float64] | int) -> NDArray[np.float64]:
    """Ticks at so many bps from the reference, half up."""
    return (reference * (10_000 + bps) + 5_000) // 10_000


def _references(panel: Panel, rulings: Rulings) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Closes (T, N) and the references of their limits, both in ticks, NaN where unknown."""
    panel.need(["close"], "contradictions")
    close, factor = panel.fields["close"], panel.fields.get("factor")
    tick = rulings.terms[rulings.kind, col.TICK]
    at = np.floor(close * PIPS / tick + 0.5 + 1e-6)
    known = np.maximum.accumulate(np.where(np.isfinite(close), np.arange(len(close))[:, None], -1), axis=0)
    opened = np.searchsorted(panel.sessions, panel.sessions)  # first bar of each bar's session
    before = np.where((opened > 0)[:, None], known[opened - 1], -1)
    names = np.arange(close.shape[1])
    last = np.where(before >= 0, (at * tick)[before, names], np.nan)
    if factor is not None:
        growth = factor / np.where(before >= 0, factor[before, names], np.nan)
        last = last / np.where(np.isfinite(growth), growth if rulings.falls else np.maximum(growth, 1.0), 1.0)
    return at, np.floor(last / tick + 0.5 + 1e-6)
