"""The straight line, in order: bars, features, labels, folds, fits, forecasts, scores, weights, books, evaluation."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hitherto import compute, config
from hitherto.config import StudySettings
from hitherto.errors import ConfigError, DataError, HithertoError
from hitherto.features import library, normalise
from hitherto.features.base import Affine, Features, Relative
from hitherto.features.command import choose
from hitherto.labels import Label, forward_return
from hitherto.models.base import Context, Fitted, Forecast, Forecaster, to_forecast
from hitherto.panel import Panel, read_bars
from hitherto.seeds import Stream
from hitherto.split import Dates, Fold, WalkForward
from hitherto.windows import Missing, Windows

if TYPE_CHECKING:
    from hitherto.study.result import Result

# From the simplest to the most that is asked of the data: the order of the ladder.
KINDS = {
    "zero": ("naive", "Zero"),
    "persistence": ("naive", "Persistence"),
    "momentum": ("naive", "Momentum"),
    "ridge": ("linear", "Ridge"),
    "markov_ridge": ("markov", "MarkovRidge"),
    "nlinear": ("dlinear", "NLinear"),
    "dlinear": ("dlinear", "DLinear"),
    "lightgbm": ("trees", "LightGBM"),
    "mlp": ("mlp", "MLP"),
    "rnn": ("gated", "RNN"),
    "gru": ("gated", "GRU"),
    "lstm": ("recurrent", "LSTM"),
    "conv_lstm": ("conv_lstm", "ConvLSTM"),
    "mingru": ("scan", "MinGRU"),
    "minlstm": ("scan", "MinLSTM"),
    "tcn": ("tcn", "TCN"),
    "alstm": ("alstm", "ALSTM"),
    "transformer": ("transformer", "Transformer"),
    "cross_stock": ("cross_stock", "CrossStock"),
    "ensemble": ("ensemble", "Ensemble"),
}
IN_MEMORY = "panel in memory"
BASELINES = ("zero", "persistence", "ridge", "lightgbm")
CROSS_SECTIONAL = {"cs_rank": "rank", "cs_zscore": "zscore", "cs_robust_zscore": "robust_zscore"}


@dataclass(frozen=True, eq=False)
class Prepared:
    """A study before any fit: panel, features, label, admitted (T, N) bool samples, folds."""

    panel: Panel
    features: Features
    label: Label
    admitted: NDArray[np.bool_]
    folds: list[Fold]


@dataclass(frozen=True, eq=False)
class Fit:
    """One fitted job and its out-of-sample predictions."""

    model: Forecaster
    seed: int
    fold: int
    affine: Affine | None
    fitted: Fitted
    windows: Windows
    predicted: NDArray[np.float64]
    seconds: float


class Study:
    """One study: settings as in a study file, given as keyword tables, with a Panel or bars of your own.

    ``Study(bars="prices.parquet", features={"set": "close_only"}, models=[{"kind": "lstm", "hidden": 32}])``.
    panel: use this Panel instead of reading ``bars``. models: tables with a ``kind``, or objects that meet the
    Forecaster protocol. Every study also fits zero, persistence, ridge and LightGBM, to have something to beat.
    Errors: ConfigError that names the setting.
    """

    def __init__(
        self, panel: Panel | None = None, *, bars: str | Path | None = None, base: Path | None = None,
        where: str = "study", **tables: Any,
    ) -> None:  # fmt: skip
        tables = dict(tables)
        for key, kind in (("market", dict), ("models", list)):
            if not isinstance(tables.get(key, kind()), kind):
                word = "a table" if kind is dict else "a list of tables or models"
                raise ConfigError(f"{where}: setting '{key}' must be {word}, got {tables[key]!r}")
        market = dict(tables.pop("market", {}))
        if bars is not None:
            market["bars"] = str(bars)
        if panel is not None:
            market.setdefault("bars", IN_MEMORY)
        given = tables.get("models", [{"kind": "lstm"}])
        tables["models"] = [m if isinstance(m, dict) else table_of(m) for m in given]
        if isinstance(tables.get("portfolio"), dict):
            tables["portfolio"] = [tables["portfolio"]]
        self.settings: StudySettings = config.validate({**tables, "market": market}, where)
        self.base = base or Path.cwd()
        self.where = where
        self._panel = panel
        self.models: list[Forecaster] = [
            build_model(m, f"models.{i}") if isinstance(m, dict) else m for i, m in enumerate(given)
        ]
        self.listed = len(self.models)
        have = {m.name for m in self.models}
        self.models += [build_model({"kind": k}, k) for k in BASELINES if k not in have]
        if len({m.name for m in self.models}) < len(self.models):
            raise ConfigError(f"{where}: two models share a name; give each its own name = '...'")

    @classmethod
    def load(cls, path: str | Path, assignments: list[str] | None = None, panel: Panel | None = None) -> Study:
        """Read a study file; ``assignments`` are "a.b=c" overrides. Paths in it are relative to its folder."""
        path = Path(path)
        tables = config.override(config.read_toml(path), assignments or [])
        for key in tables:  # before they become arguments, some of which a study file does not have
            if key not in StudySettings.model_fields:
                near = config.nearest(key, list(StudySettings.model_fields))
                raise ConfigError(f"{path.name}: unknown setting '{key}'{near}")
        return cls(panel, base=path.resolve().parent, where=path.name, **tables)

    def toml(self) -> str:
        """Return the resolved study as TOML: what a run folder keeps to repeat itself."""
        tables = self.settings.model_dump()
        files = {"market": ("bars", "membership", "benchmark"), "exchange": ("status", "actions")}
        for table, key in [(tables[section], key) for section, keys in files.items() for key in keys]:
            if table[key] and not table[key].startswith("sample:") and table[key] != IN_MEMORY:
                table[key] = str((self.base / table[key]).resolve())
        return config.dump_toml(tables)

    @cached_property
    def panel(self) -> Panel:
        """The bars of the study, laid out; DataError when they are restated and the study does not allow it."""
        panel = self._panel
        m = self.settings.market
        if panel is None and m.bars == IN_MEMORY:
            raise DataError(
                f"{self.where}: this study was run on a Panel in memory, which no file holds; "
                "give it again: Study.load(path, panel=panel).run(...)"
            )
        if panel is None:
            panel = self._read(m.bars, membership=m.membership and self.path(m.membership))
        if panel.adjustment == "restated_total_return" and not m.allow_restated:
            raise DataError(
                f"{self.where}: the bars are restated (their levels know later splits and dividends); "
                "use raw prices with a factor, or accept scale-free features only by market.allow_restated = true"
            )
        return _between(panel, m.start, m.end)

    @cached_property
    def place(self) -> dict[str, Any]:
        """Device, threads and precision of the nets' training, as [compute] asks; ConfigError when refused."""
        c = self.settings.compute
        device = compute.choose_device(c.device) if c.device != "cpu" else c.device
        precision = compute.choose_precision(c.precision, device)
        return {"device": device, "threads": compute.choose_threads(c.threads), "precision": precision}

    def path(self, text: str) -> str:
        """Return a path of the study file, taken from its folder; "sample:NAME" stays."""
        return text if text.startswith("sample:") else str(self.base / text)

    def _read(self, source: str, membership: str | None = None) -> Panel:
        m = self.settings.market
        return read_bars(self.path(source), membership=membership, calendar=m.calendar, zone=m.zone, close=m.close,
                         adjustment=m.adjustment, columns=m.columns or None)  # fmt: skip

    @cached_property
    def benchmark(self) -> NDArray[np.float64] | None:
        """(T,) float64: the benchmark's close on each session, NaN where it has none; None if none was given."""
        m = self.settings.market
        if m.benchmark is None:
            return None
        other = read_bars(self.path(m.benchmark), zone=m.zone, close=m.close)
        symbol = m.benchmark_symbol or other.symbols[0]
        if symbol not in other.symbols:
            near = config.nearest(symbol, list(other.symbols))
            raise ConfigError(f"{self.where}: market.benchmark_symbol '{symbol}' is not in the benchmark bars{near}")
        close = other.view("close")[:, other.symbols.index(symbol)]
        row = np.searchsorted(other.sessions, self.panel.sessions)
        ok = (row < len(other.sessions)) & (
            other.sessions[np.minimum(row, len(other.sessions) - 1)] == self.panel.sessions
        )
        return np.where(ok, close[np.minimum(row, len(close) - 1)], np.nan)

    @cached_property
    def expressions(self) -> dict[str, str]:
        """Feature name -> expression: the named set, then the study's own."""
        f = self.settings.features
        if f.set is None:
            return dict(f.expressions)
        return {**choose(f.set, f.vwap, [], tuple(self.panel.fields)), **f.expressions}

    def make_features(self, panel: Panel) -> Features:
        """Return the features of any panel of this study's kind (the audit calls it on rewritten ones)."""
        features = library.build(panel, self.expressions)
        f = self.settings.features
        if f.set == "alpha360_panel":
            return dataclasses.replace(features, relative=self._relative(features))
        if f.normalise in CROSS_SECTIONAL:
            return normalise.cross_sectional(features, admitted(panel), CROSS_SECTIONAL[f.normalise])  # type: ignore[arg-type]
        if f.normalise == "rolling_zscore":
            return normalise.rolling_zscore(features, f.span)
        if f.normalise == "ema_zscore":
            return normalise.ema_zscore(features, float(f.span))
        return features

    def _relative(self, features: Features) -> Relative:
        """Return the window transform that makes Alpha360's numbers of its six raw fields."""
        f = self.settings.features
        if f.expressions or f.normalise != "none":
            raise ConfigError(
                f"{self.where}: alpha360_panel divides each window by its own last close and volume; it takes "
                "features.normalise = 'none' (or instance = true on top) and no further expressions"
            )
        volume = features.names.index("VOLUME")
        by = tuple(volume if i == volume else features.names.index("CLOSE") for i in range(len(features.names)))
        return Relative(by, tuple(1e-12 if i == volume else 0.0 for i in range(len(by))))

    def prepare(self, panel: Panel | None = None) -> Prepared:
        """Return features, label and purged folds of the study's panel (or of ``panel``)."""
        panel = self.panel if panel is None else panel
        s = self.settings
        self._check_clock(panel)
        features = self.make_features(panel)
        label = forward_return(panel, tuple(s.label.horizons), s.label.entry)
        ok = admitted(panel)
        reach = max(m.lookback for m in self.models) + max(b for b in features.lookbacks if b < len(panel.times)) - 1
        folds = list(self.splitter(panel).split(label, ok, reach, start=first_row(features, ok)))
        for f in folds:
            if not f.train.any() or not f.test.any():
                what = "train" if not f.train.any() else "test"
                raise ConfigError(
                    f"{self.where}: fold {f.index} has no {what} sample ({f.purged} were purged); "
                    "lengthen that stretch, shorten label.horizons, or check the universe"
                )
        return Prepared(panel, features, label, ok, folds)

    def _check_clock(self, panel: Panel) -> None:
        """Refuse a periods_per_year that is off by more than a factor of 2: every yearly figure would be."""
        years = float((panel.sessions[-1] - panel.sessions[0]).astype(int)) / 365.25
        if years < 0.15:
            return
        seen, said = len(panel.times) / years, self.settings.periods_per_year
        if not 0.5 < seen / said < 2:
            raise ConfigError(
                f"{self.where}: periods_per_year is {said}, but these bars come about {seen:,.0f} a year; "
                f"set periods_per_year = {seen:.0f} or so"
            )

    def splitter(self, panel: Panel) -> WalkForward | Dates:
        """Return the split of the settings on the rows of ``panel``."""
        s = self.settings.split
        if s.kind == "dates":
            return Dates(*(self._rows(panel, n, getattr(s, n)) for n in ("train", "valid", "test")))
        length = {n: bars(getattr(s, n), self.settings.periods_per_year) for n in ("train", "valid", "test")}
        return WalkForward(length["train"], length["valid"] or 0, length["test"] or 1, s.folds, s.gap, s.mode)

    def _rows(self, panel: Panel, name: str, span: list[dt.date]) -> tuple[int, int]:
        a, b = (np.datetime64(d, "D") for d in span)
        first = int(np.searchsorted(panel.sessions, a))
        last = int(np.searchsorted(panel.sessions, b, side="right")) - 1
        if last < first:
            have = f"{panel.sessions[0]}..{panel.sessions[-1]}"
            raise ConfigError(f"{self.where}: split.{name} {a}..{b} holds no bar; the bars run {have}")
        return first, last

    def windows(self, p: Prepared, model: Forecaster, fold: Fold) -> Windows:
        """Return the train windows of a fold with its fitted transform; other stages differ by mask only."""
        f = self.settings.features
        affine = None
        if f.normalise == "robust_zscore":
            affine = normalise.fit_robust_zscore(p.features, fold.rows, p.admitted, f.limit)
        elif f.normalise == "zscore":
            affine = normalise.fit_zscore(p.features, fold.rows, p.admitted, f.limit)
        return Windows(p.features, p.label, fold.train, model.lookback, affine,
                       Missing(f.max_missing, f.fill, f.mask_channel), f.instance)  # fmt: skip

    def fit(self, p: Prepared, fold: Fold, model: Forecaster, seed: int, context: Context) -> Fit:
        """Fit one model on one fold and predict its test stretch."""
        begun = time.perf_counter()
        train = self.windows(p, model, fold)
        valid = train.with_(mask=fold.valid)
        rng = Stream(self.settings.seed, "fold", fold.index, model.name, seed)
        try:
            fitted = model.fit(train, valid, rng=rng, context=context)
        except HithertoError as e:
            e.args = (f"fold {fold.index}, {model.name}: {e}",)
            raise
        test = train.with_(mask=fold.test, labelled=False)
        return Fit(
            model, seed, fold.index, train.affine, fitted, test, fitted.predict(test), time.perf_counter() - begun
        )

    def fit_all(self, p: Prepared, context: Callable[[str], Context]) -> list[Fit]:
        """Fit every (model, seed, fold): nets one on each thread, the others one after another on all of them."""
        from hitherto.models.ensemble import Ensemble
        from hitherto.models.net import Net
        from hitherto.train.together import each_on_one

        jobs = [(f, m, k) for m in self.models for k in self.seeds_of(m) for f in p.folds]

        def given(job: tuple[Fold, Forecaster, int]) -> Context:
            return context(f"fold{job[0].index}-{job[1].name}-seed{job[2]}")

        def one(job: tuple[Fold, Forecaster, int], check: Callable[[], None]) -> Fit:
            c = given(job)
            return self.fit(p, *job, dataclasses.replace(c, threads=1, emit=lambda event: (check(), c.emit(event))[1]))

        threads = given(jobs[0]).threads if given(jobs[0]).device == "cpu" else 1
        nets = [k for k, job in enumerate(jobs) if isinstance(job[1], Net | Ensemble)]
        spread = nets[: len(nets) - len(nets) % threads]  # those that would leave a thread idle run on all of them
        done = {k: self.fit(p, *job, given(job)) for k, job in enumerate(jobs) if k not in spread}
        done |= dict(zip(spread, each_on_one(one, [jobs[k] for k in spread], threads), strict=True))
        return [done[k] for k in range(len(jobs))]

    def seeds_of(self, model: Forecaster) -> range:
        """Return the seeds to fit; closed-form models have one."""
        return range(self.settings.seeds if getattr(model, "stochastic", True) else 1)

    def run(self, out: str | Path | None = None, *, resume: bool = False, progress: str = "auto") -> Result:
        """Run the study into the folder ``out`` (default hitherto-runs/NAME-TIME) and return its Result.

        resume: take up an interrupted run of the same study in ``out``. progress: "auto", "rich", "plain", "off".
        """
        from hitherto.study.result import run_study

        folder = Path(out) if out is not None else default_folder(self.settings.name)
        return run_study(self, folder, resume=resume, progress=progress)

    def digest(self) -> str:
        """Return the SHA-256 of the resolved study file."""
        return hashlib.sha256(self.toml().encode()).hexdigest()

    def audit_targets(self) -> Any:
        """Return what the audit tries on this study (an AuditPlan); fits its first fold for that."""
        from hitherto.study.auditing import plan

        return plan(self)


def forecasts_of(fits: list[Fit], shape: tuple[int, int], names: tuple[str, ...]) -> list[Forecast]:
    """Return one Forecast per (model, seed), folds laid side by side."""
    keys = list(dict.fromkeys((f.model.name, f.seed) for f in fits))
    out = []
    for name, seed in keys:
        parts = [(f.fold, f.windows, f.predicted) for f in fits if (f.model.name, f.seed) == (name, seed)]
        out.append(to_forecast(name, parts, shape, names, seed))
    return out


def admitted(panel: Panel) -> NDArray[np.bool_]:
    """Return (T, N) bool: listed, in the universe, not suspended, close known: what may be trained on at t."""
    return panel.universe & panel.listed & ~panel.suspended & np.isfinite(panel.fields["close"])


def first_row(features: Features, ok: NDArray[np.bool_]) -> int:
    """Return the first row at which some admitted name has every feature: before it there is only warm-up."""
    full = (np.isfinite(features.values).all(axis=2) & ok).any(axis=1)
    if not full.any():
        raise DataError("features: no bar has all features known; the bars are shorter than the longest lookback")
    return int(np.argmax(full))


def bars(span: int | str | None, periods_per_year: int) -> int | None:
    """Return a span in bars: 250 -> 250, "2y" -> 2 years of periods, "6m", "10w" (52 a year), "30d" -> 30 bars."""
    if span is None or isinstance(span, int):
        return span
    count, unit = int(span[:-1]), span[-1]
    per = {"y": periods_per_year, "m": periods_per_year / 12, "w": periods_per_year / 52, "d": 1}[unit]
    return max(1, round(count * per))


def build_model(table: Mapping[str, Any], where: str) -> Forecaster:
    """Return the model that a settings table names by its ``kind``."""
    import importlib

    rest = dict(table)
    kind = rest.pop("kind", None)
    if kind not in KINDS:
        near = config.nearest(str(kind), list(KINDS))
        raise ConfigError(f"setting '{where}.kind': unknown model {kind!r}{near}")
    module, name = KINDS[kind]
    cls = getattr(importlib.import_module(f"hitherto.models.{module}"), name)
    if isinstance(rest.get("of"), Mapping):  # an ensemble's members are a table too
        rest["of"] = build_model(rest["of"], f"{where}.of")
    return config.build_settings(cls, rest, where)


def table_of(model: Any) -> dict[str, Any]:
    """Return the settings table of a model object, or a "custom" one that a run folder cannot repeat."""
    if not isinstance(model, Forecaster):
        raise ConfigError(f"models: {model!r} has no fit(train, valid, *, rng, context) with name, unit and lookback")
    kinds = {cls: kind for kind, (_, cls) in KINDS.items()}
    cls = type(model)
    if cls.__module__.startswith("hitherto.models") and cls.__name__ in kinds and is_dataclass(model):
        values = {f.name: getattr(model, f.name) for f in dataclasses.fields(model) if f.name != "unit"}
        inner = {"of": table_of(values["of"])} if "of" in values else {}
        return {"kind": kinds[cls.__name__], **{k: v for k, v in values.items() if v is not None}, **inner}
    return {"kind": "custom", "name": str(model.name)}


def _between(panel: Panel, start: dt.date | None, end: dt.date | None) -> Panel:
    if end is not None:
        panel = panel.rows(int(np.searchsorted(panel.sessions, np.datetime64(end, "D"), side="right")))
    if start is not None:
        panel = panel.since(int(np.searchsorted(panel.sessions, np.datetime64(start, "D"))))
    if not len(panel.times):
        raise DataError(f"market: no bar between {start} and {end}; the dates lie outside the bars")
    return panel


def default_folder(name: str) -> Path:
    """Return hitherto-runs/NAME-TIME in the working folder (UTC time)."""
    stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%d-%H%M%S")
    return Path("hitherto-runs") / f"{name}-{stamp}"
