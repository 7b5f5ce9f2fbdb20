"""P3: refit. Rewrite inputs and labels past the cut, fit, select and predict again with the same seeds, compare.

The only probe that sees weights fitted on rows past the decision: their effect is already inside the frozen model that
the other probes look at. Rewriting keeps who trades when; one more refit, in a future where half of the names
stop, sees samples that were chosen by it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hitherto.audit.probes import Evidence, attempt, earliest, past_changes, scale, since, tolerances
from hitherto.audit.rewrite import rewrite
from hitherto.audit.target import NET_RTOL, Counted, Target, counted
from hitherto.audit.verdict import Finding, ProbeResult, date, place
from hitherto.panel import Panel
from hitherto.seeds import Stream


def probe(
    target: Target | Counted, panel: Panel, cuts: NDArray[np.integer], rng: Stream, *,
    noise: Mapping[str, float] | None = None,
) -> ProbeResult:  # fmt: skip
    """Refit ``target`` on panels whose future after each cut of ``cuts`` (C,) is another market.

    The target's ``run`` must fit anew from the panel it is given. Numbers at or before a cut are compared; choose the
    first out-of-sample row as the first cut, where the fit must not know anything later. Class L05 when rows far past
    the cut matter (a scaler or selection over all rows), L14 when only near ones do (labels that straddle). Where
    nothing moved, one more refit lets half of the names, and those halted there, never trade after the first cut: what
    moves then took its samples by who trades on, class L24, or L14 when only near rows matter. Tolerance there: at
    least 1e-5 of a column's scale (fewer numbers are summed). When it cannot run on that panel, the detail says so.
    """
    begun = time.perf_counter()
    target = counted(target)
    base = target.run(panel)
    allowed = tolerances(target, base, noise or {}, same_shape=True)
    N = panel.shape[1]
    hit: dict[str, int] = dict.fromkeys(base, 0)
    seen: dict[str, tuple[int, Evidence]] = {}
    tried, broken = 0, ""
    for cut in sorted(int(c) for c in np.unique(cuts)):
        own = np.full(N, cut)
        new, error = attempt(target, rewrite(panel, own, "walk", rng))
        if error or any(n not in new for n in base):
            broken = f"cut {date(panel, cut)}: {error or 'a column is gone'}"
            continue
        tried += 1
        for name, old in base.items():
            changed = past_changes(old, new[name], own, allowed[name])
            if changed.any():
                hit[name] += 1
                seen.setdefault(name, (cut, earliest(changed, old, new[name])))
    real = {n: s for n, s in seen.items() if n not in target.planted}
    far = _far(target, panel, {n: cut for n, (cut, _) in real.items()}, rng, allowed)
    findings = tuple(
        Finding(
            "L05" if n in far else "L14", place(target.name, n), "P3", hit[n], tried, far.get(n, 1),
            date(panel, e.row), e.old, e.new,
            note="seen by refitting" + ("" if n in far else "; only bars near the cut matter"),
        )
        for n, (_, e) in real.items()
    )  # fmt: skip
    what = f"fitted again after rewriting inputs and labels past {tried} cut{'s' * (tried != 1)}"
    said = ""
    if tried and not findings:
        findings, said = _halting(target, panel, int(np.min(cuts)), rng.child("halts"), noise or {})
        what += "" if said else ", and once with half of the names halted for good"
    status = "LEAK" if findings else "ok" if tried and not broken else "cannot tell"
    most = max((f.hits for f in findings), default=0)
    hits = {n: (h, tried) for n, h in hit.items()}
    detail = "; ".join(d for d in (broken, said) if d)
    return ProbeResult("P3", target.name, what, status, detail, (most, tried), findings, hits, seconds=since(begun))


def halted(panel: Panel, cut: int, rng: Stream) -> Panel:
    """Return the panel in which half of the names, drawn, and those halted at row ``cut`` never trade after it.

    Their cells are NaN there and suspended (a factor stays known). All else is kept, listings and universe too.
    """
    T, N = panel.shape
    never = ~np.isfinite(panel.fields["close" if "close" in panel.fields else next(iter(panel.fields))][cut])
    never[rng.numpy("stops").permutation(N)[: max(1, N // 2)]] = True
    stops = (np.arange(T)[:, None] > cut) & never
    fields = {k: v if k == "factor" else np.where(stops, np.nan, v) for k, v in panel.fields.items()}
    return panel.replace(
        fields=fields, suspended=panel.suspended | (stops & panel.listed), missing=panel.missing & ~stops
    )


def _halting(
    target: Counted, panel: Panel, cut: int, rng: Stream, noise: Mapping[str, float]
) -> tuple[tuple[Finding, ...], str]:
    """Return the findings of a refit in a future where half of the names stop, and what it raised."""
    base, own = target.run(panel), np.full(panel.shape[1], cut)
    # Fewer numbers come out behind the cut: sums run over other shapes.
    exact = tolerances(target, base, noise, same_shape=False)
    allowed = {n: max(v, NET_RTOL * scale(base[n])) for n, v in exact.items()}
    new, error = attempt(target, halted(panel, cut, rng))
    gone = [n for n in base if not error and n not in new]
    if error or gone:
        return (), f"names halted after {date(panel, cut)}: {error or f'column {gone[0]!r} is gone'}"
    changed = {n: past_changes(v, new[n], own, allowed[n]) for n, v in base.items() if n not in target.planted}
    moved = [n for n, mask in changed.items() if mask.any()]
    if not moved:
        return (), ""
    ahead = (panel.shape[0] - 1 - cut) // 2
    later, error = attempt(target, halted(panel, cut + ahead, rng))
    found = []
    for n in moved:
        e = earliest(changed[n], base[n], new[n])
        far = not error and n in later and bool(past_changes(base[n], later[n], own, allowed[n]).any())
        note = "seen by refitting, moved by who trades after the cut" + ("" if far else "; only bars near it matter")
        found.append(Finding("L24" if far else "L14", place(target.name, n), "P3", 1, 1, ahead + 1 if far else 1,
                             date(panel, e.row), e.old, e.new, of="futures", note=note))  # fmt: skip
    return tuple(found), ""


def _far(
    target: Counted, panel: Panel, names: dict[str, int], rng: Stream, allowed: Mapping[str, float]
) -> dict[str, int]:
    """Return column -> bars for those that still move when only the farther half of the future is rewritten."""
    base, out = target.run(panel), {}
    for cut in sorted(set(names.values())):
        ahead = (panel.shape[0] - 1 - cut) // 2
        new, error = attempt(target, rewrite(panel, np.full(panel.shape[1], cut + ahead), "walk", rng.child("far")))
        for name in (n for n, c in names.items() if c == cut and not error and n in new):
            if past_changes(base[name], new[name], np.full(panel.shape[1], cut), allowed[name]).any():
                out[name] = ahead + 1
    return out
