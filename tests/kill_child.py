"""Made windows for training tests, and a process that imports torch once and forks trainers that may be killed.

Commands on stdin, one JSON per line: folder, resume, die_at (number of the file operation at which the trainer kills
itself, 0 = never), fail_at (number of the file operation that meets a full disk, 0 = never). Lines on stdout: "pid N";
"op N" before each file operation; "done DIGEST"; "exit CODE" from the server, -9 for a killed trainer.
"""

import errno
import hashlib
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np

from hitherto import files
from hitherto.features.base import Features
from hitherto.labels import Label
from hitherto.models.base import Context
from hitherto.models.recurrent import LSTM
from hitherto.seeds import Stream
from hitherto.train.loop import Every
from hitherto.windows import Windows


def made_windows(T=40, N=12, F=3, L=5, O=2, seed=0, valid=10, lag=3):  # noqa: E741
    """(train, valid): label = the first feature ``lag`` rows ago plus noise; only a memory can forecast it."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((T, N, F), dtype=np.float32)
    y = np.full((T, N, O), np.nan)
    y[lag:] = x[: T - lag, :, :1] + 0.1 * rng.standard_normal((T - lag, N, O))
    t = np.broadcast_to(np.arange(T, dtype=np.int32)[:, None, None], (T, N, O))
    names = tuple(f"y{o}" for o in range(O))
    label = Label(y, t + 1, t + 2, names, tuple(range(1, O + 1)))
    features = Features(x, tuple(f"f{i}" for i in range(F)), (1,) * F)
    late = np.zeros((T, N), bool)
    late[T - valid :] = True
    whole = Windows(features, label, ~late, L)
    return whole, whole.with_(mask=late)


SMALL = LSTM(hidden=8, lookback=5, epochs=4, batch=100, dropout=0.2, patience=2, learning_rate=0.01)


def digest(fitted) -> str:
    """SHA-256 of the final weights, the history and the choice of the best epoch."""
    h = hashlib.sha256()
    for name, values in sorted(fitted.tensors().items()):
        h.update(name.encode() + values.tobytes())
    past = fitted.history
    h.update(json.dumps([list(map(dict, past.epochs)), past.best_epoch, past.best_loss, past.stopped]).encode())
    return h.hexdigest()


def train(folder, *, resume=False, emit=lambda event: None):
    """Train SMALL with a checkpoint after every second step."""
    context = Context(folder=Path(folder), resume=resume, emit=emit)
    return SMALL.fit(*made_windows(), rng=Stream(3, "kill"), context=context, every=Every(steps=2))


class Operations:
    """Counts the steps of writing files, tells each, dies or fails at a chosen one."""

    def __init__(self, die_at, fail_at):
        self.count, self.die_at, self.fail_at = 0, die_at, fail_at
        self.fsync, self.replace = os.fsync, os.replace
        os.fsync = lambda handle: self.before(self.fsync, handle)
        os.replace = lambda a, b: self.before(self.replace, a, b)
        vars(files)["open"] = self.open

    def before(self, function, *arguments):
        self.count += 1
        say(f"op {self.count}")
        if self.count == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.count == self.fail_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return function(*arguments)

    def open(self, path, mode):
        return Halting(open(path, mode), self)


class Halting:
    """A file whose writes stop in the middle."""

    def __init__(self, file, operations):
        self.file, self.operations = file, operations

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, data):
        self.file.write(data[: len(data) // 2])
        self.file.flush()
        self.operations.before(self.file.write, data[len(data) // 2 :])

    def flush(self):
        self.file.flush()

    def fileno(self):
        return self.file.fileno()


def say(text):
    """One short write to a pipe is never torn."""
    os.write(1, f"{text}\n".encode())


def serve():
    """Fork a trainer per command."""
    with tempfile.TemporaryDirectory() as folder:  # so that each trainer finds everything imported
        train(folder)
    for line in sys.stdin:
        command = json.loads(line)
        child = os.fork()
        if child == 0:
            say(f"pid {os.getpid()}")
            Operations(command["die_at"], command["fail_at"])
            say("done " + digest(train(command["folder"], resume=command["resume"])))
            os._exit(0)
        say(f"exit {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")


if __name__ == "__main__":
    serve()
