"""The straight line: a small study end to end, repeated, resumed, audited; what the run folder holds."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import polars as pl
import pytest
from toys import make_panel

import hitherto as ht
from hitherto.errors import ConfigError, DataError
from hitherto.evaluate.inference import NEWEY_WEST_WARNING, NEWEY_WEST_WARNING_ZH, ratio_intervals
from hitherto.evaluate.rules import confidence
from hitherto.features import normalise
from hitherto.run import Run
from hitherto.seeds import Stream
from hitherto.study import Study, bars
from hitherto.study.core import build_model
from hitherto.study.result import in_returns

EXPRESSIONS = {"r1": "close / ref(close, 1) - 1", "gap": "close / mean(close, 10) - 1"}
TABLES = {
    "features": {"expressions": EXPRESSIONS},
    "label": {"horizons": [1, 3]},
    "split": {"train": 120, "valid": 30, "test": 40, "folds": 2},
    "portfolio": [{"k": 3, "drop": 1}, {"rule": "long_short", "k": 2, "every": 5}],
}


def small(**changes) -> Study:
    panel = make_panel(T=260, N=12, halts=0.01, factor=True)
    return Study(panel, models=[ht.LSTM(hidden=4, lookback=5, epochs=2, batch=256)], **{**TABLES, **changes})


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return small().run(tmp_path_factory.mktemp("runs") / "a", progress="off")


def test_the_run_folder_holds_everything(result):
    names = {p.name for p in result.run.folder.iterdir() if p.is_file()}
    tables = {"forecasts.parquet", "books.parquet", "fills.parquet", "weights.safetensors"}
    texts = {"study.toml", "run.json", "metrics.json", "audit.json", "events.jsonl", "report.html", "manifest.json"}
    wanted = tables | texts
    assert names == wanted
    result.run.verify()
    facts = json.loads((result.run.folder / "run.json").read_text())
    assert facts["data_digest"] == result.study.panel.digest()
    assert facts["machine"]["versions"]["torch"]
    report = result.run.folder / "report.html"
    report.write_text(report.read_text() + " ")
    with pytest.raises(DataError, match=r"report\.html: missing or changed since the run"):
        result.run.verify()


def test_the_verdicts_rows_are_the_same_in_every_place(result):
    rows = json.loads((result.run.folder / "metrics.json").read_text())["verdict"]["rows"]
    assert rows == json.loads(result.to_json())["verdict"]["rows"]
    assert [r["words"] for r in rows] == [r.words for r in result.verdict.rows]
    shown = [r.answer for r in result.content().verdict.rows][: len(rows)]
    assert shown == [r["words"] for r in rows]
    text = result.summary()
    assert all(f"{r['question']} {r['words']}" in text for r in rows)
    assert [r["key"] for r in rows] == [
        "net", "net", "ic", "rank_ic", "error", "naive", "sharpe", "deflated", "track", "holm", "superior",
        "overfitting",
    ]  # fmt: skip
    by = {r["key"]: r for r in rows}
    assert by["error"]["answer"] == "cannot tell"  # the nets forecast standings within a date
    assert by["deflated"]["estimate"] == result.deflation.deflated
    assert by["sharpe"]["estimate"] == result.deflation.probabilistic
    assert by["superior"]["words"].endswith(" over 4 books")  # two rules of the LSTM, ridge and LightGBM
    assert by["overfitting"]["words"] == "not assessed: 4 books on 79 bars; 4 books and 240 bars are needed"


def test_every_ratio_has_its_interval_and_says_how(result):
    numbers = json.loads((result.run.folder / "metrics.json").read_text())
    e = result.evaluation
    rng = Stream(result.study.settings.seed, "evaluate").child("ratios", e.main).numpy("bootstrap")
    want = ratio_intervals(result.book.returns, rng, periods_per_year=252)
    assert e.intervals[e.main] == want
    assert e.sharpe[e.main] == want["sharpe"]
    assert {k: tuple(v.values()) for k, v in numbers["intervals"][e.main].items()} == {
        k: tuple(v) for k, v in want.items()
    }
    assert set(numbers["intervals"]) == set(result.books)
    assert want["calmar"].estimate == e.performance[e.main].calmar
    assert set(numbers["methods"]) == {"intervals", "annual_net_difference", "forecasts"}
    assert numbers["methods"]["forecasts"].endswith(NEWEY_WEST_WARNING)
    assert set(numbers["forecasts"]["lstm"][1]["rank_ic"]["newey_west"]) == {"t", "n"}


def test_a_chinese_study_says_it_in_chinese(tmp_path):
    tables = {"audit": {"level": "off"}, "report": {"language": "zh", "null_books": 0}, "label": {"horizons": [5]}}
    study = Study(make_panel(T=260, N=12), models=[{"kind": "ridge"}], base=tmp_path, **{**TABLES, **tables})
    result = study.run(tmp_path / "zh", progress="off")
    text = result.summary()
    assert f"此数据上 3 次试验中的 1 次；折减夏普比率 {confidence(result.deflation.deflated)}：" in text
    assert all(f"{r.question_zh} {r.words_zh}" in text for r in result.verdict.rows)
    assert result.content().verdict.rule.startswith("净收益的配对分块自助法")
    assert result.content().verdict.rule.endswith(NEWEY_WEST_WARNING_ZH)
    assert str(result.deflation).startswith("1 of 3 trials on this data; ")
    last = dataclasses.replace(result.deflation, deflated=None, searched=dataclasses.replace(result.searched, trials=1))
    assert last.words("zh") == "迄今此数据上唯一的一次试验；没有折减夏普比率：组合的收益太少或恒定"
    high = dataclasses.replace(result.deflation, deflated=0.96)
    assert high.words("zh").endswith("折减夏普比率 0.960：超出搜索的运气")
    by = {r.key: r for r in result.verdict.rows}
    assert by["error"].unit == "fraction"
    assert by["error"].estimate is not None  # ridge forecasts returns


@pytest.mark.parametrize(
    ("table", "answer"),
    [
        ({"kind": "ridge"}, True),
        ({"kind": "ridge", "target": "cs_rank"}, False),
        ({"kind": "lstm", "target": "raw"}, True),
        ({"kind": "lstm", "target": "raw", "loss": "ic"}, False),
        ({"kind": "lstm"}, False),
        ({"kind": "ensemble", "of": {"kind": "mlp", "target": "raw"}}, True),
        ({"kind": "ensemble", "of": {"kind": "mlp"}}, False),
        ({"kind": "persistence"}, True),
    ],
)
def test_which_models_forecast_returns(table, answer):
    assert in_returns(build_model(table, "models.0")) is answer


def test_forecasts_are_out_of_sample_only(result):
    p = result.prepared
    frame = pl.read_parquet(result.run.folder / "forecasts.parquet")
    tested = np.zeros(p.panel.shape, bool)
    for fold in p.folds:
        tested |= fold.test
        assert not (fold.train & fold.test).any()
        assert not (fold.valid & fold.test).any()
    for f in result.forecasts.values():
        assert not np.isfinite(f.values[~tested]).any()
    assert set(frame["model"].unique()) == {"lstm", "zero", "persistence", "ridge", "lightgbm"}
    assert frame["date"].min() == p.panel.sessions[np.flatnonzero(tested.any(1))[0]].item()


def test_every_fill_follows_its_decision(result):
    for book in result.books.values():
        assert (book.fills.t > book.fills.decided).all()
        assert np.allclose(book.cash + (book.shares * np.nan_to_num(book.price)).sum(1), book.equity, rtol=1e-9)


def test_the_audit_ran_and_its_canary_was_caught(result):
    assert result.audit.exit_code == 0, result.audit.to_text()
    assert result.audit.canary_caught
    assert {"P0", "P1", "P2", "P3", "P4", "P10"} <= {r.probe for r in result.audit.results}
    assert "leak-free" not in result.audit.to_text().lower()


def test_the_same_study_gives_the_same_bits(result, tmp_path):
    again = small().run(tmp_path / "b", progress="off")
    for name in ("forecasts.parquet", "books.parquet", "fills.parquet", "weights.safetensors", "metrics.json"):
        assert (again.run.folder / name).read_bytes() == (result.run.folder / name).read_bytes(), name
    other = small(seed=8).run(tmp_path / "c", progress="off")
    assert (other.run.folder / "weights.safetensors").read_bytes() != (
        again.run.folder / "weights.safetensors"
    ).read_bytes()


def csv_study(folder):
    panel = make_panel(T=400, N=10)
    days, symbols = np.repeat(panel.sessions, 10), np.tile(panel.symbols, 400)
    table = pl.DataFrame(
        {"date": days.astype("datetime64[ms]"), "symbol": symbols, "close": panel.view("close").ravel()}
    )
    table.with_columns(pl.col("date").cast(pl.Date)).sort("symbol", "date").write_csv(folder / "bars.csv")
    (folder / "study.toml").write_text(
        """
name = "killed"
[market]
bars = "bars.csv"
[features]
expressions = { r1 = "close / ref(close, 1) - 1", gap = "close / mean(close, 10) - 1" }
[split]
train = 200
valid = 50
test = 60
folds = 1
[[models]]
kind = "lstm"
hidden = 16
lookback = 10
epochs = 12
patience = 12
batch = 128
[audit]
level = "off"
"""
    )


def command(folder, out, *more):
    code = "from hitherto.cli import main; main()"
    line = [sys.executable, "-c", code, "run", str(folder / "study.toml"), "--out", str(out), "-q", *more]
    return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ})


def test_a_run_folder_repeats_itself_and_survives_kill_9(tmp_path):
    csv_study(tmp_path)
    whole = command(tmp_path, tmp_path / "whole")
    assert whole.wait(120) == 0, whole.stderr.read()
    killed = tmp_path / "killed"
    process = command(tmp_path, killed)
    deadline = time.monotonic() + 60
    events = killed / "events.jsonl"
    while time.monotonic() < deadline and not (events.exists() and events.read_text().count('"epoch"') >= 3):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    assert not (killed / "manifest.json").exists()
    resumed = command(tmp_path, killed, "--resume")
    assert resumed.wait(120) == 0, resumed.stderr.read()
    repeated = Study.load(tmp_path / "whole" / "study.toml").run(tmp_path / "repeated", progress="off")
    for name in ("weights.safetensors", "forecasts.parquet", "books.parquet"):
        bits = (tmp_path / "whole" / name).read_bytes()
        assert (killed / name).read_bytes() == bits, name
        assert (repeated.run.folder / name).read_bytes() == bits, name
    Run(killed).verify()


@pytest.mark.parametrize(
    ("span", "count"), [(None, None), (250, 250), ("2y", 504), ("6m", 126), ("10w", 48), ("30d", 30)]
)
def test_spans_in_bars(span, count):
    assert bars(span, 252) == count


def test_settings_of_model_objects_are_kept_in_the_run_folder():
    study = small()
    assert "hidden = 4" in study.toml()
    with pytest.raises(ConfigError, match="two models share a name"):
        small(seed=1).__class__(make_panel(T=260, N=12), models=[{"kind": "ridge"}, {"kind": "ridge"}], **TABLES)
    with pytest.raises(ConfigError, match="has no fit"):
        Study(make_panel(T=260, N=12), models=[object()], **TABLES)


def test_rolling_normalisation_is_the_studys_too():
    study = small(features={"expressions": EXPRESSIONS, "normalise": "rolling_zscore", "span": 20})
    raw = small(features={"expressions": EXPRESSIONS, "normalise": "none"}).make_features(study.panel)
    wanted = normalise.rolling_zscore(raw, 20).values
    assert np.array_equal(study.make_features(study.panel).values, wanted, equal_nan=True)


def test_a_panel_in_memory_has_to_be_given_again(result):
    with pytest.raises(DataError, match="run on a Panel in memory, which no file holds"):
        Study.load(result.run.folder / "study.toml").prepare()
    again = Study.load(result.run.folder / "study.toml", panel=result.study.panel)
    assert again.toml() == result.study.toml()


def test_the_reduced_refit_keeps_train_rows_before_a_long_validation(tmp_path):
    split = {"train": 400, "valid": 1700, "test": 60, "folds": 1, "mode": "rolling"}
    study = Study(make_panel(T=2300, N=4), models=[{"kind": "ridge"}], **{**TABLES, "split": split})
    report = ht.audit(study)
    assert any(r.probe == "P3" and r.status == "ok" for r in report.results), report.to_text()


class Cheat:
    """A fitted model whose predictions are bent by what it should not know."""

    def __init__(self, fitted, bend):
        self.fitted, self.bend = fitted, bend

    def predict(self, windows):
        return self.fitted.predict(windows) + self.bend(windows)

    def tensors(self):
        return self.fitted.tensors()


def own_label(train, windows):
    return np.nan_to_num(windows.targets())


def next_row(train, windows):
    """Reads the feature of row t + 1, past the window it was given."""
    t, n = windows.index[:, 0], windows.index[:, 1]
    values = windows.features.values
    return np.nan_to_num(values[np.minimum(t + 1, len(values) - 1), n, :1])


def next_row_rarely(train, windows):
    """The same on every fifth date only."""
    return next_row(train, windows) * (windows.index[:, :1] % 5 == 0)


def whole_sample(train, windows):
    """Centres by the mean of every row there is, as a scaler fitted before the split would."""
    return np.full((len(windows), 1), np.nanmean(windows.features.values[:, :, 0]))


def fitted_on_all(train, windows):
    """A number fitted in ``fit`` on all rows, the test rows included: only a refit can see it."""
    return np.full((len(windows), 1), np.nanstd(train.features.values[:, :, 0]))


class Cheating(ht.LSTM):
    bend = staticmethod(own_label)

    def fit(self, train, valid, *, rng, context, every=None):
        fitted = super().fit(train, valid, rng=rng, context=context)
        return Cheat(fitted, lambda windows: type(self).bend(train, windows))


@pytest.mark.parametrize(
    ("bend", "probe"),
    [(own_label, "P2"), (next_row, "P2"), (next_row_rarely, "P2"), (whole_sample, "P2"), (fitted_on_all, "P3")],
)
def test_a_cheating_model_is_caught(bend, probe, tmp_path):
    model = type("Model", (Cheating,), {"bend": staticmethod(bend)})(hidden=4, lookback=5, epochs=1)
    result = Study(make_panel(T=260, N=12), models=[model], **TABLES).run(tmp_path / "x", progress="off")
    assert result.audit.exit_code == 1, result.audit.to_text()
    assert probe in {f.probe for f in result.audit.findings}
    assert "LEAK" in result.summary()
