"""Causal dilated convolutions over a window, in time-major layout: a tap is a view of the rows, shifted in time."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from hitherto.errors import ConfigError
from hitherto.models.aligned import Linear
from hitherto.models.layers import thin
from hitherto.models.net import Net, Space
from hitherto.train.search import Choice

KERNEL = 3


@dataclass(frozen=True)
class TCN(Net):
    """A temporal convolutional network (Bai, Kolter & Koltun 2018): dilated causal residual blocks, a linear head.

    Maps windows (L, B, F) to (B, C) from the last step. channels: width of each block; block k looks back by kernel 3
    at dilation 2^k, so that n blocks see 1 + 4 (2^n - 1) rows: 5, 13, 29, 61; rows beyond the lookback are zeros, as in
    the paper. dropout thins each convolution's output. Differs from the paper: layer normalisation over the channels of
    one step stands where theirs normalises weights; it mixes neither steps nor samples. The other settings are Net's.
    On the CSI 300 of 2019-2024 its daily RankIC could not be told from ridge's (docs/ladder.md).
    """

    channels: tuple[int, ...] = (64, 64, 64)
    name: str = "tcn"
    space: ClassVar[Space] = {
        **Net.space,
        "channels": Choice(((32, 32, 32), (64, 64, 64), (64, 64, 64, 64), (128, 128, 128))),
    }

    def check(self) -> None:
        """Refuse no or empty blocks; then Net's checks."""
        if not self.channels or min(self.channels) < 1:
            raise ConfigError(
                f"{self.name}: channels must be one or more whole numbers >= 1, got {list(self.channels)}."
            )
        super().check()

    def build(self, width: int, columns: int) -> nn.Module:
        """Return the net for ``width`` inputs and ``columns`` head columns."""
        return ConvNet(width, self.channels, columns, self.dropout)


class ConvNet(nn.Module):
    """Blocks of causal convolutions, then a linear head on the last step: x (L, B, F) -> (B, C).

    Only the last step is read, so each block computes only the rows that the later ones look at: after the block of
    dilation d these are every 2d-th row, counted from the end. On the rows kept, the next dilation is 1 again.
    """

    def __init__(self, width: int, channels: tuple[int, ...], columns: int, dropout: float) -> None:
        super().__init__()
        sizes = (width, *channels)
        self.blocks = nn.ModuleList(Residual(a, b, dropout) for a, b in itertools.pairwise(sizes))
        self.head = Linear(channels[-1], columns)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return (B, C); with a ``generator`` (training) the convolutions' outputs are thinned."""
        for k, block in enumerate(self.blocks):
            x = block(x, generator, every=2 if k + 1 < len(self.blocks) else len(x))
        return self.head(x[-1])


class Residual(nn.Module):
    """Two causal convolutions of kernel 3 and a residual path: z (L, B, F) -> (ceil(L / every), B, C), ReLU between.

    The rows of z are already ``dilation`` steps apart, so the taps are neighbouring rows; row -1 is kept, row
    -1 - every, and so on.
    """

    def __init__(self, width: int, channels: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Linear(KERNEL * width, channels)
        self.first_norm = nn.LayerNorm(channels)
        self.second = nn.Linear(KERNEL * channels, channels)
        self.second_norm = nn.LayerNorm(channels)
        self.match = nn.Linear(width, channels) if width != channels else nn.Identity()
        self.dropout = dropout

    def forward(self, z: Tensor, generator: torch.Generator | None, every: int) -> Tensor:
        """Return the block's output at every ``every``-th row from the end."""
        inner = thin(torch.relu(self.first_norm(self.first(taps(z, 1)))), self.dropout, generator)
        inner = thin(torch.relu(self.second_norm(self.second(taps(inner, every)))), self.dropout, generator)
        return torch.relu(inner + self.match(z[(len(z) - 1) % every :: every]))


def taps(z: Tensor, every: int) -> Tensor:
    """Return (ceil(L / every), B, 3 F): rows t-2, t-1, t of z (L, B, F) beside each other, zeros before row 0."""
    padded = nn.functional.pad(z, (0, 0, 0, 0, KERNEL - 1, 0))
    first = (len(z) - 1) % every
    return torch.cat([padded[first + k : len(z) + k : every] for k in range(KERNEL)], dim=-1)
