"""What P3 found, followed up: which learner moved first, how far the future matters, and which class that is.

Every rule is an experiment: a fit in one more world. A choice does not feel a future that hardly changes, a statistic
does; a listing picked by its outcome feels prices alone; rows that are trained on stand in the labels of a fit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hitherto.audit import fitcalls, fitted
from hitherto.audit.probes import earliest, past_changes, scale
from hitherto.audit.probes.refit import halted
from hitherto.audit.rewrite import rewrite
from hitherto.audit.verdict import CLASSES, Finding, ProbeResult, date, place
from hitherto.panel import PRICES, Panel
from hitherto.seeds import Stream

if TYPE_CHECKING:
    from hitherto.audit.refits import Refit

FUTURES = 8  # other futures tried when fitted state moved but no prediction did
TINY, SMALL = 1e-5, 1e-3  # nudges in a bar's volatility: every sum feels the first, every count of signs the second
WHOLE = 0.25  # of what another future moves: a choice that turns over moves as much
HELD_OUT = (0.1, 0.9)  # share of the test rows asked about that were not trained on, when a shuffle held them out


class Cause(NamedTuple):
    """Why a fit moved: its class, the leaf of fitted state ("" when none shows it), what was seen, whether a choice."""

    leak: str
    path: str
    seen: str = ""
    choice: bool = False


class Follow:
    """The follow-up of one P3: equal fits, fits on other futures, and what they learned."""

    def __init__(self, refit: Refit, panel: Panel, cut: int, rng: Stream) -> None:
        self.refit, self.panel, self.cut, self.rng = refit, panel, cut, rng
        with fitcalls.watched() as self.calls:
            made = refit.learned(panel)
        self.base = refit.said(made, panel)
        again, other = refit.trained(panel, panel)
        self.rtol = max(refit.rtol, *(4 * gap(v, again[k]) for k, v in self.base.items()), 0.0)
        self.state = fitted.leaves(made, panel.symbols)
        self.unstable = set(fitted.moved(self.state, fitted.leaves(other, panel.symbols)))
        self.state = {k: v for k, v in self.state.items() if k not in self.unstable}
        self.after: dict[str, fitted.Leaf] = {}
        self.halts = False  # whether nothing but who trades moved it

    def up(self, result: ProbeResult) -> ProbeResult:
        """Return the result with what the follow-up found out."""
        if not result.findings:
            worlds = (*self.worlds(self.cut, 2), self.shock(self.cut, 0))
            paths = next((p for w in worlds if (p := self.changed(self.learned(w)))), [])
            if paths:
                return self.hunt(result, f"fitted state '{paths[0]}' depends on rows past the cut")
            later = next((c for c in self.calls if (c.dates >= self.first).any()), None)
            return self.hunt(result, f"{later.learner} was given labels of rows past the cut") if later else result
        cause, reach, far = self.explained()
        return dataclasses.replace(result, findings=tuple(self.named(f, cause, reach, far) for f in result.findings))

    def explained(self) -> tuple[Cause, int | None, bool]:
        """Return the cause, its reach, and whether rows in the farther half of the future matter."""
        with fitcalls.watched() as calls:
            first = self.learned(self.world(self.cut, 0))
        hit = set(self.changed(first)).union(*(self.changed(self.learned(w)) for w in self.worlds(self.cut, 4, 1)))
        for i in range(0 if hit else 4):  # a choice need not turn over in a walk
            hit |= set(self.changed(self.learned(self.shock(self.cut, i))))
        self.halts = not hit
        for i in range(0 if hit else 2):  # nor anything but who trades
            with fitcalls.watched() as calls:
                world = halted(self.panel, self.cut, self.rng.child("halts", str(i)))
                hit |= set(self.changed(self.learned(world)))
        paths = [p for p in (*self.state, *self.after) if p in hit]
        cause = self.chosen(paths, calls) or self.summed(paths, calls)
        half = (self.panel.shape[0] - 1 - self.cut) // 2
        if cause.choice and not self.late():
            cause = self.summed(paths, calls)  # near rows only: labels that straddle, whatever they are made of
        if cause.choice:
            last = self.panel.shape[0] - 1 - self.cut
            if any(self.moves(self.shock(self.cut + last - 1, i)) for i in range(3)):
                return cause, last, True
            return cause, None, True
        reach = self.reach()
        return cause, reach, reach > half

    def late(self) -> bool:
        """Whether the farther half of the future ever turns a choice over."""
        ahead = self.cut + (self.panel.shape[0] - 1 - self.cut) // 2
        if self.halts:
            return any(self.moves(halted(self.panel, ahead, self.rng.child("halts", str(i)))) for i in range(FUTURES))
        return any(self.moves(w) for i in range(FUTURES) for w in (self.shock(ahead, i), self.world(ahead, i)))

    def learned(self, world: Panel) -> dict[str, fitted.Leaf]:
        """What a fit on another panel learned, without what differs between two equal fits."""
        return self.kept(self.refit.learned(world))

    def kept(self, made: object) -> dict[str, fitted.Leaf]:
        """The leaves of an object, without what differs between two equal fits."""
        found = fitted.leaves(made, self.panel.symbols)
        return {k: v for k, v in found.items() if k not in self.unstable}

    def changed(self, state: dict[str, fitted.Leaf]) -> list[str]:
        """Paths that differ from the first fit; what is new is kept for its kind."""
        self.after |= {p: leaf for p, leaf in state.items() if p not in self.state}
        return fitted.moved(self.state, state)

    def kind(self, path: str) -> str:
        """The kind of a leaf."""
        return (self.state.get(path) or self.after[path]).kind

    @property
    def first(self) -> np.datetime64:
        """The first date whose rows no honest fit is given."""
        return self.panel.sessions[self.cut].astype("datetime64[ns]")

    @property
    def middle(self) -> np.datetime64:
        """The middle of the rows before the cut: labels of honest samples end long before the cut there."""
        return self.panel.sessions[self.cut // 2].astype("datetime64[ns]")

    # ---- a choice: a small change of the future changes nothing at all ----
    def chosen(self, paths: list[str], calls: list[fitcalls.Call]) -> Cause | None:
        """The cause when the future enters as a choice only; None when it enters as a number."""
        world = self.nudge(0, TINY)
        said, made = self.refit.trained(world, world)
        nudged = set(self.changed(self.kept(made)))
        if self.size(said) > self.rtol or not self.feels(self.nudge(0, SMALL, future=False)):
            return None  # a number; or it feels no small change of the past either, so that nothing is shown
        whole = np.median([self.size(self.refit.run(w)) for w in self.worlds(self.cut, 3)])
        small = [self.size(self.refit.run(self.nudge(i, SMALL))) for i in range(3)]
        if any(self.rtol < k < WHOLE * whole for k in small):
            return None  # a count of signs or ranks takes small steps, a choice whole ones
        if paths and paths[0] in nudged and self.kind(paths[0]) != "choice":
            return None
        ours = [p for p in paths if p not in nudged or self.kind(p) == "choice"]
        names = [p for p in ours if self.kind(p) == "names"]
        if names:
            return self.listings(names[0])
        for path in ours:
            leak = {"count": "L20", "choice": "L18", "option": "L19"}.get(self.kind(path))
            if leak and not fitted.solver(path, self.state):
                return Cause(leak, path, "the future enters as a choice only", True)
        return self.unseen(ours, calls)

    def unseen(self, paths: list[str], calls: list[fitcalls.Call]) -> Cause | None:
        """A choice that left no choice behind: trials of one kind on equal rows, a lone setting, or a training."""
        first = paths[0] if paths else ""
        said = "the future enters as a choice only"
        if fitcalls.others(self.calls, calls, self.middle):
            return Cause("L24", first, "rows are trained on by what becomes of them later", True)
        if paths and all(self.kind(p) == "scalar" for p in paths):
            return Cause("L19", first, said, True)
        last = self.calls[-1] if self.calls else None
        same = [c for c in self.calls if last and c.learner == last.learner and np.array_equal(c.dates, last.dates)]
        if len(same) > 1:
            return Cause("L19", first, f"one of {len(same)} fits on equal rows is kept", True)
        return Cause("L20", first, said, True) if paths else None

    def listings(self, path: str) -> Cause:
        """Listings picked by what became of their prices (L24), or by something else that was known later (L18)."""
        if self.halts:
            return Cause("L24", path, "listings are picked by who trades later", True)
        for i in range(4):
            own = np.full(self.panel.shape[1], self.cut)
            new = rewrite(self.panel, own, "walk", self.rng.child("prices", str(i)), PRICES)
            if "close" in new.fields and "volume" in new.fields:  # as much money is traded as before
                volume = self.panel.fields["volume"] * (self.panel.fields["close"] / new.fields["close"])
                new = new.replace(fields={**new.fields, "volume": volume})
            if path in self.changed(self.learned(new)):
                return Cause("L24", path, "listings are picked by later prices", True)
        return Cause("L18", path, "listings are picked by later rows", True)

    # ---- a number: rows past the cut were summed, counted or trained on ----
    def summed(self, paths: list[str], calls: list[fitcalls.Call]) -> Cause:
        """The cause when the future enters as a number: rows trained on, else the learner that moved first."""
        cause = self.rows(calls)
        first = fitted.cause(self.state, {**self.state, **{p: fitted.Leaf(self.kind(p), "moved") for p in paths}})
        path = first[1] if first else ""
        if cause:
            return cause._replace(path=path)
        leak = first[0] if first else "L05"
        if leak == "L20" and not any(c in path for c in fitted.COUNTS):
            leak = "L05"
        if leak == "L17" and not self.of_target(path):
            leak = "L05"
        return Cause(leak, path)

    def of_target(self, path: str) -> bool:
        """Whether a table feels prices alone: labels are made of them, the median of a volume is not."""
        own = np.full(self.panel.shape[1], self.cut)
        worlds = (rewrite(self.panel, own, "walk", self.rng.child("table", str(i)), PRICES) for i in range(2))
        return any(path in self.changed(self.learned(w)) for w in worlds)

    def rows(self, calls: list[fitcalls.Call]) -> Cause | None:
        """What the labels of the last fit show: copies across the split, rows mixed with later ones, or a shuffle."""
        if not self.calls:
            return None
        last = self.calls[-1]
        past = int((last.dates >= self.first).sum())
        if past:
            twice = fitcalls.copies(last)
            if twice:
                said = f"{last.learner} was fitted on {len(last.y)} rows, {twice} of them copies, {past} of test dates"
                return Cause("L16", "", said)
            held = self.held_out(last)
            if HELD_OUT[0] < held < HELD_OUT[1]:
                said = f"{last.learner} was fitted on {past} rows of test dates, {held:.0%} held out between them"
                return Cause("L13", "", said)
        elif calls:
            moved, of = fitcalls.blended(last, calls[-1], self.middle)
            if moved:
                return Cause("L16", "", f"{moved} of {of} early labels hold later ones, their order changes")
        return None

    def held_out(self, call: fitcalls.Call) -> float:
        """Share of the rows predicted from the first test row to the last one trained on that were left out.

        0 where listings or dates were left out as a whole: only rows in between tell a shuffle.
        """
        asked = np.logical_or.reduce([np.isfinite(v).reshape(*self.panel.shape, -1).any(axis=2)
                                      for v in map(np.asarray, self.base.values())])  # fmt: skip
        days = self.panel.sessions.astype("datetime64[D]").astype("datetime64[ns]")
        row = np.searchsorted(days, call.dates)
        at = {s: n for n, s in enumerate(self.panel.symbols)}
        column = np.array([at.get(str(s), -1) for s in call.names])
        ok = (column >= 0) & (row < len(days))
        if not ok.any():
            return 0.0
        trained = np.zeros(self.panel.shape, bool)
        trained[row[ok], column[ok]] = True
        stop = int(row[ok].max()) + 1
        asked, trained = asked[self.cut : stop], trained[self.cut : stop]
        out = asked & ~trained
        mixed = out.any(axis=0) & (asked & trained).any(axis=0)
        return float(out.sum() / asked.sum()) if asked.any() and mixed.mean() > 0.5 else 0.0

    # ---- words ----
    def named(self, f: Finding, cause: Cause, reach: int | None, far: bool) -> Finding:
        """Return the finding with reach, learner and class; as P3 told it where no other future moved a prediction."""
        if not cause.choice and not reach and f.hits:
            return f
        if not cause.choice:
            reach = max(reach or 0, f.reach or 0)
            far = reach > (self.panel.shape[0] - 1 - self.cut) // 2
        leak = cause.leak if cause.leak in CLASSES else "L05"
        note = ["seen by refitting", "" if far else "only bars near the cut matter", cause.seen if far else "",
                f"first moved: {cause.path}" if cause.path else ""]  # fmt: skip
        return dataclasses.replace(f, leak=leak if far else "L14", note="; ".join(n for n in note if n), reach=reach)

    def hunt(self, result: ProbeResult, why: str) -> ProbeResult:
        """Try other futures until a prediction moves: what was fitted knows later rows, so that one of them may."""
        own = np.full(self.panel.shape[1], self.cut)
        for i in range(FUTURES):
            new = self.refit.run(self.shock(self.cut, i) if i % 2 else self.world(self.cut, i))
            for name, old in self.base.items():
                old, changed_to = np.asarray(old), np.asarray(new[name])
                changed = past_changes(old, changed_to, own, self.rtol * scale(old))
                if changed.any():
                    e = earliest(changed, old, changed_to)
                    first = Finding("L05", place(self.refit.name, name), "P3", 1, i + 1, None,
                                    date(self.panel, e.row), e.old, e.new, of="futures")  # fmt: skip
                    found = self.named(first, *self.explained())
                    return dataclasses.replace(result, status="LEAK", findings=(found,), cuts=(1, i + 1))
        note = f"{why}, no prediction moved"
        return dataclasses.replace(result, detail="; ".join(d for d in (result.detail, note) if d))

    def reach(self) -> int:
        """The most bars after the cut that still move a prediction at or before it, by bisection; 0: none was found."""
        low, high = 0, self.panel.shape[0] - self.cut
        while low + 1 < high:
            k = (low + high) // 2
            low, high = (k, high) if self.moves(self.world(self.cut + k - 1, 0)) else (low, k)
        return low

    # ---- worlds ----
    def moves(self, world: Panel) -> bool:
        """Whether a prediction at or before the cut moves in another world."""
        return self.differ(self.refit.run(world))

    def feels(self, world: Panel) -> bool:
        """Whether a prediction moves, or a number that was learned."""
        said, made = self.refit.trained(world, world)
        return self.differ(said) or any(self.kind(p) in ("number", "scalar") for p in self.changed(self.kept(made)))

    def differ(self, new: Any) -> bool:
        """Whether predictions at or before the cut are others."""
        return self.size(new) > self.rtol

    def size(self, new: Any) -> float:
        """The largest change of a prediction at or before the cut, in its column's scale."""
        stop = self.cut + 1
        return max((gap(np.asarray(v)[:stop], np.asarray(new[k])[:stop]) for k, v in self.base.items()), default=0.0)

    def world(self, cut: int, i: int) -> Panel:
        """The panel with the i-th other future after ``cut``: a walk, the past once more, its mirror, then walks."""
        if i == 1:
            return replay(self.panel, cut)
        own = np.full(self.panel.shape[1], cut)
        return rewrite(self.panel, own, "mirror" if i == 2 else "walk", self.rng.child(str(i)))

    def worlds(self, cut: int, stop: int, start: int = 0) -> Iterator[Panel]:
        """The futures after ``cut`` from ``start`` to before ``stop``."""
        return (self.world(cut, i) for i in range(start, stop))

    def shock(self, cut: int, i: int) -> Panel:
        """Another future after ``cut`` in which each listing doubles or halves at once and trades another volume."""
        own = np.full(self.panel.shape[1], cut)
        rng = self.rng.child("shock", str(i))
        new, draw = rewrite(self.panel, own, "walk", rng), rng.numpy("size")
        up = np.where(draw.random(len(own)) < 0.5, 0.5, 2.0)
        much = np.exp(3.0 * draw.standard_normal(len(own)))
        fields = {k: v.copy() for k, v in new.fields.items()}
        for name, values in fields.items():
            if name in PRICES:
                values[cut + 1 :] *= up
            elif name == "volume":
                values[cut + 1 :] = np.round(values[cut + 1 :] * much)
        return new.replace(fields=fields)

    def nudge(self, i: int, share: float, *, future: bool = True) -> Panel:
        """The panel with each number after (or up to) the cut changed by about ``share`` of a bar's volatility."""
        draw = self.rng.child("nudge", str(i)).numpy()
        rows = np.arange(self.panel.shape[0])
        there = ((rows > self.cut) if future else (rows <= self.cut))[:, None]
        lead = self.panel.fields.get("close", next(iter(self.panel.fields.values())))
        with np.errstate(divide="ignore", invalid="ignore"):
            step = np.diff(np.log(np.abs(lead)), axis=0)
        size = share * float(np.std(step[np.isfinite(step)])) if np.isfinite(step).any() else share / 50
        together = np.exp(size * draw.standard_normal(self.panel.shape))
        fields = {}
        for name, values in sorted(self.panel.fields.items()):
            own = together if name in PRICES else np.exp(size * draw.standard_normal(self.panel.shape))
            if name == "factor":
                own = np.broadcast_to(own[0], own.shape)
            fields[name] = np.where(there, values * own, values)
        return self.panel.replace(fields=fields)


def replay(panel: Panel, cut: int) -> Panel:
    """Return the panel whose rows after ``cut`` are its first rows once more.

    The future in which all that was learned stays true: a rule that stops, or a choice that is made, on the test rows
    goes another way than on noise. Cells that were NaN stay so, as in ``rewrite``; prices jump after the cut.
    """
    rows = np.arange(panel.shape[0] - 1 - cut) % (cut + 1)
    out = {}
    for name, values in panel.fields.items():
        fresh = values.copy()
        fresh[cut + 1 :] = values[rows]
        out[name] = np.where(np.isfinite(values) & np.isfinite(fresh), fresh, values)
    return panel.replace(fields=out)


def gap(old: Any, new: Any) -> float:
    """Return the largest difference in units of the old column's scale; inf where a number came or went."""
    old, new = np.asarray(old, np.float64), np.asarray(new, np.float64)
    if not np.array_equal(np.isnan(old), np.isnan(new)):
        return float("inf")
    known = np.isfinite(old) & np.isfinite(new)
    return float(np.abs(old - new)[known].max(initial=0.0)) / scale(old)
