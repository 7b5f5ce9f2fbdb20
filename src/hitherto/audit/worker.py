"""The child's side of a contained file: ``python -m hitherto.audit.worker`` with its settings as JSON in argv[1].

Two processes: a guardian that runs nothing of the user's, keeps what that forks below itself, and ends it all as soon
as the auditing process asks for it or is gone; below it the worker, which imports the file and evaluates its function.
Messages are frames of eight bytes (length, big-endian) and JSON, at most 4096 bytes, so that a write is never torn.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import importlib.util
import json
import os
import resource
import select
import shutil
import signal
import sys
import traceback
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from hitherto.audit import processes

if TYPE_CHECKING:
    from hitherto.audit.target import Target

FRAME = 4096
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
AS_HEADROOM = 8 << 30  # libraries reserve address space that they never touch


@dataclass(frozen=True)
class Settings:
    """What the child is told at its start: ids of its pipes, folders, the file, and limits in bytes and seconds."""

    asks: int
    replies: int
    life: int
    end: int
    folder: str
    path: str
    entry: str
    gets: str
    unit: str
    memory: int
    cpu: float
    file: int
    shift: float


def frame(message: dict[str, Any]) -> bytes:
    """Return a message as it goes through a pipe; long texts in it are cut until it fits."""
    for most in (2000, 600, 150):
        body = json.dumps({k: v[:most] if isinstance(v, str) else v for k, v in message.items()}).encode()
        if len(body) <= FRAME - 8:
            break
    return len(body).to_bytes(8, "big") + body


def main() -> None:
    """Fork the worker and guard it."""
    s = Settings(**json.loads(sys.argv[1]))
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    guardian = os.getpid()
    worker = os.fork()
    if worker == 0:
        try:
            _work(s, guardian)
        except BaseException:  # noqa: BLE001  nothing of this copy may go on below
            traceback.print_exc()
        finally:
            os._exit(70)
    with contextlib.suppress(OSError):
        os.setpgid(worker, worker)
    for handle in (s.asks, s.replies):
        os.close(handle)
    _quiet()
    _guard(s, worker)


def _guard(s: Settings, worker: int) -> None:
    """Wait for the worker's end or the order to stop; then end the group and what had left it, and say so."""
    handle, poll = os.pidfd_open(worker), select.poll()
    poll.register(handle, select.POLLIN)
    poll.register(s.life, select.POLLIN | select.POLLHUP)
    while not (ready := poll.poll(500)):
        _reap(worker)
    ended = any(fd == handle for fd, _ in ready)
    others = [p for p in processes.descendants(os.getpid()) if p != worker]
    left = [{"name": processes.name(p)[:20], "moved": processes.group(p) != worker} for p in others]
    # Not waited for until its group is dead: its number cannot be another's before.
    with contextlib.suppress(OSError):
        os.killpg(worker, signal.SIGKILL)
    _, status = os.waitpid(worker, 0)
    stayed = processes.end_all(os.getpid())
    shutil.rmtree(s.folder, ignore_errors=True)
    told = {"ended": ended, "exit": os.waitstatus_to_exitcode(status), "left": left[:16], "count": len(left),
            "stayed": len(stayed)}  # fmt: skip
    with contextlib.suppress(OSError):
        os.write(s.end, frame(told))
    os._exit(0)


def _reap(worker: int) -> None:
    """Wait for orphans that ended, so that no zombies gather."""
    for pid in processes.children(os.getpid()):
        if pid != worker and processes.state(pid) == "Z":
            with contextlib.suppress(OSError):
                os.waitpid(pid, os.WNOHANG)


def _quiet() -> None:
    """Let go of the pipe that the worker prints to."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (1, 2):
        os.dup2(null, fd)


def _prctl(option: int, value: int) -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


# ---- the worker ----
def _work(s: Settings, guardian: int) -> None:
    os.setpgid(0, 0)
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != guardian:
        os._exit(0)
    os.close(s.life)
    os.close(s.end)
    _limit(s)
    faulthandler.enable()
    if s.gets != "panel":
        import pandas  # noqa: F401  its own start is not the audited code's doing
    state = _Evaluator(s)
    os.write(s.replies, frame({"id": 0}))
    while (request := _next(s.asks)) is not None:
        reply = state.answer(request)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os.write(s.replies, frame(reply))
    os._exit(0)


def _limit(s: Settings) -> None:
    """Set what the kernel itself keeps; the auditing process polls the rest."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _lower(resource.RLIMIT_FSIZE, s.file)
    if not os.path.exists("/dev/nvidiactl"):  # CUDA reserves more addresses than the machine has memory
        _lower(resource.RLIMIT_AS, s.memory + AS_HEADROOM)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def _lower(which: int, value: int) -> None:
    _, hard = resource.getrlimit(which)
    if hard == resource.RLIM_INFINITY or value < hard:
        resource.setrlimit(which, (value, value))


def _next(handle: int) -> dict[str, Any] | None:
    """Return the next request; None when the auditing process is gone."""
    head = _exactly(handle, 8)
    body = _exactly(handle, int.from_bytes(head, "big")) if head else b""
    return json.loads(body) if body else None


def _exactly(handle: int, count: int) -> bytes:
    out = b""
    while len(out) < count:
        piece = os.read(handle, count - len(out))
        if not piece:
            return b""
        out += piece
    return out


class _Evaluator:
    """Imports the file at the first request and evaluates its function at each."""

    def __init__(self, s: Settings) -> None:
        self.s, self.pid = s, os.getpid()
        self.target: Target | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return {"id", "count"} after writing the numbers, or {"id", "error", "at"}."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        spent = used.ru_utime + used.ru_stime
        with contextlib.suppress(ValueError, OSError):  # the kernel's own end of a loop that nothing else ends
            hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
            resource.setrlimit(resource.RLIMIT_CPU, (int(spent + self.s.cpu) + 5, hard))
        number = request.get("id", -1)
        try:
            return {"id": number, "count": self._evaluate(request)}
        except BaseException as e:  # noqa: BLE001  whatever audited code raises is told, not hidden; SystemExit too
            self._only()
            return {"id": number, "error": f"{type(e).__name__}: {e}".split("\n")[0], "at": _line(e, self.s)}

    def _evaluate(self, request: dict[str, Any]) -> int:
        from hitherto.audit import passing
        from hitherto.audit.target import columns

        if self.target is None:
            self.target = self._load()
        folder = os.path.join(self.s.folder, "io")
        panel = passing.read_panel(os.path.join(folder, request["panel"]), request["zone"], request["adjustment"])
        made = columns(self.target.run(panel), panel, self.target.name)
        self._only()
        passing.write_numbers(os.path.join(folder, request["numbers"]), made, panel.shape)
        return len(made)

    def _only(self) -> None:
        """End a copy that the audited code forked, and that came back from it."""
        if os.getpid() != self.pid:
            os._exit(0)

    def _load(self) -> Target:
        from hitherto.audit.adapters import from_function
        from hitherto.audit.watching import Watch

        def tell(thing: dict[str, Any]) -> None:
            with contextlib.suppress(OSError):
                os.write(self.s.replies, frame({"seen": thing["kind"], **thing}))

        own = os.path.dirname(os.path.realpath(self.s.path))
        Watch(tell, own, self.s.folder, self.s.shift).install()
        module = _import_file(self.s.path, own)
        function = getattr(module, self.s.entry, None)
        if not callable(function):
            own_names = (n for n, v in vars(module).items() if getattr(v, "__module__", "") == module.__name__)
            names = [n for n in own_names if callable(getattr(module, n))]
            raise AttributeError(f"no function '{self.s.entry}'; the file defines {', '.join(names) or 'no function'}")
        return from_function(function, self.s.gets, self.s.unit)  # type: ignore[arg-type]


def _import_file(path: str, own: str) -> ModuleType:
    """Import a file by its path, with its folder first on the search path, as if it had been run there."""
    real = os.path.realpath(path)
    sys.path.insert(0, own)
    name = os.path.splitext(os.path.basename(real))[0]
    if name in sys.modules or name in sys.stdlib_module_names:
        name = f"audited_{name}"
    spec = importlib.util.spec_from_file_location(name, real)
    if spec is None or spec.loader is None:
        raise ImportError(f"{os.path.basename(real)} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _line(error: BaseException, s: Settings) -> str:
    """Return file:line of the innermost frame of the audited code."""
    own, at, trace = os.path.dirname(os.path.realpath(s.path)), "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file.startswith(own + os.sep):
            at = f"{os.path.basename(file)}:{trace.tb_lineno}"
        trace = trace.tb_next
    return at


if __name__ == "__main__":
    main()
