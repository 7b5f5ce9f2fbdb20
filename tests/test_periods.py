"""When it was earned: months, exposure, regimes known before the bar, dated falls and the rolling Sharpe ratio."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import make_panel

from hitherto.errors import ConfigError, DataError
from hitherto.evaluate import periods
from hitherto.evaluate.performance import sharpe, summary
from hitherto.exchange.simulate import Venue
from hitherto.exchange.terms import Costs
from hitherto.portfolio.construct import long_short, topk_dropout
from hitherto.sharpe import probabilistic_sharpe

BASIS = periods.Basis(252, 0.0, "compound", "net of fees and slippage")


def days(n, first="2015-01-05"):
    return np.datetime64(first) + np.arange(n)


def traded(T=500, N=8, seed=0, rule=topk_dropout, fill="next_close"):
    panel = make_panel(T, N, seed=seed)
    scores = np.random.default_rng(seed + 1).normal(size=(T, N))
    mask = np.isfinite(panel.fields["close"])
    weights = rule(scores, mask, 3, 1) if rule is topk_dropout else rule(scores, mask, k=2, every=5)
    return panel, Venue(panel, costs=Costs(5.0, 5.0), fill=fill).book(weights, start=7)


def test_basis_is_one_line_that_names_all_four():
    line = str(periods.Basis(242, 0.015, "simple mean", "before costs"))
    assert line == "242 bars a year, rf 1.50% a year, simple mean, before costs"


# ---- months -------------------------------------------------------------------------------------------------------


@given(st.integers(1, 900), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_heatmap_is_the_pandas_product_by_month(n, seed):
    rng = np.random.default_rng(seed)
    r, dates = rng.normal(0, 0.02, n), days(4 * n, "1999-11-17")[np.sort(rng.choice(4 * n, n, replace=False))]
    seen = periods.heatmap(r, dates, BASIS)
    frame = pd.Series(1 + r, pd.DatetimeIndex(dates))
    want = frame.groupby([frame.index.year, frame.index.month]).prod() - 1
    count = frame.groupby([frame.index.year, frame.index.month]).size()
    for i, year in enumerate(seen.years):
        for m in range(12):
            here = (year, m + 1) in want.index
            assert seen.bars[i, m] == (count[(year, m + 1)] if here else 0)
            assert np.isnan(seen.months[i, m]) if not here else abs(seen.months[i, m] - want[(year, m + 1)]) < 1e-12
    yearly = (frame.groupby(frame.index.year).prod() - 1).reindex(seen.years).to_numpy()
    np.testing.assert_allclose(seen.total, yearly, atol=1e-12)


def test_heatmap_before_1970_and_a_year_without_bars():
    dates = np.array(["1968-12-31", "1970-02-01", "1970-02-02"], "datetime64[D]")
    seen = periods.heatmap(np.array([0.1, 0.2, 0.5]), dates, BASIS)
    assert seen.years.tolist() == [1968, 1969, 1970]
    assert seen.months[0, 11] == pytest.approx(0.1)
    assert seen.months[2, 1] == pytest.approx(0.8)
    assert np.isnan(seen.total[1])
    assert np.isfinite(seen.months).sum() == 2


def test_heatmap_wants_a_date_for_every_return():
    with pytest.raises(DataError, match="periods: 2 returns, 3 dates; give the date of the bar that ends each"):
        periods.heatmap(np.zeros(2), days(3), BASIS)


# ---- exposure -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fill", ["next_close", "same_close"])  # the latter trades on its first bar
@pytest.mark.parametrize("rule", [topk_dropout, long_short])
def test_exposure_is_what_the_book_holds(rule, fill):
    panel, book = traded(rule=rule, fill=fill)
    dates = panel.sessions[book.start : book.start + len(book.equity)]
    seen = periods.exposure(book, dates, BASIS)
    for k in (0, 1, 5, 250, len(dates) - 1):
        value = [s * p for s, p in zip(book.shares[k], book.price[k], strict=True) if s]
        assert seen.net[k] == pytest.approx(sum(value) / book.equity[k], abs=1e-12)
        assert seen.gross[k] == pytest.approx(sum(map(abs, value)) / book.equity[k], abs=1e-12)
        assert seen.names[k] == len(value)
    everything, perf = seen.rows[-1], summary(book, 252)
    assert (everything.year, everything.bars) == (0, len(dates) - 1)
    assert everything.turnover == pytest.approx(perf.turnover, rel=1e-12)
    assert everything.cost == pytest.approx(perf.cost, rel=1e-12)
    years = seen.rows[:-1]
    assert [r.year for r in years] == [2015, 2016]
    assert sum(r.bars for r in years) == everything.bars
    for name in ("gross", "net", "names", "turnover", "cost"):  # the whole is the mean of the years, by bars
        mean = sum(getattr(r, name) * r.bars for r in years) / everything.bars
        assert getattr(everything, name) == pytest.approx(mean, rel=1e-10, abs=1e-12)


def test_exposure_wants_a_return():
    panel, book = traded(T=9)
    with pytest.raises(DataError, match="has 2 bars, given 1 dates; two at least"):
        periods.exposure(book, panel.sessions[7:8], BASIS)


def test_exposure_refuses_a_ruined_book():
    panel, book = traded(T=40)
    equity = book.equity.copy()
    equity[9:] = -5.0
    ruined = type(book)(**{**vars(book), "equity": equity})
    with pytest.raises(DataError, match=r"is ruined at bar 9: shares of an equity of -5 say nothing"):
        periods.exposure(ruined, panel.sessions[7:40], BASIS)


# ---- regimes ------------------------------------------------------------------------------------------------------


def slow_codes(market, window, trend_window, least):
    volatility, trend, past = [], [], []
    for t in range(len(market)):
        seen = [x for x in market[max(0, t - trend_window) : t] if not math.isnan(x)]
        trend.append(-1 if 2 * len(seen) < trend_window else int(sum(map(math.log1p, seen)) > 0))
        seen = [x for x in market[max(0, t - window) : t] if not math.isnan(x)]
        code = -1
        if len(seen) >= 2 and 2 * len(seen) >= window:
            v = float(np.std(seen, ddof=1))
            if len(past) >= least:
                below = sum(p < v - 1e-15 for p in past) + sum(abs(p - v) <= 1e-15 for p in past) / 2
                code = 0 if 3 * below < len(past) else 2 if 3 * below > 2 * len(past) else 1
            past.append(v)
        volatility.append(code)
    return np.array(volatility), np.array(trend)


@pytest.mark.parametrize("holes", [0.0, 0.3])
def test_regime_codes_are_the_slow_ones(holes):
    rng = np.random.default_rng(3)
    market = rng.normal(0, 0.01, 300) * np.exp(np.sin(np.arange(300) / 25))
    market[rng.random(300) < holes] = np.nan
    for got, want in zip(periods.regime_codes(market, 12, 30, 40), slow_codes(market, 12, 30, 40), strict=True):
        assert (got == want).all()
        assert len(set(want.tolist())) > 1


@given(st.integers(0, 199), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_a_regime_is_known_before_its_bar(t, seed):
    """Whatever comes at bar t or later, the codes up to t stay, bit for bit."""
    rng = np.random.default_rng(seed)
    market = rng.normal(0, 0.01, 200)
    other = market.copy()
    other[t:] = rng.normal(0.05, 1.0, 200 - t).clip(-0.9)
    for a, b in zip(periods.regime_codes(market, 10, 20, 30), periods.regime_codes(other, 10, 20, 30), strict=True):
        assert (a[: t + 1] == b[: t + 1]).all()


def test_planted_regimes_are_found():
    """Calm, then wild, then calm; rising, then falling: from one window after the change on, the codes say so."""
    rng = np.random.default_rng(0)
    scale = np.repeat([0.01, 0.04, 0.005], 400)
    market = rng.normal(0, 1, 1200) * scale + np.where(np.arange(1200) < 800, 0.01, -0.01)
    volatility, trend = periods.regime_codes(market, 60, 120, 250)
    assert (volatility[:250] == -1).all()
    assert (trend[:60] == -1).all()
    assert (volatility[460:800] == periods.TURBULENT).mean() > 0.6  # later wild bars are ranked among wild ones too
    assert (volatility[460:600] == periods.TURBULENT).all()
    assert (volatility[860:] == periods.CALM).all()
    assert (trend[920:] == periods.FALLING).all()
    assert (trend[120:400] == periods.RISING).mean() > 0.9


def test_a_market_that_never_moves_is_in_the_middle_and_not_rising():
    volatility, trend = periods.regime_codes(np.zeros(100), 5, 10, 20)
    assert (volatility[30:] == periods.MIDDLE).all()
    assert (trend[10:] == periods.FALLING).all()


def test_regime_rows_hold_every_bar_once_per_kind():
    rng = np.random.default_rng(1)
    market, r = rng.normal(0, 0.01, 900), rng.normal(0.001, 0.01, 500)
    seen = periods.regimes(r, market, 300, rng, BASIS, least=400)
    for kind, codes in (("volatility", seen.volatility), ("trend", seen.trend)):
        rows = [x for x in seen.rows if x.kind == kind]
        assert sum(x.bars for x in rows) == 500
        assert sum(x.share for x in rows) == pytest.approx(1)
        assert np.prod([1 + x.net for x in rows if x.bars]) == pytest.approx(np.prod(1 + r), rel=1e-12)
        for x in rows:
            k = -1 if x.name == periods.UNKNOWN else periods.REGIMES[kind].index(x.name)
            assert x.bars == (codes == k).sum()
            assert x.market == pytest.approx(np.prod(1 + market[300:800][codes == k]) - 1, abs=1e-12)
            assert x.mean.lo < x.mean.estimate < x.mean.hi
            assert x.mean.estimate == pytest.approx(252 * r[codes == k].mean(), rel=1e-12)
            assert x.sharpe.estimate == pytest.approx(sharpe(r[codes == k], 252), rel=1e-9)
    assert any(x.name == periods.UNKNOWN for x in seen.rows)


def test_too_few_bars_have_no_interval():
    market = np.random.default_rng(0).normal(0, 0.01, 400)
    seen = periods.regimes(np.full(5, 0.01), market, 395, np.random.default_rng(0), BASIS)
    assert sum(x.bars for x in seen.rows) == 10
    assert all(x.mean is None and x.sharpe is None for x in seen.rows)
    empty = next(x for x in seen.rows if not x.bars)
    assert math.isnan(empty.net)
    assert math.isnan(empty.max_drawdown)


def test_regimes_say_what_is_wrong():
    with pytest.raises(DataError, match="regimes: 5 returns from row 8, the market has 10 rows"):
        periods.regimes(np.zeros(5), np.zeros(10), 8, np.random.default_rng(0), BASIS)
    with pytest.raises(ConfigError, match="regimes: windows of 1 and 5 bars, least 3; ask for more"):
        periods.regime_codes(np.zeros(9), 1, 5, 3)


# ---- falls --------------------------------------------------------------------------------------------------------


def test_falls_by_hand():
    r = np.array([0.1, -0.2, -0.1, 0.5, 0.1, -0.05])
    seen = periods.falls(r, days(7), BASIS)
    first, second = seen.rows
    assert (first.peak, first.trough, first.recovery) == (days(7)[1], days(7)[3], days(7)[4])
    assert (first.down, first.up, first.bars) == (2, 1, 3)
    assert first.depth == pytest.approx(0.72 - 1)
    assert (second.peak, second.trough, second.recovery) == (days(7)[5], days(7)[6], None)
    assert (second.down, second.up, second.bars) == (1, None, 1)
    assert seen.under == pytest.approx(0.5)
    assert seen.curve[0] == 0
    assert len(seen.curve) == 7
    with pytest.raises(DataError, match="drawdowns: 6 returns need 7 dates, got 6"):
        periods.falls(r, days(6), BASIS)


# ---- rolling Sharpe -----------------------------------------------------------------------------------------------


def test_rolling_sharpe_is_that_of_each_window_and_its_band_that_of_the_probabilistic_sharpe():
    rng = np.random.default_rng(0)
    r, per = rng.standard_t(5, 160) * 0.01, 52
    basis = periods.Basis(per, 0.02, "simple mean", "net")
    seen = periods.rolling_sharpe(r, days(160), basis, 40)
    assert len(seen.value) == 121
    assert seen.dates[0] == days(160)[39]
    for i in (0, 3, 77, 120):
        w = r[i : i + 40] - 0.02 / per
        assert seen.value[i] == pytest.approx(sharpe(r[i : i + 40], per, 0.02), rel=1e-10)
        z = (w - w.mean()) / w.std()
        confidence = probabilistic_sharpe(
            seen.value[i] / math.sqrt(per), 40, seen.lo[i] / math.sqrt(per), (z**3).mean(), (z**4).mean()
        )
        assert confidence == pytest.approx(0.975, abs=1e-9)
    assert seen.whole == pytest.approx(sharpe(r, per, 0.02))
    assert seen.outside == pytest.approx(np.mean((seen.lo > seen.whole) | (seen.hi < seen.whole)))


def test_the_band_covers_the_truth_of_independent_bars():
    """Of 400 windows apart, 95 % should hold the true Sharpe; 91 or 99 % by luck: binomial(400, .95), 3.7 s.d. off."""
    rng = np.random.default_rng(0)
    mean, scale, held = 0.0005, 0.01, 0
    truth = mean / scale * math.sqrt(252)
    for _ in range(400):
        seen = periods.rolling_sharpe(rng.normal(mean, scale, 250), days(250), BASIS, 250)
        held += seen.lo[0] < truth < seen.hi[0]
    assert 0.91 * 400 < held < 0.99 * 400


def test_a_window_without_movement_has_no_ratio_and_no_band():
    r = np.r_[np.zeros(30), np.random.default_rng(0).normal(0, 0.01, 30)]
    seen = periods.rolling_sharpe(r, days(60), BASIS, 20)
    assert np.isnan(seen.value[:11]).all()
    assert np.isfinite(seen.value[11:]).all()
    assert (np.isnan(seen.lo) == np.isnan(seen.value)).all()
    assert "Mertens" in seen.method


def test_rolling_sharpe_says_what_is_wrong():
    with pytest.raises(DataError, match=r"rolling Sharpe: a window of 50 bars needs 10 to 40 \(all there are\)"):
        periods.rolling_sharpe(np.zeros(40), days(40), BASIS, 50)
    with pytest.raises(ConfigError, match="rolling Sharpe: level must lie between 0 and 1, got 1"):
        periods.rolling_sharpe(np.zeros(40), days(40), BASIS, 20, 1.0)
