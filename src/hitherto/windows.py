"""Windows: time-major (L, B, F) batches gathered by date block from views; the one float64 -> float32 cast.

The only thing that ``fit`` and ``predict`` see. Imports numpy only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import ConfigError
from hitherto.features.base import Affine, Features
from hitherto.labels import Label

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Missing:
    """NaN policy of a window: refuse it above ``max_share`` of missing cells, else fill with ``fill``.

    ``mask_channel`` appends one channel, the share of that row's features that was missing.
    """

    max_share: float = 0.2
    fill: float = 0.0
    mask_channel: bool = False


@dataclass(frozen=True, eq=False)
class Batch:
    """One batch of whole dates: x (L, B, F) float32 or int32, y (B, O) float32 or None, t and n (B,) int32.

    blocks: (D + 1,) offsets; samples blocks[d]:blocks[d+1] share one date.
    """

    x: NDArray[np.float32] | NDArray[np.int32]
    y: NDArray[np.float32] | None
    t: NDArray[np.int32]
    n: NDArray[np.int32]
    blocks: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Windows:
    """Lazy samples: for every (t, n) of ``mask`` the rows t-L+1..t of one listing.

    mask: (T, N) bool, the samples asked for. affine: the fold's fitted transform, None before one is fitted.
    instance: standardise each window by its own mean and deviation (per feature), after the affine transform.
    labelled: keep only samples whose every output is known (training); False for prediction.
    """

    features: Features
    label: Label | None
    mask: Mask
    lookback: int
    affine: Affine | None = None
    missing: Missing = field(default_factory=Missing)
    instance: bool = False
    labelled: bool = True

    def __post_init__(self) -> None:
        if self.lookback < 1:
            raise ConfigError(f"windows: lookback must be >= 1, got {self.lookback}")
        if self.labelled and self.label is None:
            raise ConfigError("windows: labelled=True needs a label")

    @cached_property
    def holes(self) -> NDArray[np.int32]:
        """(T, N) int32: missing cells among the last ``lookback`` rows (integer sums: exact, whatever came before)."""
        v = self.features.values
        gaps = (v == 0).sum(2) if self.features.is_token else np.isnan(v).sum(2)
        if self.features.is_token:  # padding is ordinary in text; only windows without any token are refused
            gaps = np.where(gaps == v.shape[2], v.shape[2], 0)
        total = np.cumsum(gaps, axis=0, dtype=np.int64)
        total[self.lookback :] -= total[: -self.lookback].copy() if self.lookback < len(total) else 0
        return total.astype(np.int32)

    @cached_property
    def index(self) -> NDArray[np.int32]:
        """(S, 2) int32 (t, n) of the admitted samples, by date then listing."""
        ok = self.mask.copy()
        ok[: self.lookback - 1] = False
        ok &= self.holes <= self.missing.max_share * self.lookback * self.features.values.shape[2]
        if self.features.relative is not None:
            divisor = self.features.values[:, :, list(set(self.features.relative.by))]
            ok &= (np.isfinite(divisor) & (divisor != 0)).all(axis=2)
        if self.labelled and self.label is not None:
            ok &= np.isfinite(self.label.values).all(axis=2)
        return np.argwhere(ok).astype(np.int32)

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """(D + 1,) int64: index[offsets[d]:offsets[d+1]] is one date."""
        t = self.index[:, 0]
        starts = np.flatnonzero(np.r_[True, t[1:] != t[:-1]]) if len(t) else np.zeros(0, np.int64)
        return np.r_[starts, len(t)].astype(np.int64)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def width(self) -> int:
        """Number of input channels F of a batch, the mask channel included."""
        return self.features.values.shape[2] + (self.missing.mask_channel and not self.features.is_token)

    @property
    def outputs(self) -> int:
        """Number of outputs O."""
        return 0 if self.label is None else self.label.values.shape[2]

    def with_(self, **changes: object) -> Windows:
        """Return a copy with some attributes replaced."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    def targets(self) -> NDArray[np.float64]:
        """Return (S, O) float64 labels of the samples, in index order."""
        if self.label is None:
            raise ConfigError("windows: these windows carry no label")
        return self.label.values[self.index[:, 0], self.index[:, 1]]

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Iterator[Batch]:
        """Yield batches of whole dates with at least ``size`` samples each (the last may be smaller, and counts).

        With ``rng`` the dates come in a random order, without it in time order. A date is never split.
        """
        dates = np.arange(len(self.offsets) - 1)
        if rng is not None:
            dates = rng.permutation(dates)
        group: list[int] = []
        count = 0
        for d in dates:
            group.append(int(d))
            count += int(self.offsets[d + 1] - self.offsets[d])
            if count >= size:
                yield self.gather(group)
                group, count = [], 0
        if group:
            yield self.gather(group)

    def gather(self, dates: list[int]) -> Batch:
        """Return the batch of the given date blocks (positions into ``offsets``)."""
        values: NDArray[Any] = self.features.values
        spans = [self.index[self.offsets[d] : self.offsets[d + 1]] for d in dates]
        blocks = np.cumsum([0, *(len(s) for s in spans)])
        L, F = self.lookback, values.shape[2]
        x: NDArray[Any] = np.empty((L, int(blocks[-1]), F), values.dtype)
        for span, a, b in zip(spans, blocks[:-1], blocks[1:], strict=True):
            t = int(span[0, 0])
            np.take(values[t - L + 1 : t + 1], span[:, 1], axis=1, out=x[:, a:b], mode="clip")
        picked = np.concatenate(spans)
        t, n = picked[:, 0], picked[:, 1]
        x = x if self.features.is_token else self._finish(x)
        y = None if self.label is None else self.label.values[t, n].astype(np.float32)
        return Batch(x, y, t, n, blocks)

    def _finish(self, x: NDArray[Any]) -> NDArray[np.float32]:
        relative = self.features.relative
        if relative is not None:
            x /= x[-1][:, list(relative.by)] + np.array(relative.eps, x.dtype)
        if self.affine is not None:
            self.affine.apply(x)
        if self.instance:
            x = standardise_windows(x)
        gap = np.isnan(x)
        np.copyto(x, self.missing.fill, where=gap)
        if self.missing.mask_channel:
            x = np.concatenate([x, gap.mean(axis=2, keepdims=True, dtype=np.float32)], axis=2)
        return x


def standardise_windows(x: NDArray[Any]) -> NDArray[np.float32]:
    """Return x (L, B, F) with each window's known values at mean 0 and deviation 1 per feature (0 where constant)."""
    known = ~np.isnan(x)
    count = np.maximum(known.sum(axis=0), 1)
    centred = x - np.where(known, x, 0).sum(axis=0, dtype=np.float64) / count
    std = np.sqrt(np.where(known, centred * centred, 0).sum(axis=0) / count)
    flat = np.nanmax(np.where(known, x, -np.inf), axis=0) == np.nanmin(np.where(known, x, np.inf), axis=0)
    return np.where(flat & known, 0.0, centred / np.where(std > 0, std, 1)).astype(np.float32)
