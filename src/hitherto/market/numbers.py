"""Text and typed columns to float64: strict, with the first bad cell named."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from hitherto.errors import DataError
from hitherto.market.place import Origin, show

if TYPE_CHECKING:
    import polars as pl

MISSING = ("", "na", "nan", "n/a", "null", "none")


def number(column: pl.Series, origin: Origin, name: str, needed: bool) -> pl.Series | None:
    """Return ``column`` as Float64 (null or NaN = missing), or None when it is not ``needed`` and holds no numbers.

    Text must be plain numbers (``12.5``, ``1e-3``), or empty, NA, NaN, null for missing. A column that is not needed
    counts as text, and is left out, unless most of its cells are numbers. Infinity is a DataError.
    """
    import polars as pl

    if column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null):
        out = column.cast(pl.Float64)
    elif column.dtype in (pl.String, pl.Categorical, pl.Enum):
        text = column.cast(pl.String).str.strip_chars()
        text = text.set(text.str.to_lowercase().is_in(MISSING), None)
        out = text.cast(pl.Float64, strict=False)
        bad = text.is_not_null() & out.is_null()
        if bad.any():
            if not needed and bad.sum() * 2 >= text.is_not_null().sum():
                return None
            i = int(bad.arg_max() or 0)
            raise DataError(f"{origin.cell(i, name)}: '{show(text[i])}' is no plain number; {_cure(text[i])}")
    elif needed:
        raise DataError(f"{origin.cell(0, name)}: {column.dtype} values are no numbers; store them as numbers")
    else:
        return None
    infinite = out.is_infinite().fill_null(False)
    if infinite.any():
        i = int(infinite.arg_max() or 0)
        raise DataError(
            f"{origin.cell(i, name)}: '{show(column[i])}' is not a finite number; correct it, or leave the cell empty"
        )
    return out


def _cure(text: str) -> str:
    """What to write instead."""
    plain = unicodedata.normalize("NFKC", text)
    if plain != text and _is_float(plain):
        return f"write it with ASCII digits: {plain}"
    if _is_float(text.replace(",", "")):
        return "write it without thousands separators and with a point, e.g. 1234.5"
    return "write e.g. 12.5, or leave the cell empty when the value is missing"


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
