"""A linear Markov model: ridge regression on the last tau rows, the order tau chosen on the validation windows."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import ConfigError, DataError
from hitherto.models.base import Context, Unit
from hitherto.models.linear import LinearFit, Moments, Ridge, moments, no_samples
from hitherto.models.targets import Target
from hitherto.seeds import Stream
from hitherto.windows import Windows

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MarkovRidge:
    """Ridge regression on the last tau rows: what follows depends on the present and the tau - 1 rows before it.

    Maps windows (L, B, F), L >= max(taus), to (B, O). For each output the order tau among ``taus`` and the penalty (8
    multiples of the mean diagonal of that order's centred X'X, as in ``Ridge``; or ``alpha``, in the units of X'X) are
    chosen together by the squared error on the validation windows; the smaller order wins a tie. Every order is judged
    on the same samples, those with a whole window of max(taus) rows. Without validation windows it is the smallest tau
    with Ridge's own fallback penalty. target: "raw", or standardised per date ("cs_zscore", "cs_rank").
    One pass over the train and one over the validation windows; memory (max(taus) x F) squared; nothing is random.
    NaN rule and errors: those of ``Ridge``; ConfigError for taus that are not rising whole numbers >= 1.
    On the CSI 300 of 2019-2024 its daily RankIC could not be told from ridge's (docs/ladder.md).
    """

    taus: tuple[int, ...] = (1, 2, 5, 10, 20)
    alpha: float | None = None
    target: Target = "raw"
    name: str = "markov_ridge"
    unit: ClassVar[Unit] = "asset"
    stochastic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        taus = self.taus
        whole = isinstance(taus, tuple) and bool(taus) and all(type(t) is int and t >= 1 for t in taus)
        if not whole or any(b <= a for a, b in pairwise(taus)):
            raise ConfigError(f"{self.name}: taus must be rising whole numbers >= 1, got {taus!r}")
        self._ridge(1)  # checks alpha and target

    @property
    def lookback(self) -> int:
        """Rows of a window: the largest order."""
        return self.taus[-1]

    def fit(self, train: Windows, valid: Windows, *, rng: Stream, context: Context) -> MarkovFit:
        """Return the fitted line of the order chosen for each output; no randomness is used."""
        longest = self._ridge(self.lookback)
        seen = moments(longest, train)
        if seen is None:
            raise DataError(no_samples(self.name))
        held = moments(longest, valid, seen.shift)
        width = len(seen.x) // self.lookback
        taus = self.taus if held is not None else self.taus[:1]
        tried = [
            self._ridge(t).line(latest(seen, t * width), None if held is None else latest(held, t * width))
            for t in taus
        ]
        losses = np.stack([line.loss for line in tried])  # (orders, O)
        best = losses.argmin(axis=0)
        tau = np.array(taus)[best]
        P = int(tau.max()) * width
        coef = np.zeros((len(best), P))
        for o, k in enumerate(best):  # rows before an output's own order weigh 0
            coef[o, P - tau[o] * width :] = tried[k].coef[:, o]
        alpha = np.array([tried[k].alpha[o] for o, k in enumerate(best)])
        intercept = seen.y - coef @ (seen.x + seen.shift)[-P:]
        by_tau = {str(t): loss.tolist() for t, loss in zip(taus, losses, strict=True)} if held is not None else None
        context.emit({
            "model": self.name, "tau": tau.tolist(), "alpha": alpha.tolist(), "valid_loss": by_tau, "samples": seen.n,
        })  # fmt: skip
        return MarkovFit(tau, LinearFit(self.name, int(tau.max()), coef, intercept, alpha))

    def _ridge(self, tau: int) -> Ridge:
        return Ridge(name=self.name, lookback=tau, alpha=self.alpha, target=self.target)


@dataclass(frozen=True, eq=False)
class MarkovFit:
    """Fitted: tau (O,) the order chosen for each output, and the line, which reads the last max(tau) rows."""

    tau: NDArray[np.int64]
    line: LinearFit

    def predict(self, windows: Windows) -> Floats:
        """Return (S, O) float64 in index order."""
        return self.line.predict(windows)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return {"coef": (O, max(tau) x F), "intercept": (O,), "alpha": (O,), "tau": (O,) int64}."""
        return {**self.line.tensors(), "tau": self.tau}


def latest(all_: Moments, inputs: int) -> Moments:
    """Return the moments of the last ``inputs`` inputs (rows are laid out oldest first)."""
    part = slice(len(all_.x) - inputs, None)
    return Moments(all_.n, all_.shift[part], all_.x[part], all_.y, all_.xx[part, part], all_.xy[part], all_.yy)
