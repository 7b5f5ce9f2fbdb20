import io
import json
import sys
import types

import numpy as np
import pytest

from hitherto import progress
from hitherto.errors import ConfigError
from hitherto.progress import Progress, describe

EPOCH = {"event": "epoch", "epoch": 2, "epochs": 20, "train_loss": 0.98765, "valid_loss": None, "seconds": 1.5}


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_one_line_of_text():
    assert describe(EPOCH) == "epoch  epoch 3/20  train_loss 0.9877  seconds 1.5"
    assert describe({"event": "fold", "name": "\x1b[31mred\n行情"}) == "fold  name  [31mred 行情"


def test_plain_lines_are_rare_for_steps_and_sure_for_the_rest(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    out = io.StringIO()
    with Progress("plain", stream=out, interval=5.0) as p:
        for second in range(12):
            clock[0] = float(second)
            p.emit({"event": "step", "second": second})
        p.emit({"event": "rollback", "rate": 0.5})
    assert out.getvalue() == "step  second 0\nstep  second 5\nstep  second 10\nrollback  rate 0.5\n"


def test_every_event_is_logged(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text('{"event": "old"}\n{"event": "to')  # killed in the middle of a line
    with Progress("off", path) as p:
        p.emit({"event": "epoch", "loss": np.float32(0.5), "ic": float("nan"), "rows": np.arange(2), "where": tmp_path})
        p.emit({"event": "stop", "reason": "完"})
        live = path.read_text(encoding="utf-8").splitlines()
    assert live == path.read_text(encoding="utf-8").splitlines()
    assert live[:2] == ['{"event": "old"}', '{"event": "to']
    events = [json.loads(line) for line in live[2:]]
    assert events[0].pop("time").endswith("+00:00")
    assert events[0] == {"event": "epoch", "loss": 0.5, "ic": "nan", "rows": [0, 1], "where": str(tmp_path)}
    assert events[1]["reason"] == "完"


def test_off_says_nothing(capfd):
    with Progress("off") as p:
        p.emit({"event": "stop"})
    assert capfd.readouterr() == ("", "")


def test_plain_goes_to_stderr(capfd):
    with Progress("plain") as p:
        p.emit({"event": "stop"})
    assert capfd.readouterr() == ("", "stop\n")


def test_the_place_decides(monkeypatch):
    monkeypatch.delenv("HITHERTO_PROGRESS", raising=False)
    assert Progress(stream=io.StringIO()).mode == "plain"
    assert Progress(stream=Terminal()).mode == "rich"
    assert Progress("off", stream=Terminal()).mode == "off"
    monkeypatch.setenv("HITHERTO_PROGRESS", "off")
    assert Progress(stream=Terminal()).mode == "off"
    assert Progress("plain", stream=Terminal()).mode == "plain"
    monkeypatch.setenv("HITHERTO_PROGRESS", "loud")
    with pytest.raises(ConfigError) as error:
        Progress()
    assert str(error.value) == "progress must be one of auto, rich, plain, html, off, got 'loud'"


def test_a_terminal_shows_text_as_text():
    out = Terminal()
    with Progress("rich", stream=out) as p:
        p.emit({"event": "step", "loss": 0.1})
        p.emit({"event": "rollback", "cause": "[red]not markup[/red]"})
    assert "[red]not markup[/red]" in out.getvalue()


def test_a_notebook_has_one_output_that_changes(monkeypatch):
    shown = []

    class Handle:
        def update(self, html):
            shown.append(html)

    def display(html, display_id):
        shown.append(html)
        return Handle()

    shell = type("ZMQInteractiveShell", (), {})()
    python = types.ModuleType("IPython")
    python.get_ipython = lambda: shell
    part = types.ModuleType("IPython.display")
    part.HTML, part.display = str, display
    monkeypatch.setitem(sys.modules, "IPython", python)
    monkeypatch.setitem(sys.modules, "IPython.display", part)
    monkeypatch.delenv("HITHERTO_PROGRESS", raising=False)
    monkeypatch.delenv("PYCHARM_HOSTED", raising=False)
    with Progress() as p:
        assert p.mode == "html"
        p.emit({"event": "fold", "name": "<script>"})
        p.emit({"event": "stop"})
    assert shown == ["<code>fold  name &lt;script&gt;</code>", "<code>stop</code>"]
    monkeypatch.setenv("PYCHARM_HOSTED", "1")
    assert Progress(stream=io.StringIO()).mode == "plain"


def test_a_log_that_cannot_be_opened(tmp_path):
    with pytest.raises(ConfigError) as error:
        Progress("off", tmp_path / "no" / "events.jsonl")
    assert str(error.value) == (
        f"could not open the event log {tmp_path}/no/events.jsonl: No such file or directory. Choose another folder."
    )
