"""Minimal gated cells whose gates read the input only, so that their state is a linear recurrence over time.

h_t = a_t h_{t-1} + b_t is taken step by step on a CPU, one fused operation per row, and by doubling on an accelerator,
where L small operations that wait for one another would leave it idle.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from hitherto.models.aligned import Linear
from hitherto.models.layers import thin
from hitherto.models.net import Net, Space
from hitherto.train.search import Choice, Range


@dataclass(frozen=True)
class MinGRU(Net):
    """A minimal gated recurrent unit (Feng et al. 2024, arXiv 2410.01201, section 3.1) with a linear head.

    Maps windows (L, B, F) to (B, columns): z = sigmoid(Linear x), c = Linear x, h_t = (1 - z_t) h_{t-1} + z_t c_t from
    h = 0 before the first row; the head reads the last row of the top layer. hidden: state size; layers: each reads the
    states of the one below, with nothing in between (the paper's deep nets add residuals and convolutions). dropout:
    share of the states set to 0 between layers and before the head, in training.
    The candidate c is the linear map of the paper's sequential form, not the positive one of its log-space form.
    The gates never see the state: such a cell cannot track a state that its inputs flip (parity), where an LSTM can.
    """

    hidden: int = 64
    layers: int = 1
    name: str = "mingru"
    space: ClassVar[Space] = {**Net.space, "hidden": Choice((16, 32, 64, 128)), "layers": Range(1, 3, whole=True)}

    def check(self) -> None:
        """Raise a ConfigError for a setting out of range."""
        self.whole("hidden", "layers")
        super().check()

    def build(self, width: int, columns: int) -> Minimal:
        """Return the net."""
        return Minimal(2, width, self.hidden, self.layers, columns, self.dropout)


@dataclass(frozen=True)
class MinLSTM(Net):
    """A minimal long short-term memory (Feng et al. 2024, arXiv 2410.01201, section 3.2) with a linear head.

    Maps windows (L, B, F) to (B, columns): f = sigmoid(Linear x), i = sigmoid(Linear x), c = Linear x,
    h_t = f_t / (f_t + i_t) h_{t-1} + i_t / (f_t + i_t) c_t (the paper's length-independent scaling). Settings and
    limits are those of MinGRU.
    """

    hidden: int = 64
    layers: int = 1
    name: str = "minlstm"
    space: ClassVar[Space] = MinGRU.space

    def check(self) -> None:
        """Raise a ConfigError for a setting out of range."""
        self.whole("hidden", "layers")
        super().check()

    def build(self, width: int, columns: int) -> Minimal:
        """Return the net."""
        return Minimal(3, width, self.hidden, self.layers, columns, self.dropout)


class Minimal(nn.Module):
    """Layers of minGRU (``parts`` = 2) or minLSTM (3) and a linear head on the last row: x (L, B, F) -> (B, columns).

    cells[k]: one linear map for all parts of layer k, ``hidden`` rows each: update gate and candidate (minGRU); forget
    gate, input gate and candidate (minLSTM).
    """

    def __init__(self, parts: int, width: int, hidden: int, layers: int, columns: int, dropout: float) -> None:
        super().__init__()
        self.cells = nn.ModuleList(Linear(hidden if k else width, parts * hidden) for k in range(layers))
        self.head = Linear(hidden, columns)
        self.parts, self.dropout = parts, dropout

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return (B, columns)."""
        for k, cell in enumerate(self.cells):
            x = cell(x if k == 0 else thin(x, self.dropout, generator))
            x = states(x.chunk(self.parts, dim=-1))
        return self.head(thin(x[-1], self.dropout, generator))


def states(parts: tuple[Tensor, ...]) -> Tensor:
    """Return the states (L, B, H) of one layer from its linear maps (L, B, H): two are a minGRU, three a minLSTM."""
    candidate = parts[-1]
    if len(parts) == 2:
        take = parts[0].sigmoid()
    else:  # i / (f + i) from logarithms: it is a number where both gates are 0 in float32
        take = (functional.logsigmoid(parts[1]) - functional.logsigmoid(parts[0])).sigmoid()
    return scan(1 - take, take * candidate)


def scan(a: Tensor, b: Tensor) -> Tensor:
    """Return h (L, ...): h_0 = b_0, h_t = a_t h_{t-1} + b_t (a_0 is not read); by rows on a CPU, else by doubling."""
    return Rows.apply(a, b) if b.device.type == "cpu" else doubling(a, b)


class Rows(torch.autograd.Function):
    """The recurrence row by row; its adjoint is the same one backwards, g_{t-1} += a_t g_t, and da_t = g_t h_{t-1}."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        """Return h (L, ...) of a and b (L, ...)."""
        h = torch.empty_like(b, memory_format=torch.contiguous_format)
        h[0] = b[0]
        rows = list(zip(a.unbind(), b.unbind(), h.unbind(), strict=True))
        for (_, _, before), (a_t, b_t, h_t) in pairwise(rows):
            torch.addcmul(b_t, a_t, before, out=h_t)
        ctx.save_for_backward(a, h)
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the gradients to a and b of ``grads[0]``, the gradient to h."""
        a, h = ctx.saved_tensors
        g = grads[0].clone(memory_format=torch.contiguous_format)
        rows = list(zip(a.unbind(), g.unbind(), strict=True))
        for t in range(len(rows) - 1, 0, -1):
            rows[t - 1][1].addcmul_(rows[t][0], rows[t][1])
        to_a = torch.empty_like(g)
        to_a[0] = 0
        torch.mul(g[1:], h[:-1], out=to_a[1:])
        return to_a, g


def doubling(a: Tensor, b: Tensor) -> Tensor:
    """Return what ``scan`` returns in ceil(log2 L) parallel steps (Hillis & Steele 1986); its twin on an accelerator.

    After the step of width s, row t holds the recurrence over its last 2s rows. No logarithm is taken, so that b may
    have any sign; products of many a in (0, 1) fall to 0, as they should.
    """
    s = 1
    while s < len(b):
        b = torch.cat([b[:s], torch.addcmul(b[s:], a[s:], b[:-s])])
        a = torch.cat([a[:s], a[s:] * a[:-s]])
        s *= 2
    return b
