"""P6: vintages. A number decided at t must be the same from the data as they were known at t and from the latest ones.

What differs between two vintages is taken apart by experiment, one step at a time: the membership as known later (L25),
a constant by which a later split or dividend rescaled a whole history (L28), and values that were restated (L27).
"""

from __future__ import annotations

import datetime as dt
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hitherto.audit.probes import Columns, attempt, differs, naming, scale, since, tolerances
from hitherto.audit.target import Counted, Target, counted
from hitherto.audit.verdict import Finding, ProbeResult, place
from hitherto.errors import ConfigError, DataError
from hitherto.panel import MASKS, PRICES, Floats, Panel

Day = dt.date | np.datetime64 | str
Vintages = Mapping[Any, Panel] | Callable[[Day], Panel]
Rows = NDArray[np.intp]

RTOL = 1e-7  # of a column's scale: what rounding leaves when a history is rescaled
MATERIAL = 0.05  # of a column's scale: a restatement below it is a vendor's rounding
LEAST = 0.02  # of the numbers: fewer material restatements are corrections of single prints
TAIL = 20  # shared rows whose ratio tells by what a history was rescaled
WORDS = {
    "L25": "membership as known later",
    "L28": "histories rescaled by later splits or dividends",
    "L27": "restated values",
}


@dataclass(frozen=True)
class Restated:
    """What became of one field between two vintages, over the cells known in both.

    cells: known in both. rewritten: changed by more than the tolerance asked for. symbols: listings with such a cell.
    added, removed: cells known only in the newer, only in the older vintage. first: earliest rewritten session.
    """

    field: str
    cells: int
    rewritten: int
    symbols: int
    added: int
    removed: int
    first: str

    @property
    def share(self) -> float:
        """Rewritten cells over cells known in both (0 without any)."""
        return self.rewritten / self.cells if self.cells else 0.0


@dataclass
class _Count:
    """Numbers of one column that moved at one step, over all vintages."""

    changed: int = 0
    judged: int = 0
    first: str = ""
    old: float = float("nan")
    new: float = float("nan")
    fields: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Step:
    """A panel that differs from the one before by one cause only; ``columns``: where the shared listings stand."""

    leak: str
    panel: Panel
    columns: Rows


def probe(
    target: Target | Counted, vintages: Vintages, latest: Panel, dates: Sequence[Day] | None = None, *,
    noise: Mapping[str, float] | None = None, material: float = MATERIAL, least: float = LEAST,
) -> ProbeResult:  # fmt: skip
    """Compare ``target`` on every vintage with itself on ``latest``, row by row of the vintage known first.

    vintages: date of publication -> Panel, or a function asof(date) with its ``dates``. A row is judged in the first
    vintage that holds it, listings are matched by symbol, rows by session, and only cells with a bar in both count.
    L25 and L28: any number that moves. L27: more than ``least`` of a column's numbers move by more than ``material`` of
    its scale; fewer are told in ``detail``. Errors: ConfigError without dates, DataError for a vintage that holds bars
    after its date.
    """
    begun = time.perf_counter()
    target = counted(target)
    counts: dict[tuple[str, str], _Count] = {}
    errors: list[str] = []
    told: dict[str, None] = {}
    before = np.datetime64("0001-01-01")
    published = _published(vintages, dates)
    for day, older in published:
        if older is latest:
            continue
        later = older.sessions > day
        if later.any():
            raise DataError(
                f"vintage {day}: it holds bars to {older.sessions[-1]}; give the panel as it was known on {day}"
            )
        steps, judged = chain(older, latest, before, day)
        before = day
        if judged.any():
            _compare(target, steps, judged, noise or {}, material, counts, errors)
            told |= {r.field: None for r in restatements(older, latest) if r.rewritten}
    findings = tuple(
        _finding(target.name, name, leak, c)
        for (name, leak), c in counts.items()
        if name not in target.planted and _leaks(leak, c, least)
    )
    status = "LEAK" if findings else "cannot tell" if errors else "ok" if counts else "not assessed"
    detail = "; ".join([*dict.fromkeys(errors), *_small(counts, target, least, material)])
    if not counts and not errors:
        detail = "no vintage shares a bar with the latest panel"
    elif told:
        detail = "; ".join([d for d in (detail, f"restated fields: {', '.join(told)}") if d])
    hits = {n: _sum(counts, n, least) for n in dict.fromkeys(n for n, _ in counts)}
    most = max((h for n, h in hits.items() if n not in target.planted), default=(0, 0))
    return ProbeResult(
        "P6", target.name, f"{len(published)} vintages against the latest", status, detail, most, findings, hits,
        seconds=since(begun),
    )  # fmt: skip


def restatements(older: Panel, newer: Panel, rtol: float = 1e-3) -> tuple[Restated, ...]:
    """Count per field the cells that were rewritten by more than ``rtol`` of their older value.

    Listings are matched by symbol, rows by session (by time where a session holds several); fields of both panels.
    """
    rows, columns = _shared_rows(older, newer), _shared_symbols(older, newer)
    sessions = older.sessions[rows[0]]
    out = []
    for name in (n for n in older.fields if n in newer.fields):
        a = older.fields[name][np.ix_(rows[0], columns[0])]
        b = newer.fields[name][np.ix_(rows[1], columns[1])]
        known = np.isfinite(a) & np.isfinite(b)
        moved = known & (np.abs(b - a) > rtol * np.abs(a))
        first = str(sessions[int(moved.any(axis=1).argmax())]) if moved.any() else ""
        added, removed = ~np.isfinite(a) & np.isfinite(b), np.isfinite(a) & ~np.isfinite(b)
        count = [int(m.sum()) for m in (known, moved, moved.any(axis=0), added, removed)]
        out.append(Restated(name, count[0], count[1], count[2], count[3], count[4], first))
    return tuple(out)


def known_at_check(
    table: object, *, name: str = "events", event: str = "event_time", known: str = "known_at"
) -> ProbeResult:
    """Refuse a table of events that does not say when each was known (L27), or that knows one before it happened.

    table: pandas, polars or Arrow with a column ``known`` and, unless these are announcements of something still to
    come, a column ``event``: dates or datetimes. An empty or unreadable cell counts as not known.
    """
    import polars as pl

    from hitherto.market.frames import to_polars

    begun = time.perf_counter()
    frame = to_polars(table)
    R = len(frame)
    tried = f"{R} rows: every one has {known}, none before {event}"

    def result(hits: int, note: str, detail: str = "") -> ProbeResult:
        found = (Finding("L27", name, "P6", hits, R, of="rows", note=note),) if note else ()
        status = "LEAK" if note else "ok" if R else "not assessed"
        return ProbeResult("P6", name, tried, status, detail, (hits, R), found, seconds=since(begun))

    if known not in frame.columns:
        return result(R, f"{known} missing: nobody can say when these were public")
    clock = _instants(frame[known])
    lacking = int(clock.is_null().sum())
    if lacking:
        return result(lacking, f"{known} missing in {lacking} of {R} rows: an empty date is no date")
    if event not in frame.columns:
        return result(0, "", f"no column {event}: whether something was known before it happened was not looked at")
    happened = _instants(frame[event])
    early = (clock < happened).fill_null(value=False)
    if early.any():
        i = int(early.arg_max() or 0)
        note = f"{known} {frame[known][i]} lies before {event} {frame[event][i]}"
        return result(int(early.sum()), note)
    midnight = bool(len(clock)) and (frame[known].dtype == pl.Date or bool((clock.dt.truncate("1d") == clock).all()))
    return result(0, "", f"{known} holds dates only: join it with a lag of a day" if midnight else "")


def chain(older: Panel, latest: Panel, before: np.datetime64, day: np.datetime64) -> tuple[list[_Step], NDArray[Any]]:
    """Return the panels that lead from ``older`` to ``latest``, one cause at a time, and the (rows, shared) mask.

    The mask says which numbers are judged: sessions after ``before`` up to ``day`` with a bar in both. All panels have
    the shared sessions, the fields of both, and first the shared listings.
    """
    ro, rl = _shared_rows(older, latest)
    co, cl = _shared_symbols(older, latest)
    names = [n for n in older.fields if n in latest.fields]
    n = len(co)
    only_old, only_new = np.setdiff1d(np.arange(older.shape[1]), co), np.setdiff1d(np.arange(latest.shape[1]), cl)
    known = _take(older, ro, np.r_[co, only_old], names)
    last = _take(latest, rl, np.r_[cl, only_new], names)
    last = last.replace(times=known.times, sessions=known.sessions)
    shared = np.arange(n)
    steps = [_Step("", known, shared)]
    members = _members(known, last, n)
    if len(only_old) or len(only_new) or not np.array_equal(members.universe[:, :n], known.universe[:, :n]):
        steps.append(_Step("L25", members, shared))
    else:
        members = known
    rescaled = _rescaled(members, last)
    if rescaled is not members:
        steps.append(_Step("L28", rescaled, shared))
    if not _equal(rescaled, last):
        steps.append(_Step("L27", last, shared))
    leads = [p for p in ("close", *PRICES) if p in names][:1] or names
    bars = [np.logical_or.reduce([np.isfinite(p.fields[k][:, :n]) for k in leads]) for p in (known, last)]
    judged = bars[0] & bars[1] & ((known.sessions > before) & (known.sessions <= day))[:, None]
    return steps, judged


def _compare(
    target: Counted, steps: list[_Step], judged: NDArray[Any], noise: Mapping[str, float], material: float,
    counts: dict[tuple[str, str], _Count], errors: list[str],
) -> None:  # fmt: skip
    """Evaluate every step and count what moved from one to the next."""
    old, error = attempt(target, steps[0].panel)
    if error:
        errors.append(error)
        return
    n = judged.shape[1]
    for name in old:
        for leak in WORDS:
            counts.setdefault((name, leak), _Count()).judged += int(judged.sum())
    exact = tolerances(target, old, noise, same_shape=False)
    sessions = steps[0].panel.sessions
    for last, step in itertools.pairwise(steps):
        new, error = attempt(target, step.panel)
        if error:
            errors.append(error)
            return
        allowed = {}
        for name, values in old.items():
            allowed[name] = max(exact[name], (material if step.leak == "L27" else RTOL) * scale(values[:, :n]))
            if name not in new:
                errors.append(f"{target.name} lost the column '{name}'")
                continue
            a, b = values[:, :n], new[name][:, :n]
            moved = differs(a, b, allowed[name]) & judged
            if moved.any():
                _note(counts[name, step.leak], moved, a, b, sessions)
        if step.leak == "L27":
            _fields(target, last.panel, step.panel, old, judged, allowed, counts)
        old = {k: v for k, v in new.items() if k in old}


def _fields(
    target: Counted, before: Panel, after: Panel, old: Columns, judged: NDArray[Any], allowed: Mapping[str, float],
    counts: dict[tuple[str, str], _Count],
) -> None:  # fmt: skip
    """Restate field by field to name those that a moved column reads."""
    moved = [n for n in old if counts[n, "L27"].changed and n not in target.planted]
    n = judged.shape[1]
    for name, values in after.fields.items():
        if not moved or np.array_equal(values, before.fields[name], equal_nan=True):
            continue
        new, error = attempt(target, before.replace(fields={**before.fields, name: values}))
        for column in moved:
            if error or column not in new or name in counts[column, "L27"].fields:
                continue
            if (differs(old[column][:, :n], new[column][:, :n], allowed[column]) & judged).any():
                counts[column, "L27"].fields.append(name)


def _note(c: _Count, moved: NDArray[Any], a: NDArray[Any], b: NDArray[Any], sessions: NDArray[Any]) -> None:
    c.changed += int(moved.sum())
    if c.first:
        return
    both = moved & np.isfinite(a) & np.isfinite(b)
    row, listing = np.argwhere(both if both.any() else moved)[0]
    c.first, c.old, c.new = str(sessions[row]), float(a[row, listing]), float(b[row, listing])


def _leaks(leak: str, c: _Count, least: float) -> bool:
    return c.changed > (least * c.judged if leak == "L27" else 0)


def _finding(target: str, column: str, leak: str, c: _Count) -> Finding:
    leak = "L25" if leak == "L27" and naming.by_field(c.fields) == "L25" else leak
    share = c.changed / max(c.judged, 1)
    note = f"{WORDS[leak]}: {share:.1%} of the numbers" + (f", through {', '.join(c.fields)}" if c.fields else "")
    return Finding(leak, place(target, column), "P6", c.changed, c.judged, first=c.first, old=c.old, new=c.new,
                   of="numbers", note=note)  # fmt: skip


def _small(counts: dict[tuple[str, str], _Count], target: Counted, least: float, material: float) -> list[str]:
    """The largest restatement that is too small to be a finding, said all the same."""
    few = {
        place(target.name, name): c
        for (name, leak), c in counts.items()
        if leak == "L27" and 0 < c.changed <= least * c.judged and name not in target.planted
    }
    if not few:
        return []
    name, c = max(few.items(), key=lambda one: one[1].changed)
    return [
        f"restated values moved {c.changed / c.judged:.2%} of the numbers of {name} by over {material:.0%} of its scale"
        f" and no other column more (a finding above {least:.0%})"
    ]


def _sum(counts: dict[tuple[str, str], _Count], name: str, least: float) -> tuple[int, int]:
    mine = [(leak, c) for (n, leak), c in counts.items() if n == name]
    return max((c.changed for leak, c in mine if _leaks(leak, c, least)), default=0), mine[0][1].judged


def _published(vintages: Vintages, dates: Sequence[Day] | None) -> list[tuple[np.datetime64, Panel]]:
    if callable(vintages):
        if dates is None:
            raise ConfigError("vintages: asof(date) was given without dates; say on which dates to ask it")
        pairs = [(_day(d), vintages(d)) for d in dates]
    else:
        pairs = [(_day(d), p) for d, p in vintages.items()]
    return sorted(pairs, key=lambda one: one[0])


def _day(when: Any) -> np.datetime64:
    try:
        return np.datetime64(when, "D")
    except (TypeError, ValueError):
        raise ConfigError(f"vintages: {when!r} is no date; key them by the day of publication, 2018-02-07") from None


def _shared_rows(a: Panel, b: Panel) -> tuple[Rows, Rows]:
    """Rows of ``a`` and ``b`` with the same session (the same time where a session holds several)."""
    daily = all(len(np.unique(p.sessions)) == len(p.sessions) for p in (a, b))
    _, ra, rb = np.intersect1d(a.sessions if daily else a.times, b.sessions if daily else b.times, return_indices=True)
    return ra, rb


def _shared_symbols(a: Panel, b: Panel) -> tuple[Rows, Rows]:
    where = {s: i for i, s in enumerate(b.symbols)}
    pairs = [(i, where[s]) for i, s in enumerate(a.symbols) if s in where]
    got = np.array(pairs, np.intp).reshape(-1, 2)
    return got[:, 0], got[:, 1]


def _take(panel: Panel, rows: Rows, columns: NDArray[Any], names: list[str]) -> Panel:
    columns = columns.astype(np.intp)
    at = np.ix_(rows, columns)
    return panel.replace(
        times=panel.times[rows], sessions=panel.sessions[rows], symbols=tuple(panel.symbols[i] for i in columns),
        fields={k: panel.fields[k][at].copy() for k in names}, **{m: getattr(panel, m)[at].copy() for m in MASKS},
    )  # fmt: skip


def _members(known: Panel, last: Panel, n: int) -> Panel:
    """The listings and universe of ``last`` with the values of ``known`` wherever it has the listing."""
    fields = {k: np.hstack([known.fields[k][:, :n], last.fields[k][:, n:]]) for k in known.fields}
    masks = {m: np.hstack([getattr(known, m)[:, :n], getattr(last, m)[:, n:]]) for m in MASKS}
    masks["universe"] = last.universe & masks["listed"]
    return known.replace(symbols=last.symbols, fields=fields, **masks)


def _rescaled(known: Panel, last: Panel) -> Panel:
    """``known`` with every history multiplied by the constant that its last shared rows show; itself if there is none.

    A split or dividend after the vintage multiplies all of a listing's history by one number. Steps inside the history
    are corrections and stay.
    """
    lead = next((p for p in ("close", *PRICES) if p in known.fields), "close")
    fields: dict[str, Floats] = {}
    for base in (lead, "volume", "factor"):
        if base not in known.fields:
            continue
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = last.fields[base] / known.fields[base]
        constant = _constants(ratio, near=1e-2 if base == "volume" else 1e-3)
        if (constant != 1).any():  # one number for all prices of a listing: their ratios must not feel it
            names = [p for p in PRICES if p in known.fields] if base == lead else [base]
            fields |= {name: known.fields[name] * constant for name in names}
    return known.replace(fields={**known.fields, **fields}) if fields else known


def _constants(ratio: NDArray[np.float64], near: float) -> NDArray[np.float64]:
    """(N,) the ratio of the last ``TAIL`` known rows where most of the history shares it, else 1."""
    out = np.ones(ratio.shape[1])
    for n in range(ratio.shape[1]):
        r = ratio[np.isfinite(ratio[:, n]) & (ratio[:, n] > 0), n]
        if len(r) < TAIL:
            continue
        k = float(np.median(r[-TAIL:]))
        if abs(k - 1) > near and np.mean(np.abs(r / k - 1) < near) > 0.5:
            out[n] = k
    return out


def _equal(a: Panel, b: Panel) -> bool:
    same = all(np.array_equal(a.fields[k], b.fields[k], equal_nan=True) for k in a.fields)
    return same and all(np.array_equal(getattr(a, m), getattr(b, m)) for m in MASKS)


def _instants(column: Any) -> Any:
    """A column as naive UTC datetimes; what cannot be read is null."""
    import polars as pl

    if column.dtype == pl.String:
        stripped = column.str.strip_chars().str.replace("Z$", "").str.replace("T", " ")
        day = stripped.str.to_datetime("%Y-%m-%d", strict=False)
        return stripped.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", strict=False).fill_null(day)
    if isinstance(column.dtype, pl.Datetime) and column.dtype.time_zone:
        column = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    if column.dtype == pl.Date or isinstance(column.dtype, pl.Datetime):
        return column.cast(pl.Datetime("us"))
    return pl.Series(column.name, [None] * len(column), dtype=pl.Datetime("us"))
