"""A multi-layer perceptron on the flattened window: the first rung that can bend, and the last without a memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from hitherto.errors import ConfigError
from hitherto.models.aligned import Linear
from hitherto.models.layers import thin
from hitherto.models.net import Net, Space
from hitherto.train.search import Choice

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {"gelu": functional.gelu, "relu": functional.relu}


@dataclass(frozen=True)
class MLP(Net):
    """A multi-layer perceptron (Rumelhart et al. 1986) on the last ``lookback`` rows of a window, flattened.

    Maps windows (L, B, F) to (B, columns). hidden: sizes of the hidden layers, the first reads lookback x F numbers;
    activation: "gelu" (Hendrycks & Gimpel 2016) or "relu" after each; dropout: share of each hidden layer set to 0 in
    training. No normalisation of batches: a sample never meets its neighbours. The other settings are those of every
    net, see models.net.Net; weight_decay matters more here than for recurrent nets.
    """

    hidden: tuple[int, ...] = (256, 64)
    activation: str = "gelu"
    name: str = "mlp"
    space: ClassVar[Space] = {**Net.space, "hidden": Choice(((64,), (256,), (128, 32), (256, 64), (256, 128, 64)))}

    def check(self) -> None:
        """Raise a ConfigError for a setting out of range."""
        sizes = self.hidden
        if not isinstance(sizes, tuple) or not sizes or not all(type(h) is int and h >= 1 for h in sizes):
            raise ConfigError(f"{self.name}: hidden must be one or more whole numbers >= 1, got {sizes!r}.")
        if self.activation not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise ConfigError(f"{self.name}: activation must be one of {known}, got {self.activation!r}.")
        super().check()

    def build(self, width: int, columns: int) -> Perceptron:
        """Return the net."""
        return Perceptron(self.lookback, width, self.hidden, columns, self.activation, self.dropout)


class Perceptron(nn.Module):
    """Linear maps with an activation between them: x (L, B, F), L >= lookback -> (B, columns)."""

    def __init__(
        self, lookback: int, width: int, hidden: tuple[int, ...], columns: int, activation: str, dropout: float
    ) -> None:
        super().__init__()
        sizes = (lookback * width, *hidden)
        self.maps = nn.ModuleList(Linear(a, b) for a, b in zip(sizes, hidden, strict=False))
        self.head = Linear(hidden[-1], columns)
        self.lookback, self.activation, self.dropout = lookback, ACTIVATIONS[activation], dropout

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return (B, columns)."""
        h = x[-self.lookback :].transpose(0, 1).flatten(1)
        for layer in self.maps:
            h = thin(self.activation(layer(h)), self.dropout, generator)
        return self.head(h)
