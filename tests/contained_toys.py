"""What the tests of contained files share: writing a file, and looking for what it left behind."""

import os
import textwrap
from pathlib import Path

from hitherto.audit import processes


def write(folder, text, name="strategy.py"):
    """A .py file of its own folder, so that nothing else lies beside it."""
    path = Path(folder) / "code" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def left_behind(folder):
    """Processes below ours, processes that carry a child's mark and this test's folder, and scratch folders."""
    found = [f"below: {processes.name(p)}" for p in processes.descendants(os.getpid())]
    mark, here = f"{processes.MARK}=".encode(), os.fsencode(str(folder))
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                environ = Path(f"/proc/{entry}/environ").read_bytes()
            except OSError:
                continue
            if mark in environ and here in environ and processes.state(int(entry)) != "Z":
                found.append(f"marked: {processes.name(int(entry))}")
    return found + [p.name for p in Path(folder).glob("hitherto-audit-*")]
