"""A torch module on one batch of steps: its numbers, its gradients, and the layer that lets in what it should not.

Every call is made on a fresh copy with the same random draws, so that two calls differ by their inputs only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from hitherto.audit.modules import ModulePlan, copied, same_draws
from hitherto.audit.probes.locating import Kept, Watch, first
from hitherto.panel import Panel

if TYPE_CHECKING:
    import torch
    from torch import nn

MOST_STEPS = 384  # steps of one call, unless the module only takes another number
JITTER = 0.05  # of an input's deviation, added: where nothing varies gradients are often NaN
# What float arithmetic alone may leave, of the largest gradient and of an output's scale: transforms of Fourier's kind
# leave some 1e-16 (float64) behind where the exact value is 0. A leak below it is lost in a float32 net's own rounding.
FLOOR = {"float64": (1e-12, 1e-9), "float32": (1e-6, 1e-5)}


@dataclass
class Experiment:
    """One module in one mode on one batch x (B, T, F): every call on a fresh copy, with the same random draws."""

    module: nn.Module
    call: Callable[[nn.Module, torch.Tensor], torch.Tensor]
    x: torch.Tensor
    name: str
    weights: torch.Tensor = field(init=False)
    base: torch.Tensor = field(init=False)
    steady: bool = field(init=False)  # else numbers differ between equal calls, and only gradients say something

    def __post_init__(self) -> None:
        import torch

        self.base = self.run(self.x)
        self.steady = not bool(self.dirty(self.run(self.x)).any())
        g = torch.Generator().manual_seed(20_011)
        self.weights = torch.randn(self.base.shape, generator=g, dtype=torch.float64).to(self.base.dtype)

    def run(self, x: torch.Tensor, watch: Watch | None = None) -> torch.Tensor:
        """Return the outputs (B, T, K), without gradients."""
        import torch

        module = copied(self.module, self.name)
        with torch.no_grad(), same_draws():
            out = (
                self.call(module, x.clone()) if watch is None else watch.run(module, lambda m: self.call(m, x.clone()))
            )
        return out.to(x.dtype)

    def gradient(self, weights: torch.Tensor) -> torch.Tensor | None:
        """Return d sum(weights * outputs) / d x; None when the outputs carry no gradient."""
        import torch

        leaf = self.x.clone().requires_grad_(True)
        with torch.enable_grad(), same_draws():
            out = self.call(copied(self.module, self.name), leaf * 1.0)
            if not out.requires_grad:
                return None
            (g,) = torch.autograd.grad((out * weights).sum(), leaf, allow_unused=True)
        return g

    @property
    def limits(self) -> tuple[float, float]:
        """(of the largest gradient, of an output's scale) that rounding may leave."""
        return FLOOR[str(self.x.dtype).removeprefix("torch.")]

    def dirty(self, new: torch.Tensor) -> torch.Tensor:
        """(B, T) bool: steps at which an output moved."""
        import torch

        if new.shape != self.base.shape:
            return torch.ones(self.base.shape[:2], dtype=torch.bool)
        known = torch.nan_to_num(self.base, posinf=0.0, neginf=0.0).flatten(0, 1)
        scale = torch.maximum(known.std(0, correction=0), 1e-6 * known.abs().amax(0)).clamp_min(1e-30)
        gap = (new - self.base).abs() > self.limits[1] * scale
        return (gap | (torch.isnan(new) != torch.isnan(self.base))).any(-1)


def experiment(
    plan: ModulePlan, panel: Panel, *, evaluating: bool, listings: int, draw: np.random.Generator
) -> tuple[Experiment, int, np.ndarray]:
    """Return the module on the last steps of some listings, the first of those rows, and the listings' columns.

    float64 and a number of steps that is no layer's width where the module takes them, else float32 and all rows.
    """
    import torch

    inputs = plan.inputs(panel)
    filled = (inputs != 0).any(axis=2).sum(axis=1) + draw.random(len(inputs))
    most = len(inputs) if plan.unit == "date" else listings  # a date module may insist on its cross-section
    chosen = np.sort(np.argsort(-filled, kind="stable")[:most])
    inputs = inputs + np.float32(JITTER) * draw.standard_normal(inputs.shape, np.float32)
    T = panel.shape[0]
    # A step count that no weight has: an axis of that length can only be time.
    module = plan.fresh(evaluating=evaluating)
    sizes = {s for t in [*module.parameters(), *module.buffers()] for s in t.shape} | {len(chosen), inputs.shape[2]}
    few = next((n for n in range(min(T, MOST_STEPS), 1, -1) if n not in sizes), T)
    error: Exception | None = None
    for rows in dict.fromkeys((few, T)):
        for dtype in (torch.float64, torch.float32):
            x = torch.from_numpy(np.ascontiguousarray(inputs[chosen, T - rows :])).to(dtype)
            try:
                return Experiment(copied(module, plan.name).to(dtype), plan.steps, x, plan.name), T - rows, chosen
            except Exception as e:  # noqa: BLE001  a module may insist on float32 or on its own number of steps
                error = e
    assert error is not None
    raise error


def rewritten(x: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """Return x (B, T, F) with fresh standard normal numbers where ``where`` (B, T) says so."""
    import torch

    g = torch.Generator().manual_seed(7_919)
    return torch.where(where[..., None], torch.randn(x.shape, generator=g, dtype=torch.float64).to(x.dtype), x)


@dataclass(frozen=True, eq=False)
class Place:
    """Where something enters: path, layer, the torch function of its own code, the layers in it that do not tell."""

    path: str
    layer: nn.Module
    op: str = ""
    hidden: tuple[nn.Module, ...] = ()

    def __str__(self) -> str:
        kind = type(self.layer).__name__
        foreign = not type(self.layer).__module__.startswith("torch.nn")
        return f"{kind} ({self.op})" if self.op and foreign else kind


def located(test: Experiment, other: torch.Tensor, kept: Kept) -> Place:
    """Return where ``other`` inputs enter what must be equal; the whole module where it bears no hooks."""
    kept.taken = frozenset(s for p in test.module.parameters() for s in p.shape)

    def watched(inside: str | None) -> tuple[Watch, Watch]:
        before, after = Watch(kept, inside), Watch(kept, inside)
        test.run(test.x, before)
        test.run(other, after)
        return before, after

    try:
        before, after = watched(None)
        path = first(before.calls, after.calls, test.limits[1])
        own = watched(path)
    except Exception:  # noqa: BLE001  a compiled or scripted module: the leak stands, without a layer
        return Place("", test.module)
    op = first(own[0].ops, own[1].ops, test.limits[1])
    silent = dict.fromkeys(c.path for c in before.calls if not c.outputs and c.path.startswith(path) and c.path != path)
    layers = test.module.get_submodule
    return Place(path, layers(path), op, tuple(layers(p) for p in silent))
