"""The trivial policy: the same weight for every name that may be held (1/N; DeMiguel, Garlappi & Uppal 2009)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hitherto.policy.base import PolicyState


@dataclass(frozen=True)
class EqualWeight:
    """Spreads the capital evenly over the names of the mask; all cash when there is none."""

    name: str = "equal weight"

    def act(self, state: PolicyState) -> NDArray[np.float64]:
        """Return (B, N) float64 target weights: 1 / (names in the row's mask) inside the mask, 0 outside."""
        held = state.mask.astype(np.float64)
        return held / np.maximum(held.sum(axis=1, keepdims=True), 1.0)
