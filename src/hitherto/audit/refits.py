"""Refit: an object made, fitted and asked anew on every panel, and the follow-up that names the learner at fault."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from hitherto.audit import adapters, fitted
from hitherto.audit.probes import earliest, past_changes, scale
from hitherto.audit.rewrite import rewrite
from hitherto.audit.target import Outputs
from hitherto.audit.verdict import CLASSES, Finding, ProbeResult, date, place
from hitherto.panel import Panel
from hitherto.seeds import Stream

Gets = Literal["long", "wide", "panel"]
Make = Callable[[], Any]
RTOL = 1e-9  # of a column's scale: sums over another number of kept rows, far below what any refit moves
FUTURES = 8  # other futures tried when fitted state moved but no prediction did
DISCRETE = ("L18", "L20")  # a choice or a count: a future need not change it


@dataclass(frozen=True)
class Frozen:
    """A target that predicts with an object fitted before; fields as those of ``Refit``."""

    name: str
    run: Callable[[Panel], Outputs]
    unit: Any = "date"
    exact: bool = False
    rtol: float = RTOL


@dataclass(frozen=True, eq=False)
class Refit:
    """A target that makes, fits and predicts anew on every panel (P3); numbers count from ``since_time`` on.

    since_time: int64 UTC nanoseconds. exact is False: a forest that adds its trees in another order differs in the
    last bits. rtol: what may differ then, in a column's scale.
    """

    name: str
    make: Make
    gets: Gets
    since_time: int
    unit: Any = "date"
    exact: bool = False
    rtol: float = RTOL

    def run(self, panel: Panel, /) -> Outputs:
        """Return the predictions of an object fitted on ``panel``."""
        return self.trained(panel, panel)[0]

    def trained(self, panel: Panel, on: Panel) -> tuple[Outputs, Any]:
        """Return predictions for ``panel`` of an object fitted on ``on``, and the object."""
        made = self.make()
        fit(made, self.gets, on)
        return predict(made, self.gets, self.since_time, panel), made

    def explain(self, result: ProbeResult, panel: Panel, rng: Stream) -> ProbeResult:
        """Return P3's result with the exact reach, the learner that moved first, and the class that it points to.

        A finding whose cause is a count of rounds becomes L20, a choice of columns L18, a table keyed by a category
        L17; one that only near bars move stays L14. When fitted state moved but no prediction did, up to 8 other
        futures are tried: a choice need not change at the first. Fits 3 times when nothing moves, else about 20 times.
        """
        cut = int(np.searchsorted(panel.times, self.since_time))
        if cut >= panel.shape[0] - 1:
            return result
        try:
            return _Follow(self, panel, cut, rng.child("explain")).up(result)
        except Exception as e:  # noqa: BLE001  somebody else's code; P3 has its verdict already
            note = f"{type(e).__name__} while following up: {e}".split("\n")[0][:200]
            return dataclasses.replace(result, detail="; ".join(d for d in (result.detail, note) if d))


class _Follow:
    """The follow-up of one P3: two equal fits, what they learned, and fits on other futures."""

    def __init__(self, refit: Refit, panel: Panel, cut: int, rng: Stream) -> None:
        self.refit, self.panel, self.cut, self.rng = refit, panel, cut, rng
        self.base, made = refit.trained(panel, panel)
        again, other = refit.trained(panel, panel)
        self.rtol = max(refit.rtol, *(4 * gap(v, again[k]) for k, v in self.base.items()), 0.0)
        self.state = fitted.leaves(made, panel.symbols)
        self.unstable = set(fitted.moved(self.state, fitted.leaves(other, panel.symbols)))
        self.state = {k: v for k, v in self.state.items() if k not in self.unstable}

    def up(self, result: ProbeResult) -> ProbeResult:
        """Return the result with what the follow-up found out."""
        causes = (fitted.cause(self.state, self.learned(w)) for w in self.worlds(self.cut, 4 if result.findings else 2))
        cause = next((c for c in causes if c), None)
        if not result.findings:
            return self.hunt(result, cause) if cause else result
        reach = self.reach(cause)
        return dataclasses.replace(result, findings=tuple(self.named(f, cause, reach) for f in result.findings))

    def learned(self, world: Panel) -> dict[str, fitted.Leaf]:
        """What a fit on another future learned, without what differs between two equal fits."""
        made = self.refit.make()
        fit(made, self.refit.gets, world)
        return {k: v for k, v in fitted.leaves(made, self.panel.symbols).items() if k not in self.unstable}

    def named(self, f: Finding, cause: tuple[str, str] | None, reach: int) -> Finding:
        """Return the finding with reach, learner and class."""
        reach = max(reach, f.reach or 0)
        far = reach > (self.panel.shape[0] - 1 - self.cut) // 2
        leak = cause[0] if cause and cause[0] in CLASSES else "L05"
        note = "seen by refitting" + ("" if far else "; only bars near the cut matter")
        return dataclasses.replace(
            f, leak=leak if far else "L14", note=f"{note}; first moved: {cause[1]}" if cause else note, reach=reach
        )

    def hunt(self, result: ProbeResult, cause: tuple[str, str]) -> ProbeResult:
        """Try other futures until a prediction moves: fitted state did, so that one of them may."""
        own = np.full(self.panel.shape[1], self.cut)
        for i in range(FUTURES):
            new = self.refit.run(self.world(self.cut, i))
            for name, old in self.base.items():
                old, changed_to = np.asarray(old), np.asarray(new[name])
                changed = past_changes(old, changed_to, own, self.rtol * scale(old))
                if changed.any():
                    e = earliest(changed, old, changed_to)
                    first = Finding("L05", place(self.refit.name, name), "P3", 1, i + 1, None,
                                    date(self.panel, e.row), e.old, e.new, of="futures")  # fmt: skip
                    found = self.named(first, cause, self.reach(cause))
                    return dataclasses.replace(result, status="LEAK", findings=(found,), cuts=(1, i + 1))
        note = f"fitted state '{cause[1]}' depends on rows past the cut, no prediction moved"
        return dataclasses.replace(result, detail="; ".join(d for d in (result.detail, note) if d))

    def reach(self, cause: tuple[str, str] | None) -> int:
        """The most bars after the cut that still move a prediction at or before it, by bisection; 0: none was found.

        A choice or a count need not move a prediction each time: for these it is what still moves fitted state.
        """
        discrete = cause is not None and cause[0] in DISCRETE
        low, high = 0, self.panel.shape[0] - self.cut
        while low + 1 < high:
            k = (low + high) // 2
            worlds = self.worlds(self.cut + k - 1, 4 if discrete else 1)
            if any(bool(fitted.moved(self.state, self.learned(w))) if discrete else self.moves(w) for w in worlds):
                low = k
            else:
                high = k
        return low

    def moves(self, world: Panel) -> bool:
        """Whether a prediction at or before the cut moves in another future."""
        new, stop = self.refit.run(world), self.cut + 1
        return any(gap(np.asarray(v)[:stop], np.asarray(new[k])[:stop]) > self.rtol for k, v in self.base.items())

    def world(self, cut: int, i: int) -> Panel:
        """The panel with the i-th other future after ``cut``: a walk, the past once more, its mirror, then walks."""
        own = np.full(self.panel.shape[1], cut)
        if i == 1:
            return replay(self.panel, cut)
        return rewrite(self.panel, own, "mirror" if i == 2 else "walk", self.rng.child(str(i)))

    def worlds(self, cut: int, draws: int) -> Iterator[Panel]:
        """The first ``draws`` futures after ``cut``."""
        return (self.world(cut, i) for i in range(draws))


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


def fit(made: Any, gets: Gets, panel: Panel) -> None:
    """Fit an object on a panel, as the frame that it gets."""

    def run(frame: Any) -> Any:
        made.fit(frame)
        if isinstance(frame, Panel):
            return np.full(frame.shape, np.nan)
        # Only the shape of the answer matters here: a wide frame is dates by (field, symbol).
        return {} if frame.index.nlevels == 1 else np.full(len(frame), np.nan)

    adapters.from_function(run, gets).run(panel)


def predict(made: Any, gets: Gets, since_time: int, panel: Panel) -> Outputs:
    """Return column -> (T, N) predictions, NaN before ``since_time``: what counts is what would have been traded."""

    def prediction(frame: Any) -> Any:
        return made.predict(frame)

    out = {}
    tested = panel.times >= since_time
    for key, values in adapters.from_function(prediction, gets).run(panel).items():
        out[key] = np.array(values, np.float64)
        out[key][~tested] = np.nan
    return out


def gap(old: Any, new: Any) -> float:
    """Return the largest difference in units of the old column's scale; inf where a number came or went."""
    old, new = np.asarray(old, np.float64), np.asarray(new, np.float64)
    if not np.array_equal(np.isnan(old), np.isnan(new)):
        return float("inf")
    known = np.isfinite(old) & np.isfinite(new)
    return float(np.abs(old - new)[known].max(initial=0.0)) / scale(old)
