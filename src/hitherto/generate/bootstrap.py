"""The trivial generator: new markets from circular blocks of whole past dates (Politis & Romano 1992)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import ConfigError, DataError
from hitherto.generate.base import Paths


@dataclass(frozen=True, eq=False)
class BlockBootstrap:
    """Draws blocks of ``block`` dates, so the cross-section of a date and the order within a block stay real.

    returns: (T, N) float64 simple returns per bar, read-only. NaN (not known that day) stays NaN in the paths.
    Every drawn row is a past row: no return occurs that never occurred.
    """

    returns: NDArray[np.float64]
    symbols: tuple[str, ...]
    fitted_until: int
    block: int

    @classmethod
    def fit(
        cls, returns: NDArray[np.float64], symbols: tuple[str, ...], fitted_until: int, block: int = 20
    ) -> BlockBootstrap:
        """Keep a copy of the history.

        returns: (T, N) simple returns. fitted_until: UTC ns of its last decision. block: dates, 1..T. DataError on
        inf, on a return below -100 % or on a date without any return; ConfigError on a block outside 1..T.
        """
        r = np.array(returns, np.float64)
        if r.ndim != 2 or r.shape[1] != len(symbols):
            raise DataError(f"bootstrap: returns have shape {r.shape}; expected (T, {len(symbols)}) for these symbols")
        bad = np.argwhere(np.isinf(r) | (r < -1))
        if len(bad):
            t, n = bad[0]
            raise DataError(f"bootstrap: the return of {symbols[n]} at row {t} is {r[t, n]:g}; correct or drop it")
        empty = np.flatnonzero(np.isnan(r).all(axis=1))
        if len(empty):
            raise DataError(f"bootstrap: row {empty[0]} holds no return at all; drop it (the first bar has none)")
        if not 1 <= block <= len(r):
            raise ConfigError(f"bootstrap: block must lie in 1..{len(r)} dates, got {block}")
        r.flags.writeable = False
        return cls(r, tuple(symbols), int(fitted_until), int(block))

    def sample(self, rng: np.random.Generator, n: int) -> Paths:
        """Return ``n`` paths as long as the history: Paths of (n, T, N) float64."""
        if n < 1:
            raise ConfigError(f"bootstrap: the number of paths must be >= 1, got {n}")
        T = len(self.returns)
        starts = rng.integers(0, T, (n, -(-T // self.block)))
        rows = (starts[:, :, None] + np.arange(self.block)) % T
        return Paths(self.returns[rows.reshape(n, -1)[:, :T]], self.symbols, self.fitted_until)
