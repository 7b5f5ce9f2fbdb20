"""Ridge regression on the last rows of a window, from a streamed Gram matrix: memory P x P, whatever the samples.

Sums are taken in float64, in time order, around the means of the first batch, so that large means cost no digits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import ConfigError, DataError
from hitherto.models.base import Context, Unit
from hitherto.models.targets import Target, check_neighbours, check_target, date_standardise
from hitherto.seeds import Stream
from hitherto.train.search import Choice, Range
from hitherto.windows import Batch, Windows

Floats = NDArray[np.float64]
BATCH = 8192
# Penalties tried when alpha is None, as multiples of the mean diagonal of the centred Gram matrix.
RATIOS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2)
FALLBACK = 1e-2


@dataclass(frozen=True)
class Ridge:
    """Linear forecast min ||y - Xw - b||^2 + alpha ||w||^2, intercept free (Hoerl and Kennard 1970).

    lookback: rows used as inputs, the last one included (1 = the last row only); P = lookback x F.
    alpha: the penalty in the units of X'X, as in scikit-learn; None chooses for each output, by the squared error on
    the validation windows, among 8 multiples (1e-5 .. 1e2) of the mean diagonal of the centred X'X; without
    validation windows the multiple 1e-2 is taken. target: "raw", or standardised per date ("cs_zscore", "cs_rank").
    NaN rule: inputs are filled by the windows; a sample with any unknown output is left out.
    Errors: ConfigError for bad settings, DataError for no samples, inf inputs or a singular system at alpha = 0.
    """

    name: str = "ridge"
    unit: Unit = "asset"
    stochastic: ClassVar[bool] = False
    lookback: int = 1
    alpha: float | None = None
    target: Target = "raw"
    space: ClassVar[Mapping[str, Range | Choice]] = {
        "lookback": Range(1, 20, whole=True), "target": Choice(("raw", "cs_zscore", "cs_rank")),
    }  # fmt: skip

    def __post_init__(self) -> None:
        if self.lookback < 1:
            raise ConfigError(f"{self.name}: lookback must be >= 1, got {self.lookback}")
        if self.alpha is not None and not (math.isfinite(self.alpha) and self.alpha >= 0):
            raise ConfigError(f"{self.name}: alpha must be a finite number >= 0 or left out, got {self.alpha}")
        check_target(self.target, self.name)

    def fit(self, train: Windows, valid: Windows, *, rng: Stream, context: Context) -> LinearFit:
        """Return the fitted line; no randomness is used."""
        check_neighbours(self.target, train.offsets, self.name)
        seen = moments(self, train)
        if seen is None:
            raise DataError(no_samples(self.name))
        held = moments(self, valid, seen.shift) if self.alpha is None else None
        line = self.line(seen, held)
        coef = line.coef.T
        fitted = LinearFit(self.name, self.lookback, coef, seen.y - coef @ (seen.x + seen.shift), line.alpha)
        valid_loss = line.loss.tolist() if held is not None else None
        context.emit({"model": self.name, "alpha": fitted.alpha.tolist(), "valid_loss": valid_loss, "samples": seen.n})
        return fitted

    def line(self, seen: Moments, held: Moments | None) -> Line:
        """Return, for each output, the line through ``seen`` whose penalty has the smallest error on ``held``."""
        ratios = RATIOS if held is not None else (FALLBACK,)
        noise = 1e-18 * seen.n * float(np.mean((seen.x + seen.shift) ** 2))  # what rounding leaves of constant inputs
        scale = max(float(np.trace(seen.xx)) / len(seen.xx), noise) or 1.0
        alphas = np.array([self.alpha] if self.alpha is not None else [r * scale for r in ratios])
        coefs = np.stack([self._solve(seen, a) for a in alphas])  # (A, P, O)
        loss = np.stack([np.zeros(len(seen.y)) if held is None else held.loss(w, seen) for w in coefs])
        best = loss.argmin(axis=0)
        return Line(np.take_along_axis(coefs, best[None, None], axis=0)[0], alphas[best], loss.min(axis=0))

    def _solve(self, seen: Moments, alpha: float) -> Floats:
        from scipy.linalg import LinAlgError, cho_factor, cho_solve

        own = np.diag(seen.xx)
        try:
            factor = cho_factor(seen.xx + alpha * np.eye(len(own)))
            # A squared pivot is what the other inputs leave unexplained of one input: rounding noise is no information.
            singular = np.diag(factor[0]) ** 2 <= 1e-13 * own + 1e-24 * seen.n * (seen.x + seen.shift) ** 2
            if not singular.any():
                return cho_solve(factor, seen.xy)
        except LinAlgError:
            pass
        raise DataError(
            f"{self.name}: alpha = {alpha:g} leaves a singular system of {len(own)} inputs (some are constant "
            "or repeat others); use a larger alpha"
        )


@dataclass(frozen=True, eq=False)
class Line:
    """The best line of each output: coef (P, O), alpha (O,), and its loss (O,) on validation samples (0 without)."""

    coef: Floats
    alpha: Floats
    loss: Floats


@dataclass(frozen=True, eq=False)
class LinearFit:
    """Fitted: coef (O, P), intercept (O,), alpha (O,) float64; P runs over rows, oldest first, then features."""

    name: str
    lookback: int
    coef: Floats
    intercept: Floats
    alpha: Floats

    def predict(self, windows: Windows) -> Floats:
        """Return (S, O) float64 in index order."""
        out = [np.zeros((0, len(self.coef)))]
        for batch in windows.batches(BATCH):
            x = rows(self.name, batch, self.lookback)
            check_width(self.name, x, self.coef.shape[1])
            # One sum per row, not a matrix product: a sample's bits then do not depend on its batch neighbours.
            out.append(np.stack([(x * w).sum(axis=1) for w in self.coef], axis=1) + self.intercept)
        return np.concatenate(out)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return {"coef": (O, P), "intercept": (O,), "alpha": (O,)}."""
        return {"coef": self.coef, "intercept": self.intercept, "alpha": self.alpha}


@dataclass(frozen=True, eq=False)
class Moments:
    """Moments of n samples: means x (P,) less ``shift`` and y (O,); centred sums xx (P, P), xy (P, O), yy (O,)."""

    n: int
    shift: Floats
    x: Floats
    y: Floats
    xx: Floats
    xy: Floats
    yy: Floats

    def loss(self, w: Floats, fitted_on: Moments) -> Floats:
        """Return (O,) mean squared errors on these samples of the line w (P, O) fitted on others."""
        bias = (self.y - fitted_on.y) - (self.x - fitted_on.x) @ w
        spread = self.yy - 2 * (w * self.xy).sum(axis=0) + (w * (self.xx @ w)).sum(axis=0)
        return spread / self.n + bias**2


def moments(settings: Ridge, windows: Windows, shift: Floats | None = None) -> Moments | None:
    """Return the moments of all samples with known labels, None when there is none; DataError for inf inputs."""
    n, sums = 0, None
    for x, y in samples(settings, windows):
        if not np.isfinite(x).all():
            raise DataError(f"{settings.name}: the inputs hold inf or NaN; limit the transform or use a finite fill")
        shift = origin = x.mean(axis=0) if shift is None else shift
        x = x - origin
        part = (x.sum(axis=0), y.sum(axis=0), x.T @ x, x.T @ y, (y * y).sum(axis=0))
        sums = part if sums is None else tuple(a + b for a, b in zip(sums, part, strict=True))
        n += len(x)
    if sums is None or shift is None:
        return None
    sx, sy, xx, xy, yy = sums
    mx, my = sx / n, sy / n
    return Moments(n, shift, mx, my, xx - n * np.outer(mx, mx), xy - n * np.outer(mx, my), yy - n * my * my)


def samples(settings: Ridge, windows: Windows) -> Iterator[tuple[Floats, Floats]]:
    """Yield inputs (B, P) and targets (B, O) in time order, samples with an unknown output left out."""
    if windows.label is None:
        raise ConfigError(f"{settings.name}: these windows carry no label; fit on labelled ones")
    for batch in windows.batches(BATCH):
        y = date_standardise(windows.label.values[batch.t, batch.n], batch.blocks, settings.target)
        known = np.isfinite(y).all(axis=1)
        if known.any():
            yield rows(settings.name, batch, settings.lookback)[known], y[known]


def rows(who: str, batch: Batch, lookback: int) -> Floats:
    """Return (B, lookback x F) float64: the last ``lookback`` rows of each window, oldest first."""
    if batch.x.shape[0] < lookback:
        raise ConfigError(f"{who}: reads {lookback} rows, these windows hold {len(batch.x)}; lengthen theirs")
    if np.issubdtype(batch.x.dtype, np.integer):
        raise ConfigError(f"{who}: needs numeric features, these are token ids; encode them first")
    x = batch.x[-lookback:].transpose(1, 0, 2)
    return x.reshape(len(x), -1).astype(np.float64)


def no_samples(who: str) -> str:
    """Return the message for an empty training set."""
    return f"{who}: no training sample has all its labels known; lengthen train or relax max_missing"


def check_width(who: str, x: NDArray[np.floating], width: int) -> None:
    """Raise a ConfigError unless ``x`` (B, P) has the ``width`` that was fitted."""
    if x.shape[1] != width:
        raise ConfigError(f"{who}: fitted on {width} inputs, these windows give {x.shape[1]}; use the same features")
