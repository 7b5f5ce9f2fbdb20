"""Linear maps of a window by gradient descent: NLinear and DLinear, the rungs that most forecasting nets lose to.

Their weights start at 0: a linear map has no symmetry to break, and the weak signal of returns would have to grow out
of the noise of random ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from hitherto.errors import ConfigError
from hitherto.models.aligned import Linear
from hitherto.models.net import Net, Space
from hitherto.train.search import Choice


@dataclass(frozen=True)
class NLinear(Net):
    """A linear map of the window's differences from its last row, and of the last row (after Zeng et al. 2023).

    Maps windows x (L, B, F) to (B, columns): y = W vec(x - x_last) + V x_last + b, over the last ``lookback`` >= 2
    rows; the last row's own difference is 0 and has no weight. The paper (arXiv 2205.13504) continues each input
    series by one linear map over time and adds the last value back; here the output is no input, so every feature of
    every row has a weight for every output, and V takes the place of adding back.
    The forecasts it can express are those of a ridge on the same rows; what differs is how they are found: a loss of
    choice, gradient steps and early stopping. The other settings are those of every net, see models.net.Net; dropout is
    not used and must be 0.
    On the CSI 300 of 2019-2024 its daily RankIC could not be told from ridge's (docs/ladder.md).
    """

    name: str = "nlinear"
    space: ClassVar[Space] = {k: v for k, v in Net.space.items() if k != "dropout"}

    def check(self) -> None:
        """Raise a ConfigError for a setting out of range."""
        super().check()
        check_linear(self)

    def build(self, width: int, columns: int) -> FromLast:
        """Return the net."""
        return FromLast(self.lookback, width, columns)


@dataclass(frozen=True)
class DLinear(Net):
    """Two linear maps, of the window's moving average and of the remainder (after Zeng et al. 2023).

    Maps windows x (L, B, F) to (B, columns): y = W vec(trend) + V vec(x - trend) + b, over the last ``lookback`` >= 2
    rows. trend_t: the mean of rows t-kernel+1..t of the same window, of fewer rows at its start (2 <= kernel; rows
    outside the window are never read). The first remainder is 0 and has no weight. The paper (arXiv 2205.13504) centres
    the average, repeats the window's end rows to fill its edges, and continues each input series; here the average
    looks back only, nothing is repeated, and every feature of every row has a weight for every output.
    The forecasts it can express are those of a ridge on the same rows (see NLinear), with more weights for the same
    map. The other settings are those of every net, see models.net.Net; dropout is not used and must be 0.
    On the CSI 300 of 2019-2024 its daily RankIC could not be told from ridge's (docs/ladder.md).
    """

    kernel: int = 5
    name: str = "dlinear"
    space: ClassVar[Space] = {**NLinear.space, "kernel": Choice((3, 5, 10))}

    def check(self) -> None:
        """Raise a ConfigError for a setting out of range."""
        super().check()
        check_linear(self)
        if type(self.kernel) is not int or self.kernel < 2:
            raise ConfigError(f"{self.name}: kernel must be a whole number >= 2, got {self.kernel}.")

    def build(self, width: int, columns: int) -> Decomposed:
        """Return the net."""
        return Decomposed(self.lookback, width, columns, self.kernel)


def check_linear(settings: Net) -> None:
    """Raise a ConfigError for what a linear map of a window cannot have: a window of one row, or dropout."""
    if settings.lookback < 2:
        raise ConfigError(f"{settings.name}: lookback must be a whole number >= 2, got {settings.lookback}.")
    if settings.dropout:
        raise ConfigError(f"{settings.name}: dropout must be 0 (there is no hidden layer), got {settings.dropout}.")


class FromLast(nn.Module):
    """y = W vec(x - x_last) + V x_last + b: x (L, B, F), L >= lookback -> (B, columns)."""

    def __init__(self, lookback: int, width: int, columns: int) -> None:
        super().__init__()
        self.past = Linear((lookback - 1) * width, columns, bias=False)
        self.last = Linear(width, columns)
        self.lookback = lookback

    def reset(self, generator: torch.Generator) -> None:
        """Set every weight to 0 (see the module); nothing is drawn."""
        set_to_zero(self)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return (B, columns); ``generator`` is not used."""
        past = x[-self.lookback : -1] - x[-1]
        return self.past(past.transpose(0, 1).flatten(1)) + self.last(x[-1])


class Decomposed(nn.Module):
    """y = W vec(trend) + V vec(x - trend) + b: x (L, B, F), L >= lookback -> (B, columns).

    ``average`` (lookback, lookback) holds the weights of the moving average; it is no parameter and is not saved.
    """

    average: Tensor

    def __init__(self, lookback: int, width: int, columns: int, kernel: int) -> None:
        super().__init__()
        self.trend = Linear(lookback * width, columns)
        self.rest = Linear((lookback - 1) * width, columns, bias=False)
        self.register_buffer("average", moving_average(lookback, kernel), persistent=False)
        self.lookback = lookback

    def reset(self, generator: torch.Generator) -> None:
        """Set every weight to 0 (see the module); nothing is drawn."""
        set_to_zero(self)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return (B, columns); ``generator`` is not used."""
        x = x[-self.lookback :]
        trend = (self.average @ x.flatten(1)).view_as(x)
        rest = (x - trend)[1:]
        return self.trend(trend.transpose(0, 1).flatten(1)) + self.rest(rest.transpose(0, 1).flatten(1))


@torch.no_grad()
def set_to_zero(net: nn.Module) -> None:
    """Set every parameter of ``net`` to 0."""
    for p in net.parameters():
        p.zero_()


def moving_average(rows: int, kernel: int) -> Tensor:
    """Return (rows, rows) float32: row t averages rows max(0, t - kernel + 1)..t of a window."""
    band = torch.ones(rows, rows).tril().triu(1 - kernel)
    return band / band.sum(1, keepdim=True)
