"""``hitherto diagnose``: rate, noise scale, batch sizes and sharpness of one net of a study, on its first fold."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hitherto.compute import Workers, choose_threads
from hitherto.errors import ConfigError
from hitherto.models.net import Net, Standardised
from hitherto.seeds import Stream
from hitherto.study.core import Study
from hitherto.train import losses
from hitherto.train.diagnose import (
    Comparison,
    NoiseScale,
    RateFinder,
    Run,
    Sharp,
    compare,
    find_rate,
    measure_noise,
    measure_sharpness,
)
from hitherto.train.stepper import Stepper
from hitherto.windows import Windows

VERDICTS = {
    "no gap": "no gap can be told at equal epochs: its interval holds 0 and ends at {high:+.4f}",
    "too few updates": "the gap at equal epochs vanishes at equal updates: it is too few updates, not poor "
    "generalisation; train the large batch for more epochs",
    "generalisation": "the large batch stays worse at equal updates: keep the small one",
    "partly": "equal updates close a part of the gap: the rest is not a matter of the number of updates",
    "large is better": "the large batch is better at equal epochs: try larger ones",
    "diverged": "a run diverged at this rate: lower the rate first",
    "cannot tell": "there is a gap at equal epochs; at equal updates the seeds differ too much to tell what is left",
}


@dataclass(frozen=True)
class Diagnosis:
    """What was measured on one net. compare and sharpness: None where the study has no validation stretch or sizes.

    batch, rate: the model's own. samples, dates: of the train windows used, the last ones. notes: what to keep in mind.
    """

    study: str
    model: str
    quick: bool
    batch: int
    rate: float
    samples: int
    dates: int
    rates: RateFinder
    noise: NoiseScale
    compare: Comparison | None
    sharpness: tuple[Sharp, ...] | None
    notes: tuple[str, ...]

    def to_text(self) -> str:
        """Return one short block per part, each ending in one line of advice."""
        head = f"{self.model} of {self.study}: fold 0, {self.samples:,} train samples of {self.dates:,} dates"
        lines = [head + (", quick" if self.quick else ""), *self._rate_lines(), *self._noise_lines()]
        lines += [*self._compare_lines(), *self._sharp_lines(), *(f"note: {n}" for n in self.notes)]
        return "\n".join(lines)

    def to_json(self) -> str:
        """Return every number as JSON; what is not finite (an open interval) is null."""
        body = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        body["advice"] = {"rate": self.rates.suggested, "batch_samples": self.advised_batch}
        if self.compare is not None:
            regimes = {r: self.compare.gap(r) for r in ("epochs", "updates")}
            body["compare"] = {**_plain(self.compare), "gaps": regimes, "verdict": self.compare.verdict}
            del body["compare"]["weights"]
        return json.dumps(_plain(body), allow_nan=False)

    @property
    def advised_batch(self) -> int | None:
        """B_simple in samples of whole dates, at most the train windows; None where the signal drowns."""
        value = self.noise.dates.value
        if not math.isfinite(value) or not math.isfinite(self.noise.dates.high):
            return None
        return int(min(max(math.ceil(value), 1), self.dates) * round(self.noise.names))

    def _rate_lines(self) -> list[str]:
        r = self.rates
        lines = ["learning rate"]
        if r.smooth:
            after = "no explosion" if r.exploded is None else f"stays above the start from {r.exploded:.1e}"
            lines.append(f"  {len(r.rates)} steps from {r.rates[0]:.1e} to {r.rates[-1]:.1e}; loss {r.start:.4f} "
                         f"at the start, lowest at {r.lowest:.1e}, {after}")  # fmt: skip
        if r.suggested is None:
            return [*lines, f"  advice: none, the curve has no useful shape: {r.trouble}"]
        side = "yours is " + _times(self.rate / r.suggested)
        return [*lines, f"  advice: about {r.suggested:.1e} ({side})" + (f"; {r.trouble}" if r.trouble else "")]

    def _noise_lines(self) -> list[str]:
        n = self.noise
        d = n.dates
        lines = ["gradient noise scale (the last half of the steps)",
                 f"  by dates    {_number(d.value)} dates [{_number(d.low)}, {_number(d.high)}] = "
                 f"{_number(n.samples)} samples at {n.names:.0f} a date"]  # fmt: skip
        if n.naive is not None:
            more = ""
            if n.effect is not None and 0 < n.effect < math.inf:
                more = f"; naive: {_fold(n.effect)} too {'small' if n.effect > 1 else 'large'}"
            lines.append(f"  by samples  {_number(n.naive.value)} samples as if independent{more}")
        batch = self.advised_batch
        if batch is None:
            least = f"more than {_number(d.low)} dates" if d.low > 0 else "an unknown number of dates"
            return [*lines, f"  advice: the signal drowns in noise ({least}): larger batches do not waste samples"]
        side = _times(self.batch / batch)
        return [
            *lines,
            f"  advice: up to about {batch:,} samples a batch ({batch // round(n.names)} dates); yours is {side}",
        ]

    def _compare_lines(self) -> list[str]:
        if self.compare is None:
            return ["batch sizes", "  not compared: too few train dates for two sizes, or no validation stretch"]
        names = f"{'batch':>7}  {'equal':<7}  {'epochs':>6}  {'updates':>7}  {'train loss':>10}  {'valid loss':>10}"
        seeds = len(self.compare.runs[0].valid_loss)
        lines = [f"batch sizes at rate {self.compare.rate:g} (mean of {seeds} seeds)", f"  {names}"]
        lines += [_row(r) for r in self.compare.runs]
        for regime in ("epochs", "updates"):
            gap, low, high = self.compare.gap(regime)
            lines.append(f"  largest less smallest, equal {regime:<7} {gap:+.4f} [{low:+.4f}, {high:+.4f}]")
        high = self.compare.gap("epochs")[2]
        return [*lines, f"  advice: {VERDICTS[self.compare.verdict].format(high=high)}"]

    def _sharp_lines(self) -> list[str]:
        if self.sharpness is None:
            return ["sharpness", "  not measured: there is no trained net"]
        seeds = len(self.sharpness[0].keskar)
        of = f"median of {seeds} seeds" if seeds > 1 else "one seed"
        lines = [f"sharpness after equal epochs ({of})", f"  {'batch':>7}  {'Keskar':>9}  {'scale-invariant':>15}"]
        rows = [(s.batch, *(statistics.median(v.phi for v in k) for k in (s.keskar, s.relative)))
                for s in self.sharpness]  # fmt: skip
        lines += [f"  {b:>7}  {k:>9.3f}  {r:>15.3f}" for b, k, r in rows]
        free = rows[-1][2] / rows[0][2] if rows[0][2] > 0 else math.nan
        return [*lines, f"  advice: trust the scale-invariant column only; the largest batch's is {free:.2g} times the "
                "smallest's, and by itself that says nothing about new data"]  # fmt: skip


def diagnose(study: Study, *, model: str | None = None, quick: bool = False) -> Diagnosis:
    """Diagnose one net of a study on the train and validation windows of its first fold; the test is never read.

    model: its name in the study (None: the first net listed). quick: fewer steps, samples and sizes.
    The same study and seed give the same numbers on one machine. Errors: ConfigError for a model that is not a net
    (trained by train.loop), naming those that are; those of the parts (see train.diagnose).
    """
    net = choose(study, model)
    p = study.prepare()
    fold = p.folds[0]
    forecaster: Any = net  # a class attribute ``unit`` meets the protocol at run time, which the checker cannot see
    train = net.samples(study.windows(p, forecaster, fold))
    valid = train.with_(mask=fold.valid)
    train = _last(train, 20_000 if quick else 200_000)
    rng = Stream(study.settings.seed, "diagnose", net.name)
    columns = losses.make(net, train.outputs).columns
    notes = ["one fold, its validation dates only; figures differ between folds and along training"]
    with Workers(choose_threads()) as workers:

        def make(seed: int) -> Stepper:
            module = net.make(train.width, columns, rng.child("net", seed))
            return Stepper(module, train, net, Standardised(net.target), workers)

        rates = find_rate(make(0), train, rng=rng.child("rate"), steps=60 if quick else 120)
        noise = measure_noise(make(0), train, rng=rng.child("noise"), steps=100 if quick else 400)
        sizes = _sizes(net.batch, train, quick)
        compared = sharp = None
        if len(valid) and len(sizes) > 1:
            epochs = 2 if quick else 3
            compared = compare(make, train, valid, rng=rng.child("compare"), sizes=sizes, epochs=epochs, seeds=5)
            weights = {k: w for k, w in compared.weights.items() if k[1] == 0 or not quick}
            sharp = measure_sharpness(make(0), train, weights, rng=rng.child("sharpness")) or None
    if noise.batch * noise.names > 1.5 * net.batch:
        notes.append(f"the noise was measured on batches of {noise.batch:.0f} dates: it takes two or more")
    return Diagnosis(study.settings.name, net.name, quick, net.batch, net.learning_rate, len(train),
                     len(train.offsets) - 1, rates, noise, compared, sharp, tuple(notes))  # fmt: skip


def command(
    study_path: str | Path, assignments: list[str] | None, model: str | None, quick: bool, *, as_json: bool = False
) -> str:
    """Return the diagnosis of a study file with ``assignments`` ("a.b=c") applied, as text or JSON."""
    found = diagnose(Study.load(study_path, assignments), model=model, quick=quick)
    return found.to_json() if as_json else found.to_text()


def choose(study: Study, name: str | None) -> Net:
    """Return the net called ``name``, or the first listed; ConfigError naming the nets of the study otherwise."""
    nets = {m.name: m for m in study.models if isinstance(m, Net)}
    known = ", ".join(nets) or "none; add one, e.g. models = [{kind = 'lstm'}]"
    if name is None and nets:
        return next(iter(nets.values()))
    if name is None or name not in nets:
        asked = "a study without a net" if name is None else f"'{name}'"
        raise ConfigError(f"diagnose: asked for {asked}; what can be diagnosed is a net, here: {known}")
    return nets[name]


def _last(train: Windows, most: int) -> Windows:
    """Return the last whole dates that hold at most ``most`` samples (at least two dates)."""
    offsets = train.offsets
    if len(train) <= most or len(offsets) < 4:
        return train
    first = min(int(np.searchsorted(offsets, len(train) - most)), len(offsets) - 3)
    mask = train.mask.copy()
    mask[: int(train.index[offsets[first], 0])] = False
    return train.with_(mask=mask)


def _sizes(batch: int, train: Windows, quick: bool) -> list[int]:
    """Return the batch sizes to compare: a quarter of the model's, its own and four times it; quick: the last two.

    No size holds less than one date or more than a quarter of the samples (four updates an epoch), and each is at
    least one and a half times the one before, in whole dates.
    """
    least = math.ceil(len(train) / max(len(train.offsets) - 1, 1))
    out: list[int] = []
    for size in (batch, 4 * batch) if quick else (batch // 4, batch, 4 * batch):
        size = max(min(size, len(train) // 4), least)
        if not out or math.ceil(size / least) >= 1.5 * math.ceil(out[-1] / least):
            out.append(size)
    return out


def _row(r: Run) -> str:
    train, valid = statistics.mean(r.train_loss), statistics.mean(r.valid_loss)
    return f"  {r.batch:>7}  {r.regime:<7}  {r.epochs:>6.1f}  {r.updates:>7}  {train:>10.4f}  {valid:>10.4f}"


def _times(ratio: float) -> str:
    if 0.5 <= ratio <= 2:
        return "near it"
    return f"{ratio:.3g} times it" if ratio > 1 else f"{1 / ratio:.3g} times smaller"


def _fold(ratio: float) -> str:
    return f"{max(ratio, 1 / ratio):.2g} times"


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "unknown" if math.isnan(value) else "unbounded"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _plain(value: Any) -> Any:
    """Return dataclasses as dicts, tuples as lists, numbers that are not finite as None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
