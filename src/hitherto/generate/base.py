"""Paths and the Generator protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Paths:
    """Generated markets: returns (P, T, N) float64 simple returns per bar.

    fitted_until: UTC ns of the last decision the generator has seen; a study that tests later may use the paths.
    """

    returns: NDArray[np.float64]
    symbols: tuple[str, ...]
    fitted_until: int


@runtime_checkable
class Generator(Protocol):
    """A fitted source of markets."""

    def sample(self, rng: np.random.Generator, n: int) -> Paths:
        """Draw ``n`` paths."""
        ...
