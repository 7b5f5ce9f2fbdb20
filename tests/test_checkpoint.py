import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from kill_child import SMALL, digest, made_windows, train

from hitherto.errors import ConfigError, DataError, HithertoError
from hitherto.files import read_json, write_atomic, write_json
from hitherto.models.base import Context
from hitherto.seeds import Stream
from hitherto.train import checkpoint
from hitherto.train.checkpoint import Checkpoint


class Server:
    """The forking server of kill_child.py: trainers at a few milliseconds each."""

    def __init__(self):
        command = [sys.executable, str(Path(__file__).with_name("kill_child.py"))]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=environment
        )

    def run(self, folder, *, resume=False, die_at=0, fail_at=0, kill_at=0, delay=0.0):
        """(exit code, digest or None, file operations seen). kill_at: SIGKILL from here after that many operations."""
        order = {"folder": str(folder), "resume": resume, "die_at": die_at, "fail_at": fail_at}
        self.process.stdin.write(json.dumps(order) + "\n")
        pid, found, operations = 0, None, 0
        for line in self.process.stdout:
            word, value = line.split()
            if word == "pid":
                pid = int(value)
            elif word == "op":
                operations = int(value)
                if operations == kill_at:
                    time.sleep(delay)
                    os.kill(pid, signal.SIGKILL)  # at worst a zombie that the server has not reaped: harmless
            elif word == "done":
                found = value
            elif word == "exit":
                return int(value), found, operations
        raise AssertionError("the server died")

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=10)


@pytest.fixture(scope="module")
def server():
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    made = Server()
    yield made
    made.close()


@pytest.fixture(scope="module")
def reference(server, tmp_path_factory):
    code, found, operations = server.run(tmp_path_factory.mktemp("reference"))
    assert (code, len(found)) == (0, 64)
    assert operations > 60
    return found, operations


def test_a_run_without_checkpoints_ends_in_the_same_bits(reference):
    fitted = SMALL.fit(*made_windows(), rng=Stream(3, "kill"), context=Context())
    assert digest(fitted) == reference[0]
    other = SMALL.fit(*made_windows(), rng=Stream(4, "kill"), context=Context())
    assert digest(other) != reference[0]


@pytest.mark.parametrize("case", range(10))
def test_kill_at_a_random_point_then_resume(server, reference, tmp_path, case):
    kill_and_resume(server, reference, tmp_path, case)


@pytest.mark.slow
@pytest.mark.parametrize("case", range(10, 110))
def test_kill_at_100_random_points(server, reference, tmp_path, case):
    kill_and_resume(server, reference, tmp_path, case)


def kill_and_resume(server, reference, tmp_path, case):
    rng = np.random.default_rng(case)
    kill_at = int(rng.integers(1, int(0.8 * reference[1])))
    for attempt in range(6):  # on a busy machine the trainer may have ended before the signal arrives
        folder = tmp_path / str(attempt)
        code, _, _ = server.run(folder, kill_at=kill_at, delay=rng.uniform(0, 0.01))
        if code == -signal.SIGKILL:
            break
        kill_at = 1 + kill_at // 2
    assert code == -signal.SIGKILL
    assert server.run(folder, resume=True)[:2] == (0, reference[0])


def test_kill_at_every_step_of_writing_two_checkpoints(server, reference, tmp_path):
    # 8 operations write one checkpoint: half of the data, fsync, rename, fsync of the folder, and so for the manifest
    for die_at in range(17, 33):
        folder = tmp_path / str(die_at)
        assert server.run(folder, die_at=die_at)[0] == -signal.SIGKILL
        code, found, operations = server.run(folder, resume=True)
        assert (code, found) == (0, reference[0])
        assert operations < reference[1]  # it did resume


def test_killed_again_and_again(server, reference, tmp_path):
    kills = 0
    while (result := server.run(tmp_path, resume=True, die_at=19))[0] == -signal.SIGKILL:
        kills += 1
    assert kills >= 3
    assert result[:2] == (0, reference[0])


def test_a_full_disk_costs_the_checkpoint_and_nothing_else(server, reference, tmp_path):
    for fail_at in range(1, 9):
        assert server.run(tmp_path / str(fail_at), fail_at=fail_at)[:2] == (0, reference[0])


def interrupted(folder, monkeypatch, saves):
    """Train in this process until ``saves`` checkpoints are written."""
    written = 0
    save = checkpoint.save

    def stop(*arguments):
        nonlocal written
        save(*arguments)
        written += 1
        if written == saves:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            train(folder)


def torn(data):
    return data[: len(data) // 2]


def flipped(data):
    return data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]


@pytest.mark.parametrize("harm", [torn, flipped, lambda data: b""])
@pytest.mark.parametrize("suffix", ["safetensors", "json"])
def test_a_damaged_newest_file_falls_back(reference, tmp_path, monkeypatch, harm, suffix):
    interrupted(tmp_path, monkeypatch, 4)
    newest = sorted(tmp_path.glob(f"checkpoint-*.{suffix}"))[-1]
    newest.write_bytes(harm(newest.read_bytes()))
    events = []
    assert digest(train(tmp_path, resume=True, emit=events.append)) == reference[0]
    kinds = [e["event"] for e in events]
    assert kinds.count("checkpoint_refused") == 1
    assert "resume" in kinds
    assert len(list(tmp_path.glob("checkpoint-*.safetensors"))) == 2


def test_two_checkpoints_are_kept_and_both_damaged_means_afresh(reference, tmp_path, monkeypatch):
    interrupted(tmp_path, monkeypatch, 4)
    assert [p.name for p in sorted(tmp_path.iterdir())] == [
        "checkpoint-00000003.json", "checkpoint-00000003.safetensors",
        "checkpoint-00000004.json", "checkpoint-00000004.safetensors",
    ]  # fmt: skip
    for path in tmp_path.glob("*.safetensors"):
        path.write_bytes(torn(path.read_bytes()))
    events = []
    assert digest(train(tmp_path, resume=True, emit=events.append)) == reference[0]
    assert "resume" not in [e["event"] for e in events]


def test_resuming_a_finished_run_trains_nothing(reference, tmp_path):
    train(tmp_path)
    events = []
    assert digest(train(tmp_path, resume=True, emit=events.append)) == reference[0]
    assert [e["event"] for e in events] == ["resume", "stop"]


def test_a_fresh_fit_ignores_old_checkpoints(reference, tmp_path, monkeypatch):
    interrupted(tmp_path, monkeypatch, 5)
    events = []
    assert digest(train(tmp_path, emit=events.append)) == reference[0]
    assert "resume" not in [e["event"] for e in events]


def test_a_limit_on_epochs_can_be_lifted(reference, tmp_path):
    windows = made_windows()
    short = Context(folder=tmp_path, max_epochs=1)
    assert len(SMALL.fit(*windows, rng=Stream(3, "kill"), context=short).history.epochs) == 1
    longer = Context(folder=tmp_path, resume=True)
    assert digest(SMALL.fit(*windows, rng=Stream(3, "kill"), context=longer)) == reference[0]


@pytest.mark.parametrize("change", ["seed", "data", "labels"])
def test_a_checkpoint_of_another_run_is_refused(tmp_path, change):
    train(tmp_path)
    windows = made_windows(seed=1 if change == "data" else 0, lag=2 if change == "labels" else 3)
    rng = Stream(5 if change == "seed" else 3, "kill")
    with pytest.raises(ConfigError) as error:
        SMALL.fit(*windows, rng=rng, context=Context(folder=tmp_path, resume=True))
    assert str(error.value) == (
        f"train: the checkpoint in {tmp_path} belongs to other data, settings or seed; resume with those, or start in "
        "an empty folder."
    )


def test_round_trip(tmp_path):
    tensors = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "step": np.float32(7).reshape(()), "n": np.arange(3)}
    checkpoint.save(tmp_path, Checkpoint(1, tensors, {"loss": 0.1, "text": "回看"}))
    found = checkpoint.load(tmp_path)
    assert found is not None
    assert found.state == {"loss": 0.1, "text": "回看"}
    for name, values in tensors.items():
        assert found.tensors[name].dtype == values.dtype
        assert found.tensors[name].shape == values.shape
        assert np.array_equal(found.tensors[name], values)
    assert checkpoint.load(tmp_path / "nowhere") is None


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch, nth):
    path = tmp_path / "run.json"
    write_atomic(path, b"old")
    calls = 0

    def failing(function):
        def call(*arguments):
            nonlocal calls
            calls += 1
            if calls == nth:
                raise OSError(errno.ENOSPC, "No space left on device")
            return function(*arguments)

        return call

    monkeypatch.setattr(os, "fsync", failing(os.fsync))
    monkeypatch.setattr(os, "replace", failing(os.replace))
    with pytest.raises(HithertoError) as error:
        write_atomic(path, b"new")
    assert str(error.value) == (
        f"could not write {path}: No space left on device; the file that was there is intact. Free space or choose "
        "another folder."
    )
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]
    assert path.read_bytes() == (b"new" if nth == 3 else b"old")  # 3: only the folder's fsync failed


def test_json_files(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"a": [1, 0.1, None], "名": "值"})
    assert read_json(path) == {"a": [1, 0.1, None], "名": "值"}
    with pytest.raises(ConfigError, match=r"Out of range float values are not JSON compliant.*None if unknown"):
        write_json(path, {"a": float("nan")})
    assert read_json(path)["a"] == [1, 0.1, None]
    path.write_text("{")
    with pytest.raises(DataError, match=r"x\.json is not valid JSON"):
        read_json(path)
    with pytest.raises(DataError, match="No such file"):
        read_json(tmp_path / "none.json")
