"""Risk: Ledoit-Wolf against scikit-learn, the factor model against PCA, missing returns, and nothing of the future."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from toys import make_panel

from hitherto.errors import ConfigError, DataError
from hitherto.portfolio.risk import FLOOR, factor_model, one_bar_returns, risk_at, shrinkage

NAN = np.nan
SHAPES = [(60, 20), (60, 90), (250, 40), (30, 1), (5, 5), (8, 30)]


def market(seed, W, n, holes=0.0):
    rng = np.random.default_rng(seed)
    x = 0.01 * rng.normal(size=(W, 1)) + 0.02 * rng.normal(size=(W, n)) * np.linspace(0.5, 2, n)
    x[rng.random((W, n)) < holes] = NAN
    return x


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(3))
def test_shrinkage_is_scikit_learns(shape, seed):
    x = market(seed, *shape)
    assert np.allclose(shrinkage(x).matrix(), LedoitWolf().fit(x).covariance_, rtol=1e-10, atol=1e-18)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(3))
def test_the_factors_are_principal_components(shape, seed):
    x = market(seed, *shape)
    k = min(3, *shape)
    oracle = PCA(k, svd_solver="full").fit(x)
    kept = oracle.components_.T * np.sqrt(oracle.explained_variance_ * (len(x) - 1) / len(x))
    risk = factor_model(x, k)
    assert np.allclose(risk.exposures @ risk.exposures.T, kept @ kept.T, rtol=1e-8, atol=1e-15)
    rest = np.maximum(x.var(axis=0) - (kept**2).sum(axis=1), 0)
    assert np.allclose(risk.specific, np.maximum(rest, FLOOR * np.median(rest)), rtol=1e-7, atol=1e-15)


def test_the_variances_of_a_factor_model_are_those_of_the_returns():
    x = market(0, 120, 30)
    assert np.allclose(np.diag(factor_model(x, 4).matrix()), x.var(axis=0), rtol=1e-9)
    holes = market(0, 120, 30, holes=0.2)
    assert np.allclose(np.diag(factor_model(holes, 4).matrix()), np.nanvar(holes, axis=0), rtol=1e-9)


def test_a_planted_factor_is_found():
    """One factor of deviation 1 %, loadings 0.5..1.5, 2 % specific, 4,000 bars: the errors are a few per cent."""
    rng = np.random.default_rng(0)
    beta = np.linspace(0.5, 1.5, 40)
    x = 0.01 * rng.normal(size=(4000, 1)) * beta + 0.02 * rng.normal(size=(4000, 40))
    risk = factor_model(x, 1)
    # The loading's standard error is about 0.02 / sqrt(4000) = 3e-4, that of a variance sqrt(2 / 4000) = 2.2 % of it:
    # bars of 6 standard errors over 40 names fail by luck less than once in 1e6.
    assert np.abs(np.abs(risk.exposures[:, 0]) - 0.01 * beta).max() < 2e-3
    assert np.abs(risk.specific / 4e-4 - 1).max() < 0.14


@given(st.integers(0, 10**6), st.sampled_from(["factor", "shrinkage"]))
def test_a_covariance_is_symmetric_and_permutes(seed, model):
    x = market(seed, 40, 12, holes=0.1)
    make = (lambda r: factor_model(r, 3, 10)) if model == "factor" else (lambda r: shrinkage(r, 10))
    S, order = make(x).matrix(), np.random.default_rng(seed).permutation(12)
    assert np.linalg.eigvalsh(S).min() > 0
    assert np.allclose(make(x[:, order]).matrix(), S[np.ix_(order, order)], rtol=1e-7, atol=1e-12)
    w = np.random.default_rng(seed + 1).normal(size=12)
    assert make(x).variance(w) == pytest.approx(w @ S @ w)


@pytest.mark.parametrize("model", ["factor", "shrinkage"])
def test_thin_names_are_average_names(model):
    x = market(1, 60, 11)
    x[5:, 10] = NAN
    risk = risk_at(x, 59, model=model, window=60, factors=3, least=20)
    assert risk.known.tolist() == [True] * 10 + [False]
    alone = risk_at(x[:, :10], 59, model=model, window=60, factors=3, least=20)
    assert np.array_equal(risk.matrix()[:10, :10], alone.matrix())
    S = risk.matrix()
    mean = alone.exposures.mean(axis=0)
    assert S[10, 10] == pytest.approx(max(np.median(np.diag(S)[:10]), mean @ mean + np.median(alone.specific)))
    assert np.allclose(S[10, :10], alone.exposures @ mean)


def test_a_price_that_hardly_moved_is_not_riskless():
    x = market(2, 60, 10)
    x[:, 3] = 0.0
    risk = factor_model(x, 2)
    assert risk.specific[3] == pytest.approx(FLOOR * np.median(risk.specific))  # the floor lies below the median
    assert risk.specific[3] > 1e-6


@pytest.mark.parametrize("model", ["factor", "shrinkage"])
@given(seed=st.integers(0, 10**6), t=st.integers(20, 58))
def test_later_rows_are_not_read(model, seed, t):
    x = market(seed, 60, 8, holes=0.05)
    before = risk_at(x, t, model=model, window=30, factors=3, least=5)
    x[t + 1 :] = market(seed + 1, 60, 8)[t + 1 :]
    after = risk_at(x, t, model=model, window=30, factors=3, least=5)
    assert before.exposures.tobytes() == after.exposures.tobytes()
    assert before.specific.tobytes() == after.specific.tobytes()
    x[t] += 0.01 * np.arange(8)  # the row itself is read
    assert risk_at(x, t, model=model, window=30, factors=3, least=5).specific.tobytes() != before.specific.tobytes()


def test_returns_are_adjusted_and_never_cross_a_halt():
    panel = make_panel(T=40, N=4, halts=0.1, factor=True)
    close, factor = panel.fields["close"], panel.fields["factor"]
    r = one_bar_returns(panel)
    assert np.isnan(r[0]).all()
    for t in range(1, 40):
        for n in range(4):
            known = np.isfinite(close[t, n]) and np.isfinite(close[t - 1, n])
            assert np.isfinite(r[t, n]) == known
            if known:
                expected = close[t, n] * factor[t, n] / (close[t - 1, n] * factor[t - 1, n]) - 1
                assert r[t, n] == pytest.approx(expected, abs=1e-15)


def test_messages():
    x = market(0, 30, 3)
    with pytest.raises(ConfigError, match=r"^risk: least must lie in 2..window = 2..20 returns, got 30$"):
        risk_at(x, 29, window=20, least=30)
    with pytest.raises(ConfigError, match=r"^risk: factors must be a whole number >= 1, got 0$"):
        factor_model(x, 0)
    with pytest.raises(
        DataError,
        match=r"^risk: no name has 40 known returns in the window of 30 bars \(the best has 30\); start later, or ask "
        r"for fewer \(least\)$",
    ):
        shrinkage(x, 40)
    x[2, 1] = np.inf
    with pytest.raises(DataError, match=r"^risk: the return of column 1 at row 2 of the window is infinite; check the"):
        factor_model(x, 1)
