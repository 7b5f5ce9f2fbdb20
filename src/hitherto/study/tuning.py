"""Settings chosen for a study's model by a search that sees only bars from before the study's first test bar.

One search serves every fold of a walk-forward, so it may use only what was known before the first of them is tested:
the validation stretch of a later fold lies in an earlier fold's test, and settings chosen there would know it.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from hitherto.config import nearest
from hitherto.errors import ConfigError, DataError
from hitherto.evaluate.forecast import daily_rank_ic
from hitherto.files import write_atomic
from hitherto.labels import Label, forward_return
from hitherto.models.base import Context, Forecaster
from hitherto.panel import Panel
from hitherto.progress import Progress
from hitherto.run import plain
from hitherto.seeds import Stream
from hitherto.split import Fold, make_fold
from hitherto.study.core import Prepared, Study, admitted, default_folder, first_row
from hitherto.train.search import JOURNAL, LOCK, search
from hitherto.train.trials import Search

Score = Literal["rank_ic", "mse"]
EVENTS = "events.jsonl"
HEAD = 256  # bars in which the first known features are looked for, doubled until they are found


@dataclass(frozen=True, eq=False)
class Tuned:
    """The outcome of ``tune``: model, its Search, how it was scored, and the dates of the bars that were used.

    stretch: first and last session the search could see. until: the session of the study's first test bar.
    """

    study: Study
    model: str
    search: Search
    score: Score
    stretch: tuple[np.datetime64, np.datetime64]
    until: np.datetime64

    @property
    def settings(self) -> dict[str, Any]:
        """The best settings, of those in the model's space."""
        return dict(self.search.best.settings)

    def toml(self) -> str:
        """Return the study file with the best settings put in."""
        study = copy.copy(self.study)
        tables = [dict(t) for t in study.settings.models]
        place = [m.name for m in study.models].index(self.model)
        if place >= study.listed:  # a baseline that every study fits, not written in the file
            place = len(tables)
            tables.append({"kind": self.model})
        tables[place].update(self.settings)
        study.settings = study.settings.model_copy(update={"models": tables})
        return study.toml()

    def to_text(self) -> str:
        """Return the table of trials, the best settings, and what was never read."""
        what = "mean daily RankIC" if self.score == "rank_ic" else "minus the mean squared error"
        first, last = self.stretch
        return (
            f"{self.model}: {what} on {self.search.folds} inner folds of {first} .. {last}; "
            f"the first test bar, {self.until}, and all later ones were not read\n\n{self.search.to_text()}"
        )

    def to_json(self) -> str:
        """Return model, best settings, count of trials and all trials as JSON."""
        first, last = map(str, self.stretch)
        body = {
            "model": self.model, "score": self.score, "stretch": [first, last], "first_test_bar": str(self.until),
            "folds": self.search.folds, "settings": self.settings, "best": self.search.best.number,
            "count": self.search.count, "seconds": self.search.seconds, "trials": list(self.search.trials),
        }  # fmt: skip
        return json.dumps(plain(body), ensure_ascii=False)

    def __repr__(self) -> str:
        return f"Tuned({self.model}: trial {self.search.best.number} of {len(self.search.trials)})"


def tune(
    study: Study, *, model: str | None = None, budget: str | float, folder: str | Path, folds: int = 4,
    score: Score = "rank_ic", trials: int | None = None, progress: str = "auto",
) -> Tuned:  # fmt: skip
    """Search the space of one of the study's models (default: the first) until ``budget`` is spent.

    The panel is cut before the first test bar of the study; features, labels, folds and fits of the search are made
    from that cut, so that later bars do not exist for it. Inside it, the later half of the first fold's train and
    validation bars is tiled by ``folds`` stretches to score on; each has a stretch of the same length before it that
    stops the training early (scoring there would reward what the stopping picked), and all before that is trained on.
    score: mean daily RankIC of the output that the first portfolio trades, or "mse", minus the mean squared error
    against raw labels (for markets of fewer than 3 names, and models with target "raw"). A trial is fitted once per
    fold. folder: see train.search; a search found there goes on. trials: at most this many.
    Errors: ConfigError for a model without a space or too few bars; those of train.search.search.
    """
    forecaster = pick(study, model)
    check_score(score, forecaster)
    fields = {f.name: getattr(forecaster, f.name) for f in dataclasses.fields(forecaster)}  # type: ignore[arg-type]
    space = forecaster.space  # type: ignore[attr-defined]
    unknown = [name for name in space if name not in fields]
    if unknown:
        raise ConfigError(f"tune: the space of {forecaster.name} varies '{unknown[0]}', which is no setting of it")
    prepared, until = inner(study, folds)
    digest = hashlib.sha256(f"{study.digest()}|{prepared.panel.digest()}|{forecaster!r}|{score}".encode()).hexdigest()
    folder = own(Path(folder))
    with Progress(mode=progress, log_path=folder / EVENTS) as seen:  # type: ignore[arg-type]

        def trial(settings: dict[str, Any], fold: int, rng: Stream) -> float:
            candidate = dataclasses.replace(forecaster, **settings)  # type: ignore[type-var]

            def tell(event: dict[str, Any]) -> None:
                if event.get("event") != "stop":  # one line per trial is enough
                    seen.emit({"fold": fold, **event})

            context = Context(emit=tell, **study.place)
            return score_fold(study, prepared, prepared.folds[fold], candidate, score, rng, context)

        found = search(
            trial, {k: fields[k] for k in space}, space, folds=folds, budget=budget, folder=folder, trials=trials,
            rng=Stream(study.settings.seed, "tune", forecaster.name), digest=digest, emit=seen.emit,
        )  # fmt: skip
    sessions = prepared.panel.sessions
    begin = int(np.flatnonzero(prepared.folds[0].rows)[0])
    return Tuned(study, forecaster.name, found, score, (sessions[begin], sessions[-1]), until)


def command(
    study_path: str | Path, assignments: list[str] | None, model: str | None, budget: str | float, folds: int = 4,
    out: str | Path | None = None, *, score: Score = "rank_ic", trials: int | None = None, progress: str = "auto",
    as_json: bool = False,
) -> str:  # fmt: skip
    """Tune a study file, write best.toml and tuned.json into the folder, and return the text to print."""
    study = Study.load(study_path, assignments)
    folder = Path(out) if out is not None else default_folder(f"{study.settings.name}-tune")
    tuned = tune(study, model=model, budget=budget, folder=folder, folds=folds, score=score, trials=trials,
                 progress=progress)  # fmt: skip
    write_atomic(folder / "best.toml", tuned.toml().encode())
    write_atomic(folder / "tuned.json", tuned.to_json().encode())
    return tuned.to_json() if as_json else f"{tuned.to_text()}\n\nstudy with the best settings: {folder / 'best.toml'}"


def own(folder: Path) -> Path:
    """Return the folder, made if need be; ConfigError when it holds something else than a search."""
    held = {p.name for p in folder.iterdir()} if folder.is_dir() else set()
    if folder.is_file() or (held - {EVENTS, LOCK} and JOURNAL not in held):
        raise ConfigError(f"tune: {folder.name} holds something else than a search; give another folder")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def pick(study: Study, name: str | None) -> Forecaster:
    """Return the model to tune; ConfigError that names those that have a space."""
    names = [m.name for m in study.models]
    name = names[0] if name is None else name
    if name not in names:
        raise ConfigError(f"tune: no model '{name}' in {study.where}{nearest(name, names)}")
    found = study.models[names.index(name)]
    if not getattr(found, "space", None) or not dataclasses.is_dataclass(found):
        have = [m.name for m in study.models if getattr(m, "space", None) and dataclasses.is_dataclass(m)]
        cure = f"tune one of {', '.join(have)}" if have else "list a model that has one, such as kind = 'lstm'"
        raise ConfigError(f"tune: {name} has no search space; {cure}")
    return found


def check_score(score: str, model: Forecaster) -> None:
    """Raise a ConfigError for an unknown score, or squared errors of forecasts that are not in the label's units."""
    if score not in get_args(Score):
        raise ConfigError(f"tune: score must be one of {', '.join(get_args(Score))}, got {score!r}")
    target = getattr(model, "target", "raw")
    if score == "mse" and (target != "raw" or "target" in getattr(model, "space", {})):
        raise ConfigError(
            f"tune: {model.name} forecasts target '{target}' or tries others, whose squared errors cannot be compared "
            "with raw labels; use score 'rank_ic', or target = 'raw'"
        )


def inner(study: Study, folds: int) -> tuple[Prepared, np.datetime64]:
    """Return the study prepared on the bars before its first test bar, with inner folds, and that bar's session."""
    begin, stop = stretch(study, study.panel)
    panel = study.panel.rows(stop)
    features = study.make_features(panel)
    label = forward_return(panel, tuple(study.settings.label.horizons), study.settings.label.entry)
    ok = admitted(panel)
    size = (stop - begin) // (2 * folds) if folds > 0 else 0
    if size <= max(label.horizons) + 1:
        raise ConfigError(
            f"tune: the {stop - begin} bars from the first train bar to the first test bar cannot hold {folds} inner "
            f"folds for labels over {max(label.horizons)} bars; use fewer folds or a longer train stretch"
        )
    made = [_inner_fold(k, label, ok, begin, stop - (folds - k) * size, size) for k in range(folds)]
    return Prepared(panel, features, label, ok, made), study.panel.sessions[stop]


def _inner_fold(k: int, label: Label, ok: NDArray[np.bool_], begin: int, first: int, size: int) -> Fold:
    """Train from ``begin``, stop early by the ``size`` bars before ``first``, score on the ``size`` bars from it."""
    return make_fold(
        k, label, ok, 1, train=np.arange(begin, first - size), valid=np.arange(first - size, first),
        test=np.arange(first, first + size),
    )  # fmt: skip


def stretch(study: Study, panel: Panel) -> tuple[int, int]:
    """Return (first train row of the study's first fold, its first test row): what a search may see.

    Only the clock is asked, and bars from the start until the features are known: what the prices do later cannot
    move the cut.
    """
    T = len(panel.times)
    none = np.full((T, 1, 1), -1, np.int32)
    clock = Label(np.full((T, 1, 1), np.nan), none, none, ("clock",), (1,))
    fold = next(iter(study.splitter(panel).split(clock, np.ones((T, 1), bool), 1, start=_warm(study, panel))))
    return int(fold.rows.argmax()), int(fold.test.any(axis=1).argmax())


def _warm(study: Study, panel: Panel) -> int:
    """Return the first row with all features known, from no more bars than it takes."""
    stop = HEAD
    while True:
        head = panel.rows(min(stop, len(panel.times)))
        try:
            return first_row(study.make_features(head), admitted(head))
        except DataError:
            if stop >= len(panel.times):
                raise
        stop *= 2


def score_fold(
    study: Study, p: Prepared, fold: Fold, model: Forecaster, score: Score, rng: Stream, context: Context
) -> float:
    """Fit on the inner fold's train rows and return the score on its last stretch; DataError when there is none."""
    forecast, real = forecast_fold(study, p, fold, model, rng, context)
    series = daily_rank_ic(forecast, real) if score == "rank_ic" else -np.square(forecast - real)
    if not np.isfinite(series).any():
        raise DataError(
            f"{model.name}: no date has a RankIC; the forecasts are all equal, or fewer than 3 names are known"
            if score == "rank_ic"
            else f"{model.name}: no forecast meets a known label"
        )
    return float(np.nanmean(series))


def forecast_fold(
    study: Study, p: Prepared, fold: Fold, model: Forecaster, rng: Stream, context: Context
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit on an inner fold; return forecasts and outcomes (rows of its last stretch, N) of the output traded first."""
    train = study.windows(p, model, fold)
    fitted = model.fit(train, train.with_(mask=fold.valid), rng=rng, context=context)
    held = train.with_(mask=fold.test, labelled=False)
    output = study.settings.portfolio[0].output
    forecast = np.full(p.admitted.shape, np.nan)
    forecast[held.index[:, 0], held.index[:, 1]] = fitted.predict(held)[:, output]
    rows = fold.test.any(axis=1)
    return forecast[rows], p.label.values[rows, :, output]
