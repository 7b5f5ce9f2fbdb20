"""One of the fits that train together: its job, where it stands, and the rules of train.loop between its steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hitherto.errors import ConfigError, DataError
from hitherto.seeds import Stream
from hitherto.train import losses, optimiser, schedule
from hitherto.train.loop import History, Target
from hitherto.train.ring import RECENT, exploded
from hitherto.train.settings import TrainSettings
from hitherto.windows import Batch, Windows

Emit = Callable[[dict[str, Any]], None]
MASKED = (1.0, 1.0, 0.0, 1.0, 0.0)  # size, decay, rate, correct, live: the numbers of a step that moves nothing


@dataclass(frozen=True, eq=False)
class Job:
    """One fit, as train.loop.fit takes it: ``net`` holds the first weights and, at the end, the best."""

    net: nn.Module
    train: Windows
    valid: Windows
    settings: TrainSettings
    rng: Stream
    target: Target


@dataclass
class Fit:
    """Where one fit stands. updates: of its weights; steps: the same and batches without a known label."""

    number: int
    job: Job
    max_epochs: int | None
    tell: Emit
    epochs: list[Mapping[str, Any]] = field(default_factory=list)
    recent: list[float] = field(default_factory=list)
    first: float = 0.0
    steps: int = 0
    updates: int = 0
    bad: int = 0
    best_epoch: int = -1
    best_loss: float | None = None
    exploded: str = ""
    stopped: str = ""
    history: History | None = None

    def __post_init__(self) -> None:
        settings = self.job.settings
        self.rate = settings.learning_rate
        self.limit = settings.epochs if self.max_epochs is None else min(settings.epochs, self.max_epochs)
        self.loss = losses.make(settings, self.job.train.outputs)

    @property
    def live(self) -> bool:
        """Whether it is still trained."""
        return not self.stopped and not self.exploded

    def emit(self, event: dict[str, Any]) -> None:
        """Report ``event`` under the number of this fit."""
        self.tell({**event, "fit": self.number})

    def labels(self, batch: Batch) -> Tensor:
        """Return the targets (B, O) of a batch; DataError when one is not finite."""
        if batch.y is None:
            raise ConfigError("train: these windows carry no label; give windows with labelled=True")
        y = torch.from_numpy(np.ascontiguousarray(self.job.target(batch.y, batch.blocks), np.float32))
        if torch.isinf(y).any() or (self.job.train.labelled and torch.isnan(y).any()):
            raise DataError(
                f"train: labels at rows {batch.t.min()}..{batch.t.max()} hold NaN or inf; check the prices there."
            )
        return y

    def numbers(self, size: int) -> list[float]:
        """Return (size, decay, rate, correct, live) of the next step, which is over ``size`` known labels.

        decay: factor on the weights; rate: on Adam's direction, its first correction within; correct: Adam's second.
        """
        s, settings = self.steps, self.job.settings
        self.steps += 1
        if not size:
            return list(MASKED)
        self.updates += 1
        rate = self.rate * schedule.share(settings, len(self.epochs), s)
        adam = settings.optimiser == "adam"
        scale = rate / (1 - optimiser.BETA1**self.updates) if adam else rate
        correct = math.sqrt(1 - optimiser.BETA2**self.updates) if adam else 1.0
        return [size, 1 - rate * settings.weight_decay, scale, correct, 1.0]

    def watch(self, mean: float, norm: float, step: int) -> None:
        """Look at the mean loss and gradient norm of one step for an explosion (the rule of the loop)."""
        if exploded(mean, self.first, self.recent) or not math.isfinite(norm):
            self.exploded = f"loss {mean:g}, gradient norm {norm:g} at epoch {len(self.epochs)}, step {step}"
        self.first = self.first or mean
        self.recent = [*self.recent[1 - RECENT :], mean]

    def finish_epoch(self, train_loss: float, valid_loss: float | None, seconds: float) -> bool:
        """Book an epoch and decide whether to stop; returns whether it is the best so far."""
        if valid_loss is not None and exploded(valid_loss, self.first, []):
            self.exploded = f"validation loss {valid_loss:g} at epoch {len(self.epochs)}"
            return False
        settings, epoch = self.job.settings, len(self.epochs)
        rate = self.rate * schedule.share(settings, epoch, self.steps - 1)
        row = {"epoch": epoch, "train_loss": train_loss, "valid_loss": valid_loss, "rate": rate}
        self.epochs.append(row)
        better = valid_loss is None or self.best_loss is None or valid_loss < self.best_loss
        if better:
            self.best_loss, self.best_epoch, self.bad = valid_loss, epoch, 0
        else:
            self.bad += 1
            if settings.schedule == "plateau" and self.bad % settings.halve_every == 0:
                self.rate /= 2
        self.emit({"event": "epoch", **row, "epochs": self.limit, "seconds": seconds, "best_epoch": self.best_epoch})
        if self.bad >= settings.patience:
            self.stopped = f"no better validation loss for {self.bad} epochs"
        elif epoch + 1 >= self.limit:
            self.stopped = f"all {self.limit} epochs done"
        return better

    def end(self, weights: Tensor) -> None:
        """Put the best weights (P,) into the net and write the history."""
        at = 0
        with torch.no_grad():
            for p in self.job.net.to(weights.device).parameters():
                p.copy_(weights[at : at + p.numel()].view_as(p))
                at += p.numel()
        self.job.net.eval()
        self.emit({"event": "stop", "reason": self.stopped, "best_epoch": self.best_epoch, "best_loss": self.best_loss})
        self.history = History(tuple(self.epochs), self.best_epoch, self.best_loss, 0, self.stopped)
