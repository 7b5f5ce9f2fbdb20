"""P1: right-truncation. Nothing at or before the cut may move when the panel simply ends there.

The only probe that sees a dependence on the number of rows, on the masks of the future, or on a vendor's re-adjustment.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hitherto.audit.moves import moves
from hitherto.audit.probes import Evidence, attempt, scale, since, tolerances
from hitherto.audit.target import NET_RTOL, Counted, Target, counted
from hitherto.audit.verdict import Finding, ProbeResult, date, place
from hitherto.panel import Panel
from hitherto.seeds import Stream


def probe(
    target: Target | Counted, panel: Panel, cuts: NDArray[np.integer], rng: Stream | None = None, *,
    noise: Mapping[str, float] | None = None,
) -> ProbeResult:  # fmt: skip
    """Compare ``target`` on ``panel.rows(c + 1)`` with the whole panel, for every cut c of ``cuts`` (C,).

    Findings are of class L32 (length, masks); run.py prefers P2's finding for a column that both caught. Tolerance:
    none for exact targets but their ``shape_rtol``, else, and for foreign code that gives float32 numbers, 1e-5 of a
    column's scale (matrix products change with the shape).
    """
    begun = time.perf_counter()
    target = counted(target)
    base = target.run(panel)
    allowed = tolerances(target, base, noise or {}, same_shape=False)
    for name, values in base.items():  # numbers of a float32 net: another length, other blocks, other rounding
        if target.exact and target.shape_rtol and _single(values):
            allowed[name] = max(allowed[name], NET_RTOL * scale(values))
    hit: dict[str, int] = dict.fromkeys(base, 0)
    seen: dict[str, Evidence] = {}
    tried, broken = 0, ""
    for cut in sorted(int(c) for c in np.unique(cuts)):
        cutpanel = panel.rows(cut + 1)
        short, error = attempt(target, cutpanel)
        if error:
            broken = f"cut {date(panel, cut)}: {error}"
            continue
        tried += 1
        there = [name for name in base if name in short]
        for name in (n for n in base if n not in short):
            broken = f"cut {date(panel, cut)}: column '{name}' is gone"
        for name, moved in moves(base, short, np.full(panel.shape[1], cut), allowed, there).items():
            hit[name] += 1
            seen.setdefault(name, moved.evidence(base[name], short[name]))
        del short  # it may be large: gone before the next evaluation takes its own memory
    findings = tuple(
        Finding("L32", place(target.name, name), "P1", hit[name], tried, first=date(panel, e.row), old=e.old, new=e.new,
                note="changes when the panel ends at the cut")
        for name, e in seen.items() if name not in target.planted
    )  # fmt: skip
    status = "LEAK" if findings else "ok" if tried and not broken else "cannot tell"
    most = max((hit[n] for n in hit if n not in target.planted), default=0)
    return ProbeResult(
        "P1", target.name, f"the panel ends at {tried} cuts", status, broken, (most, tried), findings,
        {n: (h, tried) for n, h in hit.items()}, seconds=since(begun),
    )  # fmt: skip


def _single(values: NDArray[Any]) -> bool:
    """Whether all numbers are those of float32, whatever they are held in."""
    known = values[np.isfinite(values)]
    return len(known) > 0 and bool((known == known.astype(np.float32)).all()) and bool((known % 1 != 0).any())
