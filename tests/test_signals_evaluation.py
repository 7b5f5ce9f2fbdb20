"""What scores are worth by themselves: IC by horizon and lag, quantile returns and rank autocorrelation."""

import dataclasses
import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import make_panel

from hitherto.errors import ConfigError, DataError
from hitherto.evaluate import signals
from hitherto.evaluate.forecast import daily_ic, daily_rank_ic
from hitherto.evaluate.inference import Interval
from hitherto.evaluate.signals import ICRow, autocorrelation, decay, half_life, quantile_codes, quantile_returns
from hitherto.labels import Label, forward_return

NAN = float("nan")


def rng(seed=0):
    return np.random.default_rng(seed)


def label_of(values, h=1, entry="next_close"):
    """A made-up label of one output."""
    rows = np.zeros((*values.shape, 1), np.int32)
    return Label(values[:, :, None], rows, rows, (f"return_{h}",), (h,), entry)


def noisy(T=80, N=12, seed=0, holes=0.1):
    g = rng(seed)
    scores, real = g.normal(size=(T, N)), g.normal(0, 0.02, (T, N))
    scores[g.random((T, N)) < holes] = NAN
    real[g.random((T, N)) < holes] = NAN
    return scores, real


def decayed(scores, panel, horizons=(1, 2, 5), entry="next_close", **options):
    made = (forward_return(panel, (h,), entry) for h in horizons)
    return decay(scores, made, forward_return(panel, (1,)), rng(), periods_per_year=252, draws=200, **options)


# ---- IC by horizon and lag ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", ["next_close", "next_open"])
def test_ic_by_horizon_and_lag_is_that_of_the_prices(entry):
    """The oracle reads the prices by hand: the horizon adds bars up, a lag takes one of them alone."""
    panel = make_panel(90, 8, seed=2)
    scores, close, open_ = rng(1).normal(size=(90, 8)), panel.fields["close"], panel.fields["open"]
    seen = decayed(scores, panel, entry=entry, lags=(0, 1, 3))
    assert (seen.entry, [r.bars for r in seen.horizons], [r.bars for r in seen.lags]) == (entry, [1, 2, 5], [0, 1, 3])
    late = int(entry == "next_close")

    def want(first, last, dates):
        ic, rank = [], []
        for t in range(dates):
            base = (close if late or first else open_)[t + 1 if not first else t + first + late]
            r = close[t + last + late] / base - 1
            ic.append(np.corrcoef(scores[t], r)[0, 1])
            rank.append(pd.Series(scores[t]).corr(pd.Series(r), method="spearman"))
        return np.mean(ic), np.mean(rank)

    for row in seen.horizons:
        assert row.dates == 90 - row.bars - late
        assert (row.ic.estimate, row.rank_ic.estimate) == pytest.approx(want(0, row.bars, row.dates), abs=1e-9)
    for row in seen.lags:
        assert row.dates == 90 - row.bars - 1 - late
        assert (row.ic.estimate, row.rank_ic.estimate) == pytest.approx(
            want(row.bars, row.bars + 1, row.dates), abs=1e-9
        )


def test_lag_zero_is_horizon_one_to_the_bit():
    seen = decayed(rng(1).normal(size=(60, 6)), make_panel(60, 6))
    assert dataclasses.replace(seen.lags[0], bars=1) == seen.horizons[0]


def test_intervals_hold_the_estimate_and_repeat():
    panel = make_panel(120, 8)
    scores = rng(1).normal(size=(120, 8))
    a, b = (decayed(scores, panel) for _ in range(2))
    assert a == b
    for row in (*a.horizons, *a.lags):
        assert row.ic.lo < row.ic.estimate < row.ic.hi
        assert row.rank_ic.lo < row.rank_ic.estimate < row.rank_ic.hi
    assert str(a.basis) == "252 bars a year, rf 0.00% a year, none, before costs"


def planted(T=600, N=30, half=4.0, seed=3):
    """A market whose next bars follow a hidden signal that halves every ``half`` bars; the scores are the signal."""
    g, keep = rng(seed), 0.5 ** (1 / half)
    signal = np.zeros((T, N))
    for t in range(1, T):
        signal[t] = keep * signal[t - 1] + g.normal(size=N)
    r = g.normal(0, 0.01, (T, N))
    r[2:] += 0.004 * signal[:-2]  # decided at t, entered at the close of t + 1, earned by t + 2
    base = make_panel(T, N, fields=("close",))
    return dataclasses.replace(base, fields={"close": 10 * np.cumprod(1 + r, axis=0)}), signal


@pytest.mark.parametrize("half", [2.0, 6.0])
def test_a_planted_half_life_is_found(half):
    panel, scores = planted(half=half)
    seen = decayed(scores, panel, horizons=(1,))
    assert seen.half_life == pytest.approx(half, rel=0.25)
    values = [r.rank_ic.estimate for r in seen.lags]
    assert values[0] > 0.2
    assert all(a > b for a, b in itertools.pairwise(values))


def test_half_life_by_hand():
    def rows(*values):
        return [ICRow(k, None, Interval(v, v - 0.05, v + 0.05), 99) for k, v in enumerate(values)]

    assert half_life(rows(0.2, 0.15, 0.05)) == pytest.approx(1.5)
    assert half_life(rows(0.2, 0.15, 0.15)) == math.inf
    assert half_life(rows(0.04, 0.01)) is None  # its interval holds 0
    assert half_life(rows(0.2)) is None
    assert half_life([ICRow(0, None, None, 3), *rows(0.2, 0.1)]) is None


def test_decay_says_what_is_wrong():
    panel = make_panel(30, 4)
    scores = rng().normal(size=(30, 4))
    with pytest.raises(ConfigError, match="next_bar must be the return of one bar, close to close"):
        decay(scores, [], forward_return(panel, (2,)), rng(), periods_per_year=252)
    with pytest.raises(DataError, match=r"signal: scores have shape \(29, 4\), the label \(30, 4\)"):
        decayed(scores[1:], panel)
    scores[3, 2] = np.inf
    with pytest.raises(DataError, match="IC: the forecast at row 3, column 2 is infinite"):
        decayed(scores, panel)


def test_few_dates_have_no_interval():
    seen = decayed(rng().normal(size=(11, 5)), make_panel(11, 5))
    assert [r.dates for r in seen.horizons] == [9, 8, 5]
    assert all(r.ic is None and r.rank_ic is None for r in seen.horizons)
    assert seen.half_life is None


# ---- quantiles ----------------------------------------------------------------------------------------------------


@given(st.integers(2, 40), st.integers(2, 10), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_quantiles_are_those_of_pandas(names, quantiles, seed):
    scores = rng(seed).permutation(names).astype(float)[None, :]
    got = quantile_codes(scores, quantiles)[0]
    if names < quantiles:
        assert (got == -1).all()
    else:
        assert (got == pd.qcut(scores[0], quantiles, labels=False)).all()


def test_equal_scores_share_a_quantile_and_the_unscored_have_none():
    scores = np.array([[1.0, 1.0, 1.0, 2.0, NAN, 3.0], [5.0] * 6, [NAN] * 6, [1.0, 2.0, NAN, NAN, NAN, NAN]])
    code = quantile_codes(scores, 3)
    assert len({code[0, 0], code[0, 1], code[0, 2]}) == 1
    assert code[0, 4] == -1
    assert code[0, 5] == 2
    assert (code[1:] == -1).all()
    with pytest.raises(ConfigError, match="quantiles: 1 is no split of the names; ask for 2 or more"):
        quantile_codes(scores, 1)


def slow_quantiles(scores, real, h, Q, cost):
    """alphalens by hand: pandas.qcut per date, means by quantile, the share of new names against h bars before."""
    dates = []
    bins = [pd.qcut(pd.Series(row).dropna(), Q, labels=False) for row in scores]
    for t in range(h, len(scores)):
        gross, turned = [], []
        for q in range(Q):
            now, was = (set(b.index[b == q]) for b in (bins[t], bins[t - h]))
            earned = [real[t, n] for n in now if not math.isnan(real[t, n])]
            gross.append(np.mean(earned) if earned else NAN)
            turned.append(len(now - was) / len(now))
        everyone = [real[t, n] for n in bins[t].index if not math.isnan(real[t, n])]
        if not any(map(math.isnan, gross)):
            dates.append((np.array(gross), np.array(turned), np.mean(everyone)))
    gross, turned = (np.array([d[i] for d in dates]) for i in (0, 1))
    mean = gross.mean(axis=0) * 252 / h
    paid = 2 * cost * turned.mean(axis=0) * 252 / h
    return mean, mean - paid, mean - np.mean([d[2] for d in dates]) * 252 / h, turned.mean(axis=0), len(dates)


@pytest.mark.parametrize("h", [1, 5])
@pytest.mark.parametrize("Q", [2, 4])
def test_quantile_returns_are_those_of_the_slow_twin(h, Q):
    scores, real = noisy()
    seen = quantile_returns(scores, label_of(real, h), rng(), cost=0.001, periods_per_year=252, quantiles=Q, draws=200)
    gross, net, excess, turned, dates = slow_quantiles(scores, real, h, Q, 0.001)
    assert seen.dates == dates
    assert [r.quantile for r in seen.rows] == list(range(1, Q + 1))
    for q, row in enumerate(seen.rows):
        assert row.gross.estimate == pytest.approx(gross[q], abs=1e-12)
        assert row.net.estimate == pytest.approx(net[q], abs=1e-12)
        assert row.excess.estimate == pytest.approx(excess[q], abs=1e-12)
        assert row.turnover == pytest.approx(turned[q], abs=1e-12)
        assert row.gross.lo < row.gross.estimate < row.gross.hi
    assert seen.spread_gross.estimate == pytest.approx(gross[-1] - gross[0], abs=1e-12)
    paid = 2 * 0.001 * (turned[0] + turned[-1]) * 252 / h
    assert seen.spread_net.estimate == pytest.approx(gross[-1] - gross[0] - paid, abs=1e-12)
    assert "net of 10 bps a side" in seen.basis.costs


def test_a_monotone_signal_rises_and_its_mirror_falls():
    g = rng(1)
    real = g.normal(0, 0.02, (300, 20))
    scores = real + g.normal(0, 0.02, real.shape)
    up = quantile_returns(scores, label_of(real), rng(), cost=0.0, periods_per_year=252, draws=200)
    down = quantile_returns(-scores, label_of(real), rng(), cost=0.0, periods_per_year=252, draws=200)
    assert (up.rising, down.rising) == (1.0, -1.0)
    assert up.spread_gross.lo > 0
    assert up.spread_net == up.spread_gross  # it costs nothing
    assert down.spread_gross.estimate == pytest.approx(-up.spread_gross.estimate, rel=1e-12)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_names_in_another_order_and_scores_on_another_scale_change_nothing(seed):
    scores, real = noisy(40, 9, seed % 97)
    order = rng(seed).permutation(9)
    options = {"cost": 0.001, "periods_per_year": 252, "quantiles": 3, "draws": 50}
    a = quantile_returns(scores, label_of(real, 2), rng(), **options)
    b = quantile_returns(np.exp(scores[:, order]) * 3, label_of(real[:, order], 2), rng(), **options)
    for x, y in zip(a.rows, b.rows, strict=True):
        assert (*x.gross, *x.net, x.turnover) == pytest.approx((*y.gross, *y.net, y.turnover), abs=1e-10)


def test_worthless_scores_pay_the_costs_and_earn_nothing():
    """Noise: the gross spread holds 0 (its 99.9 % interval misses by luck in .1 %), the net one pays the costs."""
    scores, real = noisy(500, 20, seed=7, holes=0.0)
    options = {"cost": 0.002, "periods_per_year": 252, "draws": 5000, "level": 0.999}
    seen = quantile_returns(scores, label_of(real), rng(), **options)
    assert seen.spread_gross.lo < 0 < seen.spread_gross.hi
    turned = seen.rows[0].turnover + seen.rows[-1].turnover
    assert turned == pytest.approx(2 * 0.8, abs=0.03)  # of random fifths, 4 in 5 names are new
    assert seen.spread_gross.estimate - seen.spread_net.estimate == pytest.approx(2 * 0.002 * turned * 252, rel=1e-9)


def test_quantiles_never_choose_by_what_came():
    """A name whose return is not known still takes its place: removing its return moves no other name."""
    scores, real = noisy(30, 10, holes=0.0)
    whole = quantile_returns(scores, label_of(real), rng(), cost=0.0, periods_per_year=252, draws=50)
    gone = real.copy()
    gone[:, 0] = NAN
    cut = quantile_returns(scores, label_of(gone), rng(), cost=0.0, periods_per_year=252, draws=50)
    assert [r.names for r in whole.rows] == [r.names for r in cut.rows]
    assert [r.turnover for r in whole.rows] == [r.turnover for r in cut.rows]
    code = quantile_codes(scores, 5)
    for t in range(30):
        for q in set(range(5)) - {code[t, 0]}:
            assert whole.daily[t, q] == cut.daily[t, q]


def test_quantiles_without_dates_and_with_bad_costs():
    scores, real = noisy(30, 10)
    none = quantile_returns(scores * NAN, label_of(real), rng(), cost=0.0, periods_per_year=252)
    assert none.dates == 0
    assert none.spread_net is None
    assert math.isnan(none.rising)
    assert all(r.gross is None and math.isnan(r.turnover) for r in none.rows)
    with pytest.raises(ConfigError, match=r"quantiles: cost must be a fraction of the value >= 0, got -0\.1"):
        quantile_returns(scores, label_of(real), rng(), cost=-0.1, periods_per_year=252)
    with pytest.raises(DataError, match=r"signal: scores have shape \(30, 9\), the label \(30, 10\)"):
        quantile_returns(scores[:, 1:], label_of(real), rng(), cost=0.0, periods_per_year=252)


# ---- autocorrelation ----------------------------------------------------------------------------------------------


def test_autocorrelation_is_that_of_alphalens():
    """Ranks per date in a table, corrwith the shifted table: the definition, by pandas."""
    scores, _ = noisy(70, 9, seed=4)
    seen = autocorrelation(scores, rng(), periods_per_year=252, lags=(1, 3, 10), draws=200)
    ranks = pd.DataFrame(scores).rank(axis=1)
    for row in seen.rows:
        want = ranks.corrwith(ranks.shift(row.lag), axis=1)
        assert row.value.estimate == pytest.approx(want.mean(), abs=1e-9)
        assert row.dates == want.notna().sum()
    np.testing.assert_allclose(seen.daily, ranks.corrwith(ranks.shift(1), axis=1).to_numpy(), atol=1e-9)


def test_a_slow_signal_keeps_its_ranks_and_noise_does_not():
    panel, slow = planted(half=20.0)
    noise = rng(5).normal(size=panel.shape)
    kept, lost = (autocorrelation(s, rng(), periods_per_year=252, draws=200).rows for s in (slow, noise))
    assert kept[0].value.lo > 0.9
    assert abs(lost[0].value.estimate) < 0.03
    assert all(a.value.estimate > b.value.estimate for a, b in itertools.pairwise(kept))
    still = autocorrelation(np.tile(np.arange(6.0), (40, 1)), rng(), periods_per_year=252, lags=(1,))
    assert still.rows[0].value.estimate == pytest.approx(1.0)


def test_autocorrelation_leaves_out_lags_that_are_too_long():
    seen = autocorrelation(noisy(15, 6)[0], rng(), periods_per_year=252, lags=(1, 10, 20))
    assert [r.lag for r in seen.rows] == [1, 10]
    assert seen.rows[1].value is None
    with pytest.raises(ConfigError, match="autocorrelation: lags must be whole numbers of bars >= 1, got 0"):
        autocorrelation(noisy(15, 6)[0], rng(), periods_per_year=252, lags=(0,))


def test_the_ics_are_those_of_the_forecast_metrics():
    scores, real = noisy(50, 7)
    row = decay(scores, [label_of(real)], label_of(real), rng(), periods_per_year=252, lags=(), draws=50).horizons[0]
    assert row.ic.estimate == pytest.approx(np.nanmean(daily_ic(scores, real)), abs=1e-9)
    assert row.rank_ic.estimate == pytest.approx(np.nanmean(daily_rank_ic(scores, real)), abs=1e-9)
    assert signals.HORIZONS == (1, 2, 3, 5, 10, 20)
