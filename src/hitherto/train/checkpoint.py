"""Checkpoints that survive ``kill -9``: tensors and state in one safetensors file, its SHA-256 manifest written last.

Two are kept. One that is torn, flipped or without a manifest is passed over for the one before it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import DataError
from hitherto.files import read_json, write_atomic, write_json

KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """One point of a training run: ``serial`` counts saves; tensors by name; state: plain JSON values."""

    serial: int
    tensors: Mapping[str, NDArray[Any]]
    state: Mapping[str, Any]


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Write ``checkpoint`` to ``folder`` and drop all but the last two; a failed write raises and harms neither."""
    from safetensors.numpy import save as encode

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # the state travels inside the file, so that the one digest covers it too
    state = json.dumps(checkpoint.state, allow_nan=False)
    data = encode({k: np.asarray(v, order="C") for k, v in checkpoint.tensors.items()}, metadata={"state": state})
    tensors, manifest = _paths(folder, checkpoint.serial)
    write_atomic(tensors, data)
    digest = {"file": tensors.name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    write_json(manifest, digest)
    _prune(folder, {checkpoint.serial - k for k in range(KEPT)})


def load(folder: Path, report: Callable[[str], None] = lambda text: None) -> Checkpoint | None:
    """Return the newest checkpoint of ``folder`` that verifies, or None; ``report`` hears why one was passed over."""
    for serial in sorted(_serials(Path(folder)), reverse=True):
        try:
            return _read(Path(folder), serial)
        except DataError as error:
            report(str(error))
    return None


def clear(folder: Path) -> None:
    """Remove every checkpoint of ``folder`` (a fresh fit must not resume from an old one)."""
    if Path(folder).is_dir():
        _prune(Path(folder), set())


def _read(folder: Path, serial: int) -> Checkpoint:
    from safetensors import SafetensorError
    from safetensors.numpy import load as decode

    path, manifest = _paths(folder, serial)
    said = read_json(manifest)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"checkpoint {path.name} cannot be read: {error.strerror}") from error
    if not isinstance(said, dict) or said.get("sha256") != hashlib.sha256(data).hexdigest():
        raise DataError(f"checkpoint {path.name} does not match its manifest (torn or altered)")
    try:
        size = int.from_bytes(data[:8], "little")
        state = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["state"])
        return Checkpoint(serial, decode(data), state)
    except (SafetensorError, ValueError, KeyError) as error:
        raise DataError(f"checkpoint {path.name} is not one of ours: {error}") from error


def _paths(folder: Path, serial: int) -> tuple[Path, Path]:
    stem = f"checkpoint-{serial:08d}"
    return folder / f"{stem}.safetensors", folder / f"{stem}.json"


def _serials(folder: Path) -> set[int]:
    """Serials with a manifest; tensors without one were never finished."""
    texts = (p.stem.removeprefix("checkpoint-") for p in folder.glob("checkpoint-*.json"))
    return {int(text) for text in texts if text.isdecimal()}


def _prune(folder: Path, keep: set[int]) -> None:
    names = {path.name for serial in keep for path in _paths(folder, serial)}
    # manifests first: tensors without a manifest are no checkpoint, a manifest without tensors is a complaint
    found = [*folder.glob("checkpoint-*.json"), *folder.glob("checkpoint-*.safetensors")]
    for path in [*found, *folder.glob(".checkpoint-*.tmp")]:
        if path.name not in names:
            with contextlib.suppress(OSError):  # a leftover costs space, not correctness
                path.unlink()
