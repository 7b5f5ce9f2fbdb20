"""Processes of our own below a given one, read from /proc: who they are, what they use, and how to end exactly them.

Nothing here looks for a name: a process is ours because it descends from one that we started, or carries our mark.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

MARK = "HITHERTO_CONTAINED"  # environment variable with a random word, inherited by whatever audited code starts
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def children(pid: int) -> list[int]:
    """Return the ids of the children of ``pid``, ended ones included."""
    try:
        return [int(p) for t in os.listdir(f"/proc/{pid}/task") for p in _read(f"/proc/{pid}/task/{t}/children")]
    except OSError:
        # Without this file in the kernel, or for a process that just ended: the parents of all say it too.
        stats = {int(p): _stat(int(p)) for p in os.listdir("/proc") if p.isdigit()}
        return [p for p, fields in stats.items() if fields and int(fields[1]) == pid]


def descendants(pid: int) -> list[int]:
    """Return the ids of all processes below ``pid``, zombies not counted."""
    out, todo = [], [pid]
    while todo:
        below = children(todo.pop())
        out += [p for p in below if state(p) not in ("Z", "X", "")]
        todo += below
    return sorted(set(out))


def state(pid: int) -> str:
    """Return the state letter of a process ("Z": ended and not yet waited for), "" when it is gone."""
    fields = _stat(pid)
    return fields[0] if fields else ""


def group(pid: int) -> int:
    """Return the process group of ``pid``, -1 when it is gone."""
    fields = _stat(pid)
    return int(fields[2]) if fields else -1


def name(pid: int) -> str:
    """Return the short name that the kernel keeps for ``pid``."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return ""


def memory(pids: list[int], limit: int) -> int:
    """Return the bytes resident in ``pids``; pages shared after a fork are counted once when the sum passes limit."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError, IndexError, ValueError):
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    if total <= limit or len(pids) == 1:
        return total
    shared = 0
    for pid in pids:
        with contextlib.suppress(OSError, IndexError, ValueError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            shared += next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024
    return min(total, shared) if shared else total


def cpu(pids: list[int]) -> float:
    """Return the CPU seconds that ``pids`` and their ended children have used."""
    return sum(sum(int(f) for f in fields[11:15]) / _TICK for fields in map(_stat, pids) if fields)


def end(pid: int, above: int) -> None:
    """Kill ``pid`` if it still is below ``above``; the handle keeps a reused number from being hit."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if pid in descendants(above):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    except OSError:
        pass  # gone in between
    finally:
        os.close(handle)


def end_all(above: int, seconds: float = 5.0) -> list[int]:
    """Kill everything below ``above`` until nothing is left, also what is being forked meanwhile; return what stayed.

    Children of the calling process are waited for, so that no zombie stays behind.
    """
    until = time.monotonic() + seconds
    while True:
        rest = descendants(above)
        for pid in rest:
            end(pid, above)
        if above == os.getpid():
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
        if not rest or time.monotonic() > until:
            return rest
        time.sleep(0.002)


def marked(word: str) -> list[int]:
    """Return the ids of living processes that were started with ``word`` as their mark, wherever they hang."""
    wanted, out = f"{MARK}={word}".encode(), []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                if wanted in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0") and state(int(entry)) != "Z":
                    out.append(int(entry))
    return out


def end_marked(word: str, seconds: float = 5.0) -> None:
    """Kill every process that carries ``word`` as its mark until none is left, also what is being forked meanwhile."""
    until = time.monotonic() + seconds
    while (left := marked(word)) and time.monotonic() < until:
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)


def _read(path: str) -> list[str]:
    with open(path, encoding="ascii") as file:
        return file.read().split()


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on; the name before it may hold anything."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []
