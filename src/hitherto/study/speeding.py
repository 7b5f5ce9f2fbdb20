"""``hitherto speed``: the pace of a ladder of LSTMs here, what a study will take, and two machines compared."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import math
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hitherto import compute
from hitherto.errors import ConfigError, DataError, HithertoError
from hitherto.features.cache import user_cache
from hitherto.files import read_json, write_json
from hitherto.models.base import Context, Forecaster
from hitherto.models.net import Net, Standardised
from hitherto.models.recurrent import LSTM
from hitherto.seeds import Stream
from hitherto.study.core import Study
from hitherto.train import losses
from hitherto.train.speed import (
    BATCH,
    LADDER,
    SHORT,
    Clock,
    Pace,
    Size,
    Subject,
    gemm_peak,
    ladder,
    made_windows,
    measure,
)
from hitherto.windows import Windows

FORMAT = "hitherto-speed-1"
BYTES = 1 << 26  # of a batch's inputs: above it a study's net is measured on two batches, not four
LEGEND = (
    "GEMM: the matrix products of forward and backward, the same shapes run alone, operands at hand (a lower bound)",
    "time loop: the rest of forward and backward; waiting: for data; update: clipping and optimiser",
    "of peak: the work of the products in the time of the whole step, against the GEMM peak on as many threads",
)
BUSY = 0.1  # of the processor taken by others while one thread multiplied: above it the figures are said to be low


@dataclass(frozen=True)
class Work:
    """What one model of a study has to do. train, valid, test: samples of all folds; fits: seeds x folds x members.

    seconds: of all its fits at the measured pace, every epoch taken (early stopping ends sooner), with validation
    after each epoch and one forecast of the test stretch.
    """

    model: str
    fits: int
    epochs: int
    train: int
    valid: int
    test: int
    pace: Pace
    seconds: float


@dataclass(frozen=True)
class Speed:
    """What was measured: the machine, its GEMM peak by threads (1e9 operations a second), rows of the ladder.

    busy: the share of one processor that others took meanwhile. work: of the models of ``study``; left: its models
    that are no nets and were not measured.
    """

    machine: dict[str, Any]
    peak: dict[int, float]
    rows: tuple[Pace, ...]
    busy: float = 0.0
    study: str | None = None
    work: tuple[Work, ...] = ()
    left: tuple[str, ...] = ()

    @property
    def best(self) -> float:
        """The peak on as many threads as the ladder used."""
        return self.peak[max(self.peak)]

    def to_text(self) -> str:
        """Return the tables."""
        peaks = ", ".join(f"{v:,.0f} GFLOP/s on {n} thread{'s' if n > 1 else ''}" for n, v in self.peak.items())
        lines = [_title(self.machine), f"GEMM peak: {peaks} ({self.machine['device']}, float32)"]
        head = ("LSTM", "samples/s", "step ms", "GEMM", "time loop", "waiting", "update", "rest", "of peak")
        body = [
            (r.name, f"{r.rate:,.0f}", f"{r.step * 1e3:.1f}", *map(_percent, r.shares.values()),
             _percent(r.gflops / self.best))
            for r in self.rows
        ]  # fmt: skip
        lines += ["", *_table(head, body), *LEGEND, *self._busy_lines()]
        return "\n".join([*lines, *self._work_lines()])

    def _busy_lines(self) -> list[str]:
        if self.busy < BUSY:
            return []
        return [f"note: other processes had {_percent(self.busy)} of the processor; a quiet machine is faster"]

    def _work_lines(self) -> list[str]:
        if self.study is None:
            return []
        head = (f"study {self.study}", "fits", "epochs", "samples", "MFLOP each", "samples/s", "of peak", "at most")
        body = [
            (w.model, str(w.fits), str(w.epochs), f"{w.train:,}", f"{w.pace.flops / 1e6:.3g}", f"{w.pace.rate:,.0f}",
             _percent(w.pace.gflops / self.best), duration(w.seconds))
            for w in self.work
        ]  # fmt: skip
        total = duration(sum(w.seconds for w in self.work))
        left = f"; not projected, being no nets: {', '.join(self.left)}" if self.left else ""
        return ["", *_table(head, body), f"all nets, one after the other: at most {total} (early stopping ends sooner)"
                + left]  # fmt: skip

    def to_json(self) -> str:
        """Return everything as JSON, what ``load`` reads."""
        return json.dumps(self.plain())

    def plain(self) -> dict[str, Any]:
        """Return everything as plain values."""
        body = dataclasses.asdict(self)
        return {"format": FORMAT, **body, "peak": {str(k): v for k, v in self.peak.items()}}


def load(path: Path) -> Speed:
    """Return the Speed saved in ``path``; DataError when it is none."""
    body = read_json(path)
    try:
        if body.pop("format") != FORMAT:
            raise KeyError
        work = tuple(Work(**{**w, "pace": Pace(**w["pace"])}) for w in body.pop("work"))
        rows, left = tuple(Pace(**r) for r in body.pop("rows")), tuple(body.pop("left"))
        return Speed(**{**body, "peak": {int(k): v for k, v in body["peak"].items()}}, rows=rows, work=work, left=left)
    except (KeyError, TypeError, AttributeError, ValueError):
        raise DataError(f"{path} is no result of this version of hitherto speed; write it again with --out") from None


def compare(first: Path, second: Path) -> str:
    """Return one table of two saved results: the rungs both have, then the models of a study both projected."""
    a, b = load(first), load(second)
    head = ("samples/s", "A", "B", "B / A", "A of peak", "B of peak")
    theirs = {r.name: r for r in b.rows}
    body = [
        (r.name, f"{r.rate:,.0f}", f"{theirs[r.name].rate:,.0f}", f"{theirs[r.name].rate / r.rate:.2f}",
         _percent(r.gflops / a.best), _percent(theirs[r.name].gflops / b.best))
        for r in a.rows if r.name in theirs
    ]  # fmt: skip
    works = {w.model: w for w in b.work} if a.study == b.study else {}
    body += [
        (f"{w.model} of {a.study}", f"{w.pace.rate:,.0f}", f"{works[w.model].pace.rate:,.0f}",
         f"{works[w.model].pace.rate / w.pace.rate:.2f}", _percent(w.pace.gflops / a.best),
         _percent(works[w.model].pace.gflops / b.best))
        for w in a.work if w.model in works
    ]  # fmt: skip
    if not body:
        raise ConfigError(f"speed: {first} and {second} have no net in common; measure both with the same options")
    lines = [f"{name}: {_title(s.machine)}, GEMM peak {s.best:,.0f} GFLOP/s ({path})"
             for name, s, path in (("A", a, first), ("B", b, second))]  # fmt: skip
    return "\n".join([*lines, "", *_table(head, body)])


# -- measuring ---------------------------------------------------------------------------------------------------------


def survey(
    study: Study | None = None, *, threads: int | str = "auto", device: str = "auto", quick: bool = False,
    tell: Callable[[str], None] = lambda text: None, clock: Clock = time.perf_counter,
) -> Speed:  # fmt: skip
    """Measure this machine: GEMM peak, the ladder of LSTMs, and the nets of ``study``.

    quick: one layer and 20 bars only, fewer repeats. tell: hears one line per net. Wall time counts, so that a busy
    machine shows as a slow one.
    """
    context = Context(device=compute.choose_device(device), threads=compute.choose_threads(threads))
    counts = sorted({1, context.threads}) if context.device == "cpu" else [1]
    seconds, sizes = (0.3, SHORT) if quick else (1.0, LADDER)
    need = None if study is None else _needs(study)  # a study that cannot be prepared says so before the waiting
    wall, cpu = time.perf_counter(), time.process_time()
    peak = {1: gemm_peak(1, device=context.device, clock=clock)}
    busy = 1 - (time.process_time() - cpu) / (time.perf_counter() - wall)
    peak |= {n: gemm_peak(n, device=context.device, clock=clock) for n in counts if n > 1}
    rows = []
    for pace in ladder(_lstm, context, sizes=sizes, seconds=seconds, clock=clock):
        rows.append(pace)
        tell(f"{pace.name}: {pace.rate:,.0f} samples/s")
    work = []
    for need_of in need or ():
        work.append(need_of.at(measure(need_of.subject(), context, seconds=seconds, clock=clock), context.threads))
        tell(f"{work[-1].model}: {work[-1].pace.rate:,.0f} samples/s")
    left = () if study is None else tuple(m.name for m in study.models if _net(m)[0] is None)
    name = None if study is None else study.settings.name
    busy = max(busy, 0.0) if context.device == "cpu" else 0.0
    return Speed(machine(context), peak, tuple(rows), busy, name, tuple(work), left)


def _lstm(size: Size, windows: Windows) -> Subject:
    settings = LSTM(hidden=size.hidden, layers=size.layers, lookback=size.lookback, batch=BATCH)
    return subject(size.name, settings, windows)


def subject(name: str, settings: Net, windows: Windows) -> Subject:
    """Return what ``measure`` takes: the net of ``settings`` for these windows."""
    columns = losses.make(settings, windows.outputs).columns
    net = settings.make(windows.width, columns, Stream(0, "speed"))
    return Subject(name, net, settings, Standardised(settings.target), settings.samples(windows))


@dataclass(frozen=True)
class _Need:
    """A net of a study and its samples per fold (train, valid, test); names: of a date."""

    name: str
    settings: Net
    repeats: int
    folds: tuple[tuple[int, int, int], ...]
    width: int
    outputs: int
    names: int

    def subject(self) -> Subject:
        """Return the net on made windows of the study's shape."""
        dates = max(math.ceil(self.settings.batch / self.names), 1)
        large = 4 * dates * self.names * self.settings.lookback * self.width > BYTES
        windows = made_windows(
            (2 if large else 4) * dates, self.names, self.width, self.outputs, self.settings.lookback
        )
        return subject(self.name, self.settings, windows)

    def at(self, pace: Pace, threads: int) -> Work:
        """Return the work and its time at ``pace`` on ``threads`` workers; a budget of CPU seconds ends it sooner."""
        each, look = pace.step / pace.samples, (pace.forward + pace.data) / pace.samples
        budget = self.settings.cpu_seconds / threads or math.inf
        fits = [min(self.settings.epochs * (a * each + b * look), budget) + c * look for a, b, c in self.folds]
        train, valid, test = (sum(f[i] for f in self.folds) for i in range(3))
        return Work(self.name, self.repeats * len(self.folds), self.settings.epochs, train, valid, test, pace,
                    self.repeats * sum(fits))  # fmt: skip


def _needs(study: Study) -> list[_Need]:
    """Return the nets of a study; ConfigError when it has none."""
    nets = [(m, *_net(m)) for m in study.models]
    if all(net is None for _, net, _ in nets):
        raise ConfigError(
            f"speed: {study.where} holds no net; its models are {', '.join(m.name for m in study.models)}"
        )
    p, out = study.prepare(), []
    for model, net, members in nets:
        if net is None:
            continue
        folds, names, windows = [], [], None
        for fold in p.folds:
            windows = study.windows(p, model, fold)
            stages = [windows, windows.with_(mask=fold.valid), windows.with_(mask=fold.test, labelled=False)]
            folds.append(tuple(len(net.samples(s) if s.labelled else s) for s in stages))
            names.append(np.diff(net.samples(windows).offsets))
        if windows is None or not sum(map(len, names)):
            raise DataError(f"speed: {study.where} leaves {model.name} no train sample; lengthen split.train")
        repeats = len(study.seeds_of(model)) * members
        count = max(round(float(np.median(np.concatenate(names)))), 1)
        out.append(_Need(model.name, net, repeats, tuple(folds), windows.width, windows.outputs, count))
    return out


def _net(model: Forecaster) -> tuple[Net | None, int]:
    """Return the net that a model trains and how often: an ensemble trains its own several times."""
    inner, members = getattr(model, "of", model), getattr(model, "members", 1)
    return (inner, members) if isinstance(inner, Net) else (None, 0)


def machine(context: Context) -> dict[str, Any]:
    """Return what a result says about where it was measured."""
    import torch

    name = platform.processor()
    try:  # Linux leaves the above empty
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), name)
    except OSError:
        pass
    if context.device.startswith("cuda"):
        name = torch.cuda.get_device_name(context.device)
    when = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    return {"processor": name or platform.machine(), "cores": compute.cores(), "when": when,
            **compute.record(context.device, context.threads)}  # fmt: skip


# -- the command -------------------------------------------------------------------------------------------------------


def command(
    study: Path | None = None, assignments: list[str] | None = None, out: Path | None = None, *,
    compared: tuple[Path, Path] | None = None, threads: str = "auto", device: str = "auto", quick: bool = False,
    as_json: bool = False, tell: Callable[[str], None] = lambda text: None,
) -> str:  # fmt: skip
    """Do what the command line asks and return the text to print: a comparison, or tables and where they are saved.

    study: also project the time of its nets. out: the JSON file to write, by default one in the cache folder.
    compared: two saved results; nothing is measured then, and it stands alone. threads: "auto" or a number.
    """
    if compared is not None:
        if study is not None or out is not None or assignments or quick or as_json:
            raise ConfigError("--compare stands alone: it takes two files that hitherto speed has written")
        return compare(*compared)
    if assignments and study is None:
        raise ConfigError("--set changes a study: give the study file too, with --study FILE")
    if threads != "auto" and not threads.isdecimal():
        raise ConfigError(f"threads must be 'auto' or a whole number >= 1, got '{threads}'")
    place = _place(out)
    found = survey(
        None if study is None else Study.load(study, assignments), device=device, quick=quick, tell=tell,
        threads=threads if threads == "auto" else int(threads),
    )  # fmt: skip
    write_json(place, found.plain())
    return found.to_json() if as_json else f"{found.to_text()}\nsaved: {place}"


def _place(out: Path | None) -> Path:
    """Return the file to write, refused before anything is measured."""
    if out is not None:
        if out.suffix != ".json" or out.is_dir() or not out.absolute().parent.is_dir():
            raise ConfigError(f"--out must be a .json file in a folder that exists, got '{out}'")
        return out
    folder = user_cache() / "speed"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HithertoError(
            f"the cache folder {folder} cannot be made: {error.strerror}; use --out FILE.json"
        ) from None
    return folder / f"speed-{dt.datetime.now(dt.UTC):%Y%m%d-%H%M%S}.json"


# -- words and numbers -------------------------------------------------------------------------------------------------


def duration(seconds: float) -> str:
    """Return seconds as people say them: "0.4 s", "12 s", "3 min 05 s", "2 h 10 min"."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    if seconds < 3599.5:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest:02d} s"
    hours, rest = divmod(round(seconds / 60), 60)
    return f"{hours:,} h {rest:02d} min"


def _title(m: dict[str, Any]) -> str:
    threads = f"{m['threads']} thread{'s' if m['threads'] > 1 else ''} of {m['cores']}"
    return f"{m['processor']}, {threads}, torch {m['versions'].get('torch', '?')}, {m['when'][:10]}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _table(head: tuple[str, ...], body: list[tuple[str, ...]]) -> list[str]:
    """Return aligned lines, the first column to the left."""
    rows = [head, *body]
    wide = [max(len(r[i]) for r in rows) for i in range(len(head))]
    return ["  ".join([r[0].ljust(wide[0]), *(c.rjust(w) for c, w in zip(r[1:], wide[1:], strict=True))]) for r in rows]
