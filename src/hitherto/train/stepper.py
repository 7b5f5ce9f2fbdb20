"""A copy of a net taken one batch at a time, by the loop's own loss, pieces, clip and optimiser: what diagnoses use.

No checkpoint, schedule, warm-up, roll-back or early stop: a diagnosis wants the bare step. The net given stays as it
was.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hitherto.compute import Workers
from hitherto.errors import ConfigError, DataError
from hitherto.seeds import Stream
from hitherto.train import losses, optimiser
from hitherto.train.pieces import Cutter, Piece, inputs
from hitherto.train.settings import TrainSettings
from hitherto.windows import Batch, Windows

Target = Callable[[NDArray[np.float32], NDArray[np.int64]], NDArray[Any]]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Part:
    """Tensors of some dates: x (L, B, F), targets y (B, O), offsets of the dates (D + 1,)."""

    x: Tensor
    y: Tensor
    blocks: NDArray[np.int64]

    @property
    def dates(self) -> int:
        """Number of dates."""
        return len(self.blocks) - 1

    def between(self, first: int, last: int) -> Part:
        """Return dates first..last, last left out."""
        a, b = int(self.blocks[first]), int(self.blocks[last])
        return Part(self.x[:, a:b], self.y[a:b], self.blocks[first : last + 1] - a)

    def one_each(self, rng: np.random.Generator, whole: bool) -> Part:
        """Return one known sample of every date; ``whole``: as whole dates whose other targets are unknown."""
        known = (~torch.isnan(self.y)).any(dim=1).cpu().numpy()
        spans = zip(self.blocks[:-1].tolist(), self.blocks[1:].tolist(), strict=True)
        rows = [a + np.flatnonzero(known[a:b]) for a, b in spans]
        chosen = [int(rng.choice(r)) for r in rows if len(r)]
        if whole:
            y = torch.full_like(self.y, torch.nan)
            y[chosen] = self.y[chosen]
            return Part(self.x, y, self.blocks)
        return Part(self.x[:, chosen], self.y[chosen], np.arange(len(chosen) + 1))


class Stepper:
    """A copy of ``net`` with the loss, target, clip and optimiser of ``settings``.

    windows: gives number of outputs and lookback. workers: an entered ``compute.Workers``; their number changes no bit.
    Errors: ConfigError for a loss or optimiser that is not known.
    """

    def __init__(
        self, net: nn.Module, windows: Windows, settings: TrainSettings, target: Target, workers: Workers,
        device: str = "cpu",
    ) -> None:  # fmt: skip
        self.net = copy.deepcopy(net).to(device)
        self.settings, self.target, self.workers, self.device = settings, target, workers, device
        self.parameters = [p for p in self.net.parameters() if p.requires_grad]
        self.loss = losses.make(settings, windows.outputs)
        self.optimiser = optimiser.make(settings.optimiser, self.parameters, settings.weight_decay)
        whole = settings.unit == "date" or self.loss.per == "date"
        self.cutter = Cutter(self.net, windows.lookback, device, by_date=whole, pad=settings.unit == "asset")

    def part(self, batch: Batch) -> Part:
        """Return the tensors of ``batch``; ConfigError without labels, DataError for inputs that are not finite."""
        if batch.y is None:
            raise ConfigError("diagnose: these windows carry no label; give windows with labelled=True.")
        y = torch.from_numpy(np.ascontiguousarray(self.target(batch.y, batch.blocks), np.float32))
        if torch.isinf(y).any():
            raise DataError(f"diagnose: labels at rows {batch.t.min()}..{batch.t.max()} hold inf; check the prices.")
        return Part(inputs(batch, self.device), y.to(self.device), batch.blocks)

    def gradient(self, part: Part, noise: Stream | None) -> tuple[float, int, list[Tensor]]:
        """Return summed loss, what it is a sum over, and the gradient of the sum; ``noise`` None: no dropout."""
        self.net.train()  # cuDNN's cells refuse a backward pass in eval mode

        def run(job: tuple[int, Piece]) -> tuple[float, tuple[Tensor | None, ...]]:
            k, piece = job
            with torch.enable_grad():
                out = self.cutter.run(self.net, part.x, piece, None if noise is None else noise.torch(k))
                # the loss in float64: its differences are what a sharpness is made of
                loss = self.loss(out.double(), part.y[piece.first : piece.last].double(), piece.blocks)
                return loss.item(), torch.autograd.grad(loss, self.parameters, allow_unused=True)

        total, summed = 0.0, [torch.zeros_like(p) for p in self.parameters]
        for loss, parts in self.workers.map(run, list(enumerate(self.cutter.cut(part.blocks)))):
            total += loss
            for a, g in zip(summed, parts, strict=True):
                if g is not None:
                    a.add_(g)
        return total, self.loss.count(part.y, part.blocks), summed

    def step(self, part: Part, rate: float, noise: Stream) -> float:
        """Take one step of the optimiser at ``rate``; return the mean loss before it (NaN for a part of no target)."""
        total, count, gradients = self.gradient(part, noise)
        if not count:
            return float("nan")
        self.move([g / count for g in gradients], rate)
        return total / count

    def move(self, gradients: Sequence[Tensor], rate: float) -> None:
        """Clip ``gradients`` and take one step at ``rate``."""
        optimiser.clip_by_norm(gradients, self.settings.clip)
        self.optimiser.step(gradients, rate)

    def mean_loss(self, parts: Sequence[Part]) -> float:
        """Return the mean loss over ``parts`` without dropout; changes nothing."""
        total, count = 0.0, 0
        self.net.eval()
        for part in parts:
            out = self.cutter.forward(self.net, part.x, part.blocks, self.workers)
            total += float(self.loss(out.double(), part.y.double(), part.blocks))
            count += self.loss.count(part.y, part.blocks)
        if not count:
            raise DataError("diagnose: these dates hold no known target; lengthen the train and valid stretches.")
        return total / count

    def weights(self) -> Floats:
        """Return the trainable weights as one float64 vector, in the order of the net's parameters."""
        return np.concatenate([p.detach().cpu().numpy().astype(np.float64).ravel() for p in self.parameters])

    @torch.no_grad()
    def place(self, weights: Floats) -> None:
        """Set the trainable weights (rounded to float32)."""
        first = 0
        for p in self.parameters:
            values = weights[first : first + p.numel()].reshape(p.shape)
            p.copy_(torch.from_numpy(np.ascontiguousarray(values, np.float32)))
            first += p.numel()

    def function(self, parts: Sequence[Part]) -> Callable[[Floats], tuple[float, Floats]]:
        """Return weights -> (mean loss over ``parts`` without dropout, its gradient); moves this stepper's copy."""

        def f(weights: Floats) -> tuple[float, Floats]:
            self.place(weights)
            total, count, slope = 0.0, 0, np.zeros(len(weights))
            for part in parts:
                loss, n, gradients = self.gradient(part, None)
                total, count = total + loss, count + n
                slope += np.concatenate([g.cpu().numpy().astype(np.float64).ravel() for g in gradients])
            if not count:
                raise DataError("diagnose: these dates hold no known target; lengthen the train stretch.")
            return total / count, slope / count

        return f


def order(windows: Windows, size: int, rng: np.random.Generator) -> list[list[int]]:
    """Return one epoch of date groups of at least ``size`` samples (the last may be smaller), as Windows.batches."""
    groups: list[list[int]] = [[]]
    count = 0
    sizes = np.diff(windows.offsets)
    for d in rng.permutation(len(sizes)):
        if count >= size:
            groups.append([])
            count = 0
        groups[-1].append(int(d))
        count += int(sizes[d])
    return groups


def spread(windows: Windows, size: int) -> Batch:
    """Return whole dates of about ``size`` samples, evenly spread over the windows' stretch: a fixed probe."""
    dates = len(windows.offsets) - 1
    count = int(np.clip(round(size * dates / max(len(windows), 1)), 1, dates))
    return windows.gather([int(d) for d in np.linspace(0, dates - 1, count)])
