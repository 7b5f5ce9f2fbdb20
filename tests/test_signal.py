"""Signal: cross-sectional scores and rank ensembles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from hitherto.errors import ConfigError, DataError
from hitherto.models.base import Forecast
from hitherto.signal import ensemble, scores


def forecast(values, fold=None, model="m", names=("r1",)):
    values = np.asarray(values, float)
    if values.ndim == 2:
        values = values[..., None]
    fold = np.zeros(len(values), np.int32) if fold is None else np.asarray(fold, np.int32)
    return Forecast(model, values, fold, names)


def random_values(seed, T=6, N=7):
    """Few distinct values, so that ties are common, and some holes."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 5, (T, N, 1)) / 4.0
    x[rng.random(x.shape) < 0.25] = np.nan
    return x


def test_zscores_by_hand():
    f = forecast([[1.0, 3.0, 100.0, np.nan], [2.0, 2.0, 2.0, np.nan], [np.nan] * 4])
    mask = np.array([[True, True, False, True]] * 3)
    nan = np.nan
    assert np.array_equal(scores(f, mask), [[-1, 1, nan, nan], [0, 0, nan, nan], [nan] * 4], equal_nan=True)


def test_equal_forecasts_are_no_opinion_even_when_their_mean_rounds():
    row = np.full(7, 0.1)
    assert row.mean() != 0.1 or row.std() == 0  # the trap this guards against
    assert np.array_equal(scores(forecast([row]), np.ones((1, 7), bool)), np.zeros((1, 7)))


@given(st.integers(0, 10**6))
def test_ranks_equal_scipy(seed):
    x = random_values(seed)
    mask = np.random.default_rng(seed + 1).random(x.shape[:2]) < 0.8
    got = scores(forecast(x), mask, kind="rank")
    for t in range(len(x)):
        ok = mask[t] & np.isfinite(x[t, :, 0])
        assert np.isnan(got[t, ~ok]).all()
        if ok.any():
            assert np.array_equal(got[t, ok], (rankdata(x[t, ok, 0]) - 0.5) / ok.sum() - 0.5)


@given(st.integers(0, 10**6), st.sampled_from(["zscore", "rank"]))
def test_a_row_knows_only_its_own_row(seed, kind):
    x, other = random_values(seed), random_values(seed + 1)
    mask = np.ones(x.shape[:2], bool)
    rewritten = x.copy()
    rewritten[3:] = other[3:]
    before, after = scores(forecast(x), mask, kind=kind), scores(forecast(rewritten), mask, kind=kind)
    assert np.array_equal(before[:3], after[:3], equal_nan=True)


@given(st.integers(0, 10**6))
def test_zscores_have_mean_0_and_deviation_1_or_are_0(seed):
    x = np.random.default_rng(seed).normal(1e3, 1e-3, (4, 9))
    s = scores(forecast(x), np.ones(x.shape, bool))
    assert np.allclose(s.mean(1), 0, atol=1e-6)
    assert np.allclose(s.std(1), 1)


def test_outputs_by_name():
    f = forecast(np.stack([[[1.0, 2.0]], [[2.0, 1.0]]], axis=2), names=("r1", "r5"))
    mask = np.ones((1, 2), bool)
    assert np.array_equal(scores(f, mask, "r5"), [[1, -1]])
    assert np.array_equal(scores(f, mask, 1), scores(f, mask, "r5"))
    with pytest.raises(ConfigError, match=r"^scores: output 'r20' is not forecast by 'm'; it has r1, r5$"):
        scores(f, mask, "r20")


def test_an_ensemble_of_one_is_its_ranks_and_ignores_monotone_changes():
    x = random_values(3)
    mask = np.ones(x.shape[:2], bool)
    alone = ensemble([forecast(x)])
    assert np.array_equal(alone.values[..., 0], scores(forecast(x), mask, kind="rank"), equal_nan=True)
    bent = ensemble([forecast(x), forecast(np.exp(5 * x), model="bent")])
    assert np.array_equal(bent.values, alone.values, equal_nan=True)


def test_an_ensemble_averages_ranks_over_the_common_names_only():
    a = forecast([[1.0, 2.0, 3.0, 9.0], [1.0, 2.0, 3.0, 4.0]])
    b = forecast([[3.0, 1.0, 2.0, np.nan], [1.0, 2.0, 3.0, 4.0]], fold=[0, -1], model="b")
    e = ensemble([a, b], name="pair")
    # ranks of a 1 2 3, of b 3 1 2 -> mean 2 1.5 2.5, centred (m - 0.5) / 3 - 0.5
    assert np.allclose(e.values[0, :3, 0], [0, -1 / 6, 1 / 6])
    assert np.isnan(e.values[0, 3, 0])
    assert np.isnan(e.values[1]).all()
    assert e.fold.tolist() == [0, -1]
    assert e.model == "pair"


def test_messages():
    good = forecast([[1.0, 2.0]])
    with pytest.raises(ConfigError, match=r"^ensemble: got no forecast; give at least one$"):
        ensemble([])
    with pytest.raises(ConfigError, match=r"'b' forecasts r1 of shape \(1, 3, 1\), 'm' r1 of shape \(1, 2, 1\)"):
        ensemble([good, forecast([[1.0, 2.0, 3.0]], model="b")])
    with pytest.raises(ConfigError, match=r"^ensemble: row 0 comes from different folds \[0, 1\] of the members;"):
        ensemble([good, forecast([[1.0, 2.0]], fold=[1])])
    with pytest.raises(DataError, match=r"^scores: 'm' predicts an infinite r1 at row 0, column 1 \(1 such values\)"):
        scores(forecast([[1.0, np.inf]]), np.ones((1, 2), bool))
    with pytest.raises(DataError, match=r"the mask has shape \(2, 2\), the forecast \(1, 2\)"):
        scores(good, np.ones((2, 2), bool))
    with pytest.raises(ConfigError, match=r"kind must be 'zscore' or 'rank', got 'z'"):
        scores(good, np.ones((1, 2), bool), kind="z")
