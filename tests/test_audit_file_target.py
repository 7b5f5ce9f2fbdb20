"""A contained file as a target of the audit: the same numbers as in process, one child, the same verdicts."""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
import tempfile
import time

import numpy as np
import pytest
from contained_toys import left_behind, write

from hitherto.audit import audit, from_function, made_up_panel, processes
from hitherto.audit.contained import ContainedError, FileTarget, Limits
from hitherto.audit.probes import determinism

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="files are run contained on Linux only")
PANEL = made_up_panel(90, 4)
LIMITS = Limits(wall=30)


@pytest.fixture(autouse=True)
def nothing_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    assert left_behind(tmp_path) == []


SIGNALS = {
    "symbol": "def signal(frame):\n    return frame[['close', 'volume']].pct_change(fill_method=None)\n",
    "long": "def signal(frame):\n    return frame.close.groupby(level='date').rank(pct=True)\n",
    "wide": "def signal(frame):\n    return frame['close'].rank(axis=1)\n",
    "panel": "def signal(p):\n    return {'a': p.fields['close'] * 2, 'k': p.fields['high'][:, :, None] * [1, 2]}\n",
}  # fmt: skip


@pytest.mark.parametrize("gets", SIGNALS)
def test_the_numbers_are_those_of_the_function_bit_for_bit(tmp_path, gets):
    path = write(tmp_path, SIGNALS[gets], f"{gets}_file.py")
    spec = importlib.util.spec_from_file_location(f"{gets}_here", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    here = from_function(module.signal, gets)
    with FileTarget(path, gets=gets, limits=LIMITS) as there:
        assert (there.name, there.unit, there.exact, there.shape_rtol) == (
            f"{gets}_file", here.unit, here.exact, here.shape_rtol
        )  # fmt: skip
        for panel in (PANEL, PANEL.rows(40), PANEL.assets(np.array([2, 0])), PANEL):
            want, got = here.run(panel), there.run(panel)
            flat = {k: np.asarray(v) for k, v in want.items() if np.ndim(v) == 2}
            flat |= {f"{k}[{i}]": np.asarray(v)[:, :, i] for k, v in want.items() if np.ndim(v) == 3 for i in range(2)}
            assert list(got) == list(flat)
            for name, values in flat.items():
                assert np.asarray(got[name]).tobytes() == values.astype(np.float64).tobytes()


def test_one_child_answers_all_evaluations_of_an_audit(tmp_path):
    path = write(
        tmp_path, "import os\nprint('import', os.getpid())\ndef signal(frame):\n    return frame.close.diff()\n"
    )
    with FileTarget(path, limits=LIMITS) as target:
        report = audit(target, PANEL)
    assert report.exit_code == 0, report.to_text()
    assert report.evaluations > 5
    assert target.output.text.count("import") == 1


def test_a_leak_in_a_file_is_found_with_class_and_reach(tmp_path):
    path = write(tmp_path, "def signal(frame):\n    return frame.close.shift(-2)\n")
    with FileTarget(path, limits=LIMITS) as target:
        report = audit(target, PANEL)
    assert report.exit_code == 1
    assert [(f.leak, f.where, f.reach) for f in report.findings] == [("L02", "strategy.signal", 2)]


def test_state_between_evaluations_is_caught_by_two_equal_runs(tmp_path):
    path = write(tmp_path, "N = []\ndef signal(panel):\n    N.append(1)\n    return panel.fields['close'] * len(N)\n")
    with FileTarget(path, gets="panel", limits=LIMITS) as target:
        result = determinism.probe(target, PANEL, None, None)
    assert [(f.leak, f.note) for f in result.findings] == [("L32", "two equal runs differ")]


def test_a_hang_on_one_panel_cannot_be_told_and_the_rest_goes_on(tmp_path):
    """It hangs on shorter panels only: P1 meets its limit, P2 goes on with a fresh child."""
    path = write(tmp_path, f"""
        import time
        def signal(panel):
            while panel.shape[0] < {PANEL.shape[0]}: time.sleep(0.01)
            return panel.fields["close"] * 2.0
    """)  # fmt: skip
    with FileTarget(path, gets="panel", limits=Limits(wall=4.0)) as target:
        target.run(PANEL)
        first = target._child
        with pytest.raises(ContainedError, match="wall limit"):
            target.run(PANEL.rows(20))
        assert target._child is None
        np.testing.assert_array_equal(target.run(PANEL)["signal"], PANEL.fields["close"] * 2)
        assert target._child is not first


def test_close_can_be_called_twice_and_run_begins_anew(tmp_path):
    path = write(tmp_path, "def signal(panel):\n    return panel.fields['close']\n")
    target = FileTarget(path, gets="panel", limits=LIMITS)
    for _ in range(2):
        target.run(PANEL)
        target.close()
        target.close()
        assert processes.descendants(os.getpid()) == []


def test_a_forgotten_target_ends_its_child_when_it_is_collected(tmp_path):
    path = write(tmp_path, "def signal(panel):\n    return panel.fields['close']\n")
    before = len(os.listdir("/proc/self/fd"))
    target = FileTarget(path, gets="panel", limits=LIMITS)
    target.run(PANEL)
    assert len(left_behind(tmp_path)) > 1
    del target
    gc.collect()
    until = time.monotonic() + 10
    while left_behind(tmp_path) and time.monotonic() < until:
        time.sleep(0.02)
    assert len(os.listdir("/proc/self/fd")) == before


def test_many_children_leave_no_handle_open(tmp_path):
    path = write(tmp_path, "def signal(panel):\n    return panel.fields['close']\n")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with FileTarget(path, gets="panel", limits=LIMITS) as target:
            target.run(PANEL)
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_interrupt_of_the_auditor_ends_the_child(tmp_path, monkeypatch):
    path = write(tmp_path, "import time\ndef signal(panel):\n    time.sleep(600)\n")
    target = FileTarget(path, gets="panel", limits=LIMITS)

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(processes, "memory", interrupt)
    with pytest.raises(KeyboardInterrupt):
        target.run(PANEL)
    assert processes.descendants(os.getpid()) == []


def test_a_file_named_like_a_module_and_a_helper_beside_it(tmp_path):
    write(tmp_path, "K = 3.0\n", "helper_of_mine.py")
    text = "from helper_of_mine import K\ndef signal(panel):\n    return panel.fields['close'] * K\n"
    path = write(tmp_path, text, "json.py")
    with FileTarget(path, gets="panel", limits=LIMITS) as target:
        np.testing.assert_array_equal(target.run(PANEL)["signal"], PANEL.fields["close"] * 3)
    assert not (path.parent / "__pycache__").exists()


def test_names_of_stocks_and_fields_of_any_script_pass(tmp_path):
    panel = PANEL.replace(
        symbols=("贵州茅台", "../../x", "a'b\"c", "名 字"), fields={**PANEL.fields, "市值/1": PANEL.fields["close"] + 1}
    )
    path = write(
        tmp_path,
        "def signal(panel):\n    return {'名': panel.fields['市值/1'], panel.symbols[1]: panel.fields['close']}\n",
    )
    with FileTarget(path, gets="panel", limits=LIMITS) as target:
        out = target.run(panel)
    assert list(out) == ["名", "../../x"]
    np.testing.assert_array_equal(out["名"], panel.fields["市值/1"])
