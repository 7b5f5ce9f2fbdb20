"""How fast nets train here, and where the time of a step goes: the real loop on made windows, and its parts alone.

A step of the loop is compared with four things measured by themselves, on the same batches and threads: its matrix
products (the same shapes, operands at hand), its forward and backward passes, the making of its batch, and its update.
"""

from __future__ import annotations

import copy
import dataclasses
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from hitherto.compute import Workers
from hitherto.features.base import Features
from hitherto.labels import Label
from hitherto.seeds import Stream
from hitherto.train import loop
from hitherto.train.settings import TrainSettings
from hitherto.train.stepper import Part, Stepper
from hitherto.windows import Windows

Clock = Callable[[], float]
WIDTH, NAMES, BATCH = 20, 256, 512  # inputs, names of a date and samples of a step of the ladder
PEAK_SIZES = {"cpu": (512, 1024, 2048), "cuda": (2048, 4096, 8192), "mps": (1024, 2048, 4096)}
EPOCH_FLOPS = 1e10  # an epoch of the ladder holds about so much work, between 2 and 32 steps
ROUNDS = 3  # at least; the median counts


@dataclass(frozen=True)
class Size:
    """One rung of the ladder: ``layers`` cells of ``hidden`` on ``lookback`` bars."""

    hidden: int
    lookback: int
    layers: int

    @property
    def name(self) -> str:
        """The rung in tables, and what rungs of two machines are matched by."""
        return f"{self.layers} x {self.hidden}, {self.lookback} bars"


LADDER = tuple(Size(h, b, n) for n in (1, 2) for b in (20, 60) for h in (16, 32, 64, 128))
SHORT = tuple(Size(h, 20, 1) for h in (16, 32, 64, 128))


@dataclass(frozen=True)
class Subject:
    """What is measured: a net with its settings and target, on windows (the net given stays as it was)."""

    name: str
    net: nn.Module
    settings: TrainSettings
    target: loop.Target
    windows: Windows


Build = Callable[[Size, Windows], Subject]


@dataclass(frozen=True)
class Pace:
    """The pace of one net: median seconds of one step of the real loop, and of its parts measured alone.

    samples: of a step. flops: floating-point operations of the matrix products of forward and backward, per sample.
    gemm: those products in the same shapes, operands at hand (a lower bound of what they take within the net).
    compute: forward and backward of the same pieces. data: making the batch. update: clipping and optimiser.
    forward: forward alone, as in validation. All on the same number of threads.
    """

    name: str
    lookback: int
    samples: int
    flops: float
    step: float
    gemm: float
    compute: float
    data: float
    update: float
    forward: float

    @property
    def rate(self) -> float:
        """Samples per second of the real loop."""
        return self.samples / self.step

    @property
    def gflops(self) -> float:
        """Matrix work of the real loop, in 1e9 operations per second."""
        return self.flops * self.rate / 1e9

    @property
    def shares(self) -> dict[str, float]:
        """Shares of a step, which add up to 1.

        gemm; time loop: the rest of forward and backward; waiting: for data, as far as it is not hidden behind the
        computing; update; rest: what the step takes beyond all of these (noise of the measurement may make it
        negative).
        """
        beyond = self.step - self.compute - self.update
        waiting = min(self.data, max(beyond, 0.0))
        parts = {
            "gemm": self.gemm, "time loop": self.compute - self.gemm, "waiting": waiting, "update": self.update,
            "rest": beyond - waiting,
        }  # fmt: skip
        return {name: seconds / self.step for name, seconds in parts.items()}


# -- matrix products ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Product:
    """A batch of ``n`` matrix products, (rows, inner) by (inner, columns)."""

    n: int
    rows: int
    inner: int
    columns: int

    @property
    def flops(self) -> int:
        """A multiplication and an addition count as two."""
        return 2 * self.n * self.rows * self.inner * self.columns


def products(call: Callable[[], object]) -> Counter[Product]:
    """Return the matrix products that ``call`` runs in this thread, backward passes included, by shape.

    Counted: mm, addmm, bmm, baddbmm, convolutions (as products of their patches), attention, and the fused LSTM layers
    of oneDNN and cuDNN (their input and recurrent products). Other operations count as none.
    """
    with _Watch() as watch:
        call()
    return watch.seen


class _Watch(TorchDispatchMode):
    """Notes the matrix products among the operations that pass."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[Product] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        rule = _RULES.get(str(func).split(".")[1])
        if rule is not None:
            self.seen.update(rule(args, out))
        return out


def _plain(args: Any, out: Any) -> Counter[Product]:
    a, b = args[-2:]
    n = a.shape[0] if a.dim() == 3 else 1
    return Counter([Product(n, a.shape[-2], a.shape[-1], b.shape[-1])])


def _added(args: Any, out: Any) -> Counter[Product]:
    return _plain(args[:3], out)


def _layer(steps: int, rows: int, inputs: int, gates: int, hidden: int, backward: bool) -> Counter[Product]:
    """One recurrent layer: the products of its inputs at once, of its states step by step."""
    long = steps * rows
    if not backward:
        return Counter({Product(1, long, inputs, gates): 1, Product(1, rows, hidden, gates): steps})
    out = Counter({Product(1, rows, gates, hidden): steps})
    out.update([Product(1, long, gates, inputs), Product(1, gates, long, inputs), Product(1, gates, long, hidden)])
    return out


def _onednn(backward: bool) -> Callable[[Any, Any], Counter[Product]]:
    def rule(args: Any, out: Any) -> Counter[Product]:
        x, inward, recurrent = args[:3]
        return _layer(x.shape[0], x.shape[1], x.shape[2], len(inward), recurrent.shape[1], backward)

    return rule


def _cudnn(backward: bool) -> Callable[[Any, Any], Counter[Product]]:
    def rule(args: Any, out: Any) -> Counter[Product]:
        x, seen = args[0], Counter()
        matrices = [w for w in args[1] if w.dim() == 2]
        for inward, recurrent in zip(matrices[::2], matrices[1::2], strict=True):
            seen.update(_layer(x.shape[0], x.shape[1], inward.shape[1], len(inward), recurrent.shape[1], backward))
        return seen

    return rule


def _convolved(x: Tensor, weight: Tensor, result: Tensor, groups: int) -> Product:
    rows = result.shape[0] * result[0, 0].numel()
    return Product(groups, rows, weight[0].numel(), len(weight) // groups)


def _convolution(args: Any, out: Any) -> Counter[Product]:
    return Counter([_convolved(args[0], args[1], out, args[8])])


def _convolution_backward(args: Any, out: Any) -> Counter[Product]:
    p = _convolved(args[1], args[2], args[0], args[9])
    both = [Product(p.n, p.rows, p.columns, p.inner), Product(p.n, p.columns, p.rows, p.inner)]
    return Counter([q for q, wanted in zip(both, args[10], strict=False) if wanted])


def _attention(backward: bool) -> Callable[[Any, Any], Counter[Product]]:
    def rule(args: Any, out: Any) -> Counter[Product]:
        q, k = args[1:3] if backward else args[:2]
        n, rows, keys, width = q[..., 0, 0].numel(), q.shape[-2], k.shape[-2], q.shape[-1]
        scores, values = Product(n, rows, width, keys), Product(n, rows, keys, width)
        return Counter({scores: 2, values: 3}) if backward else Counter([scores, values])  # backward: scores anew

    return rule


_RULES: dict[str, Callable[[Any, Any], Counter[Product]]] = {
    "mm": _plain, "bmm": _plain, "addmm": _added, "baddbmm": _added,
    "mkldnn_rnn_layer": _onednn(False), "mkldnn_rnn_layer_backward": _onednn(True),
    "_cudnn_rnn": _cudnn(False), "_cudnn_rnn_backward": _cudnn(True),
    "convolution": _convolution, "convolution_backward": _convolution_backward,
    **{f"_scaled_dot_product_{kind}": _attention(False) for kind in
       ("flash_attention_for_cpu", "flash_attention", "efficient_attention")},
    **{f"_scaled_dot_product_{kind}_backward": _attention(True) for kind in
       ("flash_attention_for_cpu", "flash_attention", "efficient_attention")},
}  # fmt: skip


class _Replay:
    """Runs products on operands of its own, one set per thread."""

    def __init__(self, device: str) -> None:
        self.device, self.kept = device, threading.local()

    def __call__(self, wanted: Counter[Product]) -> None:
        """Run the products of one piece."""
        for p, times in wanted.items():
            a, b, out = self._operands(p)
            multiply = torch.mm if p.n == 1 else torch.bmm
            for _ in range(times):
                multiply(a, b, out=out)

    def _operands(self, p: Product) -> tuple[Tensor, Tensor, Tensor]:
        kept: dict[Product, tuple[Tensor, Tensor, Tensor]] = self.kept.__dict__.setdefault("operands", {})
        if p not in kept:
            shapes = ((p.rows, p.inner), (p.inner, p.columns), (p.rows, p.columns))
            lead = () if p.n == 1 else (p.n,)
            a, b, out = (torch.ones(*lead, *shape, device=self.device) for shape in shapes)
            kept[p] = (a, b, out)
        return kept[p]


def gemm_peak(
    threads: int, *, device: str = "cpu", clock: Clock = time.perf_counter, sizes: Sequence[int] | None = None
) -> float:
    """Return the best 1e9 operations per second of square float32 products, one product per thread at a time.

    Threads do not share a product, so that this is what ``threads`` workers of the loop could reach at most.
    """
    replay, best = _Replay(device), 0.0
    workers = Workers(threads if device == "cpu" else 1)
    with torch.no_grad(), workers:
        for size in sizes or PEAK_SIZES[device.split(":")[0]]:
            job = Counter([Product(1, size, size, size)])
            for _ in range(ROUNDS + 2):
                taken = _time(lambda job=job: list(workers.map(replay, [job] * workers.threads)), device, clock)
                best = max(best, workers.threads * 2 * size**3 / taken)
    return best / 1e9


# -- the pace of a net -------------------------------------------------------------------------------------------------


def ladder(
    build: Build, context: Any, *, sizes: Sequence[Size] = LADDER, seconds: float = 1.0,
    clock: Clock = time.perf_counter,
) -> Iterator[Pace]:  # fmt: skip
    """Yield the pace of each size; ``build(size, windows)`` gives its net, settings (batch ``BATCH``) and target."""
    for size in sizes:
        windows = made_windows(epoch_steps(size) * BATCH // NAMES, NAMES, WIDTH, 1, size.lookback)
        yield measure(build(size, windows), context, seconds=seconds, clock=clock)


def epoch_steps(size: Size) -> int:
    """Return how many steps an epoch of the ladder has: less for a larger net."""
    products = 4 * size.hidden * (WIDTH + size.hidden + (size.layers - 1) * 2 * size.hidden)
    return int(np.clip(EPOCH_FLOPS / (6 * BATCH * size.lookback * products), 2, 32))


def measure(subject: Subject, context: Any, *, seconds: float = 1.0, clock: Clock = time.perf_counter) -> Pace:
    """Return the pace of ``subject`` on ``context.device`` with ``context.threads`` workers.

    The loop and its parts are run in turn, once to warm up, then at least 3 times and until ``seconds`` have passed;
    the medians count. No checkpoints are written.
    """
    net, settings, windows, device = subject.net, subject.settings, subject.windows, context.device
    context = dataclasses.replace(context, folder=None, max_epochs=1, resume=False, emit=lambda event: None)
    none = windows.with_(mask=np.zeros_like(windows.mask))
    rng = Stream(0, "speed")
    with torch.enable_grad(), Workers(context.threads if device == "cpu" else 1) as workers:
        stepper = Stepper(net, windows, cast(Any, settings), subject.target, workers, device)

        def batches() -> list[Part]:
            return [stepper.part(b) for b in windows.batches(settings.batch, rng.numpy("shuffle", 0))]

        parts = batches()
        replay, wanted = _Replay(device), _products_of(stepper, parts[0])
        gradients = [torch.ones_like(p) for p in stepper.parameters]
        stages: dict[str, Callable[[], object]] = {
            "step": lambda: loop.fit(copy.deepcopy(net), windows, none, settings, rng=rng, context=context,
                                     target=subject.target),
            "compute": lambda: [_compute(stepper, part) for part in parts],
            "gemm": lambda: [list(workers.map(replay, wanted)) for _ in parts],
            "data": batches,
            "update": lambda: [stepper.move(gradients, 1e-6) for _ in parts],
            "forward": lambda: [stepper.cutter.forward(stepper.net, p.x, p.blocks, workers) for p in parts],
        }  # fmt: skip
        taken = _in_turn(stages, seconds, device, clock)
    medians = {name: statistics.median(values) / len(parts) for name, values in taken.items()}
    work = sum(p.flops * times for piece in wanted for p, times in piece.items())
    samples = len(windows) // len(parts)
    return Pace(subject.name, windows.lookback, samples, work / len(parts[0].y), **medians)


def _compute(stepper: Stepper, part: Part) -> None:
    """Forward and backward of one batch, and nothing else."""

    def run(piece: Any) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            out = stepper.cutter.run(stepper.net, part.x, piece, None)
            loss = stepper.loss(out, part.y[piece.first : piece.last], piece.blocks)
            return torch.autograd.grad(loss, stepper.parameters, allow_unused=True)

    for _ in stepper.workers.map(run, stepper.cutter.cut(part.blocks)):
        pass


def _products_of(stepper: Stepper, part: Part) -> list[Counter[Product]]:
    """Return the products of each piece of one batch."""
    alone = copy.copy(stepper)
    alone.workers = Workers(1)  # never entered: runs in this thread, where the products are counted
    out = []
    for piece in stepper.cutter.cut(part.blocks):
        inside = Part(part.x[:, piece.first : piece.last], part.y[piece.first : piece.last], piece.blocks)
        out.append(products(lambda inside=inside: _compute(alone, inside)))
    return out


def _in_turn(
    stages: dict[str, Callable[[], object]], seconds: float, device: str, clock: Clock
) -> dict[str, list[float]]:
    """Return the times of every stage, one stage after the other in every round, without the first round."""
    taken: dict[str, list[float]] = {name: [] for name in stages}
    rounds, began = 0, 0.0
    while rounds <= ROUNDS or clock() - began < seconds:
        began = clock() if rounds == 1 else began
        for name, stage in stages.items():
            taken[name].append(_time(stage, device, clock))
        rounds += 1
    return {name: values[1:] for name, values in taken.items()}


def _time(stage: Callable[[], object], device: str, clock: Clock) -> float:
    began = clock()
    stage()
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return clock() - began


def made_windows(dates: int, names: int, width: int, outputs: int, lookback: int) -> Windows:
    """Return windows of noise: ``dates`` dates of ``names`` samples each, ``width`` inputs, ``outputs`` labels."""
    rng = Stream(0, "speed").numpy("windows")
    rows = dates + lookback - 1
    at: NDArray[np.int32] = np.broadcast_to(np.arange(rows, dtype=np.int32)[:, None, None], (rows, names, outputs))
    label = Label(
        rng.standard_normal((rows, names, outputs)), at + 1, at + 2, tuple(f"y{o}" for o in range(outputs)),
        tuple(range(1, outputs + 1)),
    )  # fmt: skip
    x = rng.standard_normal((rows, names, width), dtype=np.float32)
    features = Features(x, tuple(f"x{f}" for f in range(width)), (1,) * width)
    return Windows(features, label, np.ones((rows, names), bool), lookback)
