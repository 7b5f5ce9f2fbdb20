"""IC, RankIC and forecast errors against scipy, pandas and hand-worked cases."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from hitherto.errors import ConfigError, DataError
from hitherto.evaluate.forecast import (
    average_ranks,
    daily_ic,
    daily_ics,
    daily_rank_ic,
    hit_rate,
    ic_summary,
    mse_ratio,
    summarise,
)
from hitherto.evaluate.inference import NEWEY_WEST_WARNING, newey_west_t, nonoverlapping_t
from hitherto.labels import Label
from hitherto.models.base import Forecast
from hitherto.seeds import Stream

NAN = float("nan")


def market(seed, T=40, N=30, gaps=0.1, tied=False):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(T, N))
    y = 0.3 * x + rng.normal(size=(T, N))
    if tied:
        x, y = np.round(x), np.round(y)
    x[rng.random((T, N)) < gaps] = NAN
    y[rng.random((T, N)) < gaps] = NAN
    return x, y


@pytest.mark.parametrize("tied", [False, True])
def test_daily_ics_equal_scipy_and_pandas(tied):
    x, y = market(0, tied=tied)
    ic, rank_ic = daily_ics(x, y)
    for t in range(len(x)):
        ok = ~np.isnan(x[t]) & ~np.isnan(y[t])
        assert ic[t] == pytest.approx(stats.pearsonr(x[t, ok], y[t, ok]).statistic, abs=1e-12)
        assert rank_ic[t] == pytest.approx(stats.spearmanr(x[t, ok], y[t, ok]).statistic, abs=1e-12)
        frame = pd.DataFrame({"x": x[t], "y": y[t]}).dropna()
        assert rank_ic[t] == pytest.approx(frame.x.corr(frame.y, method="spearman"), abs=1e-12)


def test_a_hand_worked_date():
    # ranks 1 2.5 2.5 4 and 2 1 3 4: sums of squares 4.5 and 5, of products 3; values: 41, 0.05 and 1.1
    ic, rank_ic = daily_ics(np.array([[1.0, 2, 2, 9]]), np.array([[0.2, 0.1, 0.3, 0.4]]))
    assert rank_ic[0] == pytest.approx(3 / math.sqrt(4.5 * 5), abs=1e-15)
    assert ic[0] == pytest.approx(1.1 / math.sqrt(41 * 0.05), abs=1e-15)


grid = st.integers(-8, 8).map(lambda v: v / 4)
cells = st.one_of(grid, st.just(NAN), st.floats(-1e6, 1e6, width=32), st.sampled_from([0.0, -0.0, 1e-300, -1e-300]))


@given(st.data())
def test_the_compiled_twin_equals_the_definition(data):
    shape = (data.draw(st.integers(1, 4)), data.draw(st.integers(1, 25)))
    x, y = data.draw(arrays(np.float64, shape, elements=cells)), data.draw(arrays(np.float64, shape, elements=cells))
    ic, rank_ic = daily_ics(x, y)
    np.testing.assert_allclose(ic, daily_ic(x, y), rtol=0, atol=1e-9)
    np.testing.assert_allclose(rank_ic, daily_rank_ic(x, y), rtol=0, atol=1e-9)


@given(arrays(np.float64, (2, 17), elements=cells))
def test_ranks_equal_scipy(x):
    for row, ranks in zip(x, average_ranks(x), strict=True):
        np.testing.assert_array_equal(ranks, stats.rankdata(row, nan_policy="omit"))


def test_ranks_are_exact_where_the_upper_half_of_the_double_ties():
    # 300 neighbours in the last bits of a double: a radix sort of the upper 32 bits alone could not order them
    rng = np.random.default_rng(1)
    x = 1.0 + rng.permutation(300) * 2.0**-40
    y = x[::-1].copy()
    rank_ic = daily_ics(x[None], y[None])[1][0]
    assert rank_ic == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    shuffled = rng.permutation(300)
    assert daily_ics(x[None], x[None])[1][0] == pytest.approx(1.0, abs=1e-12)
    assert daily_ics(x[None, shuffled], y[None, shuffled])[1][0] == pytest.approx(rank_ic, abs=1e-12)


@given(st.integers(0, 30), st.sampled_from([-3.0, 1e-170, 1e5, 1e160]))
def test_rank_ic_ignores_order_and_scale(seed, scale):
    x, y = market(seed, T=3, N=12)
    order = np.random.default_rng(seed).permutation(12)
    base = daily_ics(x, y)
    for got, want in zip(daily_ics(scale * x[:, order], y[:, order]), base, strict=True):
        np.testing.assert_allclose(got, np.sign(scale) * want, atol=1e-9)


def test_dates_that_cannot_be_measured_are_nan_never_zero():
    x = np.array([[1.0, 2, NAN, NAN], [5, 5, 5, 5], [1, 2, 3, 4], [0.1, 0.1 + 1e-17, 0.1, 0.1], [1, 2, 3, 4]])
    y = np.array([[1.0, 2, 3, 4], [1, 2, 3, 4], [7, 7, 7, 7], [1, 2, 3, 4], [1, 2, 3, 4]])
    for series in (*daily_ics(x, y), daily_ic(x, y), daily_rank_ic(x, y)):
        assert np.isnan(series[:4]).all()
        assert series[4] == pytest.approx(1.0)


def test_rounding_is_no_variation():
    x = np.full((1, 5), 0.1) + np.arange(5) * 1e-17 + np.array([0, 1.4e-17, 0, 0, 0])
    assert x.max() > x.min()
    assert np.isnan(daily_ics(x, np.arange(5.0)[None])).all()
    assert np.isnan([daily_ic(x, np.arange(5.0)[None]), daily_rank_ic(x, np.arange(5.0)[None])]).all()


def test_infinite_forecasts_are_refused():
    x, y = market(0)
    x[3, 4] = np.inf
    for f in (daily_ics, daily_ic, mse_ratio, hit_rate):
        with pytest.raises(DataError) as caught:
            f(x, y)
        assert str(caught.value) == (
            "IC: the forecast at row 3, column 4 is infinite; a forecast must be a number or NaN"
        )
    with pytest.raises(DataError, match=r"shape \(40, 30\), realised values \(40, 29\)"):
        daily_ics(np.zeros((40, 30)), np.zeros((40, 29)))


def test_errors_against_zero_and_hits_by_hand():
    x, y = np.array([[1.0, -1, 0, NAN]]), np.array([[2.0, 1, 3, 5]])
    assert mse_ratio(x, y) == (1 + 4 + 9) / (4 + 1 + 9)
    assert hit_rate(x, y) == 0.5
    assert mse_ratio(0 * x, y) == 1.0
    assert mse_ratio(x, 0 * y) is None
    assert hit_rate(0 * x, y) is None


def case(seed=0, T=120, N=20, strength=0.3):
    rng = np.random.default_rng(seed)
    real = rng.normal(0, 0.02, (T, N, 2))
    pred = strength * real + rng.normal(0, 0.01, (T, N, 2))
    fold = np.where(np.arange(T) < 20, -1, (np.arange(T) - 20) // 50).astype(np.int32)
    rows = np.zeros((T, N, 2), np.int32)
    return Forecast("toy", pred, fold, ("return_1", "return_5")), Label(
        real, rows, rows + 5, ("return_1", "return_5"), (1, 5)
    )


def test_summarise_counts_only_out_of_sample_dates():
    forecast, label = case()
    spoilt = forecast.values.copy()
    spoilt[:20] = 1e6 * np.arange(20)[:, None]  # outside every fold: must not matter
    a = summarise(forecast, label, "return_5", rng=Stream(1))
    b = summarise(Forecast("toy", spoilt, forecast.fold, forecast.names), label, 1, rng=Stream(1))
    assert a.to_dict() == b.to_dict()
    want = daily_ic(forecast.values[20:, :, 1], label.values[20:, :, 1])
    assert a.ic.n == 100
    assert a.ic.mean == pytest.approx(want.mean(), abs=1e-12)
    assert a.ic.std == pytest.approx(want.std(ddof=1), abs=1e-12)
    assert a.ic.icir == pytest.approx(want.mean() / want.std(ddof=1), abs=1e-12)
    assert {k: f.mean for k, f in a.ic.folds.items()} == pytest.approx(
        {0: want[:50].mean(), 1: want[50:].mean()}, abs=1e-12
    )
    for part, f in zip((want[:50], want[50:]), a.ic.folds.values(), strict=True):
        assert f.icir == pytest.approx(part.mean() / part.std(ddof=1), abs=1e-12)
        assert f.interval.lo < f.mean < f.interval.hi
    assert a.ic.interval.lo < a.ic.mean < a.ic.interval.hi
    assert a.skill.estimate == pytest.approx(1 - a.mse_ratio, abs=1e-12)
    assert a.skill.lo < a.skill.estimate < a.skill.hi
    assert a.horizon == 5


def test_summarise_keeps_both_t_statistics_and_the_errors_of_each_date():
    forecast, label = case()
    s = summarise(forecast, label, "return_5", rng=Stream(1))
    daily = s.daily_rank_ic[20:]
    assert s.rank_ic.newey_west == newey_west_t(daily, 4)
    assert s.rank_ic.nonoverlapping == nonoverlapping_t(daily, 5)
    assert s.ic.nonoverlapping.n == 20
    assert s.rank_ic.newey_west.warning == NEWEY_WEST_WARNING
    kept = s.to_dict()["rank_ic"]
    assert kept["newey_west"] == {"t": s.rank_ic.newey_west.t, "n": 100}
    assert kept["nonoverlapping"] == {"t": s.rank_ic.nonoverlapping.t, "n": 20}
    error = (forecast.values[..., 1] - label.values[..., 1]) ** 2
    assert np.isnan(s.daily_error[:20]).all()
    np.testing.assert_allclose(s.daily_error[20:], error[20:].mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(s.daily_zero[20:], (label.values[20:, :, 1] ** 2).mean(axis=1), rtol=1e-12)
    assert s.mse_ratio == pytest.approx(np.nansum(s.daily_error) / np.nansum(s.daily_zero), rel=1e-12)
    # a name without a forecast counts in neither mean; a horizon longer than the dates leaves no second date
    gap = forecast.values.copy()
    gap[30, 3] = NAN
    one = summarise(Forecast("toy", gap, forecast.fold, forecast.names), label, 1, rng=Stream(1))
    assert one.daily_error[30] == pytest.approx(np.delete(error[30], 3).mean(), rel=1e-12)
    assert one.daily_zero[30] == pytest.approx((np.delete(label.values[30, :, 1], 3) ** 2).mean(), rel=1e-12)
    short = ic_summary(daily, np.zeros(100, np.int32), np.random.default_rng(0), horizon=60)
    assert short.nonoverlapping is None
    assert short.newey_west == newey_west_t(daily, 59)
    few = ic_summary(daily[:12], np.zeros(12, np.int32), np.random.default_rng(0), horizon=60)
    assert few.newey_west is None
    assert ic_summary(daily[:9], np.zeros(9, np.int32), np.random.default_rng(0)).newey_west is None


def test_same_stream_same_summary_and_other_stream_other_interval():
    forecast, label = case()
    one, two = (summarise(forecast, label, 0, rng=Stream(1)) for _ in range(2))
    assert one.to_dict() == two.to_dict()
    assert summarise(forecast, label, 0, rng=Stream(2)).ic.interval != one.ic.interval


def test_overlapping_labels_widen_the_interval():
    # ICs that share 20 bars: blocks are never shorter than the horizon, so the interval may not shrink
    e = np.random.default_rng(0).normal(size=419)
    daily = np.convolve(e, np.ones(20) / 20, "valid")
    fold = np.zeros(len(daily), np.int32)
    wide = ic_summary(daily, fold, np.random.default_rng(0), horizon=20).interval
    naive = 1.96 * daily.std(ddof=1) / math.sqrt(len(daily))
    assert (wide.hi - wide.lo) / 2 > 2 * naive


def test_a_forecast_of_zero_has_no_ic_and_says_why():
    forecast, label = case()
    zero = Forecast("zero", 0 * forecast.values, forecast.fold, forecast.names)
    s = summarise(zero, label, 0, rng=Stream(0))
    assert (s.ic.mean, s.ic.icir, s.ic.interval, s.ic.n) == (None, None, None, 0)
    assert s.ic.reason == "0 of 100 dates have an IC; one needs 3 pairs and unequal forecasts"
    assert s.mse_ratio == 1.0
    assert tuple(s.skill) == (0.0, 0.0, 0.0)
    few = ic_summary(np.arange(9.0), np.zeros(9, np.int32), np.random.default_rng(0))
    assert few.interval is None
    assert few.reason == "9 dates are too few for an interval"


def test_summarise_names_what_does_not_fit():
    forecast, label = case()
    with pytest.raises(ConfigError) as caught:
        summarise(forecast, label, "return_9", rng=Stream(0))
    assert str(caught.value) == "evaluate: no output 'return_9'; the forecast has return_1, return_5"
    short = Forecast("toy", forecast.values[:9], forecast.fold[:9], forecast.names)
    with pytest.raises(DataError, match="evaluate a forecast against the label it was made for"):
        summarise(short, label, rng=Stream(0))
