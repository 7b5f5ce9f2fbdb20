"""A recurrent net whose head reads the last state beside an attention-weighted mean of all states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from hitherto.errors import ConfigError
from hitherto.models.aligned import Linear
from hitherto.models.layers import thin
from hitherto.models.net import Net, Space
from hitherto.train.search import Choice

Cell = Literal["lstm", "gru"]


@dataclass(frozen=True)
class ALSTM(Net):
    """Attentive LSTM (Qin et al. 2017; Feng et al. 2019, without their adversarial training): attention over steps.

    Maps windows (L, B, F) to (B, C): z = tanh(Wx + b) per step; states h of ``layers`` cells ("lstm" or "gru") of
    ``hidden`` units; weights a = softmax over the steps of u' tanh(V h + c), V of hidden / 2 rows; the head reads
    (h_last, sum a h). dropout thins what the head reads. The other settings are Net's.
    """

    hidden: int = 64
    layers: int = 1
    cell: Cell = "lstm"
    name: str = "alstm"
    space: ClassVar[Space] = {
        **Net.space,
        "hidden": Choice((32, 64, 128)),
        "layers": Choice((1, 2)),
        "cell": Choice(("lstm", "gru")),
    }

    def check(self) -> None:
        """Refuse sizes below 1 and unknown cells; then Net's checks."""
        self.whole("hidden", "layers")
        if self.cell not in get_args(Cell):
            raise ConfigError(f"{self.name}: cell must be one of {', '.join(get_args(Cell))}, got {self.cell!r}.")
        super().check()

    def build(self, width: int, columns: int) -> nn.Module:
        """Return the net for ``width`` inputs and ``columns`` head columns."""
        return Attentive(width, self.hidden, self.layers, self.cell, columns, self.dropout)


class Attentive(nn.Module):
    """Projection, recurrent cells, attention pooling, head: x (L, B, F) -> (B, C)."""

    def __init__(self, width: int, hidden: int, layers: int, cell: Cell, columns: int, dropout: float) -> None:
        super().__init__()
        self.project = nn.Linear(width, hidden)
        self.cells = (nn.LSTM if cell == "lstm" else nn.GRU)(hidden, hidden, layers)
        self.score = Linear(hidden, max(1, hidden // 2))
        self.weigh = Linear(max(1, hidden // 2), 1, bias=False)  # a bias here would leave the softmax as it is
        self.head = Linear(2 * hidden, columns)
        self.dropout = dropout

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return (B, C); with a ``generator`` (training) the head's inputs are thinned."""
        h = self.cells(torch.tanh(self.project(x)))[0]
        a = torch.softmax(self.weigh(torch.tanh(self.score(h))), dim=0)  # (L, B, 1)
        both = torch.cat([h[-1], (a * h).sum(dim=0)], dim=-1)
        return self.head(thin(both, self.dropout, generator))
