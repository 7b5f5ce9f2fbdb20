"""P0: two equal runs. They fix the noise floor, and show unseeded randomness and hidden state."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from hitherto.audit.moves import moves
from hitherto.audit.probes import differs, earliest, scale, since, tolerances
from hitherto.audit.target import Counted, Target, counted
from hitherto.audit.verdict import Finding, ProbeResult, date, place
from hitherto.errors import ConfigError
from hitherto.panel import Panel
from hitherto.seeds import Stream


def probe(target: Target | Counted, panel: Panel, cuts: NDArray[np.integer] | None, rng: Stream | None) -> ProbeResult:
    """Run the target twice on the same panel and compare; ``cuts`` and ``rng`` are not used.

    Status "LEAK" (class L32) when the runs differ beyond the target's tolerance. noise: per column the largest
    difference in units of its scale (inf when a number became NaN).
    """
    begun = time.perf_counter()
    target = counted(target)
    first = target.run(panel)
    second = target.again(panel)
    allowed = tolerances(target, first, {}, same_shape=True)
    noise: dict[str, float] = {}
    findings: list[Finding] = []
    hits: dict[str, tuple[int, int]] = {}
    gone = [name for name in first if name not in second]
    if gone:
        raise ConfigError(f"audit: {target.name} gave '{gone[0]}' in the first of two equal runs only")
    exact = dict.fromkeys(first, 0.0)
    for name in moves(first, second, np.full(panel.shape[1], panel.shape[0] - 1), exact):
        old, new = np.ascontiguousarray(first[name]), np.ascontiguousarray(second[name])
        changed = differs(old, new, 0.0)
        gap = np.abs(old[changed].astype(np.float64) - new[changed])
        noise[name] = float("inf") if np.isnan(gap).any() else float(gap.max()) / scale(old)
        changed &= differs(old, new, allowed[name])
        hits[name] = (int(changed.any()), 1)
        if changed.any() and name not in target.planted:
            e = earliest(changed, old, new)
            findings.append(Finding("L32", place(target.name, name), "P0", 1, 1, first=date(panel, e.row), old=e.old,
                                    new=e.new, of="runs", note="two equal runs differ"))  # fmt: skip
    return ProbeResult(
        "P0", target.name, "two equal runs", "LEAK" if findings else "ok",
        detail=f"{len(findings)} of {len(first) - len(target.planted)} columns differ" if findings else "",
        findings=tuple(findings), hits=hits, noise=noise, seconds=since(begun),
    )  # fmt: skip
