"""CSV and Parquet bytes to a polars table of raw columns; what is broken is named by line."""

from __future__ import annotations

import csv as csv_module
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import DataError
from hitherto.market.place import show

if TYPE_CHECKING:
    import polars as pl

_MAGIC = {
    b"PAR1": "a Parquet file; rename it to .parquet",
    b"PK\x03\x04": "a zip or Excel file; save it as CSV text",
    b"\x1f\x8b": "a gzip file; decompress it",
    b"\xff\xfe": "UTF-16 text; save it as UTF-8",
    b"\xfe\xff": "UTF-16 text; save it as UTF-8",
}


def csv(data: bytes, name: str) -> tuple[pl.DataFrame, NDArray[np.int64] | None]:
    """Return the text columns of a CSV file and, where blank lines were skipped, each row's place in the file."""
    import polars as pl

    if not data.strip():
        raise DataError(f"{name}: the file is empty; give it a header and bars")
    for magic, what in _MAGIC.items():
        if data.startswith(magic):
            raise DataError(f"{name}: this is {what}")
    data = data.removeprefix(b"\xef\xbb\xbf")
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")
    zero = data.find(b"\0")
    if zero >= 0:
        line = data.count(b"\n", 0, zero) + 1
        raise DataError(f"{name} line {line}: NUL byte: the file is binary or damaged; export it again as CSV text")
    header = _header(data, name)
    _same_width(data, len(header), name)
    try:
        frame = pl.read_csv(io.BytesIO(data), infer_schema_length=0, has_header=True)
        frame.columns = header
    except pl.exceptions.PolarsError:
        raise DataError(f"{name}: not readable as CSV (quotes out of place?); export it again as plain CSV") from None
    blank = frame.select(pl.all_horizontal(pl.all().is_null())).to_series()
    if not blank.any():
        return frame, None
    return frame.filter(~blank), (~blank).arg_true().to_numpy().astype(np.int64)


def _header(data: bytes, name: str) -> list[str]:
    """Check the encoding, and return the header's names."""
    try:
        data.decode()
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        raise DataError(
            f"{name} line {line}: byte 0x{data[e.start]:02x} is not UTF-8; convert the file, e.g. "
            f"iconv -f GB18030 -t UTF-8"
        ) from None
    first = data.split(b"\n", 1)[0].decode().rstrip("\r")
    try:
        names = next(csv_module.reader([first]), [])
    except csv_module.Error as e:
        raise DataError(f"{name} line 1: {show(e, 60)}; export it again as plain CSV") from None
    if len(names) < 2:
        other = next((c for c in (";", "\t", "|") if c in first), None)
        if other is not None:
            raise DataError(f"{name} line 1: columns are separated by {other!r}; save the file with commas")
        raise DataError(f"{name} line 1: '{show(first)}' is no header of two or more columns; name date, symbol, close")
    check_names(names, name)
    return names


def check_names(names: list[str], name: str) -> None:
    """Refuse columns that have no name or the same name twice (the first may be nameless: an index)."""
    seen: set[str] = set()
    for k, n in enumerate(names):
        if n in seen:
            raise DataError(f"{name}: column '{show(n)}' occurs twice in the header; rename or remove one")
        if not n.strip() and k:
            raise DataError(f"{name}: column {k + 1} has no name in the header; name or remove it")
        seen.add(n)


def _same_width(data: bytes, width: int, name: str) -> None:
    """Refuse a line with more or fewer cells than the header: a truncated file, or a comma inside a number."""
    if b'"' in data:
        # newline="" keeps line breaks inside quotes; line_num counts them.
        reader = csv_module.reader(io.StringIO(data.decode(), newline=""))
        try:
            bad = next(((reader.line_num, len(r)) for r in reader if r and len(r) != width), None)
        except csv_module.Error as e:
            raise DataError(f"{name} line {reader.line_num}: {show(e, 60)}; export it again as plain CSV") from None
    else:
        raw = np.frombuffer(data if data.endswith(b"\n") else data + b"\n", np.uint8)
        stops = np.flatnonzero(raw == 10)
        starts = np.r_[0, stops[:-1] + 1]
        cells = np.add.reduceat(raw == 44, starts, dtype=np.int64) + 1
        length = stops - starts
        blank = (length == 0) | ((length == 1) & (raw[starts] == 13))
        wrong = np.flatnonzero(~blank & (cells != width))
        bad = (int(wrong[0]) + 1, int(cells[wrong[0]])) if len(wrong) else None
    if bad is not None:
        raise DataError(
            f"{name} line {bad[0]}: {bad[1]} cells, the header has {width}; the file is cut short or has a stray comma"
        )


def parquet(path: Path, name: str) -> pl.DataFrame:
    """Return the columns of a Parquet file."""
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.stat().st_size == 0:
        raise DataError(f"{name}: the file is empty; write it again")
    try:
        # ParquetFile and not read_table: the latter would add Hive columns from folder names like a=b.
        table = pq.ParquetFile(path).read()
        # Damaged text, in cells or in metadata (which is of no use here), would crash polars.
        table.validate(full=True)
        table = pa.table(table.columns, schema=pa.schema([pa.field(f.name, f.type) for f in table.schema]))
        check_names(table.column_names, name)
        frame = pl.from_arrow(table)
    except (pa.ArrowException, pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as e:
        raise DataError(f"{name}: not a readable Parquet file ({show(e, 60)}); write it again") from None
    assert isinstance(frame, pl.DataFrame)
    return frame
