"""Block bootstrap and t-statistics against arch, statsmodels, slow twins and known truths."""

import math

import numpy as np
import pytest
import statsmodels.api as sm
from arch.bootstrap import CircularBlockBootstrap, optimal_block_length
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.signal import lfilter

from hitherto.errors import ConfigError, DataError
from hitherto.evaluate.forecast import daily_ics
from hitherto.evaluate.inference import (
    NEWEY_WEST_WARNING,
    RATIOS,
    Interval,
    draw_blocks,
    mean_interval,
    newey_west_t,
    nonoverlapping_t,
    optimal_block,
    paired_difference,
    ratio_intervals,
    resampled_means,
    resampled_ratios,
)
from hitherto.evaluate.performance import describe


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


def test_newey_west_carries_its_warning():
    assert newey_west_t(ar1(0, 50, 0.1)).warning == NEWEY_WEST_WARNING
    assert nonoverlapping_t(ar1(0, 50, 0.1), 2).warning == ""
    assert NEWEY_WEST_WARNING.startswith("Newey-West is too sure where labels overlap: of 2,000 worthless factors")


def test_newey_west_finds_worthless_factors_as_often_as_its_warning_says():
    # The design of benchmarks/error_bars.py with 20 names, 250 factors: .094 of 800 others with 19 lags (sd here .018),
    # .234 with automatic lags (sd .027), .031 of every 20th day (sd .013 at .05); each band is 4 sd wide.
    found = np.zeros(3)
    for seed in range(250):
        g = np.random.default_rng([1, seed])
        factor = lfilter([1.0], [1.0, -0.99], g.normal(size=(1680, 20)), axis=0)[200:]
        wealth = np.cumsum(g.normal(0, 0.02, (1500, 20)), axis=0)
        ic = daily_ics(np.ascontiguousarray(factor), wealth[20:] - wealth[:-20])[0]
        every = nonoverlapping_t(ic, 20)
        limits = (1.96, 1.96, stats.t.ppf(0.975, every.n - 1))
        found += [
            abs(t) > q for t, q in zip((newey_west_t(ic, 19).t, newey_west_t(ic).t, every.t), limits, strict=True)
        ]
    lagged, automatic, single = found / 250
    assert lagged == pytest.approx(0.10, abs=0.075)
    assert automatic == pytest.approx(0.235, abs=0.108)
    assert single < 0.10


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


def test_the_interval_of_a_drawdown_is_that_of_whole_paths():
    r = np.random.default_rng(0).normal(0.0005, 0.01, 500)
    wealth = np.concatenate([[1.0], np.cumprod(1 + r)])
    deepest = (wealth / np.maximum.accumulate(wealth) - 1).min()
    seen = ratio_intervals(r, rng(1), periods_per_year=252, draws=500)["max_drawdown"]
    assert seen.estimate == pytest.approx(deepest, abs=1e-12)
    assert seen.lo < deepest < seen.hi < 0
    # one block of the whole series, rotated: every resample is one of these 500 paths
    whole = ratio_intervals(r, rng(2), periods_per_year=252, draws=50, block=len(r), kind="circular")["max_drawdown"]
    falls = []
    for k in range(len(r)):
        path = np.concatenate([[1.0], np.cumprod(1 + np.roll(r, -k))])
        falls.append((path / np.maximum.accumulate(path) - 1).min())
    assert min(falls) - 1e-12 <= whole.lo <= whole.hi <= max(falls) + 1e-12


def rows_of(starts, lengths, n):
    return np.concatenate([np.arange(a, a + k) for a, k in zip(starts, lengths, strict=True) if k]) % n


shapes = st.sampled_from(["smooth", "coarse", "idle", "gains", "far", "ruin"])


@settings(max_examples=80)
@given(
    st.integers(10, 90), st.integers(1, 10), st.sampled_from(["circular", "stationary"]), shapes, st.integers(0, 999)
)
def test_resampled_ratios_equal_the_slow_twin(n, block, kind, shape, seed):
    r = rng(seed).standard_t(4, n) * 0.01 + 0.0005
    if shape == "coarse":
        r = np.round(r, 2)  # ties in every quantile
    elif shape == "idle":
        r[rng(seed).random(n) < 0.9] = 0.0  # whole resamples without a trade
    elif shape == "gains":
        r = np.abs(r)  # no loss, no drawdown
    elif shape == "far":
        r = 0.3 + 0.01 * r  # a mean far above the spread
    elif shape == "ruin":
        r = np.maximum(r, -1.0)
        r[n // 2] = -1.0
    got = resampled_ratios(r, rng(seed), 12, block, kind, 252.0, 0.03)
    starts, lengths = draw_blocks(n, rng(seed), 12, block, kind)
    for d in range(12):
        want = describe(r[rows_of(starts[d], lengths[d], n)], 252, 0.03)
        for k, name in enumerate(RATIOS):
            slow = getattr(want, name)
            assert np.isnan(got[d, k]) == (slow is None), name
            if slow is not None:
                assert got[d, k] == pytest.approx(slow, rel=1e-10, abs=1e-10), name


def test_ratio_intervals_hold_the_figures_of_the_table():
    r = ar1(1, 400, 0.2) * 0.01 + 0.0005
    got = ratio_intervals(r, rng(3), periods_per_year=252, rf=0.02, draws=400, block=6)
    table = describe(r, 252, 0.02)
    assert tuple(got) == RATIOS
    drawn = resampled_ratios(r, rng(3), 400, 6, "stationary", 252, 0.02)
    for k, name in enumerate(RATIOS):
        assert got[name].estimate == getattr(table, name)
        assert got[name][1:] == pytest.approx(tuple(np.quantile(drawn[:, k], [0.025, 0.975])), rel=1e-12)
    assert got == ratio_intervals(r, rng(3), periods_per_year=252, rf=0.02, draws=400, block=6)
    narrow = ratio_intervals(r, rng(3), periods_per_year=252, rf=0.02, draws=400, block=6, level=0.5)
    assert all(got[k].lo < narrow[k].lo <= narrow[k].hi < got[k].hi for k in RATIOS)


def test_a_ratio_that_does_not_exist_has_no_interval():
    gains = np.abs(rng(0).normal(0, 0.01, 100))
    got = ratio_intervals(gains, rng(1), periods_per_year=252, draws=50)
    assert set(RATIOS) - set(got) == {"sortino", "calmar", "omega"}
    # one loss in 100 days: a resample misses it with chance 0.37, so the interval is over the others
    gains[40] = -0.02
    got = ratio_intervals(gains, rng(1), periods_per_year=252, draws=200, block=1)
    drawn = resampled_ratios(gains, rng(1), 200, 1, "stationary", 252, 0)[:, RATIOS.index("omega")]
    assert 0.5 < np.isfinite(drawn).mean() < 0.75
    assert got["omega"].hi == np.quantile(drawn[np.isfinite(drawn)], 0.975)
    still = ratio_intervals(np.full(50, 0.01), rng(0), periods_per_year=252, draws=50)
    assert not {"sharpe", "skew"} & set(still)
    assert still["annual_volatility"] == pytest.approx((0.0, 0.0, 0.0), abs=1e-12)


def swings(seed, n):
    """GARCH(1, 1): days without correlation whose size is persistent."""
    z, out, h, e = rng(seed).normal(size=n + 200), np.empty(n + 200), 1e-4, 0.0
    for t in range(n + 200):
        h = 1e-4 * 0.05 + 0.15 * e * e + 0.80 * h
        e = out[t] = math.sqrt(h) * z[t]
    return out[200:]


def test_blocks_follow_the_swings_of_volatility_too():
    # Days whose size is persistent (.95). In 800 other series 79.8 % of the intervals cover the true volatility (sd of
    # the share of 200 .028: .66 is 4.9 sd below, 1e-6); with the returns' own blocks 47.4 % (.62: 4.1 sd, 2e-5).
    hits = short = 0
    for seed in range(200):
        r = swings(seed, 1000)
        lo, hi = ratio_intervals(r, rng(seed), periods_per_year=252, draws=300)["annual_volatility"][1:]
        hits += lo <= 0.01 * math.sqrt(252) <= hi
        block = optimal_block(r, "stationary")
        lo, hi = ratio_intervals(r, rng(seed), periods_per_year=252, draws=300, block=block)["annual_volatility"][1:]
        short += lo <= 0.01 * math.sqrt(252) <= hi
    assert hits > 132
    assert short < 124


def test_all_ratios_cover():
    # Independent days of Student's t with 6 degrees of freedom: 91.9 to 95.3 % in 1,500 other series each (skew the
    # lowest), so over 300 .85 lies 4.4 sd below (5e-6), and .995 is passed with a chance below 1e-5.
    truth = describe(rng(10**6).standard_t(6, 1_000_000) * 0.01 + 0.0005, 252)
    names = ("annual_volatility", "sharpe", "sortino", "omega", "tail_ratio", "value_at_risk", "skew")
    hits = dict.fromkeys(names, 0)
    for seed in range(300):
        got = ratio_intervals(rng(seed).standard_t(6, 500) * 0.01 + 0.0005, rng(seed), periods_per_year=252, draws=300)
        for name in names:
            hits[name] += got[name].lo <= getattr(truth, name) <= got[name].hi
    for name in names:
        assert 0.85 <= hits[name] / 300 < 0.995, name


def test_ratio_intervals_refuse_what_cannot_be_compounded():
    with pytest.raises(DataError) as caught:
        ratio_intervals(np.r_[np.zeros(20), -1.5], rng(), periods_per_year=252)
    assert str(caught.value) == "returns: -150.00% at bar 20; below -100 % there is no equity left to compound"
    with pytest.raises(DataError) as caught:
        ratio_intervals(np.r_[np.zeros(20), np.inf], rng(), periods_per_year=252)
    assert str(caught.value) == "returns: 1 of 21 values are NaN or infinite, the first at 20; drop them"
    with pytest.raises(ConfigError) as caught:
        ratio_intervals(np.arange(20.0), rng(), periods_per_year=0)
    assert str(caught.value) == "metrics: periods_per_year must be above 0, got 0"
