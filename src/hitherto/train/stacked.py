"""K fits of one architecture trained together on one device: weights stacked [K, ...], one step for all of them.

Every fit keeps its own samples, shuffles, noise, learning rate, clip, patience and best epoch, all drawn from its own
stream as train.loop draws them: the numbers are those of one fit after another up to the order of float32 sums. On CUDA
the step is one CUDA graph per batch shape; elsewhere the same code runs plainly.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hitherto.compute import Precision, Workers, choose_threads
from hitherto.errors import ConfigError
from hitherto.train import loop, losses, optimiser
from hitherto.train.loop import History
from hitherto.train.pieces import Cutter, inputs
from hitherto.train.prefetch import prefetch
from hitherto.train.stacked_fit import MASKED, Emit, Fit, Job
from hitherto.train.stacked_graph import Replayed
from hitherto.train.stacked_nets import Draw, draws, summed, twin, why_not
from hitherto.windows import Batch, Windows


def can_stack(jobs: Sequence[Job]) -> str:
    """Return '' when ``fit_stacked`` can take these jobs, else the reason why not; changes nothing.

    May differ: samples, seeds, epochs, batch, learning_rate, weight_decay, clip, patience, schedule, target, and the
    dropout of recurrent stacks. Must be alike: shapes, loss, optimiser, lookback, inputs and outputs. Nets: stacks of
    LSTM, GRU or RNN cells with a linear head, and what torch.func.vmap takes; each is tried on made windows.
    """
    if not jobs:
        return "there is no job"
    first = jobs[0]
    for job in jobs:
        s, w = job.settings, job.train
        if s.unit == "date":
            return "a net of unit 'date' is given one date at a time"
        if losses.make(s, w.outputs).per == "date":
            return f"loss {s.loss!r} couples the names of a date"
        if losses.make(s, w.outputs) != losses.make(first.settings, first.train.outputs):
            return "the losses or the numbers of outputs differ"
        if s.optimiser != first.settings.optimiser:
            return "the optimisers differ"
        if s.cpu_seconds > 0:
            return "cpu_seconds is a budget of one fit alone"
        if (w.lookback, w.width) != (first.train.lookback, first.train.width):
            return "the windows differ in lookback or inputs"
        if w.features.is_token:
            return "the inputs are tokens"
    return why_not([job.net for job in jobs], first.train.lookback, first.train.width)


def fit_stacked(
    jobs: Sequence[Job], *, device: str = "cpu", emit: Emit = lambda event: None, max_epochs: int | None = None
) -> list[History]:
    """Train all ``jobs`` together; each net ends with its best weights, on ``device``. Return the histories.

    Rules, losses and stopping are those of train.loop.fit; agreement with one by one is to rounding (1e-5 on float32
    weights after some epochs), for products over K sum in another order. The same jobs give the same bits again. A fit
    without a batch left in its epoch, or stopped, is masked: no bit of it moves. Explosions are looked for at the end
    of each epoch; a fit that exploded leaves the stack and is trained anew by train.loop.fit, with its roll-backs.
    Nothing is saved on the way; the precision is float32. emit: the loop's events, with "fit", the number of the job.
    max_epochs: as in Context.
    ConfigError for jobs that ``can_stack`` refuses; else the errors of train.loop.fit.
    """
    reason = can_stack(jobs)
    if reason:
        raise ConfigError(f"train: these fits cannot be stacked: {reason}; fit them one by one.")
    fits = [Fit(k, job, max_epochs, emit) for k, job in enumerate(jobs)]
    for f in fits:
        loop.check(f.job.settings, f.job.train, _Alone(device, f.emit, max_epochs))
    count = 1 if device == "cpu" else choose_threads("auto")
    with torch.enable_grad(), Workers(count) as workers, Precision("float32", device):
        stack = _Stack(fits, device, workers)
        while stack.fits:
            stack.run_epoch()
            stack.drop()
    for f in fits:
        if f.exploded:
            f.emit({"event": "alone", "cause": f.exploded})
            f.history = loop.fit(
                f.job.net, f.job.train, f.job.valid, f.job.settings, rng=f.job.rng,
                context=_Alone(device, f.emit, max_epochs), target=f.job.target,
            )  # fmt: skip
    return [f.history for f in fits if f.history is not None]


def predict_stacked(
    nets: Sequence[nn.Module], windows: Sequence[Windows], *, device: str = "cpu"
) -> list[NDArray[np.float64]]:
    """Return (S_k, C) float64 outputs of every net for its own windows, in the order of their index, to rounding.

    ConfigError for nets or windows that cannot be stacked.
    """
    shapes = {(w.lookback, w.width) for w in windows}
    reason = "the windows differ in lookback or inputs" if len(shapes) > 1 else why_not(nets, *next(iter(shapes)))
    if reason:
        raise ConfigError(f"predict: these nets cannot be stacked: {reason}; predict one by one.")
    weights = [torch.stack(p).detach().to(device) for p in zip(*(net.parameters() for net in nets), strict=True)]
    made, out = twin(nets, device), [[] for _ in nets]
    for batches in itertools.zip_longest(*(w.batches(1024) for w in windows)):
        rows = max(len(b.t) for b in batches if b is not None)
        x = torch.zeros(len(nets), windows[0].lookback, rows, windows[0].width)
        for k, b in enumerate(batches):
            if b is not None:
                x[k, :, : len(b.t)] = inputs(b, "cpu")
        with torch.no_grad(), Precision("float32", device):
            y = made(weights, x.to(device), None).cpu().numpy().astype(np.float64)
        for k, b in enumerate(batches):
            if b is not None:
                out[k].append(y[k, : len(b.t)])
    return [np.concatenate(parts) if parts else np.zeros((0, 0)) for parts in out]


@dataclass(frozen=True)
class _Alone:
    """The context of a fit that goes on alone."""

    device: str
    emit: Emit
    max_epochs: int | None
    folder: None = None
    threads: int = 1
    resume: bool = False
    precision: str = "float32"


@dataclass(eq=False)
class _Feed:
    """One step's inputs on the host: x (K, L, B, F), y (K, B, O) NaN where padded, numbers (K, 5), noise."""

    x: Tensor
    y: Tensor
    numbers: Tensor
    noise: list[Tensor]

    @property
    def tensors(self) -> list[Tensor]:
        """What is moved to the device."""
        return [self.x, self.y, self.numbers, *self.noise]


class _Stack:
    """The fits that train together; their weights and moments lie in (K, P) tensors, one row a fit."""

    def __init__(self, fits: list[Fit], device: str, workers: Workers) -> None:
        self.fits, self.device, self.workers = fits, device, workers
        net, train = fits[0].job.net, fits[0].job.train
        self.shapes = [p.shape for p in net.parameters()]
        plans = [draws(f.job.net, train.lookback, train.width) or [] for f in fits]
        self.plan: list[Draw] = max(plans, key=len)
        self.noisy = {f.number for f, plan in zip(fits, plans, strict=True) if plan}
        self.cutter = Cutter(net, train.lookback, device, by_date=False, pad=True)
        flat = [torch.cat([p.detach().reshape(-1) for p in f.job.net.parameters()]) for f in fits]
        self.state = {"weights": torch.stack(flat).to(device)}
        for name in ("mean", "square", "best"):
            self.state[name] = torch.zeros_like(self.state["weights"])
        self._prepare()

    def _prepare(self) -> None:
        """Make what depends on which fits there are: the twin, and the two functions of a step."""
        jobs = [f.job for f in self.fits]
        self.twin = twin([job.net for job in jobs], self.device)
        self.clip = torch.tensor([job.settings.clip for job in jobs], dtype=torch.float64, device=self.device)
        self.rows = [
            max(most_rows(w, job.settings.batch) for job, w in zip(jobs, part, strict=True))
            for part in ([job.train for job in jobs], [job.valid for job in jobs])
        ]
        self.step = Replayed(self._step, self._blank(self.rows[0], training=True).tensors, self.device)
        self.judge = Replayed(self._judge, self._blank(self.rows[1], training=False).tensors, self.device)

    def drop(self) -> None:
        """End the fits that stopped; shrink the stack once half of it is done, for a new stack is a new graph."""
        for k, f in enumerate(self.fits):
            if f.stopped and f.history is None:
                f.end(self.state["best"][k])
        kept = [k for k, f in enumerate(self.fits) if f.live]
        if 2 * len(kept) > len(self.fits):
            return
        self.fits = [self.fits[k] for k in kept]
        self.state = {name: t[kept].clone() for name, t in self.state.items()}
        if kept:
            self._prepare()

    # -- one epoch ------------------------------------------------------------------------------------------------

    def run_epoch(self) -> None:
        """Take the steps of one epoch of every live fit, validate, keep the best."""
        began = time.perf_counter()
        orders = [f.job.train.batches(f.job.settings.batch, f.job.rng.numpy("shuffle", len(f.epochs)))
                  if f.live else iter(()) for f in self.fits]  # fmt: skip
        train = self._sums(self.step, self._feeds(orders, self.rows[0], training=True))
        for k, f in enumerate(self.fits):
            for i, (loss, norm, size) in enumerate(train[:, k]):
                if size and f.live:
                    f.watch(loss / size, norm, i)
        orders = [f.job.valid.batches(f.job.settings.batch) if f.live and len(f.job.valid) else iter(())
                  for f in self.fits]  # fmt: skip
        valid = self._sums(self.judge, self._feeds(orders, self.rows[1], training=False))
        seconds = time.perf_counter() - began
        better = [k for k, f in enumerate(self.fits) if f.live and f.finish_epoch(
            train[:, k, 0].sum() / max(train[:, k, 2].sum(), 1),
            float(valid[:, k, 0].sum() / valid[:, k, 2].sum()) if valid[:, k, 2].sum() else None, seconds,
        )]  # fmt: skip
        self.state["best"][better] = self.state["weights"][better]

    def _sums(self, function: Replayed, feeds: Iterator[_Feed]) -> NDArray[np.float64]:
        """Run ``function`` on every feed; return (steps, K, 3): summed loss, gradient norm, number of labels."""
        results, sizes = [], []
        for feed in feeds if self.device == "cpu" else prefetch(feeds):
            results.append(function(feed.tensors).clone())  # read at the end: the device need not wait for the host
            sizes.append(feed.numbers[:, 0] * feed.numbers[:, 4])
        if not results:
            return np.zeros((0, len(self.fits), 3))
        both = [torch.stack(results).cpu().double(), torch.stack(sizes).double()[..., None]]
        return torch.cat(both, dim=2).numpy()

    def _feeds(self, orders: list[Iterator[Batch]], rows: int, *, training: bool) -> Iterator[_Feed]:
        """Yield the steps' inputs until no fit has a batch left."""
        for i in itertools.count():
            feed = self._blank(rows, training=training)

            def fill(k: int, feed: _Feed = feed, i: int = i) -> bool:
                batch = next(orders[k], None)
                if batch is not None:
                    self._fill(feed, k, i, batch, training=training)
                return batch is not None

            if not any(list(self.workers.map(fill, range(len(self.fits))))):
                return
            yield feed

    def _blank(self, rows: int, *, training: bool) -> _Feed:
        """Inputs of a step in which every fit is masked."""
        train, count = self.fits[0].job.train, len(self.fits)
        pinned = self.device.startswith("cuda")
        numbers = torch.tensor([MASKED] * count)
        return _Feed(
            torch.zeros(count, train.lookback, rows, train.width, pin_memory=pinned),
            torch.full((count, rows, train.outputs), torch.nan, pin_memory=pinned),
            numbers.pin_memory() if pinned else numbers,
            [torch.zeros(count, *d.shape(rows), pin_memory=pinned) for d in self.plan] if training else [],
        )

    def _fill(self, feed: _Feed, k: int, i: int, batch: Batch, *, training: bool) -> None:
        """Lay batch ``i`` of the epoch of fit ``k`` into its row."""
        f, rows = self.fits[k], len(batch.t)
        y = f.labels(batch)
        feed.x[k, :, :rows] = inputs(batch, "cpu")
        feed.y[k, :rows] = y
        size = f.loss.count(y, batch.blocks)
        feed.numbers[k] = torch.tensor(f.numbers(size) if training else [size, 1.0, 0.0, 1.0, float(size > 0)])
        if not training or f.number not in self.noisy:
            return
        for j, piece in enumerate(self.cutter.cut(batch.blocks)):  # the pieces of the loop: each has its own stream
            generator = f.job.rng.torch("noise", len(f.epochs), i, j)
            for noise, draw in zip(feed.noise, self.plan, strict=True):
                part = torch.rand(draw.shape(piece.last - piece.first), generator=generator)
                noise[k].narrow(len(draw.before), piece.first, piece.last - piece.first).copy_(part)

    # -- on the device --------------------------------------------------------------------------------------------

    def _step(self, x: Tensor, y: Tensor, numbers: Tensor, *noise: Tensor) -> Tensor:
        """One update of all live fits; returns (K, 2): summed loss and gradient norm."""
        size, decay, rate, correct, live = numbers.T
        weights = [w.detach().requires_grad_() for w in self._views()]
        with torch.enable_grad():
            loss = summed(self.fits[0].loss, self.twin(weights, x, list(noise)), y)
            parts = torch.autograd.grad((loss / size).sum(), weights, allow_unused=True)
        parts = [torch.zeros_like(w) if g is None else g for g, w in zip(parts, weights, strict=True)]
        with torch.no_grad():
            g = torch.cat([p.flatten(1) for p in parts], dim=1)
            norm = g.double().square().sum(1).sqrt()
            g *= torch.where(norm > self.clip, self.clip / norm, 1.0).to(g)[:, None]
            self._move(g, live[:, None] > 0, decay[:, None], rate[:, None], correct[:, None])
            return torch.stack([loss.detach().double(), norm], dim=1)

    def _move(self, g: Tensor, live: Tensor, decay: Tensor, rate: Tensor, correct: Tensor) -> None:
        """Adam or SGD of train.optimiser on the rows that are ``live`` (K, 1); no bit of another moves."""
        w, m, v = self.state["weights"], self.state["mean"], self.state["square"]
        if self.fits[0].job.settings.optimiser == "adam":
            mean = torch.lerp(m, g, 1 - optimiser.BETA1)
            square = (v * optimiser.BETA2).addcmul_(g, g, value=1 - optimiser.BETA2)
            by = mean / (square.sqrt() / correct).add_(optimiser.EPSILON)
            v.copy_(torch.where(live, square, v))
        else:
            mean = by = m * optimiser.MOMENTUM + g
        m.copy_(torch.where(live, mean, m))
        w.copy_(torch.where(live, torch.addcmul(w * decay, by, rate, value=-1), w))

    def _judge(self, x: Tensor, y: Tensor, numbers: Tensor) -> Tensor:
        """Return (K, 2): the summed loss without noise, and zeros."""
        with torch.no_grad():
            loss = summed(self.fits[0].loss, self.twin(self._views(), x, None), y).double()
            return torch.stack([loss, torch.zeros_like(loss)], dim=1)

    def _views(self) -> list[Tensor]:
        """The weights by parameter, (K, *shape), in the memory of the rows."""
        parts = self.state["weights"].split([s.numel() for s in self.shapes], dim=1)
        return [part.unflatten(1, s) for part, s in zip(parts, self.shapes, strict=True)]


def most_rows(windows: Windows, size: int) -> int:
    """Return the most samples that a batch of ``windows.batches(size)`` can have, whatever the order of dates."""
    dates = np.diff(windows.offsets)
    if not len(dates):
        return 1
    unit = int(np.gcd.reduce(dates))  # dates of equal size: exact
    return min((size - 1 + int(dates.max())) // unit * unit, len(windows))
