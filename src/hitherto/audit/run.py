"""Run an audit: every probe that applies to what was given, one report."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hitherto.audit import adapters, canary, cuts, effect, locate
from hitherto.audit.contained import ContainedError, FileTarget
from hitherto.audit.probes import (
    data,
    determinism,
    events,
    fills,
    gradients,
    guard,
    intervals,
    metamorphic,
    neighbours,
    reads,
    refit,
    rewriting,
    truncation,
    vintages,
    warmup,
    worlds,
)
from hitherto.audit.target import AuditPlan, Counted, FunctionTarget, Level, Target, Unit
from hitherto.audit.verdict import AuditReport, CanaryResult, Finding, ProbeResult, date, place
from hitherto.errors import ConfigError, HithertoError
from hitherto.panel import Panel
from hitherto.seeds import Stream

QUICK_LIMIT = (50, 600)
MONTH = 23  # sessions
ALWAYS_OPEN = (
    "survivorship of the listings given", "leaks through future masks, beyond what truncation sees",
)  # fmt: skip


@dataclass(frozen=True)
class Effort:
    """How many: own cuts of listings in all, common cuts, truncations (asset, date), refits, samples alone.

    whole: P7 and P13 too, which cost some thirteen evaluations a target.
    """

    asset: int
    date: int
    truncations: tuple[int, int]
    refits: int
    alone: int
    through_input: bool
    whole: bool


# Quick, per-asset, 20 listings or more: base + repeat + independence + 3 rewritings + 2 truncations = 8 evaluations.
EFFORT: dict[Level, Effort] = {
    "quick": Effort(20, 6, (2, 4), 1, 12, False, False),
    "full": Effort(200, 24, (8, 24), 3, 48, True, True),
}


@dataclass
class _Collected:
    """What the probes brought in so far."""

    results: list[ProbeResult] = field(default_factory=list)
    canaries: list[CanaryResult] = field(default_factory=list)
    noise: dict[str, float] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    evaluations: int = 0


def audit(
    target: Any, panel: Panel | None = None, *, level: Level | None = None, unit: Unit | None = None,
    gets: adapters.Gets = "symbol", exact: bool = True, build: Callable[[Panel, dict[str, str]], Any] | None = None,
    seed: int = 0,
) -> AuditReport:  # fmt: skip
    """Try to make ``target`` betray that it uses the future, and report what was tried.

    target: a Study (anything with ``audit_targets()``), an AuditPlan, a Target, a function of a pandas frame or panel
    (``gets``, ``unit`` and ``exact`` as in adapters.from_function), or the text of an expression (``build``:
    ``hitherto.build_features``). panel: the data to try it on; None: a made-up one. level: "quick" cuts a large panel
    down to 50 listings x 600 rows and takes few cuts, "full" does neither. The same seed gives the same verdict.

    Errors: ConfigError when the target cannot run on the unchanged panel. exit_code of the report: 0 nothing caught, 1
    leak, 5 the planted one-bar leak escaped.
    """
    if isinstance(target, Path) or (isinstance(target, str) and target.endswith(".py")):
        with FileTarget(target, gets=gets, unit=unit, exact=exact) as file:  # its children end with the audit
            return audit(file, panel, level=level, unit=unit, seed=seed)
    begun = time.perf_counter()
    plan = as_plan(target, panel, level=level, unit=unit, gets=gets, exact=exact, build=build)
    if plan.level not in EFFORT:
        raise ConfigError(f"audit: level must be 'quick' or 'full', got {plan.level!r}")
    rng = Stream(seed, "audit")
    effort = EFFORT[plan.level]
    got = _Collected()
    T, N = whole = plan.panel.shape
    last = plan.span[1] if plan.span else T - 1
    limit = plan.limit or (QUICK_LIMIT if plan.level == "quick" else (N, T))
    small, first = cuts.cut_down(plan.panel, limit, last, rng)
    span = None if plan.span is None else (max(0, plan.span[0] - first), plan.span[1] - first)
    for one in plan.targets:
        _target(one, small, span, effort, rng.child(one.name), got)
        _whole(one, plan, small, effort, rng.child(one.name), got)
    _modules(plan, small, rng, got)
    _statistics(plan, small, span, rng, got)
    for predictor in plan.predictors:
        got.results.append(neighbours.probe(predictor, rng, effort.alone))
    if plan.label is not None and plan.folds:
        got.results.append(intervals.probe(plan.folds, plan.label, plan.lookback, [p.windows for p in plan.predictors]))
    got.results += [fills.probe(book) for book in plan.books]
    for check in plan.checks:
        got.results.append(check(rng.child("checks")))
        got.canaries += getattr(check, "canaries", ())
        got.evaluations += getattr(check, "evaluations", 0)
    _refit(plan, effort, rng.child("refit"), got)
    if plan.targets or plan.refit is not None:
        _data(plan.panel, got)
    _missing(plan, got)
    scope = (
        f"{len(plan.targets)} target{'s' * (len(plan.targets) != 1)}, {small.shape[0]} bars x {small.shape[1]} listings"
    )
    if small.shape != whole:
        scope += f" of {T} x {N}"
    return AuditReport(
        tuple(got.results), locate.mark(_findings(got.results), plan, target), tuple(got.canaries), got.noise,
        (*got.missing, *plan.notes, *(ALWAYS_OPEN if plan.targets else ())), scope, got.evaluations,
        time.perf_counter() - begun,
    )  # fmt: skip


def _whole(one: Target, plan: AuditPlan, panel: Panel, effort: Effort, rng: Stream, got: _Collected) -> None:
    """P6, P7 and P13 on one target; they change more than its future, so that no leak can ride along."""
    name = one.name
    noise = {n: v for r in got.results if r.probe == "P0" and r.target == name for n, v in r.noise.items()}
    bare = Counted(one)
    if effort.whole:
        got.results.append(metamorphic.probe(bare, panel, rng.child("P7"), noise=noise, scale_free=plan.scale_free,
                                             events=plan.events))  # fmt: skip
    if isinstance(one, adapters.EventTarget):
        got.results.append(events.probe(one, panel, rng.child("events"), noise=noise))
    if effort.whole or name in plan.declared:
        got.results.append(warmup.probe(bare, panel, plan.declared.get(name), rng.child("P13"), noise=noise))
    if plan.vintages:
        got.results.append(vintages.probe(bare, plan.vintages, plan.panel, noise=noise))
    got.evaluations += bare.evaluations


def _statistics(plan: AuditPlan, panel: Panel, span: tuple[int, int] | None, rng: Stream, got: _Collected) -> None:
    """P8 on targets and refit, P11, and what was found in tables that cannot be run again."""
    got.results += plan.given
    if plan.null_worlds:
        for one in plan.targets:
            got.results.append(worlds.probe(one, panel, rng.child("P8", one.name), worlds=plan.null_worlds, span=span))
        if plan.refit is not None:
            got.results.append(worlds.probe(plan.refit, plan.refit_panel or plan.panel, rng.child("P8", "refit"),
                                            worlds=plan.null_worlds, refit=True, span=plan.refit_span))  # fmt: skip
    if plan.test_reads is not None or plan.trials is not None:
        got.results.append(reads.probe(plan.test_reads, plan.trials))


def _data(panel: Panel, got: _Collected) -> None:
    """P14 on the prices, where they are quoted in ticks, and who left the file."""
    prices, alive = data.probe(panel), data.survivors(panel)
    if prices.status != "not assessed":
        got.results.append(prices)
    if alive:
        got.missing.append(alive)


def _modules(plan: AuditPlan, panel: Panel, rng: Stream, got: _Collected) -> None:
    """P5 on torch modules with a planted leak where it found none, and the known_at of tables."""
    for module in plan.modules:
        p5 = gradients.probe(module, panel, rng.child(module.name))
        got.results.append(p5)
        if p5.status == "ok":
            got.canaries += gradients.canaries(module, panel, rng.child(module.name))
    got.results += [vintages.known_at_check(table, name=name) for name, table in plan.tables.items()]


def as_plan(
    target: Any, panel: Panel | None, *, level: Level | None = None, unit: Unit | None = None,
    gets: adapters.Gets = "symbol", exact: bool = True, build: Callable[[Panel, dict[str, str]], Any] | None = None,
) -> AuditPlan:  # fmt: skip
    """Return what is to be tried for anything that ``audit`` accepts."""
    if hasattr(target, "audit_targets"):
        target = target.audit_targets()
    if hasattr(target, "predictor") and hasattr(target, "plan"):  # a torch module made ready
        target = target.plan(adapters.made_up_panel() if panel is None else panel, level or "quick")
    if isinstance(target, AuditPlan):
        return target if level is None else dataclasses.replace(target, level=level)
    if hasattr(target, "fit") and hasattr(target, "predict"):
        from hitherto.audit.pipelines import from_pipeline

        made = adapters.made_up_panel() if panel is None else panel
        return from_pipeline(target, made, level=level or "quick").audit_targets()
    if isinstance(target, str):
        if build is None:
            raise ConfigError(
                f"audit: '{target}' is an expression; say what computes it: "
                "audit(text, panel, build=hitherto.build_features)"
            )
        one: Target = adapters.from_text(target, build)
    elif hasattr(target, "run") and hasattr(target, "unit") and hasattr(target, "name"):
        one = target
    elif callable(target):
        one = adapters.from_function(target, gets, unit, exact)
    else:
        raise ConfigError(
            f"audit: {type(target).__name__} is neither a study, a target, a function nor an expression; "
            "pass f(frame) -> Series or an object with audit_targets()"
        )
    if unit is not None and one.unit != unit:
        one = (dataclasses.replace(one, unit=unit) if isinstance(one, adapters.EventTarget) else
               FunctionTarget(one.name, one.run, unit, one.exact, float(getattr(one, "shape_rtol", 0.0))))  # fmt: skip
    made = adapters.made_up_panel() if panel is None else panel
    notes = ("anything on real data: the panel was made up",) if panel is None else ()
    return AuditPlan(made, (one,), level=level or "quick", notes=notes)


def _target(
    one: Target, panel: Panel, span: tuple[int, int] | None, effort: Effort, rng: Stream, got: _Collected
) -> None:
    """P0, P1 and P2 on one target, with the ladder of planted leaks in it; P12 first where it is a file."""
    if isinstance(one, FileTarget):
        got.results.append(guard.probe(one, panel, rng=rng.child("guard")))
        if got.results[-1].status == "LEAK" and not _runs(one, panel):
            return
    planted = canary.Planted(one, rng)
    target = Counted(planted)
    base = _first(target, panel)
    live = np.zeros(panel.shape, bool) if planted.live is None else planted.live
    ok = cuts.allowed(panel, live, span)
    if not ok.any():
        got.results.append(
            ProbeResult("P2", one.name, "nothing", "cannot tell", "it gives no number before the last bar")
        )
        return
    p0 = determinism.probe(target, panel, None, None)
    got.noise[one.name] = max((v for n, v in p0.noise.items() if n not in target.planted), default=0.0)
    noise, note = dict(p0.noise), ""
    if target.unit == "asset" and not rewriting.independent(target, panel, rng, noise):
        target.unit, note = "date", "its listings are not independent: cut together"
    p1, p2 = _cutting(target, panel, ok, effort, rng, noise)
    if p2.dependent and target.unit == "asset":
        target.unit, note = "date", "its listings are not independent: cut together"
        p1, p2 = _cutting(target, panel, ok, effort, rng, noise)
    if note:
        p2 = dataclasses.replace(p2, detail="; ".join(d for d in (p2.detail, note) if d))
    p1, p2 = (dataclasses.replace(p, findings=tuple(_valued(f, base, panel, one.name) for f in p.findings))
              for p in (p1, p2))  # fmt: skip
    got.results += [p0, p1, p2]
    got.canaries += canary.read(planted, [p1, p2])
    if effort.through_input and p2.status == "ok":
        got.canaries.append(_through_input(target, one, panel, ok, effort, rng, noise))
    got.evaluations += target.evaluations


def _valued(f: Finding, base: dict[str, np.ndarray], panel: Panel, target: str) -> Finding:
    """The finding with what its leak was worth, where its reach is known."""
    column = next((values for name, values in base.items() if place(target, name) == f.where), None)
    if column is None or not f.reach or panel.shape[1] < effect.NAMES:
        return f
    return dataclasses.replace(f, worth=effect.worth(column, panel, f.reach))


def _runs(one: Target, panel: Panel) -> bool:
    """Whether a file gives numbers at all: one that needs what the guard refuses has been told of already."""
    try:
        one.run(panel)
    except ContainedError:
        return False
    return True


def _through_input(
    audited: Counted, one: Target, panel: Panel, ok: np.ndarray, effort: Effort, rng: Stream, noise: dict[str, float]
) -> CanaryResult:
    """P2 on the target fed with prices that know the next bar: the pipeline itself must carry the leak to a number.

    Not essential: a target that reads no price cannot carry it.
    """
    fed = Counted(canary.PlantedInput(one), audited.unit)
    own = _own_cuts(fed, panel, ok, effort, rng)
    seen = rewriting.probe(fed, panel, own, rng, noise=noise, kinds=("walk",), investigate=False)
    caught = seen.status == "LEAK"
    words = "reach +1 in the prices it reads"
    return CanaryResult(one.name, words, caught, ("P2",) if caught else (), False, seen.cuts)


def _own_cuts(target: Counted, panel: Panel, ok: np.ndarray, effort: Effort, rng: Stream) -> np.ndarray:
    """(R, N) for a per-asset target, (C,) for one that looks at the cross-section."""
    given = {k: v for k, v in target.run(panel).items() if k not in target.planted}
    if target.unit == "date":
        return cuts.common(panel, ok, effort.date, rng, given)
    listings = max(1, int(ok.any(axis=0).sum()))
    own = cuts.each(panel, ok, max(1, -(-effort.asset // listings)), rng, given)
    return cuts.every(ok, own, effort.asset) if effort.whole else own


def _cutting(
    target: Counted, panel: Panel, ok: np.ndarray, effort: Effort, rng: Stream, noise: dict[str, float]
) -> tuple[ProbeResult, ProbeResult]:
    """P1 and P2 at cuts that suit the target's unit."""
    own = _own_cuts(target, panel, ok, effort, rng)
    ends = cuts.common(panel, ok, effort.truncations[0 if target.unit == "asset" else 1], rng.child("ends"))
    p1 = truncation.probe(target, panel, ends, rng, noise=noise)
    p2 = rewriting.probe(target, panel, own, rng, noise=noise)
    told = {f.where for f in p2.findings}
    columns = {place(target.name, k): v for k, v in target.run(panel).items()}
    named = (f if f.where in told else _calendar(f, columns[f.where], panel, ends) for f in p1.findings)
    return dataclasses.replace(p1, findings=tuple(named)), p2


def _calendar(f: Finding, values: np.ndarray, panel: Panel, ends: np.ndarray) -> Finding:
    """L31 where no later value matters, and of all rows only the last before a cut: they count coming sessions.

    What depends on the length of the data (L32) moves from the first number on.
    """
    row = next((t for t in range(panel.shape[0]) if date(panel, t) == f.first), 0)
    distance = min((int(c) - row for c in ends if c >= row), default=MONTH + 1)
    still = int(np.isfinite(values[:row]).any(axis=1).sum())
    near = distance <= MONTH and still >= 10
    return dataclasses.replace(f, leak="L31", note=f"{f.note}, only shortly before it") if near else f


def _first(target: Counted, panel: Panel) -> dict[str, np.ndarray]:
    """Evaluate on the unchanged panel; a target that cannot even do that is an error of the caller."""
    try:
        return target.run(panel)
    except HithertoError:
        raise
    except Exception as e:
        raise ConfigError(
            f"audit: {target.name} raised {type(e).__name__} on the unchanged panel: {e}; make it run there first"
        ) from e


def _refit(plan: AuditPlan, effort: Effort, rng: Stream, got: _Collected) -> None:
    """P3 with its canaries, on the reduced study that the plan gives."""
    if plan.refit is None:
        got.missing.append("P3 refit: weights fitted on later rows (no refit target was given)")
        return
    panel = plan.refit_panel or plan.panel
    planted = canary.Planted(plan.refit, rng, (), whole_sample=True)
    target = Counted(planted)
    base = _first(target, panel)
    given = np.flatnonzero(np.logical_or.reduce([np.isfinite(v).any(axis=1) for v in base.values()]))
    first, last = plan.refit_span or ((int(given[0]), int(given[-1])) if len(given) else (0, 0))
    last = min(last, panel.shape[0] - 2)
    if not len(given) or last < first:
        got.results.append(
            ProbeResult("P3", target.name, "nothing", "cannot tell", "the refit gives no number before the last bar")
        )
        return
    rows = np.unique(np.linspace(first, last, effort.refits + 1).astype(int)[: effort.refits])
    again = determinism.probe(target, panel, None, None)
    got.noise[target.name] = max((v for n, v in again.noise.items() if n not in target.planted), default=0.0)
    got.results.append(dataclasses.replace(again, tried="two equal fits"))
    p3 = refit.probe(target, panel, rows, rng, noise=again.noise)
    explain = getattr(plan.refit, "explain", None)
    if explain is not None:
        p3 = explain(p3, panel, rng)
    got.results.append(p3)
    got.canaries += canary.read(planted, [p3])
    got.evaluations += target.evaluations
    if plan.refit_planted is not None:
        known = Counted(plan.refit_planted)
        seen = refit.probe(known, panel, rows, rng)
        caught = seen.status == "LEAK"
        got.canaries.append(
            CanaryResult(target.name, plan.refit_planted.name, caught, ("P3",) if caught else (), True, seen.cuts)
        )
        got.evaluations += known.evaluations


def _missing(plan: AuditPlan, got: _Collected) -> None:
    if not plan.predictors:
        got.missing.append("P4 batch neighbours (no predictor was given)")
    if plan.label is None or not plan.folds:
        got.missing.append("P10 intervals (no folds and label were given)")
    if not plan.books:
        got.missing.append("P9 fill delay (no book was given)")
    if plan.given and not plan.targets:
        return  # tables: their own notes say what could not be assessed
    if not any(isinstance(one, FileTarget) for one in plan.targets):
        got.missing.append("P12 files, network and clock (the target is not a file)")
    if not plan.null_worlds:
        got.missing.append("P8 null worlds (none were asked for)")
    if not any(r.probe == "P11" for r in got.results):
        got.missing.append("P11 test reads and trials (no ledger was given)")
    quick = not EFFORT[plan.level].whole
    if not plan.modules:
        got.missing.append("P5 gradients (no torch module with an output per step was given)")
    if plan.vintages is None:
        got.missing.append("P6 vintages (the data was given as known on one day)")
    if quick:
        got.missing.append("P7 metamorphic data (level 'full' tries it)")
    if quick and not plan.declared:
        got.missing.append("P13 warm-up length (level 'full' measures it)")
    if not plan.targets:
        got.missing.append("P0, P1, P2 (no target was given)")


def _findings(results: list[ProbeResult]) -> tuple[Finding, ...]:
    """All findings, by probe, each leak once: the probe that knows most about it speaks."""
    found = [(r.target, f) for r in results for f in r.findings]
    by_gradient = {target for target, f in found if f.probe == "P5"}
    rewritten = {f.where for _, f in found if f.probe == "P2"}
    # a window that reaches ahead gives no number before the end either: that is no list of survivors
    near = {f.where for _, f in found if f.probe == "P2" and f.leak in ("L01", "L02", "L12")}
    restated = {f.where for _, f in found if f.probe == "P7" and f.leak == "L28"}
    dead = {target for target, f in found if f.probe == "P1" and f.leak == "L24"}

    def repeats(target: str, f: Finding) -> bool:
        if f.probe == "P1":
            return f.where in rewritten and f.leak != "L24"
        if f.probe == "P2":
            named = (f.leak in ("L04", "L28") and f.where in restated) or (f.leak == "L04" and target in dead)
            return target in by_gradient or named
        return (
            f.probe == "P7" and f.where in (near if f.leak == "L24" else rewritten) and f.leak in ("L02", "L04", "L24")
        )

    return tuple(f for target, f in found if not repeats(target, f))
