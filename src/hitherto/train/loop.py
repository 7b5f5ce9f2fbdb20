"""One plain PyTorch loop for every net that maps x (L, B, F) to (B, O); the best epoch by validation loss is kept.

A batch is cut into pieces (see train.pieces) and their gradients are summed in order, on any number of threads.
Every draw is a function of (epoch, batch, piece), so that a run resumed from the middle of an epoch ends in the same
bits as one that was never stopped.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hitherto.compute import Workers
from hitherto.errors import ConfigError, DataError, HithertoError
from hitherto.seeds import Stream
from hitherto.train import checkpoint
from hitherto.train.adam import AdamW, clip_by_norm
from hitherto.train.pieces import cut, forward, inputs, piece_rows
from hitherto.windows import Batch, Windows

Target = Callable[[NDArray[np.float32], NDArray[np.int64]], NDArray[Any]]
LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": lambda p, y: (p - y).square().sum(),
    "mae": lambda p, y: (p - y).abs().sum(),
}
ROLLBACKS = 3
EXPLODED = 1e4  # a loss this many times that of the first batch has diverged, though it is still a number


class _Settings(Protocol):
    """What the loop reads from a model's settings."""

    @property
    def epochs(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def clip(self) -> float: ...
    @property
    def patience(self) -> int: ...
    @property
    def loss(self) -> str: ...


class _Context(Protocol):
    """What the loop reads from a Context."""

    @property
    def folder(self) -> Path | None: ...
    @property
    def device(self) -> str: ...
    @property
    def threads(self) -> int: ...
    @property
    def emit(self) -> Callable[[dict[str, Any]], None]: ...
    @property
    def max_epochs(self) -> int | None: ...
    @property
    def resume(self) -> bool: ...


@dataclass(frozen=True)
class Every:
    """When to save inside an epoch: after ``seconds`` (longer when saving is slow: under 2 % of time), or ``steps``."""

    seconds: float = 10.0
    steps: int | None = None


@dataclass(frozen=True)
class History:
    """What happened: one row per finished epoch (epoch, train_loss, valid_loss or None, rate), and the one kept."""

    epochs: tuple[Mapping[str, Any], ...]
    best_epoch: int
    best_loss: float | None
    rollbacks: int
    stopped: str


@dataclass
class _State:
    """Where the run stands, plain JSON. epoch, step: how many are finished; total, count: this epoch's loss so far.

    first: loss of the first batch; bad: epochs since the best one.
    """

    rate: float
    epoch: int = 0
    step: int = 0
    total: float = 0.0
    count: int = 0
    first: float = 0.0
    best_epoch: int = -1
    best_loss: float | None = None
    bad: int = 0
    rollbacks: int = 0
    stopped: str = ""
    epochs: list[dict[str, Any]] = field(default_factory=list)


class _DivergedError(Exception):
    """A loss or gradient was not finite, or exploded."""


def fit(
    net: nn.Module, train: Windows, valid: Windows, settings: _Settings, *, rng: Stream, context: _Context,
    target: Target, every: Every | None = None,
) -> History:  # fmt: skip
    """Train ``net`` in place and leave the weights of the best epoch in it.

    net: called as ``net(x, generator)`` in training, x (L, B, F) float32 -> (B, O); the generator is for its own noise.
    target: turns labels (B, O) and date offsets (D + 1,) into what is forecast. The loss is a mean over samples and
    outputs; the last, smaller batch counts, in validation too. Without validation samples every epoch runs and the
    last is kept. Adam with decoupled weight decay (Loshchilov & Hutter 2019); gradients clipped by norm.
    A loss that is not finite, or 1e4 times that of the first batch, rolls back to the start of the epoch and halves the
    rate; three times, then ConfigError.
    DataError: no train samples, or inputs or labels that are not finite.
    """
    _check(settings, train, context)
    with torch.enable_grad(), Workers(context.threads if context.device == "cpu" else 1) as workers:
        job = _Job(net, train, valid, settings, rng, context, target, every or Every(), workers)
        job.start()
        while not job.state.stopped:
            try:
                began = time.perf_counter()
                job.run_epoch()
                job.finish_epoch(job.validate(), time.perf_counter() - began)
            except _DivergedError as error:
                job.roll_back(str(error))
        return job.end()


def _check(settings: _Settings, train: Windows, context: _Context) -> None:
    if len(train) == 0:
        raise DataError(
            f"train: no sample is left of {int(train.mask.sum())} asked for (lookback {train.lookback}, labels, "
            "missing values); lengthen the train stretch, shorten the lookback or allow more missing values."
        )
    if settings.loss not in LOSSES:
        raise ConfigError(f"train: loss {settings.loss!r} is not known; use one of {', '.join(LOSSES)}.")
    for name in ("epochs", "batch", "learning_rate", "clip", "patience"):
        value = getattr(settings, name)
        if not 0 < value <= 1e9:
            raise ConfigError(f"train: {name} must lie above 0 and at most at 1e9, got {value}.")
    if context.max_epochs is not None and context.max_epochs < 1:
        raise ConfigError(f"train: max_epochs must be at least 1, got {context.max_epochs}.")


class _Job:
    """The moving parts of one fit."""

    def __init__(
        self, net: nn.Module, train: Windows, valid: Windows, settings: _Settings, rng: Stream, context: _Context,
        target: Target, every: Every, workers: Workers,
    ) -> None:  # fmt: skip
        self.net, self.train, self.valid, self.settings = net.to(context.device), train, valid, settings
        self.rng, self.context, self.target, self.every, self.workers = rng, context, target, every, workers
        self.parameters = [p for p in net.parameters() if p.requires_grad]
        self.optimiser = AdamW(self.parameters, settings.weight_decay)
        self.loss = LOSSES[settings.loss]
        self.limit = settings.epochs if context.max_epochs is None else min(settings.epochs, context.max_epochs)
        self.rows = None if context.device != "cpu" else piece_rows(net, train.lookback)
        self.state = _State(rate=settings.learning_rate)
        self.begin: dict[str, Tensor] = {}  # weights and optimiser at the start of the epoch
        self.best: dict[str, Tensor] = {}
        self.serial = 0
        self.saved_at, self.told_at, self.cost = time.monotonic(), time.monotonic(), 0.0

    # -- one epoch ------------------------------------------------------------------------------------------------

    def run_epoch(self) -> None:
        """Take the steps of the epoch that are not taken yet."""
        state = self.state
        self.net.train()
        batches = self.train.batches(self.settings.batch, self.rng.numpy("shuffle", state.epoch))
        for i, batch in enumerate(batches):
            if i < state.step:  # taken before the checkpoint that we resumed from
                continue
            state.total += self._step(i, batch)
            state.count += len(batch.t)
            state.step = i + 1
            self._tell_step()
            self._save_within_epoch()

    def _step(self, i: int, batch: Batch) -> float:
        """One update; returns the summed loss of its samples, divided by the number of outputs."""
        x, y = self._tensors(batch)
        size = y.numel()
        pieces = cut(len(y), self.rows)

        def gradient(job: tuple[int, tuple[int, int]]) -> tuple[float, tuple[Tensor, ...]]:
            k, (a, b) = job
            noise = self.rng.torch("noise", self.state.epoch, i, k)
            with torch.enable_grad():
                loss = self.loss(self.net(x[:, a:b].contiguous(), noise), y[a:b])
                return loss.item(), torch.autograd.grad(loss / size, self.parameters)

        total, gradients = 0.0, []
        for loss, parts in self.workers.map(gradient, list(enumerate(pieces))):
            total += loss
            gradients = [a.add_(b) for a, b in zip(gradients, parts, strict=True)] if gradients else list(parts)
        norm = clip_by_norm(gradients, self.settings.clip)
        if self._diverged(total / size) or not math.isfinite(norm):
            raise _DivergedError(f"loss {total / size:g}, gradient norm {norm:g} at epoch {self.state.epoch}, step {i}")
        self.state.first = self.state.first or total / size
        self.optimiser.step(gradients, self.state.rate)
        return total / y.shape[1]

    def validate(self) -> float | None:
        """Return the mean loss over the validation samples, None when there are none."""
        total, count = 0.0, 0
        for batch in self.valid.batches(2048) if len(self.valid) else ():
            x, y = self._tensors(batch)
            total += float(self.loss(forward(self.net, x, self.rows, self.workers), y))
            count += y.numel()
        if count and self._diverged(total / count):
            raise _DivergedError(f"validation loss {total / count:g} at epoch {self.state.epoch}")
        return total / count if count else None

    def _diverged(self, loss: float) -> bool:
        first = self.state.first
        return not math.isfinite(loss) or 0 < first * EXPLODED < loss

    def _tensors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        x = inputs(batch, self.context.device)
        if batch.y is None:
            raise ConfigError("train: these windows carry no label; give windows with labelled=True")
        y = torch.from_numpy(np.ascontiguousarray(self.target(batch.y, batch.blocks), np.float32))
        if not torch.isfinite(y).all():
            raise DataError(
                f"train: labels at rows {batch.t.min()}..{batch.t.max()} hold NaN or inf; check the prices there."
            )
        return x, y.to(self.context.device)

    # -- between epochs -------------------------------------------------------------------------------------------

    def finish_epoch(self, valid_loss: float | None, seconds: float) -> None:
        """Book the epoch, choose the best, decide whether to stop, save."""
        s = self.state
        row = {"epoch": s.epoch, "train_loss": s.total / s.count, "valid_loss": valid_loss, "rate": s.rate}
        s.epochs.append(row)
        if valid_loss is None or s.best_loss is None or valid_loss < s.best_loss:
            s.best_loss, s.best_epoch, s.bad = valid_loss, s.epoch, 0
            self.best = _copy(self.net.state_dict())
        else:
            s.bad += 1
        self.context.emit(
            {"event": "epoch", **row, "epochs": self.limit, "seconds": seconds, "best_epoch": s.best_epoch}
        )
        s.epoch, s.step, s.total, s.count = s.epoch + 1, 0, 0.0, 0
        s.stopped = self._reason()
        self.begin = self._moving()
        self._save(within=False)

    def _reason(self) -> str:
        if self.state.bad >= self.settings.patience:
            return f"no better validation loss for {self.state.bad} epochs"
        return f"all {self.limit} epochs done" if self.state.epoch >= self.limit else ""

    def roll_back(self, cause: str) -> None:
        """Return to the start of the epoch with half the rate, or give up."""
        s = self.state
        if s.rollbacks == ROLLBACKS:
            raise ConfigError(
                f"train: diverged {ROLLBACKS + 1} times, last: {cause}, at learning rate {s.rate:g} (from "
                f"{self.settings.learning_rate:g}). Use a smaller learning_rate or clip, or inputs of order 1."
            )
        s.rollbacks, s.rate = s.rollbacks + 1, s.rate / 2
        s.step, s.total, s.count = 0, 0.0, 0
        self._place(self.begin)
        self.context.emit({"event": "rollback", "epoch": s.epoch, "cause": cause, "rate": s.rate})

    def end(self) -> History:
        """Put the best weights in place and return the history."""
        self.net.load_state_dict(self.best)
        self.net.eval()
        s = self.state
        self.context.emit({"event": "stop", "reason": s.stopped, "best_epoch": s.best_epoch, "best_loss": s.best_loss})
        return History(tuple(s.epochs), s.best_epoch, s.best_loss, s.rollbacks, s.stopped)

    def _tell_step(self) -> None:
        now = time.monotonic()
        if now - self.told_at >= 1.0:
            self.told_at, s = now, self.state
            done = s.count / len(self.train)
            self.context.emit(
                {"event": "step", "epoch": s.epoch, "epochs": self.limit, "done": done, "loss": s.total / s.count}
            )

    # -- checkpoints ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin afresh, or where the newest checkpoint that verifies stands."""
        folder = self.context.folder
        self.begin = self._moving()
        if folder is None:
            return
        self.identity = self._identify()
        found = None
        if self.context.resume:
            found = checkpoint.load(
                folder, lambda text: self.context.emit({"event": "checkpoint_refused", "cause": text})
            )
        if found is None:
            checkpoint.clear(folder)
            return
        if found.state["identity"] != self.identity:
            raise ConfigError(
                f"train: the checkpoint in {folder} belongs to other data, settings or seed; resume with those, or "
                "start in an empty folder."
            )
        tensors = {k: torch.from_numpy(np.array(v)) for k, v in found.tensors.items()}
        parts = {
            p: {k[len(p) :]: v for k, v in tensors.items() if k.startswith(p)} for p in ("now/", "begin/", "best/")
        }
        self._place(parts["now/"])
        self.begin = parts["begin/"] or _copy(parts["now/"])
        self.best = parts["best/"]
        self.serial = found.serial
        self.state = _State(**found.state["state"])
        self.state.stopped = self._reason()  # the limit on epochs may have been another one
        self.context.emit({"event": "resume", "epoch": self.state.epoch, "step": self.state.step})

    def _save_within_epoch(self) -> None:
        every, now = self.every, time.monotonic()
        if every.steps is not None:
            due = self.state.step % every.steps == 0
        else:
            due = now - self.saved_at >= max(every.seconds, 50 * self.cost)
        if due:
            self._save(within=True)

    def _save(self, *, within: bool) -> None:
        if self.context.folder is None:
            return
        began = time.monotonic()
        groups = {"now/": self._moving(), "best/": self.best, "begin/": self.begin if within else {}}
        tensors = {prefix + k: v.cpu().numpy() for prefix, group in groups.items() for k, v in group.items()}
        state = {"identity": self.identity, "state": dataclasses.asdict(self.state)}
        try:
            checkpoint.save(self.context.folder, checkpoint.Checkpoint(self.serial + 1, tensors, state))
            self.serial += 1
        except HithertoError as error:  # training goes on: only the chance to resume from here is lost
            self.context.emit({"event": "checkpoint_failed", "cause": str(error)})
        self.saved_at = time.monotonic()
        self.cost = self.saved_at - began

    def _moving(self) -> dict[str, Tensor]:
        """A copy of the weights and of Adam's moments and step counts."""
        net = {f"net/{k}": v for k, v in self.net.state_dict().items()}
        return _copy(net | {f"adam/{k}": v for k, v in self.optimiser.tensors().items()})

    def _place(self, tensors: Mapping[str, Tensor]) -> None:
        self.net.load_state_dict({k[4:]: v for k, v in tensors.items() if k.startswith("net/")})
        for k, v in self.optimiser.tensors().items():
            v.copy_(tensors[f"adam/{k}"])

    def _identify(self) -> str:
        """A digest of what decides the result: settings, seed, samples, labels, a batch of inputs; not the threads."""
        target = self.target if dataclasses.is_dataclass(self.target) else getattr(self.target, "__qualname__", "")
        h = hashlib.sha256(repr((self.settings, self.rng.seed, self.rng.path, target)).encode())
        h.update(repr([(k, tuple(v.shape)) for k, v in self.net.state_dict().items()]).encode())
        for windows in (self.train, self.valid):
            h.update(windows.index.tobytes())
            if len(windows):
                h.update(windows.targets().tobytes())
                for d in (0, len(windows.offsets) - 2):
                    h.update(windows.gather([d]).x.tobytes())
        return h.hexdigest()


def _copy(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in tensors.items()}
