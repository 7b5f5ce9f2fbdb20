"""What is ours, found by looking, as targets of the audit: features, normalisations, labels, splits, models, books."""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
import typing
from dataclasses import fields, replace

import numpy as np

import hitherto.models
from hitherto import labels, split
from hitherto.audit import FunctionTarget, Predictor, made_up_panel
from hitherto.audit import cuts as cutting
from hitherto.audit.probes import determinism, refit, rewriting, truncation
from hitherto.config import FeatureSettings, PortfolioSettings
from hitherto.features import library, normalise
from hitherto.features.command import SETS
from hitherto.features.expression import evaluate, parse
from hitherto.features.operators import OPERATORS
from hitherto.labels import Label, forward_return
from hitherto.models.base import Context, Forecast
from hitherto.models.net import Net
from hitherto.portfolio import construct, optimise
from hitherto.seeds import Stream
from hitherto.signal import ensemble, scores
from hitherto.split import make_fold
from hitherto.study.core import KINDS, Study, admitted, build_model
from hitherto.study.evaluate import weigh
from hitherto.windows import Windows

ROWS, NAMES, WARM = 160, 12, 70
CUTS = 50  # tried at least, of every column
EPOCHS = 3
FORECAST = 66  # first row that frozen models forecast
RNG = Stream(0, "self")
SPAN = 8  # rows of rolling normalisations
SMALL = {
    "move": "close / ref(close, 1) - 1",
    "trend": "close / mean(close, 5) - 1",
    "busy": "volume / mean(volume, 5) - 1",
}


@functools.lru_cache(maxsize=4)
def market(rows=ROWS, names=NAMES, seed=5):
    """Return a random-walk panel with suspensions and factor steps."""
    return made_up_panel(rows, names, seed)


# ---- the experiment ----
def all_three(target, panel, *, first=WARM, unit=None, ends=CUTS, last=None, together=CUTS + 2):
    """Return P0, P1 and P2 of a target; ``first``..``last``: rows of the cuts, ``ends``: cuts of P1."""
    T, N = panel.shape
    last = T - 2 if last is None else last
    rows = np.arange(T)[:, None]
    ok = np.broadcast_to((rows >= first) & (rows <= last), (T, N)) & admitted(panel)
    unit = unit or target.unit
    common = cutting.common(panel, ok, together, RNG.child("cuts"))
    own = cutting.each(panel, ok, -(-96 // N), RNG.child("cuts")) if unit == "asset" else common
    short = common if ends >= len(common) else common[np.linspace(0, len(common) - 1, ends).astype(int)]
    return (
        determinism.probe(target, panel, None, None),
        truncation.probe(target, panel, short, RNG),
        rewriting.probe(target, panel, own, RNG.child("rewrite"), investigate=False),
    )


def clean(results, column, ends=CUTS):
    """Assert that no probe moved a column of an exact target, in enough tries."""
    p0, p1, p2 = results
    assert "cannot tell" not in {r.status for r in results}, [r.detail for r in results]
    assert column not in p0.hits, f"P0: two equal runs differ in {column}"
    assert p1.hits[column] == (0, p1.cuts[1]), p1.findings
    assert p1.cuts[1] >= ends
    hits, tried = p2.hits[column]
    assert hits == 0, p2.findings
    assert tried >= CUTS


# ---- operators ----
def text_of(name, n=4):
    """A call of one operator on fields of the panel."""
    operator = OPERATORS[name]
    inputs = ("close", "volume", "open")[: len(operator.inputs)]
    numbers = [str(max(n, operator.least) if n >= 1 else n) if k == "n" else "0.3" for k in operator.numbers]
    if operator.symbol == "**":
        return "close ** 0.3"  # a volume is too large a power: nothing but unknown values
    if operator.symbol:
        return f"{operator.symbol}{inputs[0]}" if len(inputs) == 1 else f" {operator.symbol} ".join(inputs)
    return f"{name}({', '.join([*inputs, *numbers])})"


def operator_texts(across):
    """Return the text of every operator in every form, of the cross-section or of one listing."""
    texts = []
    for name, operator in OPERATORS.items():
        texts.append(text_of(name))
        texts += [text_of(name, {"expanding": 0, "exponential": 0.3}[form]) for form in operator.forms]
    return [t for t in texts if parse(t).is_cross_sectional == across]


def by_plan(texts):
    """Columns of the compiled plan, by text."""

    def run(panel):
        made = library.build(panel, {f"f{i}": t for i, t in enumerate(texts)})
        return {t: made.values[:, :, i] for i, t in enumerate(texts)}

    return run


def by_definition(texts):
    """Columns of the slow definitions, by text."""

    def run(panel):
        return {t: evaluate(parse(t), panel) for t in texts}

    return run


# ---- feature sets and normalisations ----
def feature_set(name):
    """Return a named set's expressions, with the typical price for VWAP."""
    make = SETS[name]
    return make("typical") if "vwap" in inspect.signature(make).parameters else make()


def columns(features):
    """Return name -> (T, N) of Features."""
    return {n: features.values[:, :, i] for i, n in enumerate(features.names)}


def normalisations():
    """Return every value of the setting features.normalise."""
    return typing.get_args(FeatureSettings.model_fields["normalise"].annotation)


def normalised(kind):
    """Return panel -> columns as a model meets them, with what is fitted (on the first 60 rows) applied."""
    tables = {"expressions": SMALL, "normalise": kind, "span": SPAN}
    study = Study(market(), features=tables, models=[{"kind": "ridge", "lookback": 1}])

    def run(panel):
        made = study.make_features(panel)
        early = np.arange(len(panel.times)) < 60
        fits = {"zscore": normalise.fit_zscore, "robust_zscore": normalise.fit_robust_zscore}
        if kind in fits:
            values = made.values.copy()
            fits[kind](made, early, admitted(panel), 3.0).apply(values)
            made = replace(made, values=values)
        return columns(made)

    return run


def public(module, returns=None):
    """Return the public functions that a module defines, those with one return annotation where it is named."""
    found = {
        k: f
        for k, f in vars(module).items()
        if inspect.isfunction(f) and f.__module__ == module.__name__ and not k.startswith("_")
    }
    return {k: f for k, f in found.items() if returns is None or returns in str(f.__annotations__.get("return"))}


# ---- labels and splits ----
LABELS = {
    "forward_return": [
        functools.partial(forward_return, horizons=(1, 5), entry=entry) for entry in ("next_close", "next_open")
    ]
}
SPLITTERS = {
    "WalkForward": [split.WalkForward(30, 10, 15), split.WalkForward(30, 10, 15, mode="rolling", gap=2)],
    "Dates": [split.Dates((5, 59), (60, 89), (90, 150))],
    "CombinatorialPurged": [split.CombinatorialPurged(4, 2, 3), split.CombinatorialPurged(5, 1, 2, valid=0.2)],
}


def labellers():
    """Return the names of our functions that make labels."""
    return sorted(public(labels, "Label"))


def splitters():
    """Return the names of our classes that split."""
    return sorted(k for k, c in vars(split).items() if inspect.isclass(c) and hasattr(c, "split"))


def known_labels(make, early=0):
    """Return panel -> labels laid at the row where they become known (``early`` rows before: a lie)."""

    def run(panel):
        label: Label = make(panel)
        T, N, outputs = label.values.shape
        out = {}
        for o in range(outputs):
            total, count = np.zeros((T, N)), np.zeros((T, N), int)
            t, n = np.nonzero(label.end[:, :, o] >= 0)
            at = label.end[t, n, o] - early
            np.add.at(total, (at, n), (label.start[t, n, o] + 1.0) * label.values[t, n, o])
            np.add.at(count, (at, n), 1)
            out[label.names[o]] = np.where(count > 0, total, np.nan)
        return out

    return run


def trained_on(splitter, lookback=6, late=0, labelled=True):
    """Return panel -> which samples the fold whose test runs at row t trains and validates on, from its first row on.

    late: train rows that a splitter which does not purge would add. labelled: count samples with a label only.
    """

    def run(panel):
        ok, label = admitted(panel), forward_return(panel, (5,))
        T, N = panel.shape
        marks = np.sqrt(np.arange(1.0, T + 1))[:, None]
        out = {k: np.full((T, N), np.nan) for k in ("train", "valid", "rows")}
        for fold in splitter.split(label, ok, lookback):
            if not fold.test.any():
                continue  # nothing is known any more there: nobody to test
            first = int(np.argmax(fold.test.any(axis=1)))
            known = np.isfinite(label.values[:, :, 0]) | (not labelled)
            train = fold.train & known
            train[first : first + late] |= (ok & known)[first : first + late]
            out["train"][first:] = np.where(train, marks, 0.0).sum(axis=0)
            out["valid"][first:] = np.where(fold.valid & known, marks, 0.0).sum(axis=0)
            out["rows"][first:] = np.flatnonzero(fold.rows).sum()
        return out

    return run


def own_row(label):
    """The rule as it was: the last row of each sample, its own where it has no label."""
    return np.maximum(label.known_until(), np.arange(label.end.shape[0], dtype=np.int32)[:, None])


def halted():
    """Return a market whose first listing halts from before the validation until after the first test rows."""
    panel = market(130, 8)
    halt = np.zeros(panel.shape, bool)
    halt[57:95, 0] = True
    values = {k: v if k == "factor" else np.where(halt, np.nan, v) for k, v in panel.fields.items()}
    return panel.replace(fields=values, suspended=panel.suspended | halt)


# ---- models ----
def small(kind, own_sizes=False):
    """Return the model of a kind with small sizes and few epochs; ``own_sizes``: with those it has by itself."""
    if own_sizes:
        return build_model({"kind": kind, "of": {"kind": "lstm"}} if kind == "ensemble" else {"kind": kind}, kind)
    module, name = KINDS[kind]
    cls = getattr(importlib.import_module(f"hitherto.models.{module}"), name)
    have = {f.name for f in fields(cls)}
    if kind == "ensemble":
        return build_model({"kind": kind, "of": {"kind": "mlp", "lookback": 4, "epochs": EPOCHS}, "members": 2}, kind)
    sizes = {"lookback": 6, "epochs": EPOCHS, "batch": 128, "hidden": 8, "rounds": 8, "min_data": 10}
    table = {k: v for k, v in sizes.items() if k in have}
    if kind == "mlp":
        table["hidden"] = (8,)
    return build_model({"kind": kind, **table}, kind)


def stages(panel):
    """Return the train, validation and test rows of the models' fold."""
    T = len(panel.times)
    return {"train": np.arange(8, 60), "valid": np.arange(60, 78), "test": np.arange(78, max(T, 79))}


def prepared(model, panel, planted=False):
    """Return train and valid windows and the fold of a panel; ``planted``: the test rows are trained on too."""
    features, ok = library.build(panel, SMALL), admitted(panel)
    label = forward_return(panel, (1,))
    fold = make_fold(0, label, ok, model.lookback, **stages(panel))
    affine = normalise.fit_zscore(features, fold.rows, ok, 3.0)
    mask = fold.train | fold.test if planted else fold.train
    train = Windows(features, label, mask, model.lookback, affine)
    return train, train.with_(mask=fold.valid), fold


@functools.lru_cache(maxsize=32)
def fit(kind):
    """Return the model of a kind, its fit on ``market(130, 8)`` and the train windows."""
    model, panel = small(kind), market(130, 8)
    train, valid, _ = prepared(model, panel)
    return model, model.fit(train, valid, rng=RNG.child(kind), context=Context(max_epochs=EPOCHS)), train


def laid_out(name, windows, predicted, shape):
    """Return name -> (T, N) forecasts."""
    out = np.full(shape, np.nan)
    out[windows.index[:, 0], windows.index[:, 1]] = predicted[:, 0]
    return {name: out}


def frozen(kind, ahead=0):
    """Return the target of a fitted model that stays as it is; ``ahead``: rows of the future its features know."""
    model, fitted, train = fit(kind)

    def run(panel):
        features, ok = library.build(panel, SMALL), admitted(panel)
        if ahead:
            values = np.concatenate([features.values[ahead:], features.values[-ahead:]])
            features = replace(features, values=values)
        ok &= np.arange(len(ok))[:, None] >= FORECAST
        windows = train.with_(features=features, label=forward_return(panel, (1,)), mask=ok, labelled=False)
        return laid_out(kind, windows, fitted.predict(windows), panel.shape)

    return FunctionTarget(kind, run, model.unit)


def refitted(kind, planted=False, own_sizes=False):
    """Return the target that fits anew on the panel it is given and forecasts the test rows."""
    model = small(kind, own_sizes)

    def run(panel):
        train, valid, fold = prepared(model, panel, planted)
        fitted = model.fit(train, valid, rng=RNG.child(kind), context=Context(max_epochs=EPOCHS))
        test = train.with_(mask=fold.test, labelled=False)
        return laid_out(kind, test, fitted.predict(test), panel.shape)

    return FunctionTarget(kind, run, "date")


def p3(kind, planted=False, own_sizes=False):
    """Return P3 of a kind at three cuts: the first test row, one in the middle, one near the end."""
    target = refitted(kind, planted, own_sizes)
    return refit.probe(target, market(130, 8), np.array([78, 95, 120]), RNG.child("refit"))


def predictors(kind):
    """Return the frozen model over two sets of dates, which P4 asks one by one: it takes at most 48 dates at once."""
    model, fitted, train = fit(kind)
    ok = admitted(market(130, 8))
    windows = train.with_(mask=ok, labelled=False)
    rows = np.unique(windows.index[:, 0])
    out = []
    for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
        mask = ok & np.isin(np.arange(len(ok)), half)[:, None]
        out.append(Predictor(kind, windows.with_(mask=mask), fitted.predict, fitted.tensors, model.unit))
    return out


# ---- books ----
def score(panel):
    """Return (T, N) float64 scores with ties."""
    return np.round(library.build(panel, SMALL).values[:, :, 1].astype(np.float64), 3)


def scored(panel, late=0):
    """Return the scores as a forecast of one fold from row 30 on; ``late``: it knows the scores of later rows."""
    values = np.roll(score(panel), -late, axis=0)[:, :, None]
    fold = np.where(np.arange(len(values)) >= 30, 0, -1).astype(np.int32)
    return Forecast("toy", np.where(fold[:, None, None] >= 0, values, np.nan), fold, ("return_1",))


def _weights(made):
    made = made if isinstance(made, list) else [made]
    out = {}
    for i, w in enumerate(made):
        out[f"weights{i}"] = w.values
        out[f"decided{i}"] = np.repeat(w.decided[:, None], w.values.shape[1], axis=1).astype(np.float64)
    return out


BOOKS = {
    "topk": lambda p: construct.topk(score(p), admitted(p), 3),
    "topk_dropout": lambda p: construct.topk_dropout(score(p), admitted(p), 4, 1, every=2),
    "long_short": lambda p: construct.long_short(score(p), admitted(p), quantile=0.3),
    "quantiles": lambda p: construct.quantiles(score(p), admitted(p), 3),
    "score_weighted": lambda p: construct.score_weighted(score(p), admitted(p), kind="rank"),
    "equal_weight": lambda p: construct.equal_weight(admitted(p), 3, 30),
    "buy_and_hold": lambda p: construct.buy_and_hold(admitted(p), 40),
    "optimise": lambda p: optimise.optimise(p, score(p), admitted(p), window=60, factors=3, least=30, every=45),
}
SIGNALS = {
    "scores": lambda p: {k: scores(scored(p), admitted(p), kind=k) for k in ("zscore", "rank")},
    "ensemble": lambda p: {"ensemble": ensemble([scored(p), replace(scored(p), model="other")]).values[:, :, 0]},
}


def books():
    """Return the names of our functions that make weights."""
    return sorted({**public(construct, "Weights"), **public(optimise, "Weights")})


def rules():
    """Return every value of the setting portfolio.rule."""
    return typing.get_args(PortfolioSettings.model_fields["rule"].annotation)


def book(name):
    """Return panel -> weights and decided rows of a function of ours."""
    return lambda panel: _weights(BOOKS[name](panel))


def ruled(rule):
    """Return panel -> weights and decided rows of a rule as a study file names it."""
    options = {"window": 60, "factors": 3, "cap": 0.5, "relative": True}
    settings = PortfolioSettings(rule=rule, k=3, every=45 if rule == "optimise" else 2, optimise=options)
    return lambda panel: _weights(weigh(settings, score(panel), admitted(panel), panel, 0.001))


# ---- nets ----
def nets():
    """Return name -> class of every net that a module of ours defines, and the modules of torch found beside them."""
    from torch import nn

    classes, modules = {}, {}
    for info in pkgutil.iter_modules(hitherto.models.__path__):
        module = importlib.import_module(f"hitherto.models.{info.name}")
        for name, c in vars(module).items():
            if inspect.isclass(c) and c.__module__ == module.__name__:
                if issubclass(c, Net) and c is not Net:
                    classes[name] = c
                elif issubclass(c, nn.Module):
                    modules[name] = c
    return classes, modules
