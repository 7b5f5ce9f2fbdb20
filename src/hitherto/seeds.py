"""Counter-based randomness: a draw is a function of (seed, path), never of what was drawn before it.

Adding a model, resuming, or training in another order therefore changes no other number. There is no global seed.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch


def derive(seed: int, *path: str | int) -> int:
    """Return the 63-bit child seed of ``seed`` at ``path`` (SHA-256 of the spelt-out path)."""
    text = "/".join([str(int(seed)), *(f"{type(p).__name__}:{p}" for p in path)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator(seed: int, *path: str | int) -> np.random.Generator:
    """Return an independent NumPy generator for ``path``, e.g. ``generator(7, "fold", 3, "shuffle")``."""
    import numpy as np

    return np.random.Generator(np.random.Philox(derive(seed, *path)))


def torch_generator(seed: int, *path: str | int) -> torch.Generator:
    """Return an independent CPU torch generator for ``path``."""
    import torch

    out = torch.Generator(device="cpu")
    out.manual_seed(derive(seed, *path))
    return out


class Stream:
    """A named point in the tree of random streams; ``child`` goes deeper, ``numpy``/``torch`` draw there."""

    def __init__(self, seed: int, *path: str | int) -> None:
        self.seed = int(seed)
        self.path = path

    def child(self, *path: str | int) -> Stream:
        """Return the stream below this one."""
        return Stream(self.seed, *self.path, *path)

    def number(self, *path: str | int) -> int:
        """Return a 31-bit integer, for libraries that want a plain seed."""
        return derive(self.seed, *self.path, *path) & 0x7FFFFFFF

    def numpy(self, *path: str | int) -> np.random.Generator:
        """Return a NumPy generator at ``path`` below this stream."""
        return generator(self.seed, *self.path, *path)

    def torch(self, *path: str | int) -> torch.Generator:
        """Return a CPU torch generator at ``path`` below this stream."""
        return torch_generator(self.seed, *self.path, *path)

    def __repr__(self) -> str:
        return f"Stream({self.seed}, {'/'.join(map(str, self.path))})"
