"""The plain recurrent net and the gated recurrent unit, on torch's own cells, with the stack and head of the LSTM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hitherto.models.net import Net, Space
from hitherto.models.recurrent import LSTM, LastStep


@dataclass(frozen=True)
class RNN(Net):
    """A plain recurrent net (Elman 1990; torch.nn.RNN with tanh) with a linear head.

    Maps windows (L, B, F) to (B, columns): h_t = tanh(W x_t + U h_{t-1} + biases) from h = 0 before the first row; the
    head reads the last row of the top layer. hidden: state size; layers: stacked cells. dropout: share of the states
    set to 0 between layers and before the head, in training. The other settings are those of every net, see
    models.net.Net. What it remembers fades or explodes with the powers of U: ``clip`` matters more than for gated nets.
    On the CSI 300 of 2019-2024 its daily RankIC could not be told from ridge's (docs/ladder.md).
    """

    hidden: int = 64
    layers: int = 1
    name: str = "rnn"
    space: ClassVar[Space] = LSTM.space

    def check(self) -> None:
        """Raise a ConfigError for a setting out of range."""
        self.whole("hidden", "layers")
        super().check()

    def build(self, width: int, columns: int) -> LastStep:
        """Return the net."""
        return LastStep("rnn", width, self.hidden, self.layers, columns, self.dropout)


@dataclass(frozen=True)
class GRU(Net):
    """A gated recurrent unit (Cho et al. 2014; torch.nn.GRU) with a linear head.

    Maps windows (L, B, F) to (B, columns): r, z = sigmoid of linear maps of x_t and h_{t-1};
    n = tanh(W x_t + b + r * (U h_{t-1} + c)); h_t = (1 - z) n + z h_{t-1} (torch's form: the reset gate acts after the
    map U). hidden, layers, dropout: as in RNN. The other settings are those of every net, see models.net.Net.
    """

    hidden: int = 64
    layers: int = 1
    name: str = "gru"
    space: ClassVar[Space] = LSTM.space

    def check(self) -> None:
        """Raise a ConfigError for a setting out of range."""
        self.whole("hidden", "layers")
        super().check()

    def build(self, width: int, columns: int) -> LastStep:
        """Return the net."""
        return LastStep("gru", width, self.hidden, self.layers, columns, self.dropout)
