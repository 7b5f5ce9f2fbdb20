"""The LSTM, alone or in a deep stack, on torch's own cells; the head and the stack that other recurrent rungs share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from hitherto.models.aligned import Linear
from hitherto.models.layers import thin
from hitherto.models.net import Net, Space
from hitherto.train.search import Choice, Range

Cell = Literal["lstm", "gru", "rnn"]
CELLS: Mapping[str, Callable[..., nn.RNNBase]] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


@dataclass(frozen=True)
class LSTM(Net):
    """A long short-term memory network (Hochreiter & Schmidhuber 1997; torch.nn.LSTM) with a linear head.

    Maps windows (L, B, F) to (B, O). hidden: cell size; layers: stacked cells (4 make a deep stack). dropout acts
    between layers and on the last hidden state. forget_bias: added to the forget gates' bias at the start
    (Jozefowicz et al. 2015). The other settings are those of every net, see models.net.Net.
    """

    hidden: int = 64
    layers: int = 1
    forget_bias: float = 0.0
    name: str = "lstm"
    space: ClassVar[Space] = {**Net.space, "hidden": Choice((16, 32, 64, 128)), "layers": Range(1, 3, whole=True)}

    def check(self) -> None:
        """Raise a ConfigError for a setting out of range."""
        self.whole("hidden", "layers")
        super().check()

    def build(self, width: int, columns: int) -> LastStep:
        """Return the net."""
        return LastStep("lstm", width, self.hidden, self.layers, columns, self.dropout, self.forget_bias)


class LastStep(nn.Module):
    """A stack of one kind of cell, then a linear head on the last step's hidden state: x (L, B, F) -> (B, C)."""

    def __init__(
        self, cell: Cell, width: int, hidden: int, layers: int, columns: int, dropout: float, forget_bias: float = 0.0
    ) -> None:
        super().__init__()
        self.cell, self.hidden, self.dropout, self.forget_bias = cell, hidden, dropout, forget_bias
        # Without noise between the layers torch runs them in one call; its own dropout draws from the global state.
        whole = dropout == 0 or layers == 1
        kind = CELLS[cell]
        stack = kind(width, hidden, layers) if whole else nn.ModuleList(
            [kind(width if k == 0 else hidden, hidden) for k in range(layers)]
        )  # fmt: skip
        self.add_module(cell, stack)
        self.head = Linear(hidden, columns)

    @torch.no_grad()
    def reset(self, generator: torch.Generator) -> None:
        """Draw every weight uniformly in +-1/sqrt(hidden), in the order of their names (torch's own bounds)."""
        bound = 1 / math.sqrt(self.hidden)
        for name, p in sorted(self.named_parameters()):
            p.uniform_(-bound, bound, generator=generator)
            if self.cell == "lstm" and "bias_ih" in name:  # gate order i, f, g, o
                p[self.hidden : 2 * self.hidden] += self.forget_bias

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return (B, C); with a ``generator`` (training) hidden states are thinned by inverted dropout."""
        stack = getattr(self, self.cell)
        if isinstance(stack, nn.ModuleList):
            for k, layer in enumerate(stack):
                x = layer(x if k == 0 else thin(x, self.dropout, generator))[0]
        else:
            x = stack(x)[0]
        return self.head(thin(x[-1], self.dropout, generator))
