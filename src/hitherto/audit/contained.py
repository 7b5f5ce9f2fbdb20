"""Run a user's .py file in a child process with limits, so that what it does to itself it does not do to the audit.

It is not a sandbox: a file that wants to do harm can. It contains accidents: crashes, endless loops, megabytes of
output, forks, files. How, and what cannot be seen: docs/audit_containment.md.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from hitherto.audit import passing, processes
from hitherto.audit.adapters import FOREIGN_RTOL, Gets
from hitherto.audit.target import Outputs, Unit
from hitherto.errors import ConfigError
from hitherto.panel import Panel

KEPT = 64 << 10  # bytes of output kept from its beginning, and as many from its end
FRAME = 4096
START = 120.0  # seconds that Python, NumPy and pandas may take to be up
PASSED = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "VIRTUAL_ENV", "CONDA_PREFIX", "LD_LIBRARY_PATH", "PYTHONPATH",
          "CUDA_VISIBLE_DEVICES", "NUMBA_CACHE_DIR", "OMP_WAIT_POLICY")  # fmt: skip
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS")


class ContainedError(ConfigError):
    """A contained file did not give its numbers: it raised, ended, or met a limit."""


@dataclass(frozen=True)
class Limits:
    """What one evaluation may take: wall and CPU seconds; resident megabytes and processes of all it starts.

    file_mb: size of one written file. The first evaluation of a child includes the file's own imports.
    """

    wall: float = 60.0
    cpu: float = 120.0
    memory_mb: int = 4096
    processes: int = 64
    file_mb: int = 1024

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ConfigError(f"audit limits: {name} must be above 0, got {value}")


@dataclass(frozen=True)
class Seen:
    """One thing that the audited code did besides computing; ``at`` is its file:line, "" when not known."""

    kind: str
    what: str
    at: str = ""


class FileTarget:
    """The function ``entry`` of a .py file as a target, evaluated in one long-lived contained child.

    gets, unit, exact: as in ``adapters.from_function``. environment: variables added to the reduced environment of the
    child (None as a value takes one away). seen: what it did besides computing. output: what it printed, the first and
    last 64 KiB. A child that met a limit or died is replaced at the next ``run``. Use as a context or call ``close``;
    the child ends with this process in any case.
    Errors: ConfigError (no such file, no Linux), ContainedError from ``run``, in one line.
    """

    def __init__(
        self, path: str | Path, entry: str = "signal", gets: Gets = "symbol", limits: Limits | None = None, *,
        unit: Unit | None = None, exact: bool = True, environment: Mapping[str, str | None] | None = None,
        shift_days: float = 0.0,
    ) -> None:  # fmt: skip
        self.path, self.entry, self.limits = Path(path).absolute(), entry, limits or Limits()
        self.gets: Gets = gets
        if gets not in ("symbol", "long", "wide", "panel"):
            raise ConfigError(f"audit: gets must be one of symbol, long, wide, panel, got {gets!r}")
        if not self.path.is_file():
            raise ConfigError(f"audit: there is no file {path}; give the path of a .py file")
        if not os.path.isdir("/proc/self/task") or not hasattr(os, "pidfd_open"):
            raise ConfigError("audit: a file is run contained on Linux only; import its function and audit that")
        self.name = self.path.stem
        self.unit: Unit = unit or ("asset" if gets == "symbol" else "date")
        self.exact, self.shape_rtol = exact, FOREIGN_RTOL
        self.environment = dict(environment or {})
        self.shift_days = shift_days
        self.seen: list[Seen] = []
        self.left: list[str] = []
        self.output = Capped()
        self._child: _Child | None = None

    def run(self, panel: Panel, /) -> Outputs:
        """Return column -> (T, N) float64 for ``panel``."""
        if self._child is None:
            self._child = _Child(self)
        try:
            return self._child.evaluate(panel)
        except BaseException as e:
            if self._child.over or not isinstance(e, ContainedError):
                self.close()
            raise

    def variant(self, *, shift_days: float = 0.0, environment: Mapping[str, str | None] | None = None) -> FileTarget:
        """Return the same file for a fresh child, with its wall clock shifted or variables changed."""
        return FileTarget(
            self.path, self.entry, self.gets, self.limits, unit=self.unit, exact=self.exact,
            environment={**self.environment, **(environment or {})}, shift_days=shift_days,
        )  # fmt: skip

    def variables(self) -> frozenset[str]:
        """Return the names of the environment variables that the child has."""
        return frozenset(_environment(self.environment, "", ""))

    def close(self) -> None:
        """End the child and everything it started."""
        if self._child is not None:
            self._child.close()
            self._child = None

    def __enter__(self) -> FileTarget:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Capped:
    """What was printed: its first and last 64 KiB; ``size`` counts all of it."""

    def __init__(self) -> None:
        self.head, self.tail, self.size = bytearray(), bytearray(), 0

    def add(self, data: bytes) -> None:
        """Take the next piece."""
        self.size += len(data)
        room = KEPT - len(self.head)
        if room > 0:
            self.head += data[:room]
            data = data[room:]
        self.tail += data[-KEPT:]
        if len(self.tail) > 2 * KEPT:
            del self.tail[:-KEPT]

    @property
    def text(self) -> str:
        """What was kept, with a line that counts what was not; control characters become "?"."""
        tail = bytes(self.tail[-KEPT:])
        lost = self.size - len(self.head) - len(tail)
        gap = f"\n... {lost} bytes left out ...\n" if lost > 0 else ""
        whole = bytes(self.head).decode(errors="replace") + gap + tail.decode(errors="replace")
        return "".join(c if c.isprintable() or c == "\n" else "?" for c in whole)


class _Child:
    """A guardian with its worker below, the pipes to them, and their scratch folder."""

    def __init__(self, owner: FileTarget) -> None:
        self.owner, self.limits, self.over = owner, owner.limits, False
        self.folder = tempfile.mkdtemp(prefix="hitherto-audit-")
        for name in ("io", "work"):
            os.mkdir(os.path.join(self.folder, name), 0o700)
        # Held open: whatever is put in the folder's place later, we write to and read from this one.
        self.io = os.open(os.path.join(self.folder, "io"), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        self.mark = secrets.token_hex(8)
        self.count, self.left, self.torn = 0, b"", False
        self.told: dict[str, Any] | None = None  # the guardian's last word
        self.pipes: dict[str, IO[bytes]] = {}
        theirs = {}
        for name in ("asks", "replies", "life", "end"):
            reading, writing = os.pipe()
            mine, theirs[name] = (writing, reading) if name in ("asks", "life") else (reading, writing)
            self.pipes[name] = os.fdopen(mine, "rb" if mine == reading else "wb", buffering=0)
        settings = {
            **theirs, "folder": self.folder, "path": str(owner.path), "entry": owner.entry, "gets": owner.gets,
            "unit": owner.unit, "memory": self.limits.memory_mb << 20, "cpu": self.limits.cpu,
            "file": self.limits.file_mb << 20, "shift": owner.shift_days * 86400.0,
        }  # fmt: skip
        try:
            self.guardian = subprocess.Popen(
                [sys.executable, "-P", "-m", "hitherto.audit.worker", json.dumps(settings)],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0,
                pass_fds=tuple(theirs.values()), start_new_session=True, cwd=os.path.join(self.folder, "work"),
                env=_environment(owner.environment, self.folder, self.mark),
            )  # fmt: skip
        finally:
            for handle in theirs.values():
                os.close(handle)
        assert self.guardian.stdout is not None
        self.pipes["output"] = self.guardian.stdout  # type: ignore[assignment]

    def evaluate(self, panel: Panel) -> Outputs:
        """Return the file's numbers for ``panel``; ContainedError in one line."""
        if self.count == 0:
            self._wait(START)  # for the child to be up: not the file's time
        self.count += 1
        names = {"panel": f"in{self.count}.npz", "numbers": f"out{self.count}.npz"}
        try:
            self._give(names["panel"], panel)
            told = self._ask({"id": self.count, "zone": panel.zone, "adjustment": panel.adjustment, **names})
            if "error" in told:
                raise self._error(f"raised {told['error']}", str(told.get("at", "")))
            count = told.get("count")
            if not isinstance(count, int):
                raise self._error("broke the pipe of its answers")
            return self._numbers(names["numbers"], panel, count)
        finally:
            for name in names.values():
                with contextlib.suppress(OSError):
                    os.unlink(name, dir_fd=self.io)

    def _give(self, name: str, panel: Panel) -> None:
        try:
            passing.write_panel(self.io, name, panel)
        except OSError as e:  # a full disk, or something that the file put there
            raise self._error(f"could not be given the panel ({e.strerror})") from e

    def _numbers(self, name: str, panel: Panel, count: int) -> Outputs:
        try:
            return passing.read_numbers(self.io, name, (count, *panel.shape), self.limits.memory_mb << 20)
        except passing.UNREADABLE as e:
            raise self._error(f"gave a file of numbers that cannot be read ({type(e).__name__}: {e})") from e

    def _error(self, what: str, at: str = "") -> ContainedError:
        where = f"{at}: " if at else ""
        text = f"{where}{self.owner.path.name}: {self.owner.entry} {what}"
        return ContainedError("".join(c if c.isprintable() else " " for c in text)[:600])

    # ---- messages ----
    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its reply."""
        body = json.dumps(request).encode()
        with contextlib.suppress(BrokenPipeError):
            self.pipes["asks"].write(len(body).to_bytes(8, "big") + body)
        return self._wait(self.limits.wall)

    def _wait(self, wall: float) -> dict[str, Any]:
        """Wait for the message that bears the present number, reading what is printed and watching the limits."""
        begun = checked = time.monotonic()
        spent, pause = processes.cpu(self._all()), 0.002
        while True:
            for message in self._listen(pause):
                if message.get("id") == self.count:
                    return message
            if self.torn:
                self._stop()
                raise self._error("broke the pipe of its answers")
            if self.told is not None:
                self.over = True
                raise self._error(self._ending())
            now = time.monotonic()
            if now - checked >= pause:
                pause = min(pause * 2, 0.03)
                if broken := self._broken(now - begun, wall, spent):
                    self._stop()
                    raise self._error(broken)
                checked = time.monotonic()

    def _broken(self, taken: float, wall: float, spent: float) -> str:
        """Name the limit that was passed, "" when none."""
        lim, below = self.limits, self._all()
        if taken > wall:
            return f"was ended after {wall:g} s (wall limit)"
        if len(below) > lim.processes:
            return f"was ended: more than {lim.processes} processes (process limit)"
        if processes.cpu(below) - spent > lim.cpu:
            return f"was ended after {lim.cpu:g} s of CPU time (CPU limit)"
        if processes.memory(below, lim.memory_mb << 20) > lim.memory_mb << 20:
            return f"was ended: more than {lim.memory_mb} MB in memory (memory limit)"
        return ""

    def _all(self) -> list[int]:
        return [self.guardian.pid, *processes.descendants(self.guardian.pid)]

    def _listen(self, pause: float) -> list[dict[str, Any]]:
        """Read what came in through the pipes within ``pause`` seconds; return the worker's messages."""
        out: list[dict[str, Any]] = []
        ready, _, _ = select.select([p for n, p in self.pipes.items() if n not in ("asks", "life")], [], [], pause)
        for name in ("replies", "output", "end"):  # a reply before the news of an end
            pipe = self.pipes.get(name)
            if pipe is None or pipe not in ready:
                continue
            data = os.read(pipe.fileno(), 1 << 20)
            if not data:
                self.pipes.pop(name).close()
                if name == "end" and self.told is None:
                    self.told = {"lost": True}
            elif name == "output":
                self.owner.output.add(data)
            elif name == "end":
                self.told = _plain(data[8:])
            else:
                out += self._frames(data)
        return out

    def _frames(self, data: bytes) -> list[dict[str, Any]]:
        """Cut the bytes of the reply pipe into messages; what was seen is kept aside."""
        self.left += data
        out: list[dict[str, Any]] = []
        while len(self.left) >= 8:
            size = int.from_bytes(self.left[:8], "big")
            if size > FRAME:
                self.pipes.pop("replies").close()
                self.left, self.torn = b"", True
                return out
            if len(self.left) < 8 + size:
                break
            message = _plain(self.left[8 : 8 + size])
            self.left = self.left[8 + size :]
            if "seen" in message:
                thing = Seen(str(message["seen"])[:20], str(message.get("what"))[:400], str(message.get("at"))[:200])
                if thing not in self.owner.seen and len(self.owner.seen) < 1000:
                    self.owner.seen.append(thing)
            else:
                out.append(message)
        return out

    # ---- the end ----
    def __del__(self) -> None:
        if getattr(self, "io", -1) >= 0:  # the pipes close by themselves, and with them all that is at their other end
            os.close(self.io)

    def _ending(self) -> str:
        """Say in words how the worker ended."""
        told = self.told or {}
        if "exit" not in told:
            code = self.guardian.wait(5)
            return f"ended its guardian ({_signal(-code) if code < 0 else f'exit status {code}'})"
        code = int(told["exit"])
        return f"was ended by {_signal(-code)}" if code < 0 else f"ended its process (exit status {code})"

    def _stop(self) -> None:
        """Have the guardian end all, wait for its word, and make sure that nothing carries our mark any more."""
        self.over = True
        if "life" in self.pipes:
            with contextlib.suppress(OSError):
                self.pipes["life"].write(b"x")
            self.pipes.pop("life").close()
        until = time.monotonic() + 10.0
        while self.told is None and time.monotonic() < until:
            self._listen(0.05)
        if self.told is None:
            processes.end_all(self.guardian.pid)
            self.guardian.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.guardian.wait(5)
        told = self.told or {}
        if "exit" not in told or told.get("stayed"):
            processes.end_marked(self.mark)

    def close(self) -> None:
        """End the child, keep the word of what it left behind, and remove the scratch folder."""
        if self.guardian.poll() is None or (self.io >= 0 and "exit" not in (self.told or {})):
            self._stop()
        self.over = True
        for one in (self.told or {}).get("left", []):
            moved = " (in a session of its own)" if one.get("moved") else ""
            self.owner.left.append(f"{str(one.get('name'))[:20]}{moved}")
        self.told = {"left": []}
        for pipe in self.pipes.values():
            pipe.close()
        self.pipes.clear()
        if self.io >= 0:
            os.close(self.io)
            self.io = -1
        shutil.rmtree(self.folder, ignore_errors=True)


def _environment(changed: Mapping[str, str | None], folder: str, mark: str) -> dict[str, str]:
    """Return the reduced environment: where programs are, language, threads; home and temporary folder are scratch."""
    work = os.path.join(folder, "work")
    out = {k: os.environ[k] for k in PASSED if k in os.environ}
    # One thread unless asked otherwise: sums over threads may round differently.
    out |= {k: os.environ.get(k, "1") for k in THREADS}
    root = str(Path(__file__).resolve().parents[2])
    paths = [os.path.abspath(p) for p in out.pop("PYTHONPATH", "").split(os.pathsep) if p]
    if os.path.basename(root) not in ("site-packages", "dist-packages"):
        paths.append(root)
    if paths:
        out["PYTHONPATH"] = os.pathsep.join(paths)
    out |= {"HOME": work, "TMPDIR": work, "XDG_CACHE_HOME": work, "MPLCONFIGDIR": work, "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONHASHSEED": "0", "PYTHONIOENCODING": "utf-8", processes.MARK: mark}  # fmt: skip
    for key, value in changed.items():
        out.pop(key, None)
        if value is not None:
            out[key] = value
    return out


def _plain(body: bytes) -> dict[str, Any]:
    try:
        out = json.loads(body)
    except ValueError:
        return {}
    return out if isinstance(out, dict) else {}


def _signal(number: int) -> str:
    try:
        return f"signal {signal.Signals(number).name}"
    except ValueError:
        return f"signal {number}"
