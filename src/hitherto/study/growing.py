"""The debugging recipe: the smallest net without memory first, then one thing more at a time, while it pays."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from hitherto import config
from hitherto.errors import ConfigError, DataError
from hitherto.evaluate.forecast import daily_rank_ic
from hitherto.evaluate.inference import Interval, mean_interval, paired_difference
from hitherto.models.base import Context, Forecaster
from hitherto.models.net import Net
from hitherto.run import plain
from hitherto.seeds import Stream
from hitherto.study.core import Prepared, Study, build_model
from hitherto.study.tuning import forecast_fold, inner

Floats = NDArray[np.float64]
Table = dict[str, Any]
START: Table = {"kind": "mlp", "lookback": 1, "hidden": [8]}
LENGTHS = (2, 5, 10, 20, 40, 60)
WIDEST = 128
NEXT_CELL = {"mlp": "rnn", "rnn": "gru", "gru": "lstm"}


@dataclass(frozen=True)
class Step:
    """One net that was tried: what was changed, its settings, daily RankIC, the paired gain over the net it grew from.

    gain: (estimate, low, high) at 95 % shared among the changes tried in that round (Bonferroni); None for the first.
    """

    round: int
    change: str
    table: Table
    parameters: int
    rank_ic: Interval
    gain: Interval | None
    kept: bool
    seconds: float


@dataclass(frozen=True)
class Grown:
    """All steps in order and the settings that were kept; ``until``: the first test bar of the study, never read."""

    steps: tuple[Step, ...]
    table: Table
    folds: int
    until: str

    def to_text(self) -> str:
        """Return the steps as a table, and the net to put into the study file."""
        lines = [
            f"daily RankIC on {self.folds} inner folds; the study's first test bar, {self.until}, and all later ones "
            "were not read",
            "",
            f"{'round':>5}  {'change':<22} {'weights':>8}  {'RankIC (95 %)':<26} gain over the net it grew from",
        ]
        for s in self.steps:
            gain = "" if s.gain is None else _interval(s.gain)
            mark = " kept" if s.kept else ""
            lines.append(f"{s.round:>5}  {s.change:<22} {s.parameters:>8,}  {_interval(s.rank_ic):<26} {gain}{mark}")
        last = self.steps[-1].round
        grew = any(s.kept for s in self.steps if s.round == last)
        why = "as many rounds as were asked for" if grew else "no change of the last round gains for certain"
        return "\n".join([*lines, "", f"stopped: {why}", "", "[[models]]", config.dump_toml(self.table).strip()])

    def to_json(self) -> str:
        """Return steps and settings as JSON."""
        return json.dumps(plain(dataclasses.asdict(self)), ensure_ascii=False)


def grow(
    study: Study, *, folds: int = 2, rounds: int = 12, emit: Callable[[Step], None] = lambda step: None
) -> Grown:  # fmt: skip
    """Grow a net for ``study`` on bars before its first test bar, on the inner folds of ``study.tuning``.

    It starts with eight units that see the last row alone. Each round tries every single change of the net that
    stands: a longer look-back (up to that of the study's first net), twice the width, the next cell (none, RNN, GRU,
    LSTM), one more layer; the change with the largest gain is kept if its paired daily RankIC gain is above 0. It ends
    when none is. Training settings (target, loss, rates, epochs) are those of the study's first net.
    Errors: ConfigError for a study without a net or too few bars.
    """
    nets = [m for m in study.models if isinstance(m, Net)]
    if not nets:
        raise ConfigError(
            f"grow: {study.where} lists no net whose training settings to use; add kind = 'mlp' or 'lstm'"
        )
    prepared, until = inner(study, folds)
    common = {f.name: getattr(nets[0], f.name) for f in dataclasses.fields(Net) if f.name not in ("name", "lookback")}
    trial = _Trial(study, prepared, {k: list(v) if isinstance(v, tuple) else v for k, v in common.items()})
    here, series, seconds = START, *trial.series(START)
    steps = [Step(0, "no memory, one row", here, trial.weights(here), trial.mean(series), None, True, seconds)]
    emit(steps[0])
    for k in range(1, rounds + 1):
        tried = []
        options = list(changes(here, nets[0].lookback))
        for change, table in options:
            other, seconds = trial.series(table)
            gain = trial.gain(other, series, 1 - 0.05 / len(options))
            step = Step(k, change, table, trial.weights(table), trial.mean(other), gain, False, seconds)
            tried.append((step, other))
            emit(step)
        passed = [t for t in tried if t[0].gain is not None and t[0].gain.lo > 0]
        best = max(passed, key=lambda t: t[0].gain.estimate, default=None)
        steps += [dataclasses.replace(s, kept=best is not None and s is best[0]) for s, _ in tried]
        if best is None:
            break
        here, series = best[0].table, best[1]
    return Grown(tuple(steps), here, folds, str(until))


def changes(table: Table, longest: int) -> Iterator[tuple[str, Table]]:
    """Yield every net that differs from ``table`` in one thing, as (what was changed, settings)."""
    for length in LENGTHS:
        if table["lookback"] < length <= longest:
            yield f"look back {length} rows", {**table, "lookback": length}
    flat = isinstance(table["hidden"], list)
    width = table["hidden"][0] if flat else table["hidden"]
    layers = len(table["hidden"]) if flat else table.get("layers", 1)
    if width < WIDEST:
        wider = [2 * h for h in table["hidden"]] if flat else 2 * width
        yield f"width {2 * width}", {**table, "hidden": wider}
    cell = NEXT_CELL.get(table["kind"])
    if cell is not None and table["lookback"] > 1:
        yield f"{cell} cell", {"kind": cell, "lookback": table["lookback"], "hidden": width, "layers": layers}
    if layers < 3:
        deeper = {"hidden": [*table["hidden"], width]} if flat else {"layers": layers + 1}
        yield f"{layers + 1} layers", {**table, **deeper}


class _Trial:
    """Fits one net after another on the inner folds."""

    def __init__(self, study: Study, prepared: Prepared, common: Table) -> None:
        self.study, self.prepared, self.common = study, prepared, common

    def build(self, table: Table) -> Forecaster:
        return build_model({**self.common, **table}, "grow")

    def weights(self, table: Table) -> int:
        """Return the number of the net's weights."""
        p = self.prepared
        model = self.build(table)
        width = self.study.windows(p, model, p.folds[0]).width
        net = cast(Net, model).make(width, len(p.label.names), Stream(0))
        return sum(w.numel() for w in net.parameters())

    def series(self, table: Table) -> tuple[Floats, float]:
        """Return (T,) daily RankIC on the judged stretches of all inner folds, NaN elsewhere, and the seconds taken."""
        begun = time.perf_counter()
        p, model = self.prepared, self.build(table)
        out = np.full(len(p.panel.times), np.nan)
        for fold in p.folds:
            rng = Stream(self.study.settings.seed, "grow", fold.index, json.dumps(table, sort_keys=True))
            seen = forecast_fold(self.study, p, fold, model, rng, Context(**self.study.place))
            out[fold.test.any(axis=1)] = daily_rank_ic(*seen)
        return out, time.perf_counter() - begun

    def mean(self, series: Floats) -> Interval:
        known = series[np.isfinite(series)]
        if not len(known):
            raise DataError("grow: no date has a RankIC; fewer than 3 names are known, or the forecasts are all equal")
        return mean_interval(known, Stream(self.study.settings.seed, "grow", "mean").numpy())

    def gain(self, a: Floats, b: Floats, level: float) -> Interval | None:
        both = np.isfinite(a) & np.isfinite(b)
        rng = Stream(self.study.settings.seed, "grow", "gain").numpy()
        return paired_difference(a[both], b[both], rng, level=level) if both.sum() > 20 else None


def _interval(i: Interval) -> str:
    return f"{i.estimate:+.4f} ({i.lo:+.4f}, {i.hi:+.4f})"


def command(study: Path, assignments: list[str] | None, *, as_json: bool) -> str:
    """Grow a net for a study file and return the text to print."""
    grown = grow(Study.load(study, assignments))
    return grown.to_json() if as_json else grown.to_text()
