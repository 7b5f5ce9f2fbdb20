"""The Policy protocol and the state it acts on."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


class PolicyState(NamedTuple):
    """What a policy sees at decision t: x (B, N, F) float32 features, weights (B, N) held, equity (B,), mask (B, N)."""

    t: int
    x: NDArray[np.float32]
    weights: NDArray[np.float64]
    equity: NDArray[np.float64]
    mask: NDArray[np.bool_]


@runtime_checkable
class Policy(Protocol):
    """Acts on the state of a decision."""

    def act(self, state: PolicyState) -> NDArray[np.float64]:
        """Return (B, N) float64 target weights, decided at ``state.t`` and filled at t+1."""
        ...
