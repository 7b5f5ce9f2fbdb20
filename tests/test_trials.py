"""The trial ledger: what is written before a test is read, what counts as a trial, and what tampering leaves behind."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kurtosis, norm, skew
from toys import make_panel

from hitherto import cli
from hitherto.demo import STUDY
from hitherto.errors import ConfigError, DataError, HithertoError
from hitherto.evaluate.rules import confidence
from hitherto.evaluate.trials import NAME, Outcome, Searched, Trial, TrialLedger
from hitherto.models.naive import Momentum
from hitherto.sharpe import expected_best
from hitherto.study import Study, result
from hitherto.study import trials as recording
from hitherto.study.ladder import Ladder

GOOD = Outcome(0.05, 250, 0.1, 3.5)


def made(trial="t1", data="d1", **changes) -> Trial:
    base = {
        "counted": data, "seed": 7, "seeds": 1, "study": "s", "version": "v1", "model": "lstm", "rule": "top 5",
        "role": "main", "bars": "bars.csv", "symbols": "names", "length": 900, "first": "2019-01-02",
        "last": "2020-12-31", "per_year": 252,
    }  # fmt: skip
    return Trial(trial, data, **(base | changes))


@pytest.fixture
def ledger(tmp_path):
    return TrialLedger(tmp_path / NAME)


@contextmanager
def unfenced(path):
    """The file without its triggers: what somebody with an SQLite browser can do."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DROP TRIGGER IF EXISTS no_update")
        db.execute("DROP TRIGGER IF EXISTS no_delete")
        yield db


def filled(ledger, trials=4, step=0.01):
    for k in range(trials):
        t = made(f"t{k}")
        ledger.open([t])
        ledger.result([(t, dataclasses.replace(GOOD, sharpe=step * k))])
    return ledger


# What is written, and what counts


def test_a_trial_is_written_before_its_result(ledger):
    assert (ledger.records(), ledger.count().trials) == ((), 0)
    one = made()
    assert ledger.open([one]) == 1
    assert [(r.seq, r.kind, r.body["trial"]) for r in ledger.records()] == [(1, "opened", "t1")]
    assert (ledger.count().trials, ledger.count().with_result, ledger.count().variance) == (1, 0, None)
    assert ledger.result([(one, GOOD)]) == 1
    assert [r.kind for r in ledger.records()] == ["opened", "result"]
    assert ledger.trials() == (one,)
    assert ledger.outcomes() == {one.key: GOOD}
    assert str(ledger.verify()) == "chain: intact, 2 records"
    assert [p.name for p in ledger.path.parent.iterdir()] == [NAME]  # no side file stays


def test_a_repeat_is_not_new(ledger):
    filled(ledger)
    before = ledger.path.read_bytes()
    assert ledger.open([made("t0"), made("t3")]) == 0
    assert ledger.result([(made("t0"), dataclasses.replace(GOOD, sharpe=9.0))]) == 0  # the first result stands
    assert ledger.path.read_bytes() == before
    assert ledger.open([made("t0"), made("t9"), made("t9")]) == 1
    assert ledger.count().trials == 5


def test_the_seeds_of_an_ensemble_are_one_trial_and_another_seed_is_one_more(ledger):
    assert ledger.open([made(seed=7, seeds=5), made("ridge", seed=None)]) == 2
    assert ledger.open([made(seed=7, seeds=20)]) == 0
    assert ledger.open([made("ridge", seed=None)]) == 0
    assert ledger.open([made(seed=8)]) == 1
    assert ledger.count("d1").trials == 3


def test_a_result_needs_an_opening(ledger):
    with pytest.raises(ConfigError) as e:
        ledger.result([(made(), GOOD)])
    assert str(e.value) == "trial ledger: lstm, top 5 has a result but was never opened; open it first"
    assert ledger.records() == ()
    with pytest.raises(ConfigError, match="needs digests of its settings and its data; one is empty"):
        ledger.open([made(""), made()])
    assert ledger.records() == ()


def test_what_counts_together(ledger):
    same_market = {"data": "d2", "bars": "elsewhere.csv"}
    ledger.open([
        made("a"),
        made("b", first="2015-01-02", last="2016-12-30"),  # the same data, another stretch of it
        made("c", **same_market, first="2020-12-31", last="2021-12-31"),  # equal symbols, one common session
        made("d", **same_market, first="2021-01-04", last="2021-12-31"),  # no common session
        made("i", **same_market, first="2017-01-02", last="2018-12-28"),  # nor here
        made("e", "d3", symbols="others", bars="bars.csv"),  # the same file with one name more
        made("f", "d4", symbols="another", bars="third.csv"),  # another market
        made("g", "d5", bars="", symbols="x"), made("h", "d6", bars="", symbols="y"),  # in memory: no file is shared
    ])  # fmt: skip
    assert [t.trial for t in ledger.near("d1")] == ["a", "b", "c", "e"]
    assert [t.trial for t in ledger.near("d4")] == ["f"]
    assert [t.trial for t in ledger.near("d6")] == ["h"]
    assert ledger.near("nothing") == []
    assert len(ledger.near()) == 9
    found = ledger.count("d1")
    assert (found.trials, found.first, found.last) == (4, "2015-01-02", "2021-12-31")


def test_the_same_settings_on_longer_bars_are_no_new_trial(ledger):
    ledger.open([made()])
    assert ledger.open([made(data="d2", counted="d1", last="2021-01-04")]) == 1  # written: it read one session more
    assert ledger.count("d2").trials == ledger.count("d1").trials == 1
    for data, sharpe in (("d1", None), ("d2", 0.3), ("d1", 0.1)):
        ledger.result([(made(data=data, counted="d1"), dataclasses.replace(GOOD, sharpe=sharpe))])
    assert ledger.outcomes() == {made().key: dataclasses.replace(GOOD, sharpe=0.3)}  # the first that has a number
    ledger.open([made("u"), made("u", "d2", counted="d1")])
    for data, sharpe in (("d1", 0.1), ("d2", 0.3)):
        ledger.result([(made("u", data, counted="d1"), dataclasses.replace(GOOD, sharpe=sharpe))])
    assert ledger.outcomes()[made("u").key].sharpe == 0.1
    ledger.open([made(data="d3", last="2021-01-04")])  # the earlier bars had changed
    assert ledger.count("d3").trials == 3


def test_the_variance_is_that_of_the_ledgers_own_sharpes(ledger):
    ratios = [0.11, -0.2, 0.04, 0.3]
    for k, ratio in enumerate(ratios):
        ledger.open([made(f"t{k}")])
        ledger.result([(made(f"t{k}"), Outcome(ratio, 250, 0.0, 3.0))])
    ledger.open([made("crashed"), made("flat")])
    ledger.result([(made("flat"), Outcome.of(np.zeros(250)))])
    found = ledger.count("d1")
    assert (found.trials, found.with_result) == (6, 4)
    assert found.variance == pytest.approx(np.var(ratios, ddof=1), rel=1e-14)
    assert found.luck == pytest.approx(math.sqrt(found.variance) * expected_best(6))


def test_trials_that_resemble_each_other_vary_as_noise_does(ledger):
    for k, bars in enumerate((250, 500)):
        ledger.open([made(f"t{k}")])
        ledger.result([(made(f"t{k}"), Outcome(0.05 + 1e-9 * k, bars, 0.0, 3.0))])
    ledger.open([made("flat")])
    ledger.result([(made("flat"), Outcome.of(np.zeros(20)))])  # has no ratio, and no noise either
    assert ledger.count().variance == pytest.approx((1 / 250 + 1 / 500) / 2)


def test_an_outcome_by_hand():
    r = 0.01 * np.random.default_rng(0).standard_normal(300) ** 3
    o = Outcome.of(r)
    assert (o.sharpe, o.bars) == (pytest.approx(r.mean() / r.std(ddof=1)), 300)
    assert (o.skew, o.kurtosis) == (pytest.approx(skew(r)), pytest.approx(kurtosis(r, fisher=False)))
    assert Outcome.of(np.full(30, 0.001)) == Outcome(None, 30, None, None)
    with pytest.raises(DataError, match="1 of 300 are NaN"):
        Outcome.of(np.where(np.arange(300) == 7, np.nan, r))


@settings(max_examples=6)
@given(st.permutations(range(6)))
def test_the_order_of_the_writers_changes_no_bit_of_the_count(order):
    with tempfile.TemporaryDirectory() as folder:
        ledger = TrialLedger(Path(folder) / NAME)
        for k in order:
            ledger.open([made(f"t{k}")])
            ledger.result([(made(f"t{k}"), Outcome(math.sin(7.7 * k), 250 + k, 0.0, 3.0))])
        known = [math.sin(7.7 * k) for k in range(6)]
        assert ledger.count("d1").variance == np.var(sorted(known), ddof=1)


def test_the_chain_by_hand(ledger):
    """The recipe of docs/trials.md, written down once more."""
    filled(ledger)
    with closing(sqlite3.connect(ledger.path)) as db:
        rows = db.execute("SELECT seq, at, kind, body, prev, hash FROM record ORDER BY seq").fetchall()
    last = "0" * 64
    for *content, prev, mark in rows:
        assert prev == last
        text = "[" + ",".join(json.dumps(x) for x in content) + "]"
        assert mark == hashlib.sha256((prev + text).encode()).hexdigest()
        last = mark
    assert ledger.verify() == (8, last, None)


# Tampering


def test_the_fence_refuses_accidents(ledger):
    filled(ledger)
    with closing(sqlite3.connect(ledger.path)) as db:
        for accident in ("UPDATE record SET body = '{}'", "DELETE FROM record WHERE seq = 2"):
            with pytest.raises(sqlite3.IntegrityError, match="records are only added"):
                db.execute(accident)
    assert ledger.verify().records == 8


CHANGED = "record 4 was changed after it was written"
TAMPERED = {
    "a better result": ("UPDATE record SET body = replace(body, '0.01', '0.00') WHERE seq = 4", CHANGED),
    "another day": ("UPDATE record SET at = '2020-01-01T00:00:00+00:00' WHERE seq = 4", CHANGED),
    "another kind": ("UPDATE record SET kind = 'opened' WHERE seq = 4", CHANGED),
    "no text": ("UPDATE record SET body = x'ff00fe' WHERE seq = 4", CHANGED),
    "no unicode": ("UPDATE record SET body = CAST(x'ff00fe' AS TEXT) WHERE seq = 4", CHANGED),
    "hash": ("UPDATE record SET hash = prev WHERE seq = 4", CHANGED),
    "dropped": ("DELETE FROM record WHERE seq = 4", "record 4 is missing"),
    "first dropped": ("DELETE FROM record WHERE seq = 1", "record 1 is missing"),
    "swapped": ("UPDATE record SET seq = CASE seq WHEN 4 THEN -4 ELSE seq END", "record 1 is missing"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_tampered_row_is_named_and_nothing_is_counted(name, ledger):
    edit, says = TAMPERED[name]
    with unfenced(filled(ledger).path) as db:
        db.execute(edit)
    found = ledger.verify()
    assert str(found) == f"chain: broken, {says}"
    for use in (ledger.records, ledger.count, ledger.ready, lambda: ledger.open([made("new")])):
        with pytest.raises(DataError) as e:
            use()
        assert str(e.value) == (
            f"{ledger.path}: {says}; restore the file from a copy, or move it away, which starts the count of trials "
            "anew"
        )


def test_a_row_forged_with_a_right_hash_breaks_at_the_next(ledger):
    from hitherto.evaluate import trials

    with unfenced(filled(ledger).path) as db:
        seq, at, kind, body, prev, _ = db.execute("SELECT * FROM record WHERE seq = 4").fetchone()
        forged = body.replace("0.01", "0.00")
        mark = trials._hash(prev, seq, at, kind, forged)
        db.execute("UPDATE record SET body = ?, hash = ? WHERE seq = 4", (forged, mark))
    says = "record 5 does not follow the one before it, which was changed or put in later"
    assert str(ledger.verify()) == f"chain: broken, {says}"


def test_a_cut_or_rewritten_end_shows_only_to_a_run_that_knew_it(ledger, tmp_path):
    filled(ledger)
    whole = ledger.verify()
    head = (whole.records, whole.head)
    assert ledger.verify(head) == whole
    shutil.copy(ledger.path, tmp_path / "copy.sqlite")
    with unfenced(ledger.path) as db:
        db.execute("DELETE FROM record WHERE seq > 6")
    assert ledger.verify().broken is None  # the chain itself cannot know
    assert str(ledger.verify(head)) == "chain: broken, its end was cut off: the run knew 8 records, 6 are left"
    filled(ledger, 7, step=0.02)  # and written on: the records are others now
    says = "record 8 is not the one that the run knew: the records up to it were rewritten"
    assert ledger.verify(head).broken == says
    filled(TrialLedger(tmp_path / "copy.sqlite"), 7)  # later trials of others are no fault
    assert TrialLedger(tmp_path / "copy.sqlite").verify(head).broken is None


# Files that are no ledger, folders that cannot be written


def test_a_foreign_file_is_refused(tmp_path):
    text = TrialLedger(tmp_path / "notes.sqlite")
    text.path.write_text("no database, but long enough to have a header " * 40)
    with closing(sqlite3.connect(tmp_path / "other.sqlite")) as db:
        db.execute("CREATE TABLE trials (x)")
    with closing(sqlite3.connect(tmp_path / "newer.sqlite")) as db:
        db.execute(f"PRAGMA application_id = {0x68747274}")
        db.execute("PRAGMA user_version = 2")
    with closing(sqlite3.connect(tmp_path / "hollow.sqlite")) as db:
        db.execute(f"PRAGMA application_id = {0x68747274}")
    says = {
        "hollow": "no readable trial ledger (no such table: record)",
        "notes": "no readable trial ledger (file is not a database)", "other": "an SQLite file, but no trial ledger",
        "newer": "a ledger of layout 2, this hitherto knows 1; update it",
    }  # fmt: skip
    for name, words in says.items():
        ledger = TrialLedger(tmp_path / f"{name}.sqlite")
        before = ledger.path.read_bytes()
        for use in (ledger.records, ledger.ready, lambda ledger=ledger: ledger.open([made()])):
            with pytest.raises(DataError) as e:
                use()
            assert str(e.value).startswith(f"{ledger.path}: {words}")
        assert ledger.path.read_bytes() == before


def test_an_empty_file_is_a_ledger_to_be(ledger):
    ledger.path.touch()
    assert ledger.records() == ()
    ledger.ready()
    assert ledger.records() == ()
    assert ledger.open([made()]) == 1


def test_a_half_destroyed_file_is_an_error_of_ours(ledger):
    whole = filled(ledger, 40).path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(8):
        broken = bytearray(whole)
        at = int(rng.integers(100, len(whole) - 600))
        broken[at : at + 500] = rng.bytes(500)
        ledger.path.write_bytes(broken)
        with contextlib.suppress(HithertoError):  # an error of sqlite3 itself would fail the test
            ledger.count()


@contextmanager
def ordinary_user(folder):
    """Nobody in particular, in a folder that nobody may write to; root may write everywhere."""
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    folder.chmod(0o555)
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)


@pytest.mark.skipif(os.name == "nt", reason="folders there have no such mode")
def test_a_read_only_folder_is_refused_and_still_read(tmp_path):
    with tempfile.TemporaryDirectory() as name:  # /tmp itself lets everyone pass, a test's folder does not
        folder = Path(name)
        full = filled(TrialLedger(folder / "full.sqlite"))
        full.path.chmod(0o444)
        with ordinary_user(folder):
            assert full.count().trials == 4
            for ledger in (TrialLedger(folder / NAME), full):
                for use in (ledger.ready, lambda ledger=ledger: ledger.open([made("new")])):
                    with pytest.raises(ConfigError) as e:
                        use()
                    assert str(e.value).startswith(f"{ledger.path}: the trial ledger cannot be written (")
                    assert str(e.value).endswith(
                        "; the test stretch was not opened. Free space, make the folder writable, or copy the study "
                        "file to one that is"
                    )
        assert [p.name for p in folder.iterdir()] == ["full.sqlite"]


# Several writers, and writers that die


SERVER = """
import os, random, signal, sys, time
from hitherto.evaluate.trials import Outcome, Trial, TrialLedger
ledger = TrialLedger(sys.argv[1])

def made(name):
    return Trial(name, "d", "d", 7, 1, "s", "v", "m", "r", "main", "b", "n", 9, "2019-01-02", "2019-12-31", 252)

def write(name):
    t = made(name)
    ledger.open([t])
    ledger.result([(t, Outcome(0.1, 250, 0.0, 3.0))])

def many(k):
    mine = [made(f"t{k}-{i}") for i in range(20)]
    for t in mine:
        ledger.open([t])
    ledger.result([(t, Outcome(0.1, 250, 0.0, 3.0)) for t in mine])

def fork(work):
    pid = os.fork()
    if pid:
        return pid
    work()
    os._exit(0)

if sys.argv[2] == "crowd":
    pids = [fork(lambda k=k: many(k)) for k in range(8)]
    print(sorted(os.waitstatus_to_exitcode(os.waitpid(p, 0)[1]) for p in pids))
elif sys.argv[2] == "between":
    pid = fork(lambda: (ledger.open([made("t")]), os.kill(os.getpid(), signal.SIGKILL)))
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
else:
    random.seed(0)
    for turn in range(12):
        out, into = os.pipe()
        def work():
            for i in range(10_000):
                write(f"t{turn}-{i}")
                os.write(into, b".")
        pid = fork(work)
        told = sum(len(os.read(out, 1)) for _ in range(random.randint(1, 4)))
        time.sleep(random.uniform(0, 0.004))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        kept = sum(r.kind == "result" and r.body["trial"].startswith(f"t{turn}-") for r in ledger.records())
        print(kept >= told, ledger.verify().broken)
"""


def serve(ledger, work):
    done = subprocess.run(
        [sys.executable, "-c", SERVER, str(ledger.path), work], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks its writers")
def test_eight_writers_at_once_lose_nothing(ledger):
    assert serve(ledger, "crowd") == [str([0] * 8)]
    assert ledger.verify().records == 2 * 8 * 20
    assert ledger.verify().broken is None
    assert {t.trial for t in ledger.trials()} == {f"t{k}-{i}" for k in range(8) for i in range(20)}
    assert ledger.count("d").with_result == 160


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks its writers")
def test_a_writer_killed_between_opening_and_result_has_been_counted(ledger):
    assert serve(ledger, "between") == ["-9"]
    assert (ledger.count("d").trials, ledger.count("d").with_result) == (1, 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks its writers")
def test_writers_killed_at_any_time_leave_whole_records(ledger):
    assert serve(ledger, "killed") == ["True None"] * 12
    assert ledger.open([made("after")]) == 1
    assert [p.name for p in ledger.path.parent.iterdir()] == [NAME]


# A study and its ledger

TABLES = {
    "features": {"expressions": {"r1": "close / ref(close, 1) - 1"}},
    "split": {"train": 120, "valid": 30, "test": 40, "folds": 2},
    "portfolio": [{"k": 3, "drop": 1}, {"k": 2}],
    "audit": {"level": "off"},
    "report": {"null_books": 0},
}
PANEL = make_panel(T=260, N=12, factor=True)


def study(base, panel=PANEL, **changes) -> Study:
    models = changes.pop("models", [{"kind": "ridge", "lookback": 5}])
    return Study(panel, base=base, models=models, **{**TABLES, **changes})


def bodies(folder):
    return [r.body | {"kind": r.kind} for r in TrialLedger(folder / NAME).records()]


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A folder with one finished run, ``a``."""
    base = tmp_path_factory.mktemp("study")
    return base, study(base).run(base / "a", progress="off")


def test_a_run_writes_its_trials_and_is_deflated_by_them(first):
    base, done = first
    told = [(b["kind"], b["model"], b["rule"], b["role"]) for b in bodies(base) if b["kind"] == "opened"]
    main = [("opened", "ridge", "top 3", "main"), ("opened", "ridge", "top 2", "main")]
    assert told == [*main, ("opened", "lightgbm", "top 3", "rival")]  # persistence and zero fit nothing
    one = bodies(base)[0]
    assert one["data"] == one["counted"] == PANEL.digest()
    assert (one["seed"], one["bars"], one["length"]) == (None, "", 260)
    tested = np.flatnonzero(np.any([f.test.any(axis=1) for f in done.prepared.folds], axis=0))
    assert (one["first"], one["last"]) == tuple(str(PANEL.sessions[tested[i]]) for i in (0, -1))

    books = {b.name: b.returns for b in done.books.values()}
    ratios = {n: books[n].mean() / books[n].std(ddof=1) for n in ("ridge, top 3", "ridge, top 2", "lightgbm, top 3")}
    r = done.book.returns
    T = len(r)
    variance = max(np.var(list(ratios.values()), ddof=1), 1 / T)
    assert (done.searched.trials, done.searched.with_result) == (3, 3)
    assert done.searched.variance == pytest.approx(variance)
    sr, luck = ratios["ridge, top 3"], math.sqrt(variance) * expected_best(3)
    spread = math.sqrt(1 - skew(r) * sr + (kurtosis(r, fisher=False) - 1) / 4 * sr**2)
    numbers = json.loads((done.run.folder / "metrics.json").read_text())
    assert numbers["probabilistic_sharpe"] == pytest.approx(norm.cdf(sr * math.sqrt(T - 1) / spread))
    assert numbers["deflated_sharpe"] == pytest.approx(norm.cdf((sr - luck) * math.sqrt(T - 1) / spread))
    assert numbers["searched"] == dataclasses.asdict(done.searched)
    assert json.loads(done.to_json())["deflated_sharpe"] == numbers["deflated_sharpe"]
    line = f"1 of 3 trials on this data; deflated Sharpe ratio {confidence(numbers['deflated_sharpe'])}: "
    assert line + "not distinguishable from the luck of the search\n" in done.summary()
    kept = json.loads((done.run.folder / "run.json").read_text())["searched"]
    assert (kept["ledger"], kept["records"]) == ("../trials.sqlite", 6)
    assert kept["head"] == TrialLedger(base / NAME).verify().head


def test_the_ladder_names_the_luck_of_its_rungs(first):
    _, done = first
    luck = done.searched.luck * math.sqrt(252)
    line = (
        f"3 trials have read this test data: luck alone shows a Sharpe ratio of {luck:.2f} a year as the best of them."
    )
    assert Ladder(done).to_text().endswith("\n" + line)
    assert json.loads(Ladder(done).to_json())["searched"]["trials"] == 3


def test_a_repeat_changes_no_bit_while_the_search_goes_on(first, tmp_path):
    base = tmp_path / "study"
    shutil.copytree(first[0], base)
    ledger = TrialLedger(base / NAME)
    before, numbers = ledger.path.read_bytes(), (base / "a" / "metrics.json").read_bytes()
    study(base).run(base / "b", progress="off")
    assert (base / "b" / "metrics.json").read_bytes() == numbers
    assert ledger.path.read_bytes() == before

    other = study(base, portfolio=[{"k": 4}]).run(base / "c", progress="off")
    assert other.searched.trials == 5
    assert str(other.deflation).startswith("1 of 5 trials on this data; ")
    kept = json.loads((base / "a" / "run.json").read_text())["searched"]
    copies = (Study.load(base / "a" / "study.toml", panel=PANEL), base / "d"), (study(base), base / "a")
    for repeat, out in copies:  # from the run's own study file, and into its own folder
        done = repeat.run(out, resume=out.name == "a", progress="off")
        assert (out / "metrics.json").read_bytes() == numbers
        assert (done.searched.trials, ledger.count(PANEL.digest()).trials) == (3, 5)
    assert json.loads((base / "a" / "run.json").read_text())["searched"] == kept
    assert json.loads((base / "d" / "run.json").read_text())["searched"]["ledger"] == "../trials.sqlite"
    assert sorted(p.name for p in base.iterdir()) == ["a", "b", "c", "d", NAME]


class _StoppedError(Exception):
    pass


def test_a_study_that_dies_at_the_test_has_been_counted_and_resumes(tmp_path, monkeypatch):
    seen = []

    def evaluate(*arguments):
        seen.extend(b["kind"] for b in bodies(tmp_path))
        raise _StoppedError

    with monkeypatch.context() as patch:
        patch.setattr(result, "evaluate", evaluate)
        with pytest.raises(_StoppedError):
            study(tmp_path).run(tmp_path / "a", progress="off")
    assert seen == ["opened"] * 3
    again = study(tmp_path).run(tmp_path / "a", resume=True, progress="off")
    assert [b["kind"] for b in bodies(tmp_path)] == ["opened"] * 3 + ["result"] * 3
    assert again.searched.trials == 3


def test_a_study_whose_trials_cannot_be_written_is_refused_before_it_fits(tmp_path, monkeypatch):
    monkeypatch.setattr(Study, "fit_all", None)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"trials\.sqlite: the trial ledger cannot be written"):
        study(tmp_path / "file").run(tmp_path / "out", progress="off")
    assert not (tmp_path / "out").exists()


def marks(tmp_path, **changes):
    """Return the trials of a study, unfitted."""
    one = study(tmp_path, **changes)
    return recording.trials_of(one, one.prepare(), TrialLedger(tmp_path / NAME))


NET = [{"kind": "lstm", "hidden": 4, "lookback": 5}]


@pytest.mark.parametrize(
    "changes",
    [
        {"seeds": 5}, {"name": "renamed"}, {"report": {"title": "Hope", "null_books": 7}},
        {"compute": {"threads": 2}}, {"audit": {"level": "full"}}, {"market": {"colours": "chinese"}},
        {"models": [NET[0] | {"name": "mine"}]}, {"models": [NET[0] | {"layers": 1}]},  # its default, spelt out
        {"portfolio": [{"k": 3, "drop": 1, "name": "mine"}]},
    ],
    ids=lambda c: next(iter(c)),
)  # fmt: skip
def test_what_makes_no_new_trial(changes, tmp_path):
    before, after = (marks(tmp_path, **{"models": NET} | c) for c in ({}, changes))
    assert before[0].key == after[0].key


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 8}, {"models": [NET[0] | {"hidden": 5}]}, {"label": {"horizons": [2]}}, {"portfolio": [{"k": 4}]},
        {"features": {"expressions": {"r2": "close / ref(close, 2) - 1"}}}, {"exchange": {"fee_bps": 1.0}},
        {"split": {"train": 121, "valid": 30, "test": 40, "folds": 2}},
        {"panel": make_panel(T=260, N=11, factor=True)},
        {"panel": PANEL.replace(universe=PANEL.universe & (np.arange(12) > 0))},
    ],
    ids=str,
)  # fmt: skip
def test_what_makes_a_new_trial(changes, tmp_path):
    before, after = (marks(tmp_path, **{"models": NET} | c) for c in ({}, changes))
    assert before[0].key != after[0].key


def test_references_count_only_when_they_are_put_forward(tmp_path):
    assert [t.model for t in marks(tmp_path)] == ["ridge", "ridge", "lightgbm"]
    listed = marks(tmp_path, models=[{"kind": "ridge"}, Momentum()], portfolio=[{"k": 3}])
    assert [(t.model, t.seed) for t in listed] == [("ridge", None), ("lightgbm", 7)]
    forward = marks(tmp_path, models=[Momentum()], portfolio=[{"k": 3}])
    assert [(t.model, t.role) for t in forward] == [("momentum", "main"), ("ridge", "rival"), ("lightgbm", "rival")]


def test_more_bars_at_the_end_are_a_repeat_and_changed_ones_are_not(tmp_path):
    ledger = TrialLedger(tmp_path / NAME)
    for stop in (230, 260, 245):
        ledger.open(marks(tmp_path, panel=PANEL.rows(stop)))
    assert {t.counted for t in ledger.trials()} == {PANEL.rows(230).digest()}
    assert ledger.count(PANEL.digest()).trials == 3
    assert len(ledger.records()) == 9
    close = PANEL.fields["close"].copy()
    close[3, 0] *= 1.01  # a vendor's restatement
    restated = PANEL.replace(fields={**PANEL.fields, "close": close})
    for stop in (250, 255):
        ledger.open(marks(tmp_path, panel=restated.rows(stop)))
    assert {t.counted for t in ledger.trials()[9:]} == {restated.rows(250).digest()}
    assert ledger.count(PANEL.digest()).trials == 6


def test_where_the_ledger_lies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert recording.ledger_of(Study(PANEL, **TABLES), tmp_path / "out").path == tmp_path / NAME
    assert recording.ledger_of(study(tmp_path / "mine"), tmp_path / "out").path == tmp_path / "mine" / NAME
    assert recording.ledger_of(Study.load(STUDY), tmp_path / "out").path == tmp_path / "out" / NAME


@pytest.mark.parametrize("kept", ["{}", "[]", "no JSON", '{"searched": 3}', '{"searched": {"trials": "1"}}'])
def test_a_foreign_run_json_says_nothing(kept, tmp_path):
    (tmp_path / "run.json").write_text(kept)
    assert recording.ledger_of(study(tmp_path), tmp_path / "out").path == tmp_path / NAME


# hitherto trials


def call(monkeypatch, capsys, *args):
    monkeypatch.setattr("sys.argv", ["hitherto", "trials", *map(str, args)])
    with pytest.raises(SystemExit) as e:
        cli.main()
    out = capsys.readouterr()
    return e.value.code, out.out, out.err


def test_the_command_lists_checks_and_names_the_luck(first, monkeypatch, capsys):
    base, done = first
    monkeypatch.chdir(base)
    code, out, _ = call(monkeypatch, capsys)
    assert code == 0
    assert out.count("top 3") == 2
    assert "chain: intact, 6 records\n" in out
    s, per = done.searched, 252
    years, best = len(done.book.returns) / per, max(o.sharpe for o in TrialLedger(base / NAME).outcomes().values())
    assert (
        f"3 trials on data {PANEL.digest()[:8]}, tested {s.first} .. {s.last}: over {years:.1f} years luck alone shows "
        f"a Sharpe ratio of {s.luck * math.sqrt(per):.2f} a year as the best of 3; the best here is "
        f"{best * math.sqrt(per):.2f} (simple net returns, risk-free rate 0, 252 periods a year)\n"
    ) in out
    for target in (base, base / NAME, base / "a", base / "a" / "study.toml", base / "study.toml"):
        assert call(monkeypatch, capsys, target)[:2] == (0, out)
    body = json.loads(call(monkeypatch, capsys, "--json")[1])
    assert body["chain"] == {"records": 6, "head": TrialLedger(base / NAME).verify().head, "broken": None}
    assert [t["model"] for t in body["trials"]] == ["ridge", "ridge", "lightgbm"]
    assert body["searched"][0]["variance"] == s.variance


def test_the_command_on_a_tampered_ledger(first, tmp_path, monkeypatch, capsys):
    shutil.copytree(first[0], tmp_path / "study")
    base = tmp_path / "study"
    with unfenced(base / NAME) as db:
        db.execute("DELETE FROM record WHERE seq = 6")
    assert call(monkeypatch, capsys, base)[0] == 0  # the chain itself cannot know that its end is gone
    code, out, _ = call(monkeypatch, capsys, base / "a")
    says = "chain: broken, its end was cut off: the run knew 6 records, 5 are left"
    assert (code, out) == (1, f"{base / NAME}\n{says}\n")
    with unfenced(base / NAME) as db:
        db.execute("UPDATE record SET body = '{}' WHERE seq = 2")
    code, out, _ = call(monkeypatch, capsys, base, "--json")
    assert code == 1
    assert json.loads(out)["chain"]["broken"] == "record 2 was changed after it was written"


def test_the_command_without_a_ledger(tmp_path, monkeypatch, capsys):
    code, out, err = call(monkeypatch, capsys, tmp_path / "study.toml")
    assert (code, out) == (2, "")
    assert err == (
        f"hitherto: trials: there is no ledger at {tmp_path / NAME}; give a study file that was run, its run folder, "
        "or a ledger\n"
    )
    (tmp_path / NAME).write_text("not a database, whatever it is called " * 30)
    code, out, err = call(monkeypatch, capsys, tmp_path)
    assert (code, out) == (3, "")
    assert "no readable trial ledger" in err
    (tmp_path / NAME).write_bytes(b"")
    code, out, _ = call(monkeypatch, capsys, tmp_path)
    assert (code, out) == (0, f"{tmp_path / NAME}\n\nno trial yet\n\nchain: intact, 0 records\n")


def test_bars_of_other_lengths_are_brought_to_one_clock(ledger):
    """Hourly returns beside daily ones: the same Sharpe ratio a year is the same ratio, not a smaller one."""
    day, hour = made("a", per_year=252), made("b", per_year=252 * 4)
    ledger.open([day, hour])
    ledger.result([(day, Outcome(0.10, 500, 0.0, 3.0)), (hour, Outcome(0.05, 2000, 0.0, 3.0))])
    daily = ledger.count("d1")
    assert daily.trials == 2
    assert daily.variance == pytest.approx((1 / 500 + 4 / 2000) / 2)  # both ratios are 0.10 a day: noise alone


def test_a_model_of_ones_own_is_told_by_what_it_holds():
    class Mine:
        name, lookback, unit = "mine", 1, "asset"

        def __init__(self, alpha):
            self.alpha, self.tool = alpha, object()

        def fit(self, train, valid, *, rng, context):
            raise NotImplementedError

    panel = make_panel(T=60, N=4)
    digests = [
        recording._digest(study, study.models[0], study.settings.portfolio[0])
        for study in (Study(panel, features={"set": "close_only"}, models=[Mine(a)]) for a in (0.0, 1.0, 1.0))
    ]
    assert digests[0] != digests[1] == digests[2]  # an address is no setting


def test_few_bars_are_above_nothing():
    assert recording._ratios(Outcome(0.9, 59, 0.0, 3.0), Searched(1, 0.01, 1, "", "")) == (None, None)
    assert None not in recording._ratios(Outcome(0.9, 60, 0.0, 3.0), Searched(1, 0.01, 1, "", ""))
