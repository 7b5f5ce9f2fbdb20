"""Diebold-Mariano, Holm, Benjamini-Hochberg and Hansen's test against hand cases, statsmodels, twins and truth."""

import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from hitherto.errors import ConfigError, DataError, MissingExtraError
from hitherto.evaluate.comparison import (
    against_naive,
    benjamini_hochberg,
    diebold_mariano,
    holm,
    superior_predictive_ability,
)


def rng(seed=0):
    return np.random.default_rng(seed)


def test_diebold_mariano_by_hand():
    # differences 1, 0, 1, 2, 0, 1, 2, 1, 1, 1: mean 1, autocovariances .4 (lag 0) and -.1 (lag 1)
    d = np.array([1.0, 0, 1, 2, 0, 1, 2, 1, 1, 1])
    a = np.arange(10.0)
    got = diebold_mariano(a + d, a)
    assert got.t == pytest.approx(math.sqrt(9 / 10) / math.sqrt(0.4 / 10), rel=1e-12)
    assert got.p == pytest.approx(2 * stats.t.sf(got.t, 9), rel=1e-9)
    assert got[:1] + got[3:] == (1.0, 10, 1, "equal")
    two = diebold_mariano(a + d, a, horizon=2)
    small = math.sqrt((10 + 1 - 4 + 2 / 10) / 10)
    assert two.t == pytest.approx(small / math.sqrt((0.4 - 2 * 0.1) / 10), rel=1e-12)


@given(st.integers(0, 999), st.integers(10, 60), st.integers(1, 8), st.floats(-3, 3))
def test_diebold_mariano_equals_the_slow_twin(seed, n, horizon, edge):
    d = rng(seed).normal(edge, 1, n + horizon)
    d = np.array([d[i : i + horizon].sum() for i in range(n)])
    b = rng(seed + 1).uniform(0, 5, n)
    got = diebold_mariano(b + d, b, horizon)
    mean = sum(d) / n
    cov = [sum((d[t] - mean) * (d[t + k] - mean) for t in range(n - k)) / n for k in range(horizon)]
    variance = cov[0] + 2 * sum(cov[1:])
    if variance > 1e-9:
        assert got.weights == "equal"
    elif variance < -1e-9:
        assert got.weights == "bartlett"
        variance = cov[0] + 2 * sum((1 - k / horizon) * cov[k] for k in range(1, horizon))
    else:
        return
    t = mean / math.sqrt(variance / n) * math.sqrt((n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n)
    assert got.t == pytest.approx(t, rel=1e-6, abs=1e-9)
    assert got.p == pytest.approx(2 * stats.t.sf(abs(t), n - 1), rel=1e-5, abs=1e-12)
    back = diebold_mariano(b, b + d, horizon)
    assert (back.t, back.p) == pytest.approx((-got.t, got.p), rel=1e-9)


def test_diebold_mariano_rejects_equal_forecasts_as_often_as_it_says():
    # Two equally good forecasts of 5-bar sums, 60 bars: 8.4 % of 4,000 other pairs at a nominal 5 % (sd of the share of
    # 1,000 .0088: .125 is 4.7 sd above); without the horizon 27.4 % (sd .014: .20 is 5 sd below).
    wrong = naive = 0
    for seed in range(1000):
        e = rng(seed).normal(size=(64, 2))
        loss = np.abs(np.apply_along_axis(lambda c: np.convolve(c, np.ones(5), "valid"), 0, e))
        wrong += diebold_mariano(loss[:, 0], loss[:, 1], 5).p < 0.05
        naive += diebold_mariano(loss[:, 0], loss[:, 1]).p < 0.05
    assert wrong < 125
    assert naive > 200


def test_a_panel_against_the_naive_forecast():
    g = rng(0)
    signal = g.normal(size=(200, 6))
    real = 0.3 * signal + g.normal(size=(200, 6))
    good = against_naive(0.3 * signal, real)
    assert good.t < -4  # the errors shrink by 8 % of a variance of 1.09: about -6 for 1,200 entries
    # hand-made daily losses over the entries that all have; a date without any is left out
    f = 0.3 * signal
    f[3] = np.nan
    f[5, 2] = np.nan
    real[7, 1] = np.nan
    use = np.delete(np.arange(200), 3)
    a = [np.nanmean((f[t] - real[t]) ** 2) for t in use]
    b = [np.nanmean(np.where(np.isnan(f[t]), np.nan, real[t]) ** 2) for t in use]
    assert against_naive(f, real, 3)[:4] == pytest.approx(diebold_mariano(a, b, 3)[:4], rel=1e-9)
    assert against_naive(np.zeros((200, 6)), real, naive=f).t == pytest.approx(-against_naive(f, real).t, rel=1e-9)
    # noise as a forecast loses to nothing at all: its own variance of .09 comes on top
    assert against_naive(0.3 * g.normal(size=(200, 6)), real).t > 2
    with pytest.raises(DataError) as caught:
        against_naive(f[:, :3], real)
    assert str(caught.value) == (
        "Diebold-Mariano: forecasts of shape (200, 3) and (200, 6), realised values (200, 6); all must be (T, N)"
    )
    with pytest.raises(DataError, match="first losses: 1 of 200 values are NaN or infinite, the first at 4"):
        against_naive(np.where(np.arange(200)[:, None] == 4, np.inf, 0.1 * signal), np.nan_to_num(real))


def test_adjusted_p_values_by_hand():
    p = [0.04, 0.01, 0.03, 0.5]
    assert holm(p) == pytest.approx([0.09, 0.04, 0.09, 0.5], rel=1e-12)
    assert benjamini_hochberg(p) == pytest.approx([0.16 / 3, 0.04, 0.16 / 3, 0.5], rel=1e-12)
    assert holm([0.3]) == [0.3]


ps = st.lists(st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.01, 0.05, 1.0])), min_size=1, max_size=30)


@given(ps)
def test_adjusted_p_values_equal_their_definitions(p):
    n, order = len(p), sorted(p)
    slow = [max(min(1.0, (n - j) * order[j]) for j in range(n) if order[j] <= v) for v in p]
    np.testing.assert_allclose(holm(p), slow, rtol=1e-12)
    np.testing.assert_allclose(benjamini_hochberg(p), stats.false_discovery_control(p), rtol=1e-12)


def test_adjusted_p_values_equal_statsmodels():
    for seed in range(5):
        p = np.round(rng(seed).beta(0.3, 1, 5 + 10 * seed), 2)
        np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1], rtol=1e-12)
        np.testing.assert_allclose(benjamini_hochberg(p), multipletests(p, method="fdr_bh")[1], rtol=1e-12)


@given(ps, st.randoms())
def test_adjusted_p_values_follow_their_tests(p, shuffle):
    order = list(range(len(p)))
    shuffle.shuffle(order)
    for f in (holm, benjamini_hochberg):
        np.testing.assert_array_equal(f(np.array(p)[order]), f(p)[order])
        assert (f(p) >= np.array(p) * (1 - 1e-12)).all()
    assert (benjamini_hochberg(p) <= holm(p) * (1 + 1e-12)).all()


def slow_spa(d, starts_of, draws):
    """Hansen (2005), section 3.2, on gains d (T, N); starts_of(k): the rows of draw k."""
    n = len(d)
    omega = np.sqrt([hac(column, starts_of.block) for column in d.T])
    mean = d.mean(axis=0)
    seen = max(0.0, (math.sqrt(n) * mean / omega).max())
    keep = mean >= -np.sqrt(omega**2 / n * 2 * math.log(math.log(n)))
    out = []
    for centre in (np.maximum(mean, 0), mean * keep, mean):
        over = 0
        for k in range(draws):
            star = d[starts_of(k)].mean(axis=0) - centre
            over += max(0.0, (math.sqrt(n) * star / omega).max()) > seen
        out.append(over / draws)
    return out


def hac(x, block):
    n, e, q = len(x), x - x.mean(), 1 / block
    total = (e @ e) / n
    for i in range(1, n):
        kappa = (n - i) / n * (1 - q) ** i + i / n * (1 - q) ** (n - i)
        total += 2 * kappa * (e[: n - i] @ e[i:]) / n
    return total


class Rows:
    """The rows that arch's stationary bootstrap draws from a generator."""

    def __init__(self, n, block, draws, generator):
        from arch.bootstrap import StationaryBootstrap

        self.block = block
        self.rows = [d[0][0] for d in StationaryBootstrap(block, np.arange(n), seed=generator).bootstrap(draws)]

    def __call__(self, k):
        return self.rows[k]


@pytest.mark.parametrize("seed", range(4))
def test_superior_ability_equals_the_slow_twin(seed):
    g = rng(seed)
    base = g.normal(1, 1, 150)
    rivals = base[:, None] - g.normal([0.0, 0.05, -0.5, 0.2], [1.0, 0.1, 1.0, 3.0], (150, 4))
    got = superior_predictive_ability(base, rivals, rng(seed), draws=200, block=4)
    want = slow_spa(base[:, None] - rivals, Rows(150, 4, 200, rng(seed)), 200)
    assert (got.lower, got.p, got.upper) == pytest.approx(want, abs=1e-12)
    assert got.lower <= got.p <= got.upper
    assert got.best == rivals.mean(axis=0).argmin()
    assert (got.block, got.draws) == (4, 200)
    again = superior_predictive_ability(base, rivals, rng(seed), draws=200, block=4)
    assert again == got


def test_a_noisy_loser_does_not_hide_a_quiet_winner():
    # Gain .3 a bar with sd 1: t = 6.7 over 500 bars, sd 1; p < .01 needs about 3.3, a fall by 3.4 sd (3e-4). Ten
    # worthless models of sd 30 have means of sd 1.3: without studentising p was above .98 for each of 20 other seeds.
    g = rng(0)
    base = np.zeros(500)
    rivals = -np.concatenate([g.normal(0.3, 1, (500, 1)), g.normal(0, 30, (500, 10))], axis=1)
    rivals[:, 1:] -= rivals[:, 1:].mean(axis=0)
    assert superior_predictive_ability(base, rivals, rng(1), draws=500, block=2).p < 0.01


def test_superior_ability_holds_its_level_over_a_set():
    # 20 models as good as the benchmark, 200 bars: 4.7 % of 600 other sets at a nominal 5 % (15 or more of 100: 1e-4);
    # the best single p-value is below .05 in 45 % of them (25 or fewer of 100: 2e-5).
    wrong = single = 0
    for seed in range(100):
        g = rng(seed)
        base, rivals = g.normal(size=200), g.normal(size=(200, 20))
        wrong += superior_predictive_ability(base, rivals, rng(seed), draws=200, block=1).p < 0.05
        single += min(diebold_mariano(base, rivals[:, k]).p for k in range(20)) < 0.05
    assert wrong < 15
    assert single > 25


def test_the_block_length_comes_from_the_differences():
    from hitherto.evaluate.inference import optimal_block

    g = rng(3)
    base = np.zeros(300)
    slow = np.convolve(g.normal(size=309), np.ones(10), "valid")
    rivals = np.stack([g.normal(size=300), slow], axis=1)
    got = superior_predictive_ability(base, rivals, rng(0), draws=50)
    assert got.block == math.ceil(optimal_block(slow, "stationary")) > 5


def test_without_arch_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "arch.bootstrap", None)
    with pytest.raises(MissingExtraError) as caught:
        superior_predictive_ability(np.arange(20.0), np.ones((20, 2)), rng())
    assert str(caught.value) == (
        'Hansen\'s test of superior predictive ability needs an optional package: pip install "hitherto[stats]"'
    )


x = np.arange(20.0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: diebold_mariano(x, x[:-1]),
            DataError,
            "Diebold-Mariano: 20 against 19 losses; pass the same bars of both",
        ),
        (lambda: diebold_mariano(x, x, 20), ConfigError, "Diebold-Mariano: horizon must lie in 1..19, got 20"),
        (
            lambda: diebold_mariano(x + 0.1, x),
            DataError,
            "Diebold-Mariano: the losses differ by the same amount on every bar; nothing to test",
        ),
        (
            lambda: diebold_mariano(x, np.r_[x[:-1], np.nan]),
            DataError,
            "second losses: 1 of 20 values are NaN or infinite, the first at 19; drop them",
        ),
        (lambda: holm([]), DataError, "p-values: expected one or more in one dimension, got shape (0,)"),
        (
            lambda: benjamini_hochberg([0.1, np.nan]),
            DataError,
            "p-values: nan at 1 is not in 0..1; leave out tests that gave none",
        ),
        (lambda: holm([0.1, 1.5]), DataError, "p-values: 1.5 at 1 is not in 0..1; leave out tests that gave none"),
        (
            lambda: superior_predictive_ability(x, np.ones((19, 2)), rng()),
            DataError,
            "superior ability: losses of shape (19, 2); give (20, N), one column a model",
        ),
        (
            lambda: superior_predictive_ability(x, np.stack([x * 2, x], axis=1), rng()),
            DataError,
            "superior ability: model 1 differs from the benchmark by the same on every bar",
        ),
        (
            lambda: superior_predictive_ability(x, x * 2, rng(), block=0.5),
            ConfigError,
            "superior ability: block must lie in 1..20, got 0.5",
        ),
    ],
)
def test_messages(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
