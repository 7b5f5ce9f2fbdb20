"""Losses: what a net is trained for, how many columns its head needs, and how a forecast is read off them.

A loss sums over samples, or over dates when it couples the names of a date; it never couples two dates. An unknown
(NaN) target takes no part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from hitherto.errors import ConfigError
from hitherto.train.settings import TrainSettings

NAMES = ("mse", "mae", "huber", "ic", "rank", "quantile", "cross_entropy")
SPREAD = math.sqrt(12)  # a rank in (0, 1) less 1/2, times this, has deviation 1: the units of target = "cs_rank"


@dataclass(frozen=True)
class Loss:
    """One loss. ``outputs`` O are forecast from ``columns`` C = O x ``each`` head columns, output by output.

    "mse", "mae", "huber" (quadratic within 1, Huber 1964): mean over samples and outputs.
    "ic": per date 1 - Pearson correlation of forecast and target; "rank": per date the mean logistic loss over all
    pairs of names with different targets (RankNet, Burges et al. 2005); means over dates and outputs.
    "quantile": mean pinball loss over the levels (Koenker & Bassett 1978); the forecast is the level nearest to 1/2.
    "cross_entropy": integer classes of the date's ranks, equally many names each (target "cs_rank"), or fall and rise
    (target "raw", 2 classes); the forecast is the expected class, in the units of the target's rank.
    """

    name: str
    outputs: int
    levels: tuple[float, ...] = ()
    classes: int = 0
    ranked: bool = True

    @property
    def each(self) -> int:
        """Head columns per output."""
        return len(self.levels) if self.name == "quantile" else self.classes if self.name == "cross_entropy" else 1

    @property
    def columns(self) -> int:
        """Head columns C."""
        return self.outputs * self.each

    @property
    def per(self) -> Literal["sample", "date"]:
        """What the loss is a mean over: a "date" loss needs all names of a date at once."""
        return "date" if self.name in _BY_DATE else "sample"

    def __call__(self, p: Tensor, y: Tensor, blocks: NDArray[np.integer]) -> Tensor:
        """Return the summed loss of p (B, C) against y (B, O), a scalar; ``blocks``: (D + 1,) offsets of the dates."""
        if self.per == "date":
            each = _BY_DATE[self.name]
            parts = [
                each(p[a:b, o][known], y[a:b, o][known])
                for a, b in zip(blocks[:-1].tolist(), blocks[1:].tolist(), strict=True)
                for o in range(self.outputs)
                for known in [~torch.isnan(y[a:b, o])]
                if _spread(y[a:b, o][known])
            ]
            return torch.stack(parts).sum() if parts else p.sum() * 0.0
        if self.name == "cross_entropy":
            logits = p.reshape(len(p), self.outputs, self.classes).flatten(0, 1)
            return functional.cross_entropy(logits, self.classify(y).flatten(), reduction="sum", ignore_index=-1)
        known = ~torch.isnan(y)
        if self.name == "quantile":
            p = p.reshape(len(p), self.outputs, len(self.levels))
            return self._pinball(p[known], y[known]).sum() / len(self.levels)
        if bool(known.all()):
            return _BY_SAMPLE[self.name](p, y)
        return _BY_SAMPLE[self.name](p[known], y[known])

    def count(self, y: Tensor, blocks: NDArray[np.integer]) -> int:
        """Return over how many samples or dates, times outputs, the sum runs: what it is divided by."""
        if self.per == "sample":
            return int((~torch.isnan(y)).sum())
        spans = list(zip(blocks[:-1].tolist(), blocks[1:].tolist(), strict=True))
        return sum(_spread(v[~torch.isnan(v)]) for a, b in spans for v in y[a:b].T)

    def classify(self, y: Tensor) -> Tensor:
        """Return (B, O) int64 classes of the targets, -1 where unknown."""
        known = ~torch.isnan(y)
        share = torch.where(known, y, 0.0) / SPREAD + 0.5 if self.ranked else (torch.where(known, y, 0.0) > 0) * 0.5
        inside = (share * self.classes).long().clamp(0, self.classes - 1)
        return torch.where(known, inside, -1)

    def decode(self, p: Tensor) -> Tensor:
        """Return the forecast (B, O) that head columns ``p`` (B, C) stand for."""
        if self.each == 1:
            return p
        p = p.reshape(len(p), self.outputs, self.each)
        if self.name == "quantile":
            return p[..., int(np.argmin(np.abs(np.array(self.levels) - 0.5)))]
        centres = SPREAD * ((torch.arange(self.classes, device=p.device) + 0.5) / self.classes - 0.5)
        return (p.softmax(-1) * centres.to(p)).sum(-1)

    def _pinball(self, p: Tensor, y: Tensor) -> Tensor:
        e = y[..., None] - p
        levels = torch.tensor(self.levels, dtype=p.dtype, device=p.device)
        return torch.maximum(levels * e, (levels - 1) * e)


def make(settings: TrainSettings, outputs: int) -> Loss:
    """Return the loss that ``settings`` ask for; ConfigError for an unknown name or levels and classes out of range."""
    name = settings.loss
    if name not in NAMES:
        raise ConfigError(f"train: loss {name!r} is not known; use one of {', '.join(NAMES)}.")
    if name == "quantile":
        levels = tuple(settings.quantiles)
        if not levels or any(not 0 < q < 1 for q in levels) or list(levels) != sorted(set(levels)):
            raise ConfigError(f"train: quantiles must rise within (0, 1), got {list(levels)}.")
        return Loss(name, outputs, levels=levels)
    if name == "cross_entropy":
        ranked = settings.target == "cs_rank"
        if settings.classes < 2 or not (ranked or (settings.target == "raw" and settings.classes == 2)):
            raise ConfigError(
                "train: cross_entropy wants target = 'cs_rank' with classes >= 2 (equal shares of a date), or target = "
                f"'raw' with classes = 2 (fall, rise); got '{settings.target}' with {settings.classes}."
            )
        return Loss(name, outputs, classes=settings.classes, ranked=ranked)
    return Loss(name, outputs)


def _spread(y: Tensor) -> bool:
    return len(y) > 1 and bool(y.max() > y.min())


def _one_minus_correlation(p: Tensor, y: Tensor) -> Tensor:
    p, y = p - p.mean(), y - y.mean()
    # the small number keeps the gradient finite while the forecasts of a date are all alike
    return 1.0 - (p * y).sum() / ((p.square().sum() + 1e-12).sqrt() * y.square().sum().sqrt())


def _pairs(p: Tensor, y: Tensor) -> Tensor:
    above = y[:, None] > y[None, :]
    return functional.softplus(p[None, :] - p[:, None])[above].mean()


_BY_DATE: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {"ic": _one_minus_correlation, "rank": _pairs}
_BY_SAMPLE: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": lambda p, y: (p - y).square().sum(),
    "mae": lambda p, y: (p - y).abs().sum(),
    "huber": lambda p, y: functional.huber_loss(p, y, reduction="sum"),
}
