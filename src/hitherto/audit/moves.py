"""What moved between two answers of a target: many columns in one walk through memory, without a mask per column.

Columns are often views of one (T, N, F) array. Reading such a view alone drags the whole array through the processor's
cache, once for each column and pass; here neighbouring views are put together again and read in memory order.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hitherto.audit.probes import Columns, Evidence, past_changes
from hitherto.panel import Mask

Rows = NDArray[np.integer]
Place = tuple[int, np.dtype[Any], tuple[int, ...], tuple[int, ...]]  # address, type, shape, strides
FEW, MANY = 1 << 18, 1 << 23  # numbers from which compiled code pays, and from which it pays to load numba for it
TILE = 1 << 22  # numbers of a tile that has to be copied to lie in a row
BITS = {np.dtype(np.float32): np.dtype(np.uint32), np.dtype(np.float64): np.dtype(np.uint64)}


@dataclass(frozen=True, eq=False)
class Moves:
    """How one column moved: (N,) int64 first moved row of each listing, and first with both values finite; -1: none.

    only_gaps: nothing moved but where the mask of gaps was true.
    """

    first: NDArray[np.int64]
    both: NDArray[np.int64]
    only_gaps: bool

    def evidence(self, old: NDArray[Any], new: NDArray[Any]) -> Evidence:
        """Return the earliest number that moved, one with both values known where there is one."""
        rows = self.both if (self.both >= 0).any() else self.first
        n = int(np.where(rows >= 0, rows, np.iinfo(np.int64).max).argmin())
        return Evidence(int(rows[n]), n, float(old[rows[n], n]), float(new[rows[n], n]))


def moves(
    old: Columns, new: Columns, cuts: Rows, allowed: Mapping[str, float], names: Iterable[str] | None = None,
    gap: Mask | None = None,
) -> dict[str, Moves]:  # fmt: skip
    """Return column -> how it moved at or before each listing's cut, for those of ``names`` (None: all) that did.

    cuts: (N,) last rows that count; -1: the listing does not. ``new`` may end earlier than ``old``, after the last cut.
    allowed: absolute tolerances as in ``differs``. gap: (T, N) bool, see Moves. NaN equals NaN.
    """
    cuts = np.asarray(cuts, np.int64)
    last = int(cuts.max(initial=-1)) + 1
    names = [n for n in (old if names is None else names) if allowed[n] != float("inf")]
    if not last or not names:
        return {}
    cells = last * len(cuts)
    gap = np.zeros((last, len(cuts)), bool) if gap is None else gap
    if not compiled_pays(cells * len(names)):
        found = ((n, by_numpy(old[n], new[n], cuts, allowed[n], gap)) for n in names)
        return {n: m for n, m in found if m is not None}
    out: dict[str, Moves] = {}
    for group, (a, b) in blocks(names, old, new):
        if a.dtype != b.dtype or a.dtype not in BITS:
            out |= {n: m for n in group if (m := by_numpy(old[n], new[n], cuts, allowed[n], gap)) is not None}
        else:
            out |= _compiled(group, a[:last], b[:last], cuts, np.array([allowed[n] for n in group]), gap)
    return {n: out[n] for n in names if n in out}


def compiled_pays(numbers: int) -> bool:
    """Whether so many numbers are worth the compiled twin: loading numba takes as long as some millions of them."""
    return numbers >= (FEW if "numba" in sys.modules else MANY)


def by_numpy(old: NDArray[Any], new: NDArray[Any], cuts: Rows, tolerance: float, gap: Mask) -> Moves | None:
    """The plain twin of ``moves`` on one column."""
    changed = past_changes(old, new, cuts, tolerance)[: int(np.max(cuts)) + 1]
    if not changed.any():
        return None
    last = len(changed)
    finite = changed & np.isfinite(old[:last]) & np.isfinite(new[:last])
    first, both = (np.where(m.any(axis=0), m.argmax(axis=0), -1).astype(np.int64) for m in (changed, finite))
    return Moves(first, both, bool(gap[:last][changed].all()))


def _compiled(
    names: list[str], old: NDArray[Any], new: NDArray[Any], cuts: NDArray[np.int64], allowed: NDArray[np.float64],
    gap: Mask,
) -> dict[str, Moves]:  # fmt: skip
    from hitherto.audit.kernels import note_moves

    listings, width = old.shape[1:]
    first = np.full((listings, width), -1, np.int64)
    both, known = first.copy(), np.zeros(width, bool)
    bits = BITS[old.dtype]
    for row, (a, b) in tiles(old, new):
        note_moves(a, b, a.view(bits), b.view(bits), row, cuts, allowed, gap[row : row + len(a)], first, both, known)
    moved = np.flatnonzero((first >= 0).any(axis=0))
    return {names[k]: Moves(first[:, k].copy(), both[:, k].copy(), not known[k]) for k in moved}


def known(columns: Columns, shape: tuple[int, int]) -> tuple[dict[str, int], Mask]:
    """Return column -> how many finite numbers it has, and (T, N) bool where any column has one."""
    live = np.zeros(shape, bool)
    count: dict[str, int] = {}
    if not compiled_pays(live.size * len(columns)):
        for name, values in columns.items():
            finite = np.isfinite(values)
            count[name] = int(finite.sum())
            live |= finite
        return count, live
    from hitherto.audit.kernels import count_known

    for group, (values,) in blocks(list(columns), columns):
        if values.dtype not in BITS:
            values = values.astype(np.float64)
        mine = np.zeros(len(group), np.int64)
        for row, (tile,) in tiles(values):
            count_known(tile, mine, live[row : row + len(tile)])
        count |= dict(zip(group, mine.tolist(), strict=True))
    return {n: count[n] for n in columns}, live


def blocks(names: list[str], *sides: Columns) -> Iterator[tuple[list[str], list[NDArray[Any]]]]:
    """Yield names and (T, N, K) read-only views, one per side, of columns that are neighbours on every side."""
    group: list[str] = []
    before: list[Place] = []
    for name in names:
        here = [_place(side[name]) for side in sides]
        if group and not all(_neighbours(a, b) for a, b in zip(before, here, strict=True)):
            yield group, [_block(side, group) for side in sides]
            group = []
        group.append(name)
        before = here
    if group:
        yield group, [_block(side, group) for side in sides]


def _place(a: NDArray[Any]) -> Place:
    return a.__array_interface__["data"][0], a.dtype, a.shape, a.strides


def _neighbours(a: Place, b: Place) -> bool:
    """Whether ``b`` is the view one number after ``a`` in the same array."""
    # rows of one number a listing have no room for a neighbour: two arrays that happen to lie side by side
    return a[1:] == b[1:] and b[0] - a[0] == a[1].itemsize < a[3][1]


def _block(side: Columns, group: list[str]) -> NDArray[Any]:
    one = side[group[0]]
    return np.lib.stride_tricks.as_strided(one, (*one.shape, len(group)), (*one.strides, one.itemsize), writeable=False)


def tiles(*blocks: NDArray[Any]) -> Iterator[tuple[int, list[NDArray[Any]]]]:
    """Yield first row and C-ordered blocks of rows: all rows at once where they lie so already, else copies of some."""
    whole = all(b.flags.c_contiguous for b in blocks)
    rows = len(blocks[0])
    step = rows if whole else max(1, TILE // max(1, blocks[0][0].size))
    for row in range(0, rows, max(1, step)):
        parts = [np.ascontiguousarray(b[row : row + step]) for b in blocks]
        for part in parts:
            part.flags.writeable = False  # one type for the compiled code
        yield row, parts
