"""The search of settings: it finds a planted optimum, prunes, keeps its budget, survives kills."""

import json
import math
import os
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitherto.errors import ConfigError, DataError, HithertoError, MissingExtraError
from hitherto.seeds import Stream
from hitherto.train.search import FAILURES, Choice, Range, locked, parse_budget, search

pytest.importorskip("optuna")
LINE = {"x": Range(0.0, 1.0)}


@pytest.fixture(autouse=True)
def fast_disk(monkeypatch, request):
    """Thousands of short lines: a process that is killed loses nothing for want of fsync, only a machine does."""
    if "real_disk" not in request.fixturenames:
        monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def real_disk():
    """Asks for the real fsync."""


def run(folder, score, start=None, space=LINE, folds=3, seed=0, **options):
    """A search whose clock stands still, so that only ``trials`` ends it."""
    options = {"budget": "1 h", "trials": 8, "clock": lambda: 0.0, **options}
    return search(score, start or {"x": 0.9}, space, folds=folds, folder=folder, rng=Stream(seed, "test"), **options)


def hill(settings, fold, rng):
    return -((settings["x"] - 0.3) ** 2) + 0.1 * fold + 0.01 * float(rng.numpy("noise").normal())


def logged(folder):
    return [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]


# -- spaces and budgets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Range(1, 1), "search: Range(1, 1) must have finite ends with low < high"),
        (lambda: Range(0, math.inf), "search: Range(0, inf) must have finite ends with low < high"),
        (lambda: Range(math.nan, 1), "search: Range(nan, 1) must have finite ends with low < high"),
        (lambda: Range(0, 1, log=True), "search: Range(0, 1) with log=True must have low > 0"),
        (lambda: Range(0.5, 2, whole=True), "search: Range(0.5, 2) with whole=True must have whole ends"),
        (lambda: Choice(()), "search: Choice needs a tuple of at least one value, got ()"),
        (lambda: Choice([1]), "search: Choice needs a tuple of at least one value, got [1]"),
    ],
)
def test_a_bad_range_says_what_is_wrong(make, message):
    with pytest.raises(ConfigError) as e:
        make()
    assert str(e.value) == message


def test_ranges_know_what_they_hold():
    assert Range(1, 8, whole=True).holds(8)
    assert not Range(1, 8, whole=True).holds(1.5)
    assert not Range(1, 8).holds(9)
    assert not Range(0, 8).holds(True)
    assert not Range(0, 8).holds("4")
    assert Choice(((1,), (2,))).holds((2,))
    assert not Choice((1, 2)).holds(True)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90 s", 90),
        ("90s", 90),
        ("10 min", 600),
        ("48 h", 172_800),
        ("1.5 h", 5400),
        ("600", 600),
        (12, 12),
        (0.5, 0.5),
    ],
)
def test_budgets(text, seconds):
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["10 m", "ten", "", "-5 s", "0 s", "5 s s", 0, -1, math.nan, math.inf, True, "1e3 s"])
def test_a_bad_budget_says_how_to_write_one(text):
    with pytest.raises(ConfigError) as e:
        parse_budget(text)
    told = "is not a time above 0; give seconds, or text such as '90 s', '10 min', '48 h'"
    assert str(e.value) == f"budget {text!r} {told}"


@given(st.floats(0.001, 1e6))
def test_a_number_is_its_own_budget(seconds):
    assert parse_budget(seconds) == parse_budget(f"{seconds:.10f} s") or math.isclose(
        parse_budget(f"{seconds:.10f} s"), seconds, rel_tol=1e-6
    )


# -- the search -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_finds_the_rate_of_a_quadratic(tmp_path, seed):
    # Four decades, a window of 0.8: 40 draws at random miss it with chance 0.8^40 = 0.01 %, TPE more rarely; and the
    # start, at the far end, must not win.
    def score(settings, fold, rng):
        return -((math.log10(settings["rate"]) + 3) ** 2) + fold

    found = run(tmp_path, score, {"rate": 0.1}, {"rate": Range(1e-5, 1e-1, log=True)}, seed=seed, trials=41, folds=4)
    assert abs(math.log10(found.best.settings["rate"]) + 3) < 0.4
    assert found.best.number > 0
    assert len(found.trials) == found.count == 41


def test_settings_have_the_types_of_their_space(tmp_path):
    space = {
        "a": Range(1, 4, whole=True),
        "b": Choice(((8,), (8, 4))),
        "c": Range(1e-6, 1, log=True),
        "d": Choice((1, 2.5)),
    }
    seen = []

    def score(settings, fold, rng):
        seen.append(settings)
        return float(settings["a"])

    start = {"a": 9, "b": (2,), "c": 0.0, "d": 1, "kept": "as it was"}
    found = run(tmp_path, score, start, space, folds=1, trials=30)
    assert seen[0] == start  # tried as given, though it lies outside the space
    for settings in seen[1:]:
        assert type(settings["a"]) is int
        assert settings["kept"] == "as it was"
        assert all(space[k].holds(settings[k]) for k in space)
    assert {s["b"] for s in seen[1:]} == {(8,), (8, 4)}  # 29 draws of a coin: one side only has chance 2^-28
    assert found.best.number == 0  # 9 is more than anything in the space: the search never ends below its start
    assert "no trial was better than the settings as given" in found.to_text()


def test_a_bad_region_is_pruned_after_three_folds(tmp_path):
    def score(settings, fold, rng):
        return -float(settings["x"] > 0.5) - 0.001 * settings["x"] + fold  # folds differ by more than settings do

    found = run(tmp_path, score, {"x": 0.1}, folds=6, trials=20)
    bad = [t for t in found.trials if t.settings["x"] > 0.5]
    assert len(bad) >= 1  # 10 draws at random come first: none above 0.5 has chance 0.1 %
    assert {(t.state, len(t.scores)) for t in bad} == {("pruned", 3)}
    assert found.trials[0].state == "complete"
    best = max(found.trials, key=lambda t: t.score if t.state == "complete" else -math.inf)
    assert found.best is best


def test_equal_settings_are_not_pruned(tmp_path):
    found = run(tmp_path, lambda s, fold, rng: float(fold), folds=8, trials=6)
    assert {t.state for t in found.trials} == {"complete"}


def test_a_pruned_trial_never_becomes_the_best_of_the_sampler(tmp_path):
    import optuna

    found = run(tmp_path, lambda s, fold, rng: hill(s, fold, rng) + 5.0 * fold, folds=6, trials=25)
    storage = optuna.storages.journal
    study = optuna.load_study(
        study_name="search", storage=storage.JournalStorage(storage.JournalFileBackend(str(tmp_path / "journal.log")))
    )
    assert "pruned" in {t.state for t in found.trials}
    assert study.best_trial.user_attrs["number"] == found.best.number


def test_same_seed_same_trials_and_another_seed_others(tmp_path):
    a, b = run(tmp_path / "a", hill), run(tmp_path / "b", hill)
    c = run(tmp_path / "c", hill, seed=1)
    assert a == b
    assert [t.settings for t in a.trials[1:]] != [t.settings for t in c.trials[1:]]


def test_every_trial_is_on_record(tmp_path):
    found = run(tmp_path, hill, folds=6)
    lines = logged(tmp_path)
    assert [(line["number"], line["state"] == "running") for line in lines] == [
        (n, begun) for n in range(8) for begun in (True, False)
    ]
    for t, line in zip(found.trials, lines[1::2], strict=True):
        assert (line["state"], line["settings"]) == (t.state, t.settings)
        assert {int(k): v for k, v in line["scores"].items()} == t.scores
    assert len({line["digest"] for line in lines}) == 1


def test_each_line_is_on_the_disk_before_the_next_fold_is_scored(tmp_path, real_disk, monkeypatch):
    synced, real = [], os.fsync

    def fsync(handle):
        real(handle)
        synced.append(os.fstat(handle).st_ino)

    monkeypatch.setattr(os, "fsync", fsync)

    def score(settings, fold, rng):
        log = tmp_path / "trials.jsonl"
        assert synced.count(log.stat().st_ino) == len(logged(tmp_path)) > 0
        return hill(settings, fold, rng)

    assert len(run(tmp_path, score, trials=3).trials) == 3
    assert len(logged(tmp_path)) == 6


class Clock:
    """Ten seconds pass whenever a fold is scored."""

    def __init__(self):
        self.now, self.calls = 100.0, 0

    def score(self, settings, fold, rng):
        self.now += 10.0
        self.calls += 1
        return hill(settings, fold, rng)

    def __call__(self):
        return self.now


def test_no_fold_starts_after_the_budget_and_the_rest_is_done_later(tmp_path):
    clock = Clock()
    short = run(tmp_path / "a", clock.score, budget="35 s", clock=clock, trials=None)
    assert clock.calls == 4
    assert [(t.state, len(t.scores)) for t in short.trials] == [("complete", 3), ("stopped", 1)]
    assert short.seconds == 40.0
    assert run(tmp_path / "a", clock.score, budget="35 s", clock=clock, trials=None) == short
    assert clock.calls == 4  # the budget is of the whole search
    longer = run(tmp_path / "a", clock.score, budget="95 s", clock=clock, trials=None)
    assert longer == run(tmp_path / "b", clock.score, budget="95 s", clock=clock, trials=None)
    assert [line["state"] for line in logged(tmp_path / "a")].count("stopped") in (1, 2)


def test_a_budget_that_ends_in_the_first_trial(tmp_path):
    clock = Clock()
    with pytest.raises(HithertoError) as e:
        run(tmp_path, clock.score, budget=5, clock=clock)
    told = "search: the budget of 5 s ended after 1 of 3 folds of the first trial (10 s each)"
    assert str(e.value) == f"{told}; go on in the same folder with a longer one"


# -- failures ---------------------------------------------------------------------------------------------------------


def test_a_failing_trial_is_recorded_and_the_search_goes_on(tmp_path):
    def score(settings, fold, rng):
        if 0.3 < settings["x"] < 0.6:
            raise DataError("no sample left")
        return math.nan if settings["x"] <= 0.3 else settings["x"]

    found = run(tmp_path, score, trials=20)
    failed = [t for t in found.trials if t.state == "failed"]
    told = {t.error.split(": ", 1)[1] for t in failed}
    assert told == {
        "no sample left",
        "the score is nan",
    }  # 10 random draws miss a part of 0.3 with chance 2.8 %: seed 0
    assert found.count == sum(t.state != "failed" for t in found.trials)
    assert "(fold " in found.to_text()
    assert found.best.state == "complete"


def test_when_the_settings_as_given_fail_the_search_ends(tmp_path):
    with pytest.raises(HithertoError) as e:
        run(tmp_path, lambda s, fold, rng: math.inf, folds=1)
    assert str(e.value) == "search: the settings as given fail: fold 0: the score is inf"


def test_many_failures_in_a_row_end_the_search(tmp_path):
    with pytest.raises(HithertoError) as e:
        run(tmp_path, lambda s, fold, rng: 1.0 if s["x"] == 0.9 else math.nan, folds=1, trials=None)
    assert str(e.value) == (
        f"search: {FAILURES} trials in a row failed, the last one: fold 0: the score is nan; narrow the space"
    )


def test_a_mistake_in_the_objective_is_not_hidden(tmp_path):
    def score(settings, fold, rng):
        return 1.0 / (settings["x"] - settings["x"])

    with pytest.raises(ZeroDivisionError):
        run(tmp_path, score)
    assert run(tmp_path, hill).trials == run(tmp_path / "b", hill).trials  # corrected, in the same folder
    assert [line["state"] for line in logged(tmp_path)][:2] == ["running", "killed"]


def test_messages(tmp_path):
    cases = [
        ({"space": {}}, "search: the space is empty; name at least one setting to vary"),
        ({"start": {"y": 1}}, "search: the space varies 'x', which the settings do not have: y"),
        ({"folds": 0}, "search: folds and trials must be at least 1, got 0 and 8"),
        ({"prune": 1.0}, "search: prune is a p-value in [0, 1), got 1.0"),
    ]
    for options, message in cases:
        with pytest.raises(ConfigError) as e:
            run(tmp_path, hill, **options)
        assert str(e.value) == message


def test_a_folder_of_another_search_or_one_at_work_is_refused(tmp_path):
    folder = tmp_path / "kept"
    run(folder, hill, trials=2)
    for options in ({"seed": 1}, {"digest": "other data"}, {"start": {"x": 0.90001}}, {"folds": 4}):
        with pytest.raises(ConfigError) as e:
            run(folder, hill, **options)
        told = "holds a search of other data, settings, space, folds or seed; go on with those, or use another folder"
        assert str(e.value) == f"search: kept {told}"
    pytest.importorskip("fcntl")
    with locked(folder), pytest.raises(ConfigError) as e:
        run(folder, hill)
    assert str(e.value) == "search: another process searches in kept; use another folder"


def test_without_optuna(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError) as e:
        run(tmp_path, hill)
    assert str(e.value) == 'a search of settings needs an optional package: pip install "hitherto[tune]"'


def test_optuna_keeps_its_verbosity_and_says_nothing(tmp_path, capfd):
    import optuna

    before = optuna.logging.get_verbosity()
    run(tmp_path, hill, trials=3)
    assert optuna.logging.get_verbosity() == before
    assert capfd.readouterr() == ("", "")


# -- kills ------------------------------------------------------------------------------------------------------------

KILLED = """
    import json, os, signal, sys
    from pathlib import Path
    import optuna
    from hitherto.seeds import Stream
    from hitherto.train.search import Choice, Range, search

    SPACE = {"x": Range(0.0, 1.0), "k": Choice(((1,), (2,)))}

    def score(s, fold, rng):
        return -((s["x"] - 0.3) ** 2) + fold + 0.01 * float(rng.numpy("noise").normal()) - 0.1 * (s["k"] == (2,))

    def go(folder):
        return search(score, {"x": 0.9, "k": (3,)}, SPACE, folds=4, budget="1 h", folder=folder, rng=Stream(0, "kill"),
                      trials=TRIALS, clock=lambda: 0.0)

    def killed_at(n, folder):
        # Every line of the journal and of the log ends in one fsync: each is a place to die at.
        child = os.fork()
        if child == 0:
            count = 0
            def fsync(handle):
                nonlocal count
                count += 1
                if count == n:
                    os.kill(os.getpid(), signal.SIGKILL)
            os.fsync = fsync
            go(folder)
            os._exit(0)
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])

    base, real = Path(sys.argv[1]), os.fsync
    os.fsync = lambda handle: None
    TRIALS = 14
    whole = go(base / "whole")
    killed, n = 0, 1
    while killed_at(n, base / "chain"):
        killed, n = killed + 1, n + 2
    assert go(base / "chain").trials == whole.trials, "a chain of kills"
    TRIALS = 3
    first, n = whole.trials[:TRIALS], 1
    while killed_at(n, base / f"at{n}"):
        assert go(base / f"at{n}").trials == first, n
        killed, n = killed + 1, n + 1
    print(json.dumps({"killed": killed, "points": n - 1}))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_anywhere_and_resumed_is_the_same_search(tmp_path):
    code = textwrap.dedent(KILLED)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["points"] > 30  # each write of three trials
    assert told["killed"] > told["points"]

    def last(folder):  # number -> its last line
        return {line["number"]: line for line in logged(tmp_path / folder)}

    assert last("chain") == last("whole")
    assert "killed" in {line["state"] for line in logged(tmp_path / "chain")}


def test_half_a_line_at_the_end_is_cut_off(tmp_path):
    run(tmp_path / "a", hill, trials=4)
    for name in ("journal.log", "trials.jsonl"):
        with open(tmp_path / "a" / name, "ab") as file:
            file.write(b'{"op_code": 4, "wor')
    assert run(tmp_path / "a", hill) == run(tmp_path / "b", hill)
    assert len(logged(tmp_path / "a")) == 16


def test_a_line_that_the_log_lost_is_written_again(tmp_path):
    found = run(tmp_path, hill, trials=4)
    log = tmp_path / "trials.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:-1]))
    assert run(tmp_path, hill, trials=4) == found
    assert logged(tmp_path)[-1]["number"] == 3
    assert logged(tmp_path)[-1]["state"] == found.trials[3].state
