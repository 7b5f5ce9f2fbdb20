"""Seed ensembles: the same settings fitted several times from different random numbers, and averaged."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import ConfigError
from hitherto.models.base import Context, Fitted, Forecaster, Unit
from hitherto.seeds import Stream
from hitherto.windows import Windows


@dataclass(frozen=True)
class Ensemble:
    """The mean of ``members`` fits of the model ``of``, each from random numbers of its own (Hansen & Salamon 1990).

    Member i equals ``of`` fitted alone with ``rng.child("member", i)``, bit for bit. Its forecasts are averaged as they
    are: all members share one target and hence one unit. Unit and lookback are those of ``of``; a limit of time or
    epochs there holds for each member. name: left empty it is "NAME-xMEMBERS". In a study file: kind = "ensemble",
    of = { kind = "lstm", hidden = 64 }, members = 5.
    NaN rule: a mean with a NaN in it is NaN. Errors: ConfigError for fewer than 2 members, or a model without chance.
    """

    of: Forecaster
    members: int = 5
    name: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", f"{getattr(self.of, 'name', 'model')}-x{self.members}")
        if not isinstance(self.of, Forecaster):
            raise ConfigError(f"{self.name}: of must be a model, such as {{ kind = 'lstm' }}, got {self.of!r}.")
        if self.members < 2:
            raise ConfigError(f"{self.name}: members must be a whole number >= 2, got {self.members}.")
        if not getattr(self.of, "stochastic", True):
            raise ConfigError(f"{self.name}: {self.of.name} draws no random number, so its members would be equal.")

    @property
    def unit(self) -> Unit:
        """What one prediction may look at: that of ``of``."""
        return self.of.unit

    @property
    def lookback(self) -> int:
        """Rows of a window: that of ``of``."""
        return self.of.lookback

    def fit(self, train: Windows, valid: Windows, *, rng: Stream, context: Context) -> FittedEnsemble:
        """Fit the members one after the other; each has a checkpoint folder of its own and names itself in events."""
        fits = []
        for i in range(self.members):
            mine = dataclasses.replace(
                context,
                folder=context.folder and context.folder / f"member{i}",
                emit=_named(context.emit, i, self.members),
            )
            fits.append(self.of.fit(train, valid, rng=rng.child("member", i), context=mine))
        return FittedEnsemble(self, tuple(fits))

    def load(self, tensors: Mapping[str, NDArray[Any]], context: Context | None = None) -> FittedEnsemble:
        """Return the fitted ensemble that gave ``tensors``; ConfigError when they are of another number of members."""
        found = sorted({k.split("/", 1)[0] for k in tensors if "/" in k})
        if found != sorted(f"member{i}" for i in range(self.members)):
            raise ConfigError(
                f"{self.name}: these weights are of other settings ({len(found)} members, not {self.members})."
            )
        parts = [
            {k.split("/", 1)[1]: v for k, v in tensors.items() if k.startswith(f"member{i}/")}
            for i in range(self.members)
        ]
        of = cast(Any, self.of)  # every net can load; the protocol does not ask it of every model
        return FittedEnsemble(self, tuple(of.load(p, context) for p in parts))


@dataclass(frozen=True, eq=False)
class FittedEnsemble:
    """A fitted ensemble: settings and the fitted members in order."""

    settings: Ensemble
    members: tuple[Fitted, ...]

    def predict(self, windows: Windows) -> NDArray[np.float64]:
        """Return (S, O) float64, the mean of the members' forecasts in the order of ``windows.index``."""
        return np.mean([m.predict(windows) for m in self.members], axis=0)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the members' numbers, named member0/... and so on."""
        return {f"member{i}/{k}": v for i, m in enumerate(self.members) for k, v in m.tensors().items()}


def _named(emit: Callable[[dict[str, Any]], None], i: int, members: int) -> Callable[[dict[str, Any]], None]:
    return lambda event: emit({**event, "member": i, "members": members})
