"""The date rung: stocks of one date attend to each other, after each has attended to its own past."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from hitherto.models.aligned import Linear
from hitherto.models.base import Unit
from hitherto.models.net import Net, Space
from hitherto.models.transformer import Block, check_heads, positions
from hitherto.train.search import Choice


@dataclass(frozen=True)
class CrossStock(Net):
    """Attention over time and over the universe of the date, after MASTER (Li et al. 2024, AAAI); unit "date".

    Maps all N known names of one date, (L, N, F), to (N, C): features are projected; each stock attends to its own
    steps; at each step the stocks attend to each other; the steps are gathered by attention whose query is the last
    one; a linear head. Reordering the names reorders the forecasts (to rounding); no other date is read; N may be 1.
    hidden: width, split among ``heads``; feedforward: units of the GELU layer after each attention; dropout thins what
    each block adds. Differs from the paper: no market-guided gating of the features, since windows carry no market
    index (give index returns as features to let the net see them); pre-norm blocks, with positions counted from the
    last step; a smaller default width, for the cost of a date grows as L N^2 hidden. The other settings are Net's.
    On the CSI 300 of 2019-2024 its daily RankIC could not be told from ridge's (docs/ladder.md).
    """

    hidden: int = 32
    heads: int = 2
    feedforward: int = 64
    name: str = "cross_stock"
    unit: ClassVar[Unit] = "date"
    space: ClassVar[Space] = {
        **Net.space,
        "hidden": Choice((16, 32, 64)),
        "heads": Choice((1, 2, 4)),
    }

    def check(self) -> None:
        """Refuse sizes below 1 and heads that do not share ``hidden`` evenly; then Net's checks."""
        self.whole("hidden", "heads", "feedforward")
        check_heads(self)
        super().check()

    def build(self, width: int, columns: int) -> nn.Module:
        """Return the net for ``width`` inputs and ``columns`` head columns."""
        return Universe(width, self.hidden, self.heads, self.feedforward, columns, self.dropout)


class Universe(nn.Module):
    """Projection, attention over steps, attention over names, gathering by the last step: (L, N, F) -> (N, C)."""

    def __init__(self, width: int, hidden: int, heads: int, feedforward: int, columns: int, dropout: float) -> None:
        super().__init__()
        self.project = nn.Linear(width, hidden)
        self.steps = Block(hidden, heads, feedforward, dropout, "steps")
        self.names = Block(hidden, heads, feedforward, dropout, "names")
        self.norm = nn.LayerNorm(hidden)
        self.query = nn.Linear(hidden, hidden, bias=False)
        self.head = Linear(hidden, columns)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return (N, C) for the names of one date; with a ``generator`` (training) what the blocks add is thinned."""
        z = self.project(x)
        z = self.steps(z + positions(z), generator)
        h = self.norm(self.names(z, generator))
        score = (h * self.query(h[-1])).sum(dim=-1, keepdim=True) / math.sqrt(h.shape[-1])  # (L, N, 1)
        return self.head((torch.softmax(score, dim=0) * h).sum(dim=0))
