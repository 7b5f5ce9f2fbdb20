"""The two sorts behind the compiled RankIC against scipy: both exact, the short one refuses what it cannot finish."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from hitherto.evaluate import kernels
from hitherto.evaluate.forecast import daily_ics, daily_rank_ic


def scratch(m, dtype):
    return np.empty(m, dtype), np.empty(m, dtype)


def short(a):
    out = np.full(len(a), -1.0)
    count = np.empty((kernels.PASSES, 1 << kernels.DIGIT), np.int32)
    done = kernels.short_ranks(a, len(a), a.min(), a.max(), *scratch(len(a), np.uint32), count, out)
    return done, out


def full(a):
    out = np.empty(len(a))
    count = np.empty((kernels.PASSES, 1 << kernels.DIGIT), np.int32)
    kernels.average_ranks(a, len(a), np.empty(len(a), np.uint64), *scratch(len(a), np.uint64), count, out)
    return out


values = st.one_of(
    st.integers(-20, 20).map(lambda v: v / 8), st.floats(-1e3, 1e3), st.sampled_from([0.0, -0.0, 1e-300, 5e-324])
)


@given(arrays(np.float64, st.integers(2, 60), elements=values))
def test_both_sorts_equal_scipy(a):
    want = stats.rankdata(a)
    np.testing.assert_array_equal(full(a), want)
    done, got = short(a)
    if done:
        np.testing.assert_array_equal(got, want)


def test_the_short_sort_does_the_usual_dates_and_is_exact():
    # smooth values, pairs that tie, neighbours that share a code: all finished without the full sort
    for seed in range(20):
        rng = np.random.default_rng(seed)
        a = rng.standard_normal(800)
        a[:50] = a[50:100]
        a[100:110] = np.nextafter(a[110:120], np.inf)
        done, got = short(a)
        assert done
        np.testing.assert_array_equal(got, stats.rankdata(a))


def test_the_short_sort_does_a_few_levels():
    for seed in range(5):
        a = np.round(np.random.default_rng(seed).standard_normal(500), 1)
        done, got = short(a)
        assert done
        np.testing.assert_array_equal(got, stats.rankdata(a))
        np.testing.assert_array_equal(full(a), got)


@pytest.mark.parametrize(
    "a",
    [
        np.append(np.random.default_rng(0).standard_normal(500), 1e12),  # one far value: all others share a code
        np.append(np.round(np.random.default_rng(0).standard_normal(500)), 1e12),  # the same with ties
        np.array([-1.7e308, 0.0, 1.7e308]),  # the range overflows
        np.array([0.0, 5e-324, 1e-320]),  # the scale overflows
        np.arange(70_000.0),  # more names than positions fit
    ],
)
def test_the_short_sort_refuses_and_the_full_one_takes_over(a):
    assert not short(a)[0]
    np.testing.assert_array_equal(full(a), stats.rankdata(a))


@pytest.mark.parametrize("kind", ["smooth", "levels", "outlier", "gaps"])
def test_rank_ic_is_the_definition_at_full_width(kind):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((6, 700))
        y = 0.2 * x + rng.standard_normal((6, 700))
        if kind == "levels":
            x = np.round(x)
        elif kind == "outlier":
            x[:, 3] = 1e9
        elif kind == "gaps":
            x[rng.random(x.shape) < 0.3] = np.nan
        np.testing.assert_allclose(daily_ics(x, y)[1], daily_rank_ic(x, y), rtol=0, atol=1e-12)
