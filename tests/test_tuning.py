"""The study's driver of the search: which bars it may see, and the proof that it sees no others."""

import dataclasses
import json
import os
from typing import ClassVar

import numpy as np
import pytest
from worlds import study_of

from hitherto.audit.rewrite import rewrite
from hitherto.errors import ConfigError, HithertoError
from hitherto.labels import forward_return
from hitherto.market.synthetic import linear
from hitherto.seeds import Stream
from hitherto.study import Study, tuning
from hitherto.study.core import KINDS, build_model
from hitherto.study.tuning import check_score, command, inner, stretch, tune
from hitherto.train.search import Choice, Range
from hitherto.train.trials import Search, Trial

pytest.importorskip("optuna")


@pytest.fixture(autouse=True)
def fast_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def logged(folder):
    return [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]


@dataclasses.dataclass(frozen=True)
class Tilt:
    """Forecasts ``slope`` times the last value of the first feature, plus noise; reads what ``secret`` gives it."""

    slope: float = 1.0
    blur: float = 0.5
    name: str = "tilt"
    unit: str = "asset"
    lookback: int = 1
    secret: object = None
    space: ClassVar = {"slope": Range(-1.0, 1.0), "blur": Range(0.01, 2.0, log=True)}

    def fit(self, train, valid, *, rng, context):
        return Tilted(self, rng, 0.0 if self.secret is None else self.secret())


class Tilted:
    def __init__(self, settings, rng, known):
        self.settings, self.rng, self.known = settings, rng, known

    def predict(self, windows):
        x = np.concatenate([b.x[-1, :, 0] for b in windows.batches(10_000)]).astype(float)[:, None]
        blur = self.rng.numpy("blur").normal(size=x.shape)
        return (self.settings.slope + self.known) * x + self.settings.blur * blur


TOY = linear(0, bars=700, symbols=8, strength=0.3)
SPLIT = {"train": 300, "valid": 100, "test": 100, "folds": 2, "mode": "expanding"}


def world(panel=None, model=None, **tables):
    study = study_of(TOY, [model or Tilt()], **{"split": SPLIT, **tables})
    return study if panel is None else study_from(study, panel)


def study_from(study, panel):
    study._panel = panel
    return study


def tuned(study, folder, **options):
    return tune(study, **{"budget": "1 h", "folder": folder, "trials": 8, "progress": "off", **options})


def bits(trials):
    """What must not change: everything but the seconds."""
    return [dataclasses.replace(t, seconds=0.0) for t in trials]


@pytest.mark.parametrize("tables", [{}, {"split": {**SPLIT, "folds": None, "gap": 5}}, {"label": {"horizons": [5, 1]}}])
def test_inner_folds_lie_before_the_first_test_row(tables):
    study = world(**tables)
    p, until = inner(study, 4)
    outer = study.prepare().folds[0]
    first = int(outer.test.any(axis=1).argmax())
    begin, stop = stretch(study, study.panel)
    assert stop == first == len(p.panel.times)
    assert until == study.panel.sessions[first]
    assert begin == int(outer.rows.argmax())
    ends = p.label.known_until()
    for k, f in enumerate(p.folds):
        train, valid, test = (np.flatnonzero(m.any(axis=1)) for m in (f.train, f.valid, f.test))
        assert begin <= train.min() <= train.max() < valid.min() <= valid.max() < test.min()
        assert ends[f.train].max() < valid.min()
        assert ends[f.valid].max() < test.min()
        assert k == 0 or train.max() > np.flatnonzero(p.folds[k - 1].train.any(axis=1)).max()
        assert len(test) == (stop - begin) // 8
    assert ends.max() < stop


def test_the_clock_alone_sets_the_cut():
    study = world()
    begin, stop = stretch(study, study.panel)
    empty = study.panel.replace(fields={k: np.where(np.arange(700)[:, None] >= stop, np.nan, v)
                                        for k, v in study.panel.fields.items()})  # fmt: skip
    assert stretch(study, empty) == (begin, stop)
    dates = {k: [str(study.panel.sessions[r].astype(object)) for r in rows]
             for k, rows in {"train": (50, 300), "valid": (310, 400), "test": (450, 600)}.items()}  # fmt: skip
    spans = {k: [np.datetime64(d).astype(object) for d in v] for k, v in dates.items()}
    assert stretch(world(split={"kind": "dates", **spans}), study.panel) == (50, 450)


def test_tuning_finds_the_sign_of_the_planted_effect(tmp_path):
    # A reversal: slopes below 0 and little blur are right. 10 random draws hold none below 0 with chance 0.1 %.
    found = tuned(world(), tmp_path, trials=12)
    assert found.search.trials[0].settings == {"slope": 1.0, "blur": 0.5}
    assert found.settings["slope"] < 0
    assert found.search.best.score > 0.1 > 0 > found.search.trials[0].score


def audit(make, folder):
    """Names of the rewrites of the bars from the first test row on that change anything in the search."""
    study = make(None)
    _, stop = stretch(study, study.panel)
    rows = np.full(study.panel.shape[1], stop - 1)
    wild = {k: np.where(np.arange(700)[:, None] >= stop, 1e6 * (1 + np.arange(8)), v)
            for k, v in study.panel.fields.items()}  # fmt: skip
    variants = {k: rewrite(study.panel, rows, k, Stream(1, k)) for k in ("walk", "mirror", "nan")}
    variants["wild"] = study.panel.replace(fields=wild)
    base = tuned(study, folder / "base")
    caught = []
    for name, panel in variants.items():
        changed = {k: v[:stop] for k, v in panel.fields.items()}
        assert all(np.array_equal(changed[k], study.panel.fields[k][:stop], equal_nan=True) for k in changed)
        other = tuned(make(panel), folder / name)
        same_lines = [{**a, "seconds": 0} for a in logged(folder / "base")] == [
            {**a, "seconds": 0} for a in logged(folder / name)
        ]
        if bits(other.search.trials) != bits(base.search.trials) or not same_lines or other.settings != base.settings:
            caught.append(name)
    return caught


def test_no_bar_from_the_first_test_row_on_changes_a_bit_of_the_search(tmp_path):
    assert audit(lambda panel: world(panel), tmp_path) == []


class Secret:
    """The mean test label of a whole panel, times 100; its repr tells nothing of it, as it is part of the digest."""

    def __init__(self, panel, stop):
        self.panel, self.stop = panel, stop

    def __call__(self):
        labels = forward_return(self.panel).values[self.stop :]
        return 100 * float(np.nanmean(labels)) if np.isfinite(labels).any() else 0.0

    def __repr__(self):
        return "Secret()"


EVERY = ["walk", "mirror", "nan", "wild"]


def test_the_same_audit_catches_an_objective_that_reads_test_labels(tmp_path):
    def make(panel):
        study = world(panel)
        _, stop = stretch(study, study.panel)
        study.models[0] = Tilt(secret=Secret(study.panel, stop))
        return study

    assert audit(make, tmp_path) == EVERY


def test_the_same_audit_catches_a_cut_that_is_one_bar_late(tmp_path, monkeypatch):
    def late(study, panel):
        begin, stop = stretch(study, panel)
        return begin, stop + 1

    monkeypatch.setattr(tuning, "stretch", late)
    assert audit(lambda panel: world(panel), tmp_path) == EVERY


def test_fits_of_a_search_draw_from_streams_of_their_own(tmp_path):
    paths = []

    class Watched(Tilt):
        def fit(self, train, valid, *, rng, context):
            paths.append((rng.seed, *rng.path))
            return super().fit(train, valid, rng=rng, context=context)

    tuned(world(model=Watched(), seed=5), tmp_path, trials=2)
    assert set(paths) == {(5, "tune", "tilt", "fold", k) for k in range(4)}


def test_squared_error_as_score(tmp_path):
    found = tuned(world(), tmp_path, score="mse", trials=12)
    assert found.search.best.score < 0
    assert found.settings["blur"] < 0.1  # noise costs its variance: 11 draws at random are all above with chance 0.7 %
    check_score("mse", Tilt())
    with pytest.raises(ConfigError) as e:
        check_score("mse", build_model({"kind": "mlp"}, "mlp"))
    assert str(e.value) == (
        "tune: mlp forecasts target 'cs_zscore' or tries others, whose squared errors cannot be compared with raw "
        "labels; use score 'rank_ic', or target = 'raw'"
    )


def test_the_study_file_with_the_best_settings(tmp_path):
    tables = {"kind": "lstm", "epochs": 1, "hidden": 8, "lookback": 3, "batch": 512}
    study = study_of(TOY, [tables, {"kind": "zero"}], split=SPLIT)
    found = tuned(study, tmp_path / "search", trials=2, folds=2)
    best = found.search.trials[1]
    found = dataclasses.replace(found, search=Search((best,), 2, 0.0))
    (tmp_path / "best.toml").write_text(found.toml())
    again = Study.load(tmp_path / "best.toml", panel=study.panel)
    assert again.models[0] == dataclasses.replace(study.models[0], **best.settings)
    assert again.settings.models[1] == {"kind": "zero"}
    assert study.models[0].hidden == 8
    assert again.settings.split == study.settings.split
    baseline = dataclasses.replace(
        found, model="ridge", search=Search((Trial(0, {"lookback": 7}, {0: 1.0}, "complete", 0.0),), 1, 0.0)
    )
    (tmp_path / "ridge.toml").write_text(baseline.toml())
    assert Study.load(tmp_path / "ridge.toml", panel=study.panel).models[2].lookback == 7


def test_the_command_writes_the_study_and_says_what_it_did(tmp_path):
    import polars as pl

    bars = study_of(TOY, [Tilt()]).panel
    T, N = bars.shape
    frame = {"date": np.repeat(bars.sessions, N), "symbol": list(bars.symbols) * T}
    pl.DataFrame({**frame, **{k: v.ravel() for k, v in bars.fields.items()}}).write_csv(tmp_path / "bars.csv")
    (tmp_path / "s.toml").write_text(
        """name = "toy"
        [market]
        bars = "bars.csv"
        [features]
        expressions = {x = "close / ref(close, 5) - 1"}
        [split]
        train = 300
        valid = 100
        test = 100
        folds = 2
        [[models]]
        kind = "lstm"
        epochs = 1
        hidden = 8
        lookback = 3
        """
    )
    with pytest.raises(HithertoError, match=r"ended after [01] of 2 folds of the first trial"):
        command(tmp_path / "s.toml", ["seed=3"], None, 0.001, 2, tmp_path / "out", progress="off")
    text = command(tmp_path / "s.toml", ["seed=3"], "lstm", "1 min", 2, tmp_path / "out", progress="off", trials=2)
    assert text.splitlines()[0].startswith("lstm: mean daily RankIC on 2 inner folds of ")
    assert "were not read" in text
    assert "2 trials" in text
    assert str(tmp_path / "out" / "best.toml") in text
    assert Study.load(tmp_path / "out" / "best.toml").models[0].epochs == 1
    told = json.loads((tmp_path / "out" / "tuned.json").read_text())
    assert (told["model"], told["folds"], told["count"], len(told["trials"])) == ("lstm", 2, 2, 2)
    assert told["first_test_bar"] == str(study_of(TOY, [Tilt()]).panel.sessions[500])


def test_every_draw_from_the_space_of_a_shipped_model_is_a_valid_setting():
    rng, seen = np.random.default_rng(0), 0
    for kind in KINDS:
        try:
            model = build_model({"kind": kind}, kind)
        except ConfigError:  # made of other models
            continue
        for _ in range(50 if getattr(model, "space", None) else 0):
            drawn = {k: v.values[rng.integers(len(v.values))] if isinstance(v, Choice) else rng.uniform(v.low, v.high)
                     for k, v in model.space.items()}  # fmt: skip
            whole = {k: round(x) for k, x in drawn.items() if getattr(model.space[k], "whole", False)}
            made = dataclasses.replace(model, **{**drawn, **whole})  # raises for a bad one
            for name, value in made.__dict__.items():
                assert name not in model.space or type(value) is type(getattr(model, name)), (kind, name)
            seen += 1
    assert seen >= 500


def test_messages_of_the_driver(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "run.json").write_text("{}")

    @dataclasses.dataclass(frozen=True)
    class Strange(Tilt):
        space: ClassVar = {"slop": Range(0, 1)}

    cases = [
        (world(), {"model": "tillt"}, "tune: no model 'tillt' in study; did you mean 'tilt'?"),
        (world(), {"model": "zero"}, "tune: zero has no search space; tune one of tilt, ridge, lightgbm"),
        (world(), {"score": "ic"}, "tune: score must be one of rank_ic, mse, got 'ic'"),
        (world(model=Strange()), {}, "tune: the space of tilt varies 'slop', which is no setting of it"),
        (world(), {"folder": tmp_path / "full"}, "tune: full holds something else than a search; give another folder"),
        (
            world(),
            {"folds": 100},
            "tune: the 495 bars from the first train bar to the first test bar cannot hold 100 inner folds for labels "
            "over 1 bars; use fewer folds or a longer train stretch",
        ),
    ]
    for study, options, message in cases:
        with pytest.raises(ConfigError) as e:
            tuned(study, **{"folder": tmp_path / "new", **options})
        assert str(e.value) == message
        assert not (tmp_path / "new").exists()


def test_forecasts_that_are_all_equal_have_no_score(tmp_path):
    with pytest.raises(HithertoError) as e:
        tuned(world(model=Tilt(slope=0.0, blur=0.0)), tmp_path)
    assert str(e.value) == (
        f"search: the settings as given fail: fold {first_fold()}: tilt: no date has a RankIC; the forecasts are all "
        "equal, or fewer than 3 names are known"
    )


def first_fold():
    return int(Stream(0, "tune", "tilt").numpy("order", 0).permutation(4)[0])
