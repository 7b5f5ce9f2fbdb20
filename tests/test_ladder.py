import dataclasses
import json

import numpy as np
import pytest
from worlds import study_of

from hitherto.market import synthetic
from hitherto.models.base import Context
from hitherto.report import findings
from hitherto.study.core import build_model
from hitherto.study.evaluate import average_seeds
from hitherto.study.ladder import Ladder


@pytest.fixture(scope="module")
def ladder(tmp_path_factory):
    toy = synthetic.linear(0, bars=700, symbols=12, strength=0.3)
    models = [
        {"kind": "mlp", "lookback": 1, "epochs": 2, "hidden": [8]},
        {"kind": "gru", "lookback": 5, "epochs": 2, "hidden": 8},
    ]
    tables = {"seeds": 2, "audit": {"level": "off"}, "portfolio": [{"k": 3, "drop": 1}]}
    split = {"train": 400, "valid": 100, "test": 150, "folds": 1}
    study = study_of(toy, models, split=split, **tables)
    return Ladder(study.run(tmp_path_factory.mktemp("ladder") / "run", progress="off"))


def test_every_model_has_a_rung(ladder):
    assert [x.model for x in ladder.rungs] == ["zero", "persistence", "ridge", "lightgbm", "mlp", "gru"]
    zero, persistence, ridge, _, mlp, gru = ladder.rungs
    assert (mlp.seeds, gru.seeds, ridge.seeds) == (2, 2, 1)
    assert mlp.epochs == (2, 2)
    assert zero.over_below is None
    assert gru.over_below is not None
    assert ridge.over_ridge is None
    assert ridge.words == "ridge itself"
    assert zero.words == "ranks nothing"
    assert (zero.net, zero.over_random, zero.capture) == (None, None, None)
    assert persistence.words == "below ridge"  # the planted edge is a five-bar reversal
    assert 0 < ridge.capture < 1


def test_figures_by_hand(ladder):
    """The mean over seeds, the paired gain and the gain over random scores, each computed another way."""
    r = ladder.result
    gru, ridge = ladder.rungs[5], ladder.rungs[2]
    a, b = (r.evaluation.summaries[m][0].daily_rank_ic for m in ("gru", "ridge"))
    both = np.isfinite(a) & np.isfinite(b)
    assert gru.over_ridge.estimate == pytest.approx((a - b)[both].mean())
    assert gru.rank_ic.estimate == pytest.approx(np.nanmean(a))
    members = [f.predicted for f in r.fits if f.model.name == "gru"]
    t, n = r.fits[0].windows.index.T
    assert np.allclose(r.forecasts["gru"].values[t, n], np.mean(members, axis=0))
    book = r.books[r.evaluation.of_model["ridge"]]
    assert ladder.random.shape == (20, len(book.returns))
    gain = (book.returns - ladder.random.mean(axis=0)).mean() * r.study.settings.periods_per_year
    assert ridge.over_random.estimate == pytest.approx(gain)
    assert ridge.over_random.lo > 0  # an edge of 0.3 of the noise, without costs to speak of
    assert np.abs(ladder.random.mean(axis=1)).max() < 0.003


def test_text_and_json(ladder):
    text = ladder.to_text()
    assert len([line for line in text.splitlines() if line.startswith("|")]) == 8
    assert "books of random scores through the same rule and costs return" in text
    body = json.loads(ladder.to_json())
    assert [x["model"] for x in body["rungs"]] == [x.model for x in ladder.rungs]
    assert body["rungs"][2]["verdict"] == "ridge itself"
    assert len(body["random"]) == 20


def test_fits_side_by_side_equal_fits_one_by_one():
    toy = synthetic.linear(0, bars=400, symbols=8)
    models = [build_model({"kind": k, "lookback": 5, "epochs": 2, "hidden": 6}, k) for k in ("gru", "lstm")]
    study = study_of(toy, models, seeds=2, split={"train": 200, "valid": 50, "test": 50, "folds": 1})
    prepared = study.prepare()
    seen = []
    one = study.fit_all(prepared, lambda job: Context(threads=1))
    side = study.fit_all(prepared, lambda job: Context(threads=3, emit=seen.append))
    assert [(f.model.name, f.seed, f.fold) for f in one] == [(f.model.name, f.seed, f.fold) for f in side]
    for a, b in zip(one, side, strict=True):
        assert np.array_equal(a.predicted, b.predicted)
        if a.model.name != "lightgbm":  # whose text holds the number of threads
            assert all(np.array_equal(v, b.fitted.tensors()[k]) for k, v in a.fitted.tensors().items())
    assert any(event["event"] == "epoch" for event in seen if "event" in event)


def test_a_failing_fit_stops_the_others():
    toy = synthetic.noise(0, bars=400, symbols=8)
    quick = build_model({"kind": "gru", "lookback": 5, "epochs": 400, "patience": 400, "hidden": 6}, "gru")
    other = build_model({"kind": "lstm", "lookback": 5, "epochs": 400, "patience": 400}, "lstm")
    study = study_of(toy, [quick, other], split={"train": 200, "valid": 50, "test": 50, "folds": 1})
    prepared = study.prepare()
    epochs = []

    def context(job):
        def emit(event):
            if "lstm" in job:
                raise RuntimeError("broken")
            epochs.append(event)

        return Context(threads=2, emit=emit)

    with pytest.raises(RuntimeError, match="broken"):
        study.fit_all(prepared, context)
    assert len([e for e in epochs if e.get("event") == "epoch"]) < 400


def test_an_ensemble_from_a_study_table():
    table = {"kind": "ensemble", "members": 2, "of": {"kind": "gru", "lookback": 5, "epochs": 1, "hidden": 6}}
    model = build_model(table, "models.0")
    assert model.name == "gru-x2"
    toy = synthetic.linear(0, bars=400, symbols=8)
    study = study_of(toy, [model], split={"train": 200, "valid": 50, "test": 50, "folds": 1})
    assert 'kind = "gru"' in study.toml()
    again = type(study)(study.panel, **{**study.settings.model_dump(), "market": {}})
    assert again.models[0] == model
    prepared = study.prepare()
    fit = study.fit(prepared, prepared.folds[0], model, 0, Context())
    assert average_seeds([]) == {}
    assert fit.predicted.shape[1] == 1


def test_a_chart_with_too_many_lines_keeps_ridge_and_says_so(ladder, monkeypatch):
    from hitherto.study import content

    monkeypatch.setattr(content, "MOST_LINES", 1)
    part = content.equity(ladder.result, content.desk_of(ladder.result))
    assert [n for n, role in part.roles.items() if role == "model"] == ["ridge, top 3"]
    assert part.caption.endswith(" 3 further books are in the ladder only.")
    assert len(part.undrawn) == 3
    title = findings.equity(dataclasses.replace(part, undrawn={"gru, top 3": 99.0}), "en")
    assert "gru, top 3 ended highest (99.00)" in title  # the title counts what the chart leaves out


def test_the_time_of_a_fit_counts_what_was_spent_before_a_resume(ladder):
    from hitherto.study.core import Study

    run = ladder.result.run.folder
    (run / "manifest.json").unlink()
    study = Study.load(run / "study.toml", panel=ladder.result.prepared.panel)
    again = Ladder(study.run(run, resume=True, progress="off"))
    for a, b in zip(ladder.rungs, again.rungs, strict=True):
        if a.epochs:
            assert a.seconds[0] <= b.seconds[0] + 0.1
            assert a.rank_ic == b.rank_ic
