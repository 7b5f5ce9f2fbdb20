"""P13: measured warm-up lengths against closed forms, and against what our own features declare."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hitherto import build_features
from hitherto.audit import FunctionTarget, from_function, made_up_panel
from hitherto.audit.modules import WINDOW, from_module
from hitherto.audit.probes import warmup
from hitherto.features import library
from hitherto.seeds import Stream

RNG = Stream(0, "warm")


@pytest.fixture(scope="module")
def market():
    return made_up_panel(rows=300, listings=6, seed=2)


def filled(df):
    return df.volume.fillna(1e5)


# ---- name -> (function, bars of history): known from the definition ----
def now(df):
    return filled(df)


def difference(df):
    return filled(df).diff(5)


def mean_20(df):
    return filled(df).rolling(20).mean()


def loose_mean_20(df):
    return filled(df).rolling(20, min_periods=1).mean()


def nested(df):
    return filled(df).rolling(40).std().rolling(24).max()


def ahead(df):
    return filled(df).shift(-3)


KNOWN = [(now, 1), (difference, 6), (mean_20, 20), (loose_mean_20, 20), (nested, 63), (ahead, 1)]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("f", "bars"), KNOWN, ids=[f.__name__ for f, _ in KNOWN])
def test_finite_windows_are_measured_exactly(market, f, bars, seed):
    target = from_function(f)
    rows = warmup.begin_rows(market, 4, Stream(seed, "warm"))
    found, errors = warmup.measure(target, market, rows)
    assert errors == []
    assert found == {f.__name__: warmup.WarmUp(bars, bars, True)}
    assert not found[f.__name__].decays


@settings(max_examples=12)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 9))
def test_windows_over_windows_add_up(market, n, m, lag):
    """A mean of n over a mean of m, lag bars late: n + m - 1 + lag bars, whatever the starts are."""

    def two(df):
        return filled(df).rolling(n).mean().rolling(m).mean().shift(lag)

    found, _ = warmup.measure(from_function(two), market, warmup.begin_rows(market, 2, Stream(n * 41 + m, "warm")))
    assert found["two"].bars == n + m - 1 + lag


@pytest.mark.parametrize("span", [5, 12, 25])
def test_an_ema_reports_its_decay(market, span):
    """adjust=False: after h bars the past weighs (1 - a)^(h - 1) of a gap of a few deviations of the mean."""

    def ema(df):
        return filled(df).ewm(span=span, adjust=False).mean()

    found, _ = warmup.measure(from_function(ema), market, warmup.begin_rows(market, 4, RNG))
    w = found["ema"]
    decay = -np.log(1 - 2 / (span + 1))
    assert w.decays
    assert w.settles
    for bars, tolerance in ((w.bars, 1e-6), (w.coarse, 1e-3)):
        low, high = (np.log(gap / tolerance) / decay for gap in (0.1, 30.0))
        assert low < bars < high + 2
    assert str(w) == f"{w.bars} bars at 1e-6 of scale (decays: {w.coarse} at 1e-3)"


def test_what_never_settles_is_said_so(market):
    def expanding(df):
        return filled(df).expanding().mean()

    def counted(df):
        return filled(df) * 0 + np.arange(len(df))

    for f in (expanding, counted):
        rows = warmup.begin_rows(market, 4, RNG)
        found, _ = warmup.measure(from_function(f), market, rows)
        w = found[f.__name__]
        assert not w.settles
        assert not w.decays
        assert str(w) == f"not settled after {300 - rows[0]} bars"


def test_a_declared_lookback_that_is_too_short_is_named(market):
    result = warmup.probe(from_function(nested), market, {"nested": 20}, RNG)
    assert result.status == "ok"
    assert result.findings == ()
    assert result.cuts == (1, 1)
    assert result.tried == "the panel begins at 4 later rows"
    assert result.detail == "nested declared lookback 20, measured 63; nested needs 63 bars"
    assert warmup.probe(from_function(nested), market, {"nested": 63}, RNG).detail == "nested needs 63 bars"
    assert warmup.probe(from_function(nested), market, None, RNG).cuts == (0, 1)
    assert warmup.probe(from_function(now), market, {"other": 1}, RNG).detail == "now needs 1 bar"


def test_many_columns_are_named_longest_first(market):
    def several(df):
        return filled(df).to_frame("a").assign(**{f"m{n}": filled(df).rolling(n).mean() for n in range(2, 13)})

    result = warmup.probe(from_function(several), market, {"m9": 5, "m12": 12}, RNG)
    assert result.detail.startswith("m9 declared lookback 5, measured 9; m12 needs 12 bars; m11 needs 11 bars;")
    assert result.detail.endswith("m5 needs 5 bars; 4 more need at most 4 bars")
    assert result.cuts == (1, 12)


def test_our_own_features_need_no_more_than_they_declare():
    panel = made_up_panel(rows=260, listings=5, seed=6)
    features = build_features(panel, {**library.close_only(), **library.price_volume()})
    declared = dict(zip(features.names, features.lookbacks, strict=True))
    target = FunctionTarget("features", lambda p: _columns(p), "asset")
    found, errors = warmup.measure(target, panel, warmup.begin_rows(panel, 3, RNG))
    assert errors == []
    assert set(found) == set(declared)
    finite = {n for n, b in declared.items() if b < 200}
    assert len(finite) > 20
    assert {n for n in finite if found[n].bars > declared[n]} == set()
    # A window that is declared is also used: the measure would not notice a lookback of 1 otherwise.
    assert np.mean([found[n].bars == declared[n] for n in finite]) > 0.9


def _columns(panel):
    f = build_features(panel, {**library.close_only(), **library.price_volume()})
    return {name: f.values[:, :, i] for i, name in enumerate(f.names)}


def test_a_net_needs_its_kernel_and_its_inputs_window(market):
    """A causal convolution of 5 steps over inputs standardised over WINDOW rows."""
    net = nn.Sequential(_Turn(), nn.ConstantPad1d((4, 0), 0.0), nn.Conv1d(1, 1, 5), _Turn()).eval()
    with torch.no_grad():
        net[2].weight.fill_(0.3)
        net[2].bias.fill_(0.1)
    plan = from_module(net, ("factor",), name="net")
    fields = {**market.fields, "factor": np.abs(np.random.default_rng(0).standard_normal(market.shape)) + 1}
    found, _ = warmup.measure(plan.target, market.replace(fields=fields), np.array([40, 90]))
    assert found["net"].settles
    assert found["net"].bars == WINDOW + 4


class _Turn(nn.Module):
    def forward(self, x):
        return x.transpose(1, 2)


def test_a_target_that_raises_on_a_short_panel(market):
    def proud(df):
        if len(df) < 290:
            raise ValueError("needs 290 rows")
        return filled(df)

    result = warmup.probe(from_function(proud), market, None, RNG, starts=2)
    assert result.status == "cannot tell"
    assert result.tried == "the panel begins at 0 later rows"
    assert "proud raised ValueError: needs 290 rows" in result.detail


def test_noise_is_not_warm_up(market):
    """A target that differs from itself by 1e-4 of its scale is judged above four times that."""
    draw = np.random.default_rng(5)

    def noisy(df):
        return filled(df) + 1e-4 * filled(df).std() * draw.uniform(-0.5, 0.5, len(df))

    rows = np.array([50, 100])
    found, _ = warmup.measure(from_function(noisy), market, rows)
    assert found["noisy"].bars > 50
    found, _ = warmup.measure(from_function(noisy), market, rows, noise={"noisy": 1e-4})
    assert found["noisy"].bars == 1


def test_the_same_seed_gives_the_same_rows(market):
    a, b = (warmup.probe(from_function(mean_20), market, None, RNG) for _ in range(2))
    assert (a.detail, a.cuts, a.tried) == (b.detail, b.cuts, b.tried)
    rows = warmup.begin_rows(market, 4, RNG)
    assert len(rows) == 4
    assert (rows >= 1).all()
    assert (rows <= 150).all()
