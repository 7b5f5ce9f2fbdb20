"""Thinning of long series for drawing: fewer points, the same extremes."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import ArrayLike, NDArray

POINTS = 2000


def thin(values: ArrayLike, points: int = POINTS) -> NDArray[np.intp]:
    """Indices of at most ``points`` entries that keep both ends and the lowest and highest of every bucket.

    values: (T,) numbers. Returns rising indices, all of them when T <= points. NaN and infinities are not extremes; a
    bucket without any finite value keeps its first entry, so that a long gap stays a gap. ``points`` must be 4 or more.
    """
    series = np.asarray(values, dtype=np.float64)
    rows = len(series)
    if rows <= points:
        return np.arange(rows)
    edges = np.linspace(1, rows - 1, (points - 2) // 2 + 1).astype(np.intp)
    kept = [0, rows - 1]
    for start, stop in itertools.pairwise(edges):
        if stop <= start:
            continue
        bucket = series[start:stop]
        finite = np.isfinite(bucket)
        if not finite.any():
            kept.append(start)
            continue
        kept.append(start + int(np.argmin(np.where(finite, bucket, np.inf))))
        kept.append(start + int(np.argmax(np.where(finite, bucket, -np.inf))))
    return np.unique(np.asarray(kept, dtype=np.intp))
