"""Where to cut: stratified, since rare days betray rare leaks (random cuts met a back-fill in 16 of 24 tries).

Strata: month, week and quarter ends, the last day of a suspension (its successor is the resume day), the day before an
ex-date (a step of the factor), and random days.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hitherto.panel import Mask, Panel
from hitherto.seeds import Stream

ORDER = ("resume", "ex_date", "month", "week", "quarter", "random")


def strata(panel: Panel) -> dict[str, NDArray[np.bool_]]:
    """Return stratum -> (T, N) bool of the rows after which a cut belongs to it; the last row belongs to none."""
    T, N = panel.shape
    out = {name: np.zeros((T, N), bool) for name in ORDER}
    if T < 2:
        return out
    months = panel.sessions.astype("datetime64[M]").astype(np.int64)
    clocks = {
        "month": months,
        "quarter": months // 3,
        "week": (panel.sessions.astype("datetime64[D]").astype(np.int64) + 3) // 7,  # day 0 was a Thursday
    }
    for name, clock in clocks.items():
        out[name][:-1] = (clock[1:] != clock[:-1])[:, None]
    lead = "close" if "close" in panel.fields else next(iter(panel.fields))
    gap = panel.listed & ~np.isfinite(panel.fields[lead])
    out["resume"][:-1] = gap[:-1] & panel.listed[1:] & ~gap[1:]
    factor = panel.fields.get("factor")
    if factor is not None:
        out["ex_date"][:-1] = np.isfinite(factor[1:]) & np.isfinite(factor[:-1]) & (factor[1:] != factor[:-1])
    out["random"][:-1] = True
    return out


def allowed(panel: Panel, live: Mask, span: tuple[int, int] | None) -> Mask:
    """Return (T, N) bool: rows where a cut can tell something: a number is given and data follow."""
    T = panel.shape[0]
    known = np.logical_or.reduce([np.isfinite(v) for v in panel.fields.values()])
    rows = np.arange(T)[:, None]
    last = np.where(known, rows, -1).max(axis=0)
    ok = live & (rows < last[None, :])
    if span is not None:
        ok &= (rows >= span[0]) & (rows <= span[1])
    return ok


def each(panel: Panel, ok: Mask, rounds: int, rng: Stream) -> NDArray[np.int64]:
    """Return (R, N) int64: for every round one cut per listing, spread over the strata; T - 1 (no cut) where none fits.

    A stratum that only few listings meet is met at least once.
    """
    T, N = panel.shape
    draw = rng.numpy("cuts")
    sets: dict[str, NDArray[np.bool_]] = {name: np.logical_and(mask, ok) for name, mask in strata(panel).items()}
    has: dict[str, NDArray[np.bool_]] = {name: np.asarray(mask.any(axis=0)) for name, mask in sets.items()}
    out = np.full((rounds, N), T - 1, np.int64)
    start = int(draw.integers(len(ORDER)))
    for r in range(rounds):
        for n in range(N):
            mine = [s for s in ORDER if has[s][n]]
            if mine:
                rows = np.flatnonzero(sets[mine[(start + r + n) % len(mine)]][:, n])
                out[r, n] = rows[draw.integers(len(rows))]
    for i, name in enumerate(ORDER[:2]):
        listings = np.flatnonzero(has[name])
        if len(listings):
            n = listings[i % len(listings)]
            out[0, n] = draw.choice(np.flatnonzero(sets[name][:, n]))
    return out


def common(panel: Panel, ok: Mask, count: int, rng: Stream) -> NDArray[np.int64]:
    """Return at most ``count`` distinct sorted rows, spread over the strata, to cut all listings together."""
    draw = rng.numpy("cuts")
    sets = [np.flatnonzero((strata(panel)[name] & ok).any(axis=1)) for name in ORDER]
    sets = [s for s in sets if len(s)]
    out: set[int] = set()
    turn = 0
    while sets and len(out) < count and turn < 20 * count:
        rows = sets[turn % len(sets)]
        out.add(int(rows[draw.integers(len(rows))]))
        turn += 1
    return np.array(sorted(out), np.int64)


def cut_down(panel: Panel, limit: tuple[int, int], last: int, rng: Stream) -> tuple[Panel, int]:
    """Return the panel cut to ``limit`` = (listings, rows), ending at row ``last``, and its first row in the old one.

    Listings with most suspensions and factor steps come first for one half, the other half is drawn at random.
    """
    most, rows = limit
    first = max(0, last - rows + 1)
    if first or last < panel.shape[0] - 1:
        panel = panel.rows(last + 1).since(first)
    if panel.shape[1] <= most:
        return panel, first
    known = np.logical_or.reduce([np.isfinite(v) for v in panel.fields.values()])
    full = np.flatnonzero(known.mean(axis=0) > 0.5)
    pool = full if len(full) >= most else np.argsort(-known.sum(axis=0), kind="stable")[:most]
    sets = strata(panel)
    events = (sets["resume"] | sets["ex_date"])[:, pool].sum(axis=0)
    busy = pool[np.argsort(-events, kind="stable")[: most // 2]]
    rest = np.setdiff1d(pool, busy)
    others = rng.numpy("listings").permutation(rest)[: most - len(busy)]
    return panel.assets(np.sort(np.concatenate([busy, others]))), first
