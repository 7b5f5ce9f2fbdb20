"""Forecast and the protocols that models meet. Small on purpose: a class that has these methods is a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hitherto.seeds import Stream
from hitherto.windows import Windows

Unit = Literal["asset", "date"]


@dataclass(frozen=True, eq=False)
class Forecast:
    """Out-of-sample predictions of one model and one seed.

    values: (T, N, O) float64, NaN where nothing was predicted. fold: (T,) int32 fold of origin, -1 outside.
    names: O output names, those of the label.
    """

    model: str
    values: NDArray[np.float64]
    fold: NDArray[np.int32]
    names: tuple[str, ...]
    seed: int = 0


@dataclass(frozen=True)
class Context:
    """What a fit may use beside data: a folder for checkpoints, device and threads, a place to report, a limit.

    precision: "float32", or what compute.choose_precision has probed. emit: called with event dicts (epoch, loss, ...).
    max_epochs: overrides the model's own when smaller (the audit's reduced studies use it). resume: continue from the
    checkpoint in ``folder`` when there is one.
    """

    folder: Path | None = None
    device: str = "cpu"
    threads: int = 1
    precision: str = "float32"
    emit: Callable[[dict[str, Any]], None] = field(default=lambda event: None)
    max_epochs: int | None = None
    resume: bool = False


class Fitted(Protocol):
    """A fitted forecaster: numbers in, numbers out, no state changed by predicting."""

    def predict(self, windows: Windows) -> NDArray[np.float64]:
        """Return (S, O) float64 in the order of ``windows.index``."""
        ...

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the fitted numbers by name, for safetensors."""
        ...


@runtime_checkable
class Forecaster(Protocol):
    """Learns from train windows, may stop by validation windows.

    A class attribute ``stochastic = False`` says that the fit draws no random number: a study then fits it once,
    whatever the number of seeds.
    """

    @property
    def name(self) -> str:
        """Name in tables, unique in a study."""
        ...

    @property
    def unit(self) -> Unit:
        """What one prediction may look at."""
        ...

    @property
    def lookback(self) -> int:
        """Rows of a window, row t included."""
        ...

    def fit(self, train: Windows, valid: Windows, *, rng: Stream, context: Context) -> Fitted:
        """Fit on ``train``; ``valid`` serves early stopping only."""
        ...


class FittedEncoder(Protocol):
    """A fitted encoder."""

    def encode(self, windows: Windows) -> NDArray[np.float32]:
        """Return (S, C) float32 codes in the order of ``windows.index``."""
        ...


@runtime_checkable
class Encoder(Protocol):
    """Learns without labels from float or token windows: autoencoder, vocabulary, text."""

    @property
    def name(self) -> str:
        """Name in tables, unique in a study."""
        ...

    @property
    def unit(self) -> Unit:
        """What one prediction may look at."""
        ...

    @property
    def lookback(self) -> int:
        """Rows of a window, row t included."""
        ...

    def fit(self, train: Windows, *, rng: Stream, context: Context) -> FittedEncoder:
        """Fit on the train windows of one fold."""
        ...


def to_forecast(
    name: str, parts: list[tuple[int, Windows, NDArray[np.float64]]], shape: tuple[int, int], names: tuple[str, ...],
    seed: int = 0,
) -> Forecast:  # fmt: skip
    """Lay (fold, windows, predictions) parts out as one Forecast of ``shape`` (T, N)."""
    values = np.full((*shape, len(names)), np.nan)
    fold = np.full(shape[0], -1, np.int32)
    for k, windows, predicted in parts:
        t, n = windows.index[:, 0], windows.index[:, 1]
        values[t, n] = predicted
        fold[t] = k
    return Forecast(name, values, fold, names, seed)
