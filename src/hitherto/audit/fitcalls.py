"""What learners were given: the calls of ``fit(X, y)`` inside foreign code, with the date and name of every label.

Labels keep the index of the frame that they were made from, so that a fit tells itself which rows it learns from.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FITS = ("fit", "partial_fit", "fit_transform")
MOST = 256  # calls kept: a walk-forward makes dozens


class Call(NamedTuple):
    """One outermost fit: the learner's class, its labels y (S,) float64, their dates (S,) datetime64[ns] and names."""

    learner: str
    y: NDArray[np.float64]
    dates: NDArray[np.datetime64]
    names: NDArray[np.str_]


@contextmanager
def watched() -> Iterator[list[Call]]:
    """Collect the calls of ``fit`` with labels in this thread, in order; a fit inside a fit is not told apart.

    Labels without a (date, name) index are left out. Nothing is collected while another profiler is at work.
    """
    calls: list[Call] = []
    inside: list[FrameType] = []

    def look(frame: FrameType, event: str, _: Any) -> None:
        if frame.f_code.co_name not in FITS:
            return
        if event == "return" and inside and inside[-1] is frame:
            inside.pop()
        elif event == "call" and "self" in frame.f_locals:
            given = frame.f_locals
            labels = given.get("y")
            if labels is None or inside or len(calls) >= MOST:
                return
            inside.append(frame)
            one = _call(type(given["self"]).__name__, given.get("X"), labels)
            if one is not None:
                calls.append(one)

    if sys.getprofile() is not None:
        yield calls
        return
    sys.setprofile(look)
    try:
        yield calls
    finally:
        sys.setprofile(None)


def _call(learner: str, inputs: Any, labels: Any) -> Call | None:
    index = getattr(labels, "index", None)
    if getattr(index, "nlevels", 0) != 2:
        index = getattr(inputs, "index", None)
    if index is None or getattr(index, "nlevels", 0) != 2 or len(index) != len(labels):
        return None
    try:
        y = np.asarray(labels, np.float64).reshape(len(labels), -1)[:, 0].copy()
        dates = np.asarray(index.get_level_values(0)).astype("datetime64[ns]")
        names = np.asarray(index.get_level_values(1)).astype(str)
    except (TypeError, ValueError):  # labels that are words, an index that holds no dates
        return None
    return Call(learner, y, dates, names)


def copies(call: Call) -> int:
    """Return how many rows stand more than once."""
    rows = np.array(list(zip(call.dates.astype(np.int64), call.names, strict=True)), dtype=object)
    return len(rows) - len({tuple(r) for r in rows})


def others(before: list[Call], after: list[Call], until: np.datetime64) -> bool:
    """Return whether the last fit of each got other rows among those dated before ``until``."""
    if not before or not after:
        return False
    early = [{*zip(c.dates[c.dates < until].astype(np.int64).tolist(), c.names[c.dates < until].tolist(), strict=True)}
             for c in (before[-1], after[-1])]  # fmt: skip
    return early[0] != early[1]


def blended(before: Call, after: Call, until: np.datetime64) -> tuple[int, int]:
    """Return (labels that moved, labels) among the rows dated before ``until`` when both fits got the same rows.

    (0, 0) when they did not, when all or nearly none moved, or when what moved kept its order: a label scaled or ranked
    over more rows keeps it, one mixed with the label of another row does not.
    """
    if len(before.y) != len(after.y) or not np.array_equal(before.dates, after.dates):
        return 0, 0
    if not np.array_equal(before.names, after.names):
        return 0, 0
    early = before.dates < until
    old, new = before.y[early], after.y[early]
    moved = old != new
    share = float(moved.mean()) if len(old) else 0.0
    if not 0.05 < share < 0.95:
        return 0, 0
    half = len(old) // 2
    # each row beside one from the other half of the dates
    across = np.sign(old[:half] - old[half : 2 * half]) * np.sign(new[:half] - new[half : 2 * half])
    return (int(moved.sum()), len(old)) if (across < 0).mean() > 0.02 else (0, 0)
