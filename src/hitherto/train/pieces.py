"""Batches in pieces: one piece's activations stay in the cache, and the pieces of a batch run on several threads.

A whole batch of 1,000 windows is up to twice as slow as its pieces: beyond 32 MB malloc maps fresh pages at every step.
How a batch is cut does not depend on the number of threads, so that the number of threads changes no bit of a result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hitherto.compute import Precision, Workers
from hitherto.errors import DataError
from hitherto.windows import Batch, Windows

PREDICT_ROWS = 128  # every piece of a prediction has this shape, so that a row's bits do not depend on its neighbours
WORKSPACE = 2_000_000  # floats that one layer of one piece may hold


@dataclass(frozen=True)
class Piece:
    """Samples first..last of a batch; ``blocks``: (D + 1,) offsets of its dates, counted from ``first``."""

    first: int
    last: int
    blocks: NDArray[np.int64]


class Cutter:
    """How one net's batches are cut: by samples, or by dates when a date must stay whole.

    by_date: every date is a piece (for a net of unit "date", or a loss that couples a date's names). pad: rows may be
    added to a piece, which the net then ignores (unit "asset").
    """

    def __init__(self, net: nn.Module, lookback: int, device: str, *, by_date: bool, pad: bool) -> None:
        self.cpu, self.by_date, self.pad = device == "cpu", by_date, pad
        self.rows = piece_rows(net, lookback) if self.cpu else None

    def cut(self, blocks: NDArray[np.int64]) -> list[Piece]:
        """Return the pieces of a batch with dates at ``blocks``, in order."""
        size = int(blocks[-1])
        if self.by_date and (self.cpu or not self.pad):
            spans = zip(blocks[:-1].tolist(), blocks[1:].tolist(), strict=True)
            return [Piece(a, b, np.array([0, b - a])) for a, b in spans]
        if self.by_date:
            return [Piece(0, size, blocks)]
        return [Piece(a, b, np.array([0, b - a])) for a, b in cut(size, self.rows)]

    def run(self, net: nn.Module, x: Tensor, piece: Piece, generator: torch.Generator | None) -> Tensor:
        """Return the net's (B, C) output for one piece of the batch ``x`` (L, B, F)."""
        part = x[:, piece.first : piece.last]
        size = part.shape[1]
        extra = -size % 16 if self.by_date and self.pad and self.cpu else 0  # each new shape costs a new kernel
        if extra:
            part = nn.functional.pad(part, (0, 0, 0, extra))
        out = net(part.contiguous(), generator)
        return out[:size] if extra else out

    def forward(self, net: nn.Module, x: Tensor, blocks: NDArray[np.int64], workers: Workers) -> Tensor:
        """Return (B, C) outputs for a batch without gradient."""
        if self.by_date and not self.pad:
            return by_dates(net, x, blocks, workers)
        return forward(net, x, self.rows, workers)


def predict(
    net: nn.Module, windows: Windows, *, device: str = "cpu", threads: int = 1, unit: str = "asset"
) -> NDArray[np.float64]:
    """Return (S, C) float64 outputs of ``net`` in the order of ``windows.index``; changes no state.

    On the CPU every piece of an asset net has the same shape (the last one is padded), so that BLAS treats each row
    alike; a date net is given one date at a time.
    """
    net.eval()
    parts: list[NDArray[np.float64]] = []
    with Workers(threads if device == "cpu" else 1) as workers, Precision("float32", device):
        for batch in windows.batches(2048):
            x = inputs(batch, device)
            if unit == "date":
                out = by_dates(net, x, batch.blocks, workers)
            else:
                out = forward(net, x, PREDICT_ROWS if device == "cpu" else None, workers)
            parts.append(out.cpu().numpy().astype(np.float64))
    return np.concatenate(parts) if parts else np.zeros((0, 0))


def by_dates(net: nn.Module, x: Tensor, blocks: NDArray[np.int64], workers: Workers) -> Tensor:
    """Return (B, C) outputs without gradient, one date after another."""

    def run(span: tuple[int, int]) -> Tensor:
        with torch.no_grad():
            return net(x[:, span[0] : span[1]].contiguous(), None)

    spans = list(zip(blocks[:-1].tolist(), blocks[1:].tolist(), strict=True))
    return torch.cat(list(workers.map(run, spans)))


def piece_rows(net: nn.Module, lookback: int) -> int:
    """Return how many samples one piece of a batch may have: its activations should stay in the cache."""
    widest = max((p.shape[0] for p in net.parameters() if p.dim() > 1), default=1)
    return int(np.clip(WORKSPACE // (lookback * widest) // 16 * 16, 16, 128))


def cut(size: int, rows: int | None) -> list[tuple[int, int]]:
    """Near-equal pieces of at most ``rows`` samples; an even number of them, so that two threads share them evenly."""
    if rows is None or size <= rows:
        return [(0, size)]
    count = -(-size // rows)
    count += count % 2
    step = -(-size // (16 * count)) * 16  # few distinct shapes: each costs a new kernel
    return [(a, min(a + step, size)) for a in range(0, size, step)]


def forward(net: nn.Module, x: Tensor, rows: int | None, workers: Workers) -> Tensor:
    """Return (B, O) outputs without gradient, in pieces of exactly ``rows`` samples."""

    def run(start: int) -> Tensor:
        with torch.no_grad():
            piece = x[:, start : start + step]
            size = piece.shape[1]
            if rows is not None and size < rows:
                piece = nn.functional.pad(piece, (0, 0, 0, rows - size))
            return net(piece.contiguous(), None)[:size]

    step = rows or max(x.shape[1], 1)
    return torch.cat(list(workers.map(run, range(0, x.shape[1], step))))


def inputs(batch: Batch, device: str) -> Tensor:
    """Return the x of ``batch`` on ``device``; NaN or inf in it raises DataError naming the rows."""
    x = torch.from_numpy(batch.x)
    # a sum is finite only if every term is (or the terms are absurdly large): one pass, no mask
    if x.is_floating_point() and not math.isfinite(float(x.sum())) and not bool(torch.isfinite(x).all()):
        raise DataError(
            f"inputs at rows {batch.t.min()}..{batch.t.max()} hold NaN or inf; give the windows a fill value and check "
            "features that divide."
        )
    return x.to(device)
