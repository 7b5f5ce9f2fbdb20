"""Weights: fractions of capital decided at t."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Weights:
    """Target fractions of capital, decided at t with what was known at t.

    values: (T, N) float64; a row counts only where ``decided`` (T,) bool is True (a rebalance), the rest is 0.
    """

    name: str
    values: NDArray[np.float64]
    decided: NDArray[np.bool_]
