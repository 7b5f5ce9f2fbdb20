"""Where to cut: stratified, since rare days betray rare leaks (random cuts met a back-fill in 16 of 24 tries).

Strata: month, week and quarter ends, the last day of a suspension (its successor is the resume day), the day before an
ex-date (a step of the factor), the day before a joined value changes (an announcement), the days on which the target's
own decision changes, and random days.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hitherto.panel import PRICES, Mask, Panel
from hitherto.seeds import Stream

ORDER = ("resume", "ex_date", "announcement", "month", "week", "decision", "quarter", "random")
BARS = frozenset({*PRICES, "volume", "amount", "factor", "turnover", "money"})  # any other field was joined
FEW = 16  # distinct values up to which a column is a decision (a position, a class) and not a score
MOST = 8  # columns: with more of them every day is a change of something


def strata(panel: Panel, given: Mapping[str, NDArray[Any]] | None = None) -> dict[str, NDArray[np.bool_]]:
    """Return stratum -> (T, N) bool of the rows after which a cut belongs to it; the last row belongs to none.

    given: the target's own columns (T, N), for the rows at which a decision changes.
    """
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
    for name, values in panel.fields.items():
        if name not in BARS:
            out["announcement"][:-1] |= _moves(values)
    if given is not None and len(given) <= MOST:
        for values in given.values():
            out["decision"][1:-1] |= _moves(_decision(values))[:-1]
            two, count = np.unique(values[np.isfinite(values)], return_counts=True)
            if len(two) == 2:  # a flag: the days on which it is up are the ones to ask
                out["decision"][:-1] |= (values == two[count.argmin()])[:-1]
    out["random"][:-1] = True
    return out


def _moves(values: NDArray[Any]) -> Mask:
    """(T - 1, N): the next row is a known number that differs from this one, or is the first after none."""
    return np.asarray(np.isfinite(values[1:]) & (values[1:] != values[:-1]))


def _decision(values: NDArray[Any]) -> NDArray[Any]:
    """A column of few values is a decision; of a score its sign is one."""
    known = values[np.isfinite(values)]
    few = len(np.unique(known[:1000])) <= FEW and len(np.unique(known)) <= FEW
    return values if few else np.sign(values)


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


def each(
    panel: Panel, ok: Mask, rounds: int, rng: Stream, given: Mapping[str, NDArray[Any]] | None = None
) -> NDArray[np.int64]:
    """Return (R, N) int64: for every round one cut per listing, spread over the strata; T - 1 (no cut) where none fits.

    A stratum that only few listings meet is met at least once. given: as for ``strata``.
    """
    T, N = panel.shape
    draw = rng.numpy("cuts")
    sets: dict[str, NDArray[np.bool_]] = {name: np.logical_and(mask, ok) for name, mask in strata(panel, given).items()}
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


def every(ok: Mask, own: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return ``own`` (R, N) with rounds added until each row is the cut of some listing; as it is where ``most`` rounds
    would not do."""
    T, N = ok.shape
    met = np.zeros(T, bool)
    met[own[ok[own, np.arange(N)[None, :]]]] = True
    added: list[list[int]] = [[] for _ in range(N)]
    for row in np.flatnonzero(ok.any(axis=1) & ~met):
        n = min(np.flatnonzero(ok[row]), key=lambda n: len(added[n]))
        added[n].append(int(row))
    rounds = max(map(len, added))
    if len(own) + rounds > most:
        return own
    more = np.full((rounds, N), T - 1, np.int64)
    for n, rows in enumerate(added):
        more[: len(rows), n] = rows
    return np.concatenate([own, more])


def common(
    panel: Panel, ok: Mask, count: int, rng: Stream, given: Mapping[str, NDArray[Any]] | None = None
) -> NDArray[np.int64]:
    """Return at most ``count`` distinct sorted rows, spread over the strata, to cut all listings together."""
    draw = rng.numpy("cuts")
    made = strata(panel, given)
    sets = [np.flatnonzero((made[name] & ok).any(axis=1)) for name in ORDER]
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
