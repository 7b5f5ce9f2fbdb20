"""What kind of leak P2 has in hand: longer bars dated before their end (L12) move the past in steps, windows glide."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hitherto.audit.probes import differs
from hitherto.panel import Floats, Mask

SWEEP = tuple(range(24))  # cuts, one per listing where each has its own; longer than any month
TOGETHER = (0, 1, 2, 5, 9, 14, 19, 23)  # the same where all listings are cut together: one evaluation each
LEAST = 5  # cuts that must move something: by chance a short window hardly looks like steps five times
MEMBERS = ("member", "constituent", "in_index", "universe")
Again = Callable[[NDArray[np.integer]], Mapping[str, NDArray[Any]]]


class Hit(NamedTuple):
    """A cut that moved numbers from row ``first`` up to the cut; whole: all known numbers in between moved.

    low: the row after the last known number before ``first``: a halt hides where, from there on, the moving began.
    """

    cut: int
    first: int
    low: int
    whole: bool


def by_field(fields: Sequence[str]) -> str:
    """Return the class that the fields carrying a leak tell: L28 the factor alone, L25 a membership alone, else ""."""
    if list(fields) == ["factor"]:
        return "L28"
    return "L25" if fields and all(any(m in f.lower() for m in MEMBERS) for f in fields) else ""


def stepwise(
    names: Sequence[str], base: Mapping[str, NDArray[Any]], again: Again, allowed: Mapping[str, float],
    last: int, *, per_asset: bool,
) -> set[str]:  # fmt: skip
    """Return the columns whose leak moves in steps, seen at cuts one row after the other.

    again(cuts): the columns after rewriting the future of cuts (N,); {} when that failed. A window of k rows moves the
    past from cut - k + 1 on: the first row that moves glides with the cut. A week's close that is dated Monday moves
    everything since Monday, whichever day the cut is: equal first rows, and no cut moves a part of another's step.
    One evaluation when every listing has its own cut and there are 24, else at most 8.
    """
    N = next(iter(base.values())).shape[1]
    per_asset &= len(TOGETHER) * N >= len(SWEEP)
    rows = _middle(names, base, last) + np.array(SWEEP if per_asset else TOGETHER)
    rows = rows[rows < last]
    hits: dict[str, list[Hit]] = {n: [] for n in names}
    for some in np.array_split(rows, -(-len(rows) // N) if per_asset else len(rows)):
        cuts = np.full(N, some[0])
        cuts[: len(some)] = some
        new = again(cuts)
        for name in names if new else ():
            changed = differs(base[name], new[name], allowed[name])
            hits[name] += _hits(base[name], changed, cuts, len(some) if per_asset else N)
    return {n for n in names if steps(hits[n])}


def _middle(names: Sequence[str], base: Mapping[str, NDArray[Any]], last: int) -> int:
    """The first cut: the cuts lie around the middle of the rows with a number."""
    known = np.logical_or.reduce([np.isfinite(base[n]).any(axis=1) for n in names])
    live = np.flatnonzero(known[:last])
    middle = int(live[len(live) // 2]) if len(live) else last // 2
    return max(0, min(middle, last - 1) - SWEEP[-1] // 2)


def _hits(old: Floats, changed: Mask, cuts: NDArray[np.integer], listings: int) -> list[Hit]:
    out = []
    for n in range(listings):
        cut = int(cuts[n])
        moved = np.flatnonzero(changed[: cut + 1, n])
        if not len(moved):
            continue
        first = int(moved[0])
        known = np.isfinite(old[first : cut + 1, n]).sum()
        before = np.flatnonzero(np.isfinite(old[:first, n]))
        out.append(Hit(cut, first, int(before[-1]) + 1 if len(before) else 0, bool(len(moved) >= 0.8 * known)))
    return out


def steps(hits: Sequence[Hit]) -> bool:
    """Return whether hits at different cuts begin together far more often than they overlap otherwise."""
    few = len({h.cut for h in hits}) < LEAST or len({h.first for h in hits}) < 2
    if few or np.mean([h.whole for h in hits]) < 0.8:
        return False
    together = gliding = 0
    for i, a in enumerate(hits):
        for b in hits[:i]:
            if a.cut == b.cut:
                continue
            early, late = (a, b) if a.cut < b.cut else (b, a)
            same = max(a.low, b.low) <= min(a.first, b.first)
            together += same
            gliding += not same and late.first <= early.cut
    return together >= LEAST and gliding <= 0.2 * together
