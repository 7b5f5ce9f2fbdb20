"""Frames in memory (pandas, polars, pyarrow, anything with the Arrow C stream) to polars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hitherto.errors import DataError
from hitherto.market.files import check_names
from hitherto.market.place import show

if TYPE_CHECKING:
    import polars as pl

NAME = "the frame"


def to_polars(source: Any) -> pl.DataFrame:
    """Return ``source`` as a polars table; a named or dated pandas index becomes columns."""
    import polars as pl

    if isinstance(source, pl.LazyFrame):
        source = source.collect()
    if isinstance(source, pl.DataFrame):
        return source
    if type(source).__module__.split(".")[0] == "pandas" and hasattr(source, "reset_index"):
        return _pandas(source)
    if not hasattr(source, "__arrow_c_stream__"):
        raise DataError(
            f"{NAME}: {type(source).__name__} is no path and no frame; give a path or a pandas, polars or Arrow table"
        )
    if hasattr(source, "column_names"):
        check_names([str(n) for n in source.column_names], NAME)
    try:
        return pl.DataFrame(source)
    except (pl.exceptions.PolarsError, ValueError, TypeError) as e:
        raise DataError(f"{NAME}: cannot be read as a table ({show(e, 80)}); give plain columns") from None


def _pandas(source: Any) -> pl.DataFrame:
    import polars as pl

    if source.ndim != 2 or source.columns.nlevels > 1:
        raise DataError(f"{NAME}: a pandas table with one level of columns is needed; flatten the columns")
    named = any(n is not None for n in source.index.names)
    try:
        if named or source.index.nlevels > 1 or source.index.dtype.kind == "M":
            source = source.reset_index()
        source = source.rename(columns=str)
        check_names(list(source.columns), NAME)
        return pl.from_pandas(source)
    except (pl.exceptions.PolarsError, ValueError, TypeError) as e:
        raise DataError(f"{NAME}: cannot be read as a table ({show(e, 80)}); give each column one type") from None


def lower_columns(raw: pl.DataFrame, name: str) -> None:
    """Strip and lower the column names of a table in place; DataError when two become one."""
    columns = [c.strip().lower() for c in raw.columns]
    twice = next((c for i, c in enumerate(columns) if c in columns[:i]), None)
    if twice is not None:
        raise DataError(f"{name}: the column '{show(twice)}' occurs twice; keep one")
    raw.columns = columns
