"""LSTM and GRU in NumPy with every gate in the open: to print, to recompute by hand, and to hold torch's against.

Gates follow torch's order and equations (torch.nn.LSTM: i, f, g, o; torch.nn.GRU: r, z, n), update before read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hitherto.errors import ConfigError

Array = NDArray[np.floating]
Gate = Literal["sigmoid", "hard"]
Squash = Literal["tanh", "linear"]


@dataclass(frozen=True, eq=False)
class LSTMTrace:
    """Everything an LSTM layer computed: i, f, g, o, c, h (L, B, H); x (L, B, F); h0, c0 (B, H).

    i, f, o: input, forget and output gates in 0..1. g: candidate. c: cell after the step. h: output.
    """

    x: Array
    i: Array
    f: Array
    g: Array
    o: Array
    c: Array
    h: Array
    h0: Array
    c0: Array

    def table(self, sample: int = 0, unit: int = 0, digits: int = 4) -> str:
        """Return one text line per step of one sample and unit; line 0 is the state before the first step."""
        columns = {"candidate g": self.g, "input i": self.i, "forget f": self.f, "output o": self.o}
        return _table(columns, {"cell c": (self.c0, self.c), "out h": (self.h0, self.h)}, sample, unit, digits)


@dataclass(frozen=True, eq=False)
class GRUTrace:
    """Everything a GRU layer computed: r, z, n, h (L, B, H); x (L, B, F); h0 (B, H).

    r, z: reset and update gates in 0..1. n: candidate. h: output, (1 - z) n + z h(t-1).
    """

    x: Array
    r: Array
    z: Array
    n: Array
    h: Array
    h0: Array

    def table(self, sample: int = 0, unit: int = 0, digits: int = 4) -> str:
        """Return one text line per step of one sample and unit; line 0 is the state before the first step."""
        columns = {"reset r": self.r, "update z": self.z, "candidate n": self.n}
        return _table(columns, {"out h": (self.h0, self.h)}, sample, unit, digits)


@dataclass(frozen=True, eq=False)
class LSTMCell:
    """One LSTM layer (Hochreiter and Schmidhuber 1997 with forget gates), computed step by step.

    weight_ih: (4H, F), weight_hh: (4H, H), bias_ih and bias_hh: (4H,), blocks i, f, g, o. Arithmetic is done in the
    dtype of weight_ih (float32 or float64). gate: "sigmoid", or "hard" = 1 where the pre-activation is > 0, else 0.
    candidate, output: "tanh", or "linear" = the identity. NaN in, NaN out. Errors: ConfigError for shapes.

        i, f, o = gate(W x + b + U h + d)    g = candidate(...)    c = f c + i g    h = o output(c)
    """

    weight_ih: Array
    weight_hh: Array
    bias_ih: Array
    bias_hh: Array
    gate: Gate = "sigmoid"
    candidate: Squash = "tanh"
    output: Squash = "tanh"

    def __post_init__(self) -> None:
        _check("LSTMCell", self, 4)
        _one_of("LSTMCell", "gate", self.gate, GATES)
        _one_of("LSTMCell", "candidate", self.candidate, SQUASHES)
        _one_of("LSTMCell", "output", self.output, SQUASHES)

    @classmethod
    def from_torch_state(
        cls, state: Mapping[str, Any], layer: int = 0, *, prefix: str = "", dtype: type[np.floating] | None = None
    ) -> LSTMCell:
        """Return layer ``layer`` of a torch.nn.LSTM's state_dict (tensors or arrays; keys may carry a ``prefix``)."""
        return cls(*_torch_weights(state, layer, prefix, dtype))

    def run(self, x: ArrayLike, h0: ArrayLike | None = None, c0: ArrayLike | None = None) -> LSTMTrace:
        """Return the trace over x (L, B, F) from the states h0, c0 (B, H), zeros when left out."""
        x, into, (h, c) = _start(self, x, h0, c0)
        first = (h, c)
        gate, candidate, output = GATES[self.gate], SQUASHES[self.candidate], SQUASHES[self.output]
        steps = []
        for u in into:
            i, f, g, o = np.split(u + (h @ self.weight_hh.T + self.bias_hh), 4, axis=1)
            i, f, g, o = gate(i), gate(f), candidate(g), gate(o)
            c = f * c + i * g
            h = o * output(c)
            steps.append((i, f, g, o, c, h))
        i, f, g, o, cells, outputs = _stack(steps, 6, (*x.shape[:2], h.shape[1]), x.dtype)
        return LSTMTrace(x, i, f, g, o, cells, outputs, *first)


@dataclass(frozen=True, eq=False)
class GRUCell:
    """One GRU layer (Cho et al. 2014, in torch's form), computed step by step.

    weight_ih: (3H, F), weight_hh: (3H, H), bias_ih and bias_hh: (3H,), blocks r, z, n; the rest as in LSTMCell.

        r, z = gate(W x + b + U h + d)    n = candidate(W x + b + r (U h + d))    h = (1 - z) n + z h
    """

    weight_ih: Array
    weight_hh: Array
    bias_ih: Array
    bias_hh: Array
    gate: Gate = "sigmoid"
    candidate: Squash = "tanh"

    def __post_init__(self) -> None:
        _check("GRUCell", self, 3)
        _one_of("GRUCell", "gate", self.gate, GATES)
        _one_of("GRUCell", "candidate", self.candidate, SQUASHES)

    @classmethod
    def from_torch_state(
        cls, state: Mapping[str, Any], layer: int = 0, *, prefix: str = "", dtype: type[np.floating] | None = None
    ) -> GRUCell:
        """Return layer ``layer`` of a torch.nn.GRU's state_dict (tensors or arrays; keys may carry a ``prefix``)."""
        return cls(*_torch_weights(state, layer, prefix, dtype))

    def run(self, x: ArrayLike, h0: ArrayLike | None = None) -> GRUTrace:
        """Return the trace over x (L, B, F) from the state h0 (B, H), zeros when left out."""
        x, into, (h,) = _start(self, x, h0)
        first = h
        gate, candidate = GATES[self.gate], SQUASHES[self.candidate]
        steps = []
        for u in into:
            ur, uz, un = np.split(u, 3, axis=1)
            vr, vz, vn = np.split(h @ self.weight_hh.T + self.bias_hh, 3, axis=1)
            r, z = gate(ur + vr), gate(uz + vz)
            n = candidate(un + r * vn)
            h = (1 - z) * n + z * h
            steps.append((r, z, n, h))
        r, z, n, outputs = _stack(steps, 4, (*x.shape[:2], h.shape[1]), x.dtype)
        return GRUTrace(x, r, z, n, outputs, first)


Trace = LSTMTrace | GRUTrace


def run_layers(cells: Sequence[LSTMCell] | Sequence[GRUCell], x: ArrayLike) -> list[Trace]:
    """Return the traces of stacked layers, first layer first: each reads the outputs h of the one below, from zeros."""
    traces: list[Trace] = []
    for cell in cells:
        traces.append(cell.run(x))
        x = traces[-1].h
    return traces


# The course's example: five steps of (value, input control, forget control, output control).
COURSE_INPUT = ((2, 1, 1, 1), (4, 1, 1, 0), (1, 0, 1, 1), (3, 1, 0, 1), (4, 1, 1, 1))


def course_cell(
    k: float = 1.0,
    s: float = 1.0,
    gate: Gate = "hard",
    squash: Squash = "linear",
    dtype: type[np.floating] = np.float64,
) -> LSTMCell:
    """Return the one-unit LSTM of the hand example: each gate follows one control input, nothing is recurrent.

    k: sharpness, multiplies the gates' weights and bias (sigmoid(k (u - 1/2))); the hard gate does not feel it.
    s: scale of the value; with squash = "tanh" read h / s, whose error is 145 s^2 at large k. Weights (4, 4).
    """
    weight = np.zeros((4, 4), dtype)
    weight[0, 1] = weight[1, 2] = weight[3, 3] = k  # i, f, o listen to their controls
    weight[2, 0] = s  # g takes the value
    bias = np.array([-k / 2, -k / 2, 0, -k / 2], dtype)
    return LSTMCell(weight, np.zeros((4, 1), dtype), bias, np.zeros(4, dtype), gate, squash, squash)


def course_example(dtype: type[np.floating] = np.float64) -> LSTMTrace:
    """Return the trace of the course's hand example, exact to the bit: cell 0 2 6 6 3 7, output 2 0 6 3 7."""
    return course_cell(dtype=dtype).run(np.array(COURSE_INPUT, dtype)[:, None, :])


def _sigmoid(u: Array) -> Array:
    z = np.exp(-np.abs(u))  # never overflows, and keeps the digits of a nearly closed gate
    return np.where(u >= 0, 1 / (1 + z), z / (1 + z))


def _hard(u: Array) -> Array:
    return np.where(np.isnan(u), u, (u > 0).astype(u.dtype))


def _linear(u: Array) -> Array:
    return u


GATES = {"sigmoid": _sigmoid, "hard": _hard}
SQUASHES = {"tanh": np.tanh, "linear": _linear}


def _one_of(who: str, what: str, value: str, known: Mapping[str, Any]) -> None:
    if value not in known:
        raise ConfigError(f"{who}: {what} must be one of {', '.join(known)}, got {value!r}")


def _check(who: str, cell: LSTMCell | GRUCell, blocks: int) -> None:
    dtype = np.float32 if np.asarray(cell.weight_ih).dtype == np.float32 else np.float64
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        object.__setattr__(cell, name, np.asarray(getattr(cell, name), dtype))
    H = cell.weight_hh.shape[-1]
    shapes = [a.shape for a in (cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh)]
    F = shapes[0][-1] if len(shapes[0]) == 2 else 0
    if shapes != [(blocks * H, F), (blocks * H, H), (blocks * H,), (blocks * H,)]:
        b = f"{blocks}H"
        raise ConfigError(
            f"{who}: weights must be ({b}, F), ({b}, H), ({b},), ({b},), got {', '.join(map(str, shapes))}; "
            "check the gate order and the layer"
        )


def _torch_weights(
    state: Mapping[str, Any], layer: int, prefix: str, dtype: type[np.floating] | None
) -> tuple[Array, Array, Array, Array]:
    keys = [f"{prefix}{name}_l{layer}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    lacking = [k for k in keys[:2] if k not in state]
    if lacking:
        raise ConfigError(
            f"glassbox: the state has no {lacking[0]}; it holds {', '.join(state)}. Check layer and prefix."
        )
    odd = [k for k in (f"{keys[0]}_reverse", f"{prefix}weight_hr_l{layer}") if k in state]
    if odd:
        raise ConfigError(f"glassbox: the state has {odd[0]}; only one direction without projection is traced")
    w, u = _numpy(state[keys[0]], dtype), _numpy(state[keys[1]], dtype)
    zeros = np.zeros(len(w), w.dtype)  # torch's bias=False
    b, d = (_numpy(state[k], dtype) if k in state else zeros for k in keys[2:])
    return w, u, b, d


def _numpy(tensor: Any, dtype: type[np.floating] | None) -> Array:
    array = tensor.detach().cpu().numpy() if hasattr(tensor, "detach") else np.asarray(tensor)
    return np.array(array, dtype=dtype)  # a copy: later training steps must not change the cell


def _start(cell: LSTMCell | GRUCell, x: ArrayLike, *states: ArrayLike | None) -> tuple[Array, Array, list[Array]]:
    """Return x, the input's share of the pre-activations (L, B, blocks x H), and the first states, checked."""
    dtype = cell.weight_ih.dtype
    x = np.asarray(x, dtype)
    F, H = cell.weight_ih.shape[1], cell.weight_hh.shape[1]
    if x.ndim != 3 or x.shape[2] != F:
        raise ConfigError(f"glassbox: x must be (L, B, {F}), got {x.shape}")
    first = []
    for s in states:
        s = np.zeros((x.shape[1], H), dtype) if s is None else np.asarray(s, dtype)
        if s.shape != (x.shape[1], H):
            raise ConfigError(f"glassbox: a first state must be ({x.shape[1]}, {H}), got {s.shape}")
        first.append(s)
    return x, x @ cell.weight_ih.T + cell.bias_ih, first


def _stack(steps: list[tuple[Array, ...]], count: int, shape: tuple[int, ...], dtype: Any) -> list[Array]:
    if not steps:
        return [np.zeros(shape, dtype) for _ in range(count)]
    return [np.stack(gate) for gate in zip(*steps, strict=True)]


def _table(
    gates: Mapping[str, Array], states: Mapping[str, tuple[Array, Array]], sample: int, unit: int, digits: int
) -> str:
    def show(v: Any) -> str:
        return f"{float(v):.{digits}g}"

    lines = [["step", *gates, *states]]
    lines.append(["0", *[""] * len(gates), *(show(first[sample, unit]) for first, _ in states.values())])
    for t in range(len(next(iter(gates.values())))):
        values = [*(a[t, sample, unit] for a in gates.values()), *(a[t, sample, unit] for _, a in states.values())]
        lines.append([str(t + 1), *map(show, values)])
    widths = [max(len(row[j]) for row in lines) for j in range(len(lines[0]))]
    return "\n".join("  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in lines)
