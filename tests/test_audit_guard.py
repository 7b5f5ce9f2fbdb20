"""P12: what a file does besides computing. Side channels must be caught, honest files and libraries must not alarm."""

from __future__ import annotations

import sys
import tempfile

import numpy as np
import pandas as pd
import pytest
from contained_toys import left_behind, write

from hitherto.audit import made_up_panel
from hitherto.audit.contained import FileTarget, Limits
from hitherto.audit.probes import guard

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="files are run contained on Linux only")
PANEL = made_up_panel(60, 3)


@pytest.fixture(autouse=True)
def nothing_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    assert left_behind(tmp_path) == []


def tried(path, gets="panel", **options):
    return guard.probe(FileTarget(path, gets=gets, limits=Limits(wall=30), **options), PANEL)


# ---- files read ----
READS = [
    ("csv", "pd.read_csv(p)"), ("csv.gz", "pd.read_csv(p)"), ("parquet", "pd.read_parquet(p)"),
    ("parquet", "pd.read_parquet(path=pathlib.Path(p))"), ("feather", "pd.read_feather(p)"),
    ("json", "pd.read_json(p)"), ("npz", "np.load(p)"), ("npy", "np.fromfile(p)"), ("txt", "open(p).read()"),
    ("txt", "pathlib.Path(p).read_bytes()"), ("sqlite", "sqlite3.connect(p).execute('select 1')"),
    ("sqlite", "sqlite3.connect(pathlib.Path(p))"), ("csv", "os.open(pathlib.Path(p), os.O_RDONLY)"),
    ("sqlite", "sqlite3.connect(f'file:{p}?mode=ro', uri=True)"), ("csv", "os.read(os.open(p, os.O_RDONLY), 9)"),
    ("csv", "(os.symlink(p, 'x'), open('x').read())"), ("csv", "(os.link(p, 'y'), open('y').read())"),
    ("parquet", "pq.read_table(p)"), ("npy", "np.load(p, mmap_mode='r')"),
    ("csv", "(os.chdir(os.path.dirname(p)), open(os.path.basename(p)))"),
]  # fmt: skip


def test_every_way_to_read_a_data_file_outside_is_seen_with_its_line(tmp_path):
    frame, lines, wanted = pd.DataFrame({"a": [1.0, 2.0]}), [], set()
    for i, (kind, read) in enumerate(READS):
        side = tmp_path / f"full{i}.{kind}"
        writers = {"parquet": frame.to_parquet, "feather": frame.to_feather, "json": frame.to_json,
                   "npz": lambda p: np.savez(p, a=1), "npy": lambda p: np.save(p, np.ones(3)),
                   "sqlite": lambda p: open(p, "wb").close()}  # fmt: skip
        writers.get(kind, lambda p: frame.to_csv(p))(side)
        lines.append(f"    p = {str(side)!r}; {read}")
        wanted.add(("read", str(side), f"strategy.py:{i + 4}"))
    top = "import os, pathlib, sqlite3\nimport numpy as np, pandas as pd, pyarrow.parquet as pq\ndef signal(panel):\n"
    path = write(tmp_path, top + "\n".join(lines) + "\n    return panel.fields['close']\n")
    with FileTarget(path, gets="panel", limits=Limits(wall=30)) as target:
        target.run(PANEL)
    assert {(s.kind, s.what, s.at) for s in target.seen} == wanted


def test_the_finding_names_the_file_and_the_line(tmp_path):
    side = write(tmp_path, "a\n1\n", "prices_full.csv")
    path = write(tmp_path, """
        import pathlib
        import numpy as np
        A = np.loadtxt(pathlib.Path(__file__).parent / "prices_full.csv", skiprows=1)
        def signal(panel):
            return panel.fields["close"] * A
    """)  # fmt: skip
    result = tried(path)
    assert result.status == "LEAK"
    assert side.exists()
    assert [f.line() for f in result.findings] == [
        "LEAK L32 at strategy.py:4 files=1/1 fix: seed every draw; use no row count, clock or cache "
        "(read of prices_full.csv outside the panel)"
    ]


def test_a_relative_path_is_told_though_the_scratch_folder_lacks_it(tmp_path):
    path = write(tmp_path, """
        import pandas as pd
        def signal(panel):
            return panel.fields["close"] * len(pd.read_csv("prices_full.csv"))
    """)  # fmt: skip
    result = tried(path)
    assert result.status == "LEAK"
    assert [f.note for f in result.findings] == ["read of prices_full.csv outside the panel was tried"]
    assert "FileNotFoundError" in result.detail


def test_a_relative_cache_that_is_nowhere_is_a_note_and_one_beside_the_code_a_leak(tmp_path):
    path = write(tmp_path, """
        def signal(panel):
            try:
                return panel.fields["close"] * len(open("cache.json").read())
            except FileNotFoundError:
                return panel.fields["close"] * 2
    """)  # fmt: skip
    result = tried(path)
    assert (result.status, result.detail) == ("ok", "it looked for cache.json, which is not there, at strategy.py:4")
    write(tmp_path, "1", "cache.json")
    assert [f.note for f in tried(path).findings] == ["read of cache.json outside the panel was tried"]


def test_a_read_before_a_crash_is_not_lost(tmp_path):
    write(tmp_path, "a\n", "prices_full.csv")
    path = write(tmp_path, """
        import os
        def signal(panel):
            open(os.path.dirname(__file__) + "/prices_full.csv")
            os._exit(0)
    """)  # fmt: skip
    assert [f.where for f in tried(path).findings] == ["strategy.py:4"]


def test_reading_weights_or_a_license_is_a_note(tmp_path):
    write(tmp_path, "x", "LICENSE")
    write(tmp_path, "x", "net.safetensors")
    path = write(tmp_path, """
        import pathlib
        HERE = pathlib.Path(__file__).parent
        A = (HERE / "LICENSE").read_text() + (HERE / "net.safetensors").read_text()
        def signal(panel):
            return panel.fields["close"]
    """)  # fmt: skip
    result = tried(path)
    assert result.status == "ok"
    assert "read of LICENSE at strategy.py:4" in result.detail
    assert "the weights net.safetensors: what they were fitted on is not assessed" in result.detail


# ---- network ----
def test_the_network_is_refused_and_a_leak(tmp_path):
    tries = {
        "socket.create_connection(('127.0.0.1', 9))": "look up 127.0.0.1:9",
        "socket.socket().connect(('127.0.0.1', 9))": "connect 127.0.0.1:9",
        "urllib.request.urlopen('http://localhost:9/prices.csv')": "look up localhost:9",
        "socket.gethostbyname('localhost')": "look up localhost",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))": "sendto 127.0.0.1:9",
    }
    top = "import socket, urllib.request\ndef signal(panel):\n    refused = 0\n"
    body = "".join(f"    try: {t}\n    except OSError: refused += 1\n" for t in tries)
    path = write(tmp_path, top + body + "    return panel.fields['close'] * 0 + refused\n")
    target = FileTarget(path, gets="panel", limits=Limits(wall=30))
    with target:
        assert np.nanmax(target.run(PANEL)["signal"]) == len(tries)
    result = guard.probe(target, PANEL)
    assert [(f.where, f.note) for f in result.findings] == [
        (f"strategy.py:{4 + 2 * i}", f"network: {said} was tried and refused") for i, said in enumerate(tries.values())
    ]


def test_a_bound_port_is_a_note_and_sockets_of_the_file_system_are_nothing(tmp_path):
    path = write(tmp_path, """
        import asyncio, socket
        def signal(panel):
            asyncio.run(asyncio.sleep(0))
            a, b = socket.socketpair()
            try:
                socket.socket().bind(("127.0.0.1", 0))
            except PermissionError:
                pass
            return panel.fields["close"]
    """)  # fmt: skip
    result = tried(path)
    assert (result.status, result.detail) == ("ok", "network: bind 127.0.0.1:0 was refused at strategy.py:7")


# ---- clock ----
CLOCKS = {
    "datetime.datetime.now().year": "datetime.now()", "datetime.date.today().year": "date.today()",
    "datetime.datetime.utcnow().year": "datetime.utcnow()", "time.time() / 3e7": "time.time()",
    "time.localtime().tm_year": "time.localtime()", "int(time.strftime('%Y'))": "time.strftime()",
    "pd.Timestamp.now().year": "Timestamp.now()", "pd.Timestamp.today().year": "Timestamp.today()",
    "datetime.datetime.now(datetime.timezone.utc).timestamp() / 3e7": "datetime.now()",
}  # fmt: skip


def test_every_clock_is_seen_and_shifted(tmp_path):
    """All in one file: each column is one clock, and 400 days later every column is another one."""
    lines = [f'"{i}": panel.fields["close"] * 0 + {c},' for i, c in enumerate(CLOCKS)]
    path = write(
        tmp_path,
        "import datetime, time\nimport pandas as pd\ndef signal(panel):\n    return {\n" + "\n".join(lines) + "\n}\n",
    )
    target = FileTarget(path, gets="panel", limits=Limits(wall=30))
    with target, target.variant(shift_days=400) as later:
        now, then = target.run(PANEL), later.run(PANEL)
    assert {s.what for s in target.seen} == set(CLOCKS.values())
    for i, clock in enumerate(CLOCKS):
        moved = np.nanmax(then[str(i)]) - np.nanmax(now[str(i)])
        assert 0.9 < moved < 2.1, clock


def test_numbers_that_follow_the_clock_are_a_leak(tmp_path):
    path = write(tmp_path, """
        from datetime import datetime
        def signal(frame):
            return frame.close / datetime.now().year
    """)  # fmt: skip
    result = tried(path, "symbol")
    assert result.status == "LEAK"
    assert len(result.findings) == 1
    f = result.findings[0]
    assert f.where == "strategy.signal"
    assert f.note == "clock: datetime.now() at strategy.py:4; the numbers change when it is 400 days later"
    assert f.old != f.new


def test_a_clock_that_only_times_and_logs_is_a_note(tmp_path):
    path = write(tmp_path, """
        import logging, time, datetime as dt
        logging.basicConfig(level=logging.INFO)
        def signal(frame):
            begun, stamp = time.time(), dt.datetime(2020, 1, 2)
            assert isinstance(stamp, dt.datetime) and isinstance(stamp, dt.date) and isinstance(stamp.date(), dt.date)
            assert not isinstance(stamp.date(), dt.datetime) and dt.datetime.strptime("2020", "%Y").year == 2020
            assert (frame.index > dt.datetime(2018, 1, 9)).any() and frame.loc[dt.datetime(2018, 1, 2):].shape[0] > 1
            out = frame.close.rolling(3).mean()
            logging.info("%s took %.3f", dt.datetime.now(), time.time() - begun)
            return out
    """)  # fmt: skip
    result = tried(path, "symbol")
    assert result.status == "ok", result
    assert "the numbers stay when it is 400 days later" in result.detail


# ---- environment, state, randomness ----
def test_numbers_that_follow_the_environment_are_a_leak(tmp_path, monkeypatch):
    path = write(tmp_path, """
        import os
        def signal(panel):
            return panel.fields["close"] * float(os.getenv("FACTOR_OF_MINE", "2.5"))
    """)  # fmt: skip
    monkeypatch.setenv("FACTOR_OF_MINE", "4")  # the caller's value is what it would have met
    (found,) = tried(path).findings
    assert found.note == "environment: FACTOR_OF_MINE at strategy.py:4; the numbers change with it"
    assert (found.new or 0) / (found.old or 1) == pytest.approx(1.6)
    given = tried(path, environment={"FACTOR_OF_MINE": "5"})
    assert [(f.new or 0) / (f.old or 1) for f in given.findings] == pytest.approx([0.5])


def test_a_variable_that_changes_no_number_is_a_note(tmp_path):
    path = write(tmp_path, """
        import os
        def signal(panel):
            if os.environ.get("VERBOSE"):
                print("on")
            return panel.fields["close"]
    """)  # fmt: skip
    result = tried(path)
    assert (result.status, result.detail) == (
        "ok", "environment: VERBOSE at strategy.py:4; the numbers stay when it changes"
    )  # fmt: skip


STATES = {
    "a counter": ("RUNS = []", "RUNS.append(1)\n    return panel.fields['close'] * len(RUNS)", "the same panel gives"),
    "a cache that hides the future": (
        "CACHE = {}",
        "CACHE.setdefault(0, np.roll(panel.fields['close'], -1, 0))\n    return CACHE[0]",
        "numbers depend on what was evaluated before",
    ),
    "a cache on disk": (
        "import os",
        "if not os.path.exists('c.npy'): np.save('c.npy', panel.fields['close'])\n    return np.load('c.npy')",
        "numbers depend on what was evaluated before",
    ),
    "a running scaler": (
        "SEEN = [0.0]",
        "SEEN[0] = max(SEEN[0], np.nanmax(panel.fields['close'] % 1e4))\n    return panel.fields['close'] / SEEN[0]",
        "numbers depend on what was evaluated before|the same panel gives",
    ),
    "a draw without seed": (
        "X = np.random.default_rng().normal()", "return panel.fields['close'] * X", "two fresh processes differ",
    ),
    "the order of a set": (
        "X = list({'aa', 'bb', 'cc', 'dd', 'ee', 'ff', 'gg', 'hh'})",
        "return panel.fields['close'] * (1 + X.index('aa'))", "two fresh processes differ",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STATES)
def test_hidden_state_is_a_leak(tmp_path, name):
    top, body, said = STATES[name]
    result = tried(write(tmp_path, f"import numpy as np\n{top}\ndef signal(panel):\n    {body}\n"))
    assert result.status == "LEAK", result
    assert any(f.note.startswith(s) for f in result.findings for s in said.split("|")), result.findings


# ---- honest files ----
HONEST = {
    "pandas": ("symbol", """
        import os, sys, tempfile, logging, functools
        import pandas as pd
        from pathlib import Path
        @functools.lru_cache
        def span(): return 5
        def signal(frame):
            with tempfile.TemporaryDirectory() as d:
                frame.to_csv(d + "/mine.csv")
                back = pd.read_csv(d + "/mine.csv", index_col=0, parse_dates=True)
                frame.to_parquet("mine.parquet")
                assert len(pd.read_parquet("mine.parquet")) == len(back)
            out = frame.close.rolling(span()).mean()
            return out.tz_localize("Asia/Shanghai").tz_convert(None).set_axis(frame.index)
    """),
    "torch": ("panel", """
        import torch
        def signal(panel):
            g = torch.Generator().manual_seed(0)
            x = torch.nan_to_num(torch.tensor(panel.fields["close"].copy(), dtype=torch.float32)).T[:, None]
            w = torch.randn(1, 1, 3, generator=g)
            return torch.nn.functional.conv1d(torch.nn.functional.pad(x, (2, 0)), w)[:, 0].T.numpy()
    """),
    "sklearn, a helper beside it, package data": ("symbol", """
        import json, os, platform
        import numpy as np
        import helper
        from sklearn.datasets import load_iris
        from sklearn.linear_model import Ridge
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        def signal(frame):
            assert load_iris().data.shape == (150, 4) and platform.platform() and os.cpu_count()
            x = np.nan_to_num(frame[["open", "volume"]].to_numpy())
            model = make_pipeline(StandardScaler(), Ridge()).fit(x[:20], np.arange(20.0))
            return model.predict(x) + helper.mean(frame.close).to_numpy()
    """),
}  # fmt: skip


@pytest.mark.parametrize("name", HONEST)
def test_honest_files_do_not_alarm(tmp_path, name):
    gets, text = HONEST[name]
    write(tmp_path, "def mean(x):\n    return x.rolling(5).mean()\n", "helper.py")
    result = tried(write(tmp_path, text), gets, exact=name != "torch")
    assert (result.status, result.detail, result.findings) == ("ok", "", ())


def test_a_file_that_cannot_run_cannot_be_told(tmp_path):
    result = tried(write(tmp_path, "def signal(panel):\n    raise ValueError('no')\n"))
    assert (result.status, result.findings) == ("cannot tell", ())
    assert result.detail == "first run: strategy.py:2: strategy.py: signal raised ValueError: no"


def test_processes_and_writes_are_notes(tmp_path):
    path = write(tmp_path, """
        import os, subprocess
        def signal(panel):
            subprocess.run(["true"])
            try:
                open(os.path.dirname(__file__) + "/signals.csv", "w")
            except PermissionError:
                pass
            return panel.fields["close"]
    """)  # fmt: skip
    result = tried(path)
    assert result.status == "ok"
    assert "it started a process (subprocess.Popen true), which was not seen into at strategy.py:4" in result.detail
    assert "a write to signals.csv was refused at strategy.py:6" in result.detail
    assert not (path.parent / "signals.csv").exists()


@pytest.mark.parametrize(
    ("path", "kind"),
    [("a.csv", "data"), ("A.CSV.GZ", "data"), ("x.tar.zip", "data"), ("b.parquet", "data"), ("w.pt", "weights"),
     ("w.pt.gz", "weights"), ("LICENSE", "other"), ("conf.toml", "other"), (".gz", "other"), ("a.log", "other")],
)  # fmt: skip
def test_kinds_of_files(path, kind):
    assert guard._kind(path) == kind
