"""Recurrent forecasters on torch's own cells. Settings are one frozen dataclass; the loop is train.loop.fit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hitherto.errors import ConfigError
from hitherto.models.base import Context, Unit
from hitherto.models.targets import Target, check_target, date_standardise
from hitherto.seeds import Stream
from hitherto.train import loop
from hitherto.train.pieces import predict
from hitherto.windows import Windows

if TYPE_CHECKING:
    from hitherto.train.loop import History


@dataclass(frozen=True)
class LSTM:
    """A long short-term memory network (Hochreiter & Schmidhuber 1997; torch.nn.LSTM) with a linear head.

    Maps windows (L, B, F) to (B, O). hidden: cell size; layers: stacked cells; lookback: rows of a window; dropout:
    share of the last hidden state set to 0 in training; epochs, batch (samples, rounded up to whole dates),
    learning_rate, weight_decay, clip (largest gradient norm), patience (epochs without a better validation loss),
    loss ("mse" or "mae"). target: what is forecast, per date: the label itself ("raw"), or its cross-sectional z-score
    or rank; predictions are in its units. forget_bias: added to the forget gates' bias at the start (Jozefowicz et al.
    2015).
    """

    hidden: int = 64
    layers: int = 1
    lookback: int = 20
    dropout: float = 0.0
    epochs: int = 30
    batch: int = 1024
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    clip: float = 1.0
    patience: int = 5
    loss: str = "mse"
    target: Target = "cs_zscore"
    forget_bias: float = 0.0
    name: str = "lstm"
    unit: Unit = "asset"

    def __post_init__(self) -> None:
        for name in ("hidden", "layers", "lookback"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{self.name}: {name} must be a whole number >= 1, got {getattr(self, name)}.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"{self.name}: dropout must lie in [0, 1), got {self.dropout}.")
        check_target(self.target, self.name)

    def fit(
        self, train: Windows, valid: Windows, *, rng: Stream, context: Context, every: loop.Every | None = None
    ) -> FittedLSTM:
        """Train on ``train``, stop by ``valid`` (see train.loop.fit for errors and rules); ``every``: checkpoints."""
        net = LastStep(train.width, self.hidden, self.layers, train.outputs, self.dropout)
        net.draw(rng.torch("init"), self.forget_bias)
        target = Standardised(self.target)
        history = loop.fit(net, train, valid, self, rng=rng, context=context, target=target, every=every)
        return FittedLSTM(self, net, history, context.device, context.threads)

    def load(self, tensors: Mapping[str, NDArray[Any]], context: Context | None = None) -> FittedLSTM:
        """Return the fitted model that gave ``tensors`` (its ``history`` is None); ConfigError when they do not fit."""
        context = context or Context()
        try:
            width, outputs = tensors["lstm.weight_ih_l0"].shape[1], tensors["head.weight"].shape[0]
            net = LastStep(width, self.hidden, self.layers, outputs, self.dropout)
            net.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in tensors.items()})
        except (KeyError, RuntimeError) as error:
            reason = str(error).splitlines()[-1].strip()
            raise ConfigError(f"{self.name}: these weights are of other settings ({reason}).") from error
        return FittedLSTM(self, net.to(context.device), None, context.device, context.threads)


@dataclass(frozen=True)
class Standardised:
    """The target of the loop: labels standardised within each date; its repr is part of a checkpoint's identity."""

    kind: Target

    def __call__(self, y: NDArray[np.float32], blocks: NDArray[np.int64]) -> NDArray[Any]:
        """Return (B, O) targets of labels ``y`` (B, O), dates at ``blocks`` (D + 1,)."""
        return date_standardise(y, blocks, self.kind)


@dataclass(frozen=True, eq=False)
class FittedLSTM:
    """A fitted LSTM: settings, net, training history (None when loaded from weights)."""

    settings: LSTM
    net: LastStep
    history: History | None
    device: str = "cpu"
    threads: int = 1

    def predict(self, windows: Windows) -> NDArray[np.float64]:
        """Return (S, O) float64 in the units of the target, in the order of ``windows.index``; never NaN."""
        if windows.width != self.net.width:
            raise ConfigError(
                f"{self.settings.name}: fitted on {self.net.width} inputs, got windows of {windows.width}."
            )
        return predict(self.net, windows, device=self.device, threads=self.threads)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return float32 weights by torch's names (lstm.weight_ih_l0 ..., head.weight, head.bias), copies."""
        return {k: v.detach().cpu().numpy().copy() for k, v in self.net.state_dict().items()}


class LastStep(nn.Module):
    """LSTM, then a linear head on the last step's hidden state: x (L, B, F) -> (B, O)."""

    def __init__(self, width: int, hidden: int, layers: int, outputs: int, dropout: float) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):  # torch draws weights, which ``draw`` replaces, from its global state
            self.lstm = nn.LSTM(width, hidden, layers)
            self.head = nn.Linear(hidden, outputs)
        self.width, self.hidden, self.dropout = width, hidden, dropout

    @torch.no_grad()
    def draw(self, generator: torch.Generator, forget_bias: float) -> None:
        """Draw every weight uniformly in +-1/sqrt(hidden), in the order of their names (torch's own bounds)."""
        bound = 1 / math.sqrt(self.hidden)
        for _, p in sorted(self.named_parameters()):
            p.uniform_(-bound, bound, generator=generator)
        for name, p in self.lstm.named_parameters():
            if name.startswith("bias_ih"):  # gate order i, f, g, o
                p[self.hidden : 2 * self.hidden] += forget_bias

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return (B, O); with a ``generator`` (training) the last hidden state is thinned by inverted dropout."""
        last = self.lstm(x)[0][-1]
        if generator is not None and self.dropout > 0:
            kept = torch.rand(last.shape, generator=generator) >= self.dropout
            last = last * kept.to(last) / (1 - self.dropout)
        return self.head(last)
