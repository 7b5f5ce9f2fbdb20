"""Bars: one validated OHLCV table from CSV, Parquet, pandas, polars or Arrow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Finding:
    """One thing a data check saw: ``code`` is stable, ``where`` names symbol and date, ``text`` is a sentence."""

    code: str
    where: str
    text: str
    count: int = 1


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
