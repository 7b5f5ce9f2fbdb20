"""What an audit looks at: targets (a panel in, numbers per decision out), predictors, and a study's plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import ConfigError
from hitherto.labels import Label
from hitherto.panel import Panel
from hitherto.seeds import Stream
from hitherto.split import Fold
from hitherto.windows import Windows

Unit = Literal["asset", "date"]
Level = Literal["quick", "full"]
Outputs = Mapping[str, NDArray[Any]]
NET_RTOL = 1e-5  # float32 nets: of a column's scale; measured prefix effects stay below 1e-6


class Target(Protocol):
    """Anything that turns a panel into numbers, row t decided at t.

    unit: "asset" when the numbers of listing n depend on the history of n only, so that each listing can be rewritten
    after its own cut and one evaluation tests all cuts; "date" when a row looks at the whole cross-section.
    exact: equal input must give equal bits; otherwise differences up to 1e-5 of a column's scale pass.
    """

    @property
    def name(self) -> str:
        """Name in findings, e.g. "features"."""
        ...

    @property
    def unit(self) -> Unit:
        """What one number may look at."""
        ...

    @property
    def exact(self) -> bool:
        """Whether bits are compared."""
        ...

    def run(self, panel: Panel, /) -> Outputs:
        """Return column -> (T, N) or (T, N, K) floats for any panel of the same fields, shorter ones too."""
        ...


@dataclass(frozen=True)
class FunctionTarget:
    """A target made of a callable.

    shape_rtol: tolerance, in a column's scale, when the number of rows changes (foreign code sums in blocks whose
    bounds depend on the length); our own features promise 0.
    """

    name: str
    run: Callable[[Panel], Outputs]
    unit: Unit = "date"
    exact: bool = True
    shape_rtol: float = 0.0


@dataclass(frozen=True, eq=False)
class Predictor:
    """A frozen fitted model: ``predict`` gives (S, O) float64 in the order of ``windows.index``.

    state: its tensors by name, hashed before and after predicting; None when it shows none.
    unit: "asset": a sample stands alone; "date": the samples of one date belong together.
    """

    name: str
    windows: Windows
    predict: Callable[[Windows], NDArray[np.float64]]
    state: Callable[[], Mapping[str, Any]] | None = None
    unit: Unit = "asset"


@dataclass(frozen=True, eq=False)
class Traded:
    """Orders of a book and what they are worth: decided, filled (K,) rows; Sharpe as traded and one bar later.

    NaN where a Sharpe ratio is not known.
    """

    name: str
    decided: NDArray[Any]
    filled: NDArray[Any]
    sharpe: float
    later: float


@dataclass(frozen=True, eq=False)
class AuditPlan:
    """Everything that one audit tries.

    panel, targets: what P0, P1 and P2 rewrite. span: closed rows of ``panel`` in which the targets give numbers (None:
    all); cuts fall there. folds, label, lookback: what P10 counts; lookback in rows, the features' own included.
    predictors: what P4 asks one by one. refit: fit + select + predict from a panel, on ``refit_panel`` (None:
    ``panel``), compared at rows ``refit_span`` (None: where it gives numbers). refit_planted: the same with a real
    leak inside, which P3 must catch. limit: (listings, rows) to which ``panel`` is cut down first; None: (50, 600) for
    level "quick", nothing for "full". books: what was traded, for P9. checks: further probes, called with a
    stream of random numbers. given: results of what cannot be re-run (``audit.tables``); with them alone nothing else
    is said to be open but what ``notes`` name. null_worlds: how many for P8 (0: none). test_reads: a ledger (anything
    with ``entries()``) or pairs of digests (study, data), and trials: their returns (T, N), for P11. modules: torch
    modules for P5 (``audit.modules.ModulePlan``). vintages: date -> the panel as it was known then, for P6. tables:
    name -> table of events whose known_at is checked; targets made with ``from_function(..., events=table)`` also have
    the events after each decision changed (P7). scale_free: whether numbers claim not to depend on price levels (None:
    judged on restated prices only), and events: fields joined from events, for P7. declared: target -> column ->
    lookback, for P13. notes: sentences for "not assessed" (a restated vendor, survivors only).
    """

    panel: Panel
    targets: tuple[Target, ...] = ()
    folds: tuple[Fold, ...] = ()
    label: Label | None = None
    lookback: int = 1
    predictors: tuple[Predictor, ...] = ()
    refit: Target | None = None
    refit_panel: Panel | None = None
    refit_span: tuple[int, int] | None = None
    refit_planted: Target | None = None
    level: Level = "quick"
    span: tuple[int, int] | None = None
    limit: tuple[int, int] | None = None
    books: tuple[Traded, ...] = ()
    modules: tuple[Any, ...] = ()
    checks: tuple[Callable[[Stream], Any], ...] = ()
    given: tuple[Any, ...] = ()
    null_worlds: int = 0
    test_reads: Any = None
    trials: Any = None
    vintages: Mapping[Any, Panel] | None = None
    tables: Mapping[str, Any] = field(default_factory=dict)
    scale_free: bool | None = None
    events: tuple[str, ...] | None = None
    declared: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def columns(outputs: Outputs, panel: Panel, name: str) -> dict[str, NDArray[Any]]:
    """Return column -> (T, N) views; (T, N, K) becomes "key[k]". ConfigError when a shape is not the panel's."""
    out: dict[str, NDArray[Any]] = {}
    shape = panel.shape
    for key, values in outputs.items():
        array = np.asarray(values)
        if array.ndim not in (2, 3) or array.shape[:2] != shape:
            raise ConfigError(
                f"audit: {name} gave '{key}' of shape {array.shape} for a panel of {shape}; "
                "return (T, N) or (T, N, K), NaN where there is no number"
            )
        if array.ndim == 2:
            out[str(key)] = array
        else:
            out.update({f"{key}[{k}]": array[:, :, k] for k in range(array.shape[2])})
    return out


class Counted:
    """A target under audit: counts evaluations, flattens columns, and keeps its answer for the first panel it meets."""

    def __init__(self, inner: Target, unit: Unit | None = None) -> None:
        self.inner = inner
        self.name = inner.name
        self.unit: Unit = unit or inner.unit
        self.exact = inner.exact
        self.shape_rtol = float(getattr(inner, "shape_rtol", 0.0))
        self.rtol = float(getattr(inner, "rtol", NET_RTOL))
        self.planted: frozenset[str] = getattr(inner, "planted", frozenset())
        self.evaluations = 0
        self.scales: dict[str, float] = {}  # of the first answer's columns, once measured
        self._first: tuple[Panel, dict[str, NDArray[Any]]] | None = None

    def run(self, panel: Panel, /) -> dict[str, NDArray[Any]]:
        """Return the columns for ``panel``."""
        if self._first is not None and self._first[0] is panel:
            return self._first[1]
        out = self.again(panel)
        if self._first is None:
            self._first = (panel, out)
        return out

    def is_first(self, outputs: Outputs) -> bool:
        """Whether this is the answer that is kept."""
        return self._first is not None and self._first[1] is outputs

    def again(self, panel: Panel) -> dict[str, NDArray[Any]]:
        """Evaluate really, also on a panel met before."""
        self.evaluations += 1
        return columns(self.inner.run(panel), panel, self.name)


def counted(target: Target | Counted) -> Counted:
    """Return the target as a counted one (probes accept both)."""
    return target if isinstance(target, Counted) else Counted(target)
