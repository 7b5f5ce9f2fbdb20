"""Probabilistic and deflated Sharpe ratios, track record and backtest length against the papers' numbers and truth."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hitherto.errors import ConfigError
from hitherto.sharpe import (
    deflated_sharpe,
    expected_best,
    min_backtest_years,
    min_track_record,
    probabilistic_sharpe,
)

DAILY = 2.5 / math.sqrt(250)  # the deflated Sharpe ratio paper's example: 2.5 a year of 250 days, five years
SPREAD = 0.5 / 250


@pytest.mark.parametrize(
    ("trials", "best"),
    [
        (1, 0.0), (2, 0.5198), (5, 1.1926), (10, 1.5746), (20, 1.9007), (45, 2.2356), (100, 2.5306), (1000, 3.2551),
        (10000, 3.8607),
    ],
)  # fmt: skip
def test_expected_best(trials, best):
    assert round(expected_best(trials), 4) == best


def test_expected_best_is_what_noise_shows():
    # 100 trials, 20,000 rounds: the maximum has sd .43, its mean .003; the formula is .023 off the exact 2.508
    rng = np.random.default_rng(0)
    shown = np.mean([rng.standard_normal(100).max() for _ in range(20_000)])
    assert expected_best(100) == pytest.approx(shown, abs=0.04)


def test_the_published_example():
    assert round(math.sqrt(SPREAD) * expected_best(100), 6) == 0.113172
    assert round(deflated_sharpe(DAILY, 1250, 100, SPREAD, skew=-3, kurtosis=10), 5) == 0.90040
    assert round(deflated_sharpe(DAILY, 1250, 46, SPREAD, skew=-3, kurtosis=10), 5) == 0.95050
    assert round(deflated_sharpe(DAILY, 1250, 88, SPREAD), 5) == 0.95049
    assert round(min_backtest_years(45), 1) == 5.0
    assert round(min_backtest_years(45, 2.0), 2) == 1.25


def test_probabilistic_sharpe_by_hand():
    # (0.1 - 0.02) sqrt(100) / sqrt(1 + 0.5 * 0.1 + 5 / 4 * 0.01) = 0.8 / sqrt(1.0625)
    got = probabilistic_sharpe(0.1, 101, against=0.02, skew=-0.5, kurtosis=6.0)
    assert got == pytest.approx(stats.norm.cdf(0.8 / math.sqrt(1.0625)), rel=1e-12)
    assert probabilistic_sharpe(0.1, 101, against=0.1) == 0.5
    assert deflated_sharpe(0.1, 101, 1, SPREAD) == probabilistic_sharpe(0.1, 101)


def test_probabilistic_sharpe_is_calibrated():
    # Normal returns whose true Sharpe ratio is the one tested against: the ratio is uniform, so 5 % of 4,000 series
    # lie above .95 but for a skew of order 1 / sqrt(500); sd of the share .0034, the band is 4 sd wide (7e-5).
    rng, above = np.random.default_rng(0), 0
    for _ in range(4000):
        r = rng.normal(0.05, 1.0, 500)
        z = (r - r.mean()) / r.std()
        got = probabilistic_sharpe(r.mean() / r.std(ddof=1), 500, 0.05, np.mean(z**3), np.mean(z**4))
        above += got > 0.95
    assert above / 4000 == pytest.approx(0.05, abs=0.014)


def test_deflation_stops_a_search_on_noise():
    # 400 searches for the best of 100 noise trials of 250 days: as it is, the best passes .95 with chance .994.
    # Deflated it must lie 1.645 standard errors above the expected best, whose own sd is .43 of them: .07 % of 3,000
    # other searches did; 5 or more of 400 have a chance of 1e-5.
    rng, plain, deflated = np.random.default_rng(0), 0, 0
    for _ in range(400):
        r = rng.standard_normal((250, 100))
        ratios = r.mean(axis=0) / r.std(axis=0, ddof=1)
        best = float(ratios.max())
        plain += probabilistic_sharpe(best, 250) > 0.95
        deflated += deflated_sharpe(best, 250, 100, float(ratios.var(ddof=1))) > 0.95
    assert plain > 380
    assert deflated < 5


moments = st.tuples(st.floats(-2, 2), st.floats(0.1, 20)).map(lambda m: (m[0], m[0] ** 2 + 1 + m[1]))


@given(st.floats(0.005, 0.5), moments, st.floats(0.55, 0.999))
def test_the_track_record_reaches_its_confidence(sharpe, shape, confidence):
    n = min_track_record(sharpe, 0.001, *shape, confidence)
    if n >= 2:
        assert probabilistic_sharpe(sharpe, n, 0.001, *shape) == pytest.approx(confidence, rel=1e-9)


@given(st.floats(-0.5, 0.5), st.integers(2, 5000), moments, st.integers(1, 10**6), st.floats(0, 0.1))
def test_more_trials_never_help(sharpe, length, shape, trials, variance):
    one = deflated_sharpe(sharpe, length, trials, variance, *shape)
    more = deflated_sharpe(sharpe, length, trials + 1, variance, *shape)
    assert 0 <= more <= one + 1e-12
    assert one <= probabilistic_sharpe(sharpe, length, 0.0, *shape) + 1e-12


def test_what_has_no_answer_is_not_a_number():
    assert math.isnan(probabilistic_sharpe(0.1, 1))
    assert math.isnan(probabilistic_sharpe(float("nan"), 100))
    assert math.isnan(probabilistic_sharpe(1.0, 100, skew=3.0, kurtosis=3.0))  # no series has these moments
    assert math.isnan(deflated_sharpe(0.1, 100, 5, float("nan")))
    assert math.isnan(min_track_record(float("nan")))
    assert min_track_record(0.1, against=0.1) == math.inf


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: expected_best(0),
            "expected best: 0 trials make no best one; count those that were tried, from 1",
        ),
        (
            lambda: deflated_sharpe(0.1, 100, 5, -1.0),
            "deflated Sharpe: a variance of -1; give that of the trials' Sharpe ratios",
        ),
        (lambda: min_track_record(0.1, confidence=95), "track record: confidence must lie in 0.5..1, got 95"),
        (lambda: min_backtest_years(10, 0.0), "backtest length: the yearly Sharpe ratio must be above 0, got 0"),
    ],
)
def test_messages(call, message):
    with pytest.raises(ConfigError) as caught:
        call()
    assert str(caught.value) == message
