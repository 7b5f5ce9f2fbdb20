"""A ring of states to return to when training explodes, and the rule that says when it has."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

KEPT = 3
EVERY = 64  # steps between two states of an epoch
RECENT = 101  # losses the running median looks at
FEWEST = 20  # losses before the median is trusted
ABOVE_MEDIAN = 100.0  # raw returns of a crash day are 30 times the usual loss and no explosion
ABOVE_FIRST = 1e4


@dataclass
class Ring:
    """The last states of an epoch, oldest first: (tensors, where); ``where`` is plain JSON."""

    tensors: list[Mapping[str, Tensor]] = field(default_factory=list)
    where: list[dict[str, Any]] = field(default_factory=list)

    def restart(self, tensors: Mapping[str, Tensor], where: dict[str, Any]) -> None:
        """Hold this state alone: the start of an epoch, which is never dropped while the epoch lasts."""
        self.tensors, self.where = [tensors], [where]

    def push(self, tensors: Mapping[str, Tensor], where: dict[str, Any]) -> None:
        """Add a state; the second oldest goes when there are too many, the start of the epoch stays."""
        self.tensors.append(tensors)
        self.where.append(where)
        if len(self.tensors) > KEPT:
            del self.tensors[1], self.where[1]

    def pop(self) -> tuple[Mapping[str, Tensor], dict[str, Any]]:
        """Return the newest state; a second explosion goes back further, at the last to the start of the epoch."""
        if len(self.tensors) > 1:
            return self.tensors.pop(), self.where.pop()
        return self.tensors[0], self.where[0]


def exploded(loss: float, first: float, recent: list[float]) -> bool:
    """Return whether ``loss`` is not finite, 100 times the running median, or 1e4 times the ``first`` loss."""
    if not math.isfinite(loss) or 0 < first * ABOVE_FIRST < loss:
        return True
    return len(recent) >= FEWEST and 0 < ABOVE_MEDIAN * statistics.median(recent) < loss
