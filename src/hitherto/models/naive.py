"""Forecasts that cost nothing and that every model must beat: zero, the last outcome again, the recent trend.

By default they repeat the outcome that was asked for: the newest label whose last price is known at t. That is in the
label's own units, for each horizon, whatever the features are or how they were normalised.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import ConfigError
from hitherto.models.base import Context, Unit
from hitherto.seeds import Stream
from hitherto.windows import Windows


@dataclass(frozen=True)
class Zero:
    """Forecast 0 for every output: the efficient market's answer, and the yardstick of out-of-sample R2."""

    name: str = "zero"
    unit: Unit = "asset"
    stochastic: ClassVar[bool] = False
    lookback: int = 1

    def fit(self, train: Windows, valid: Windows, *, rng: Stream, context: Context) -> NaiveFit:
        """Return the forecast of zeros; nothing is learnt."""
        return NaiveFit(self.name, 0, 1, None, train.outputs)


@dataclass(frozen=True)
class Persistence:
    """Forecast that the last realised return comes again.

    feature: None repeats, for each output, the newest outcome whose last price is known at t (entered at a later open
    or close like the label: a 1-bar next_close label repeats close(t) / close(t-1) - 1). The name of a feature repeats
    its value at row t, before any fitted transform, for every output alike. sign: +1 it repeats, -1 it reverts.
    NaN rule: an unknown return forecasts 0. Errors: ConfigError when the features hold no such name.
    """

    name: str = "persistence"
    unit: Unit = "asset"
    stochastic: ClassVar[bool] = False
    lookback: int = 1
    feature: str | None = None
    sign: int = 1

    def __post_init__(self) -> None:
        check(self.name, self.sign, self.lookback)

    def fit(self, train: Windows, valid: Windows, *, rng: Stream, context: Context) -> NaiveFit:
        """Return the forecast; nothing is learnt."""
        return NaiveFit(self.name, 1, self.sign, self.feature, train.outputs).check(train)


@dataclass(frozen=True)
class Momentum:
    """Forecast the mean of the last ``lookback`` realised returns: the trend goes on.

    feature and sign: as in Persistence; of a named feature the mean of its last ``lookback`` rows is taken (so
    feature = "return_20" with lookback = 1 is the classic 20-day momentum).
    NaN rule: unknown returns are left out of the mean; nothing known forecasts 0.
    Errors: ConfigError when the features hold no such name.
    """

    name: str = "momentum"
    unit: Unit = "asset"
    stochastic: ClassVar[bool] = False
    lookback: int = 20
    feature: str | None = None
    sign: int = 1

    def __post_init__(self) -> None:
        check(self.name, self.sign, self.lookback)

    def fit(self, train: Windows, valid: Windows, *, rng: Stream, context: Context) -> NaiveFit:
        """Return the forecast; nothing is learnt."""
        return NaiveFit(self.name, self.lookback, self.sign, self.feature, train.outputs).check(train)


@dataclass(frozen=True)
class NaiveFit:
    """Fitted: ``sign`` x the mean of the last ``rows`` known outcomes (or values of ``feature``); 0 when rows is 0."""

    name: str
    rows: int
    sign: int
    feature: str | None
    outputs: int

    def predict(self, windows: Windows) -> NDArray[np.float64]:
        """Return (S, O) float64 in index order; reads only what was known at row t, of the sample's own listing."""
        self.check(windows)
        total = np.zeros((len(windows), self.outputs))
        count = np.zeros((len(windows), self.outputs), np.int64)
        for values in self._past(windows):
            known = np.isfinite(values)
            total += np.where(known, values, 0.0)
            count += known
        return self.sign * (total / np.maximum(count, 1))

    def _past(self, windows: Windows) -> Iterator[NDArray[np.float64]]:
        """Yield (S, O) or (S, 1) float64 outcomes, one step back after another, NaN where unknown at row t."""
        t, n = windows.index[:, 0], windows.index[:, 1]
        for back in range(self.rows):  # one row at a time: windows are never laid out
            if self.feature is None:
                yield outcome_known(windows, t, n, back)
            else:
                column = windows.features.names.index(self.feature)
                values = windows.features.values[np.maximum(t - back, 0), n, column]
                yield np.where(t >= back, values.astype(np.float64), np.nan)[:, None]

    def check(self, windows: Windows) -> NaiveFit:
        """Return itself; ConfigError when the windows do not hold what is repeated."""
        if not self.rows:
            return self
        if self.feature is None:
            if windows.label is None:
                raise ConfigError(
                    f"{self.name}: repeats the label's past outcomes, these windows carry no label; name a feature"
                )
            return self
        names = windows.features.names
        if windows.features.is_token:
            raise ConfigError(
                f"{self.name}: reads '{self.feature}', these features are token ids; give it numeric ones"
            )
        if self.feature not in names:
            known = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
            raise ConfigError(
                f"{self.name}: no feature is called '{self.feature}'; known: {known}. Name one of them, or none"
            )
        return self

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return {"sign": (1,) int64, "rows": (1,) int64}."""
        return {"sign": np.array([self.sign]), "rows": np.array([self.rows])}


def outcome_known(windows: Windows, t: NDArray[np.int32], n: NDArray[np.int32], back: int) -> NDArray[np.float64]:
    """Return (S, O) float64: the outcomes of ``back`` rows before the newest one that can be known at row t.

    NaN where there is none, or where a suspension moved its last price beyond t: nothing after t is ever returned.
    """
    label = windows.label
    if label is None:
        raise ConfigError("outcome_known: these windows carry no label")
    out = np.full((len(t), label.values.shape[2]), np.nan)
    for o, h in enumerate(label.horizons):
        row = t - (h if label.entry == "next_open" else h + 1) - back
        at = np.maximum(row, 0)
        known = (row >= 0) & (label.end[at, n, o] <= t)
        out[:, o] = np.where(known, label.values[at, n, o], np.nan)
    return out


def check(who: str, sign: int, lookback: int) -> None:
    """Raise a ConfigError unless ``sign`` is 1 or -1 and ``lookback`` at least 1."""
    if sign not in (1, -1):
        raise ConfigError(f"{who}: sign must be 1 (goes on) or -1 (reverts), got {sign}")
    if lookback < 1:
        raise ConfigError(f"{who}: lookback must be >= 1, got {lookback}")
