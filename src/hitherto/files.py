"""Files that are either the old ones or the new ones, never half of either, whatever kills the process in between."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from hitherto.errors import ConfigError, DataError, HithertoError


def write_atomic(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data``: temporary file in the same folder, fsync, rename, fsync of the folder.

    A process killed at any point leaves the old file or the new one. A failed write (full disk, refused rename)
    removes the temporary file, leaves the old file as it was, and raises HithertoError.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        kept = "the file that was there is intact" if path.exists() else "no file was left behind"
        raise HithertoError(
            f"could not write {path}: {error.strerror or error}; {kept}. Free space or choose another folder."
        ) from error


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable (a rename is safe from power loss only after this)."""
    if os.name == "nt":  # folders cannot be opened there; NTFS journals the rename
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as UTF-8 JSON, atomically; NaN and inf raise ConfigError, since JSON has no word for them."""
    try:
        text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"could not write {path}: {error}. Give plain numbers, text, lists, dicts; None if unknown."
        ) from error
    write_atomic(path, (text + "\n").encode())


def read_json(path: Path) -> Any:
    """Return the value in the JSON file ``path``; a missing or broken file raises DataError naming it."""
    try:
        return json.loads(Path(path).read_bytes())
    except OSError as error:
        raise DataError(f"could not read {path}: {error.strerror or error}. Check the path.") from error
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError
        raise DataError(f"{path} is not valid JSON: {error}. Write it again.") from error
