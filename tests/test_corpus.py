"""The corpus: every file is well-formed and deterministic, dozens are audited, the stored matrix fits the files."""

from __future__ import annotations

import ast
import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the corpus lies beside the package, not in it

from corpus import runner, worlds  # noqa: E402
from hitherto.audit import from_function, made_up_panel  # noqa: E402
from hitherto.audit.verdict import Finding, ProbeResult  # noqa: E402

FILES = sorted(p for p in runner.ITEMS.glob("*.py") if not p.stem.startswith("_"))
FUNCTIONS = [p for p in FILES if runner.load(p).kind in runner.GETS]
MODULES = [p for p in FILES if runner.load(p).kind == "module"]
RANDOM = {"l07_functional_dropout", "l07_random_weights"}  # unseeded: two equal runs differ, which is the leak
STRATA = [  # every kind, every probe, the classes by mechanism, and what looks most like them
    "l01_label_merged_back", "l02_savgol", "l03_bfill", "l04_quantile_gate", "l06_batch_statistics",
    "l07_functional_dropout", "l08_pool_and_upsample", "l10_off_by_one", "l26_missing_as_zero", "l28_front_adjusted",
    "h_bilstm_in_window", "h_batch_norm_frozen", "h_against_the_market", "h_back_adjusted", "h_expanding_by_symbol",
    # fitted objects, splitters, fills, vintages, files, evaluations, searches, events
    "l05_scaler_on_all_rows", "l15_folds_without_embargo", "l16_bootstrapped_then_split", "l21_sales_on_the_same_bar",
    "l23_limit_asked_at_the_close", "l25_universe_of_the_snapshot", "l32_remembers_earlier_calls",
    "l18_chosen_and_scored_on_all_rows", "l19_threshold_among_forty", "l19_five_studies_one_test",
    "l30_filings_of_the_weekend_on_friday",
    "h_refitted_as_time_passes", "h_combinations_purged", "h_waits_for_the_resumption", "h_members_of_the_day",
    "h_file_logs_and_reads_settings", "h_chosen_on_train_rows_then_scored", "h_searched_before_the_test",
    "h_three_trials_of_a_true_edge", "h_filings_of_the_day_before",
]  # fmt: skip
TWICE = [  # one of each kind
    "l12_five_day_bins", "l02_panel_median", "l08_same_padding", "l05_bin_edges_of_all_rows", "l14_gap_too_short",
    "l22_stop_in_the_gap", "l32_asks_the_clock", "l11_scored_with_its_own_bar", "l19_best_seed_of_twelve",
    "l30_filings_of_the_weekend_on_friday",
]  # fmt: skip
PROBES = [f"P{k}" for k in range(13)]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Items may write into the folder they run in: it is not this one."""
    monkeypatch.chdir(tmp_path)


OPEN: set[str] = set()  # judged wrongly today, with the reason; an item is never weakened for it


def same(a, b):
    return sorted(a) == sorted(b) and all(np.array_equal(a[k], b[k], equal_nan=True) for k in a)


def numbers(path, panel):
    item = runner.load(path)
    if item.vintages:
        panel = worlds.vintages(panel)[panel.sessions[-1]]
    return from_function(item.bare, runner.GETS[item.kind], events=item.table).run(panel)


@pytest.fixture(scope="module")
def small():
    return made_up_panel(rows=100, listings=3)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_every_file_declares_what_it_is(path):
    item = runner.load(path)
    assert item.leak is None or path.stem.startswith(item.leak.lower() + "_")
    assert (item.leak is None) == path.stem.startswith("h_")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert (ast.get_docstring(tree) or "").count("\n") == 0, "one sentence"
    assert path.read_text(encoding="utf-8").count("\n") <= 90
    if item.kind != "file":
        names = {n.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for n in node.names}
        names |= {(node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        own = {"numpy", "pandas", "scipy", "torch", "sklearn", "lightgbm"}
        assert names - set(sys.stdlib_module_names) <= own, names


@pytest.mark.parametrize("path", FUNCTIONS, ids=lambda p: p.stem)
def test_functions_give_numbers_and_the_same_ones_twice(path, small):
    first = numbers(path, small)
    assert any(np.isfinite(v).sum() > 20 for v in first.values())
    assert same(first, numbers(path, small)) or path.stem in RANDOM or runner.load(path).leak == "L32"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.stem)
def test_modules_give_one_output_per_step_and_equal_weights_twice(path):
    import torch

    item = runner.load(path)
    x = torch.randn(3, 40, 2, generator=torch.Generator().manual_seed(1))
    made = [runner.load(path).entry() for _ in range(2)]
    with torch.no_grad():
        out = [m(x) for m in made]
    assert out[0].shape[:2] == (3, 40)
    assert torch.isfinite(out[0]).sum() >= 3 * 39
    assert torch.equal(out[0], out[1]) == (path.stem not in RANDOM)
    assert len(item.code.CHANNELS) == 2
    assert made[0].training is False


@pytest.mark.parametrize("name", STRATA)
def test_dozens_of_items_are_judged_rightly(name):
    (item,) = runner.load_all([name])
    row = runner.run(item, level="quick")
    assert row.ran
    assert row.caught == (item.leak is not None), row
    if item.reach is not None:
        assert row.exact, (row.reach, item.reach)


@pytest.mark.parametrize("name", TWICE)
def test_two_audits_of_an_item_say_the_same(name):
    """Same probes, classes and reach: two loads, two panels of equal content, one seed."""
    rows = [runner.run(runner.load_all([name])[0], made_up_panel(150, 8)) for _ in range(2)]
    first, second = (runner.matrix([row])["items"][name] for row in rows)
    assert first == second
    assert first["ran"]
    assert rows[0].note == rows[1].note


@pytest.mark.parametrize("name", ["h_lstm", "h_causal_transformer", "h_causal_convolution"])
def test_float32_nets_do_not_alarm(name):
    """Sums in another order, by batch and length, move the last digits of honest nets: five draws of the weights."""
    import torch

    from hitherto.audit import audit, from_module

    panel = made_up_panel(200, 12)
    (item,) = runner.load_all([name])
    moved = 0.0
    for seed in range(5):
        net, draw = item.entry(), torch.Generator().manual_seed(100 + seed)
        with torch.no_grad():
            for weight in net.parameters():  # spread enough that the outputs are no constants
                weight.copy_(1.5 * torch.randn(weight.shape, generator=draw) / (weight.numel() / len(weight)) ** 0.5)
        assert {w.dtype for w in net.parameters()} == {torch.float32}
        report = audit(from_module(net, item.code.CHANNELS, name=name).plan(panel, "quick"), seed=seed)
        assert (report.exit_code, report.findings) == (0, ()), report.to_text()
        assert {r.probe for r in report.results if r.status == "ok"} == {"P0", "P1", "P2", "P4", "P5"}
        with torch.no_grad():
            x = torch.randn(16, 300, 2, generator=draw)
            whole = net(x)
            for part, again in ((net(x[:, :7]), whole[:, :7]), (net(x[3:4]), whole[3:4])):
                moved = max(moved, float((part - again).abs().max()))
    assert moved > 0, "bits do differ between shapes: it is the tolerance that keeps silent"


def test_the_corpus_is_large_and_every_class_comes_in_disguises():
    items = runner.load_all()
    assert sum(i.leak is not None for i in items) >= 96
    assert sum(i.leak is None for i in items) >= 60
    count = Counter(i.leak for i in items)
    for leak in ("L01", "L02", "L03", "L04", "L06", "L07", "L08", "L09", "L10", "L11", "L12", "L26", "L28"):
        assert count[leak] >= 3, leak
    for k in range(1, 33):
        assert count[f"L{k:02d}"] >= 2, k
    kinds = {(i.kind, i.leak is None) for i in items}
    assert {(kind, honest) for kind in runner.ENTRY for honest in (True, False)} <= kinds


def test_the_stored_matrix_fits_the_files():
    stored = json.loads(runner.MATRIX.read_text(encoding="utf-8"))
    assert sorted(stored["items"]) == sorted(p.stem for p in FILES)
    wrong = set()
    for path in FILES:
        item, one = runner.load(path), stored["items"][path.stem]
        assert (one["leak"], one["kind"], one["reach"]) == (item.leak, item.kind, item.reach), path.stem
        assert set(one["probes"]) <= set(stored["probes"])
        if one["ran"] and ("LEAK" in one["probes"].values()) != (item.leak is not None):
            wrong.add(path.stem)
    assert wrong == OPEN
    exact = [n for n, one in stored["items"].items() if one["reach"] is not None and one["found"] == one["reach"]]
    assert len(exact) >= 40
    alone = runner.escapes(stored)
    assert [p for p in PROBES if not alone.get(p)] == [], "every probe must be needed"


# ---- the runner itself ----
def write(folder, name, text):
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    return path


GOOD = (
    '"""Doc."""\n'
    'ITEM = {"leak": "L01", "kind": "frame", "reach": 1, "why": "x"}\n'
    "def signal(frame):\n    return frame\n"
)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"L01"', '"L33"', "leak must be L01 to L32 or None, got 'L33'"),
        ('"frame"', '"tape"', "kind must be one of frame, long"),
        ('"reach": 1', '"reach": 0', "reach must be a positive number of bars, 'end' or None"),
        ('"reach": 1', '"reach": True', "reach must be a positive number"),
        ('"L01"', "None", "honest code has no reach, got 1"),
        ('"x"', '""', "it must say why, in ITEM and in a docstring"),
        ('"""Doc."""', "", "it must say why"),
        ("def signal", "def sygnal", "a frame item needs 'signal'"),
        ('"why": "x"', '"because": "x"', "ITEM must be a plain dict of leak, kind, reach and why"),
        ("def signal", "EVENTS = {'day': [1]}\n\n\ndef signal", "EVENTS must be a plain dict of columns with known_at"),
    ],
)
def test_a_bad_declaration_is_refused(tmp_path, old, new, said):
    assert runner.load(write(tmp_path, "good", GOOD)).reach == 1
    with pytest.raises(ValueError, match=said):
        runner.load(write(tmp_path, "bad", GOOD.replace(old, new)))


def test_declarations_are_read_without_running_the_file(tmp_path):
    item = runner.load(write(tmp_path, "loud", GOOD + "\nraise RuntimeError('was run')\n"))
    assert item.why == "x"
    with pytest.raises(RuntimeError, match="was run"):
        item.entry


def test_unknown_names_are_named():
    with pytest.raises(ValueError, match="corpus: no item named l99_nothing"):
        runner.load_all(["h_lstm", "l99_nothing"])


def row(name, leak, declared, reach, probes, ran=True):
    caught = "LEAK" in probes.values()
    return runner.Row(name, "frame", leak, declared, ran, caught, probes, (), reach, 0.0)


def test_the_score_counts_only_what_ran_and_what_was_declared():
    rows = [
        row("a", "L02", 5, 5, {"P1": "ok", "P2": "LEAK"}),
        row("b", "L01", 1, 2, {"P1": "LEAK", "P2": "LEAK"}),
        row("c", "L04", "end", "end", {"P1": "LEAK"}),
        row("d", "L13", None, None, {}, ran=False),
        row("e", None, None, 3, {"P2": "LEAK"}),
        row("f", None, None, None, {"P2": "ok"}),
    ]
    assert runner.score(rows) == {"planted": 4, "caught": 3, "honest": 2, "false_alarms": 1, "reach_exact": 2}
    assert runner.escapes(runner.matrix(rows)) == {"P1": ["c"], "P2": ["a"]}


def test_a_stored_matrix_comes_back_as_it_was(tmp_path):
    rows = [row("b", "L01", 1, 1, {"P2": "LEAK"}), row("a", None, None, None, {"P1": "ok", "P10": "ok"})]
    path = tmp_path / "matrix.json"
    runner.write_matrix(rows, path)
    assert json.loads(path.read_text(encoding="utf-8")) == json.loads(json.dumps(runner.matrix(rows)))
    first = path.read_bytes()
    runner.write_matrix(rows[::-1], path)
    assert path.read_bytes() == first


def test_statuses_keep_the_worst_and_p2_speaks_for_p1():
    p1 = ProbeResult("P1", "f", "", "LEAK", findings=(Finding("L32", "f.x", "P1", 1, 1),))
    p2 = ProbeResult("P2", "f", "", "LEAK", findings=(Finding("L02", "f.x", "P2", 1, 1, reach=5),))
    ok = ProbeResult("P2", "g", "", "ok")
    assert runner.statuses([ok, p1, p2, ok]) == {"P1": "LEAK", "P2": "LEAK"}
    assert [f.leak for f in runner.named([p1, p2])] == ["L02"]
    assert runner.found_reach(runner.named([p1, p2]), 320) == 5
    assert runner.found_reach([Finding("L04", "f.x", "P2", 1, 1, reach=300)], 320) == "end"
    assert runner.found_reach([Finding("L32", "f.x", "P1", 1, 1)], 320) is None


def test_events_are_bound_for_other_tools_and_apart_for_the_audit(tmp_path):
    text = (
        '"""Doc."""\n'
        'ITEM = {"leak": "L30", "kind": "frame", "reach": None, "why": "x"}\n'
        'EVENTS = {"known_at": ["2018-02-01 10:00"], "tone": [2.0]}\n'
        "def signal(frame, events):\n    return frame['close'] * events['tone'].iloc[0]\n"
    )
    item = runner.load(write(tmp_path, "l30_x", text))
    panel = made_up_panel(30, 2)
    bound = from_function(item.entry, "symbol").run(panel)["signal"]
    np.testing.assert_array_equal(bound, 2.0 * panel.fields["close"])
    assert str(item.table["known_at"].dtype) == "datetime64[ns]"
    apart = from_function(item.bare, "symbol", events=item.table)
    np.testing.assert_array_equal(apart.run(panel)["signal"], bound)
    np.testing.assert_array_equal(apart.told(item.table.assign(tone=3.0)).run(panel)["signal"], 1.5 * bound)


def test_a_kind_that_nobody_can_run_is_not_run_and_not_caught(monkeypatch):
    (item,) = runner.load_all(["l01_numpy_roll"])
    monkeypatch.setitem(runner.AUDITS, "frame", runner._missing)
    out = runner.run(item)
    assert (out.ran, out.caught, out.note) == (False, False, "no adapter for kind 'frame' yet")


def test_older_snapshots_know_less():
    made = worlds.vintages(made_up_panel(rows=200, listings=12))
    days = sorted(made)
    latest = made[days[-1]]
    for day in days[:-1]:
        old = made[day]
        T = old.shape[0]
        assert old.sessions[-1] == day
        for name in ("close", "first_earnings", "member_then"):
            assert np.array_equal(old.fields[name], latest.fields[name][:T], equal_nan=True)
        for name in ("earnings", "member"):
            assert not np.array_equal(old.fields[name], latest.fields[name][:T])
