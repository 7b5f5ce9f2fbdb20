"""A plan computes a set of expressions together: what they share once, window by window, tile by tile, in parallel.

A tile is a block of columns by a chunk of rows. A pass walks a block down the rows; of each series it keeps as many
earlier rows as later windows will read, so that nothing is computed twice and memory does not grow with T. Windows
over one series are served by one compiled scan, row operators by one fused pass, which also casts to float32 and
writes into the (T, N, F) result. Values are those of the operator table, whatever the tiles and the threads.
"""

from __future__ import annotations

import math
import os
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import ConfigError, DataError
from hitherto.features.cache import user_cache
from hitherto.features.expression import Expression, Node
from hitherto.features.schedule import Pass, carries, is_recursive, is_scan, walk
from hitherto.features.stream import Stream
from hitherto.panel import Panel

ROWS = 256  # rows of a chunk
CELLS = 1 << 13  # cells of a tile: a plan's working arrays stay in the processor's cache
DATE_CELLS = 1 << 16  # cells of a tile of whole dates
LANES = 32  # columns that the kernels work on at once: blocks of columns are multiples of it
SHARE = 0.25  # of the machine's memory: a larger result is a memory map


@dataclass(frozen=True)
class Plan:
    """A set of named expressions, planned once and run on any panel: ``Plan({...}).run(panel)``."""

    expressions: Mapping[str, Expression]
    passes: list[Pass] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.expressions:
            raise ConfigError("plan: no expression given; name at least one")
        groups: dict[tuple[bool, bool], list[tuple[int, Node]]] = {}
        for f, e in enumerate(self.expressions.values()):
            recursive = any(is_scan(n) and is_recursive(n) and not carries(n) for n in walk([e.tree]))
            groups.setdefault((e.is_cross_sectional, recursive), []).append((f, e.tree))
        object.__setattr__(self, "passes", [Pass(g) for g in groups.values()])

    def run(
        self, panel: Panel, out: str | Path | NDArray[np.float32] | None = None, threads: int = 1
    ) -> NDArray[np.float32]:
        """Return (T, N, F) float32, NaN = unknown, F in the order of the mapping; bit for bit whatever ``threads``.

        out: an array to fill, or a path for a memory-mapped .npy file; without it, a result above a quarter of the
        machine's memory is a memory map on a temporary file in the cache folder, which lives as long as the result.
        Values beyond float32 are NaN. Raises DataError naming the feature and the fields that the panel lacks.
        """
        for name, e in self.expressions.items():
            panel.need(e.fields, f"feature '{name}'")
        if threads < 1:
            raise ConfigError(f"threads = {threads}: at least one thread is needed")
        values = allocate((*panel.shape, len(self.expressions)), out)
        if values.size:
            jobs = [job for p in self.passes for job in _jobs(p, panel, np.asarray(values), threads)]
            if threads == 1:
                for job in jobs:
                    job()
            else:
                with ThreadPoolExecutor(threads) as pool:
                    for future in [pool.submit(job) for job in jobs]:
                        future.result()
        return values


def _jobs(schedule: Pass, panel: Panel, out: NDArray[np.float32], threads: int) -> Iterator[Callable[[], None]]:
    """Cut a pass into independent pieces: blocks of columns, or spans of rows where dates must stay whole."""
    T, N = panel.shape
    tail = int(min(max(schedule.tails.values()), T))
    if schedule.is_dated:
        rows = T if schedule.whole else min(T, max(tail, 8, min(ROWS, DATE_CELLS // N)))
        pieces = 1 if schedule.is_recursive else threads
        for k in range(pieces):
            yield partial(_walk, schedule, panel, slice(0, N), T * k // pieces, T * (k + 1) // pieces, rows, out)
        return
    rows = T if schedule.whole else min(T, max(tail, ROWS))
    width = max(LANES, min(CELLS // rows // LANES * LANES, N))
    blocks = -(-N // width)
    edges = [min(N, -(-(N * k // blocks) // LANES) * LANES) for k in range(blocks)] + [N]
    for start, stop in pairwise(edges):
        if stop > start:
            yield partial(_walk, schedule, panel, slice(start, stop), 0, T, rows, out)


def _walk(
    schedule: Pass, panel: Panel, names: slice, start: int, stop: int, rows: int, out: NDArray[np.float32]
) -> None:
    """Compute rows start..stop - 1 of some columns, after a warm-up that is as long as the longest lookback."""
    begin = 0 if schedule.is_recursive else max(0, start - int(schedule.lookback) + 1)
    stream = Stream(schedule, panel, names, begin, rows)
    with np.errstate(all="ignore"):
        for a in range(begin, start, rows):
            stream.advance(a, min(a + rows, start), None)
        for a in range(start, stop, rows):
            stream.advance(a, min(a + rows, stop), out)


def allocate(shape: tuple[int, ...], out: str | Path | NDArray[np.float32] | None) -> NDArray[np.float32]:
    """Return the float32 array to fill: ``out`` itself, a memory map, or memory."""
    if isinstance(out, np.ndarray):
        if out.shape != shape or out.dtype != np.float32 or not out.flags.c_contiguous or not out.flags.writeable:
            raise ConfigError(
                f"out: a writeable C-contiguous float32 array {shape} is needed, got {out.dtype} {out.shape}"
            )
        return out
    size = 4 * math.prod(shape)
    if out is None and (size <= SHARE * memory() or not size):
        return np.empty(shape, np.float32)
    path = Path(out) if out is not None else None
    try:
        if path is not None:
            return np.lib.format.open_memmap(path, "w+", np.float32, shape)
        folder = user_cache()
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(".f32", "features-", folder)
        os.close(handle)
        values = np.memmap(name, np.float32, "w+", shape=shape)
        weakref.finalize(values._mmap, _remove, name)  # type: ignore[attr-defined]
    except OSError as error:
        where = path or "the cache folder"
        raise DataError(f"features {shape}: {size / 1e9:.1f} GB do not fit {where}: {error.strerror}") from None
    return values


def _remove(name: str) -> None:
    Path(name).unlink(missing_ok=True)


def memory() -> float:
    """Return the machine's memory in bytes; unlimited where the system does not say."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return math.inf
