"""Features and the affine transform that is fused into the gather of windows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Relative:
    """Window transform: feature f of every row over the last row's feature ``by[f]`` plus ``eps[f]``; each of length F.

    A window whose divisor is unknown or 0 is refused. Alpha360 as a net reads it: prices over the last close, volumes
    over the last volume.
    """

    by: tuple[int, ...]
    eps: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Features:
    """Inputs of models.

    values: (T, N, F) float32 (NaN = unknown), or int32 token ids (0 = padding). names: F names.
    lookbacks: rows each feature reads, row t included. fields: market fields they need. relative: what a window of
    them is divided by before anything else sees it.
    """

    values: NDArray[np.float32] | NDArray[np.int32]
    names: tuple[str, ...]
    lookbacks: tuple[int, ...]
    fields: tuple[str, ...] = ()
    relative: Relative | None = None

    @property
    def is_token(self) -> bool:
        """True when the values are token ids, which no affine transform may touch."""
        return np.issubdtype(self.values.dtype, np.integer)


@dataclass(frozen=True, eq=False)
class Affine:
    """Row transform y = clip((x - shift) * scale, -limit, limit), each (F,) float32, fitted on train rows of a fold."""

    shift: NDArray[np.float32]
    scale: NDArray[np.float32]
    limit: float = float("inf")

    def apply(self, x: NDArray[np.float32]) -> None:
        """Transform a contiguous ``x`` (L, ..., F) in place; NaN stays NaN."""
        v = x.reshape(len(x), -1)  # long rows: broadcasting over a short F axis costs twice as much
        copies = v.shape[1] // len(self.shift)
        np.subtract(v, np.tile(self.shift, copies), out=v)
        np.multiply(v, np.tile(self.scale, copies), out=v)
        if np.isfinite(self.limit):
            np.clip(v, -self.limit, self.limit, out=v)
