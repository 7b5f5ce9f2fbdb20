"""Where compiled kernels are kept: a per-user folder named by a digest of their sources, so that no edit, reinstall or
other version of numba is ever served stale machine code."""

from __future__ import annotations

import functools
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core import config as numba_config


def user_cache() -> Path:
    """Return hitherto's cache folder: ``$HITHERTO_CACHE``, else the platform's per-user place; it may not exist."""
    chosen = os.environ.get("HITHERTO_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "hitherto"


@functools.cache
def digest(folder: Path) -> str:
    """Return 16 hex digits that change with any ``kernels*.py`` in ``folder``, with this file and with numba."""
    h = hashlib.sha256(numba.__version__.encode())
    for path in [Path(__file__), *sorted(folder.glob("kernels*.py"))]:
        body = path.read_bytes()
        h.update(f"\0{path.name}\0{len(body)}\0".encode())
        h.update(body)
    return h.hexdigest()[:16]


def kernel(f: Callable[..., Any]) -> Any:
    """Compile ``f`` lazily with numba: ``nogil``, IEEE arithmetic (no fastmath), x / 0 = inf, kept in the user's cache.

    Where no cache folder can be written the function is compiled anew by each process.
    """
    compiled = numba.njit(nogil=True, error_model="numpy")(f)
    folder = _writable(user_cache() / "kernels" / digest(Path(f.__code__.co_filename).parent))
    if folder is None:  # not beside the sources either: there numba would not notice an edit in an imported file
        return compiled
    config: Any = numba_config
    before = config.CACHE_DIR
    config.CACHE_DIR = str(folder)  # numba picks the folder here and now, so its global setting is ours for one line
    try:
        compiled.enable_caching()
    finally:
        config.CACHE_DIR = before
    return compiled


def _writable(folder: Path) -> Path | None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return None
