"""From one source (file, folder or frame) to one long polars table of stamps, symbols and float64 fields."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hitherto.errors import DataError
from hitherto.market import dates
from hitherto.market.findings import Finding
from hitherto.market.numbers import number
from hitherto.market.place import Origin, show

if TYPE_CHECKING:
    import polars as pl

FIELDS = ("open", "high", "low", "close", "volume", "factor", "vwap", "amount")
ALIASES = {
    "date": ("datetime", "timestamp", "time", "trade_date", "tradedate"),
    "symbol": ("ticker", "code", "instrument", "ts_code"),
    "close": ("price",),
    "volume": ("vol",),
    "factor": ("adj_factor", "adjfactor", "adjust_factor"),
}
INDEX = ("", "index", "unnamed:_0", "__index_level_0__")
ROW, FILE = "#row", "#file"
TYPES = (".csv", ".parquet", ".pq")


@dataclass(frozen=True, eq=False)
class Table:
    """One source, read: ``frame`` has symbol, fields (float64, NaN or null = missing), and each row's place.

    stamps: the date column, in the frame's row order. origins: one per file. name: file name for notes.
    """

    frame: pl.DataFrame
    stamps: dates.Stamps
    origins: tuple[Origin, ...]
    name: str
    findings: tuple[Finding, ...] = ()

    @property
    def fields(self) -> list[str]:
        """Field names: the known ones first, then the others by name."""
        have = [c for c in self.frame.columns if c not in ("symbol", ROW, FILE)]
        return [f for f in FIELDS if f in have] + sorted(set(have) - set(FIELDS))

    def cell(self, i: int, column: str) -> str:
        """Name row ``i`` of the frame and a column, as the user knows them."""
        origin = self.origins[self.frame[FILE][i]]
        return origin.cell(self.frame[ROW][i], self.frame["symbol"][i] if origin.wide and column == "close" else column)

    def row(self, i: int) -> str:
        """Name row ``i`` of the frame."""
        return self.origins[self.frame[FILE][i]].row(self.frame[ROW][i])


def load(source: Any, columns: Mapping[str, str] | None = None) -> Table:
    """Read a CSV or Parquet file, a folder of them, or a frame; ``columns`` maps names there to our names."""
    if not isinstance(source, (str, Path)):
        from hitherto.market.frames import to_polars

        return _table(to_polars(source), Origin("the frame"), None, columns or {})
    path = Path(source)
    try:
        if not path.exists():
            raise DataError(f"{show(path, 200)}: no such file or folder; check the path")
        if not path.is_dir():
            return _file(path, columns or {})
        files = sorted(f for f in path.iterdir() if f.suffix.lower() in TYPES and not f.name.startswith("."))
        if not files:
            raise DataError(f"{show(path.name)}: the folder holds no .csv or .parquet file; name another folder")
        return _join([_file(f, columns or {}) for f in files], path.name)
    except OSError as e:
        raise DataError(f"{show(path, 200)}: cannot be read ({e.strerror}); check the path and its rights") from None


def _file(path: Path, columns: Mapping[str, str]) -> Table:
    from hitherto.market import files

    kind = path.suffix.lower()
    name = show(path.name, 80)
    if kind not in TYPES:
        raise DataError(f"{name}: '{show(kind)}' is no known file type; save it as .csv or .parquet")
    if kind == ".csv":
        frame, rows = files.csv(path.read_bytes(), name)
        return _table(frame, Origin(name, "line", 2, rows=rows), path.stem, columns)
    return _table(files.parquet(path, name), Origin(name), path.stem, columns)


def _table(raw: pl.DataFrame, origin: Origin, stem: str | None, columns: Mapping[str, str]) -> Table:
    """Find out what the columns are and lay the table out long."""
    import polars as pl

    names = _roles(raw.columns, columns, origin)
    if raw.height == 0:
        raise DataError(f"{origin.name}: it has a header but no rows; give it bars")
    wide = _layout(names, origin, stem)
    origin = replace(origin, headers={v: k for k, v in names.items()}, wide=wide)
    stamps = dates.parse(raw[origin.headers["date"]], origin)
    if wide:
        return _wide(raw, origin, stamps)
    out, findings = {}, []
    for ours, theirs in sorted(origin.headers.items()):
        if ours in ("date", "symbol", *INDEX):
            continue
        got = number(raw[theirs], origin, ours, ours in FIELDS)
        if got is None:
            text = f"{origin.name}: column '{show(theirs)}' holds no numbers and was left out"
            findings.append(Finding("ignored_column", show(theirs), text))
        else:
            out[ours] = got
        if got is not None and ours in ("adj_close", "adjclose", "close_adj"):
            text = f"column '{show(theirs)}' is rewritten by later splits and dividends: its level knows the future"
            findings.append(Finding("restated_column", show(theirs), text))
    symbol = _symbols(raw, origin, stem, findings)
    frame = pl.DataFrame({"symbol": symbol, **out})
    frame = frame.with_columns(pl.int_range(pl.len()).alias(ROW), pl.lit(0, pl.Int32).alias(FILE))
    return Table(frame, stamps, (origin,), origin.name, tuple(findings))


def canon(header: str) -> str:
    """Return a header in our spelling: lower case, spaces and dashes as underscores."""
    return re.sub(r"[\s\-]+", "_", header.strip().lower())


def _roles(headers: list[str], columns: Mapping[str, str], origin: Origin) -> dict[str, str]:
    """Map each header to our name for it."""
    for h in columns:
        if h not in headers:
            raise DataError(f"{origin.name}: columns names '{show(h)}', the file has {listing(headers)}; correct it")
    names = {h: columns.get(h) or canon(h) for h in headers}
    for ours, aliases in ALIASES.items():
        if ours in names.values():
            continue
        found = [h for h in headers if names[h] in aliases and h not in columns]
        if len(found) > 1:
            raise DataError(
                f"{origin.name}: columns '{show(found[0])}' and '{show(found[1])}' could both be the {ours}; "
                f'say which: columns={{"{show(found[0])}": "{ours}"}}'
            )
        if found:
            names[found[0]] = ours
    if "date" not in names.values():
        index = next((h for h in headers if names[h] in INDEX), None)
        if index is None:
            cure = "name one 'date', or say columns={...: \"date\"}"
            raise DataError(f"{origin.name}: no date column among {listing(headers)}; {cure}")
        names[index] = "date"
    return names


def _layout(names: Mapping[str, str], origin: Origin, stem: str | None) -> bool:
    """Return True for a wide table; refuse what is neither wide nor long."""
    ours = list(names.values())
    wide = "close" not in ours and "symbol" not in ours and not all(n in FIELDS for n in ours if n != "date")
    if not wide:
        for h, n in names.items():
            twin = next((k for k in names if names[k] == n and k != h), None)
            if twin is not None:
                raise DataError(f"{origin.name}: columns '{show(h)}' and '{show(twin)}' are both '{n}'; rename one")
        if "close" not in ours:
            raise DataError(
                f"{origin.name}: no close column among {listing(list(names))}; name one 'close', or say "
                'columns={...: "close"}'
            )
        if "symbol" not in ours and stem is None:
            raise DataError(f"{origin.name}: no symbol column among {listing(list(names))}; add one named 'symbol'")
    return wide


def _symbols(raw: pl.DataFrame, origin: Origin, stem: str | None, findings: list[Finding]) -> pl.Series:
    import polars as pl

    header = origin.headers.get("symbol")
    if header is None:
        return pl.repeat(show(stem or "", 80), raw.height, dtype=pl.String, eager=True)
    column = raw[header]
    if column.dtype.is_integer():
        text = "symbols are whole numbers: leading zeros, if there were any, are lost"
        findings.append(Finding("numeric_symbols", show(column[0]), text, column.n_unique()))
    elif column.dtype not in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        raise DataError(f"{origin.cell(0, 'symbol')}: {column.dtype} values are no symbols; store them as text")
    text = column.cast(pl.String).str.strip_chars()
    empty = text.is_null() | (text == "")
    if empty.any():
        i = int(empty.arg_max() or 0)
        raise DataError(f"{origin.cell(i, 'symbol')}: the symbol is empty; fill it in or remove the row")
    for s in text.unique():
        if not s.isprintable():
            i = int((text == s).arg_max() or 0)
            raise DataError(f"{origin.cell(i, 'symbol')}: '{show(s)}' holds a control character; correct the symbol")
    return text


def _wide(raw: pl.DataFrame, origin: Origin, stamps: dates.Stamps) -> Table:
    """One column of closes per symbol -> long; cells without a number are no bars."""
    import polars as pl

    names = [h for h in raw.columns if h != origin.headers["date"] and canon(h) not in INDEX]
    twice = {h.strip() for h in names if not h.strip().isprintable()}
    seen: set[str] = set()
    for h in names:
        twice |= {h.strip()} & seen
        seen.add(h.strip())
    if twice:
        raise DataError(
            f"{origin.name}: '{show(min(twice))}' is no usable symbol (twice, or with control characters); rename it"
        )
    origin = replace(origin, headers={h.strip(): h for h in names} | {"date": origin.headers["date"]})
    parts, keep, empty = [], [], []
    for h in names:
        close = number(raw[h], origin, h.strip(), needed=True)
        assert close is not None
        have = (close.is_not_null() & close.is_not_nan()).arg_true()
        if not len(have):
            empty.append(h.strip())
            continue
        part = pl.DataFrame({"close": close.gather(have), ROW: have.cast(pl.Int64)})
        parts.append(part.select(pl.lit(h.strip()).alias("symbol"), "close", ROW, pl.lit(0, pl.Int32).alias(FILE)))
        keep.append(have)
    if not parts:
        raise DataError(f"{origin.name}: no cell holds a price; a wide table has one column of closes per symbol")
    rows = pl.concat(keep)
    days = None if stamps.days is None else stamps.days.gather(rows)
    stamps = replace(stamps, values=stamps.values.gather(rows), days=days)
    findings = (no_prices(empty),) if empty else ()
    return Table(pl.concat(parts), stamps, (origin,), origin.name, findings)


def no_prices(symbols: list[str]) -> Finding:
    """The finding about symbols without any price."""
    text = f"{len(symbols)} symbols have no price at all and were left out, e.g. {listing(symbols)}"
    return Finding("no_prices", show(symbols[0]), text, len(symbols))


def _join(tables: list[Table], name: str) -> Table:
    """One table from the files of a folder."""
    import polars as pl

    first = tables[0].stamps
    for t in tables[1:]:
        if (t.stamps.kind, t.stamps.zone, t.stamps.days is None) != (first.kind, first.zone, first.days is None):
            raise DataError(
                f"{t.name}: its dates are of another kind or zone than those of {tables[0].name} (mixed zones); "
                "write all files alike"
            )
    frames = [t.frame.with_columns(pl.lit(k, pl.Int32).alias(FILE)) for k, t in enumerate(tables)]
    days = None if first.days is None else pl.concat([t.stamps.days for t in tables if t.stamps.days is not None])
    mixed = next((t.stamps.mixed for t in tables if t.stamps.mixed), None)
    stamps = replace(first, values=pl.concat([t.stamps.values for t in tables]), days=days, mixed=mixed)
    merged: dict[str, Finding] = {}
    for f in (f for t in tables for f in t.findings):
        old = merged.get(f.code)
        merged[f.code] = f if old is None else replace(old, count=old.count + f.count)
    origins = tuple(t.origins[0] for t in tables)
    return Table(pl.concat(frames, how="diagonal"), stamps, origins, show(name, 80), tuple(merged.values()))


def listing(names: list[str]) -> str:
    """Return the first few names, quoted."""
    return ", ".join(f"'{show(n, 20)}'" for n in names[:6]) + (", ..." if len(names) > 6 else "")
