"""PBO against a slow twin that splits the rows by hand, published behaviour on noise, and planted searches."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hitherto.errors import ConfigError, DataError
from hitherto.evaluate.overfitting import pbo


def noise(seed, T=1008, N=100):
    return np.random.default_rng(seed).normal(0, 0.01, (T, N))


def slow_pbo(r, blocks):
    """Section 2.2 of the paper, one combination at a time on the rows themselves."""
    T, N = r.shape
    parts = [np.arange(T * k // blocks, T * (k + 1) // blocks) for k in range(blocks)]
    logits, inside, outside = [], [], []
    for pick in combinations(range(blocks), blocks // 2):
        a = np.concatenate([parts[k] for k in pick])
        b = np.concatenate([parts[k] for k in range(blocks) if k not in pick])
        first, second = (r[i].mean(axis=0) / r[i].std(axis=0, ddof=1) for i in (a, b))
        best = int(np.flatnonzero(first >= first.max() - 1e-12)[0])
        order = stats.rankdata(np.round(second, 11))
        w = order[best] / (N + 1)
        logits.append(np.log(w / (1 - w)))
        inside.append(first[best])
        outside.append(second[best])
    return np.array(logits), np.array(inside), np.array(outside)


@settings(max_examples=60)
@given(
    st.integers(0, 999), st.integers(2, 12), st.integers(12, 61), st.sampled_from([2, 4, 6]),
    st.sampled_from(["smooth", "copies", "far"]),
)  # fmt: skip
def test_pbo_equals_the_slow_twin(seed, N, T, blocks, kind):
    r = np.random.default_rng(seed).standard_t(4, (T, N)) * 0.01 + 0.0005
    if kind == "copies":
        r = r[:, np.random.default_rng(seed).integers(0, max(1, N // 2), N)]
    elif kind == "far":
        r[:, 0] += 0.05  # a mean far from the others: nothing may be lost by the sums
    got = pbo(r, blocks)
    logits, inside, outside = slow_pbo(r, blocks)
    np.testing.assert_allclose(got.in_sample, inside, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(got.out_sample, outside, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(got.logits, logits, atol=1e-10)
    assert got.pbo == (logits <= 0).mean()
    assert got.loss == (outside < 0).mean()
    if not np.isnan(got.slope):
        line = stats.linregress(inside, outside)
        assert (got.slope, got.intercept) == pytest.approx((line.slope, line.intercept), rel=1e-6, abs=1e-9)


def test_the_reference_values():
    for seed, bare, drifting in zip(
        range(5), (0.417, 0.523, 0.815, 0.393, 0.352), (0.135, 0.195, 0.543, 0.081, 0.307), strict=True
    ):
        r = noise(seed)
        got = pbo(r)
        assert round(got.pbo, 3) == bare
        assert len(got.logits) == 12870
        r[:, 0] += 0.001
        assert round(pbo(r).pbo, 3) == drifting


def test_noise_gives_one_half_on_average():
    # One matrix has sd .16 around 1/2, the mean of 50 sd .022: .08 is 3.6 sd, chance 3e-4
    assert np.mean([pbo(noise(seed)).pbo for seed in range(50)]) == pytest.approx(0.5, abs=0.08)


def test_a_real_edge_and_a_search_that_turns():
    r = noise(0, N=20)
    r[:, 7] += 0.003  # Sharpe .3 a day beside noise of sd .03: first on every half
    found = pbo(r)
    assert found.pbo == 0.0
    assert found.loss == 0.0
    assert (found.winner == 7).all()
    # Planted: each trial earns on half of the blocks what it loses on the other half, so every winner turns.
    r = noise(1, N=40)
    rng = np.random.default_rng(0)
    for n in range(40):
        sign = rng.permutation(np.repeat([1, -1], 8))
        r[:, n] += 0.004 * np.repeat(sign, 63) - r[:, n].mean()
    turned = pbo(r)
    assert turned.pbo > 0.95
    assert turned.loss > 0.95
    assert turned.slope < -0.5


def test_the_unit_of_returns_and_the_order_of_trials_do_not_matter():
    r = noise(3, 300, 17)
    got = pbo(r, 8)
    scaled, turned = pbo(r * 1e-4, 8), pbo(r[:, ::-1], 8)
    np.testing.assert_allclose(scaled.in_sample, got.in_sample, rtol=1e-9)
    np.testing.assert_array_equal(scaled.logits, got.logits)
    np.testing.assert_array_equal(turned.winner, 16 - got.winner)
    np.testing.assert_array_equal(turned.logits, got.logits)


def test_chunks_do_not_change_the_answer(monkeypatch):
    r = noise(5, 200, 7)
    whole = pbo(r, 10)
    monkeypatch.setattr("hitherto.evaluate.overfitting.CELLS", 70)
    cut = pbo(r, 10)
    np.testing.assert_allclose(cut.in_sample, whole.in_sample, rtol=1e-12)
    np.testing.assert_array_equal(cut.logits, whole.logits)


def spoilt(t, n, value):
    r = noise(0, 100, 5)
    r[t, n] = value
    return r


def idle():
    r = noise(0, 100, 5)
    r[:60, 3] = 0.001
    return r


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: pbo(noise(0), 15), ConfigError, "overfitting: blocks must be even and lie in 2..20, got 15"),
        (lambda: pbo(noise(0), 22), ConfigError, "overfitting: blocks must be even and lie in 2..20, got 22"),
        (
            lambda: pbo(np.ones(50)),
            DataError,
            "overfitting: expected (T, N), one row per period and one column per trial, got (50,)",
        ),
        (
            lambda: pbo(noise(0, N=1)),
            DataError,
            "overfitting: one trial is no search; give the returns of every trial, losers included",
        ),
        (
            lambda: pbo(noise(0, T=31)),
            DataError,
            "overfitting: 31 rows for 16 blocks; two rows a block are needed: use fewer",
        ),
        (
            lambda: pbo(spoilt(4, 2, np.nan)),
            DataError,
            "overfitting: row 4, trial 2 is nan; give every trial's return in every period",
        ),
        (
            lambda: pbo(np.c_[noise(0, 100, 2), np.full(100, 0.01)]),
            DataError,
            "overfitting: trial 2 is constant and has no Sharpe ratio; leave it out",
        ),
        (
            lambda: pbo(idle(), 10),
            DataError,
            "overfitting: trial 3 does not move on some half of the blocks; leave it out or use fewer blocks",
        ),
    ],
)
def test_messages(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
