"""Checks for other people's tests: ``assert_causal(f, panel)`` and ``check_causal_estimator(estimator)``.

Both raise AssertionError, as pytest likes it, and return the report: that nothing was found is not a proof.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hitherto.audit import fitted
from hitherto.audit.adapters import made_up_panel
from hitherto.audit.pipelines import fresh, from_pipeline
from hitherto.audit.probes import differs, scale, since
from hitherto.audit.refits import Make
from hitherto.audit.run import audit
from hitherto.audit.target import NET_RTOL
from hitherto.audit.verdict import AuditReport, Finding, ProbeResult
from hitherto.errors import ConfigError
from hitherto.panel import Panel
from hitherto.seeds import Stream

UNSEEN = (
    "inputs and labels (they were made up)", "the rows a caller fits it on", "P5 gradients", "P6 vintages",
    "P8 null worlds", "P12 files, network and clock",
)  # fmt: skip


def assert_causal(f: Any, panel: Panel | None = None, **options: Any) -> AuditReport:
    """Audit ``f`` and raise AssertionError when a leak is found, or when the audit is blind.

    f: what ``audit`` takes, or an object or class with ``fit(frame)`` and ``predict(frame)`` (options ``test``,
    ``gets``, ``level``). panel: None: a made-up one. The message is the LEAK lines, one each; for a blind audit it
    is the verdict. Returns the report. Errors of the caller (ConfigError) pass through.
    """
    if hasattr(f, "fit") and hasattr(f, "predict") and not hasattr(f, "audit_targets"):
        made = made_up_panel() if panel is None else panel
        seed = options.pop("seed", 0)
        report = audit(from_pipeline(f, made, **options), seed=seed)
    else:
        report = audit(f, panel, **options)
    return _judged(report)


def check_causal_estimator(
    estimator: Any, *, X: Any = None, y: Any = None, sample_times: Any = None, own_split: float | None = None,
    seed: int = 0,
) -> AuditReport:  # fmt: skip
    """Run the battery on an estimator with ``fit(X, y)`` and ``predict(X)``; raise AssertionError with every failure.

    X: (S, F) inputs, an array or a frame whose columns keep their names, y: (S,) labels, in the order of time (None:
    400 x 6 made-up numbers, labels 0 or 1 for a classifier). sample_times: (S,) dates in any ordered unit, sorted
    (None: one date per 20 rows). own_split: None: it is fitted on the rows before 60 % of the dates; a share: it is
    fitted on all rows and splits in time by itself, its predictions counting from that share of the dates on.

    Tried: two equal fits (P0); the future inputs rewritten, predictions up to the cut must stand (P2); fitted again
    with inputs and labels rewritten past the cut, or, without own_split, after it was fitted on them before, which it
    must forget (P3); samples alone, one by one, in halves and in another order, and its state before and after
    predicting (P4). Tolerance: 1e-5 of the predictions' scale, four times the noise of two equal fits where that is
    more. Errors: ConfigError when it cannot be fitted on the data as they are.
    """
    begun = time.perf_counter()
    case = _case(estimator, X, y, sample_times, own_split, Stream(seed, "estimator"))
    name = getattr(estimator, "__name__", None) or type(estimator).__name__
    battery = Battery(name, fresh(estimator), case)
    results = battery.run()
    findings = tuple(f for r in results for f in r.findings)
    report = AuditReport(
        tuple(results), findings, (), {name: battery.noise}, UNSEEN,
        f"{name} on {len(case.x)} samples of {case.dates} dates", battery.calls, time.perf_counter() - begun,
    )  # fmt: skip
    return _judged(report)


def _judged(report: AuditReport) -> AuditReport:
    """Raise with the LEAK lines, or with the verdict of an audit that cannot tell: that is no pass."""
    if report.findings:
        raise AssertionError("\n".join(one.line() for one in report.findings))
    if report.exit_code:
        raise AssertionError(report.verdict)
    return report


@dataclass(frozen=True, eq=False)
class Case:
    """Samples in time order: x (S, F), y (S,), train (S,) bool given to fit, first: the first row that counts.

    cut: other_x agrees with x before this row, other_y with y before ``first``: labels of a test date are not known.
    """

    x: NDArray[Any]
    y: NDArray[Any]
    train: NDArray[np.bool_]
    first: int
    cut: int
    other_x: NDArray[Any]
    other_y: NDArray[Any]
    dates: int
    own: bool
    columns: Any = None

    def frame(self, x: NDArray[Any]) -> Any:
        """``x`` as it was given: a frame with its columns, or an array."""
        if self.columns is None:
            return x.copy()
        import pandas as pd

        return pd.DataFrame(x.copy(), columns=self.columns)


def _case(estimator: Any, X: Any, y: Any, sample_times: Any, own_split: float | None, rng: Stream) -> Case:
    """Lay the samples out; a made-up one has a signal, so that a model learns something."""
    draw = rng.numpy("case")
    if X is None:
        X = draw.standard_normal((400, 6))
        y = X[:, 0] - 0.5 * X[:, 1] + 0.3 * draw.standard_normal(400)
        y = np.where(y > 0, 1, 0) if _classifies(estimator) else y
    x, y = np.asarray(X), np.asarray(y)
    if x.dtype.kind not in "fiub":
        raise ConfigError(f"check: X holds {x.dtype}; encode words and dates as numbers first")
    if x.ndim != 2 or len(x) != len(y) or len(x) < 10:
        raise ConfigError(f"check: X {x.shape} and y {y.shape} must be (S, F) and (S,) with S >= 10")
    times = np.arange(len(x)) // 20 if sample_times is None else np.asarray(sample_times)
    if times.shape != (len(x),) or (times[1:] < times[:-1]).any():
        raise ConfigError(f"check: sample_times {times.shape} must be {len(x)} sorted dates, one per row of X")
    days = np.unique(times)
    share = 0.6 if own_split is None else own_split
    if not 0 < share < 1 or not 1 <= int(np.ceil(len(days) * share)) < len(days) - 1:
        raise ConfigError(f"check: a share of {share} of {len(days)} dates leaves none to test; use 0.6 and 5 dates")
    at = int(np.ceil(len(days) * share))
    first, later = (int(np.searchsorted(times, days[k])) for k in (at, at + 1))
    future = np.arange(len(x)) >= later
    mixed, labels = (draw.integers(0, later, len(x)) for _ in range(2))
    noise = 0.1 * x.std(axis=0) * draw.standard_normal(x.shape)
    other_x = np.where(future[:, None], -(x[mixed] + noise), x).astype(x.dtype)
    other_y = np.where(np.arange(len(x)) >= first, y[labels], y)
    train = np.ones(len(x), bool) if own_split is not None else np.arange(len(x)) < first
    return Case(x, y, train, first, later, other_x, other_y, len(days), own_split is not None,
                getattr(X, "columns", None))  # fmt: skip


def _classifies(estimator: Any) -> bool:
    try:
        from sklearn.base import is_classifier

        return bool(is_classifier(estimator))
    except Exception:  # noqa: BLE001  no scikit-learn, or an object without its tags
        return hasattr(estimator, "predict_proba")


class Battery:
    """The probes on one estimator; every number is compared with the predictions of one honest fit."""

    def __init__(self, name: str, make: Make, case: Case) -> None:
        self.name, self.make, self.case = name, make, case
        self.noise, self.calls = 0.0, 0
        try:
            self.model = self.fit(case.x, case.y)
            self.base = self.ask(self.model, case.x)
        except Exception as e:
            raise ConfigError(f"check: {name} raised {type(e).__name__} on the data as they are: {e}") from e
        self.size = scale(self.base)

    def run(self) -> list[ProbeResult]:
        """Return P0, P2, P3 and P4; a model that moves or is random at prediction is not asked in company."""
        p0, p2, p3 = (self.tried(*one) for one in (
            ("P0", "two equal fits", self.equal_fits),
            ("P2", "later inputs rewritten", self.later_inputs),
            ("P3", "fitted again with later inputs and labels rewritten" if self.case.own else
             "fitted again after a fit on later rows", self.refit),
        ))  # fmt: skip
        what = "state before and after, samples alone, halves, another order, one by one"
        return [p0, p2, p3, self.tried("P4", what, self.company)]

    def tried(self, probe: str, what: str, experiment: Callable[[], list[Finding]]) -> ProbeResult:
        """Run one experiment; what it raises is a verdict of "cannot tell"."""
        begun = time.perf_counter()
        try:
            found = experiment()
        except Exception as e:  # noqa: BLE001  somebody else's code; what it raised is reported
            said = f"{self.name} raised {type(e).__name__}: {e}".split("\n")[0][:200]
            return ProbeResult(probe, self.name, what, "cannot tell", said, seconds=since(begun))
        return ProbeResult(probe, self.name, what, "LEAK" if found else "ok", findings=tuple(found),
                           seconds=since(begun))  # fmt: skip

    def fit(self, x: NDArray[Any], y: NDArray[Any], model: Any = None) -> Any:
        """Fit a new object (or ``model`` again) on the rows that it may have."""
        model = self.make() if model is None else model
        model.fit(self.case.frame(x[self.case.train]), y[self.case.train].copy())
        return model

    def ask(self, model: Any, x: NDArray[Any]) -> NDArray[np.float64]:
        """(S, K) float64: predictions, or probabilities where there are some."""
        self.calls += 1
        given = self.case.frame(x)
        said = model.predict_proba(given) if hasattr(model, "predict_proba") else model.predict(given)
        said = np.asarray(said, np.float64)
        if len(said) != len(x):
            raise ConfigError(f"check: {self.name} gave {len(said)} predictions for {len(x)} rows")
        return said.reshape(len(x), -1)

    def compare(
        self, leak: str, probe: str, new: NDArray[np.float64], rows: NDArray[np.integer], note: str, of: str = "samples"
    ) -> list[Finding]:
        """Return one finding when ``new`` differs from the honest answer at ``rows``."""
        old = self.base[rows]
        allowed = max(NET_RTOL, 4 * self.noise if probe == "P3" else 0.0) * self.size
        changed = differs(old, new, allowed)
        if not changed.any():
            return []
        i, k = np.argwhere(changed)[0]
        bad = int(changed.any(axis=1).sum())
        return [Finding(leak, self.name, probe, bad, len(rows), old=float(old[i, k]), new=float(new[i, k]), of=of,
                        note=note)]  # fmt: skip

    @property
    def counted(self) -> NDArray[np.integer]:
        """Rows whose predictions count and are known at the cut."""
        return np.arange(self.case.first, self.case.cut)

    def equal_fits(self) -> list[Finding]:
        """P0: a second equal fit, with the first test row's date as its time."""
        again = self.ask(self.fit(self.case.x, self.case.y), self.case.x)
        found = self.compare("L32", "P0", again, np.arange(len(again)), "two equal fits differ; seed it")
        gap = np.abs(again - self.base)
        self.noise = float(gap.max()) / self.size if np.isfinite(gap).all() else 0.0
        return found

    def later_inputs(self) -> list[Finding]:
        """P2: inputs after the cut are others; what was predicted before must stand."""
        rows = np.arange(self.case.cut)
        return self.compare("L04", "P2", self.ask(self.model, self.case.other_x)[rows], rows,
                            "moves with later inputs of the same call")  # fmt: skip

    def refit(self) -> list[Finding]:
        """P3: fitted on another future, or after having been."""
        c = self.case
        if c.own:
            new = self.ask(self.fit(c.other_x, c.other_y), c.other_x)[self.counted]
            return self.compare("L05", "P3", new, self.counted, "its fit reads inputs or labels past the decision")
        used = self.make()
        used.fit(c.frame(c.other_x), c.other_y.copy())
        new = self.ask(self.fit(c.x, c.y, used), c.x)[self.counted]
        return self.compare("L05", "P3", new, self.counted, "remembers an earlier fit on later rows")

    def company(self) -> list[Finding]:
        """P4: state first, then samples alone, in halves, in another order and one by one."""
        before = fitted.leaves(self.model)
        again = self.ask(self.model, self.case.x)
        moved = fitted.moved(before, fitted.leaves(self.model))
        everything = np.arange(len(again))
        found = self.compare("L07", "P4", again, everything, "two equal calls differ")
        if moved:
            found.append(Finding("L07", self.name, "P4", len(moved), len(before), of="leaves",
                                 note="state mutated: " + ", ".join(moved[:3])))  # fmt: skip
        if found:  # a random or moving model differs everywhere: its company proves nothing more
            return found
        late = everything[self.case.first :][:100]
        order = Stream(0, "order").numpy().permutation(len(again))
        asked = (
            ("one by one against at once", late, lambda: np.concatenate([self.ask(self.model, self.case.x[i : i + 1])
                                                                         for i in late])),
            ("in half of the company", everything[::2], lambda: self.ask(self.model, self.case.x[::2])),
            ("samples in another order", order, lambda: self.ask(self.model, self.case.x[order])),
        )  # fmt: skip
        for note, rows, answer in asked:
            found = self.compare("L06", "P4", answer(), rows, note)
            if found:
                break
        return found
