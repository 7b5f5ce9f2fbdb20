"""A small causal Transformer over the steps of a window, and the attention block that the cross-stock net shares."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn

from hitherto.errors import ConfigError
from hitherto.models.aligned import Linear
from hitherto.models.layers import thin
from hitherto.models.net import Net, Space
from hitherto.train.search import Choice

if TYPE_CHECKING:
    from hitherto.models.cross_stock import CrossStock

Over = Literal["steps", "names"]


@dataclass(frozen=True)
class Transformer(Net):
    """A causal Transformer (Vaswani et al. 2017, pre-norm as in Xiong et al. 2020) with a linear head.

    Maps windows (L, B, F) to (B, C) from the last step. hidden: width, split among ``heads``; layers: blocks of
    attention and a GELU feed-forward of ``feedforward`` units; positions are sines, counted from the last step back,
    so that a longer window names its newest rows alike. dropout thins what each block adds. A step attends to itself
    and earlier ones only. The other settings are Net's.
    """

    hidden: int = 64
    heads: int = 2
    layers: int = 2
    feedforward: int = 128
    name: str = "transformer"
    space: ClassVar[Space] = {
        **Net.space,
        "hidden": Choice((32, 64, 128)),
        "heads": Choice((1, 2, 4)),
        "layers": Choice((1, 2, 3)),
    }

    def check(self) -> None:
        """Refuse sizes below 1 and heads that do not share ``hidden`` evenly; then Net's checks."""
        self.whole("hidden", "heads", "layers", "feedforward")
        check_heads(self)
        super().check()

    def build(self, width: int, columns: int) -> nn.Module:
        """Return the net for ``width`` inputs and ``columns`` head columns."""
        return Causal(width, self.hidden, self.heads, self.layers, self.feedforward, columns, self.dropout)


def check_heads(settings: Transformer | CrossStock) -> None:
    """Raise a ConfigError unless ``hidden`` is even (sines and cosines) and splits evenly among the heads."""
    if settings.hidden % 2 or settings.hidden % settings.heads:
        raise ConfigError(
            f"{settings.name}: hidden must be even and a multiple of heads, got hidden = {settings.hidden}, "
            f"heads = {settings.heads}."
        )


class Causal(nn.Module):
    """Projection, causal blocks, head on the last step: x (L, B, F) -> (B, C).

    Only the last step is read, so the last block computes that step alone: the same numbers for less work.
    """

    def __init__(
        self, width: int, hidden: int, heads: int, layers: int, feedforward: int, columns: int, dropout: float
    ) -> None:
        super().__init__()
        self.project = nn.Linear(width, hidden)
        self.blocks = nn.ModuleList(Block(hidden, heads, feedforward, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden)
        self.head = Linear(hidden, columns)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return (B, C); with a ``generator`` (training) what the blocks add is thinned."""
        z = self.project(x)
        z = z + positions(z)
        for block in self.blocks[:-1]:
            z = block(z, generator, causal=True)
        z = self.blocks[-1](z, generator, last=True)
        return self.head(self.norm(z[-1]))


class Block(nn.Module):
    """Pre-norm attention over the steps or over the names, then a GELU feed-forward: z (L, B, H) -> (L, B, H)."""

    def __init__(self, hidden: int, heads: int, feedforward: int, dropout: float, over: Over = "steps") -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.mix = nn.Linear(hidden, 3 * hidden, bias=False)  # query, key, value: one product is faster than three
        self.out = nn.Linear(hidden, hidden)
        self.up, self.down = nn.Linear(hidden, feedforward), nn.Linear(feedforward, hidden)
        self.heads, self.dropout = heads, dropout
        self.over: Over = over

    def forward(
        self, z: Tensor, generator: torch.Generator | None, *, causal: bool = False, last: bool = False
    ) -> Tensor:
        """Return (L, B, H), or with ``last`` the last step only, (1, B, H). causal: no step attends to later ones."""
        n, H = self.before(z), z.shape[-1]
        if last:
            q, z = nn.functional.linear(n[-1:], self.mix.weight[:H]), z[-1:]
            k, v = nn.functional.linear(n, self.mix.weight[H:]).chunk(2, dim=-1)
        else:
            q, k, v = self.mix(n).chunk(3, dim=-1)
        seen = attend(q, k, v, self.heads, self.over, causal)
        z = z + thin(self.out(seen), self.dropout, generator)
        inner = nn.functional.gelu(self.up(self.between(z)))
        return z + thin(self.down(inner), self.dropout, generator)


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, over: Over = "steps", causal: bool = False) -> Tensor:
    """Return softmax(q k' / sqrt(H / heads)) v per head, of (L, B, H) tensors, over the steps or over the names."""
    axes = (1, 2, 0, 3) if over == "steps" else (0, 2, 1, 3)
    back = (2, 0, 1, 3) if over == "steps" else (0, 2, 1, 3)
    q, k, v = (z.unflatten(-1, (heads, -1)).permute(axes) for z in (q, k, v))
    return nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal).permute(back).flatten(-2)


def positions(z: Tensor) -> Tensor:
    """Return (L, 1, H) sines and cosines of the distance to the last step, at H / 2 wavelengths from 2 pi to 1e4 x."""
    L, H = z.shape[0], z.shape[-1]
    back = torch.arange(L - 1, -1, -1, dtype=z.dtype, device=z.device)[:, None]
    rate = torch.exp(torch.arange(0, H, 2, dtype=z.dtype, device=z.device) * (-math.log(1e4) / H))
    return torch.cat([torch.sin(back * rate), torch.cos(back * rate)], dim=-1)[:, None, :]
