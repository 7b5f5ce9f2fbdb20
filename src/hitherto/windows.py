"""Windows: time-major (L, B, F) batches gathered by date block, never materialised; the one float64 -> float32 cast.

The only thing that ``fit`` and ``predict`` see. A batch is the only thing made: the panel is read where it lies, in
stretches of time, so that it may be a memory map larger than memory. Needs numpy only; with numba one compiled pass
gathers, with the same bits.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import ConfigError
from hitherto.features.base import Affine, Features
from hitherto.labels import Label

Mask = NDArray[np.bool_]
STRETCH = 1 << 22  # values of the panel looked at at once
BLOCK = 1 << 18  # values of a batch that NumPy works on at once: they stay in the cache from pass to pass


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
        T, N = self.features.values.shape[:2]
        out = np.empty((T, N), np.int32)
        for a, b, holes in self._stretches(0, T):
            out[a:b] = holes
        return out

    @cached_property
    def index(self) -> NDArray[np.int32]:
        """(S, 2) int32 (t, n) of the admitted samples, by date then listing."""
        shape = self.features.values.shape[:2]
        for name, other in (("mask", self.mask), ("label", None if self.label is None else self.label.values)):
            if other is not None and other.shape[:2] != shape:
                raise ConfigError(f"windows: the {name} is for (T, N) = {other.shape[:2]}, the features for {shape}.")
        limit = self.missing.max_share * self.lookback * self.features.values.shape[2]
        asked = np.flatnonzero(self.mask.any(axis=1))
        first, stop = (max(int(asked[0]), self.lookback - 1), int(asked[-1]) + 1) if len(asked) else (0, 0)
        found = [np.zeros((0, 2), np.int32)]
        for a, b, holes in self._stretches(first, stop):
            ok = self.mask[a:b] & (holes <= limit)
            if self.features.relative is not None:
                divisor = self.features.values[a:b, :, list(set(self.features.relative.by))]
                ok &= (np.isfinite(divisor) & (divisor != 0)).all(axis=2)
            if self.labelled and self.label is not None:
                ok &= np.isfinite(self.label.values[a:b]).all(axis=2)
            found.append((np.argwhere(ok) + np.array([a, 0])).astype(np.int32))
        return np.concatenate(found)

    def _stretches(self, first: int, stop: int) -> Iterator[tuple[int, int, NDArray[np.int32]]]:
        """Yield (a, b, holes of the rows a..b) over the rows first..stop; a stretch of the panel is read at a time."""
        v, before = np.asarray(self.features.values), self.lookback - 1
        rows = max(1, STRETCH // max(1, v.shape[1] * v.shape[2]))
        gaps = np.zeros((0, v.shape[1]), np.int32)  # of the last rows read
        at = max(first - before, 0)
        for a in range(first, stop, rows):
            b = min(a + rows, stop)
            gaps = np.concatenate([gaps, *(self._gaps(v[c : min(c + rows, b)]) for c in range(at, b, rows))])
            at, start = b, b - len(gaps)
            total = np.concatenate([np.zeros((1, v.shape[1]), np.int32), np.cumsum(gaps, axis=0, dtype=np.int32)])
            ends = np.arange(a, b) + 1 - start
            yield a, b, total[ends] - total[np.maximum(ends - self.lookback, 0)]
            gaps = gaps[len(gaps) - min(before, len(gaps)) :]

    def _gaps(self, v: NDArray[Any]) -> NDArray[np.int32]:
        """(R, N) int32: missing cells of each row."""
        if not self.features.is_token:
            return _count(np.isnan(v))
        empty = (v == 0).all(axis=2)  # padding is ordinary in text; only windows without any token are refused
        return np.where(empty, v.shape[2], 0).astype(np.int32)

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
        spans = [self.index[self.offsets[d] : self.offsets[d + 1]] for d in dates]
        return self._batch(np.concatenate(spans), np.cumsum([0, *(len(s) for s in spans)]))

    def gather_samples(self, rows: NDArray[np.integer]) -> Batch:
        """Return the batch of the samples ``index[rows]``, in the order asked for: random access.

        rows: (B,) integers in 0..S-1, repeats allowed. Its blocks are runs of one date, which need not be whole dates.
        ConfigError for a row outside.
        """
        rows = np.asarray(rows, dtype=np.intp)
        wrong = rows[(rows < 0) | (rows >= len(self))]
        if len(wrong):
            raise ConfigError(f"windows: sample {wrong[0]} was asked for, there are {len(self)}; give rows of index.")
        picked = np.take(self.index, rows, axis=0)
        turns = np.flatnonzero(np.diff(picked[:, 0], prepend=-1))  # t >= 0: the first sample begins a block
        return self._batch(picked, np.append(turns, len(picked)))

    def _batch(self, picked: NDArray[np.int32], blocks: NDArray[np.int64]) -> Batch:
        t, n = np.ascontiguousarray(picked[:, 0]), np.ascontiguousarray(picked[:, 1])
        values: NDArray[Any] = self.features.values
        x: NDArray[Any] = np.empty((self.lookback, len(t), self.width), values.dtype)
        compiled = _compiled() if self._compilable() else None
        if compiled is not None:
            self._gather_compiled(compiled, x, t, n)
        else:
            for a, b in _blocks(len(t), max(2, BLOCK * len(t) // max(1, x.size))):
                x[:, a:b] = self._raw(t[a:b], n[a:b]) if self.features.is_token else self._windows(t[a:b], n[a:b])
        y = None if self.label is None else self.label.values[t, n].astype(np.float32)
        return Batch(x, y, t, n, blocks)

    def _raw(self, t: NDArray[np.int32], n: NDArray[np.int32]) -> NDArray[Any]:
        """(L, B, F): the rows of each window as they are in the panel."""
        v: NDArray[Any] = np.asarray(self.features.values)
        rows = t + np.arange(1 - self.lookback, 1, dtype=np.intp)[:, None]
        if not v.flags.c_contiguous:
            return v[rows, n]
        return np.take(v.reshape(-1, v.shape[2]), rows * v.shape[1] + n, axis=0)

    def _windows(self, t: NDArray[np.int32], n: NDArray[np.int32]) -> NDArray[Any]:
        """(L, B, width): the windows as a net sees them; the definition that the compiled twin repeats bit for bit."""
        x, relative = self._raw(t, n), self.features.relative
        if relative is not None:
            x /= x[-1][:, list(relative.by)] + np.array(relative.eps, x.dtype)
        if self.affine is not None:
            self.affine.apply(x)
        if self.instance:
            x = standardise_windows(x)
        gap = np.isnan(x)
        if gap.any():
            np.copyto(x, self.missing.fill, where=gap)
        if self.missing.mask_channel:
            share = (_count(gap) / gap.shape[2]).astype(np.float32)
            x = np.concatenate([x, share[:, :, None]], axis=2)
        return x

    def _compilable(self) -> bool:
        """True where the compiled twin can stand in: it is written for float32 throughout."""
        v, affine = self.features.values, self.affine
        shape = (v.shape[2],)
        same = affine is None or all(a.dtype == np.float32 and a.shape == shape for a in (affine.shift, affine.scale))
        return v.dtype == np.float32 and v.flags.c_contiguous and not self.instance and same

    def _gather_compiled(
        self, compiled: Callable[..., None], x: NDArray[Any], t: NDArray[np.int32], n: NDArray[np.int32]
    ) -> None:
        v, relative = np.asarray(self.features.values), self.features.relative
        N, F = v.shape[1:]
        divisor = np.zeros(0, np.float32)
        if relative is not None:
            divisor = (v[t, n][:, list(relative.by)] + np.array(relative.eps, np.float32)).reshape(-1)
        affine = self.affine or Affine(np.zeros(F, np.float32), np.ones(F, np.float32))  # which changes no bit
        limit = np.float32(affine.limit if np.isfinite(affine.limit) else np.inf)
        compiled(
            v.ctypes.data, v.size, (N, F), self.lookback, t, n, divisor, affine.shift, affine.scale, limit,
            np.float32(self.missing.fill), self.missing.mask_channel, x.reshape(-1),
        )  # fmt: skip


@cache
def _compiled() -> Callable[..., None] | None:
    """The compiled gather, None where numba is not installed."""
    try:
        from hitherto.features.kernels_windows import gather
    except ImportError:
        return None
    return gather


def _blocks(size: int, most: int) -> list[tuple[int, int]]:
    """Near-equal pieces of 0..size, none of one sample: NumPy adds up a single column in another order."""
    count = max(1, min(-(-size // most), size // 2))
    cuts = [size * k // count for k in range(count + 1)]
    return list(itertools.pairwise(cuts))


def _count(gap: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Number of true cells along the last axis; in bytes while it fits, 3 to 5 times as fast as ``sum``."""
    out = np.zeros(gap.shape[:-1], np.int32)
    for f in range(0, gap.shape[-1], 255):
        out += np.einsum("...f->...", gap[..., f : f + 255].view(np.uint8))
    return out


def standardise_windows(x: NDArray[Any]) -> NDArray[np.float32]:
    """Return x (L, B, F) with each window's known values at mean 0 and deviation 1 per feature (0 where constant)."""
    known = ~np.isnan(x)
    count = np.maximum(known.sum(axis=0), 1)
    centred = x - np.where(known, x, 0).sum(axis=0, dtype=np.float64) / count
    std = np.sqrt(np.where(known, centred * centred, 0).sum(axis=0) / count)
    flat = np.nanmax(np.where(known, x, -np.inf), axis=0) == np.nanmin(np.where(known, x, np.inf), axis=0)
    return np.where(flat & known, 0.0, centred / np.where(std > 0, std, 1)).astype(np.float32)
