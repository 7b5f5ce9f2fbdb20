"""Door for torch modules with one output per step: what the probes need of them, run on copies in both modes.

A module gets every channel standardised over its own last ``WINDOW`` rows up to the same row, so that nothing of a
later bar can be in an input row; it is run in evaluation mode and, where parts of it are in train mode, as given.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from hitherto.audit.target import AuditPlan, FunctionTarget, Level, Outputs, Predictor, Unit
from hitherto.errors import ConfigError
from hitherto.features.base import Features
from hitherto.panel import Panel
from hitherto.windows import Windows

if TYPE_CHECKING:
    import torch
    from torch import nn

Layout = Literal["btf", "tbf"]
WINDOW = 64  # rows of the trailing standardisation
LARGEST = 10.0  # inputs are clipped there: a first move after a quiet stretch is huge
CHUNK = 256  # listings in one call of a per-asset module


@dataclass(frozen=True, eq=False)
class ModulePlan:
    """A torch module under audit: a copy of it on the CPU, in the mode in which it was given.

    channels: panel views, in the order of the module's inputs. layout: axes of its input and output. unit: "asset" when
    the outputs of one listing may look at that listing only, "date" when the batch is the cross-section.
    """

    name: str
    module: nn.Module
    channels: tuple[str, ...]
    layout: Layout = "btf"
    unit: Unit = "asset"

    @property
    def in_train_mode(self) -> bool:
        """Whether any part of the module was given in train mode."""
        return any(m.training for m in self.module.modules())

    def fresh(self, *, evaluating: bool) -> nn.Module:
        """Return an untouched copy, in evaluation mode or in the mode given."""
        return copied(self.module, self.name).train(False) if evaluating else copied(self.module, self.name)

    def inputs(self, panel: Panel) -> NDArray[np.float32]:
        """Return (N, T, F) float32 inputs: ``standardised`` views of the channels. DataError when one is lacking."""
        panel.need(self.channels, f"module {self.name}")
        return np.ascontiguousarray(
            np.stack([standardised(panel.view(c)).T for c in self.channels], axis=-1), np.float32
        )

    def steps(self, module: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """Return (B, T, K) outputs of ``module`` for inputs x (B, T, F); ConfigError unless there is one per step.

        Of a tuple (a recurrent layer's outputs and last state) the first tensor counts.
        """
        out = module(x if self.layout == "btf" else x.transpose(0, 1))
        return per_step(out, x.shape[0], x.shape[1], self)

    @property
    def target(self) -> FunctionTarget:
        """The module in evaluation mode, without gradients, as a target: {name: (T, N) or (T, N, K)}."""
        module = self.fresh(evaluating=True)
        return FunctionTarget(self.name, lambda panel: _outputs(self, module, panel, CHUNK), self.unit, exact=False)

    @property
    def given(self) -> FunctionTarget | None:
        """The same in the mode given, a fresh copy for every run; None when nothing is in train mode.

        A random module draws anew in every run. Unit "date": the batch may talk in train mode.
        """
        if not self.in_train_mode:
            return None
        turn = _Turns()

        def run(panel: Panel) -> Outputs:
            with turn:
                return _outputs(self, self.fresh(evaluating=False), panel, panel.shape[1])

        return FunctionTarget(f"{self.name} in train mode", run, "date", exact=False)

    def predictor(self, panel: Panel, rows: int = 8) -> Predictor:
        """Return what P4 asks: one copy in the mode given, its listings a batch, its numbers at ``rows`` spread rows.

        A sample alone is its listing alone with its whole history. state: parameters and buffers of that copy.
        """
        T, N = panel.shape
        module, turn = self.fresh(evaluating=False), _Turns()
        values = np.ascontiguousarray(self.inputs(panel).transpose(1, 0, 2))
        features = Features(values, self.channels, (1,) * len(self.channels))
        mask = np.zeros((T, N), bool)
        mask[np.unique(np.linspace(T // 4, T - 1, rows).astype(int))] = True

        def predict(windows: Windows) -> NDArray[np.float64]:
            index = windows.index
            listings, place = np.unique(index[:, 1], return_inverse=True)
            x = np.asarray(windows.features.values[:, listings].transpose(1, 0, 2), np.float32)
            with turn:
                out = _numbers(self, module, np.ascontiguousarray(x), len(listings))
            return out[place, index[:, 0]]

        windows = Windows(features, None, mask & panel.listed, 1, labelled=False)
        return Predictor(self.name, windows, predict, lambda: state(module), self.unit)

    def plan(self, panel: Panel, level: Level = "quick") -> AuditPlan:
        """Return what P0, P1, P2, P4 and P5 try on the module."""
        return AuditPlan(panel, (self.target,), predictors=(self.predictor(panel),), modules=(self,), level=level)


def from_module(
    module: nn.Module, channels: Iterable[str], *, name: str | None = None, layout: Layout = "btf",
    unit: Unit = "asset",
) -> ModulePlan:  # fmt: skip
    """Return a torch module with one output per step as something that can be audited; it is copied, not touched.

    module: (B, T, F) float32 -> (B, T) or (B, T, K), layout "tbf": time first. channels: F names of panel views (prices
    times factor, volume over factor). Hand it over in the mode in which it predicts: left in train mode it is audited
    in that mode too. Errors: ConfigError for something else than a module, no channels, an unknown layout or unit, a
    module that cannot be copied.
    """
    from torch import nn

    if not isinstance(module, nn.Module):
        raise ConfigError(f"audit: {type(module).__name__} is no torch module; pass an nn.Module, or a function")
    names = (channels,) if isinstance(channels, str) else tuple(channels)
    label = name or type(module).__name__
    if not names:
        raise ConfigError(f"audit: module {label} was given no channels; name the panel views that it reads, in order")
    if layout not in ("btf", "tbf"):
        raise ConfigError(f"audit: module {label}: layout must be 'btf' or 'tbf', got {layout!r}")
    if unit not in ("asset", "date"):
        raise ConfigError(f"audit: module {label}: unit must be 'asset' or 'date', got {unit!r}")
    return ModulePlan(label, copied(module, label).cpu(), names, layout, unit)


def copied(module: nn.Module, name: str) -> nn.Module:
    """Return a deep copy; ConfigError when torch cannot make one."""
    try:
        return copy.deepcopy(module)
    except Exception as e:
        reason = str(e).split("\n")[0][:120]
        raise ConfigError(
            f"audit: module {name} cannot be copied ({reason}); hand over one that was freshly built and loaded"
        ) from e


def standardised(values: NDArray[np.float64], window: int = WINDOW) -> NDArray[np.float64]:
    """Return (T, N) z-scores of ``values`` over the last ``window`` rows, row t included; nothing later is read.

    Clipped to +-10. 0 where the value is NaN or infinite, where fewer than 2 are known and where they do not vary.
    """
    T, N = values.shape
    out = np.zeros((T, N))
    known = np.isfinite(values)
    padded = np.full((T + window - 1, N), np.nan)
    padded[window - 1 :] = np.where(known, values, np.nan)
    step = max(1, 2_000_000 // max(1, T * window))
    for a in range(0, N, step):
        rows = sliding_window_view(padded[:, a : a + step], window, axis=0)  # (T, n, window)
        there = np.isfinite(rows)
        count = np.maximum(there.sum(axis=2), 1)
        mean = np.where(there, rows, 0.0).sum(axis=2) / count
        gap = np.where(there, rows - mean[:, :, None], 0.0)
        spread = np.sqrt((gap * gap).sum(axis=2) / count)
        ok = known[:, a : a + step] & (count > 1) & (spread > 1e-12 * np.abs(mean))
        z = np.where(ok, gap[:, :, -1] / np.where(ok, spread, 1.0), 0.0)
        out[:, a : a + step] = np.clip(z, -LARGEST, LARGEST)
    return out


def per_step(out: Any, B: int, T: int, plan: ModulePlan) -> torch.Tensor:
    """Return what a module gave as (B, T, K); ConfigError unless it is one output per step."""
    import torch

    while isinstance(out, (tuple, list)) and len(out):
        out = out[0]
    if not isinstance(out, torch.Tensor):
        raise ConfigError(f"audit: module {plan.name} gave a {type(out).__name__}; return a tensor, one row per step")
    given = tuple(out.shape)
    if plan.layout == "tbf":
        out = out.transpose(0, 1) if out.ndim > 1 else out[None]
    elif B == 1 and T > 1 and out.ndim < 3 and given[:1] == (T,):  # squeezed: a batch of one
        out = out[None]
    if out.ndim == 2:
        out = out[:, :, None]
    if out.ndim != 3 or tuple(out.shape[:2]) != (B, T):
        axes = "(B, T) or (B, T, K)" if plan.layout == "btf" else "(T, B) or (T, B, K)"
        raise ConfigError(
            f"audit: module {plan.name} gave {given} for {B} listings of {T} steps; return one output per step, {axes}"
        )
    return out


def state(module: nn.Module) -> Mapping[str, Any]:
    """Return name -> tensor of all parameters and buffers, those that are not saved included."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


class _Turns:
    """Random draws of a module: another seed in every turn, and the caller's own stream left where it was."""

    def __init__(self) -> None:
        self.turn = 0
        self._fork: Any = None

    def __enter__(self) -> None:
        self._fork = same_draws(self.turn)
        self._fork.__enter__()
        self.turn += 1

    def __exit__(self, *error: Any) -> None:
        self._fork.__exit__(*error)


class same_draws:  # noqa: N801  a context manager reads as a function
    """Within it torch draws from ``seed``; its global stream is put back afterwards."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def __enter__(self) -> None:
        import torch

        self._old = torch.get_rng_state()
        torch.default_generator.manual_seed(self.seed)

    def __exit__(self, *error: Any) -> None:
        import torch

        torch.set_rng_state(self._old)


def _numbers(plan: ModulePlan, module: nn.Module, x: NDArray[np.float32], most: int) -> NDArray[np.float64]:
    """(N, T, K) float64 outputs for inputs (N, T, F), at most ``most`` listings in one call."""
    import torch

    with torch.no_grad():
        parts = [plan.steps(module, torch.from_numpy(x[a : a + most])) for a in range(0, len(x), most)]
    return torch.cat([p.to(torch.float64) for p in parts]).numpy()


def _outputs(plan: ModulePlan, module: nn.Module, panel: Panel, chunk: int) -> Outputs:
    most = panel.shape[1] if plan.unit == "date" else chunk
    out = _numbers(plan, module, plan.inputs(panel), most).transpose(1, 0, 2)
    out = np.where(panel.listed[:, :, None], out, np.nan)
    return {plan.name: out[:, :, 0] if out.shape[2] == 1 else out}
