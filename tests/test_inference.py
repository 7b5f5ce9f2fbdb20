"""Block bootstrap and t-statistics against arch, statsmodels, slow twins and known truths."""

import math

import numpy as np
import pytest
import statsmodels.api as sm
from arch.bootstrap import CircularBlockBootstrap, optimal_block_length
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import lfilter

from hitherto.errors import ConfigError, DataError
from hitherto.evaluate.inference import (
    Interval,
    draw_blocks,
    drawdown_interval,
    mean_interval,
    newey_west_t,
    nonoverlapping_t,
    optimal_block,
    paired_difference,
    resampled_means,
    sharpe_interval,
)


def rng(seed=0):
    return np.random.default_rng(seed)


def ar1(seed, n, phi, mean=0.0):
    return lfilter([1.0], [1.0, -phi], rng(seed).normal(size=n + 50))[50:] + mean


@given(st.integers(10, 60), st.integers(1, 10), st.sampled_from(["circular", "stationary"]), st.integers(0, 999))
def test_resampled_means_equal_the_slow_twin(n, block, kind, seed):
    x = rng(seed).normal(3, 1, (n, 2))
    starts, lengths = draw_blocks(n, rng(seed), 20, block, kind)
    assert (lengths.sum(axis=1) == n).all()
    assert lengths.min() >= 0
    fast = resampled_means(x, rng(seed), 20, block, kind)
    for d in range(20):
        rows = np.concatenate([(s + np.arange(k)) % n for s, k in zip(starts[d], lengths[d], strict=True)])
        np.testing.assert_allclose(fast[d], x[rows].mean(axis=0), atol=1e-12)


def test_block_lengths_are_what_was_asked():
    lengths = draw_blocks(1000, rng(), 50, 7, "circular")[1]
    assert set(lengths[:, :-1].ravel()) == {7}
    lengths = draw_blocks(100_000, rng(), 20, 7, "stationary")[1]
    drawn = lengths[lengths > 0]
    # about 286,000 geometric lengths of sd sqrt(42): the mean has sd 0.0121; 0.07 is 5.8 sd, chance below 1e-8
    assert drawn.mean() == pytest.approx(7, abs=0.07)


def test_optimal_block_equals_arch_where_both_follow_the_paper():
    # arch counts the last significant lag one higher than Politis & White do; at most lag 1 this makes no difference
    for seed in range(12):
        x = rng(seed).normal(size=[60, 250, 1000, 3643][seed % 4])
        theirs = optimal_block_length(x).iloc[0]
        assert optimal_block(x, "stationary") == pytest.approx(max(1, theirs["stationary"]), rel=1e-9)
        assert optimal_block(x) == pytest.approx(max(1, theirs["circular"]), rel=1e-9)
    ratios = []
    for seed in range(30):
        x = ar1(seed, 1500, 0.5)
        ratios.append(optimal_block(x) / optimal_block_length(x).iloc[0]["circular"])
    assert 0.75 < np.median(ratios) < 1.25


def slow_optimal_block(x):
    """Politis & White (2004), section 3.2, term by term."""
    n = len(x)
    mean = sum(x) / n
    R = [sum((x[i] - mean) * (x[i + k] - mean) for i in range(n - k)) / n for k in range(n)]
    K, top = max(5, int(math.log10(n))), math.ceil(math.sqrt(n)) + max(5, int(math.log10(n)))
    loud = [abs(R[k] / R[0]) >= 2 * math.sqrt(math.log10(n) / n) for k in range(top + 1)]
    m = next(m for m in range(top) if not any(loud[m + 1 : m + K + 1]))
    M = min(2 * max(m, 1), top)
    window = {k: (1 if abs(k) / M <= 0.5 else 2 * (1 - abs(k) / M)) for k in range(-M, M + 1)}
    G = sum(w * abs(k) * R[abs(k)] for k, w in window.items())
    g0 = sum(w * R[abs(k)] for k, w in window.items())
    b = (2 * G**2 / (4 / 3 * g0**2)) ** (1 / 3) * n ** (1 / 3)
    return min(max(b, 1), math.ceil(min(3 * math.sqrt(n), n / 3)))


@pytest.mark.parametrize("phi", [0.0, 0.3, 0.6, 0.8])
def test_optimal_block_equals_the_slow_twin(phi):
    for seed in range(5):
        x = ar1(seed, 300, phi)
        assert optimal_block(x) == pytest.approx(slow_optimal_block(list(x)), rel=1e-9)
    assert optimal_block(np.ones(50)) == 1.0


def test_mean_interval_equals_arch_up_to_draws():
    x = ar1(3, 800, 0.4, mean=0.2)
    ours = mean_interval(x, rng(), draws=4000, block=10)
    theirs = CircularBlockBootstrap(10, x, seed=rng(1)).conf_int(np.mean, reps=4000, method="percentile")
    low, high = theirs[:, 0]
    # A bound has a draw error of about sd x 2.67 / sqrt(4000) = 0.042 sd; two differ by 0.06 sd; 0.3 sd is 5 of those.
    sd = (high - low) / 3.92
    assert ours.estimate == x.mean()
    assert ours.lo == pytest.approx(low, abs=0.3 * sd)
    assert ours.hi == pytest.approx(high, abs=0.3 * sd)


def test_sharpe_interval_equals_the_slow_twin():
    r = ar1(1, 250, 0.2) * 0.01 + 0.0005
    got = sharpe_interval(r, rng(4), periods_per_year=252, rf=0.01, draws=300, block=8)
    starts, lengths = draw_blocks(250, rng(4), 300, 8)
    slow = []
    for s, k in zip(starts, lengths, strict=True):
        v = r[np.concatenate([(a + np.arange(b)) % 250 for a, b in zip(s, k, strict=True)])] - 0.01 / 252
        slow.append(v.mean() / v.std(ddof=1) * math.sqrt(252))
    excess = r - 0.01 / 252
    assert got.estimate == pytest.approx(excess.mean() / excess.std(ddof=1) * math.sqrt(252), rel=1e-12)
    assert got[1:] == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])), rel=1e-9)


def coverage(make, truth, intervals=400):
    hits = 0
    for seed in range(intervals):
        lo, hi = make(seed)[1:]
        hits += lo <= truth <= hi
    return hits / intervals


def test_the_interval_covers_a_dependent_mean_and_days_drawn_singly_do_not():
    # AR(1) 0.5, 500 days: 93.0 % of 1,500 other series were covered, so over 400 the share has sd .0128; .87 lies 4.7
    # sd below (1e-6) and .98 3.9 sd above (5e-5).
    blocks = coverage(lambda s: mean_interval(ar1(s, 500, 0.5), rng(s), draws=300), 0.0)
    assert 0.87 <= blocks <= 0.98
    # Planted failure: single days miss a variance ratio of (1 + .5) / (1 - .5) = 3 and cover P(|z| < 1.96 / sqrt 3),
    # about .75 (.749 of 1,500 other series); sd .0217, so .84 is 4.2 sd above (1e-5).
    single = coverage(lambda s: mean_interval(ar1(s, 500, 0.5), rng(s), draws=300, block=1), 0.0)
    assert single < 0.84


def test_sharpe_interval_covers():
    # Independent normal days, true Sharpe 0.8: 94.5 % of 1,500 other series; sd of the share .0114, so .89 is 4.8 sd
    # below (1e-6) and .985 3.5 sd above (2e-4).
    truth, sd = 0.8, 0.01
    mean = truth * sd / math.sqrt(252)

    def make(seed):
        return sharpe_interval(rng(seed).normal(mean, sd, 500), rng(seed), periods_per_year=252, draws=300)

    assert 0.89 <= coverage(make, truth) <= 0.985


def test_pairs_cancel_what_moves_both():
    market = ar1(0, 700, 0.0) * 0.01
    own = rng(1).normal(0.0002, 0.001, 700)
    d = paired_difference(market + own, market, rng(2), periods_per_year=252)
    assert d.estimate == pytest.approx(own.mean() * 252, abs=1e-12)
    assert d == pytest.approx(tuple(252 * v for v in mean_interval(own, rng(2))), abs=1e-6)
    alone = mean_interval(market + own, rng(2))
    assert (d.hi - d.lo) < 0.2 * 252 * (alone.hi - alone.lo)
    same = paired_difference(market, market, rng(0), periods_per_year=252)
    assert same == Interval(0.0, 0.0, 0.0)
    assert not same.excludes_zero


def test_same_generator_same_interval():
    x = ar1(0, 300, 0.3)
    assert mean_interval(x, rng(1)) == mean_interval(x, rng(1))
    assert mean_interval(x, rng(1)) != mean_interval(x, rng(2))


@pytest.mark.parametrize("lags", [0, 1, 5, 19, None])
def test_newey_west_equals_statsmodels(lags):
    x = ar1(2, 400, 0.6, mean=0.1)
    use = int(4 * (400 / 100) ** (2 / 9)) if lags is None else lags
    fit = sm.OLS(x, np.ones(400)).fit(cov_type="HAC", cov_kwds={"maxlags": use})
    assert newey_west_t(x, lags).t == pytest.approx(fit.tvalues[0], rel=1e-10)


def test_nonoverlapping_t_by_hand():
    x = np.arange(30.0)
    got = nonoverlapping_t(x, 10, first=2)  # 2, 12, 22: mean 12, deviation 10
    assert got.n == 3
    assert got.t == pytest.approx(12 / (10 / math.sqrt(3)), rel=1e-12)


def test_overlap_inflates_the_plain_t_and_not_the_nonoverlapping_one():
    # Sums of 20 independent days, no mean. Plain |t| > 1.96 comes about 65 % of the time (90 of 200: 6 sd below); every
    # 20th row obeys the null: at a true rate of 6 % (50 rows, normal quantile) 30 or more of 200 are 5 sd away, 3e-6.
    plain = honest = 0
    for seed in range(200):
        x = np.convolve(rng(seed).normal(size=1019), np.ones(20), "valid")
        plain += abs(nonoverlapping_t(x, 1).t) > 1.96
        honest += abs(nonoverlapping_t(x, 20).t) > 1.96
    assert plain > 90
    assert honest < 30


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_interval([1.0] * 9, rng()), "series: 9 values; at least 10 are needed"),
        (lambda: mean_interval(np.ones((5, 5)), rng()), "series: expected one dimension, got shape (5, 5)"),
        (
            lambda: mean_interval([1.0, np.nan] * 9, rng()),
            "series: 9 of 18 values are NaN or infinite, the first at 1; drop them",
        ),
        (
            lambda: paired_difference(np.ones(20), np.ones(21), rng()),
            "paired difference: 20 against 21 values; pass the same bars of both",
        ),
        (
            lambda: sharpe_interval(np.full(50, 0.01), rng(), periods_per_year=252),
            "Sharpe interval: the returns are constant, their deviation is 0; there is no ratio to bound",
        ),
        (
            lambda: newey_west_t(np.ones(50)),
            "Newey-West: the series has no variation; its mean has no t-statistic",
        ),
    ],
)
def test_data_errors_say_what_is_wrong(call, message):
    with pytest.raises(DataError) as caught:
        call()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_interval(np.arange(20.0), rng(), block=21), "bootstrap: block must lie in 1..20, got 21"),
        (lambda: mean_interval(np.arange(20.0), rng(), level=95), "bootstrap: level must lie between 0 and 1, got 95"),
        (
            lambda: mean_interval(np.arange(20.0), rng(), kind="moving"),
            "bootstrap: kind must be 'circular' or 'stationary', got 'moving'",
        ),
        (lambda: newey_west_t(np.arange(20.0), 20), "Newey-West: lags must lie in 0..19, got 20"),
        (
            lambda: nonoverlapping_t(np.arange(20.0), 5, 5),
            "non-overlapping t: needs horizon >= 1 and 0 <= first < horizon, got 5 and 5",
        ),
    ],
)
def test_config_errors_say_what_to_change(call, message):
    with pytest.raises(ConfigError) as caught:
        call()
    assert str(caught.value) == message


def test_drawdown_interval_resamples_whole_paths():
    r = np.random.default_rng(0).normal(0.0005, 0.01, 500)
    wealth = np.concatenate([[1.0], np.cumprod(1 + r)])
    deepest = (wealth / np.maximum.accumulate(wealth) - 1).min()
    seen = drawdown_interval(r, np.random.default_rng(1))
    assert seen.estimate == pytest.approx(deepest, abs=1e-12)
    assert seen.lo < deepest < seen.hi < 0
    assert seen == drawdown_interval(r, np.random.default_rng(1))
    # one block of the whole series, rotated: the multiset of returns is kept, so the path must end at the same wealth
    whole = drawdown_interval(r, np.random.default_rng(2), draws=50, block=len(r))
    falls = []
    for k in range(len(r)):
        path = np.concatenate([[1.0], np.cumprod(1 + np.roll(r, -k))])
        falls.append((path / np.maximum.accumulate(path) - 1).min())
    assert min(falls) - 1e-12 <= whole.lo <= whole.hi <= max(falls) + 1e-12
    with pytest.raises(DataError, match="leaves nothing to resample"):
        drawdown_interval(np.r_[r, -1.0], np.random.default_rng(0))
