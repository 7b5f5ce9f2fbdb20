"""Planted leaks that must be caught by the right probe at the right reach, and honest look-alikes that must not be."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from toys import make_panel

import hitherto
from hitherto.audit import AuditPlan, FunctionTarget, Predictor, audit, audit_splitter, from_function, made_up_panel
from hitherto.audit import cuts as cutting
from hitherto.audit.probes import determinism, intervals, neighbours, refit, rewriting, truncation
from hitherto.audit.rewrite import KINDS, rewrite
from hitherto.audit.target import Counted
from hitherto.errors import ConfigError
from hitherto.features.base import Affine, Features
from hitherto.labels import forward_return
from hitherto.seeds import Stream
from hitherto.split import WalkForward
from hitherto.windows import Missing, Windows

RNG = Stream(0, "test")


# ---- functions of one listing's frame: leaks, with class and reach (None: not compared) ----
def next_bar(df):
    return df.close.shift(-1) / df.close - 1


def next_but_one(df):
    return df.close.shift(-2).pct_change()


def centred(df):
    return df.close.ffill().rolling(11, center=True).mean()


def forward_window(df):
    return df.high[::-1].rolling(4, min_periods=1).max()[::-1]


def full_z(df):
    return (df.close - df.close.mean()) / df.close.std()


def full_rank(df):
    return df.volume.rank(pct=True)


def back_fill(df):
    return df.close.bfill()


def interpolated(df):
    return df.close.interpolate()


def week_close(df):
    return df.close.groupby(df.index.to_period("W")).transform("last")


def forward_adjusted(df):
    return np.log(df.close * df.factor / df.factor.iloc[-1])


def quarter_peek(df):
    """Looks at the next bar on the last day of a quarter only."""
    quarter = df.index.to_period("Q")
    last = np.r_[quarter[1:] != quarter[:-1], False]
    close = df.close.ffill()
    return close.where(~last, close.shift(-1))


LEAKS = [
    (next_bar, "L01", 1), (next_but_one, "L02", 2), (centred, "L02", 5), (forward_window, "L02", 3),
    (full_z, "L04", None),
    (full_rank, "L04", None), (back_fill, "L03", None), (interpolated, "L03", None), (week_close, "L12", 4),
    (forward_adjusted, "L28", None), (quarter_peek, "L01", 1),
]  # fmt: skip


# ---- honest look-alikes ----
def trailing(df):
    return df.close.rolling(11).mean() / df.close


def expanding_z(df):
    return (df.close - df.close.expanding(5).mean()) / df.close.expanding(5).std()


def ema(df):
    return df.close.ewm(span=12).mean()


def forward_fill(df):
    return df.close.ffill().pct_change()


def trailing_rank(df):
    return df.volume.rolling(20).rank(pct=True)


def back_adjusted(df):
    return (df.close * df.factor).pct_change(5)


def warm_rows_dropped(df):
    return df.close.diff(3).dropna()


def several(df):
    return df[["close", "open"]].rolling(3).max()


HONEST = [trailing, expanding_z, ema, forward_fill, trailing_rank, back_adjusted, warm_rows_dropped, several]


@pytest.fixture(scope="module")
def market():
    return made_up_panel(rows=240, listings=24, seed=1)


@pytest.mark.parametrize(("f", "leak", "reach"), LEAKS, ids=[f.__name__ for f, _, _ in LEAKS])
def test_planted_leaks_are_caught_with_class_reach_and_field(market, f, leak, reach):
    report = audit(f, market)
    assert report.exit_code == 1, report.to_text()
    (found,) = report.findings
    assert (found.probe, found.leak, found.where) == ("P2", leak, f.__name__)
    if reach is not None:
        assert found.reach == reach
    carrier = {"full_rank": "volume", "forward_window": "high", "forward_adjusted": "factor"}.get(f.__name__, "close")
    assert found.note == f"reads the future of {carrier}"
    assert found.old != found.new
    assert market.sessions[0] <= np.datetime64(found.first) <= market.sessions[-1]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("f", HONEST, ids=[f.__name__ for f in HONEST])
def test_honest_look_alikes_are_not_flagged(f, seed):
    report = audit(f, made_up_panel(rows=200, listings=24, seed=seed), seed=seed)
    assert report.exit_code == 0, report.to_text()
    assert report.canary_caught is True
    assert report.evaluations <= 8


def test_stratified_cuts_meet_every_halt_that_a_back_fill_uses(market):
    """Every listing's cut in a halt moves under a back-fill: 100 % of them, where random cuts miss most."""
    ok = np.ones(market.shape, bool)
    ok[-1] = False
    own = cutting.each(market, ok, 6, RNG)
    gap = np.isnan(market.fields["close"])
    inside = np.array([[gap[c, n] and c < market.shape[0] - 1 for n, c in enumerate(row)] for row in own])
    seen = rewriting.probe(from_function(back_fill), market, own, RNG, investigate=False)
    assert inside.sum() >= 24  # each listing has halts and six rounds over six strata
    assert seen.hits["back_fill"][0] == inside.sum()


def test_strata_are_the_calendar_and_the_events(market):
    sets = cutting.strata(market)
    months = market.sessions.astype("datetime64[M]")
    assert sets["month"][:-1, 0].tolist() == (months[1:] != months[:-1]).tolist()
    weekday = (market.sessions.astype("datetime64[D]").astype(int) + 3) % 7
    assert set(weekday[np.flatnonzero(sets["week"][:, 0])]) == {4}  # Fridays
    gap = np.isnan(market.fields["close"])
    for t, n in np.argwhere(sets["resume"]):
        assert gap[t, n]
        assert not gap[t + 1, n]
    for t, n in np.argwhere(sets["ex_date"]):
        assert market.fields["factor"][t + 1, n] != market.fields["factor"][t, n]
    own = cutting.each(market, np.ones(market.shape, bool) & ~np.isnan(market.fields["close"]), 3, RNG)
    together = cutting.common(market, np.ones(market.shape, bool), 12, RNG)
    assert own.shape == (3, 24)
    assert len(set(together.tolist())) == 12
    assert together.max() < market.shape[0] - 1
    for name in ("month", "week", "ex_date"):
        assert any(sets[name][c, n] for row in own for n, c in enumerate(row)), name


@pytest.mark.parametrize("kind", KINDS)
def test_rewriting_keeps_the_past_the_masks_and_consistent_bars(market, kind):
    own = np.arange(market.shape[1]) * 7 + 20
    own[3] = market.shape[0] - 1  # this one is left alone
    new = rewrite(market, own, kind, RNG)
    future = np.arange(market.shape[0])[:, None] > own[None, :]
    for name, old in market.fields.items():
        made = new.fields[name]
        assert np.array_equal(made[~future], old[~future], equal_nan=True), name
        assert np.isnan(made[np.isnan(old)]).all(), name
        if kind == "nan":
            assert np.isnan(made[future]).all()
        elif name != "factor":
            moved = made[future] != old[future]
            assert moved[~np.isnan(old[future])].mean() > 0.99, name
    assert new.suspended is market.suspended or np.array_equal(new.suspended, market.suspended)
    if kind == "nan":
        return
    f = {k: np.where(np.isnan(v), 1.0, v) for k, v in new.fields.items()}
    assert (f["high"] >= np.maximum(f["open"], f["close"]) * (1 - 1e-12)).all()
    assert (f["low"] <= np.minimum(f["open"], f["close"]) * (1 + 1e-12)).all()
    r = np.diff(np.log(new.fields["close"]), axis=0)
    assert 0.01 < np.nanstd(r[future[1:]]) < 0.04  # the made-up market has 2 % a bar
    again = rewrite(market, own, kind, RNG)
    assert all(np.array_equal(again.fields[k], new.fields[k], equal_nan=True) for k in new.fields)


def test_a_mirror_flips_returns(market):
    own = np.full(market.shape[1], 100)
    new = rewrite(market, own, "mirror", RNG)
    close, made = market.fields["close"], new.fields["close"]
    with np.errstate(invalid="ignore"):
        a, b = np.diff(np.log(close[150:200]), axis=0), np.diff(np.log(made[150:200]), axis=0)
    known = np.isfinite(a)
    assert np.allclose(a[known], -b[known], atol=1e-12)


@pytest.mark.parametrize("f", [centred, full_z, back_fill, trailing, week_close], ids=lambda f: f.__name__)
def test_multiplexed_cuts_equal_one_by_one_cuts(f):
    market = made_up_panel(rows=120, listings=9, seed=2)
    target = from_function(f)
    own = cutting.each(market, np.isfinite(target.run(market)[f.__name__]), 1, RNG)
    T, N = market.shape
    together = rewriting.probe(target, market, own, RNG, investigate=False)
    alone = 0
    base = target.run(market)[f.__name__]
    for n in range(N):
        hit = False
        for kind in KINDS:
            single = np.full(N, T - 1)
            single[n] = own[0, n]
            new = target.run(rewrite(market, single, kind, RNG))[f.__name__]
            old, made = base[: own[0, n] + 1, n], new[: own[0, n] + 1, n]
            hit |= not np.array_equal(old, made, equal_nan=True)
        alone += hit
    assert together.hits[f.__name__][0] == alone


def middle(x):
    return np.nansum(x, axis=1, keepdims=True) / np.maximum(np.isfinite(x).sum(axis=1, keepdims=True), 1)


def test_a_target_that_looks_across_is_found_out_and_not_called_a_leak(market):
    def against_the_market(panel):
        close = panel.fields["close"]
        return {"rank": close - middle(close)}

    target = FunctionTarget("cross", against_the_market, unit="asset")
    assert not rewriting.independent(target, market, RNG)
    assert rewriting.independent(from_function(trailing), market, RNG)
    report = audit(target, market)
    assert report.exit_code == 0, report.to_text()
    assert "its listings are not independent: cut together" in report.to_text()

    def tomorrow(panel):
        close = panel.fields["close"]
        ahead = np.vstack([close[1:], close[-1:]])
        return {"rank": ahead - middle(ahead)}

    (found,) = audit(FunctionTarget("cross", tomorrow, unit="asset"), market).findings
    assert (found.leak, found.reach) == ("L01", 1)


def test_two_listings_that_look_at_each_other_are_not_called_a_leak(market):
    """Too sparse for the test of halves when both fall into one half: the confirmation with one common cut saves it."""

    def pair(panel):
        close = panel.fields["close"].copy()
        close[:, [0, 1]] = close[:, [1, 0]]
        return {"x": close}

    own = np.full((1, market.shape[1]), 100)
    own[0, 0], own[0, 1] = 60, 150
    seen = rewriting.probe(FunctionTarget("pair", pair, unit="asset"), market, own, RNG)
    assert seen.status == "ok"
    assert seen.dependent
    assert audit(FunctionTarget("pair", pair, unit="asset"), market).exit_code == 0


@pytest.mark.parametrize("gets", ["long", "wide", "panel"])
def test_other_doors(market, gets):
    def honest(x):
        if gets == "panel":
            return x.view("close")
        if gets == "wide":
            return x["close"].rank(axis=1)
        return x.groupby(level="date").close.rank()

    def leaking(x):
        if gets == "panel":
            return {"z": x.view("close") / np.nanmax(x.view("close"), axis=0)}
        if gets == "wide":
            return x["close"].shift(-1)
        return x.groupby(level="symbol").close.shift(-1)

    assert audit(honest, market, gets=gets).exit_code == 0
    report = audit(leaking, market, gets=gets)
    assert report.exit_code == 1
    assert report.findings[0].leak == ("L04" if gets == "panel" else "L01")


def test_the_module_is_the_function_and_makes_up_data():
    report = hitherto.audit(next_bar)
    assert report.exit_code == 1
    assert "anything on real data: the panel was made up" in report.not_assessed


def test_text_needs_a_builder(market):
    def build(panel, texts):
        close = panel.view("close")
        out = np.full((*panel.shape, len(texts)), np.nan, np.float32)
        out[5:, :, 0] = close[5:] / close[:-5] - 1
        return Features(out, tuple(texts), (6,))

    assert audit("close / ref(close, 5) - 1", market, build=build).exit_code == 0
    with pytest.raises(ConfigError, match="say what computes it: audit"):
        audit("close / ref(close, 5) - 1", market)
    with pytest.raises(ConfigError, match="int is neither a study, a target, a function nor an expression"):
        audit(3, market)
    with pytest.raises(ConfigError, match="broken raised KeyError on the unchanged panel"):
        audit(FunctionTarget("broken", lambda p: {"x": p.fields["none"]}), market)
    with pytest.raises(ConfigError, match=r"gave 'x' of shape \(3, 2\) for a panel of \(240, 24\)"):
        audit(FunctionTarget("flat", lambda p: {"x": np.zeros((3, 2))}), market)


# ---- P0 and P1 ----
def test_unseeded_noise_is_caught_by_p0_and_by_nothing_else(market):
    rng = np.random.default_rng(0)

    def dropout_left_on(df):
        return df.close * (rng.random(len(df)) < 0.9)

    report = audit(dropout_left_on, market)
    assert [(f.leak, f.probe) for f in report.findings] == [("L32", "P0")]
    assert report.noise_floor["dropout_left_on"] > 0.1
    assert {r.probe: r.status for r in report.results} == {"P0": "LEAK", "P1": "ok", "P2": "ok"}
    assert report.canary_caught is False


def test_numbers_that_come_and_go_are_noise_too(market):
    rng = np.random.default_rng(0)

    def holes(df):
        return df.close.where(rng.random(len(df)) < 0.9)

    report = audit(holes, market)
    assert [(f.leak, f.probe) for f in report.findings] == [("L32", "P0")]
    assert report.noise_floor["holes"] == float("inf")


def test_a_small_noise_of_a_net_sets_the_floor_and_is_no_leak(market):
    rng = np.random.default_rng(0)

    def net(panel):
        x = np.nan_to_num(panel.view("close"), nan=20.0)
        return {"y": (x + 1e-7 * rng.standard_normal(x.shape)).astype(np.float32)}

    report = audit(FunctionTarget("net", net, unit="asset", exact=False), market)
    assert report.exit_code == 0, report.to_text()
    assert 0 < report.noise_floor["net"] < 1e-6
    assert audit(FunctionTarget("net", net, unit="asset", exact=True), market).exit_code == 1


def test_length_dependence_is_caught_by_p1_only(market):
    def row_share(df):
        return df.close * 0 + np.arange(len(df)) / len(df)

    report = audit(row_share, market)
    assert [(f.leak, f.probe) for f in report.findings] == [("L32", "P1")]
    (line,) = [f.line() for f in report.findings]
    assert "changes when the panel ends at the cut" in line


def test_a_rare_leak_is_caught_by_p2_only(market):
    report = audit(quarter_peek, market)
    assert {r.probe: r.status for r in report.results} == {"P0": "ok", "P1": "ok", "P2": "LEAK"}


def test_a_target_that_crashes_on_rewritten_data_cannot_be_judged(market):
    def fragile(df):
        if df.close.tail(3).isna().all():
            raise RuntimeError("no data")
        return df.close

    report = audit(fragile, market)
    assert report.exit_code == 5
    assert "fragile raised RuntimeError: no data" in report.verdict


# ---- P3 ----
def refit_target(scaler="train", purge=True, lookback=1):
    """Ridge on one feature, first fold, fitted anew from whatever panel is given."""

    def run(panel):
        close = panel.view("close")
        x = np.full(panel.shape, np.nan)
        x[1:] = close[1:] / close[:-1] - 1
        label = forward_return(panel, (3,), "next_close")
        ok = panel.universe & np.isfinite(x)
        fold = next(WalkForward(60, 20, 40, folds=None).split(label, ok, lookback))
        rows = fold.rows if scaler == "train" else np.ones(len(x), bool)
        mean, std = np.nanmean(x[rows]), np.nanstd(x[rows])
        z = (x - mean) / std
        train = fold.train
        if not purge:
            train = np.zeros_like(train)
            train[:60] = ok[:60]
            train[60:80] = ok[60:80]  # validation rows used for the last fit, right up to the test rows
        y = label.values[:, :, 0]
        train = train & np.isfinite(y) & np.isfinite(z)
        beta = (z[train] * y[train]).sum() / ((z[train] ** 2).sum() + 1.0)
        return {"ridge": np.where(fold.test & ok, beta * z, np.nan)}

    return FunctionTarget(f"refit_{scaler}_{purge}", run, exact=True)


@pytest.fixture(scope="module")
def toy():
    return make_panel(T=140, N=8, seed=3)


@pytest.mark.parametrize(
    ("scaler", "purge", "leak"), [("all", True, "L05"), ("train", False, "L14"), ("train", True, None)]
)
def test_refitting_sees_what_was_fitted_on_later_rows(toy, scaler, purge, leak):
    result = refit.probe(refit_target(scaler, purge), toy, np.array([80, 95]), RNG)
    assert [f.leak for f in result.findings] == ([leak] if leak else [])
    assert result.status == ("LEAK" if leak else "ok")


def kept_target(rule):
    """A scale fitted on the samples of 60 train rows that a purge keeps; the test begins at row 80.

    "old": a sample without a label ends at its own row. "settled": as our splits have it. "survivors": of names that
    trade at the last row; "fussy": no name may stop.
    """

    def run(panel):
        close = panel.view("close")
        x = np.full(panel.shape, np.nan)
        x[1:] = close[1:] / close[:-1] - 1
        label, ok = forward_return(panel, (3,)), panel.universe & np.isfinite(x)
        fold = next(WalkForward(80, 0, 40).split(label, ok, 1))
        kept, test = fold.train, fold.test
        rows = np.arange(len(x))[:, None]
        if rule == "old":
            kept = ok & (rows < 80) & (np.maximum(label.known_until(), rows) < 80)
        elif rule == "survivors":
            kept = kept & np.isfinite(close[-1])
        elif rule == "fussy" and np.isnan(close[-1]).any():
            raise ValueError("a name is gone")
        return {"z": np.where(test & ok, x / np.nanstd(x[kept]), np.nan)}

    return FunctionTarget(f"kept_{rule}", run)


@pytest.mark.parametrize(
    ("rule", "leak", "reach"), [("old", "L14", 1), ("survivors", "L24", 30), ("settled", None, 0), ("fussy", None, 0)]
)
def test_refitting_sees_samples_kept_by_who_trades_on(toy, rule, leak, reach):
    """Rewriting keeps who trades: only the refit in which half of the names stop can see it."""
    target = Counted(kept_target(rule))
    result = refit.probe(target, toy, np.array([80]), RNG)
    assert [(f.leak, f.reach, f.of) for f in result.findings] == ([(leak, reach, "futures")] if leak else [])
    assert result.hits == {"z": (0, 1)}  # of rewriting
    assert result.status == ("LEAK" if leak else "ok")
    assert target.evaluations == 3 + bool(leak)
    said = "; only bars near it matter" if leak == "L14" else ""
    assert all(f.note == f"seen by refitting, moved by who trades after the cut{said}" for f in result.findings)
    ran = rule != "fussy"
    assert result.tried.endswith(", and once with half of the names halted for good") == ran
    gone = f"names halted after {str(toy.sessions[80])[:10]}: kept_fussy raised ValueError: a name is gone"
    assert result.detail == ("" if ran else gone)


def test_halted_names_stop_for_good_and_nothing_else_moves(toy):
    new = refit.halted(toy, 80, RNG)
    stopped = ~np.isfinite(new.fields["close"][81:]).any(axis=0)
    assert stopped.sum() == toy.shape[1] // 2  # nobody is halted at row 80
    one = toy.replace(
        fields={k: np.where(np.arange(8) == np.argmin(stopped), np.nan, v) for k, v in toy.fields.items()}
    )
    more = ~np.isfinite(refit.halted(one, 80, RNG).fields["close"][81:]).any(axis=0)
    assert more.sum() == toy.shape[1] // 2 + 1
    assert new.suspended[81:, stopped].all()
    for name, old in toy.fields.items():
        keeps = np.ones(toy.shape, bool)
        keeps[81:, stopped] = name == "factor"
        assert np.array_equal(new.fields[name][keeps], old[keeps], equal_nan=True)
        assert not np.isfinite(new.fields[name][~keeps]).any()
    assert np.array_equal(new.listed, toy.listed)
    assert np.array_equal(new.universe, toy.universe)
    again = refit.halted(toy, 80, RNG)
    assert again.digest() == new.digest()


def test_only_refitting_sees_a_frozen_scaler(toy):
    close = toy.view("close")
    r = np.diff(np.log(close), axis=0)
    mean, std = r.mean(), r.std()  # fitted on all rows, then frozen

    def frozen(panel):
        out = np.full(panel.shape, np.nan)
        out[1:] = (np.diff(np.log(panel.view("close")), axis=0) - mean) / std
        return {"y": out}

    plan = AuditPlan(toy, (FunctionTarget("frozen", frozen, unit="asset"),), refit=refit_target("all"))
    report = audit(plan)
    assert [(f.leak, f.probe) for f in report.findings] == [("L05", "P3")]
    honest = audit(dataclasses.replace(plan, refit=refit_target(), refit_planted=refit_target("all")))
    assert honest.exit_code == 0, honest.to_text()
    assert {c.leak: c.caught for c in honest.canaries if c.size is None} == {
        "a scale over all rows": True,
        "refit_all_True": True,
    }
    blind = audit(dataclasses.replace(plan, refit=refit_target(), refit_planted=refit_target()))
    assert blind.exit_code == 5


# ---- P4 ----
def make_windows(panel, lookback=3):
    close = panel.view("close")
    x = np.full((*panel.shape, 2), np.nan, np.float32)
    x[1:, :, 0] = close[1:] / close[:-1] - 1
    x[1:, :, 1] = x[1:, :, 0] ** 2
    features = Features(x, ("r", "r2"), (2, 2), ("close",))
    return Windows(features, forward_return(panel), panel.universe, lookback, labelled=False)


def predictor(kind, windows, unit="asset"):
    memory = {"running_mean": np.zeros(1)}
    rng = np.random.default_rng(0)

    def batch_out(batch):
        x = batch.x.mean(axis=0).astype(np.float64)
        if kind == "batch_norm":
            x = (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-6)
        if kind == "date_norm":
            for i, j in zip(batch.blocks[:-1], batch.blocks[1:], strict=True):
                x[i:j] = x[i:j] - x[i:j].mean(axis=0)
        if kind == "dropout":
            x = x * (rng.random(x.shape) < 0.8)
        if kind == "running":
            memory["running_mean"] = 0.9 * memory["running_mean"] + 0.1 * x[:, 0].mean()
            x = x - memory["running_mean"]
        if kind == "first_listing":
            x = x + batch.x[0, 0, 0]
        return x[:, :1] + x[:, 1:]

    def predict(w):
        out = np.concatenate([batch_out(b) for b in w.batches(16)])
        return out.astype(np.float32).astype(np.float64) if kind == "float32" else out

    return Predictor(kind, windows, predict, lambda: memory, unit)


@pytest.mark.parametrize(
    ("kind", "unit", "leak"),
    [
        ("plain", "asset", None), ("float32", "asset", None), ("batch_norm", "asset", "L06"),
        ("dropout", "asset", "L07"),
        ("running", "asset", "L07"), ("first_listing", "asset", "L06"), ("date_norm", "date", None),
        ("date_norm", "asset", "L06"), ("batch_norm", "date", "L06"),
    ],
)  # fmt: skip
def test_batch_neighbours_and_state(toy, kind, unit, leak):
    result = neighbours.probe(predictor(kind, make_windows(toy), unit), RNG)
    assert sorted({f.leak for f in result.findings}) == ([leak] if leak else []), result
    if kind == "running":
        assert any(f.note == "state mutated: running_mean" for f in result.findings)
    if kind == "dropout":
        assert result.findings[0].note == "two equal calls differ"


# ---- P10 ----
def folds_of(panel, label, lookback=3):
    return list(WalkForward(60, 20, 20, folds=2).split(label, panel.universe, lookback))


def test_intervals_of_honest_folds_are_clean(toy):
    label = forward_return(toy, (1, 5))
    result = intervals.probe(folds_of(toy, label), label, 3, [make_windows(toy)])
    assert result.status == "ok", result.findings
    assert "2 folds" in result.tried


def broken_folds(toy):
    label = forward_return(toy, (1, 5))
    fold = folds_of(toy, label)[0]
    test_rows = np.flatnonzero(fold.test.any(axis=1))
    a = test_rows[0]
    straddling = fold.valid.copy()
    straddling[a - 1] = True
    train_late = fold.train.copy()
    train_late[test_rows[-1] + 9] = True  # its window of 12 rows reaches back into the test rows
    rows = fold.rows.copy()
    rows[a + 2] = True
    both = fold.train.copy()
    both[a + 1, 0] = True
    peek = dataclasses.replace(label, start=np.where(label.start >= 0, label.start - 1, -1))
    return label, [
        ("L14", dataclasses.replace(fold, valid=straddling), label, 3),
        ("L15", dataclasses.replace(fold, train=train_late), label, 12),
        ("L05", dataclasses.replace(fold, rows=rows), label, 3),
        ("L13", dataclasses.replace(fold, train=both), label, 3),
        ("L11", fold, peek, 3),
    ]


@pytest.mark.parametrize("i", range(5))
def test_intervals_see_each_broken_promise(toy, i):
    leak, fold, label, lookback = broken_folds(toy)[1][i]
    result = intervals.probe([fold], label, lookback)
    assert result.status == "LEAK"
    assert leak in {f.leak for f in result.findings}


def test_windows_that_do_not_end_at_their_decision_are_seen(toy):
    class Late(Windows):
        def gather(self, dates):
            batch = super().gather(dates)
            return dataclasses.replace(batch, x=np.roll(batch.x, -1, axis=0))

    w = make_windows(toy)
    late = Late(w.features, w.label, w.mask, w.lookback, labelled=False, missing=Missing())
    scaled = w.with_(affine=Affine(np.ones(2, np.float32), np.ones(2, np.float32)))
    label = forward_return(toy, (1, 5))
    assert intervals.probe(folds_of(toy, label), label, 3, [scaled]).status == "ok"
    result = intervals.probe(folds_of(toy, label), label, 3, [late])
    assert [f.where for f in result.findings] == ["windows"]


def test_anyones_splitter():
    t = np.arange(200)
    end = t + 5
    parts = np.array_split(t, 5)
    forward = [(np.concatenate(parts[:k]), parts[k]) for k in range(1, 5)]
    gapped = [(a[: len(a) - 5], b) for a, b in forward]
    order = np.random.default_rng(0).permutation(200)
    shuffled = [(np.sort(order[40:]), np.sort(order[:40]))]
    inside = [(np.r_[parts[0][:-5], parts[2]], parts[1])]
    embargoed = [(np.r_[parts[0][:-5], parts[2][5:]], parts[1])]
    given = {"forward": forward, "gapped": gapped, "shuffled": shuffled, "inside": inside, "embargoed": embargoed}
    seen = {k: audit_splitter(v, t, end, name=k) for k, v in given.items()}
    assert {k: [f.leak for f in r.findings] for k, r in seen.items()} == {
        "forward": ["L14"] * 4, "gapped": [], "shuffled": ["L13"], "inside": ["L15"], "embargoed": [],
    }  # fmt: skip
    assert seen["forward"].findings[0].hits == 5
    # Windows: 10 rows of input reach back over the embargo of 5.
    assert [f.leak for f in audit_splitter(embargoed, t, end, begin=t - 9).findings] == ["L15"]
    masks = [(np.isin(t, a), np.isin(t, b)) for a, b in gapped]
    dates = np.datetime64("2020-01-01") + t
    assert audit_splitter(masks, dates, dates + 5).status == "ok"


def test_touches_equals_a_brute_force_over_random_spans():
    rng = np.random.default_rng(0)
    for _ in range(300):
        a, b = rng.integers(0, 30, (2, int(rng.integers(1, 9)))), rng.integers(0, 30, (2, int(rng.integers(1, 9))))
        a, b = np.sort(a, axis=0), np.sort(b, axis=0)
        slow = [any(set(range(x, y + 1)) & set(range(p, q + 1)) for p, q in b.T) for x, y in a.T]
        assert intervals.touches(*a, *b).tolist() == slow


# ---- every probe is needed ----
def matrix(market, toy):
    """Item -> the probes that catch it."""
    out = {}
    rng = np.random.default_rng(0)

    def random_numbers(df):
        return df.close * (rng.random(len(df)) < 0.9)

    def row_share(df):
        return df.close * 0 + np.arange(len(df)) / len(df)

    for f in (random_numbers, row_share, quarter_peek):
        out[f.__name__] = {r.probe for r in audit(f, market).results if r.status == "LEAK"}
    label = forward_return(toy, (1, 5))
    plan = AuditPlan(toy, (from_function(trailing),), tuple(folds_of(toy, label)), label, 3,
                     (predictor("plain", make_windows(toy)),), refit_target())  # fmt: skip
    variants = {
        "honest": plan,
        "scaler on all rows": dataclasses.replace(plan, refit=refit_target("all")),
        "batch norm": dataclasses.replace(plan, predictors=(predictor("batch_norm", make_windows(toy)),)),
        "straddling labels": dataclasses.replace(plan, folds=(broken_folds(toy)[1][0][1],)),
    }
    for name, one in variants.items():
        out[name] = {r.probe for r in audit(one).results if r.status == "LEAK"}
    return out


def test_without_any_one_probe_something_escapes(market, toy):
    caught = matrix(market, toy)
    assert caught.pop("honest") == set()
    assert all(caught.values()), caught
    for probe in ("P0", "P1", "P2", "P3", "P4", "P10"):
        escapes = [item for item, by in caught.items() if not by - {probe}]
        assert escapes, f"nothing needs {probe}: {caught}"


def test_probes_can_be_used_alone(market):
    target = from_function(centred)
    cut = np.array([50, 90])
    assert determinism.probe(target, market, None, None).status == "ok"
    assert truncation.probe(target, market, cut).cuts == (2, 2)
    result = rewriting.probe(target, market, cut, RNG)
    assert (result.status, result.findings[0].reach, result.cuts) == ("LEAK", 5, (2, 2))
