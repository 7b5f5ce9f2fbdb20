"""K nets of one architecture as one function of stacked weights [K, ...]: every product is one batched GEMM.

A stack of LSTM, GRU or plain recurrent cells with a linear head has its own forward pass here (torch's cells take one
net at a time); any other net goes through ``torch.func.vmap``. A twin is trusted once it gave a net's own numbers.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from hitherto.train import losses

Weights = Sequence[Tensor]
Twin = Callable[[Weights, Tensor, Sequence[Tensor] | None], Tensor]
GATES = {"lstm": 4, "gru": 3, "rnn": 1}
AGREE = 1e-5  # of outputs of order 1, in float32


@dataclass(frozen=True)
class Draw:
    """One draw of uniform numbers by a net in training: its shape is (*before, rows, *after)."""

    before: tuple[int, ...]
    after: tuple[int, ...]

    def shape(self, rows: int) -> tuple[int, ...]:
        """Return the shape for ``rows`` samples."""
        return (*self.before, rows, *self.after)


class _Noise(TorchFunctionMode):
    """Inside it ``torch.rand`` answers from ``given``, in order; without ``given`` it draws, and keeps what it drew."""

    def __init__(self, given: Iterable[Tensor] | None = None) -> None:
        super().__init__()
        self.given = None if given is None else iter(given)
        self.drawn: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not torch.rand:
            return func(*args, **(kwargs or {}))
        if self.given is not None:
            return next(self.given)
        self.drawn.append(func(*args, **(kwargs or {})))
        return self.drawn[-1]


# -- what a net draws, and whether its twin agrees --------------------------------------------------------------------


def draws(net: nn.Module, lookback: int, width: int) -> list[Draw] | None:
    """Return what ``net`` draws in one training pass over windows (lookback, rows, width), None if not by rows."""
    twice = []
    for rows in (2, 3):
        with torch.no_grad(), _Noise() as noise:
            net(_probe(lookback, rows, width, net), torch.Generator().manual_seed(1))
        twice.append([tuple(d.shape) for d in noise.drawn])
    out = []
    for a, b in zip(*twice, strict=False):
        axes = [i for i, (m, n) in enumerate(zip(a, b, strict=False)) if (m, n) == (2, 3)]
        if len(a) != len(b) or len(axes) != 1:
            return None
        out.append(Draw(a[: axes[0]], a[axes[0] + 1 :]))
    return out if len(twice[0]) == len(twice[1]) else None


def why_not(nets: Sequence[nn.Module], lookback: int, width: int) -> str:
    """Return why these nets cannot be stacked, '' when they can; runs each on three made windows."""
    shapes = [[tuple(p.shape) for p in net.parameters()] for net in nets]
    if any(s != shapes[0] for s in shapes) or any(type(n) is not type(nets[0]) for n in nets):
        return "the nets have weights of different shapes"
    if not all(p.requires_grad and p.dtype == torch.float32 for net in nets for p in net.parameters()):
        return "some weights are fixed or not float32"
    recurrent = all(_is_recurrent(net) for net in nets)
    if not recurrent:
        if any(isinstance(m, nn.RNNBase) for m in nets[0].modules()):
            return f"{type(nets[0]).__name__} has a recurrent cell among other layers"
        if any(_plain(net) != _plain(nets[0]) for net in nets):
            return "the nets have different settings (dropout, say), which only recurrent stacks may"
    drawn = [draws(net, lookback, width) for net in nets]
    longest = max(drawn, key=lambda d: len(d or ()))
    if any(d is None or d not in ([], longest) for d in drawn):
        return "the nets draw their noise in different ways"
    for net in nets:
        try:
            if not _agrees(net, twin([net] if recurrent else nets[:1]), _probe(lookback, 3, width, net)):
                return f"the stacked twin of {type(net).__name__} gives other numbers than the net"
        except (RuntimeError, ValueError, TypeError, StopIteration) as error:
            return f"torch.func.vmap cannot take {type(net).__name__} ({str(error).strip().splitlines()[0][:80]})"
    return ""


def _agrees(net: nn.Module, made: Twin, x: Tensor) -> bool:
    """Compare ``net`` with a twin, in training with the same noise and in prediction."""
    weights = [p.detach()[None] for p in net.parameters()]
    with torch.no_grad():
        with _Noise() as noise:
            trained = net(x, torch.Generator().manual_seed(1))
        pairs = [(trained, made(weights, x[None], [d[None] for d in noise.drawn]))]
        pairs.append((net(x, None), made(weights, x[None], None)))
    return all(bool(((a - b[0]).abs() <= AGREE * (1 + a.abs())).all()) for a, b in pairs)


def _probe(lookback: int, rows: int, width: int, net: nn.Module) -> Tensor:
    x = torch.linspace(-1, 1, lookback * rows * width).mul(37).sin().reshape(lookback, rows, width)
    return x.to(next(net.parameters()).device)


def _plain(net: nn.Module) -> list[Any]:
    """The settings that the modules of ``net`` hold as plain attributes, by module."""
    hidden = ("training", "_parameters", "_buffers", "_modules")
    return [
        (name, type(m), {k: v for k, v in vars(m).items() if k not in hidden and not isinstance(v, Tensor)})
        for name, m in net.named_modules()
    ]


# -- the twins --------------------------------------------------------------------------------------------------------


def twin(nets: Sequence[nn.Module], device: str = "cpu") -> Twin:
    """Return f(weights, x, noise) for nets that ``why_not`` lets pass.

    weights: per parameter of a net, in its order, (K, ...). x (K, L, B, F). noise: the uniform numbers of training in
    the order of their ``draws``, (K, *before, B, *after) each; None in prediction. Returns (K, B, C).
    """
    if all(_is_recurrent(net) for net in nets):
        shares = torch.tensor([float(getattr(net, "dropout", 0.0)) for net in nets], device=device)
        cell = str(getattr(nets[0], "cell", ""))
        return lambda weights, x, noise: _recurrent(cell, shares, weights, x, noise)
    return _mapped(nets[0], device)


def _mapped(net: nn.Module, device: str) -> Twin:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    base = copy.deepcopy(net).to(device)
    names = [name for name, _ in base.named_parameters()]
    token = torch.Generator().manual_seed(2)  # says that this is training; never drawn from

    def one(weights: Weights, x: Tensor, noise: Sequence[Tensor] | None) -> Tensor:
        arguments = (x, None if noise is None else token)
        with _Noise(noise or ()), sdpa_kernel(SDPBackend.MATH):  # vmap runs the fused kernels one by one
            return torch.func.functional_call(base, dict(zip(names, weights, strict=True)), arguments)

    def run(weights: Weights, x: Tensor, noise: Sequence[Tensor] | None) -> Tensor:
        if noise is None:
            return torch.func.vmap(lambda w, v: one(w, v, None))(tuple(weights), x)
        return torch.func.vmap(one)(tuple(weights), x, list(noise))

    return run


def _is_recurrent(net: nn.Module) -> bool:
    """A stack of torch's own cells under the name ``net.cell``, then ``head``, and nothing else."""
    cell = getattr(net, "cell", None)
    if cell not in GATES or {name for name, _ in net.named_children()} != {cell, "head"}:
        return False
    stack = getattr(net, cell)
    layers = list(stack) if isinstance(stack, nn.ModuleList) else [stack]
    return isinstance(net.head, nn.Linear) and all(
        isinstance(m, nn.RNNBase) and m.mode.startswith(cell.upper()) and m.bias and not m.batch_first
        and not m.bidirectional and not m.proj_size and getattr(m, "nonlinearity", "tanh") == "tanh"
        for m in layers
    )  # fmt: skip


def _recurrent(cell: str, shares: Tensor, weights: Weights, x: Tensor, noise: Sequence[Tensor] | None) -> Tensor:
    layers = (len(weights) - 2) // 4
    thinning = list(noise or ())
    for k in range(layers):
        if k and thinning:
            x = _thin(x, shares, thinning.pop(0))
        x = CELLS[cell](x, *weights[4 * k : 4 * k + 4])
    last = x[:, -1]
    if thinning:
        last = _thin(last, shares, thinning.pop(0))
    return torch.baddbmm(weights[-1][:, None], last, weights[-2].mT)


def _thin(x: Tensor, shares: Tensor, noise: Tensor) -> Tensor:
    """Inverted dropout, each of the K nets with its own share (at share 0 it is ``x``, bit for bit)."""
    share = shares.reshape(-1, *([1] * (x.dim() - 1)))
    return x * (noise >= share).to(x) / (1 - share)


def _inputs(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The product of all steps at once: x (K, L, B, F), weight (K, G, F), bias (K, G) -> (K, L, B, G)."""
    return torch.baddbmm(bias[:, None], x.flatten(1, 2), weight.mT).unflatten(1, x.shape[1:3])


def _lstm(x: Tensor, w: Tensor, u: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return LstmSteps.apply(_inputs(x, w, b + c), u)  # pyright: ignore[reportReturnType]


def _gru(x: Tensor, w: Tensor, u: Tensor, b: Tensor, c: Tensor) -> Tensor:
    g, size = _inputs(x, w, b), u.shape[2]
    h, out = x.new_zeros(x.shape[0], x.shape[2], size), []
    for t in range(x.shape[1]):
        v = torch.baddbmm(c[:, None], h, u.mT)
        r, z = (g[:, t, :, : 2 * size] + v[..., : 2 * size]).sigmoid().chunk(2, dim=2)
        n = torch.addcmul(g[:, t, :, 2 * size :], r, v[..., 2 * size :]).tanh()
        h = torch.lerp(n, h, z)
        out.append(h)
    return torch.stack(out, dim=1)


def _rnn(x: Tensor, w: Tensor, u: Tensor, b: Tensor, c: Tensor) -> Tensor:
    g = _inputs(x, w, b + c)
    h = g[:, 0].tanh()
    out = [h]
    for t in range(1, x.shape[1]):
        h = torch.baddbmm(g[:, t], h, u.mT).tanh()
        out.append(h)
    return torch.stack(out, dim=1)


CELLS = {"lstm": _lstm, "gru": _gru, "rnn": _rnn}


def summed(loss: losses.Loss, p: Tensor, y: Tensor) -> Tensor:
    """Return the summed losses (K,) of p (K, B, C) against y (K, B, O), NaN in y left out, as train.losses does."""
    if loss.name == "cross_entropy":
        logits = p.unflatten(2, (loss.outputs, loss.classes)).flatten(0, 2)
        each = functional.cross_entropy(logits, loss.classify(y).flatten(), reduction="none", ignore_index=-1)
        return each.view(len(p), -1).sum(1)
    known = ~torch.isnan(y)
    y = torch.where(known, y, 0.0)
    if loss.name == "quantile":
        error = y[..., None] - p.unflatten(2, (loss.outputs, len(loss.levels)))
        # scalars, not a tensor of levels: a graph must not copy from the host
        each = sum(torch.maximum(q * error[..., i], (q - 1) * error[..., i]) for i, q in enumerate(loss.levels))
        each = each / len(loss.levels)
    elif loss.name == "huber":
        each = functional.huber_loss(p, y, reduction="none")
    else:
        each = (p - y).square() if loss.name == "mse" else (p - y).abs()
    return torch.where(known, each, 0.0).sum((1, 2))


class LstmSteps(torch.autograd.Function):
    """The time loop of K LSTM layers from state 0 and its adjoint (Hochreiter & Schmidhuber 1997, torch's gate order).

    g (K, L, B, 4H): input product and biases, gates i, f, n, o; u (K, 4H, H) -> hidden states (K, L, B, H). Backward
    the loop holds one product and four pointwise operations; all factors known before it, and the gradient of u, are
    taken over all steps at once, which autograd would do step by step.
    """

    @staticmethod
    def forward(ctx: Any, g: Tensor, u: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the hidden states of all steps."""
        size = u.shape[2]
        a, h = torch.empty_like(g), g.new_empty(*g.shape[:3], size)
        c, bent = torch.empty_like(h), torch.empty_like(h)
        for t in range(g.shape[1]):
            gate = a[:, t]
            if t:
                torch.baddbmm(g[:, t], h[:, t - 1], u.mT, out=gate)
            else:
                gate.copy_(g[:, 0])
            gate[..., : 2 * size].sigmoid_()
            gate[..., 2 * size : 3 * size].tanh_()
            gate[..., 3 * size :].sigmoid_()
            i, f, n, o = gate.chunk(4, dim=2)
            torch.mul(i, n, out=c[:, t])
            if t:
                c[:, t].addcmul_(f, c[:, t - 1])
            torch.tanh(c[:, t], out=bent[:, t])
            torch.mul(o, bent[:, t], out=h[:, t])
        ctx.save_for_backward(a, c, bent, h, u)
        return h

    @staticmethod
    def backward(ctx: Any, dh: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the gradients of g and u."""
        a, c, bent, h, u = ctx.saved_tensors
        size, steps = u.shape[2], a.shape[1]
        i, f, n, o = a.chunk(4, dim=3)
        d = torch.empty_like(a)  # first the factors on dc (i, f, n) and dh (o), then, step by step, the gradient
        torch.mul(n, i - i * i, out=d[..., :size])
        torch.mul(c[:, :-1], (f - f * f)[:, 1:], out=d[:, 1:, :, size : 2 * size])
        d[:, 0, :, size : 2 * size].zero_()
        torch.mul(i, 1 - n * n, out=d[..., 2 * size : 3 * size])
        torch.mul(bent, o - o * o, out=d[..., 3 * size :])
        into = o * (1 - bent * bent)
        dc = torch.zeros_like(dh[:, 0])
        for t in range(steps - 1, -1, -1):
            late = t + 1 < steps
            step = torch.baddbmm(dh[:, t], d[:, t + 1], u) if late else dh[:, t]
            dc = torch.addcmul(dc * f[:, t + 1], step, into[:, t]) if late else step * into[:, t]
            d[:, t, :, : 3 * size].unflatten(2, (3, size)).mul_(dc[:, :, None])
            d[:, t, :, 3 * size :].mul_(step)
        return d, torch.bmm(d[:, 1:].flatten(1, 2).mT, h[:, :-1].flatten(1, 2))
