"""Hostile files: each is contained, reported in one line, and leaves neither a process nor a folder behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import pytest
from contained_toys import left_behind, write

from hitherto.audit import made_up_panel, passing, processes
from hitherto.audit.contained import KEPT, Capped, ContainedError, FileTarget, Limits
from hitherto.errors import ConfigError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="files are run contained on Linux only")
PANEL = made_up_panel(40, 3)
QUICK = Limits(wall=30, cpu=30, memory_mb=2048)
HONEST = "def signal(panel):\n    return panel.fields['close'] * 2.0\n"


@pytest.fixture(autouse=True)
def nothing_stays(tmp_path, monkeypatch):
    """Scratch folders of a test lie in its own folder; afterwards nothing may be left."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    assert left_behind(tmp_path) == []


def refused(path, limits=QUICK, gets="panel", **options):
    """Run once; return the one-line error and the closed target."""
    with FileTarget(path, gets=gets, limits=limits, **options) as target, pytest.raises(ContainedError) as caught:
        target.run(PANEL)
    assert "\n" not in str(caught.value)
    return str(caught.value), target


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("import ctypes; ctypes.string_at(0)", "was ended by signal SIGSEGV"),
        ("import os; os.abort()", "was ended by signal SIGABRT"),
        ("import os; os._exit(3)", "ended its process (exit status 3)"),
        ("import os; os._exit(0)", "ended its process (exit status 0)"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "was ended by signal SIGKILL"),
        (
            "import os, signal; os.kill(os.getppid(), signal.SIGKILL); signal.pause()",
            "ended its guardian (signal SIGKILL)",
        ),
    ],
)
def test_a_crash_is_told_by_its_signal_or_status(tmp_path, body, said):
    text, _ = refused(write(tmp_path, f"def signal(panel):\n    {body}\n"))
    assert text == f"strategy.py: signal {said}"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("import sys; sys.exit(3)", "raised SystemExit: 3"),
        ("raise KeyboardInterrupt('no')", "raised KeyboardInterrupt: no"),
        ("raise ValueError('first\\nsecond \\x1b[31m')", "raised ValueError: first"),
        ("def f(): f()\n    f()", "raised RecursionError: maximum recursion depth exceeded"),
    ],
)
def test_what_it_raises_is_told_with_its_line(tmp_path, body, said):
    text, _ = refused(write(tmp_path, f"def signal(panel):\n    {body}\n"))
    assert re.fullmatch(rf"strategy\.py:[23]: strategy\.py: signal {re.escape(said)}", text), text


def test_after_an_error_the_child_goes_on_and_after_a_crash_a_fresh_one_does(tmp_path):
    path = write(tmp_path, """
        import os
        STATE = []
        def signal(panel):
            rows = len(panel.times)
            STATE.append(rows)
            if rows == 10:
                raise ValueError("ten")
            if rows == 20:
                os._exit(1)
            return panel.fields["close"] * 0 + len(STATE)
    """)  # fmt: skip
    with FileTarget(path, gets="panel", limits=QUICK) as target:
        number = lambda panel: float(np.nanmax(target.run(panel)["signal"]))  # noqa: E731
        assert number(PANEL) == 1
        with pytest.raises(ContainedError, match="ValueError: ten"):
            target.run(PANEL.rows(10))
        assert number(PANEL) == 3
        with pytest.raises(ContainedError, match="exit status 1"):
            target.run(PANEL.rows(20))
        assert number(PANEL) == 1


def test_an_endless_loop_meets_the_wall_limit(tmp_path):
    path = write(tmp_path, "import time\ndef signal(panel):\n    while True: time.sleep(0.01)\n")
    text, _ = refused(path, Limits(wall=1.0))
    assert text == "strategy.py: signal was ended after 1 s (wall limit)"


def test_an_endless_import_meets_the_wall_limit(tmp_path):
    text, _ = refused(write(tmp_path, "import time\nwhile True: time.sleep(0.01)\n"), Limits(wall=1.0))
    assert text.endswith("was ended after 1 s (wall limit)")


def test_a_loop_that_ignores_signals_and_exceptions_is_ended_too(tmp_path):
    path = write(tmp_path, """
        import signal as s, time
        for n in (s.SIGTERM, s.SIGINT, s.SIGHUP, s.SIGXCPU, s.SIGALRM):
            s.signal(n, s.SIG_IGN)
        def signal(panel):
            while True:
                try:
                    time.sleep(0.01)
                except BaseException:
                    pass
    """)  # fmt: skip
    assert refused(path, Limits(wall=1.0))[0].endswith("(wall limit)")


def test_the_cpu_limit_counts_what_its_children_burn(tmp_path):
    path = write(tmp_path, """
        import os
        def signal(panel):
            if os.fork() == 0:
                while True: pass
            os.wait()
    """)  # fmt: skip
    assert refused(path, Limits(wall=30, cpu=1.0))[0].endswith("was ended after 1 s of CPU time (CPU limit)")


def test_a_memory_hog_is_ended(tmp_path):
    path = write(tmp_path, """
        import numpy as np, time
        def signal(panel):
            kept = []
            while True:
                kept.append(np.ones(1 << 21))
                time.sleep(0.001)
    """)  # fmt: skip
    text, _ = refused(path, Limits(wall=30, memory_mb=400))
    assert text == "strategy.py: signal was ended: more than 400 MB in memory (memory limit)"


def test_one_absurd_allocation_is_a_memory_error_of_the_file(tmp_path):
    path = write(tmp_path, "import numpy as np\ndef signal(panel):\n    return np.ones(1 << 40)\n")
    assert "MemoryError" in refused(path)[0]


def test_half_a_gigabyte_of_prints_is_counted_and_capped(tmp_path):
    path = write(tmp_path, """
        import os, sys
        def signal(panel):
            print("begin")
            sys.stdout.flush()
            line = b"x" * ((1 << 20) - 1) + b"\\n"
            for _ in range(500):
                os.write(1, line)
            print("end")
            return panel.fields["close"]
    """)  # fmt: skip
    with FileTarget(path, gets="panel", limits=QUICK) as target:
        target.run(PANEL)
    assert target.output.size >= 500 << 20
    text = target.output.text
    assert len(text) < 2 * KEPT + 200
    assert text.startswith("begin\n")
    assert f"... {target.output.size - 2 * KEPT} bytes left out ..." in text


def test_capped_output_keeps_both_ends_whatever_the_pieces():
    rng = np.random.default_rng(0)
    for size in (0, 10, KEPT, KEPT + 1, 2 * KEPT, 2 * KEPT + 5, 5 * KEPT):
        whole, capped, at = bytes(rng.integers(97, 123, size, dtype=np.uint8)), Capped(), 0
        while at < size:
            step = int(rng.integers(1, KEPT))
            capped.add(whole[at : at + step])
            at += step
        assert capped.size == size
        if size <= 2 * KEPT:
            assert capped.text == whole.decode()
        else:
            gap = f"\n... {size - 2 * KEPT} bytes left out ...\n"
            assert capped.text == whole[:KEPT].decode() + gap + whole[-KEPT:].decode()
    dirty = Capped()
    dirty.add(b"a\x1b[31mb\x07\nc\xff")
    assert dirty.text == "a?[31mb?\nc\ufffd"


FORKS = """
    import os, time
    def signal(panel):
        come, go = os.pipe()
        for _ in range(10):
            if os.fork() == 0:
                {before}
                os.write(go, b"x")
                time.sleep(600)
        for _ in range(10):
            os.read(come, 1)
        return panel.fields["close"]
"""


@pytest.mark.parametrize("moved", [False, True])
def test_forked_sleepers_are_found_and_ended_also_in_sessions_of_their_own(tmp_path, moved):
    path = write(tmp_path, FORKS.format(before="os.setsid()" if moved else "pass"))
    with FileTarget(path, gets="panel", limits=QUICK) as target:
        target.run(PANEL)
        assert len(processes.descendants(os.getpid())) == 12  # the guardian, the worker, ten
    assert len(target.left) == 10
    assert all(x.endswith("(in a session of its own)") == moved for x in target.left)


def test_a_daemon_that_lost_its_parent_its_session_and_its_environment_is_ended(tmp_path):
    path = write(tmp_path, """
        import os, sys
        def signal(panel):
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    os.execve(sys.executable, [sys.executable, "-c", "import time; time.sleep(600)"], {})
                os._exit(0)
            os.wait()
            os._exit(5)
    """)  # fmt: skip
    text, target = refused(path)
    assert text.endswith("ended its process (exit status 5)")
    assert len(target.left) == 1
    assert target.left[0].endswith("(in a session of its own)")


def test_a_daemon_is_found_by_its_mark_when_the_guardian_was_killed(tmp_path):
    path = write(tmp_path, """
        import os, signal as s, time
        def signal(panel):
            come, go = os.pipe()
            if os.fork() == 0:
                os.setsid()
                os.write(go, b"x")
                time.sleep(600)
            os.read(come, 1)
            os.kill(os.getppid(), s.SIGKILL)
            s.pause()
    """)  # fmt: skip
    assert refused(path)[0] == "strategy.py: signal ended its guardian (signal SIGKILL)"


def test_a_fork_bomb_meets_the_process_limit(tmp_path):
    path = write(tmp_path, """
        import os, time
        def signal(panel):
            for _ in range(40):
                if os.fork() == 0:
                    time.sleep(600)
            time.sleep(600)
    """)  # fmt: skip
    text, _ = refused(path, Limits(wall=30, processes=12))
    assert text == "strategy.py: signal was ended: more than 12 processes (process limit)"


@pytest.mark.parametrize("then", ["return panel.fields['close'] * 0 + os.getpid()", "raise ValueError(os.getpid())"])
def test_a_fork_that_comes_back_from_the_function_does_not_answer(tmp_path, then):
    path = write(tmp_path, f"""
        import os
        def signal(panel):
            if os.fork():
                os.wait()  # so that a copy that answers is always first
            {then}
    """)  # fmt: skip
    said = set()
    with FileTarget(path, gets="panel", limits=QUICK) as target:
        for _ in range(3):
            try:
                said.add(str(int(np.nanmax(target.run(PANEL)["signal"]))))
            except ContainedError as e:
                said.add(str(e).split()[-1])
        assert target._child is not None
        assert [int(s) in processes.children(target._child.guardian.pid) for s in said] == [True]


def test_a_killed_auditor_takes_the_child_with_it(tmp_path):
    path = write(tmp_path, "import time\ndef signal(panel):\n    print('up', flush=True)\n    time.sleep(600)\n")
    code = (
        "import tempfile, threading, time, os, sys\n"
        f"tempfile.tempdir = {str(tmp_path)!r}\n"
        "from hitherto.audit import made_up_panel\n"
        "from hitherto.audit.contained import FileTarget\n"
        f"t = FileTarget({str(path)!r}, gets='panel')\n"
        "threading.Thread(target=t.run, args=(made_up_panel(10, 2),), daemon=True).start()\n"
        "while not t.output.size: time.sleep(0.01)\n"
        "print('ready', flush=True); time.sleep(600)\n"
    )
    auditor = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert auditor.stdout is not None
    assert auditor.stdout.readline() == "ready\n"
    assert len(left_behind(tmp_path)) > 1
    os.kill(auditor.pid, signal.SIGKILL)
    auditor.wait()
    auditor.stdout.close()
    until = time.monotonic() + 10
    while left_behind(tmp_path) and time.monotonic() < until:
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("trick", "said"),
    [
        ("os.symlink({secret!r}, numbers)", "OSError: [Errno 40] Too many levels of symbolic links: 'out1.npz'"),
        ("os.mkfifo(numbers)", "ValueError: no plain file of the size expected"),
        ("io.open(numbers, 'wb').write(b'PK' * 50)", "BadZipFile: File is not a zip file"),
        ("pass", "FileNotFoundError: [Errno 2] No such file or directory: 'out1.npz'"),
    ],
)
def test_tricks_with_the_file_of_numbers(tmp_path, trick, said):
    """It puts something else in the place of the numbers."""
    secret = tmp_path / "secret.npz"
    np.savez(secret, names=np.frombuffer(b'["signal"]', np.uint8), values=np.full((1, *PANEL.shape), 7.0))
    path = write(tmp_path, f"""
        import io, os
        import numpy as np
        def signal(panel):
            numbers = os.path.join(os.path.dirname(os.getcwd()), "io", "out1.npz")
            def savez(path, **arrays):
                if os.path.lexists(numbers): os.unlink(numbers)
                {trick.format(secret=str(secret))}
            np.savez = savez
            return panel.fields["close"]
    """)  # fmt: skip
    assert refused(path)[0] == f"strategy.py: signal gave a file of numbers that cannot be read ({said})"


def test_a_file_put_in_the_place_of_the_next_panel(tmp_path):
    path = write(tmp_path, f"""
        import os
        def signal(panel):
            os.symlink({str(tmp_path / "taken")!r}, os.path.dirname(os.getcwd()) + "/io/in2.npz")
            return panel.fields["close"]
    """)  # fmt: skip
    with FileTarget(path, gets="panel", limits=QUICK) as target:
        target.run(PANEL)
        with pytest.raises(ContainedError, match=r"signal could not be given the panel \(File exists\)"):
            target.run(PANEL)
    assert not (tmp_path / "taken").exists()


def test_a_scratch_folder_swapped_for_a_link_is_not_followed(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept.txt").write_text("kept")
    path = write(tmp_path, f"""
        import os
        def signal(panel):
            base = os.path.dirname(os.getcwd())
            os.rename(base + "/io", base + "/old")
            os.symlink({str(outside)!r}, base + "/io")
            return panel.fields["close"]
    """)  # fmt: skip
    refused(path)
    assert sorted(p.name for p in outside.iterdir()) == ["kept.txt"]
    assert (outside / "kept.txt").read_text() == "kept"


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ("b'\\xff' * 64", "broke the pipe of its answers"),
        ("(2).to_bytes(8, 'big') + b'[]' + (9).to_bytes(8, 'big') + b'{\"id\": 1}'", "broke the pipe of its answers"),
        ("(20).to_bytes(8, 'big') + b'{\"id\": 1, \"count\": 1}'[:20]", "ended its process (exit status 0)"),
    ],
)
def test_nonsense_in_the_pipe_of_answers(tmp_path, sent, said):
    path = write(tmp_path, f"""
        import os, stat
        def signal(panel):
            for fd in range(3, 64):
                try:
                    if stat.S_ISFIFO(os.fstat(fd).st_mode):
                        os.write(fd, {sent})
                except OSError:
                    pass
            os._exit(0)
    """)  # fmt: skip
    assert refused(path)[0] == f"strategy.py: signal {said}"


def test_a_worker_that_loses_its_pipes_ends(tmp_path):
    path = write(
        tmp_path, "import os\ndef signal(panel):\n    os.closerange(3, 64)\n    return panel.fields['close']\n"
    )
    assert refused(path)[0] == "strategy.py: signal ended its process (exit status 70)"


def test_a_huge_file_is_refused_by_the_kernel(tmp_path):
    path = write(tmp_path, "def signal(panel):\n    open('x', 'wb').write(bytes(3 << 20))\n")
    text, _ = refused(path, Limits(wall=30, file_mb=2))
    assert text.endswith("raised OSError: [Errno 27] File too large")


def test_writes_outside_are_refused_and_told_and_inside_are_not(tmp_path):
    target_file = tmp_path / "signals.csv"
    target_file.write_text("mine")
    path = write(tmp_path, f"""
        import os, pathlib, shutil, tempfile
        OUT = {str(target_file)!r}
        def attempt(f, *a):
            try:
                f(*a)
            except PermissionError:
                return
            raise AssertionError(f"not refused: {{a}}")
        def signal(panel):
            with open("inside.txt", "w") as f: f.write("x")
            with tempfile.TemporaryFile() as f: f.write(b"x")
            attempt(open, OUT, "w")
            attempt(open, OUT, "a")
            attempt(os.open, OUT, os.O_RDWR)
            attempt(os.remove, OUT)
            attempt(os.remove, pathlib.Path(OUT))
            attempt(pathlib.Path(OUT).write_text, "x")
            attempt(shutil.copy, __file__, OUT)
            attempt(os.rename, OUT, "taken")
            attempt(os.mkdir, OUT + ".d")
            os.symlink(OUT, "link")
            attempt(open, "link", "w")
            return panel.fields["close"]
    """)  # fmt: skip
    with FileTarget(path, gets="panel", limits=QUICK) as target:
        target.run(PANEL)
    assert target_file.read_text() == "mine"
    assert {s.what for s in target.seen if s.kind == "write"} == {str(target_file), str(target_file) + ".d"}


def test_the_environment_is_reduced_and_stdin_is_empty(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_SECRET_TOKEN", "s3cret")
    path = write(tmp_path, """
        import os, sys
        def signal(panel):
            print(sorted(os.environ), os.environ["HOME"] == os.getcwd(), repr(sys.stdin.read()), os.environ["ADDED"])
            return panel.fields["close"]
    """)  # fmt: skip
    with FileTarget(path, gets="panel", limits=QUICK, environment={"ADDED": "yes"}) as target:
        target.run(PANEL)
    assert "MY_SECRET_TOKEN" not in target.output.text
    assert target.output.text.endswith("True '' yes\n")


def test_errors_that_need_no_child(tmp_path):
    with pytest.raises(ConfigError, match=r"there is no file nowhere\.py; give the path of a \.py file"):
        FileTarget("nowhere.py")
    path = write(tmp_path, HONEST)
    with pytest.raises(ConfigError, match="gets must be one of symbol, long, wide, panel, got 'tall'"):
        FileTarget(path, gets="tall")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="audit limits: wall must be above 0, got 0"):
        Limits(wall=0)


def test_a_missing_entry_names_what_there_is(tmp_path):
    text, _ = refused(write(tmp_path, "def alpha(panel):\n    return 1\n"))
    assert text == "strategy.py: signal raised AttributeError: no function 'signal'; the file defines alpha"


def test_numbers_of_another_shape_or_kind_are_not_read(tmp_path):
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        good = {"a": np.arange(6.0).reshape(2, 3)}
        passing.write_numbers(str(tmp_path / "good.npz"), good, (2, 3))
        np.testing.assert_array_equal(passing.read_numbers(folder, "good.npz", (1, 2, 3), 1 << 30)["a"], good["a"])
        names = np.frombuffer(b'["a"]', np.uint8)
        for i, values in enumerate([np.zeros((1, 3, 2)), np.zeros((1, 2, 3), np.float32), np.zeros((1, 2, 3), object)]):
            np.savez(tmp_path / f"bad{i}.npz", names=names, values=values)
            with pytest.raises(passing.UNREADABLE):
                passing.read_numbers(folder, f"bad{i}.npz", (1, 2, 3), 1 << 30)
        np.savez_compressed(tmp_path / "bomb.npz", names=names, values=np.zeros((1, 2, 3)))
        with pytest.raises(ValueError, match="not stored plainly"):
            passing.read_numbers(folder, "bomb.npz", (1, 2, 3), 1 << 30)
        with pytest.raises(ValueError, match="9000 columns are more than the memory limit holds"):
            passing.read_numbers(folder, "good.npz", (9000, 2, 3), 1 << 18)
    finally:
        os.close(folder)
