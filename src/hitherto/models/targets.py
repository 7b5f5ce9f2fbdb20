"""Training targets per date: what a learner is asked for is often a stock's place among its neighbours, not its return.

A transform looks at one date only, so the target of a sample never depends on which dates share its batch.
"""

from __future__ import annotations

from typing import Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import ConfigError, DataError

Target = Literal["raw", "cs_zscore", "cs_rank"]
Y = TypeVar("Y", bound=np.floating)


def check_target(kind: str, who: str) -> None:
    """Raise a ConfigError that names ``who`` when ``kind`` is no known target."""
    if kind not in get_args(Target):
        raise ConfigError(f"{who}: target must be one of {', '.join(get_args(Target))}, got {kind!r}")


def check_neighbours(kind: str, offsets: NDArray[np.integer], who: str) -> None:
    """Raise a DataError when a target within dates is asked for, but every date (``offsets``, (D + 1,)) has one name.

    Every target would be 0, and a net would learn that without a word.
    """
    if kind != "raw" and len(offsets) > 1 and np.diff(offsets).max() < 2:
        raise DataError(
            f"{who}: target '{kind}' compares the names of a date, but every date here has one name; use target = 'raw'"
        )


def date_standardise(y: NDArray[Y], blocks: NDArray[np.integer], kind: Target) -> NDArray[Y]:
    """Return the targets ``y`` transformed within each date block, per output.

    y: (B, O) float32 or float64; the result has its shape and dtype (the arithmetic is float64).
    blocks: (D + 1,) offsets; rows blocks[d]:blocks[d + 1] share one date, as in ``Batch.blocks``.
    kind: "raw" leaves the values; "cs_zscore" subtracts the date's mean and divides by its deviation (population, n);
    "cs_rank" is sqrt(12) * ((rank - 1/2) / n - 1/2) with rank 1..n, ties averaged: mean 0, deviation near 1.
    NaN rule: a non-finite entry takes no part and comes out NaN ("raw": as it was). A date with fewer than two known
    entries, or with no spread, becomes 0. Raises ConfigError for another kind, DataError for blocks that do not
    cover ``y``.
    """
    check_target(kind, "date_standardise")
    blocks = np.asarray(blocks)
    if y.ndim != 2 or len(blocks) < 1 or blocks[0] != 0 or blocks[-1] != len(y) or np.any(np.diff(blocks) < 0):
        raise DataError(
            f"date_standardise: y has shape {y.shape}, the blocks must rise from 0 to its number of rows; "
            "pass Batch.y and Batch.blocks of one batch"
        )
    if kind == "raw" or not len(y):
        return y.copy()
    date = np.repeat(np.arange(len(blocks) - 1), np.diff(blocks))
    transform = _zscore if kind == "cs_zscore" else _rank
    out = np.full(y.shape, np.nan)
    for o in range(y.shape[1]):
        column = y[:, o].astype(np.float64)
        known = np.flatnonzero(np.isfinite(column))
        if len(known):
            out[known, o] = transform(column[known], date[known])
    return out.astype(y.dtype)


def _runs(*keys: NDArray[np.generic]) -> NDArray[np.intp]:
    """Return the first positions of runs of equal keys."""
    change = np.zeros(len(keys[0]) - 1, bool)
    for key in keys:
        change |= key[1:] != key[:-1]
    return np.r_[0, np.flatnonzero(change) + 1]


def _zscore(y: NDArray[np.float64], date: NDArray[np.intp]) -> NDArray[np.float64]:
    first = _runs(date)
    size = np.diff(np.r_[first, len(y)])
    # max == min decides "no spread": the rounded mean of equal numbers may differ from them, and 1e-17 / 1e-17 is 1
    flat = np.maximum.reduceat(y, first) == np.minimum.reduceat(y, first)
    centred = y - np.repeat(np.add.reduceat(y, first) / size, size)
    deviation = np.sqrt(np.add.reduceat(centred * centred, first) / size)
    flat |= deviation == 0  # squares of subnormal numbers vanish
    return np.where(np.repeat(flat, size), 0.0, centred / np.repeat(np.where(flat, 1.0, deviation), size))


def _rank(y: NDArray[np.float64], date: NDArray[np.intp]) -> NDArray[np.float64]:
    order = np.lexsort((y, date))
    first = _runs(date)
    size = np.diff(np.r_[first, len(y)])
    tie = _runs(date, y[order])
    ties = np.diff(np.r_[tie, len(y)])
    place = np.repeat(tie + (ties - 1) / 2, ties) - np.repeat(first, size)  # average of 0-based places
    out = np.empty(len(y))
    out[order] = np.sqrt(12) * ((place + 0.5) / np.repeat(size, size) - 0.5)
    return out
