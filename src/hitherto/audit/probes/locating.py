"""Where in a torch module something enters that should not: the same call twice, watched layer by layer.

The second call differs only in what must not matter (later inputs, other listings). The first layer in forward order
whose own inputs are still equal where they must be, and whose output is not, let it in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

ATTENTION = frozenset({"scaled_dot_product_attention", "softmax", "multi_head_attention_forward", "_softmax"})
LAYOUT = frozenset({"", "view", "reshape", "flatten", "unflatten", "cat", "stack", "permute", "contiguous"})
CONVOLUTION = frozenset({"conv1d", "conv2d", "conv3d", "conv_transpose1d"})


@dataclass
class Kept:
    """What must be equal in a layer's tensors: steps 0..t (``cut`` not None), or the listing at ``own`` of the batch.

    B, T: sizes of those axes; taken: sizes that mean something else (widths of weights).
    """

    B: int
    T: int
    cut: int | None = None
    own: int = 0
    taken: frozenset[int] = frozenset()

    def part(self, x: torch.Tensor) -> torch.Tensor | None:
        """Return the part of a tensor that must be equal; None when its axes do not tell."""
        if x.ndim == 0:
            return None
        x = x.detach()
        if self.B > 1 and x.shape[0] == self.B * self.T:
            x = x.unflatten(0, (self.B, self.T))
        sizes = list(x.shape)
        if self.cut is None:
            return x.select(sizes.index(self.B), self.own) if self.B in sizes else None
        axes = [d for d, size in enumerate(sizes) if size == self.T]
        if not axes:  # a padded sequence: row t of it may hold earlier steps, never later ones
            longer = [d for d, s in enumerate(sizes) if self.T < s <= 1.5 * self.T and s not in self.taken]
            axes = longer[:1]
        for d in axes:
            x = x.narrow(d, 0, self.cut + 1)
        return x if axes else None


@dataclass
class Seen:
    """One call of a layer or of a torch function: its path or name, and the kept parts of its inputs and outputs."""

    path: str
    inputs: list[Any]
    outputs: list[Any]


@dataclass
class Watch:
    """Hooks on every layer of a module for one call; with ``inside`` also on what the layer there calls itself."""

    kept: Kept
    inside: str | None = None
    calls: list[Seen] = field(default_factory=list)
    ops: list[Seen] = field(default_factory=list)
    stack: list[tuple[str, list[Any]]] = field(default_factory=list)

    def run(self, module: nn.Module, call: Callable[[nn.Module], torch.Tensor]) -> torch.Tensor:
        """Return what ``call(module)`` gives, every layer of it watched."""
        with ExitStack() as hooks:
            for path, layer in module.named_modules():
                for handle in (
                    layer.register_forward_pre_hook(self._before(path), with_kwargs=True),
                    layer.register_forward_hook(self._after, with_kwargs=True),
                ):
                    hooks.callback(handle.remove)
            if self.inside is not None:
                hooks.enter_context(_recorder(self))
            return call(module)

    def parts(self, value: Any) -> list[torch.Tensor]:
        """Return copies of what must be equal (a layer may write into its input)."""
        return [p.clone() for x in tensors(value) if (p := self.kept.part(x)) is not None]

    def _before(self, path: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: Any, kwargs: Any) -> None:
            self.stack.append((path, self.parts((args, kwargs))))

        return hook

    def _after(self, _: nn.Module, __: Any, ___: Any, out: Any) -> None:
        path, inputs = self.stack.pop()
        self.calls.append(Seen(path, inputs, self.parts(out)))


def tensors(value: Any) -> list[torch.Tensor]:
    """Return all tensors in nested tuples, lists and dicts."""
    import torch

    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for v in value for t in tensors(v)] if isinstance(value, (tuple, list)) else []


def first(before: list[Seen], after: list[Seen], tolerance: float) -> str:
    """Return the path or name of the first call that let a difference in; "" when none shows it.

    Layers end before their parents do: the first one found is the innermost.
    """
    if [c.path for c in before] != [c.path for c in after]:
        return ""
    for a, b in zip(before, after, strict=True):
        if moved(a.outputs, b.outputs, tolerance) and not moved(a.inputs, b.inputs, tolerance):
            return a.path
    return ""


def moved(old: list[Any], new: list[Any], tolerance: float) -> bool:
    """Return whether two lists of tensors differ by more than ``tolerance`` of their size somewhere."""
    import torch

    for a, b in zip(old, new, strict=False):
        if a.shape != b.shape:
            return True
        if not a.numel() or torch.equal(a, b):
            continue
        a, b = a.to(torch.float64), b.to(torch.float64)
        size = a[torch.isfinite(a)].abs().max() if torch.isfinite(a).any() else torch.ones(())
        gap = (a - b).abs()
        if bool(((gap > tolerance * size) | (torch.isnan(a) != torch.isnan(b))).any()):
            return True
    return False


def typed(layer: nn.Module, op: str = "") -> str | None:
    """Return the leak class that a layer's type, or the function it calls at fault, speaks for; None for others."""
    from torch import nn

    name = type(layer).__name__.lower()
    if isinstance(layer, nn.modules.batchnorm._BatchNorm) or op == "batch_norm":
        return "L06"
    if isinstance(layer, nn.modules.conv._ConvNd) or op in CONVOLUTION:
        return "L08"
    if isinstance(layer, nn.RNNBase):
        return "L09"
    if op in ATTENTION or isinstance(layer, nn.MultiheadAttention) or "attention" in name or "attn" in name:
        return "L10"
    return None


def classify(layer: nn.Module, op: str, hidden: Iterable[nn.Module], reach: int, to_end: bool) -> str:
    """Return the leak class of a layer through which later steps enter.

    op: the torch function of its own code that let them in. hidden: layers inside it whose axes did not tell (a net run
    over blocks of steps); the first one that can look ahead speaks for it.
    """
    from torch import nn

    known = typed(layer, op)
    if known:
        return known
    inside = [*layer.modules()]
    if op == "flip" and reach > 1 and any(isinstance(m, (nn.RNNBase, nn.RNNCellBase)) for m in inside):
        return "L09"
    if op in LAYOUT:  # its own code only arranges: the layers to which it hands the steps decide
        for m in hidden:
            plain = isinstance(m, nn.RNNBase) and not m.bidirectional
            point = isinstance(m, nn.modules.conv._ConvNd) and max(m.kernel_size) == 1
            if typed(m) and not plain and not point:
                return str(typed(m))
    if to_end:
        return "L04"
    return "L01" if reach == 1 else "L02"


def _recorder(watch: Watch) -> Any:
    """Return a mode that writes down the torch functions that the layer at ``watch.inside`` calls itself."""
    from torch.overrides import TorchFunctionMode

    class Recorder(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            mine = bool(watch.stack) and watch.stack[-1][0] == watch.inside
            inputs = watch.parts((args, kwargs)) if mine else []
            out = func(*args, **(kwargs or {}))
            if mine:
                watch.ops.append(Seen(str(getattr(func, "__name__", func)), inputs, watch.parts(out)))
            return out

    return Recorder()
