"""Settings that every net shares, and the fitted net. A rung of the ladder adds fields, ``build`` and a module."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hitherto.errors import ConfigError
from hitherto.models.base import Context, Unit
from hitherto.models.layers import draw
from hitherto.models.targets import Target, check_neighbours, check_target, date_standardise
from hitherto.seeds import Stream
from hitherto.train import loop, losses, optimiser, schedule
from hitherto.train.pieces import predict
from hitherto.train.search import Choice, Range
from hitherto.windows import Windows

if TYPE_CHECKING:
    from hitherto.train.loop import History

Space = Mapping[str, "Range | Choice"]
BUILDING = threading.Lock()


@dataclass(frozen=True)
class Net:
    """Settings that every net shares; a subclass adds its own and ``build``.

    lookback: rows of a window. epochs, batch (samples, rounded up to whole dates), learning_rate, weight_decay, clip
    (largest gradient norm), patience (epochs without a better validation loss). loss: "mse", "mae", "huber", "ic",
    "rank", "quantile" (levels ``quantiles``) or "cross_entropy" (``classes``), see train.losses. target: what is
    forecast, per date: the label itself ("raw"), or its cross-sectional z-score or rank; predictions are in its units.
    dropout: share set to 0 in training. optimiser: "adam" or "sgd". schedule: "constant", "halving", "cosine" or
    "plateau", with ``halve_every`` epochs and ``warmup`` steps, see train.schedule. cpu_seconds: stop before the epoch
    that would pass this budget (0: none; how many epochs that is depends on the machine).
    unit: what one prediction may look at; a net of unit "date" sees all known names of one date. space: what a search
    tries. Errors: ConfigError for settings out of range.
    """

    lookback: int = 20
    epochs: int = 30
    batch: int = 1024
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    clip: float = 1.0
    patience: int = 5
    loss: str = "mse"
    target: Target = "cs_zscore"
    dropout: float = 0.0
    optimiser: str = "adam"
    schedule: str = "constant"
    halve_every: int = 10
    warmup: int = 0
    quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)
    classes: int = 3
    cpu_seconds: float = 0.0
    name: str = "net"
    unit: ClassVar[Unit] = "asset"
    space: ClassVar[Space] = {
        "learning_rate": Range(1e-4, 1e-2, log=True),
        "dropout": Range(0.0, 0.5),
        "weight_decay": Range(1e-6, 1e-1, log=True),
        "batch": Choice((512, 1024, 2048, 4096)),
    }

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Raise a ConfigError for a setting out of range."""
        self.whole("lookback")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"{self.name}: dropout must lie in [0, 1), got {self.dropout}.")
        check_target(self.target, self.name)
        try:
            losses.make(self, 1)
            schedule.check(self)
            optimiser.make(self.optimiser, [], 0.0)
        except ConfigError as error:
            raise ConfigError(str(error).replace("train:", f"{self.name}:", 1)) from None

    def whole(self, *names: str) -> None:
        """Raise a ConfigError unless these settings are at least 1."""
        for name in names:
            if getattr(self, name) < 1:
                raise ConfigError(f"{self.name}: {name} must be a whole number >= 1, got {getattr(self, name)}.")

    def build(self, width: int, columns: int) -> nn.Module:
        """Return the net that maps x (L, B, ``width``) to (B, ``columns``), called as ``net(x, generator)``."""
        raise NotImplementedError

    def make(self, width: int, columns: int, rng: Stream) -> nn.Module:
        """Return the net with its first weights drawn from ``rng``."""
        net = self._built(width, columns)
        draw(net, rng.torch("init"))
        return net

    def _built(self, width: int, columns: int) -> nn.Module:
        # torch draws first weights, which ``draw`` replaces, from its global state: one fit at a time may borrow that
        with BUILDING, torch.random.fork_rng(devices=[]):
            return self.build(width, columns)

    def fit(
        self, train: Windows, valid: Windows, *, rng: Stream, context: Context, every: loop.Every | None = None
    ) -> FittedNet:
        """Train on ``train``, stop by ``valid`` (see train.loop.fit for errors and rules); ``every``: checkpoints."""
        train, valid = self.samples(train), self.samples(valid)
        check_neighbours(self.target, train.offsets, self.name)
        net = self.make(train.width, losses.make(self, train.outputs).columns, rng)
        target = Standardised(self.target)
        history = loop.fit(net, train, valid, self, rng=rng, context=context, target=target, every=every)
        return FittedNet(self, net, train.width, train.outputs, history, context.device, context.threads)

    def samples(self, windows: Windows) -> Windows:
        """Return the windows to train on: a date net sees every known name, also one whose label never came."""
        return windows.with_(labelled=False) if self.unit == "date" and windows.label is not None else windows

    def load(self, tensors: Mapping[str, NDArray[Any]], context: Context | None = None) -> FittedNet:
        """Return the fitted model that gave ``tensors`` (its ``history`` is None); ConfigError when they do not fit."""
        context = context or Context()
        try:
            width, outputs = (int(v) for v in tensors["shape"])
            net = self._built(width, losses.make(self, outputs).columns)
            net.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in tensors.items() if k != "shape"})
        except (KeyError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[-1].strip()
            raise ConfigError(f"{self.name}: these weights are of other settings ({reason}).") from error
        return FittedNet(self, net.to(context.device), width, outputs, None, context.device, context.threads)


@dataclass(frozen=True)
class Standardised:
    """The target of the loop: labels standardised within each date; its repr is part of a checkpoint's identity."""

    kind: Target

    def __call__(self, y: NDArray[np.float32], blocks: NDArray[np.int64]) -> NDArray[Any]:
        """Return (B, O) targets of labels ``y`` (B, O), dates at ``blocks`` (D + 1,)."""
        return date_standardise(y, blocks, self.kind)


@dataclass(frozen=True, eq=False)
class FittedNet:
    """A fitted net: settings, net, inputs ``width``, ``outputs``, training history (None when loaded from weights)."""

    settings: Net
    net: nn.Module
    width: int
    outputs: int
    history: History | None
    device: str = "cpu"
    threads: int = 1

    def predict(self, windows: Windows) -> NDArray[np.float64]:
        """Return (S, O) float64 in the units of the target, in the order of ``windows.index``; never NaN."""
        decode = losses.make(self.settings, self.outputs).decode
        return decode(torch.from_numpy(self.predict_raw(windows))).numpy()

    def predict_raw(self, windows: Windows) -> NDArray[np.float64]:
        """Return (S, C) float64: the columns of the head, whatever the loss makes of them."""
        if windows.width != self.width:
            raise ConfigError(f"{self.settings.name}: fitted on {self.width} inputs, got windows of {windows.width}.")
        out = predict(self.net, windows, device=self.device, threads=self.threads, unit=self.settings.unit)
        return out if len(out) else np.zeros((0, losses.make(self.settings, self.outputs).columns))

    def predict_quantiles(self, windows: Windows) -> NDArray[np.float64]:
        """Return (S, O, Q) float64 quantiles of a net trained with loss "quantile", rising along Q.

        Levels that cross are sorted, which never makes them worse (Chernozhukov, Fernandez-Val & Galichon 2010).
        """
        if self.settings.loss != "quantile":
            raise ConfigError(f"{self.settings.name}: was trained with loss '{self.settings.loss}', not 'quantile'.")
        raw = self.predict_raw(windows)
        return np.sort(raw.reshape(len(raw), self.outputs, len(self.settings.quantiles)), axis=2)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return float32 weights by torch's names, copies, and "shape": int64 (inputs, outputs)."""
        weights = {k: v.detach().cpu().numpy().copy() for k, v in self.net.state_dict().items()}
        return {**weights, "shape": np.array([self.width, self.outputs])}
