"""Diagnoses of one net on its own data: a learning rate, a batch size, and whether large batches generalise worse.

Each takes real steps of a copy of the net by its own loss, target, clip and optimiser (see train.stepper), draws only
from the stream it is given, and reads train and validation windows, never test.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hitherto.errors import ConfigError, DataError
from hitherto.seeds import Stream
from hitherto.train.noise_scale import Meter, Scale, ratio, squared_norms, two_batch
from hitherto.train.ring import exploded
from hitherto.train.sharpness import Sharpness, keskar, relative
from hitherto.train.stepper import Part, Stepper, order, spread
from hitherto.windows import Windows

Floats = NDArray[np.float64]
PROBE = 2048  # samples of a fixed probe
GROUPS = 8  # a batch is cut into so many gradients, which is what an estimate of noise is made of
CHECKS = 8  # looks at the validation loss within one run
# Student's t, two-sided 95 %, by the number of seeds
T95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}


# -- learning rate ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RateFinder:
    """A range test. rates, losses, smooth: one row per step, the loss on a fixed probe after the step at that rate.

    start: the probe's loss before the first step. lowest: rate of the least smoothed loss; exploded: rate from which
    on it stays 0.1 % above ``start`` (None: it did not happen). suggested: None when ``trouble`` says why not.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smooth: tuple[float, ...]
    start: float
    lowest: float
    exploded: float | None
    suggested: float | None
    trouble: str


def find_rate(
    stepper: Stepper, train: Windows, *, rng: Stream, low: float = 1e-6, high: float = 3.0, steps: int = 100
) -> RateFinder:
    """Take ``steps`` training steps while the rate grows from ``low`` to ``high`` by a constant factor.

    Smith 2017 (arXiv 1506.01186) and its habit of an exponential ramp; the loss is read off a fixed probe of train
    dates without dropout instead of the batches, whose own differences hide the small falls of market data. Stops when
    the loss is not finite or four times the first. ``stepper`` moves.
    """
    if not (0 < low < high and steps >= 20):
        raise ConfigError(f"rate finder: needs 0 < low < high and steps >= 20, got {low:g}, {high:g}, {steps}.")
    probe = [stepper.part(spread(train, PROBE))]
    start = stepper.mean_loss(probe)
    rates, losses = [], []
    for i, (part, noise) in enumerate(_steps(stepper, train, stepper.settings.batch, steps, rng)):
        rate = low * (high / low) ** (i / (steps - 1))
        stepper.step(part, rate, noise)
        loss = stepper.mean_loss(probe)
        if not math.isfinite(loss):
            break
        rates.append(rate)
        losses.append(loss)
        if loss > 4 * start:
            break
    return read_rates(rates, losses, start)


def read_rates(rates: Sequence[float], losses: Sequence[float], start: float) -> RateFinder:
    """Return what a table of growing ``rates`` and probe ``losses`` says; ``start``: the loss before it.

    Smoothed by a centred mean of five. The suggestion is the rate of the steepest fall per decade, at most a tenth of
    the rate of the explosion. No suggestion when the fall is under five times the curve's own roughness (median
    distance from the smoothed curve, as a standard deviation) or 1e-4 of the loss, or comes with the first steps.
    """
    if len(rates) < 10:
        text = f"the loss exploded within {len(rates)} steps; look at the inputs' scale and the lower end of the rates"
        return RateFinder(tuple(rates), tuple(losses), (), start, math.nan, None, None, text)
    raw = np.array(losses)
    padded = np.r_[raw[0], raw[0], raw, raw[-1], raw[-1]]
    smooth = np.convolve(padded, np.ones(5) / 5, "valid")
    smooth[-2:] = raw[-2:]  # the last rise is the explosion itself
    best = int(np.argmin(smooth))
    near = np.flatnonzero(smooth <= start + 1e-3 * abs(start))
    after = int(near[-1]) + 1 if len(near) else 0
    explosion = rates[after] if after < len(rates) else None
    # where the curve still falls it may fall in steps, so roughness is judged up to the lowest point only
    rough = 1.4826 * float(np.median(np.abs(raw - smooth)[: best + 1]))
    fall, trouble, suggested = start - float(smooth[best]), "", None
    if fall < max(5 * rough, 1e-4 * abs(start)) or best < 3:
        trouble = f"the loss falls by {max(fall, 0.0):.3g} of {start:.3g}, which its own roughness {rough:.2g} explains"
        if fall <= 1e-4 * abs(start):
            trouble = f"the loss never falls: {start:.4g} at the start, {float(smooth[best]):.4g} at best"
    else:
        steepest = int(np.argmin(np.diff(smooth[: best + 1])))
        suggested = min(rates[steepest], math.inf if explosion is None else explosion / 10)
        if best >= len(rates) - 2:
            trouble = "the loss still falls at the largest rate tried; the suggestion is a lower bound"
    curve = tuple(float(v) for v in smooth)
    return RateFinder(tuple(rates), tuple(losses), curve, start, rates[best], explosion, suggested, trouble)


# -- batch size by the noise of gradients -----------------------------------------------------------------------------


@dataclass(frozen=True)
class NoiseScale:
    """Gradient noise while training. dates: B_simple with a date as the unit; naive: with a sample as if independent.

    naive is None for a loss that couples the names of a date. names: mean samples per date; batch: mean dates of the
    batches measured. curve: (step, smoothed B_simple in dates). ``samples`` = dates x names is what to compare a
    model's ``batch`` with; ``effect`` = samples / naive is the design effect of a date's common shocks.
    """

    dates: Scale
    naive: Scale | None
    names: float
    batch: float
    steps: int
    curve: tuple[tuple[int, float], ...]

    @property
    def samples(self) -> float:
        """B_simple in samples of whole dates."""
        return self.dates.value * self.names

    @property
    def effect(self) -> float | None:
        """How many times larger a batch must be than samples of independent noise would ask for."""
        return None if self.naive is None or not self.naive.value else self.samples / self.naive.value


def measure_noise(
    stepper: Stepper, train: Windows, *, rng: Stream, steps: int = 200, rate: float | None = None
) -> NoiseScale:
    """Train for ``steps`` steps and measure the noise of the gradient before each; the estimate is of the last half.

    Each batch (at least two dates) is cut into up to eight groups of equally many dates; |G|^2 and tr(Sigma) follow
    from the groups' gradients and their mean (``two_batch``). rate: None is the model's own; 0 stands still, and then
    every round estimates the same two numbers. A date's gradient is of its summed loss over the mean number of its
    samples, so that the mean over dates is the gradient of the training loss. Dropout is part of the noise.
    DataError: fewer than two dates.
    """
    sizes = np.diff(train.offsets)
    if len(sizes) < 2:
        raise DataError(f"noise scale: needs at least two train dates, got {len(sizes)}; lengthen the train stretch.")
    rate = stepper.settings.learning_rate if rate is None else rate
    meter, single, names, dates = Meter(), [], [], []
    for i, (part, noise) in enumerate(
        _steps(stepper, train, max(stepper.settings.batch, 2 * int(sizes.max())), steps, rng)
    ):
        gradients, found = _round(stepper, part, noise)
        if found is not None:
            meter.add(*found)
            names.append(len(part.y) / part.dates)
            dates.append(part.dates)
            if stepper.loss.per == "sample":
                single.append(_single(stepper, part, noise, rng.numpy("pick", i), found[0]))
        if rate > 0 and gradients is not None:
            stepper.move(gradients, rate)
    if not meter.signals:
        raise DataError("noise scale: no batch held two dates with a known target; lengthen the train stretch.")
    half = len(meter.signals) // 2
    naive = ratio(np.array(single[half:]), np.array(meter.signals[half:])) if single else None
    every = max(len(meter.smooth) // 10, 1)
    curve = tuple((i + 1, meter.smooth[i]) for i in range(every - 1, len(meter.smooth), every))
    return NoiseScale(meter.scale(0.5), naive, float(np.mean(names)), float(np.mean(dates)), steps, curve)


def _round(stepper: Stepper, part: Part, noise: Stream) -> tuple[list[Tensor] | None, tuple[float, float] | None]:
    """Return the batch's mean gradient (None without targets) and its (|G|^2, tr(Sigma)) per date (None: one date)."""
    cut, groups, each = _groups(part)
    found = [stepper.gradient(p, noise.child(k)) for k, p in enumerate(cut)]
    count = sum(n for _, n, _ in found)
    if not count:
        return None, None
    mean = [torch.stack(parts).sum(0) / count for parts in zip(*(g for _, _, g in found), strict=True)]
    if groups < 2:
        return mean, None
    scale = part.dates / (count * each)
    small, big = squared_norms([[v * scale for v in g] for _, _, g in found[:groups]])
    return mean, two_batch(small, big, each, groups * each)


def _groups(part: Part) -> tuple[list[Part], int, int]:
    """Return the batch in groups of equally many dates, how many they are, and the dates of one.

    The dates left over come as one part more: they train, but are not measured.
    """
    groups = min(GROUPS, part.dates)
    each = part.dates // groups
    edges = [*range(0, groups * each + 1, each)]
    if edges[-1] < part.dates:
        edges.append(part.dates)
    return [part.between(a, b) for a, b in itertools.pairwise(edges)], groups, each


def _single(stepper: Stepper, part: Part, noise: Stream, rng: np.random.Generator, signal: float) -> float:
    """Return tr(Sigma) of one sample as if samples were independent: from groups of one sample of each date."""
    cut, groups, _ = _groups(part)
    found = []
    for k, p in enumerate(cut[:groups]):
        lone = p.one_each(rng, whole=stepper.cutter.by_date)
        _, count, gradient = stepper.gradient(lone, noise.child("single", k))
        if count:
            norm = sum(float(g.double().square().sum()) for g in gradient) / count**2
            found.append(count / part.y.shape[1] * (norm - signal))
    return float(np.mean(found)) if found else math.nan


# -- batch sizes side by side -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """One batch size trained under one regime ("epochs" or "updates" equal), by seed.

    batch: samples asked for; updates, epochs: taken. train_loss: at the end, on a fixed probe; valid_loss: the lowest
    of eight looks, in either regime; both NaN for a run that diverged.
    """

    batch: int
    regime: str
    updates: int
    epochs: float
    train_loss: tuple[float, ...]
    valid_loss: tuple[float, ...]


@dataclass(frozen=True)
class Comparison:
    """Batch sizes at equal epochs and at equal updates; ``weights``: by (batch, seed), at the end of equal epochs.

    rate: of all runs. A run that diverged leaves no weights.
    """

    runs: tuple[Run, ...]
    rate: float
    weights: dict[tuple[int, int], Floats] = field(repr=False, compare=False, default_factory=dict)

    def gap(self, regime: str) -> tuple[float, float, float]:
        """Return mean and 95 % interval (over paired seeds) of valid_loss, the largest batch less the smallest."""
        rows = sorted((r for r in self.runs if r.regime == regime), key=lambda r: r.batch)
        d = np.array(rows[-1].valid_loss) - np.array(rows[0].valid_loss)
        half = T95[len(d)] * float(d.std(ddof=1)) / math.sqrt(len(d)) if len(d) > 1 else math.inf
        return float(d.mean()), float(d.mean()) - half, float(d.mean()) + half

    @property
    def verdict(self) -> str:
        """One of those of ``judge``, or "diverged" when a run's loss was not finite."""
        if not all(math.isfinite(v) for r in self.runs for v in (*r.valid_loss, *r.train_loss)):
            return "diverged"
        return judge(self.gap("epochs"), self.gap("updates"))


def judge(epochs: tuple[float, float, float], updates: tuple[float, float, float]) -> str:
    """Name the gap (mean, low, high) at equal epochs by what becomes of it at equal updates.

    "no gap": the interval at equal epochs holds 0. "large is better": it lies below. A gap above 0 is "too few
    updates" when at equal updates the interval reaches 0 and lies below the first gap (Hoffer, Hubara & Soudry 2017,
    arXiv 1705.08741), "generalisation" when at equal updates it stays above 0 and holds the first gap or more,
    "partly" when it lies above 0 and below the first gap, "cannot tell" otherwise.
    """
    gap, low, high = epochs
    if low <= 0 <= high:
        return "no gap"
    if high < 0:
        return "large is better"
    if updates[2] < gap:
        return "partly" if updates[1] > 0 else "too few updates"
    return "generalisation" if updates[1] > 0 else "cannot tell"


def compare(
    make: Callable[[int], Stepper], train: Windows, valid: Windows, *, rng: Stream, sizes: Sequence[int],
    epochs: int = 3, seeds: int = 3,
) -> Comparison:  # fmt: skip
    """Train at each batch size for ``epochs``, and again for as many updates as the smallest takes in them.

    make: seed -> a fresh stepper with that seed's initial weights, the same for every size. The rate stays what it is
    at every size and is constant. ConfigError: fewer than two sizes or seeds, or more than ten seeds; DataError: no
    train or validation sample.
    """
    sizes = sorted(set(sizes))
    if len(sizes) < 2 or seeds not in T95 or epochs < 1:
        raise ConfigError(
            f"compare: needs two sizes, 2 to 10 seeds, one epoch or more; got {sizes}, {seeds}, {epochs}."
        )
    if not (len(train) and len(valid)):
        raise DataError(f"compare: {len(train)} train and {len(valid)} validation samples; both stretches need some.")
    weights: dict[tuple[int, int], Floats] = {}
    most = _updates(train, sizes[0], epochs, rng)
    runs = []
    for size in sizes:
        own = _updates(train, size, epochs, rng)
        for regime, updates in (("epochs", own), ("updates", most)):
            if regime == "updates" and size == sizes[0]:  # the same run
                runs.append(dataclasses.replace(runs[0], regime=regime))
                continue
            losses = []
            for seed in range(seeds):
                stepper = make(seed)
                losses.append(_train(stepper, train, valid, size, updates, rng.child(seed)))
                if regime == "epochs" and math.isfinite(losses[-1][1]):
                    weights[size, seed] = stepper.weights()
            done = updates / own * epochs
            runs.append(Run(size, regime, updates, done, *(tuple(v) for v in zip(*losses, strict=True))))
    return Comparison(tuple(runs), make(0).settings.learning_rate, weights)


def _updates(train: Windows, size: int, epochs: int, rng: Stream) -> int:
    """Return the updates of ``epochs`` epochs (with dates of unequal sizes their number varies by the order)."""
    return sum(len(order(train, size, rng.numpy("count", e))) for e in range(epochs))


def _train(
    stepper: Stepper, train: Windows, valid: Windows, size: int, updates: int, rng: Stream
) -> tuple[float, float]:
    """Return (train loss on a probe at the end, lowest validation loss of eight looks) after ``updates`` steps."""
    looks = {math.ceil(updates * (i + 1) / CHECKS) for i in range(CHECKS)}
    best, first = math.inf, 0.0
    for i, (part, noise) in enumerate(_steps(stepper, train, size, updates, rng)):
        loss = stepper.step(part, stepper.settings.learning_rate, noise)
        first = first or loss
        if i + 1 in looks:
            loss = stepper.mean_loss([stepper.part(b) for b in valid.batches(PROBE)])
            if exploded(loss, first, []):  # where the loop would roll back
                return math.nan, math.nan
            best = min(best, loss)
    return stepper.mean_loss([stepper.part(spread(train, PROBE))]), best


def _steps(stepper: Stepper, train: Windows, size: int, steps: int, rng: Stream) -> Iterator[tuple[Part, Stream]]:
    """Yield (part, stream of noise) for ``steps`` batches, epoch after epoch in new orders."""
    done, epoch = 0, 0
    while done < steps:
        for dates in order(train, size, rng.numpy("shuffle", epoch)):
            if done == steps:
                return
            yield stepper.part(train.gather(dates)), rng.child("noise", done)
            done += 1
        epoch += 1


# -- sharpness --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sharp:
    """Sharpness of the nets of one batch size, by seed: Keskar's (full space) and the scale-invariant one."""

    batch: int
    keskar: tuple[Sharpness, ...]
    relative: tuple[Sharpness, ...]


def measure_sharpness(
    stepper: Stepper, train: Windows, weights: dict[tuple[int, int], Floats], *, rng: Stream, epsilon: float = 1e-3,
    wide: float = 1e-2, samples: int = 1024, starts: int = 2,
) -> tuple[Sharp, ...]:  # fmt: skip
    """Return the sharpness at each of ``weights`` (by batch and seed) of the loss on a fixed probe of train dates.

    epsilon: of Keskar's box; wide: of the relative box, whose sides have no "+ 1". ``stepper`` moves.
    """
    f = stepper.function([stepper.part(spread(train, samples))])
    out = []
    for size in sorted({b for b, _ in weights}):
        rows = [(k, w) for (b, k), w in sorted(weights.items()) if b == size]
        plain = tuple(keskar(f, w, epsilon, rng=rng.numpy("box", k), starts=starts) for k, w in rows)
        free = tuple(relative(f, w, wide, rng=rng.numpy("relative", k), starts=starts) for k, w in rows)
        out.append(Sharp(size, plain, free))
    return tuple(out)
