"""Normalisation of features: across the names of a date, along a listing's own past, or fitted on a fold's train rows.

All of it is causal: the value of row t reads rows up to t, row t included. What is fitted is returned as an Affine,
which windows apply; there is no ``fit_transform``. Per-window (instance) normalisation lives in windows.py.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import ConfigError, DataError
from hitherto.features.base import Affine, Features
from hitherto.features.library import LARGEST, UNBOUNDED
from hitherto.features.operators import OPERATORS, Floats, ema_weights, ranks, zscores

Mask = NDArray[np.bool_]
Kind = Literal["rank", "zscore", "robust_zscore"]
MAD_TO_STD = 1.4826  # 1 / Phi^-1(3/4): the MAD of a normal distribution times this is its standard deviation
CELLS = 1 << 20


def cross_sectional(features: Features, mask: Mask, kind: Kind = "rank") -> Features:
    """Normalise each feature over the names of its date that ``mask`` (T, N) admits; the others become NaN.

    "rank": ranks spread evenly over [-0.5, 0.5] x sqrt(12) (about unit variance), ties averaged.
    "zscore": (x - mean) / std, ddof 1. "robust_zscore": (x - median) / (1.4826 MAD); where the MAD is zero the
    standard deviation around the median takes its place.
    A name that is alone on its date, or whose date's values do not differ, gets 0: the cross-section says nothing
    about it. NaN stays NaN and counts for nobody. Give the mask as known at t: listed, perhaps in the universe, not
    suspended. A name outside the mask is NaN then, also inside the later windows that contain that row.
    """
    _numbers(features, "cross_sectional")
    _shaped(features, mask, "cross_sectional")
    if kind not in DATE_KINDS:
        near = difflib.get_close_matches(str(kind), DATE_KINDS, n=1, cutoff=0.0)[0]
        raise ConfigError(
            f"cross_sectional: there is no kind {kind!r}; the nearest is {near!r} of {', '.join(DATE_KINDS)}"
        )
    normalise = DATE_KINDS[kind]
    T, N, F = features.values.shape
    if not features.values.size:
        return features
    out = np.empty((T, N, F), np.float32)
    step = max(1, CELLS // max(N * F, 1))
    for a in range(0, T, step):
        block = features.values[a : a + step]
        x = np.where(mask[a : a + step, :, None], block, np.nan).transpose(0, 2, 1).reshape(-1, N)
        with np.errstate(all="ignore"):
            y = normalise(x)
        out[a : a + step] = y.reshape(-1, F, N).transpose(0, 2, 1)
    return dataclasses.replace(features, values=_known(out))


def _rank(x: NDArray[np.floating]) -> Floats:
    rank, count = ranks(x)
    spread = np.maximum(count - 1, 1)
    return (rank / spread - np.where(count > 1, 0.5, 0.0)) * np.sqrt(12.0)


def _zscore(x: NDArray[np.floating]) -> Floats:
    return zscores(np.asarray(x, np.float64))


def _robust_zscore(x: NDArray[np.floating]) -> Floats:
    d = np.asarray(x, np.float64)
    d = d - _median(d)
    size = np.abs(d)
    known = np.isfinite(d)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    mad = _median(size) * MAD_TO_STD
    std = np.sqrt(np.sum(d * d, axis=1, keepdims=True, where=known) / count)
    scale = np.where(mad > 0, mad, std)
    return np.where(scale > 0, d / scale, np.where(known, 0.0, np.nan))


def _median(x: Floats) -> Floats:
    """Return the (R, 1) medians of the known values of each row."""
    ordered = np.sort(x, axis=1)
    count = np.isfinite(x).sum(axis=1, keepdims=True)
    low = np.take_along_axis(ordered, np.maximum(count - 1, 0) // 2, axis=1)
    high = np.take_along_axis(ordered, np.minimum(count // 2, x.shape[1] - 1), axis=1)
    return low + (high - low) / 2


DATE_KINDS: dict[str, Callable[[NDArray[np.floating]], Floats]] = {
    "rank": _rank, "zscore": _zscore, "robust_zscore": _robust_zscore
}  # fmt: skip


def fit_robust_zscore(features: Features, rows: NDArray[np.bool_], mask: Mask, limit: float = 3.0) -> Affine:
    """Fit (x - median) / (1.4826 MAD), clipped to +-``limit``, on the train rows of a fold.

    rows: (T,) bool, the fold's train rows; mask: (T, N) bool, the names that count on each row. Each (row, name) counts
    once (windows would weigh rows by how many contain them). NaN is left out. A feature whose MAD is zero is scaled by
    its standard deviation, one that does not vary at all gets scale 0 and so becomes the constant 0.
    Raises DataError for a feature with no known value on those rows. Qlib's RobustZScoreNorm, without its 1e-12.
    """

    def shift_and_scale(x: Floats) -> tuple[float, float]:
        median = float(np.median(x))
        mad = float(np.median(np.abs(x - median))) * MAD_TO_STD
        return median, mad if mad > 0 else float(np.std(x))

    return _fit(features, rows, mask, limit, shift_and_scale, "fit_robust_zscore")


def fit_zscore(features: Features, rows: NDArray[np.bool_], mask: Mask, limit: float = float("inf")) -> Affine:
    """Fit (x - mean) / std (ddof 0) on the train rows of a fold; as ``fit_robust_zscore`` in all else."""
    return _fit(features, rows, mask, limit, lambda x: (float(np.mean(x)), float(np.std(x))), "fit_zscore")


def _fit(
    features: Features, rows: NDArray[np.bool_], mask: Mask, limit: float,
    shift_and_scale: Callable[[Floats], tuple[float, float]], what: str,
) -> Affine:  # fmt: skip
    _numbers(features, what)
    _shaped(features, mask, what)
    if rows.shape != mask.shape[:1] or rows.dtype != np.bool_:
        raise ConfigError(f"{what}: rows must be {mask.shape[0]} booleans, one per row; got {rows.dtype} {rows.shape}")
    if not limit > 0:
        raise ConfigError(f"{what}: limit must be above 0, got {limit}")
    picked = rows[:, None] & mask
    shift, scale = np.zeros(len(features.names)), np.zeros(len(features.names))
    for f, name in enumerate(features.names):
        x = features.values[:, :, f][picked].astype(np.float64)  # sums of float32 constants are exact in float64
        x = x[np.isfinite(x)]
        if not len(x):
            raise DataError(
                f"{what}: feature '{name}' has no known value on the {int(rows.sum())} train rows; "
                "leave it out, or start training later"
            )
        shift[f], spread = shift_and_scale(x)
        scale[f] = 1 / spread if spread > 1 / LARGEST else 0.0
    return Affine(shift.astype(np.float32), scale.astype(np.float32), limit)


def rolling_zscore(features: Features, n: int) -> Features:
    """Normalise each listing by the mean and std (ddof 1) of its own last ``n`` rows, row t included.

    0 where the window does not vary; NaN where x is unknown or fewer than two of the window's values are known.
    Lookbacks grow by n - 1.
    """
    _numbers(features, "rolling_zscore")
    if not isinstance(n, int) or n < 2:
        raise ConfigError(f"rolling_zscore: n must be a whole number of rows >= 2, got {n}")

    def transform(x: Floats) -> Floats:
        std = OPERATORS["std"].compute(x, n)
        return _ratio(x - OPERATORS["mean"].compute(x, n), std)

    return _along(features, transform, n - 1)


def ema_zscore(features: Features, halflife: float) -> Features:
    """Normalise each listing by its exponential mean and std, row t included; ``halflife`` in rows.

    The weights and the skipping of unknown rows are those of ``ema_weights``. 0 where nothing has varied yet; NaN
    where x is unknown. Recursive: lookbacks become ``UNBOUNDED``.
    """
    _numbers(features, "ema_zscore")
    if not 0 < halflife < np.inf:
        raise ConfigError(f"ema_zscore: halflife must be a number of rows above 0, got {halflife}")

    def transform(x: Floats) -> Floats:
        mean, variance = ema_weights(x, 1 - 0.5 ** (1 / halflife))
        return _ratio(x - mean, np.sqrt(variance))

    return _along(features, transform, UNBOUNDED)


def _ratio(distance: Floats, std: Floats) -> Floats:
    return np.where(std > 0, distance / std, np.where(np.isnan(std), np.nan, distance * 0))


def _along(features: Features, transform: Callable[[Floats], Floats], more: int) -> Features:
    """Apply a transform to each feature's (T, N) and lengthen the lookbacks by ``more`` rows."""
    out = np.empty(features.values.shape, np.float32)
    with np.errstate(all="ignore"):
        for f in range(len(features.names)):
            out[:, :, f] = transform(np.ascontiguousarray(features.values[:, :, f], np.float64))
    lookbacks = tuple(min(b + more, UNBOUNDED) for b in features.lookbacks)
    return dataclasses.replace(features, values=_known(out), lookbacks=lookbacks)


def _known(values: NDArray[np.float32]) -> NDArray[np.float32]:
    values[np.isinf(values)] = np.nan
    return values


def _numbers(features: Features, what: str) -> None:
    if features.is_token:
        raise ConfigError(f"{what}: these features are token ids, which have no scale; encode them first")


def _shaped(features: Features, mask: Mask, what: str) -> None:
    if mask.shape != features.values.shape[:2] or mask.dtype != np.bool_:
        raise ConfigError(
            f"{what}: mask must be bool of shape {features.values.shape[:2]}, got {mask.dtype} {mask.shape}"
        )
