"""Fit/predict objects under audit: frozen after their own fit, fitted anew on every panel, and asked in other company.

Two shapes of foreign code: a *pipeline* (``fit(frame)`` and ``predict(frame)``, which splits and labels by itself), and
a scikit-learn style *estimator* with functions that make its inputs and labels. Both become an ``AuditPlan``.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hitherto.audit import adapters, fitted
from hitherto.audit.probes import differs, scale, since
from hitherto.audit.refits import RTOL, Frozen, Gets, Make, Refit, fit, gap, predict
from hitherto.audit.target import NET_RTOL, AuditPlan, Level, Outputs, Predictor, Target
from hitherto.audit.verdict import Finding, ProbeResult
from hitherto.errors import ConfigError
from hitherto.features.base import Features
from hitherto.panel import Panel
from hitherto.seeds import Stream
from hitherto.windows import Windows

FitRows = Literal["train", "unpurged", "all"]


def fresh(thing: Any) -> Make:
    """Return what makes a new unfitted object: a class or function itself, an estimator's clone, an object's copy.

    ConfigError when the thing has no ``fit`` and ``predict`` and cannot be called.
    """
    if isinstance(thing, type) or (callable(thing) and not hasattr(thing, "predict")):
        return thing
    if not (hasattr(thing, "fit") and hasattr(thing, "predict")):
        raise ConfigError(
            f"audit: {type(thing).__name__} has no fit and predict; pass a class, a function that makes one, or an "
            "unfitted object with both"
        )
    if hasattr(thing, "get_params"):
        try:
            from sklearn.base import clone
        except ImportError:
            return lambda: copy.deepcopy(thing)
        return lambda: clone(thing)
    return lambda: copy.deepcopy(thing)


@dataclass(frozen=True, eq=False)
class Parts:
    """What an audit tries on a fit/predict object; ``audit(parts)`` takes it as it is.

    frozen: predictions of the object fitted once, on the unchanged panel. refit: fitted anew on each panel. planted:
    the same, trained on the rows that it is tested on (None when its fit moves no prediction). rows: (first, last)
    row in which predictions count. held: the object fitted once. targets: further ones (an estimator's inputs).
    predictors: asked one by one.
    """

    panel: Panel
    frozen: Target
    refit: Refit
    rows: tuple[int, int]
    held: Any
    planted: Target | None = None
    targets: tuple[Target, ...] = ()
    predictors: tuple[Predictor, ...] = ()
    notes: tuple[str, ...] = ()
    level: Level = "quick"

    def audit_targets(self) -> AuditPlan:
        """Return the plan: targets for P0 to P2 in the test rows, refit for P3, predictors for P4."""
        return AuditPlan(
            self.panel, (*self.targets, self.frozen), predictors=self.predictors, level=self.level, span=self.rows,
            refit=self.refit, refit_span=self.rows, refit_planted=self.planted, checks=(self.order,),
            notes=self.notes,
        )  # fmt: skip

    def order(self, rng: Stream) -> ProbeResult:
        """P4 for the frozen object: two equal calls and its state, then ``other_order``.

        Class L07 when the calls differ; state that moves while they agree is a cache, and told in the detail.
        """
        begun = time.perf_counter()
        before = fitted.leaves(self.held)
        base, again = self.frozen.run(self.panel), self.frozen.run(self.panel)
        moved = fitted.moved(before, fitted.leaves(self.held))
        said = "state mutated: " + ", ".join(moved[:3]) if moved else ""
        found = []
        for column, old in base.items():
            changed = differs(np.asarray(old), np.asarray(again[column]), NET_RTOL * scale(np.asarray(old)))
            if changed.any():
                t, n = np.argwhere(changed)[0]
                found.append(Finding("L07", self.frozen.name, "P4", int(changed.sum()), int(np.isfinite(old).sum()),
                                     old=float(old[t, n]), new=float(again[column][t, n]), of="numbers",
                                     note="; ".join(filter(None, ("two equal calls differ", said)))))  # fmt: skip
        if found:
            return ProbeResult("P4", self.frozen.name, "two equal calls", "LEAK", findings=tuple(found),
                               seconds=since(begun))  # fmt: skip
        return dataclasses.replace(other_order(self.frozen, self.panel, rng), detail=said)


def from_pipeline(
    make: Any, panel: Panel, *, test: float = 0.6, gets: Gets = "long", level: Level = "quick", name: str | None = None
) -> Parts:
    """Return the parts of an audit of an object with ``fit(frame)`` and ``predict(frame) -> Series``.

    make: a class, a function that makes one, or an unfitted object. gets: the frame as in ``from_function`` ("long":
    indexed by (date, symbol)). test: predictions count from this share of the dates on; rows before it are not
    looked at. Fits four times: frozen, and three times to see whether its fit matters.

    Errors: ConfigError when it cannot be fitted on the unchanged panel, or when ``test`` leaves no row.
    """
    if gets not in ("long", "wide", "panel"):
        raise ConfigError(f"audit: a pipeline gets 'long', 'wide' or 'panel', not {gets!r}")
    if _wants_labels(make):
        raise ConfigError(
            f"audit: {_name(make)}.fit takes X and y, not a frame of prices; use check_causal_estimator(estimator), or "
            "audit(from_estimator(estimator, features, label, panel))"
        )
    new = fresh(make)
    first, last = _test_rows(panel, test)
    name = name or _name(make)
    refit = Refit(f"refit of {name}", new, gets, int(panel.times[first]))
    held: Any = new()
    _first_fit(held, name, gets, panel)
    frozen = Frozen(name, lambda p: predict(held, refit.gets, refit.since_time, p))
    planted, notes = _planted(refit, panel, first)
    return Parts(panel, frozen, refit, (first, last), held, planted, notes=notes, level=level)


def from_estimator(
    estimator: Any, features: Callable[[Any], Any], label: Callable[[Any], Any], panel: Panel, *,
    fit_rows: FitRows = "train", test: float = 0.6, level: Level = "quick",
) -> Parts:  # fmt: skip
    """Return the parts of an audit of ``features`` + ``estimator.fit(X, y)`` + the rows it is fitted on.

    estimator: anything with ``fit(X, y)`` and ``predict(X)``, cloned for every fit. features, label: functions of the
    long frame (date, symbol) that give a DataFrame and a Series of its rows. fit_rows: "train": samples dated before
    the first test date whose label is known by then (labels are made from the frame cut there, which purges them);
    "unpurged": the same dates with labels of the whole frame; "all": every row. Rows with a NaN input or label are
    left out. ``predict_proba`` is used where there is one, the last column apart.
    """
    first, last = _test_rows(panel, test)
    if fit_rows not in ("train", "unpurged", "all"):
        raise ConfigError(f"audit: fit_rows must be 'train', 'unpurged' or 'all', got {fit_rows!r}")
    new, name = fresh(estimator), _name(estimator)

    def make() -> Supervised:
        return Supervised(new(), features, label, fit_rows, adapters.dates(panel)[first])

    refit = Refit(f"refit of {name}", make, "long", int(panel.times[first]))
    held = make()
    _first_fit(held, name, "long", panel)
    frozen = Frozen(name, lambda p: predict(held, refit.gets, refit.since_time, p))
    planted, notes = _planted(refit, panel, first)
    inputs = dataclasses.replace(adapters.from_function(features, "long"), name="features")
    return Parts(
        panel, frozen, refit, (first, last), held, planted, (inputs,), _predictors(held, name, panel), notes, level
    )


@dataclass(eq=False)
class Supervised:
    """An estimator with the functions that make its inputs and labels, as a pipeline of the long frame."""

    estimator: Any
    features: Callable[[Any], Any]
    label: Callable[[Any], Any]
    fit_rows: FitRows
    first_test: Any

    def fit(self, frame: Any) -> None:
        """Fit on the rows that ``fit_rows`` names."""
        dates = frame.index.get_level_values(0)
        x = self.inputs(frame)
        y = self.label(frame[dates <= self.first_test] if self.fit_rows == "train" else frame).dropna()
        rows = x.index.intersection(y.index, sort=False)
        if self.fit_rows != "all":
            rows = rows[rows.get_level_values(0) < self.first_test]
        self.estimator.fit(x.loc[rows], y.loc[rows])

    def predict(self, frame: Any) -> Any:
        """Return the predictions from the first test date on."""
        import pandas as pd

        x = self.inputs(frame)
        x = x[x.index.get_level_values(0) >= self.first_test]
        if not len(x):
            return pd.Series(dtype=float, index=x.index)
        return pd.DataFrame(_said(self.estimator, x), x.index).rename(columns=lambda k: f"prediction{k or ''}")

    def inputs(self, frame: Any) -> Any:
        """Return the (rows, inputs) frame without rows that lack an input."""
        made = self.features(frame)
        made = made.to_frame("input") if made.ndim == 1 else made
        return made[np.isfinite(made.to_numpy(np.float64)).all(axis=1)]


def _said(estimator: Any, x: Any) -> NDArray[np.float64]:
    """(S, O) float64: probabilities without the last class, else predictions."""
    if hasattr(estimator, "predict_proba"):
        return np.asarray(estimator.predict_proba(x), np.float64)[:, :-1]
    said = np.asarray(estimator.predict(x), np.float64)
    return said[:, None] if said.ndim == 1 else said


def _predictors(held: Supervised, name: str, panel: Panel) -> tuple[Predictor, ...]:
    """The fitted estimator on its test inputs, each sample by its number, so that P4 can pick and reorder rows."""
    import pandas as pd

    kept: list[Any] = []

    def numbers(frame: Any) -> Any:
        x = held.inputs(frame)
        kept.append(x[x.index.get_level_values(0) >= held.first_test])
        return pd.Series(np.arange(len(kept[0]), dtype=float), kept[0].index)

    (number,) = adapters.from_function(numbers, "long").run(panel).values()
    if not 2 <= len(kept[0]) < 1 << 24:  # sample numbers travel as float32
        return ()
    inputs = Features(number[:, :, None].astype(np.float32), ("sample",), (1,))
    windows = Windows(inputs, None, np.isfinite(number), 1, labelled=False)

    def ask(asked: Windows) -> NDArray[np.float64]:
        t, n = asked.index.T
        return _said(held.estimator, kept[0].iloc[np.asarray(asked.features.values)[t, n, 0].astype(np.intp)])

    def state() -> dict[str, bytes]:
        return {path: leaf.digest.encode() for path, leaf in fitted.leaves(held.estimator).items()}

    return (Predictor(name, windows, ask, state, "asset"),)


def other_order(target: Target, panel: Panel, rng: Stream) -> ProbeResult:
    """P4 for a target that sees the cross-section: the listings in another order must get the same numbers.

    Tolerance 1e-5 of a column's scale. Class L06. Batches cannot be halved here: a whole date belongs together.
    """
    begun = time.perf_counter()
    order = rng.numpy("order").permutation(panel.shape[1])
    back = np.argsort(order)
    base, new = target.run(panel), target.run(panel.assets(order))
    found = []
    for column, old in base.items():
        changed = differs(np.asarray(old), np.asarray(new[column])[:, back], NET_RTOL * scale(np.asarray(old)))
        if changed.any():
            t, n = np.argwhere(changed)[0]
            found.append(Finding("L06", target.name, "P4", int(changed.sum()), int(np.isfinite(old).sum()),
                                 old=float(old[t, n]), new=float(new[column][t, back[n]]), of="numbers",
                                 note="listings in another order"))  # fmt: skip
    return ProbeResult("P4", target.name, "the listings in another order", "LEAK" if found else "ok",
                       findings=tuple(found), seconds=since(begun))  # fmt: skip


def _name(thing: Any) -> str:
    return getattr(thing, "__name__", None) or type(thing).__name__


def _wants_labels(thing: Any) -> bool:
    """Whether its fit has a second argument y, as scikit-learn's estimators have."""
    try:
        return "y" in inspect.signature(thing.fit).parameters
    except (AttributeError, TypeError, ValueError):
        return False


def _test_rows(panel: Panel, test: float) -> tuple[int, int]:
    T = panel.shape[0]
    first = int(np.ceil(T * test)) if 0 < test < 1 else T
    if not 1 <= first <= T - 3:
        raise ConfigError(f"audit: test={test} leaves no test rows among {T}; use a share such as 0.6")
    return first, T - 2  # nothing follows the last row


def _first_fit(made: Any, name: str, gets: Gets, panel: Panel) -> None:
    try:
        fit(made, gets, panel)
    except Exception as e:
        raise ConfigError(
            f"audit: {name}.fit raised {type(e).__name__} on the unchanged panel: {e}; make it run there first"
        ) from e


def _planted(refit: Refit, panel: Panel, first: int) -> tuple[Target | None, tuple[str, ...]]:
    """The same object trained on its test rows: the leak that P3 must see travel through its own fit."""

    def run(given: Panel) -> Outputs:
        return refit.trained(given, trained_on_test(given, first))[0]

    base, again, planted = refit.run(panel), refit.run(panel), run(panel)
    noise = max((gap(base[k], again[k]) for k in base), default=0.0)
    if max((gap(base[k], planted[k]) for k in base), default=0.0) <= max(4 * noise, RTOL):
        return None, ("whether P3 could see this object's fit: training it on its test rows moved no prediction",)
    return Frozen(f"{refit.name} that trains on the test rows", run), ()


def trained_on_test(panel: Panel, first: int) -> Panel:
    """Return the panel whose rows before ``first`` hold the market of its last ``first`` rows."""
    T = panel.shape[0]
    fields = {}
    for name, values in panel.fields.items():
        out = values.copy()
        out[:first] = values[T - first :]
        fields[name] = out
    return panel.replace(fields=fields)
