"""Wall time of python, ``import hitherto``, ``import torch`` and ``hitherto --help``, each in a fresh process.

Ours is ``import hitherto`` (and ``hitherto --help``), the peer ``import torch``: what a command would cost if it
imported torch at once. Goals: import under 0.3 s, --help under 1 s.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from harness import alone, alternate, emit, parse_args


def process(*command: str) -> Callable[[], None]:
    def run() -> None:
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed: {done.stderr.decode()[-500:]}")

    return run


def python(code: str) -> Callable[[], None]:
    return process(sys.executable, "-c", code)


def main() -> None:
    n = 3 if parse_args().quick else 11
    torch = python("import torch")
    ours, peer = alternate(python("import hitherto"), torch, n)
    emit("import: hitherto against torch", ours, peer, "s", n)
    emit("import: bare python", alone(python("pass"), n), None, "s", n)
    command = Path(sys.executable).with_name("hitherto")
    found = str(command) if command.exists() else shutil.which("hitherto")
    if found is None or importlib.util.find_spec("hitherto.cli") is None:
        raise SystemExit("import: the hitherto command is not installed; pip install . first")
    ours, peer = alternate(process(found, "--help"), torch, n)
    emit("import: hitherto --help against import torch", ours, peer, "s", n)


if __name__ == "__main__":
    main()
