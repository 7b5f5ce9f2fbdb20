"""What several nets share: dropout from a given generator, and the drawing of first weights."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn


def thin(x: Tensor, share: float, generator: torch.Generator | None) -> Tensor:
    """Return ``x`` with a ``share`` of its entries set to 0 and the rest scaled up (inverted dropout).

    Without a generator (prediction) or at share 0 it is ``x``. The mask is drawn on the CPU, so that a net draws the
    same one on every device (Srivastava et al. 2014).
    """
    if generator is None or share == 0:
        return x
    kept = torch.rand(x.shape, generator=generator) >= share
    return x * kept.to(x) / (1 - share)


@torch.no_grad()
def draw(net: nn.Module, generator: torch.Generator) -> None:
    """Draw every parameter of ``net`` afresh, module by module in the order of their names.

    Linear and Conv1d: uniform within 1/sqrt(inputs); recurrent cells: within 1/sqrt(hidden) (torch's own bounds);
    LayerNorm: scale 1, shift 0. A module with ``reset(generator)`` draws itself and all below it; one with parameters
    of its own and no ``reset`` is a TypeError, for its weights would stay whatever torch's global state gave.
    """
    reset: Callable[[torch.Generator], None] | None = getattr(net, "reset", None)
    own = list(net.parameters(recurse=False))
    if reset is not None:
        reset(generator)
        return
    if isinstance(net, nn.LayerNorm):
        for name, p in net.named_parameters(recurse=False):
            p.fill_(1.0 if name == "weight" else 0.0)
    elif isinstance(net, nn.Linear | nn.Conv1d | nn.RNNBase):
        inputs = net.hidden_size if isinstance(net, nn.RNNBase) else net.weight[0].numel()
        for _, p in sorted(net.named_parameters(recurse=False)):
            p.uniform_(-1 / math.sqrt(inputs), 1 / math.sqrt(inputs), generator=generator)
    elif own:
        raise TypeError(f"{type(net).__name__} holds parameters of its own: give it reset(generator)")
    for child in net.children():
        draw(child, generator)
