"""A convolution in front of an LSTM and dense layers behind it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from hitherto.errors import ConfigError
from hitherto.models.aligned import Linear
from hitherto.models.layers import thin
from hitherto.models.net import Net, Space
from hitherto.train.search import Choice, Range


@dataclass(frozen=True)
class ConvLSTM(Net):
    """A causal convolution over the window, an LSTM on its output, dense layers on the last hidden state.

    Maps windows (L, B, F) to (B, O). channels, kernel: of the convolution, padded with zeros on the past side only, so
    that its step t reads rows t - kernel + 1 .. t of the window; hidden: size of the LSTM's one layer; dense: sizes of
    the layers behind it (ReLU between them), () for none. dropout acts on the convolution's output and between the
    layers behind. In the manner of CNN-LSTM (Sainath et al. 2015), with one causal convolution over time instead of
    two over frequency. The other settings are those of every net, see models.net.Net.
    """

    channels: int = 32
    kernel: int = 3
    hidden: int = 64
    dense: tuple[int, ...] = (32,)
    name: str = "conv_lstm"
    space: ClassVar[Space] = {
        **Net.space, "channels": Choice((16, 32, 64)), "kernel": Range(2, 5, whole=True), "hidden": Choice((32, 64)),
    }  # fmt: skip

    def check(self) -> None:
        """Raise a ConfigError for a setting out of range."""
        self.whole("channels", "kernel", "hidden")
        if any(size < 1 for size in self.dense):
            raise ConfigError(f"{self.name}: dense must hold whole numbers >= 1, got {list(self.dense)}.")
        super().check()

    def build(self, width: int, columns: int) -> nn.Module:
        """Return the net."""
        return ConvThenLSTM(width, columns, self)


class ConvThenLSTM(nn.Module):
    """x (L, B, F) -> convolution over L -> LSTM -> dense layers -> (B, C)."""

    def __init__(self, width: int, columns: int, s: ConvLSTM) -> None:
        super().__init__()
        self.dropout = s.dropout
        self.reads = {"conv": s.kernel * width, "lstm": s.hidden}  # inputs of each part's units
        self.reads |= {f"dense.{k}": size for k, size in enumerate((s.hidden, *s.dense))}
        # One matrix per lag: the convolution is then a plain sum of time-major products, without any transpose.
        self.conv = nn.ModuleList([Linear(width, s.channels, bias=lag == 0) for lag in range(s.kernel)])
        self.lstm = nn.LSTM(s.channels, s.hidden)
        self.dense = nn.ModuleList([Linear(a, b) for a, b in pairwise((s.hidden, *s.dense, columns))])

    @torch.no_grad()
    def reset(self, generator: torch.Generator) -> None:
        """Draw every weight uniformly within 1/sqrt(inputs) of its layer, the convolution's lags taken together."""
        for name, p in sorted(self.named_parameters()):
            inputs = next(size for part, size in self.reads.items() if name.startswith(part))
            p.uniform_(-1 / math.sqrt(inputs), 1 / math.sqrt(inputs), generator=generator)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return (B, C)."""
        out = self.conv[0](x)
        for lag, layer in enumerate(list(self.conv)[1 : len(x)], start=1):
            out = out + functional.pad(layer(x[:-lag]), (0, 0, 0, 0, lag, 0))
        h = thin(self.lstm(thin(functional.relu(out), self.dropout, generator))[0][-1], self.dropout, generator)
        for k, layer in enumerate(self.dense):
            h = layer(h if k == 0 else thin(functional.relu(h), self.dropout, generator))
        return h
