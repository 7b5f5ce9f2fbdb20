"""Naming places in a source: which file, which row or line, which column. Error messages are made of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


def show(text: object, limit: int = 40) -> str:
    """Return ``text`` on one line, cut at ``limit`` characters, control characters spelt out (Chinese stays)."""
    raw = str(text)
    clean = "".join(c if c.isprintable() else repr(c)[1:-1] for c in raw[:limit])
    return clean + ("..." if len(raw) > limit else "")


@dataclass(frozen=True)
class Origin:
    """One file or frame as its user knows it.

    name: file name without folder, or "the frame". word, first: rows are counted as CSV *lines* from 2 (the header is
    line 1) and as Parquet or frame *rows* from 1. headers: our name -> column name as written there. wide: one column
    per symbol. rows: for each table row its row in the file, where blank lines were skipped (None: the same).
    """

    name: str
    word: str = "row"
    first: int = 1
    headers: Mapping[str, str] = field(default_factory=dict)
    wide: bool = False
    rows: NDArray[np.int64] | None = None

    def row(self, i: int) -> str:
        """Return e.g. ``prices.csv line 5`` for table row ``i`` (0-based)."""
        return f"{self.name} {self.word} {self.count(i)}"

    def count(self, i: int) -> int:
        """Return the line or row number of table row ``i``, as an editor counts."""
        return (i if self.rows is None else int(self.rows[i])) + self.first

    def cell(self, i: int, column: str) -> str:
        """Return e.g. ``prices.csv line 5, column 'Close'``; ``column`` is our name for it."""
        return f"{self.row(i)}, column '{show(self.headers.get(column, column))}'"
