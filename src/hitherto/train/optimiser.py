"""Adam and SGD in ten lines each: torch.optim imports torch's compiler at its first use, 1.5 s in every process."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from hitherto.errors import ConfigError

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
MOMENTUM = 0.9


class AdamW:
    """Adam (Kingma & Ba 2015, algorithm 1) with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2).

    parameters: updated in place by ``step``. ``tensors``: moments and the number of steps by name, to save and restore.
    """

    def __init__(self, parameters: Sequence[Tensor], weight_decay: float) -> None:
        self.parameters = list(parameters)
        self.weight_decay = weight_decay
        self.mean = [torch.zeros_like(p) for p in self.parameters]
        self.square = [torch.zeros_like(p) for p in self.parameters]
        self.steps = torch.zeros((), dtype=torch.int64)

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], rate: float) -> None:
        """Update the parameters by ``gradients`` at learning rate ``rate``."""
        self.steps += 1
        n = int(self.steps)
        correct = math.sqrt(1 - BETA2**n)
        for p, g, m, v in zip(self.parameters, gradients, self.mean, self.square, strict=True):
            if self.weight_decay:
                p.mul_(1 - rate * self.weight_decay)
            m.lerp_(g, 1 - BETA1)
            v.mul_(BETA2).addcmul_(g, g, value=1 - BETA2)
            p.addcdiv_(m, (v.sqrt() / correct).add_(EPSILON), value=-rate / (1 - BETA1**n))

    def tensors(self) -> dict[str, Tensor]:
        """Return the state by name; these are the tensors themselves, not copies."""
        out = {"steps": self.steps}
        for i, (m, v) in enumerate(zip(self.mean, self.square, strict=True)):
            out |= {f"exp_avg/{i}": m, f"exp_avg_sq/{i}": v}
        return out


class SGD:
    """Stochastic gradient descent with momentum 0.9 (Polyak 1964) and decoupled weight decay."""

    def __init__(self, parameters: Sequence[Tensor], weight_decay: float) -> None:
        self.parameters = list(parameters)
        self.weight_decay = weight_decay
        self.velocity = [torch.zeros_like(p) for p in self.parameters]

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], rate: float) -> None:
        """Update the parameters by ``gradients`` at learning rate ``rate``."""
        for p, g, v in zip(self.parameters, gradients, self.velocity, strict=True):
            if self.weight_decay:
                p.mul_(1 - rate * self.weight_decay)
            p.sub_(v.mul_(MOMENTUM).add_(g), alpha=rate)

    def tensors(self) -> dict[str, Tensor]:
        """Return the state by name; these are the tensors themselves, not copies."""
        return {f"velocity/{i}": v for i, v in enumerate(self.velocity)}


OPTIMISERS = {"adam": AdamW, "sgd": SGD}


def make(name: str, parameters: Sequence[Tensor], weight_decay: float) -> AdamW | SGD:
    """Return the optimiser called ``name``, ConfigError for another name."""
    if name not in OPTIMISERS:
        raise ConfigError(f"train: optimiser {name!r} is not known; use one of {', '.join(OPTIMISERS)}.")
    return OPTIMISERS[name](parameters, weight_decay)


@torch.no_grad()
def clip_by_norm(gradients: Sequence[Tensor], limit: float) -> float:
    """Scale ``gradients`` in place so that their joint 2-norm is at most ``limit``; return the norm before."""
    norm = math.sqrt(sum(float(g.double().square().sum()) for g in gradients))
    if norm > limit:
        for g in gradients:
            g.mul_(limit / norm)
    return norm
