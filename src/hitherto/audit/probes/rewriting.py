"""P2: future rewrite. The future becomes another one, at the same shape, and nothing at or before the cut may move.

For a per-asset target every listing has its own cut, so that one evaluation tests all of them; what it suspects is then
confirmed with one cut for all. A suspect is followed up: how many bars it reaches, and which field carries it.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hitherto.audit.moves import Moves, moves
from hitherto.audit.probes import Evidence, attempt, naming, since, tolerances
from hitherto.audit.rewrite import KINDS, Kind, rewrite
from hitherto.audit.target import Counted, Target, counted
from hitherto.audit.verdict import Finding, ProbeResult, date, place
from hitherto.panel import Mask, Panel
from hitherto.seeds import Stream

MAX_REACH_EVALUATIONS = 24
MAX_WAYS = 4  # evaluations that moved a column from which its reach is searched


@dataclass
class Suspect:
    """A column that moved: (round, listing) -> kind of rewriting that moved it, and what is known about its reach.

    first: (kind, round) -> (N,) first moved row of each listing, -1 where none did.
    """

    pairs: dict[tuple[int, int], Kind] = field(default_factory=dict)
    first: dict[tuple[Kind, int], NDArray[np.int64]] = field(default_factory=dict)
    worst: tuple[Kind, int] = ("walk", 0)
    reach: int = 0
    to_end: bool = False
    only_gaps: bool = True
    evidence: Evidence | None = None
    fields: list[str] = field(default_factory=list)
    in_steps: bool = False

    @property
    def only_existence(self) -> bool:
        """Nothing but taking later bars away moved it: no later value did."""
        return all(kind == "nan" for kind in self.pairs.values())


@dataclass
class Experiment:
    """The unchanged answer, the tolerances and the seeds of one P2."""

    target: Counted
    panel: Panel
    rng: Stream
    allowed: dict[str, float]
    gap: Mask = field(init=False)

    def __post_init__(self) -> None:
        """Note where the lead price is unknown."""
        fields = self.panel.fields
        self.gap = np.isnan(fields["close" if "close" in fields else next(iter(fields))])

    def moved(
        self, cuts: NDArray[np.integer], kind: Kind, names: list[str], since_row: NDArray[np.integer] | None = None,
        fields: list[str] | None = None,
    ) -> tuple[dict[str, Moves], dict[str, NDArray], str]:  # fmt: skip
        """Rewrite after ``since_row`` (None: ``cuts``); return what moved up to ``cuts``, new values, an error."""
        new, error = attempt(
            self.target, rewrite(self.panel, cuts if since_row is None else since_row, kind, self.rng, fields)
        )
        base = self.target.run(self.panel)
        if not error and any(n not in new for n in names):
            error = f"{self.target.name} lost a column"
        if error:
            return {}, {}, error
        return moves(base, new, cuts, self.allowed, names, self.gap), dict(new), ""


def probe(
    target: Target | Counted, panel: Panel, cuts: NDArray[np.integer], rng: Stream, *,
    noise: Mapping[str, float] | None = None, kinds: tuple[Kind, ...] = KINDS, investigate: bool = True,
) -> ProbeResult:  # fmt: skip
    """Rewrite the future after ``cuts`` and compare everything at or before them.

    cuts: (R, N) rows, one per round and listing (T - 1: no cut), for unit "asset"; (C,) rows for unit "date". The first
    round of an asset target meets every kind; every other round, and every cut of a date target, meets a walk, and each
    third one the mirror, each third one the NaN. investigate: follow suspects up by reach and field (more evaluations,
    only when something was found).
    """
    begun = time.perf_counter()
    target = counted(target)
    base = target.run(panel)
    cuts = np.asarray(cuts)
    per_asset = cuts.ndim == 2
    rounds = cuts if per_asset else np.repeat(cuts[:, None], panel.shape[1], axis=1)
    test = Experiment(target, panel, rng, tolerances(target, base, noise or {}, same_shape=True))
    suspects: dict[str, Suspect] = {}
    errors: list[str] = []
    ran = 0
    for r, own in enumerate(rounds):
        for i, kind in enumerate(kinds):
            if i and r % 3 != i % 3 and (r or not per_asset):
                continue
            changes, new, error = test.moved(own, kind, list(base))
            if error:
                errors.append(f"{kind}: {error}")
                continue
            ran += 1
            for name, moved in changes.items():
                _note(suspects.setdefault(name, Suspect()), moved, r, own, kind, base[name], new[name], per_asset)
            del new  # it may be large: gone before the next evaluation takes its own memory
    tried = {name: _tried(base[name], rounds, suspects.get(name), per_asset) for name in base}
    real = {n: s for n, s in suspects.items() if n not in target.planted}
    lost = _unconfirmed(test, real, rounds) if per_asset else set()
    real = {n: s for n, s in real.items() if n not in lost}
    if investigate and real:
        _reach(test, real, rounds, per_asset)
        _fields(test, real, rounds)
        _steps(test, real, per_asset)
    hits = {n: (len(suspects[n].pairs) if n in suspects and n not in lost else 0, tried[n]) for n in base}
    findings = tuple(_finding(target, panel, n, s, tried[n]) for n, s in real.items())
    status = "LEAK" if findings else "cannot tell" if errors or not ran else "ok"
    most = max((hits[n] for n in base if n not in target.planted), default=(0, 0))
    count = int((rounds < panel.shape[0] - 1).sum())
    how = f"{count} cuts, each listing its own" if per_asset else f"{len(rounds)} cuts, all listings together"
    return ProbeResult("P2", target.name, f"the future rewritten ({', '.join(kinds)}) after {how}", status,
                       "; ".join(dict.fromkeys(errors)), most, findings, hits, dependent=bool(lost),
                       seconds=since(begun))  # fmt: skip


def independent(target: Target | Counted, panel: Panel, rng: Stream, noise: Mapping[str, float] | None = None) -> bool:
    """Return whether one half of the listings does not feel that the whole history of the other half was rewritten."""
    target = counted(target)
    T, N = panel.shape
    if N < 2:
        return True
    base = target.run(panel)
    half = rng.numpy("half").permutation(N) < N // 2
    new, error = attempt(target, rewrite(panel, np.where(half, 0, T - 1), "walk", rng.child("independent")))
    if error:
        return False
    allowed = tolerances(target, base, noise or {}, same_shape=True)
    others = np.where(half, -1, T - 1)
    return not moves(base, new, others, allowed, [n for n in base if n in new])


def _note(
    s: Suspect, moved: Moves, r: int, own: NDArray[np.integer], kind: Kind, old: NDArray, new: NDArray, per_asset: bool
) -> None:
    """Write down one evaluation that moved a column."""
    listings = np.flatnonzero(moved.first >= 0)
    for n in listings if per_asset else (-1,):
        s.pairs.setdefault((r, int(n)), kind)
    s.first[kind, r] = moved.first
    best = int((own + 1 - moved.first)[listings].max())
    if best > s.reach:
        s.worst, s.reach = (kind, r), best
    e = moved.evidence(old, new)
    if s.evidence is None or e.row < s.evidence.row:
        s.evidence = e
    s.only_gaps &= moved.only_gaps


def _tried(old: NDArray, rounds: NDArray[np.integer], s: Suspect | None, per_asset: bool) -> int:
    """Cuts that could tell something about a column: it has a number there, or it moved."""
    live = np.isfinite(old[rounds, np.arange(rounds.shape[1])]) & (rounds < len(old) - 1)
    if not per_asset:
        live = np.asarray(live.any(axis=1, keepdims=True))
    for r, n in s.pairs if s is not None else ():
        live[r, n] = True
    return int(live.sum())


def _unconfirmed(test: Experiment, suspects: dict[str, Suspect], rounds: NDArray[np.integer]) -> set[str]:
    """Return the suspects that do not move when all listings are cut together at a cut that moved them.

    A per-asset target that secretly looks at other listings moves without using the future: their cuts are earlier.
    """
    todo, lost = set(suspects), set()
    while todo:
        name = min(todo, key=lambda n: (-len(suspects[n].pairs), n))
        (r, n), kind = next(iter(suspects[name].pairs.items()))
        changes, _, _ = test.moved(np.full(rounds.shape[1], rounds[r, n]), kind, sorted(todo))
        todo -= set(changes)
        if name in todo:
            todo.discard(name)
            lost.add(name)
    return lost


def _reach(test: Experiment, suspects: dict[str, Suspect], rounds: NDArray[np.integer], per_asset: bool) -> None:
    """Find how far beyond its own row data move a column, by rewriting only from first moved row + k on.

    The evaluations so far gave a lower bound (cut + 1 - first moved row); bound + 1 is tried next, then longer steps,
    then bisection: from the evaluation that gave the bound, and from others, since a month of 23 rows reaches farther
    than the one that was cut. Columns share evaluations; past the limit the bound stands.
    """
    end = test.panel.shape[0] - 1
    seen: dict[tuple[Kind, int, int, bytes], dict[str, NDArray[np.int64]]] = {}
    for name, s in suspects.items():
        top = 0
        for way in sorted(s.first, key=lambda way, worst=s.worst: way != worst)[:MAX_WAYS]:
            first = s.first[way]
            common = np.full(len(first), first[first >= 0].min())
            start = np.where(first >= 0, first, end) if per_asset else common
            top = top or int(end - common[0])
            s.reach = _farthest(test, name, sorted(suspects), rounds, way, start, s.reach, seen)
        s.to_end = s.reach > 1 and s.reach >= 0.8 * top


def _farthest(
    test: Experiment, name: str, names: list[str], rounds: NDArray[np.integer], way: tuple[Kind, int],
    start: NDArray[np.int64], low: int, seen: dict[tuple[Kind, int, int, bytes], dict[str, NDArray[np.int64]]],
) -> int:  # fmt: skip
    """Return the largest k found, from ``low`` on, at which data in row start + k or later move a number up to start.

    A listing whose start is the last row is left alone.
    """
    end, (kind, r) = test.panel.shape[0] - 1, way
    high, step = int(end - start.min()) + 1, 1  # reaches low; nothing lies at high
    while low + 1 < high:
        k = min(low + step, high - 1)
        key = (kind, r, k, start.tobytes())
        if key not in seen:
            if len(seen) >= MAX_REACH_EVALUATIONS:
                break
            moved = test.moved(rounds[r], kind, names, np.minimum(start + k - 1, end))[0]
            seen[key] = {n: m.first for n, m in moved.items()}
        first = seen[key].get(name)
        if first is not None and ((first >= 0) & (first <= start)).any():
            low, step = k, step * 4
        else:
            high, step = k, max(1, (k - low) // 2)
    return low


def _fields(test: Experiment, suspects: dict[str, Suspect], rounds: NDArray[np.integer]) -> None:
    """Rewrite field by field to name those that carry the future into each column."""
    for kind, r in {s.worst for s in suspects.values()}:
        mine = [n for n, s in suspects.items() if s.worst == (kind, r)]
        for name in test.panel.fields:
            for column in test.moved(rounds[r], kind, mine, fields=[name])[0]:
                suspects[column].fields.append(name)


def _steps(test: Experiment, suspects: dict[str, Suspect], per_asset: bool) -> None:
    """Tell longer bars dated before their end from windows that reach past the decision."""
    names = [n for n, s in suspects.items() if s.reach > 1 and not (s.to_end or s.only_gaps or s.only_existence)]
    if names and test.target.exact:  # a net that works in blocks is no calendar
        base, last = test.target.run(test.panel), test.panel.shape[0] - 1
        again = functools.partial(_walked, test, names)
        for name in naming.stepwise(names, base, again, test.allowed, last, per_asset=per_asset):
            suspects[name].in_steps = True


def _walked(test: Experiment, names: list[str], cuts: NDArray[np.integer]) -> dict[str, NDArray]:
    return test.moved(cuts, "walk", names)[1]


def _finding(target: Counted, panel: Panel, name: str, s: Suspect, tried: int) -> Finding:
    leak = "L03" if s.only_gaps else naming.by_field(s.fields)
    if not leak and s.to_end:
        leak = "L04"
    if not leak:
        leak = "L31" if s.only_existence else "L12" if s.in_steps else "L01" if s.reach == 1 else "L02"
    e = s.evidence or Evidence(0, 0, float("nan"), float("nan"))
    note = f"reads the future of {', '.join(s.fields)}" if s.fields else ""
    return Finding(leak, place(target.name, name), "P2", len(s.pairs), tried, s.reach, date(panel, e.row), e.old, e.new,
                   note=note)  # fmt: skip
