"""Panels and numbers between two processes as .npz files: no pickle, and sizes checked before anything is read."""

from __future__ import annotations

import json
import os
import stat
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hitherto.panel import MASKS, Panel

UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)  # what reading a hostile file may raise


def write_panel(folder: int, name: str, panel: Panel) -> None:
    """Write fields, masks and clock to a new file in the open ``folder``; OSError when the name is taken."""
    arrays: dict[str, NDArray[Any]] = {f"field:{k}": np.asarray(v) for k, v in panel.fields.items()}
    arrays |= {m: getattr(panel, m) for m in MASKS}
    arrays |= {"times": panel.times, "sessions": panel.sessions.astype("datetime64[D]").astype(np.int64)}
    arrays["symbols"] = np.array(panel.symbols, dtype=np.str_)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(name, flags, 0o600, dir_fd=folder), "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def read_panel(path: str, zone: str, adjustment: str) -> Panel:
    """Return the panel that ``write_panel`` wrote."""
    with np.load(path, allow_pickle=False) as data:
        fields = {k.removeprefix("field:"): data[k] for k in data.files if k.startswith("field:")}
        return Panel(
            times=data["times"], sessions=data["sessions"].astype("datetime64[D]"),
            symbols=tuple(str(s) for s in data["symbols"]), fields=fields, zone=zone,
            adjustment=adjustment, **{m: data[m] for m in MASKS},  # type: ignore[arg-type]
        )  # fmt: skip


def write_numbers(path: str, columns: Mapping[str, NDArray[Any]], shape: tuple[int, int]) -> None:
    """Write column -> (T, N) as one (C, T, N) float64 array and the names as JSON."""
    values = np.empty((len(columns), *shape))
    for i, column in enumerate(columns.values()):
        values[i] = column
    np.savez(path, names=np.frombuffer(json.dumps(list(columns)).encode(), np.uint8), values=values)


def read_numbers(folder: int, name: str, shape: tuple[int, int, int], limit: int) -> dict[str, NDArray[np.float64]]:
    """Return column -> (T, N) float64 from a file that an untrusted process wrote into the open ``folder``.

    Only a plain file (no link, no pipe) of exactly ``shape`` (C, T, N) and at most ``limit`` bytes is read. Errors: one
    of UNREADABLE.
    """
    most = int(np.prod(shape, dtype=np.float64)) * 8 + (1 << 20)
    if shape[0] < 0 or most > limit:
        raise ValueError(f"{shape[0]} columns are more than the memory limit holds")
    handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    with os.fdopen(handle, "rb") as file:
        kept = os.fstat(handle)
        if not stat.S_ISREG(kept.st_mode) or kept.st_size > most:
            raise ValueError("no plain file of the size expected")
        with zipfile.ZipFile(file) as archive:
            text = _array(archive, "names.npy", np.dtype(np.uint8), None, 1 << 20)
            values = _array(archive, "values.npy", np.dtype(np.float64), shape, most)
    names = json.loads(text.tobytes())
    if not isinstance(names, list) or len(names) != shape[0] or not all(isinstance(n, str) for n in names):
        raise ValueError("names and numbers do not fit")
    return dict(zip(names, values, strict=True))


def _array(
    archive: zipfile.ZipFile, name: str, dtype: np.dtype, shape: tuple[int, ...] | None, most: int
) -> NDArray[Any]:
    """Read one array; what its header says is checked before memory is taken for it."""
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > most:
        raise ValueError("not stored plainly, or too large")
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        got, fortran, kind = header(file, max_header_size=2000)
        size = int(np.prod(got, dtype=np.float64)) * kind.itemsize
        if kind != dtype or fortran or (shape is not None and got != shape) or size > most:
            raise ValueError("another shape or kind of numbers than was said")
        data = file.read(size)
    return np.frombuffer(data, dtype).reshape(got).copy()
