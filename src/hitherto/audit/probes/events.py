"""P7 for tables of events: what was published after a decision is told otherwise, or dropped, and may not move it.

News, announcements and filings are an input beside the bars. Their date is not their hour: a table that is joined by
date gives the bar of that date what came out after its close. So the table is changed instead of the bars.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from hitherto.audit.adapters import EventTarget, instants
from hitherto.audit.probes import Columns, Evidence, attempt, earliest, past_changes, scale, since, tolerances
from hitherto.audit.target import Counted, counted
from hitherto.audit.verdict import Finding, ProbeResult, Status, date, place
from hitherto.panel import Panel
from hitherto.seeds import Stream

if TYPE_CHECKING:
    import pandas as pd

Change = Literal["told otherwise", "dropped"]
CHANGES: tuple[Change, ...] = ("told otherwise", "dropped")
MAX_REACH_EVALUATIONS = 12
FAR = 0.5  # of all rows: a number that reads events so far ahead is a statistic of the whole table
KEPT = ("known_at", "symbol")  # who and when: everything else is what was said


@dataclass
class Moved:
    """A column that moved: decisions that did, the earliest number, how far ahead it reads, and through which change.

    at: the decision whose numbers read farthest.
    """

    cuts: set[int]
    evidence: Evidence
    reach: int
    at: int
    change: Change


@dataclass
class Experiment:
    """The target, the panel, its unchanged numbers, the tolerances, and (E,) the row at which each event is known."""

    target: EventTarget
    panel: Panel
    rng: Stream
    base: Columns
    allowed: Mapping[str, float]
    known: NDArray[np.int64]

    def moved(self, cut: int, since_row: int, change: Change) -> tuple[dict[str, tuple[int, Evidence]], str]:
        """Change the events first known at ``since_row`` or later; compare the numbers of rows up to ``cut``.

        Returns column -> (rows from the first moved number to the first changed event, that number), and an error.
        """
        changed = self.known >= since_row
        told = told_otherwise(self.target.events, changed, self.rng) if change == CHANGES[0] else (
            self.target.events.loc[~changed].reset_index(drop=True))  # fmt: skip
        new, error = attempt(Counted(self.target.told(told)), self.panel)
        if error or any(n not in new for n in self.base):
            return {}, error or f"{self.target.name} lost a column"
        out = {}
        cuts = np.full(self.panel.shape[1], cut)
        for name, old in self.base.items():
            where = past_changes(old, new[name], cuts, self.allowed[name])
            # a kind of event that no longer occurs loses its column of zeros: that says nothing of the past
            where &= ~(np.equal(old, 0) & np.all(np.isnan(new[name]), axis=0, keepdims=True))
            if where.any():
                e = earliest(where, old, new[name])
                row = int(where.any(axis=1).argmax())
                out[name] = (int(self.known[changed].min()) - row, e)
        return out, ""


def probe(
    target: EventTarget, panel: Panel, rng: Stream, *, noise: Mapping[str, float] | None = None, cuts: int = 6
) -> ProbeResult:
    """Change what was published after each of ``cuts`` decisions; no number decided by then may move.

    target: ``from_function(f, gets, events=table)``. The table needs a column known_at (dates or texts; without a zone:
    UTC, as the panel's times): an event known at the very time of a decision is known to it. The decisions taken
    are the last ones before events, spread over the sample. "told otherwise": numbers, flags and texts are drawn anew,
    names and times kept; "dropped": the rows are gone. Class L30; L04 where a number reads over half of the sample.
    Costs two evaluations per decision, and up to 12 more to measure a reach. Errors: ConfigError for a table without
    known_at.
    """
    begun = time.perf_counter()
    known = first_rows(target.events, panel)
    tried = f"{len(known)} events, those after a decision told otherwise and dropped"

    def result(
        status: Status, detail: str, hits: tuple[int, int] = (0, 0), found: tuple[Finding, ...] = (),
        by: Mapping[str, tuple[int, int]] | None = None,
    ) -> ProbeResult:  # fmt: skip
        return ProbeResult("P7", target.name, tried, status, detail, hits, found, by or {}, seconds=since(begun))

    base = counted(target).run(panel)
    allowed = tolerances(counted(target), base, noise or {}, same_shape=True)
    rows = decisions(known, base, cuts)
    if not len(rows):
        return result("not assessed", "no event was published after a decision of this panel")
    test = Experiment(target, panel, rng, base, allowed, known)
    moved: dict[str, Moved] = {}
    errors: list[str] = []
    for cut in rows:
        for change in CHANGES:
            here, error = test.moved(int(cut), int(cut) + 1, change)
            if error:
                errors.append(f"{change}: {error}")
            for name, (reach, evidence) in here.items():
                one = moved.setdefault(name, Moved(set(), evidence, 0, int(cut), change))
                one.cuts.add(int(cut))
                if evidence.row < one.evidence.row:
                    one.evidence = evidence
                if reach > one.reach:
                    one.reach, one.at, one.change = reach, int(cut), change
    _reach(test, moved)
    found = tuple(_finding(test, name, one, len(rows)) for name, one in moved.items())
    hits = {n: (len(moved[n].cuts) if n in moved else 0, len(rows)) for n in base}
    status = "LEAK" if found else "cannot tell" if errors else "ok"
    most = max(hits.values(), default=(0, 0))
    return result(status, "; ".join(dict.fromkeys(errors)), most, found, hits)


def first_rows(events: pd.DataFrame, panel: Panel) -> NDArray[np.int64]:
    """Return (E,) int64 the first row whose decision knows each event; T for those after the last decision."""
    return np.searchsorted(panel.times, instants(events), side="left").astype(np.int64)


def decisions(known: NDArray[np.int64], base: Columns, count: int) -> NDArray[np.int64]:
    """Return at most ``count`` rows, spread over the sample: the last decision before an event, with a number."""
    live = np.logical_or.reduce([np.isfinite(v).any(axis=1) for v in base.values()])
    rows = np.unique(known - 1)
    rows = rows[rows >= 0]
    rows = rows[live[rows]] if live[rows].any() else rows
    return rows[np.unique(np.linspace(0, len(rows) - 1, count).round().astype(int))] if len(rows) else rows


def told_otherwise(events: pd.DataFrame, changed: NDArray[np.bool_], rng: Stream) -> pd.DataFrame:
    """Return the table with other contents in the rows ``changed`` (E,): names and times (known_at, dates) are kept.

    Numbers are drawn from the column, with their sign turned at random, and moved by its spread; flags are turned;
    texts are those of other rows.
    """
    draw = rng.numpy("told otherwise")
    out = events.copy()
    count = int(changed.sum())
    for name in events.columns:
        values = events[name]
        if name in KEPT or values.dtype.kind == "M" or not count:
            continue
        other = values.to_numpy()[draw.integers(0, len(values), count)]
        if values.dtype.kind == "b":
            other = ~values.to_numpy()[changed]
        elif values.dtype.kind in "iuf":
            size = scale(values.to_numpy(np.float64))
            other = other * draw.choice([-1.0, 1.0], count) + size * (1.0 + draw.random(count))
            out[name] = out[name].astype(np.float64)
            other = np.where(np.isfinite(values.to_numpy(np.float64)[changed]), other, np.nan)
        out.loc[changed, name] = other
    return out


def _reach(test: Experiment, moved: Mapping[str, Moved]) -> None:
    """Find how far after its decision an event still moves each column, by changing only later ones: bisection."""
    T = test.panel.shape[0]
    for name, one in moved.items():
        low, high, step = 1, T - one.at + 1, 1  # events known from at + low on move it; none lie at high
        for _ in range(MAX_REACH_EVALUATIONS):
            if low + 1 >= high:
                break
            k = min(low + step, high - 1)
            here, _error = test.moved(one.at, one.at + k, one.change) if (test.known >= one.at + k).any() else ({}, "")
            if name in here:
                one.reach = max(one.reach, here[name][0])
                low, step = k, step * 4
            else:
                high, step = k, max(1, (k - low) // 2)


def _finding(test: Experiment, name: str, one: Moved, tried: int) -> Finding:
    panel = test.panel
    whole = one.reach >= FAR * panel.shape[0]
    e = one.evidence
    note = f"what is published after a decision moves it ({one.change})"
    return Finding("L04" if whole else "L30", place(test.target.name, name), "P7", len(one.cuts), tried, one.reach,
                   date(panel, e.row), e.old, e.new, note=note)  # fmt: skip
