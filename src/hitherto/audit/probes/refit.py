"""P3: refit. Rewrite inputs and labels past the cut, fit, select and predict again with the same seeds, compare.

The only probe that sees weights fitted on rows past the decision: their effect is already inside the frozen model that
the other probes look at.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hitherto.audit.probes import Evidence, attempt, earliest, past_changes, since, tolerances
from hitherto.audit.rewrite import rewrite
from hitherto.audit.target import Counted, Target, counted
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
    the cut matter (a scaler or selection over all rows), L14 when only near ones do (labels that straddle).
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
    status = "LEAK" if findings else "ok" if tried and not broken else "cannot tell"
    most = max((hit[n] for n in hit if n not in target.planted), default=0)
    what = f"fitted again after rewriting inputs and labels past {tried} cut{'s' * (tried != 1)}"
    hits = {n: (h, tried) for n, h in hit.items()}
    return ProbeResult("P3", target.name, what, status, broken, (most, tried), findings, hits, seconds=since(begun))


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
