"""Learning-rate schedules: the share of the base rate at one step, a function of epoch and step alone."""

from __future__ import annotations

import math

from hitherto.errors import ConfigError
from hitherto.train.settings import TrainSettings

NAMES = ("constant", "halving", "cosine", "plateau")


def share(settings: TrainSettings, epoch: int, step: int) -> float:
    """Return the factor on the learning rate at ``step`` (counted from 0 over the whole run) of ``epoch`` (from 0).

    "constant"; "halving": one half more after every ``halve_every`` epochs; "cosine": half a cosine over ``epochs``
    (Loshchilov & Hutter 2017, without restarts); "plateau": 1 here, for the loop halves the rate itself after
    ``halve_every`` epochs without a better validation loss. The first ``warmup`` steps rise linearly to it.
    """
    factor = 1.0
    if settings.schedule == "halving":
        factor = 0.5 ** (epoch // settings.halve_every)
    elif settings.schedule == "cosine":
        factor = 0.5 * (1 + math.cos(math.pi * epoch / settings.epochs))
    return factor * min(1.0, (step + 1) / settings.warmup) if settings.warmup else factor


def check(settings: TrainSettings) -> None:
    """Raise a ConfigError for an unknown schedule or a length out of range."""
    if settings.schedule not in NAMES:
        raise ConfigError(f"train: schedule {settings.schedule!r} is not known; use one of {', '.join(NAMES)}.")
    if settings.halve_every < 1 or settings.warmup < 0:
        raise ConfigError(
            f"train: halve_every must be at least 1 and warmup at least 0, got {settings.halve_every} and "
            f"{settings.warmup}."
        )
