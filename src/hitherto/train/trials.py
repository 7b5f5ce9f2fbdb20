"""The record of a search: its trials, the best of them, and how many there were."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["complete", "pruned", "failed", "stopped", "killed", "running"]


@dataclass(frozen=True)
class Trial:
    """One trial. scores: fold -> score, higher is better, as far as it came. error: why it failed.

    state: "complete"; "pruned" (stopped as worse than the best); "failed"; "stopped" (the budget ended) or "killed"
    (the process ended): the last two are taken up again, under the same number, when the search goes on.
    """

    number: int
    settings: Mapping[str, Any]
    scores: Mapping[int, float]
    state: State
    seconds: float
    error: str | None = None

    @property
    def score(self) -> float:
        """Mean over the folds that were scored, NaN when there are none."""
        return mean(self.scores) if self.scores else math.nan


@dataclass(frozen=True)
class Search:
    """What a search found. trials: in order, the first one is the settings as given. seconds: spent by all of them."""

    trials: tuple[Trial, ...]
    folds: int
    seconds: float

    @property
    def best(self) -> Trial:
        """The complete trial with the best mean score; the earliest of equals."""
        return max((t for t in self.trials if t.state == "complete"), key=lambda t: (t.score, -t.number))

    @property
    def count(self) -> int:
        """Trials that were scored on at least one fold: what a deflated statistic must be told."""
        return sum(bool(t.scores) for t in self.trials)

    def to_text(self) -> str:
        """Return the table of trials and what was found, as plain text."""
        states = [t.state for t in self.trials]
        counts = ", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(states))
        rows = [["trial", "state", "folds", "score", "seconds", "settings"]]
        for t in self.trials:
            shown = "-" if not t.scores else f"{t.score:.5g}"
            why = f"  ({t.error})" if t.error else ""
            rows.append([str(t.number), t.state, f"{len(t.scores)}/{self.folds}", shown, f"{t.seconds:.1f}",
                         spell(t.settings) + why])  # fmt: skip
        widths = [max(len(r[i]) for r in rows) for i in range(5)]
        lines = ["  ".join([*(c.rjust(w) for c, w in zip(r, widths, strict=False)), r[5]]) for r in rows]
        first, best = self.trials[0], self.best
        ahead = sum(best.scores[k] > first.scores[k] for k in best.scores)
        found = "no trial was better than the settings as given"
        if best.number:
            found = (f"best: trial {best.number}, mean score {best.score:.5g} against {first.score:.5g} as given, "
                     f"ahead in {ahead} of {self.folds} folds")  # fmt: skip
        told = f"{len(self.trials)} trials ({counts}) in {self.seconds:.0f} s"
        warning = f"the best of {self.count} scored trials is flattered by the choice: count them when you judge it"
        return "\n".join([*lines, "", told, found, *([warning] if best.number else [])])


def mean(scores: Mapping[int, float]) -> float:
    """Return the mean of scores by fold; its bits do not depend on the order in which the folds were scored."""
    return math.fsum(scores.values()) / len(scores)


def spell(settings: Mapping[str, Any]) -> str:
    """Return settings as "a=1 b=0.001"."""
    return " ".join(f"{k}={f'{v:.4g}' if isinstance(v, float) else v}".replace(", ", ",") for k, v in settings.items())
