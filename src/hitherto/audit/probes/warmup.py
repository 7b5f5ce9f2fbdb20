"""P13: warm-up. How many bars of history a number needs until more of them no longer change it.

No leak by itself. But a model that is trained with a longer history than it is served with, or whose declared lookback
is shorter than what it reads, gives other numbers live than it gave in the test; and purging by the declared lookback
cuts too little.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hitherto.audit.probes import attempt, differs, scale, since
from hitherto.audit.target import Counted, Target, counted
from hitherto.audit.verdict import ProbeResult, place
from hitherto.panel import Panel
from hitherto.seeds import Stream

RTOL = 1e-6  # of a column's scale: what has decayed below it is settled
COARSE = 1e-3  # a recursion settles here much earlier; a window at the same bar
STARTS = 4
SHOWN = 8  # columns named in a detail


@dataclass(frozen=True)
class WarmUp:
    """History that a column needs.

    bars: rows of history, the row itself included, from which on its numbers agree with those of the whole history
    to 1e-6 of the column's scale; a lower bound where ``settles`` is False. coarse: the same to 1e-3. settles: whether
    they agreed before the panel ended. decays: a recursion, whose ``bars`` follow from the tolerance.
    """

    bars: int
    coarse: int
    settles: bool

    @property
    def decays(self) -> bool:
        """Whether the past fades instead of ending: 1e-3 is reached clearly before 1e-6."""
        return self.settles and self.coarse + 2 < 0.8 * self.bars

    def __str__(self) -> str:
        if not self.settles:
            return f"not settled after {self.bars} bars"
        bars = f"{self.bars} bar" + "s" * (self.bars != 1)
        return f"{bars} at 1e-6 of scale (decays: {self.coarse} at 1e-3)" if self.decays else bars


def probe(
    target: Target | Counted, panel: Panel, declared: Mapping[str, int] | None, rng: Stream, *, starts: int = STARTS,
    noise: Mapping[str, float] | None = None,
) -> ProbeResult:  # fmt: skip
    """Let the panel begin at ``starts`` later rows and see from which row on the numbers are those of the whole panel.

    declared: column -> bars of history that it is said to need, the row itself included (inf: a recursion). The detail
    names what needs more than it declared, then each column's warm-up. Status "ok" or, when the target raises on
    every shorter panel or gives no number, "cannot tell"; never "LEAK". One evaluation of the target per start.
    """
    begun = time.perf_counter()
    target = counted(target)
    rows = begin_rows(panel, starts, rng)
    found, errors = measure(target, panel, rows, noise=noise)
    details = [
        f"{short(target, n, found)} declared lookback {int(declared[n])}, measured {str(w).removesuffix(' bars')}"
        for n, w in found.items()
        if declared and n in declared and w.bars > declared[n]
    ]
    ranked = sorted(found, key=lambda n: (found[n].settles, -found[n].bars))
    said = [f"{short(target, n, found)} needs {found[n]}" for n in ranked[:SHOWN]]
    if len(ranked) > SHOWN:
        said.append(f"{len(ranked) - SHOWN} more need at most {found[ranked[SHOWN]]}")
    wrong = len(details)
    details = [*details[:SHOWN], *([f"and {wrong - SHOWN} more"] if wrong > SHOWN else []), *said, *errors]
    tried = len(rows) - len(errors)
    what = f"the panel begins at {tried} later row{'s' * (tried != 1)}"
    detail = "; ".join(details) or "it gives no number on a panel that begins later"
    status = "ok" if found else "cannot tell"
    return ProbeResult("P13", target.name, what, status, detail, (wrong, len(found)), seconds=since(begun))


def begin_rows(panel: Panel, starts: int, rng: Stream) -> NDArray[np.int64]:
    """Return at most ``starts`` sorted rows at which a panel is made to begin, one in each part of its first half."""
    T = panel.shape[0]
    edges = np.linspace(1, max(2, T // 2), starts + 1)
    draw = rng.numpy("warm-up").random(starts)
    rows = np.unique((edges[:-1] + draw * np.diff(edges)).astype(np.int64))
    return rows[rows < T]


def measure(
    target: Target | Counted, panel: Panel, starts: NDArray[np.integer], *, noise: Mapping[str, float] | None = None
) -> tuple[dict[str, WarmUp], list[str]]:
    """Return column -> WarmUp, and what the target raised, one text per failed start; planted columns are left out.

    A row is compared where the whole panel gives a number there; NaN on the shorter panel differs from it.
    """
    target = counted(target)
    base = target.run(panel)
    worst: dict[str, list[tuple[int, int]]] = {}
    settled: dict[str, bool] = {}
    seen: dict[str, int] = {}
    errors: list[str] = []
    for start in (int(s) for s in starts):
        short, error = attempt(target, panel.since(start))
        if error:
            errors.append(f"beginning at row {start}: {error}")
            continue
        for name, old in base.items():
            if name in target.planted or name not in short or not np.isfinite(old[start:]).any():
                continue
            size, floor = scale(old), 4.0 * (noise or {}).get(name, 0.0)
            needs = [_need(old[start:], short[name], size * max(r, floor)) for r in (RTOL, COARSE)]
            last = int(np.flatnonzero(np.isfinite(old[start:]).any(axis=1))[-1]) + 1
            worst.setdefault(name, []).append((needs[0], needs[1]))
            seen[name] = max(seen.get(name, 0), last)
            settled[name] = settled.get(name, False) or needs[0] <= last
    out = {}
    for name, needs in worst.items():
        bars, coarse = (min(max(n[i] for n in needs), seen[name]) for i in (0, 1))
        out[name] = WarmUp(bars, coarse, settled[name])
    return out, errors


def short(target: Counted, name: str, found: Mapping[str, WarmUp]) -> str:
    """Return a column's name, without the target's where the target has several."""
    return name if len(found) > 1 else place(target.name, name)


def _need(old: NDArray, new: NDArray, tolerance: float) -> int:
    """Rows of history from which on no number differs: one more than the last row that does, counted from 1."""
    changed = (differs(old, new, tolerance) & np.isfinite(old)).any(axis=1)
    rows = np.flatnonzero(changed)
    return int(rows[-1]) + 2 if len(rows) else 1
