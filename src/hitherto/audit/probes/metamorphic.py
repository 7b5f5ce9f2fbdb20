"""P7: metamorphic data. Changes of the data that must not change the numbers, or must change them in a known way.

Past prices halved, a listing that comes later or ended earlier, other names and another order, another clock, a later
publication, a longer panel: each relation is a small function, and what breaks it names the class of the leak.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hitherto.audit.canary import future_return
from hitherto.audit.change import HOUR, daily_ic, extended, forward_based, joined_by, later_known, other_names, scaled
from hitherto.audit.cuts import BARS
from hitherto.audit.probes import Columns, Evidence, attempt, differs, earliest, scale, since, tolerances
from hitherto.audit.rewrite import rewrite
from hitherto.audit.target import Counted, Target, counted
from hitherto.audit.verdict import Finding, ProbeResult, Status, date, place
from hitherto.errors import ConfigError
from hitherto.panel import PRICES, Mask, Panel
from hitherto.seeds import Stream

LEVEL = 1e-3  # of a column's scale: the 1 in log(volume + 1), the 1e-12 in a ratio, feel a scale by less
RTOL = 1e-7  # of a column's scale: sums in another order, logs at another level
DELAYS = (0, 1, 2)
Back = Callable[[NDArray[Any]], NDArray[Any]]


@dataclass
class Moved:
    """One column that broke a relation: (T, N) where, how many of how many numbers, the earliest one, median shift."""

    where: Mask
    tried: int
    evidence: Evidence
    shift: float


@dataclass
class Case:
    """A target, the panel, its unchanged numbers and what may differ; ``names``: the real columns."""

    target: Counted
    panel: Panel
    rng: Stream
    base: Columns
    allowed: dict[str, float]
    scale_free: bool | None
    events: tuple[str, ...]
    names: tuple[str, ...]
    lookback: int | None

    def moved(
        self, panel: Panel, where: Mask, back: Back = lambda v: v, base: Columns | None = None, least: float = 0.0
    ) -> tuple[dict[str, Moved], Columns, str]:
        """Run on ``panel``; compare ``back(new)`` with the unchanged numbers ``where``; also the numbers, an error.

        least: a tolerance in units of a column's scale, on top of what the target is allowed.
        """
        new, error = attempt(self.target, panel)
        if error:
            return {}, {}, error
        out = {}
        for name in self.names:
            if name not in new:
                return {}, {}, f"{self.target.name} lost the column '{name}'"
            a, b = (base or self.base)[name], back(new[name])
            allowed = max(self.allowed[name], least * scale(a) if least else 0.0)
            changed = differs(a, b, allowed) & where
            if changed.any():
                gap = np.asarray(b - a, np.float64)[changed]
                known = gap[np.isfinite(gap)]
                shift = float(np.median(known)) if len(known) else float("nan")
                out[name] = Moved(changed, int(where.sum()), earliest(changed, a, b), shift)
        return out, new, ""

    def find(self, moved: Mapping[str, Moved], leak: str, note: str) -> list[Finding]:
        """One finding per moved column; "{shift}" in the note becomes the median shift."""
        return [
            Finding(leak, place(self.target.name, name), "P7", int(m.where.sum()), m.tried,
                    first=date(self.panel, m.evidence.row), old=m.evidence.old, new=m.evidence.new, of="numbers",
                    note=note.replace("{shift}", f"{m.shift:+.3f}"))
            for name, m in moved.items()
        ]  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What one relation said: columns that broke it of columns tried, findings, and a sentence."""

    relation: str
    status: Status
    hits: int
    tried: int
    findings: tuple[Finding, ...] = ()
    note: str = ""
    broken: frozenset[str] = field(default_factory=frozenset)


def probe(
    target: Target | Counted, panel: Panel, rng: Stream, relations: Iterable[str] | None = None, *,
    noise: Mapping[str, float] | None = None, scale_free: bool | None = None, events: Iterable[str] | None = None,
    lookback: int | None = None,
) -> ProbeResult:  # fmt: skip
    """Try every relation of ``relations`` (None: all of RELATIONS) and put the outcomes into one result.

    scale_free: whether the numbers claim not to depend on the level of prices; None: judged only where levels know
    later splits (adjustment "restated_total_return", or a factor that ends at 1). events: joined fields whose
    publication is delayed (None: all but bars). lookback: rows that a number needs, for cutting the head. About one
    evaluation per relation, two for clock and scale, four for delay. A relation that the target cannot be asked (it
    raised) is "not assessed". Give it the bare target: planted columns know neither more listings nor more rows.
    """
    begun = time.perf_counter()
    said = outcomes(target, panel, rng, relations, noise=noise, scale_free=scale_free, events=events, lookback=lookback)
    target = counted(target)
    findings = tuple(f for o in said for f in o.findings)
    status = "LEAK" if findings else "ok" if any(o.status == "ok" for o in said) else "not assessed"
    detail = "; ".join(f"{o.relation} {o.status}" + (f": {o.note}" if o.note else "") for o in said
                       if o.status != "ok" or o.note)  # fmt: skip
    asked = [o for o in said if o.status in ("ok", "LEAK")]
    names = dict.fromkeys(n for o in said for n in o.broken)
    hits = {n: (sum(n in o.broken for o in asked), len(asked)) for n in names}
    return ProbeResult(
        "P7", target.name, ", ".join(o.relation for o in said), status, detail,
        (sum(o.status == "LEAK" for o in said), len(asked)), findings, hits, seconds=since(begun),
    )  # fmt: skip


def outcomes(
    target: Target | Counted, panel: Panel, rng: Stream, relations: Iterable[str] | None = None, *,
    noise: Mapping[str, float] | None = None, scale_free: bool | None = None, events: Iterable[str] | None = None,
    lookback: int | None = None,
) -> tuple[Outcome, ...]:  # fmt: skip
    """Return one Outcome per relation; arguments as in ``probe``. Errors: ConfigError for a relation nobody knows."""
    chosen = tuple(RELATIONS if relations is None else relations)
    unknown = [r for r in chosen if r not in RELATIONS]
    if unknown:
        raise ConfigError(f"P7: no relation '{unknown[0]}'; choose among {', '.join(RELATIONS)}")
    target = counted(target)
    base = target.run(panel)
    allowed = tolerances(target, base, noise or {}, same_shape=False)
    for name, values in base.items():
        least = RTOL * scale(values)
        if values.dtype.kind == "f" and np.isfinite(values).any():
            least = max(least, 8 * float(np.finfo(values.dtype).eps) * float(np.nanmax(np.abs(_finite(values)))))
        allowed[name] = max(allowed[name], least)
    joined = tuple(k for k in panel.fields if k not in BARS) if events is None else tuple(events)
    panel.need(joined, "P7 delay")
    names = tuple(n for n in base if n not in target.planted)
    case = Case(target, panel, rng, base, allowed, scale_free, joined, names, lookback)
    blocked = _unasked(getattr(target.inner, "events", None))
    return tuple(Outcome(r, "not assessed", 0, 0, note=blocked[r]) if r in blocked else RELATIONS[r](case)
                 for r in chosen)  # fmt: skip


def halved(case: Case) -> Outcome:
    """Halve the past prices of half the listings, as a later split would: levels follow, ratios stay (L28).

    Also a split after a cut, told by the factor; the factor alone; and prices halved with the factor doubled.
    """
    panel, (T, N) = case.panel, case.panel.shape
    half = np.zeros(N, bool)
    half[case.rng.numpy("half").permutation(N)[: max(1, N // 2)]] = True
    prices = [p for p in PRICES if p in panel.fields]
    everywhere, found, words = np.ones((T, N), bool), [], []
    broken: dict[str, Moved] = {}
    restated = panel.adjustment == "restated_total_return"
    if "factor" in panel.fields:
        found += _split(case, half, prices, broken)
    variants = [("prices halved", prices, (), restated)]
    if "factor" in panel.fields:
        variants += [("factor halved", ("factor",), (), forward_based(panel)),
                     ("prices halved, factor doubled", prices, ("factor",), False)]  # fmt: skip
    for words_of, down, up, known_later in variants:
        judged = known_later if case.scale_free is None else case.scale_free
        if not down or not (judged or words_of == "prices halved"):
            continue
        moved, _, error = case.moved(scaled(panel, half, down, up, 0.5), everywhere, least=LEVEL)
        if error:
            return Outcome("scale", "not assessed", 0, 0, note=error)
        if not judged:
            if moved:
                most = max(moved, key=lambda n: abs(moved[n].shift))
                words.append(f"{most} moves by {moved[most].shift:+.3f} with the level of prices, which are as traded")
            continue
        if not up and len(moved) < len(case.names):  # a threshold may lie far from these prices
            far, _, _ = case.moved(scaled(panel, half, down, up, 2.0**-6), everywhere, least=LEVEL)
            moved = {**far, **moved}
        fresh = {n: m for n, m in moved.items() if n not in broken}
        broken |= fresh
        found += case.find(fresh, "L28", f"{words_of}: shift {{shift}} (log 2 = 0.693)")
    return _outcome(case, "scale", found, broken, "; ".join(words))


def _split(case: Case, half: Mask, prices: list[str], broken: dict[str, Moved]) -> list[Finding]:
    """A split after the cut: later raw prices are halved and the later factor doubles; nothing before may move."""
    T, N = case.panel.shape
    before = np.arange(T)[:, None] <= T // 2 + np.zeros((1, N), int)
    later = ~before & half[None, :]
    fields = dict(case.panel.fields)
    crash = {k: np.where(later, fields[k] * 0.5, fields[k]) for k in prices}
    if "volume" in fields:
        crash["volume"] = np.where(later, fields["volume"] * 2.0, fields["volume"])
    split = {**crash, "factor": np.where(later, fields["factor"] * 2.0, fields["factor"])}
    moved, _, _ = case.moved(case.panel.replace(fields={**fields, **split}), before)
    if not moved:
        return []
    # Without the factor it is a crash: who feels that too reads later prices, not only a later adjustment.
    also, _, _ = case.moved(case.panel.replace(fields={**fields, **crash}), before)
    broken |= moved
    when = date(case.panel, T // 2)
    out = case.find({n: m for n, m in moved.items() if n not in also}, "L28",
                    f"a split after {when} moves what came before it: shift {{shift}} (log 2 = 0.693)")  # fmt: skip
    return out + case.find({n: m for n, m in moved.items() if n in also}, "L02", f"reads prices after {when}")


def newcomer(case: Case) -> Outcome:
    """Add a listing whose first bar comes after a cut: no number of the others up to the cut may move (L26)."""
    T, N = case.panel.shape
    cut = 2 * T // 3
    alive = np.arange(T) > cut
    donor = _donor(case, alive)
    wider = joined_by(case.panel, donor, alive, "NEWCOMER", 1.7)
    before = np.repeat(~alive[:, None], N, axis=1)
    moved, _, error = case.moved(wider, before, lambda v: v[:, :N])
    if error:
        return Outcome("newcomer", "not assessed", 0, 0, note=error)
    note = f"moves before the first bar of a listing that comes after {date(case.panel, cut)}"
    return _outcome(case, "newcomer", case.find(moved, "L26", note), moved)


def dead(case: Case) -> Outcome:
    """Add a listing that ended: it must get numbers while it lives (L24), and be forgotten long after its end (L26)."""
    T, N = case.panel.shape
    end = T // 2
    alive = np.arange(T) <= end
    donor = _donor(case, alive)
    # Nearly a twin: it lives as the donor does, but no rank ties with it.
    wider = joined_by(case.panel, donor, alive, "DEAD", 0.97)
    late = np.repeat((np.arange(T) > end + T // 4)[:, None], N, axis=1)
    moved, new, error = case.moved(wider, late, lambda v: v[:, :N])
    if error:
        return Outcome("dead", "not assessed", 0, 0, note=error)
    words, broken = "", dict(moved)
    if moved:
        # The same end on another path: who feels the path remembers the cross-section (an index level), and may.
        other = joined_by(case.panel, donor, alive, "DEAD", 0.97, bend=end - 1)
        path, _, _ = case.moved(other, late, lambda v: v[:, :N], {n: new[n][:, :N] for n in case.names})
        broken = {n: m for n, m in moved.items() if n not in path}
        words = f"{', '.join(path)} remembers listings that ended, through its own past" if path else ""
    found = case.find(broken, "L26", f"still feels a listing that ended on {date(case.panel, end)}")
    lacking = {n: np.isfinite(case.base[n][:, donor]) & ~np.isfinite(new[n][:, N]) & alive for n in case.names}
    living: Columns = {}
    if any(lacks.any() for lacks in lacking.values()):
        # a selection may leave the twin out for what it is: only where the same twin has a number if it lives on
        living, _ = attempt(case.target, joined_by(case.panel, donor, np.ones(T, bool), "DEAD", 0.97))
    for name, lacks in lacking.items():
        mine = case.base[name][:, donor]
        lacks &= np.isfinite(living[name][:, N]) if name in living else False
        if lacks.any():
            where = np.zeros((T, N), bool)
            where[:, donor] = lacks
            row = int(lacks.argmax())
            m = Moved(where, int((np.isfinite(mine) & alive).sum()),
                      Evidence(row, donor, float(mine[row]), float("nan")), float("nan"))  # fmt: skip
            broken[name] = m
            found += case.find({name: m}, "L24", "gives no number to a listing that ends later, while it lives")
    return _outcome(case, "dead", found, broken, words)


def renamed(case: Case) -> Outcome:
    """Give the listings other names and another order: the numbers must only change their places (L32)."""
    T, N = case.panel.shape
    if N < 2:
        return Outcome("rename", "not assessed", 0, 0, note="one listing only")
    draw = case.rng.numpy("rename")
    order = np.roll(draw.permutation(N), 1)
    if (order == np.arange(N)).all():
        order = np.roll(order, 1)
    back = np.argsort(order)
    mixed = case.panel.assets(order)
    everywhere = np.ones((T, N), bool)
    moved, _, error = case.moved(mixed.replace(symbols=other_names(mixed.symbols, draw)), everywhere, _at(back))
    words = f"other names could not be asked: {error}" if error else ""
    if error or moved:
        by_order, _, failed = case.moved(mixed, everywhere, _at(back))
        if error and failed:
            return Outcome("rename", "not assessed", 0, 0, note=failed)
        found = case.find(by_order, "L32", "depends on the order of the listings")
        rest = {n: m for n, m in moved.items() if n not in by_order}
        found += case.find(rest, "L32", "depends on the names of the listings")
        return _outcome(case, "rename", found, {**by_order, **rest}, words)
    return _outcome(case, "rename", [], {})


def clock(case: Case) -> Outcome:
    """Shift the times by about 8 h past midnight UTC, sessions and order untouched: no date may follow them (L30)."""
    panel = case.panel
    if len(np.unique(panel.sessions)) < len(panel.sessions):
        return Outcome("clock", "not assessed", 0, 0, note="several decisions a session: numbers may read the clock")
    everywhere = np.ones(panel.shape, bool)
    tod = int(np.median(panel.times % (24 * HOUR)))
    broken: dict[str, Moved] = {}
    for way in (-1, 1):
        hours = next(h for h in (8, 12, 20, 24) if not 0 <= tod + way * h * HOUR < 24 * HOUR)
        moved, _, error = case.moved(panel.replace(times=panel.times + way * hours * HOUR), everywhere)
        if error:
            return Outcome("clock", "not assessed", 0, 0, note=error)
        broken |= {n: m for n, m in moved.items() if n not in broken}
    if not broken:
        return _outcome(case, "clock", [], {})
    room = max((-tod, 24 * HOUR - 1 - tod), key=abs) // 2  # the same date at another hour
    by_hour, _, _ = case.moved(panel.replace(times=panel.times + room), everywhere)
    real = {n: m for n, m in broken.items() if n not in by_hour}
    words = f"{', '.join(by_hour)} reads the clock time: not judged" if by_hour else ""
    note = "follows the UTC date of the decision, not the session: a date from the wrong zone"
    return _outcome(case, "clock", case.find(real, "L30", note), real, words)


def delayed(case: Case) -> Outcome:
    """Publish the joined fields later: only older values may be used, and skill must not hang on the first bar (L30).

    Skill at delay 0 that is strong (daily |IC| >= 0.1, t >= 5) and gone (a fifth) one and two bars later is what a
    stamp that comes before the publication looks like.
    """
    T, N = case.panel.shape
    if not case.events or T < 8:
        return Outcome("delay", "not assessed", 0, 0, note="no joined field")
    ahead = future_return(case.panel, 1)
    curve = delay_curve(case.target, case.panel, case.events)
    if not curve:
        return Outcome("delay", "not assessed", 0, 0, note="it raised on delayed fields")
    found: list[Finding] = []
    broken: dict[str, Moved] = {}
    words = []
    for name in case.names:
        (ic, t), *later = curve[name]
        if abs(t) >= 5 and abs(ic) >= 0.1 and all(abs(other) < 0.2 * abs(ic) for other, _ in later):
            daily = daily_ic(case.base[name], ahead)
            hits, tried = int((daily * np.sign(ic) > 0).sum()), int(np.isfinite(daily).sum())
            text = "profit only if delay <= 0: IC " + ", ".join(f"{x:.2f}" for x, _ in curve[name])
            row = int(np.isfinite(daily).argmax())
            found.append(Finding("L30", place(case.target.name, name), "P7", hits, tried, first=date(case.panel, row),
                                 old=ic, new=later[0][0], of="dates", note=f"{text} at 0, 1, 2 bars"))  # fmt: skip
            broken[name] = Moved(np.zeros((T, N), bool), tried, Evidence(row, 0, ic, later[0][0]), 0.0)
        elif abs(t) >= 5:
            words.append(f"{name}: IC " + ", ".join(f"{x:.2f}" for x, _ in curve[name]) + " at delays 0, 1, 2")
    cut = T // 2
    other = rewrite(case.panel, np.full(N, cut), "walk", case.rng.child("delay"), case.events)
    slow, error = attempt(case.target, later_known(case.panel, case.events, 1))
    if not error:
        until = np.repeat((np.arange(T) <= cut + 1)[:, None], N, axis=1)
        moved, _, _ = case.moved(later_known(other, case.events, 1), until, base=slow)
        fresh = {n: m for n, m in moved.items() if n not in broken}
        found += case.find(fresh, "L30", f"delayed by a bar, it still uses what {', '.join(case.events)} say later")
        broken |= fresh
    return _outcome(case, "delay", found, broken, "; ".join(words))


def delay_curve(
    target: Target | Counted, panel: Panel, events: Iterable[str], delays: Iterable[int] = DELAYS
) -> dict[str, list[tuple[float, float]]]:
    """Return column -> [(mean daily IC with the next bar's return, its t)] per delay of ``events`` in bars.

    Empty when the target raises on a delayed panel. The returns are those of the lead price, adjusted.
    """
    target, ahead = counted(target), future_return(panel, 1)
    out: dict[str, list[tuple[float, float]]] = {}
    for k in delays:
        numbers, error = attempt(target, panel if k == 0 else later_known(panel, events, k))
        if error:
            return {}
        for name, values in numbers.items():
            ics = daily_ic(values, ahead)
            ics = ics[np.isfinite(ics)]
            spread = float(ics.std()) if len(ics) else 0.0
            mean = float(ics.mean()) if len(ics) else 0.0
            out.setdefault(name, []).append((mean, mean / spread * len(ics) ** 0.5 if spread > 0 else 0.0))
    return out


def length(case: Case) -> Outcome:
    """Append copies of the last row, and cut the head where ``lookback`` is known: no number may move (L32)."""
    T, N = case.panel.shape
    everywhere = np.ones((T, N), bool)
    longer = extended(case.panel, 7)
    moved, new, error = case.moved(longer, everywhere, lambda v: v[:T])
    if error:
        return Outcome("length", "not assessed", 0, 0, note=error)
    found: list[Finding] = []
    if moved:
        # Other values in the same rows: who feels them reads later bars, not the number of rows.
        other, _, _ = case.moved(extended(case.panel, 7, 1.1), everywhere, lambda v: v[:T],
                                 {n: new[n][:T] for n in case.names})  # fmt: skip
        pure = {n: m for n, m in moved.items() if n not in other}
        found = case.find(pure, "L32", "depends on the number of rows: 7 more follow")
        found += case.find({n: m for n, m in moved.items() if n in other}, "L04", "reads the values of rows appended")
    head = T // 4
    if case.lookback is not None and head + case.lookback < T:
        warm = np.repeat((np.arange(T) >= head + case.lookback)[:, None], N, axis=1)
        empty = np.full((head, N), np.nan)
        less, _, _ = case.moved(case.panel.since(head), warm, lambda v: np.vstack([empty, v]))
        less = {n: m for n, m in less.items() if n not in moved}
        found += case.find(less, "L32", f"depends on rows more than {case.lookback} before it, or on their number")
        moved = {**moved, **less}
    return _outcome(case, "length", found, moved)


RELATIONS: Mapping[str, Callable[[Case], Outcome]] = {
    "scale": halved, "newcomer": newcomer, "dead": dead, "rename": renamed, "clock": clock, "delay": delayed,
    "length": length,
}  # fmt: skip


def _outcome(case: Case, relation: str, found: list[Finding], broken: Mapping[str, Moved], note: str = "") -> Outcome:
    status = "LEAK" if found else "ok"
    return Outcome(relation, status, len(broken), len(case.names), tuple(found), note, frozenset(broken))


def _unasked(events: Any) -> dict[str, str]:
    """Relation -> why it says nothing of a function that joins a table of events, which keeps its names and times."""
    if events is None:
        return {}
    out = {"clock": "its events have their own clock"}
    return out | dict.fromkeys(("rename", "dead") if "symbol" in events else (), "its events are joined by name")


def _finite(values: NDArray[Any]) -> NDArray[Any]:
    return np.where(np.isfinite(values), values, 0)


def _at(columns: NDArray[np.intp]) -> Back:
    return lambda v: v[:, columns]


def _donor(case: Case, alive: NDArray[np.bool_]) -> int:
    """The listing with most numbers in the rows ``alive``."""
    numbers = np.sum([np.isfinite(case.base[n]) & alive[:, None] for n in case.names], axis=0)
    return int(np.asarray(numbers).sum(axis=0).argmax()) if case.names else 0
