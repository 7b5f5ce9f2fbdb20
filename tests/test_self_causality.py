"""The audit on ourselves: every transform, label, splitter, model, book and net of ours, found by looking, not listed.

P0, P1 and P2 bit for bit, P4 one by one, P3 by fitting anew, P5 by gradient, P10 by counting. At least 50 cuts or units
each. Every group also holds a planted leak, which the same experiment must catch.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
import self_toys as ours
import torch
from self_toys import CUTS, RNG

from hitherto.audit import FunctionTarget, Predictor
from hitherto.audit.probes import gradients, intervals, neighbours, refit, truncation
from hitherto.features import library, normalise
from hitherto.features.command import SETS
from hitherto.features.operators import OPERATORS
from hitherto.labels import forward_return
from hitherto.seeds import Stream
from hitherto.split import CombinatorialPurged, WalkForward
from hitherto.study.core import CROSS_SECTIONAL, KINDS, admitted


def statuses(results):
    return [r.status for r in results]


# ---- operators, in the compiled plan and in the slow definitions ----
@functools.cache
def operators(across, how):
    texts = ours.operator_texts(across)
    make = {"plan": ours.by_plan, "definition": ours.by_definition}[how]
    target = FunctionTarget("operators", make(texts), "date" if across else "asset")
    return ours.all_three(target, ours.market(96 if across else ours.ROWS), first=30)


TEXTS = [(t, across) for across in (False, True) for t in ours.operator_texts(across)]


@pytest.mark.parametrize("how", ["plan", "definition"])
@pytest.mark.parametrize(("text", "across"), TEXTS, ids=[t for t, _ in TEXTS])
def test_operators(text, across, how):
    ours.clean(operators(across, how), text)


def test_every_operator_is_among_them():
    assert {ours.text_of(name) for name in OPERATORS} <= {t for t, _ in TEXTS}


def test_an_operator_that_looks_ahead_is_caught():
    """One column of many, shifted by one bar; the others stay clean."""
    honest = ours.by_plan(["mean(close, 4)", "ema(volume, 4)"])

    def run(panel):
        out = dict(honest(panel))
        late = out["ema(volume, 4)"]
        return {**out, "late": np.concatenate([late[1:], late[-1:]])}

    results = ours.all_three(FunctionTarget("planted", run, "asset"), ours.market(), first=30)
    assert statuses(results) == ["ok", "LEAK", "LEAK"]
    assert {f.where for f in results[2].findings} == {"planted.late"}
    ours.clean(results, "mean(close, 4)")
    with pytest.raises(AssertionError):
        ours.clean(results, "late")


# ---- feature sets ----
@pytest.mark.parametrize("name", SETS)
def test_feature_sets(name):
    texts = ours.feature_set(name)
    results = ours.all_three(
        FunctionTarget(name, lambda p: ours.columns(library.build(p, texts)), "asset"), ours.market()
    )
    for column in texts:
        ours.clean(results, column)


# ---- normalisations ----
@pytest.mark.parametrize("kind", ours.normalisations())
def test_normalisations(kind):
    target = FunctionTarget(kind, ours.normalised(kind), "date" if kind in CROSS_SECTIONAL else "asset")
    results = ours.all_three(target, ours.market())
    for column in ours.SMALL:
        ours.clean(results, column)


def test_every_normalisation_is_among_them():
    """A new function in features.normalise must be reachable by a setting, or be named here."""
    kinds = set(ours.normalisations()) - {"none"}
    reached = {"cross_sectional"} if kinds >= set(CROSS_SECTIONAL) else set()
    assert set(CROSS_SECTIONAL.values()) == set(normalise.DATE_KINDS)
    reached |= {f"fit_{k}" for k in kinds} | (kinds - set(CROSS_SECTIONAL))
    assert set(ours.public(normalise)) <= reached


def test_a_normalisation_over_all_rows_is_caught():
    def run(panel):
        made = library.build(panel, ours.SMALL)
        fitted = normalise.fit_zscore(made, np.ones(len(panel.times), bool), admitted(panel))
        values = made.values.copy()
        fitted.apply(values)
        return ours.columns(replace(made, values=values))

    results = ours.all_three(FunctionTarget("planted", run, "date"), ours.market())
    assert statuses(results) == ["ok", "LEAK", "LEAK"]
    assert len(results[2].findings) == len(ours.SMALL)


# ---- labels: known at their last row, and not before ----
@pytest.mark.parametrize("name", ours.labellers())
def test_labels(name):
    for make in ours.LABELS[name]:
        results = ours.all_three(FunctionTarget(name, ours.known_labels(make), "asset"), ours.market(), first=30)
        for column in make(ours.market()).names:
            ours.clean(results, column)
        assert intervals.probe([], make(ours.market()), 1).findings == ()


def test_labels_said_to_be_known_a_bar_early_are_caught():
    make = ours.LABELS["forward_return"][0]
    results = ours.all_three(FunctionTarget("planted", ours.known_labels(make, early=1), "asset"), ours.market())
    assert statuses(results) == ["ok", "LEAK", "LEAK"]
    label = make(ours.market())
    moved = replace(label, start=np.where(label.start >= 0, label.start - 1, -1).astype(np.int32))
    assert {f.leak for f in intervals.probe([], moved, 1).findings} == {"L11"}


# ---- splitters ----
@pytest.mark.parametrize("name", ours.splitters())
def test_splitters_keep_stages_apart(name):
    panel = ours.market()
    for splitter in ours.SPLITTERS[name]:
        for entry in ("next_open", "next_close"):
            label = forward_return(panel, (1, 5), entry)
            folds = list(splitter.split(label, admitted(panel), 6))
            windows = [ours.Windows(library.build(panel, ours.SMALL), label, f.train, 6) for f in folds[:2]]
            p10 = intervals.probe(folds, label, 6, windows)
            assert p10.status == "ok", p10.findings
            assert p10.cuts[1] >= CUTS


@pytest.mark.parametrize("splitter", ours.SPLITTERS["WalkForward"], ids=repr)
def test_what_a_walk_trains_on_is_known_when_its_test_begins(splitter):
    target = FunctionTarget("split", ours.trained_on(splitter), "date")
    results = ours.all_three(target, ours.market(), first=95, last=150)
    for column in ("train", "valid", "rows"):
        ours.clean(results, column)


def test_what_dates_train_on_is_known_when_their_test_begins():
    """Bars that end inside the given spans are refused, in words, so that P1 has nothing to compare."""
    target = FunctionTarget("split", ours.trained_on(ours.SPLITTERS["Dates"][0]), "date")
    p0, p1, p2 = ours.all_three(target, ours.market(), first=91, last=150, ends=3)
    assert (p0.status, p1.status) == ("ok", "cannot tell")
    assert "are not within the bars' rows" in p1.detail
    assert p2.status == "ok", p2.findings
    assert p2.cuts[1] >= CUTS


def test_samples_without_a_label_are_kept_or_dropped_by_what_is_known():
    target = FunctionTarget("split", ours.trained_on(ours.SPLITTERS["WalkForward"][0], labelled=False), "date")
    results = ours.all_three(target, ours.market(), first=95, last=150)
    for column in ("train", "valid"):
        ours.clean(results, column)


def test_samples_kept_by_whether_their_name_trades_again_are_caught(monkeypatch):
    """The rule as it was: a sample without a label ends at its own row."""
    monkeypatch.setattr("hitherto.split.settled", ours.own_row)
    target = FunctionTarget("split", ours.trained_on(ours.SPLITTERS["WalkForward"][0], labelled=False), "date")
    p0, p1, p2 = ours.all_three(target, ours.market(), first=95, last=150)
    assert statuses([p0, p1, p2]) == ["ok", "LEAK", "LEAK"]  # P2 by a future of NaN
    panel = ours.halted()
    label = forward_return(panel.rows(90), (1,))
    folds = list(WalkForward(50, 10, 15).split(label, admitted(panel.rows(90)), 6))
    assert {f.leak for f in intervals.probe(folds, label, 6).findings} == {"L14"}
    assert "had not traded again" in intervals.probe(folds, label, 6).findings[0].note


SHORT = [CombinatorialPurged(6, 2, 3), CombinatorialPurged(8, 3), CombinatorialPurged(9, 2, 6)]


@pytest.mark.parametrize("splitter", SHORT, ids=repr)
def test_short_groups_of_a_combinatorial_split(splitter):
    """Fitted rows behind a test group: none whose window reaches back into it, none where no sample is trained on."""
    panel, label = ours.market(), forward_return(ours.market(), (1, 5))
    folds = list(splitter.split(label, admitted(panel), 6))
    p10 = intervals.probe(folds, label, 6)
    assert p10.status == "ok", p10.findings
    behind = [f.rows[int(np.argmax(f.test.any(axis=1))) :].any() for f in folds]
    assert 0 < sum(behind) < len(folds)


def test_fitted_rows_behind_a_test_group_are_caught():
    panel, label = ours.market(), forward_return(ours.market(), (1, 5))
    folds = list(CombinatorialPurged(6, 2, 3).split(label, admitted(panel), 6))
    late = {12: 148, 13: 121}  # no train sample is left around them
    for k, row in late.items():
        rows = folds[k].rows.copy()
        assert not rows[row]
        rows[row] = True
        assert [f.leak for f in intervals.probe([replace(folds[k], rows=rows)], label, 6).findings] == ["L05"]
    fold = folds[0]
    last = max(int(np.flatnonzero(fold.test.any(axis=1))[-1]), int(label.end[fold.test].max()))
    rows = fold.rows.copy()
    rows[last + 5] = True  # its window of 6 rows ends 5 rows behind the last label of the test
    (found,) = intervals.probe([replace(fold, rows=rows)], label, 6).findings
    assert (found.leak, found.hits) == ("L05", 1)
    assert fold.rows[last + 9]  # 3 rows of embargo, then 6 rows of window
    assert not fold.rows[last + 8]


def test_folds_that_are_not_purged_are_caught():
    panel, label = ours.market(), forward_return(ours.market(), (5,))
    folds = list(WalkForward(30, 0, 15).split(label, admitted(panel), 6))
    first = [int(np.argmax(f.test.any(axis=1))) for f in folds]
    rows = np.arange(panel.shape[0])[:, None]
    whole = [replace(f, train=(rows < a) & admitted(panel)) for f, a in zip(folds, first, strict=True)]
    assert {f.leak for f in intervals.probe(whole, label, 6).findings} == {"L14"}
    both = [replace(f, train=f.train | f.test) for f in folds]
    assert "L13" in {f.leak for f in intervals.probe(both, label, 6).findings}
    late = ours.trained_on(WalkForward(30, 10, 15), late=8)
    results = ours.all_three(FunctionTarget("split", late, "date"), panel, first=95, last=150, ends=12)
    assert results[2].status == "LEAK"


# ---- models ----
@pytest.mark.parametrize("kind", KINDS)
def test_frozen_models(kind):
    results = ours.all_three(ours.frozen(kind), ours.market(130, 8), first=68)
    ours.clean(results, kind)
    values = ours.frozen(kind).run(ours.market(130, 8))[kind]
    assert (len(np.unique(values[np.isfinite(values)])) > 8) == (kind != "zero")  # a constant would pass everything


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_models_have_no_neighbours(kind):
    asked = 0
    for predictor in ours.predictors(kind):
        p4 = neighbours.probe(predictor, RNG.child("P4"), CUTS)
        assert p4.status == "ok", p4.findings
        assert p4.detail == ""  # its state was hashed
        index = predictor.windows.index
        asked += min(CUTS, len(index) if predictor.unit == "asset" else min(48, len(np.unique(index[:, 0]))))
    assert asked >= CUTS


@pytest.mark.parametrize("kind", KINDS)
def test_refitted_models(kind):
    p3 = ours.p3(kind)
    assert (p3.status, p3.cuts) == ("ok", (0, 3)), p3.findings


@pytest.mark.parametrize("kind", ["ridge", "lightgbm", "lstm", "cross_stock"])
def test_refitted_models_when_the_bars_end_in_a_halt(kind):
    """A name halts before the validation and trades again in the test: a fit may not know that it will."""
    p1 = truncation.probe(ours.refitted(kind), ours.halted(), np.array([80, 86, 92]), RNG)
    assert (p1.status, p1.cuts) == ("ok", (0, 3)), p1.findings


@pytest.mark.parametrize("kind", ["ridge", "cross_stock"])
def test_a_fit_on_samples_kept_by_whether_their_name_trades_again_is_caught(kind, monkeypatch):
    """P3 halts names for good after the cut, those halted there too; with the old rule a net of dates feels it."""
    cut = np.array([80])
    assert refit.probe(ours.refitted(kind), ours.halted(), cut, RNG.child("refit")).status == "ok"
    monkeypatch.setattr("hitherto.split.settled", ours.own_row)
    p3 = refit.probe(ours.refitted(kind), ours.halted(), cut, RNG.child("refit"))
    known = [] if kind == "ridge" else [("L14", "P3", "futures")]  # ridge takes samples with a label only
    assert [(f.leak, f.probe, f.of) for f in p3.findings] == known


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_refitted_models_of_their_own_size(kind):
    p3 = ours.p3(kind, own_sizes=True)
    assert (p3.status, p3.cuts) == ("ok", (0, 3)), p3.findings


@pytest.mark.parametrize("kind", ["ridge", "lightgbm", "lstm", "cross_stock"])
def test_models_fed_with_the_next_bar_are_caught(kind):
    results = ours.all_three(ours.frozen(kind, ahead=1), ours.market(130, 8), first=68, ends=6, together=6)
    assert statuses(results) == ["ok", "LEAK", "LEAK"]


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("zero", "persistence", "momentum")])
def test_models_fitted_on_the_test_rows_are_caught(kind):
    p3 = ours.p3(kind, planted=True)
    assert p3.status == "LEAK"
    assert p3.findings[0].leak in ("L05", "L14")


def test_a_model_that_standardises_its_batch_is_caught():
    for honest in ours.predictors("ridge"):

        def predict(windows, honest=honest):
            out = honest.predict(windows)
            return out - out.mean()

        p4 = neighbours.probe(Predictor("planted", honest.windows, predict, honest.state), RNG.child("P4"), CUTS)
        assert [f.leak for f in p4.findings] == ["L06"]


# ---- books and signals ----
@pytest.mark.parametrize("name", ours.books())
def test_books(name):
    if name == "optimise":
        pytest.importorskip("cvxpy")
    results = ours.all_three(FunctionTarget(name, ours.book(name), "date"), ours.market(), ends=12)
    made = ours.book(name)(ours.market())
    assert any(np.abs(v[ours.WARM - 40 :]).max() > 0 for v in made.values())
    for column in made:
        ours.clean(results, column, ends=12)


@pytest.mark.parametrize("rule", ours.rules())
def test_rules(rule):
    if rule == "optimise":
        pytest.importorskip("cvxpy")
    target = FunctionTarget(rule, ours.ruled(rule), "date")
    results = ours.all_three(target, ours.market(), ends=12)
    for column in ("weights0", "decided0"):
        ours.clean(results, column, ends=12)


@pytest.mark.parametrize("name", ours.SIGNALS)
def test_signals(name):
    results = ours.all_three(FunctionTarget(name, ours.SIGNALS[name], "date"), ours.market())
    for column in ours.SIGNALS[name](ours.market()):
        ours.clean(results, column)


def test_every_signal_is_among_them():
    from hitherto import signal

    assert set(ours.public(signal)) == set(ours.SIGNALS)


def test_a_book_of_tomorrows_scores_is_caught():
    def run(panel):
        late = ours.scored(panel, late=1).values[:, :, 0]
        return {"w": ours.construct.topk(late, admitted(panel), 3).values}

    results = ours.all_three(FunctionTarget("planted", run, "date"), ours.market(), ends=12)
    assert statuses(results) == ["ok", "LEAK", "LEAK"]


# ---- nets, by gradient ----
NETS, MODULES = ours.nets()


def inputs(model, *shape):
    return torch.randn(model.lookback, *shape, generator=torch.Generator().manual_seed(1))


def made(name):
    """A net with weights drawn large: some start at zero, which no gradient leaves."""
    model = NETS[name]()
    net = model.make(3, 1, Stream(0, "net"))
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=g) * (0.6 if p.ndim > 1 else 0.2))
    return model, net.eval()


def by_date(net, x):
    """How a net of dates predicts: (L, D, 3 x names) -> (D, names), one date at a time."""
    return torch.stack([net(x[:, d].unflatten(1, (-1, 3)))[:, 0] for d in range(x.shape[1])])


@pytest.mark.parametrize("name", NETS)
def test_units_of_our_nets_do_not_talk(name):
    model, net = made(name)
    if model.unit == "asset":
        p5 = gradients.neighbours(net, inputs(model, 5, 3), name=name)
    else:
        p5 = gradients.neighbours(net, inputs(model, 4, 3 * 5), name=name, call=by_date)
    assert p5.status == "ok", (p5.detail, p5.findings)


def test_every_torch_module_is_part_of_one_of_them():
    used = {type(m) for name in NETS for m in made(name)[1].modules()}
    assert set(MODULES.values()) <= used
    kinds = {name for module, name in KINDS.values()}
    assert set(NETS) <= kinds


@pytest.mark.parametrize("name", NETS)
def test_nets_whose_samples_talk_are_caught(name):
    model, net = made(name)

    def talks(module, x):
        out = module(x) if model.unit == "asset" else by_date(module, x)
        return out - 1e-3 * out.mean(0, keepdim=True)

    shape = (5, 3) if model.unit == "asset" else (4, 15)
    p5 = gradients.neighbours(net, inputs(model, *shape), name=name, call=talks)
    assert [f.leak for f in p5.findings] == ["L06"]


# ---- nothing of ours is missing here ----
def test_new_labels_splitters_and_books_need_a_line():
    assert set(ours.labellers()) == set(ours.LABELS)
    assert set(ours.splitters()) == set(ours.SPLITTERS)
    assert set(ours.books()) == set(ours.BOOKS)
