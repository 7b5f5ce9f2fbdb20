"""What the audit tries on a study: its features, frozen models, portfolio rule, a reduced refit, and its folds."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hitherto.audit.probes import gradients
from hitherto.audit.target import AuditPlan, FunctionTarget, Predictor, Traded
from hitherto.audit.verdict import ProbeResult
from hitherto.evaluate.performance import sharpe
from hitherto.labels import forward_return
from hitherto.models.base import Context, Forecaster
from hitherto.panel import Panel
from hitherto.seeds import Stream
from hitherto.split import make_fold
from hitherto.study.core import CROSS_SECTIONAL, Fit, Prepared, Study, admitted
from hitherto.study.evaluate import Evaluation, weigh
from hitherto.study.trading import Floor, first_test, floor
from hitherto.windows import Windows

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hitherto.models.net import FittedNet

ASSETS, ROWS = 50, 600  # the quick audit's panel: at most this many listings and bars
TRAIN_ROWS = 1500  # the reduced refit trains on at most this many bars
SAMPLES, DATES, NAMES = 5, 2, 6  # of the made-up batch on which P5 differentiates a net; a date has that many names


def plan(
    study: Study, prepared: Prepared | None = None, fits: list[Fit] | None = None, done: Evaluation | None = None
) -> AuditPlan:
    """Return what to try. Without fits the first fold is fitted first, reduced (<= 50 listings, 1 epoch).

    done: the evaluation of a run, whose strategy P9 looks at; without it a book of the first feature stands in.
    """
    p = prepared or study.prepare()
    level = "full" if study.settings.audit.level == "full" else "quick"
    if fits is None:
        p, fits = _reduced_fits(study, p)
    last = [f for f in fits if f.fold == max(x.fold for x in fits) and f.seed == 0]
    panel = p.panel if level == "full" else _recent(p, last[0])
    unit = "date" if study.settings.features.normalise in CROSS_SECTIONAL else "asset"
    listed = [f for f in last if f.model.name in {m.name for m in study.models[: study.listed]}]
    targets = [FunctionTarget("features", lambda q: _features(study, q), unit)]
    targets += [
        FunctionTarget(f"forecasts of {f.model.name}", _frozen(study, f), _wider(unit, f.model.unit), exact=False)
        for f in listed
    ]
    market = floor(study, p.panel, first_test(p)) if done is None else done.floor
    targets.append(FunctionTarget("portfolio rule", lambda q: _rule(study, q, market.proportional), "date"))
    refit_panel, rows = _refit_panel(study, p, level)
    # Ridge beside the first model: the planted leak must reach a fitted number even where that model fits nothing.
    ridge = [m for m in study.models[1:] if m.name == "ridge"]
    models = study.models[: study.listed] if level == "full" else [study.models[0], *ridge]
    return AuditPlan(
        panel=panel, targets=tuple(targets), folds=tuple(p.folds), label=p.label, lookback=_reach(study, p),
        predictors=tuple(_predictor(f) for f in last), level=level,
        refit=FunctionTarget("refit", _refit(study, models, rows, level), "date"),
        refit_panel=refit_panel, refit_span=(int(rows["test"][0]), int(rows["test"][-1])),
        refit_planted=FunctionTarget("refit that trains on the test rows",
                                     _refit(study, models, rows, level, planted=True), "date"),
        books=(_traded(study, p, market, done),), notes=_notes(study, p), checks=tuple(_talks(*n) for n in _nets(last)),
    )  # fmt: skip


def _wider(a: str, b: str) -> Any:
    return "date" if "date" in (a, b) else "asset"


def _reach(study: Study, p: Prepared) -> int:
    T = len(p.panel.times)
    return max(m.lookback for m in study.models) + max(b for b in p.features.lookbacks if b < T) - 1


def _features(study: Study, panel: Panel) -> dict[str, NDArray[np.float32]]:
    f = study.make_features(panel)
    return {name: f.values[:, :, i] for i, name in enumerate(f.names)}  # type: ignore[misc]


def _frozen(study: Study, fit: Fit) -> Any:
    """Return panel -> forecasts of a model whose weights and transform stay as they were fitted."""

    def run(panel: Panel) -> dict[str, NDArray[np.float64]]:
        features = study.make_features(panel)
        # Naive models repeat past outcomes: they get the labels of the panel at hand, which must not reach beyond t.
        label = forward_return(panel, tuple(study.settings.label.horizons), study.settings.label.entry)
        windows = fit.windows.with_(features=features, label=label, mask=admitted(panel))
        return {fit.model.name: _lay_out(windows, fit.fitted.predict(windows), panel)}

    return run


def _lay_out(windows: Windows, predicted: NDArray[np.float64], panel: Panel) -> NDArray[np.float64]:
    out = np.full((*panel.shape, predicted.shape[1] if predicted.ndim == 2 else 1), np.nan)
    out[windows.index[:, 0], windows.index[:, 1]] = predicted
    return out


def _rule(study: Study, panel: Panel, spent: float) -> dict[str, NDArray[np.float64]]:
    """Return the weights that the portfolio rules make of the first feature: a score whose bits do not wobble."""
    score = study.make_features(panel).values[:, :, 0].astype(np.float64)
    ok = admitted(panel)
    return {r.rule: weigh(r, score, ok, panel, spent).values for r in study.settings.portfolio}


def _traded(study: Study, p: Prepared, market: Floor, done: Evaluation | None) -> Traded:
    """Return the orders of the strategy, and its Sharpe ratio as traded and with every fill one bar later.

    Later than the same bar is the normal next bar; later than the next bar is the one after.
    """
    first = study.settings.portfolio[0]
    if done is None:
        score = p.features.values[:, :, 0].astype(np.float64)
        weights, name = weigh(first, score, p.admitted, p.panel, market.proportional), "a book of the first feature"
        rows = np.flatnonzero(weights.decided[market.first :])
        span = (market.first + (int(rows[0]) if len(rows) else 0), len(p.panel.times))
        book = market.trade(weights, name, span)
    else:
        name, book = done.main, done.books[done.main]
        weights, span = done.weights[done.main], (book.start, book.start + len(book.equity))
    e = market.settings
    early = e.same_bar or e.fill == "same_close"
    honest = e.model_copy(update={"same_bar": False, "fill": "next_close" if e.fill == "same_close" else e.fill})
    later = dataclasses.replace(market, settings=honest).trade(weights, name, span, delay=1 if early else 2)
    per = study.settings.periods_per_year
    ratios = [sharpe(b.returns, periods_per_year=per) for b in (book, later)]
    return Traded(name, book.fills.decided, book.fills.t, *(float("nan") if r is None else r for r in ratios))


def _recent(p: Prepared, fit: Fit) -> Panel:
    """Return the first bars of the last test stretch with their warm-up, for at most 50 listings that trade then."""
    rows = np.flatnonzero(fit.windows.mask.any(axis=1))
    stop = min(len(p.panel.times), int(rows[0]) + ROWS // 2)
    start = max(0, stop - ROWS)
    return p.panel.assets(_some(p.admitted[start:stop])).rows(stop).since(start)


def _some(ok: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the columns of at most 50 listings, those admitted most often (ties by order)."""
    return np.sort(np.argsort(-ok.sum(axis=0), kind="stable")[:ASSETS])


def _refit_panel(study: Study, p: Prepared, level: str) -> tuple[Panel, dict[str, NDArray[np.intp]]]:
    """Return the panel of the reduced refit (first fold) and its train, valid and test rows in that panel."""
    fold = p.folds[0]
    test, valid = (np.flatnonzero(m.any(axis=1)) for m in (fold.test, fold.valid))
    train = np.flatnonzero(fold.rows)
    stop = int(test[-1]) + 1 if level == "full" else min(int(test[-1]) + 1, int(test[0]) + ROWS // 2)
    after = valid if len(valid) else test
    start = 0 if level == "full" else max(0, int(after[0]) - TRAIN_ROWS)
    panel = p.panel if level == "full" else p.panel.assets(_some(p.admitted[start:stop]))
    rows = {"train": train, "valid": valid, "test": test}
    kept = {k: (v[(v >= start) & (v < stop)] - start).astype(np.intp) for k, v in rows.items()}
    return panel.rows(stop).since(start), kept


def _refit(
    study: Study, models: list[Forecaster], rows: dict[str, NDArray[np.intp]], level: str, *, planted: bool = False
) -> Any:
    """Return panel -> test forecasts of models fitted anew on it; ``planted`` trains on the test rows too."""

    def run(panel: Panel) -> dict[str, NDArray[np.float64]]:
        features, ok = study.make_features(panel), admitted(panel)
        label = forward_return(panel, tuple(study.settings.label.horizons), study.settings.label.entry)
        reach = max(m.lookback for m in study.models)
        stages: Any = {k: v[v < len(panel.times)] for k, v in rows.items()}
        fold = make_fold(0, label, ok, reach, **stages)
        p = Prepared(panel, features, label, ok, [fold])
        out = {}
        for model in models:
            train = study.windows(p, model, fold)
            valid = train.with_(mask=fold.valid)
            if planted:
                train = train.with_(mask=fold.train | fold.test)
            context = Context(max_epochs=None if level == "full" else 1)
            rng = Stream(study.settings.seed, "audit", model.name)
            fitted = model.fit(train, valid, rng=rng, context=context)
            test = train.with_(mask=fold.test, labelled=False)
            out[model.name] = _lay_out(test, fitted.predict(test), panel)
        return out

    return run


def _reduced_fits(study: Study, p: Prepared) -> tuple[Prepared, list[Fit]]:
    """Fit the listed models on the reduced first fold, for an audit without a run."""
    panel, rows = _refit_panel(study, p, "quick")
    features, ok = study.make_features(panel), admitted(panel)
    label = forward_return(panel, tuple(study.settings.label.horizons), study.settings.label.entry)
    stages: Any = rows
    fold = make_fold(0, label, ok, _reach(study, p), **stages)
    small = Prepared(panel, features, label, ok, [fold])
    fits = [study.fit(small, fold, m, 0, Context(max_epochs=1)) for m in study.models]
    return small, fits


def _predictor(fit: Fit) -> Predictor:
    """Return the frozen model over some dates of its test stretch."""
    rows = np.flatnonzero(fit.windows.mask.any(axis=1))[:40]
    mask = np.zeros_like(fit.windows.mask)
    mask[rows] = fit.windows.mask[rows]
    windows = fit.windows.with_(mask=mask)
    return Predictor(fit.model.name, windows, fit.fitted.predict, fit.fitted.tensors, fit.model.unit)


def _nets(fits: list[Fit]) -> list[tuple[str, FittedNet]]:
    """Return the fitted torch nets by the name of their model; of an ensemble the first member that is one."""
    from hitherto.models.net import FittedNet

    found = [(f.model.name, [one for one in getattr(f.fitted, "members", (f.fitted,)) if isinstance(one, FittedNet)])
             for f in fits]  # fmt: skip
    return [(name, nets[0]) for name, nets in found if nets]


def _talks(name: str, fitted: FittedNet) -> Callable[[Stream], ProbeResult]:
    """P5 on a net in evaluation mode: no sample of a batch (a net of dates: no date) may feel the others (L06)."""

    def check(rng: Stream) -> ProbeResult:
        import torch

        by_date = fitted.settings.unit == "date"
        shape = (DATES, NAMES * fitted.width) if by_date else (SAMPLES, fitted.width)
        x = rng.numpy("neighbours", name).standard_normal((fitted.settings.lookback, *shape), np.float32)
        call = _date_by_date if by_date else None
        net = copy.deepcopy(fitted.net).cpu().eval()
        result = gradients.neighbours(net, torch.from_numpy(x), name=name, call=call)
        # P4 asks the same of the model itself: a net without a usable gradient does not make the audit blind.
        status = "not assessed" if result.status == "cannot tell" else result.status
        return dataclasses.replace(result, status=status, looked=("L06",))

    return check


def trials_counted(trials: int) -> Callable[[Stream], ProbeResult]:
    """Return P11 on a run: its test was read by so many trials, and the ledger keeps count before each reading.

    A search is no leak where every trial is counted and the Sharpe ratio deflated by them.
    """

    def check(rng: Stream) -> ProbeResult:
        many = "one trial has" if trials == 1 else f"{trials} trials have"
        return ProbeResult(
            "P11", "trial ledger", f"{many} read this test, each written down before", "ok",
            "the Sharpe ratio is deflated by all of them", looked=("L19",),
        )  # fmt: skip

    return check


def _date_by_date(net: nn.Module, x: Tensor) -> Tensor:
    """How a net of dates predicts: x (L, D, NAMES * F) -> (D, NAMES * C), one date at a time."""
    import torch

    return torch.stack([net(x[:, d].unflatten(1, (NAMES, -1))).flatten() for d in range(x.shape[1])])


def _notes(study: Study, p: Prepared) -> tuple[str, ...]:
    out = []
    if p.panel.adjustment == "restated_total_return":
        out.append("vendor restatement: the price levels know later splits and dividends; only one vintage is at hand")
    if any(f.code == "survivorship" for f in p.panel.findings):
        out.append("survivorship: the names were chosen by who lived on; no list of the dead is at hand")
    if study.settings.seeds > 1:
        out.append("seeds beyond the first: only seed 0 was probed")
    return (
        *out,
        "vintages: the bars were read once; what the vendor may rewrite later was not seen",
        "choice of features and settings by their author: the trial ledger counts what was run here, not elsewhere",
    )
