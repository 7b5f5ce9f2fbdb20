"""Refit: an object made, fitted and asked anew on every panel, and the follow-up that names the learner at fault."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from hitherto.audit import adapters
from hitherto.audit.followup import Follow, gap, replay
from hitherto.audit.target import Outputs
from hitherto.audit.verdict import ProbeResult
from hitherto.panel import Panel
from hitherto.seeds import Stream

Gets = Literal["long", "wide", "panel"]
Make = Callable[[], Any]
__all__ = ["RTOL", "Frozen", "Gets", "Make", "Refit", "fit", "gap", "predict", "replay"]
RTOL = 1e-9  # of a column's scale: sums over another number of kept rows, far below what any refit moves


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
        made = self.learned(on)
        return self.said(made, panel), made

    def learned(self, on: Panel) -> Any:
        """Return an object fitted on ``on``."""
        made = self.make()
        fit(made, self.gets, on)
        return made

    def said(self, made: Any, panel: Panel) -> Outputs:
        """Return the predictions of a fitted object for ``panel``."""
        return predict(made, self.gets, self.since_time, panel)

    def explain(self, result: ProbeResult, panel: Panel, rng: Stream) -> ProbeResult:
        """Return P3's result with the exact reach, the learner that moved first, and the class that it points to.

        A future that enters as a choice only becomes L20 (a count of rounds, a training), L19 (an option, one of
        several fits), L18 (columns, or listings by anything but their prices) or L24 (listings by their later prices);
        rows of the test dates in the labels of a fit L13 or, copied or mixed, L16; a table keyed by a category L17; one
        that only near bars move L14; anything else L05. A choice has a reach only when it feels the very last bar. When
        fitted state moved but no prediction did, up to 8 other futures are tried: a choice need not change at the
        first. Fits 5 times when nothing moves, else 20 to 40 times.
        """
        cut = int(np.searchsorted(panel.times, self.since_time))
        if cut >= panel.shape[0] - 1:
            return result
        try:
            return Follow(self, panel, cut, rng.child("explain")).up(result)
        except Exception as e:  # noqa: BLE001  somebody else's code; P3 has its verdict already
            note = f"{type(e).__name__} while following up: {e}".split("\n")[0][:200]
            return dataclasses.replace(result, detail="; ".join(d for d in (result.detail, note) if d))


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
