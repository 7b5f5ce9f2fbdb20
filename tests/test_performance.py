"""Metrics against exact rationals, empyrical-reloaded and scipy; divergent cases by our own rules."""

import json
import math
from fractions import Fraction as Q

import empyrical
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hitherto.errors import ConfigError, DataError
from hitherto.evaluate import metrics
from hitherto.evaluate import performance as perf
from hitherto.exchange.account import Book, Fills

HAND = [
    [Q(1, 10), Q(-1, 20), Q(1, 5)],
    [Q(-1, 2), Q(1, 2)],
    [Q(-1, 10), Q(-1, 10), Q(3, 10)],
    [Q(1, 4), Q(-1, 5), Q(1, 4), Q(-1, 5)],
    [Q(0), Q(1, 100), Q(-1, 50), Q(0), Q(3, 100)],
    [Q(-1, 3), Q(1, 7), Q(2, 9), Q(-1, 11), Q(1, 13)],
    [Q(1, 2), Q(1, 3), Q(-3, 4)],
    [Q(1, 100), Q(2, 100), Q(3, 100), Q(-6, 100)],
    [Q(-1, 8), Q(0), Q(0), Q(1, 8)],
    [Q(5, 4), Q(-1, 4), Q(1, 9)],
    [Q(-9, 10), Q(4), Q(1)],
    [Q(1, 1000), Q(-1, 1000), Q(2, 1000), Q(-2, 1000), Q(3, 1000), Q(-3, 1000)],
    [Q(1, 5), Q(1, 5), Q(-1, 5), Q(-1, 5)],
    [Q(-1, 100), Q(1, 100), Q(1, 100), Q(1, 100), Q(1, 100), Q(1, 100), Q(1, 100), Q(-1, 100)],
    [Q(7, 100), Q(-5, 100), Q(3, 100), Q(-2, 100), Q(1, 100), Q(-1, 100), Q(2, 100)],
    [Q(-2, 5), Q(-1, 5), Q(1, 10), Q(9, 10)],
    [Q(0), Q(0), Q(-1, 4), Q(1, 3)],
    [Q(2), Q(-1, 2), Q(-1, 3)],
    [Q(-1, 16), Q(1, 16), Q(-1, 32), Q(1, 32)],
    [Q(1, 6), Q(-1, 7), Q(0), Q(1, 6), Q(-1, 7), Q(0), Q(1, 6), Q(-1, 7)],
]


def exact(r, p):
    """The definitions in rationals; only the final square roots are floats."""
    n = len(r)
    mean = sum(r) / n
    wealth, peak, deepest = Q(1), Q(1), Q(0)
    for v in r:
        wealth *= 1 + v
        peak = max(peak, wealth)
        deepest = min(deepest, wealth / peak - 1)
    m2, m3, m4 = (sum((v - mean) ** k for v in r) / n for k in (2, 3, 4))
    down = sum(min(v, 0) ** 2 for v in r) / n
    losses = -sum(v for v in r if v < 0)
    at = Q(n - 1, 20)
    s = sorted(r)
    low = s[int(at)] + (at - int(at)) * (s[min(int(at) + 1, n - 1)] - s[int(at)])
    return {
        "total_return": float(wealth - 1),
        "cagr": float(wealth) ** (p / n) - 1,
        "annual_volatility": math.sqrt(m2 * n / (n - 1) * p),
        "sharpe": float(mean) / math.sqrt(m2 * n / (n - 1)) * math.sqrt(p),
        "sortino": float(mean) / math.sqrt(down) * math.sqrt(p),
        "max_drawdown": float(deepest),
        "calmar": (float(wealth) ** (p / n) - 1) / -float(deepest),
        "omega": float(sum(v for v in r if v > 0) / losses),
        "value_at_risk": float(low),
        "conditional_value_at_risk": float(sum(s[: int(at) + 1]) / (int(at) + 1)),
        "skew": float(m3) / float(m2) ** 1.5,
        "kurtosis": float(m4 / m2**2 - 3),
    }


@pytest.mark.parametrize("r", HAND, ids=range(len(HAND)))
def test_hand_computed_fixtures_in_exact_rationals(r):
    got = perf.describe([float(v) for v in r], 4).to_dict()
    for name, value in exact(r, 4).items():
        assert got[name] == pytest.approx(value, rel=1e-12, abs=1e-12), name


def test_a_series_worked_by_hand():
    # 1 -> 0.5 -> 0.75 -> 0.9: the loss of the first day is the drawdown
    p = perf.describe([-0.5, 0.5, 0.2], 3)
    assert p.total_return == pytest.approx(-0.1, abs=1e-15)
    assert p.cagr == pytest.approx(-0.1, abs=1e-15)
    assert p.max_drawdown == -0.5
    assert p.drawdowns == (perf.Drawdown(0, 1, None, -0.5),)
    assert p.omega == pytest.approx(1.4, abs=1e-15)


@pytest.mark.parametrize("seed", range(25))
def test_equal_to_empyrical(seed):
    rng = np.random.default_rng(seed)
    r = rng.standard_t(4, 60 + 40 * seed) * 0.01 + 0.0003
    rf = 0.02
    pairs = {
        "total return": (perf.total_return(r), empyrical.cum_returns_final(r)),
        "cagr": (perf.cagr(r, 252), empyrical.cagr(r)),
        "volatility": (perf.annual_volatility(r, 252), empyrical.annual_volatility(r)),
        "sharpe": (perf.sharpe(r, 252, rf), empyrical.sharpe_ratio(r, rf / 252)),
        "sortino": (perf.sortino(r, 252, rf), empyrical.sortino_ratio(r, rf / 252)),
        "drawdown": (perf.max_drawdown(r), empyrical.max_drawdown(r)),
        "calmar": (perf.calmar(r, 252), empyrical.calmar_ratio(r)),
        "omega": (perf.omega(r, 252, rf), empyrical.omega_ratio(r, rf / 252)),
        "tail ratio": (perf.tail_ratio(r), empyrical.tail_ratio(r)),
        "VaR": (perf.value_at_risk(r), empyrical.value_at_risk(r)),
        "CVaR": (perf.conditional_value_at_risk(r), empyrical.conditional_value_at_risk(r)),
    }
    for name, (ours, theirs) in pairs.items():
        assert ours == pytest.approx(theirs, rel=1e-12, abs=1e-12), name
    assert perf.skew(r) == pytest.approx(stats.skew(r), abs=1e-12)
    assert perf.kurtosis(r) == pytest.approx(stats.kurtosis(r), abs=1e-11)


def test_nan_is_refused_unless_its_meaning_is_stated():
    r = np.random.default_rng(0).normal(0.0004, 0.01, 500)
    r[100:200] = np.nan
    with pytest.raises(DataError) as caught:
        perf.describe(r, 252)
    assert str(caught.value) == (
        "returns: 100 of 500 are NaN, the first at bar 100; "
        "say what they mean: clean(returns, nan='drop') or nan='zero'"
    )
    drop, zero = perf.describe(r, 252, nan="drop"), perf.describe(r, 252, nan="zero")
    assert (drop.bars, zero.bars) == (400, 500)
    assert drop.total_return == pytest.approx(zero.total_return, abs=1e-12)
    assert drop.cagr == pytest.approx((1 + zero.cagr) ** (500 / 400) - 1, abs=1e-12)
    with pytest.raises(ConfigError, match="nan must be 'refuse', 'drop' or 'zero', got 'ignore'"):
        perf.clean(r, nan="ignore")


@pytest.mark.parametrize("r", [[0.01] * 9, [0.0] * 9, list(np.diff(1.01 ** np.arange(50)) / 1.01 ** np.arange(49))])
def test_constant_returns_have_no_ratio_but_a_reason(r):
    p = perf.describe(r, 252)
    assert (p.sharpe, p.sortino, p.calmar, p.omega, p.skew, p.kurtosis) == (None,) * 6
    assert p.reasons["sharpe"] == "the returns are constant: their deviation is 0"
    assert p.reasons["sortino"] == "no return is below the risk-free rate"
    assert p.reasons["calmar"] == "there was no drawdown"
    json.dumps(p.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("r", "message"),
    [
        ([0.1, np.inf], "returns: infinite at bar 1; a price of 0 was divided by"),
        ([], "returns: there is no return in this series"),
        ([[0.1]], "returns: expected one dimension, got shape (1, 1)"),
        ([0.1, -1.5], "returns: -150.00% at bar 1; below -100 % there is no equity left to compound"),
    ],
)
def test_what_no_metric_may_swallow(r, message):
    for f in (
        perf.total_return,
        perf.max_drawdown,
        perf.tail_ratio,
        perf.value_at_risk,
        perf.skew,
        lambda x: perf.sharpe(x, 252),
    ):
        with pytest.raises(DataError) as caught:
            f(r)
        assert str(caught.value) == message
    with pytest.raises(DataError, match="there is no return"):
        perf.clean([np.nan, np.nan], nan="drop")


def test_returns_are_never_taken_for_prices():
    # all >= 0 with one above 1: a known library reads this as prices
    r = np.array([0.01, 0.02, 1.5, 0.0, 0.01])
    assert perf.sharpe(r, 252) == pytest.approx(r.mean() / r.std(ddof=1) * math.sqrt(252), rel=1e-12)


def test_rf_is_a_yearly_fraction():
    r = np.random.default_rng(0).normal(0.0004, 0.01, 500)
    assert perf.sharpe(r, 252, 0.0252) == pytest.approx(perf.sharpe(r - 0.0001, 252), rel=1e-12)
    with pytest.raises(ConfigError, match=r"rf is a yearly fraction \(0.03 = 3 % a year\), got 3"):
        perf.sharpe(r, 252, 3)
    for p in (0, -252, math.inf, math.nan):
        for f in (perf.sharpe, perf.cagr, perf.annual_volatility, perf.describe):
            with pytest.raises(ConfigError, match=rf"periods_per_year must be above 0, got {p}"):
                f(r, p)
    for cutoff in (0, 1, 5):
        for f in (perf.value_at_risk, perf.conditional_value_at_risk):
            with pytest.raises(
                ConfigError, match=rf"cutoff is the share of the worst bars \(0.05 = 5 %\), got {cutoff}"
            ):
                f(r, cutoff)


def test_both_clocks_are_reported():
    r = np.full(252, 0.001)
    r[0] = 0
    p = perf.describe(r, 252, years=1.04)
    assert p.cagr_calendar == pytest.approx((1 + p.total_return) ** (1 / 1.04) - 1, rel=1e-12)
    assert perf.describe(r, 252).reasons["cagr_calendar"] == "the length in calendar years was not given"


@given(st.lists(st.integers(-20, 25).map(lambda v: v / 100), min_size=1, max_size=40))
def test_drawdowns_cover_every_fall_once(r):
    fall = perf.drawdown_curve(r)
    table = perf.drawdowns(r, top=1000)
    inside = np.zeros(len(fall), int)
    for d in table:
        end = len(fall) if d.recovery is None else d.recovery
        inside[d.peak + 1 : end] += 1
        assert d.depth == fall[d.peak + 1 : end].min() == fall[d.trough]
        assert abs(fall[d.peak]) < 1e-12
        assert d.bars is None or d.bars > 0
    assert np.array_equal(inside, (fall < -1e-13).astype(int))
    if table:
        assert table[0].depth == perf.max_drawdown(r)


def book(equity, name="toy", fees=0.0, slippage=0.0, traded=0.0, start=3):
    e = np.asarray(equity, float)
    k = len(e)
    empty = np.zeros(0)
    ints = empty.astype(np.int32)
    fills = Fills(ints, ints, ints, *[empty] * 8, empty.astype(np.uint8))
    full = [np.full(k, float(v)) for v in (fees, slippage, 0.0, traded)]
    return Book(name, start, e, e, np.zeros((k, 1)), np.ones((k, 1)), *full, fills)


def test_summary_of_a_book_counts_turnover_and_costs():
    b = book([100, 110, 99, 120], fees=1.0, slippage=0.5, traded=20.0)
    p = perf.summary(b, 12)
    assert p.name == "toy"
    assert p.bars == 3
    assert p.total_return == pytest.approx(0.2, abs=1e-15)
    before = np.array([100, 100, 110, 99])
    assert p.turnover == pytest.approx((0.5 * 20 / before).sum() / 3 * 12, rel=1e-12)
    assert p.cost == pytest.approx((1.5 / before).sum() / 3 * 12, rel=1e-12)
    assert p.cost_total == 6.0
    assert json.loads(json.dumps(p.to_dict(), allow_nan=False))["max_drawdown"] == pytest.approx(-0.1)


def test_a_ruined_or_empty_book_says_so():
    ruined = book([100, -5, 10])
    assert ruined.returns.tolist() == [-1, 0]
    done = perf.summary(ruined, 252)
    assert (done.total_return, done.max_drawdown, done.cagr) == (-1, -1, -1)
    with pytest.raises(DataError, match=r"^book 'toy' starts with an equity of -5; give it capital$"):
        perf.summary(book([-5, 10]), 252)
    with pytest.raises(DataError, match="book 'toy' has 1 bars; a return needs two"):
        perf.summary(book([100]), 252)
    assert perf.summary(book([100, 50, 0]), 252).total_return == -1


# --- metrics.py ---

RETURNS = st.lists(st.integers(-40, 45).map(lambda v: v / 100), min_size=2, max_size=30)


def table(r, market=None, p=252, rf=0.02):
    return {f.name: f for f in metrics.figures(r, periods_per_year=p, rf=rf, costs="gross", market=market)}


def test_each_figure_stands_beside_what_it_rests_on():
    r = np.random.default_rng(0).normal(0.001, 0.01, 300)
    got = metrics.figures(r, periods_per_year=252, rf=0.03, costs="net of fees and slippage")
    assert str(got[0]) == (
        f"total_return {perf.total_return(r):.6g} "
        "(fraction; 252 bars a year, rf 3.00% a year, compound, net of fees and slippage)"
    )
    assert all("252 bars a year, rf 3.00% a year, " in str(f) and str(f).endswith("slippage)") for f in got)
    assert [f.name for f in got] == [k for k, m in metrics.METRICS.items() if not m.market]
    with pytest.raises(ConfigError, match="say what was paid before these returns, such as costs='net of fees"):
        metrics.figures(r, periods_per_year=252, rf=0.03, costs=" ")
    with pytest.raises(TypeError):
        metrics.figures(r, costs="gross")  # neither the clock nor rf is assumed


def test_a_figure_without_a_value_has_a_reason():
    r, m = np.full(9, 0.01), np.zeros(9)
    none = {k: f for k, f in table(r, m).items() if f.value is None}
    assert {"sharpe", "martin_ratio", "payoff_ratio", "alpha", "up_capture", "beta", "r_squared"} <= set(none)
    assert all(f.reason for f in none.values())
    assert str(none["beta"]).startswith("beta none: fewer than two bars of this market, or it stood still (number; ")
    sunk = table([-0.9, -0.6, -0.3], [0.1, 0.2, 0.3])["alpha"]  # r = 3 m - 120 %
    assert (sunk.value, sunk.reason[:7]) == (None, "no beta")
    assert all(f.reason == "" and math.isfinite(f.value) for k, f in table(r, m).items() if k not in none)


def test_the_table_and_describe_agree():
    r = np.random.default_rng(1).standard_t(4, 700) * 0.01
    told = perf.describe(r, 252, 0.02).to_dict()
    both = {k: f.value for k, f in table(r).items() if k in told}
    assert len(both) == 13
    assert both == {k: told[k] for k in both}


@given(RETURNS, st.data())
def test_identities_of_the_metrics(r, data):
    m = data.draw(st.lists(st.integers(-40, 45).map(lambda v: v / 100), min_size=len(r), max_size=len(r)))
    v = {k: f.value for k, f in table(r, m).items()}
    assert v["ulcer_index"] <= -v["max_drawdown"] + 1e-12
    assert v["longest_drawdown"] <= len(r)
    if v["profit_factor"] is not None:
        assert v["gain_to_pain_ratio"] == pytest.approx(sum(r) / -sum(x for x in r if x < 0), rel=1e-9, abs=1e-12)
    if v["payoff_ratio"] is not None:  # gains and losses, weighted by how often they come, are the profit factor
        odds = v["win_rate"] / (1 - v["win_rate"])
        assert v["payoff_ratio"] * odds == pytest.approx(v["profit_factor"], rel=1e-9)
    if v["beta"] is not None and v["r_squared"] is not None:
        assert v["r_squared"] == pytest.approx(v["beta"] * metrics.beta(m, r), rel=1e-9, abs=1e-12)
    up, down = sum(x > 0 for x in m), sum(x < 0 for x in m)
    wins = up * (v["up_batting_average"] or 0) + down * (v["down_batting_average"] or 0)
    ties = sum(x > 0 for x, y in zip(r, m, strict=True) if y == 0)
    assert v["batting_average"] * len(r) == pytest.approx(wins + ties, abs=1e-9)


@given(RETURNS)
def test_a_market_against_itself(r):
    v = {k: f.value for k, f in table(r, r).items()}
    assert v["tracking_error"] == 0
    assert v["information_ratio"] is None
    assert v["batting_average"] == 0
    if np.ptp(r) > 0:
        assert v["beta"] == pytest.approx(1, abs=1e-12)
        assert v["alpha"] == pytest.approx(0, abs=1e-12)
        assert v["r_squared"] == pytest.approx(1, abs=1e-12)
    assert v["capture"] is None or v["capture"] == pytest.approx(1, abs=1e-12)


@given(RETURNS, st.integers(1, 5), st.integers(0, 29))
def test_rolling_never_sees_what_comes_later(r, window, cut):
    window, cut = min(window, len(r)), min(cut, len(r) - 1)
    changed = [*r[: cut + 1], *(0.3 - x / 2 for x in r[cut + 1 :])]
    for metric, settings in ((perf.sharpe, {"periods_per_year": 12, "rf": 0.01}), (perf.max_drawdown, {})):
        a, b = (metrics.rolling(metric, window, x, **settings) for x in (r, changed))
        assert len(a) == len(r) - window + 1
        known = max(0, cut - window + 2)
        assert np.array_equal(a[:known], b[:known], equal_nan=True)
        last = metric(r[len(r) - window :], **settings)
        assert np.array_equal(a[-1], math.nan if last is None else last, equal_nan=True)


@given(RETURNS, st.sampled_from(["week", "month", "quarter", "year"]), st.integers(0, 3000))
def test_calendar_periods_compound_to_the_whole(r, by, first):
    dates = np.datetime64("2015-01-01") + first + np.cumsum(np.arange(len(r)) % 9 + 1)
    start, values = metrics.aggregate_returns(r, dates, by)
    assert np.prod(1 + values) - 1 == pytest.approx(perf.total_return(r), rel=1e-9, abs=1e-12)
    assert metrics.cum_returns(r)[-1] == pytest.approx(perf.total_return(r), rel=1e-12, abs=1e-12)
    assert (np.diff(start) > np.timedelta64(0, "D")).all()
    assert start[0] <= dates[0]
    assert (start.astype(int) % 7 == 4).all() if by == "week" else (start == start.astype("datetime64[M]")).all()


def test_periods_by_hand():
    dates = np.array(["2023-12-29", "2024-01-01", "2024-01-31", "2024-04-01"], dtype="datetime64[D]")
    r = [0.1, 0.2, -0.5, 0.25]
    expected = {
        "week": (["2023-12-25", "2024-01-01", "2024-01-29", "2024-04-01"], r),
        "month": (["2023-12-01", "2024-01-01", "2024-04-01"], [0.1, -0.4, 0.25]),
        "quarter": (["2023-10-01", "2024-01-01", "2024-04-01"], [0.1, -0.4, 0.25]),
        "year": (["2023-01-01", "2024-01-01"], [0.1, -0.25]),
    }
    assert metrics.aggregate_returns([0.1, 0.1], dates[[0, 0]], "year")[1] == pytest.approx([0.21])  # two bars of a day
    for by, (days, values) in expected.items():
        start, got = metrics.aggregate_returns(r, dates, by)
        assert start.astype(str).tolist() == days
        assert got == pytest.approx(values, abs=1e-15)


def test_metrics_worked_by_hand():
    # 1 -> .5 -> .75 -> .9: under water to the end; the market 1 -> 1.1 -> .99 -> .99
    r, m = [-0.5, 0.5, 0.2], [0.1, -0.1, 0.0]
    v = {k: f.value for k, f in table(r, m, p=3, rf=0.0).items()}
    assert v["longest_drawdown"] == 3
    assert v["ulcer_index"] == pytest.approx(math.sqrt((0.25 + 0.0625 + 0.01) / 3), abs=1e-15)
    assert v["recovery_factor"] == pytest.approx(-0.1 / 0.5, abs=1e-15)
    assert v["profit_factor"] == pytest.approx(1.4, abs=1e-15)
    assert v["win_rate"] == pytest.approx(2 / 3, abs=1e-15)
    assert v["payoff_ratio"] == pytest.approx(0.35 / 0.5, abs=1e-15)
    assert v["beta"] == pytest.approx(-5, abs=1e-12)
    assert (v["up_beta"], v["down_beta"]) == (None, None)
    assert v["capture"] == pytest.approx(-0.1 / -0.01, abs=1e-12)
    assert v["up_capture"] == pytest.approx((0.5**3 - 1) / (1.1**3 - 1), abs=1e-12)
    assert (v["batting_average"], v["up_batting_average"], v["down_batting_average"]) == (2 / 3, 0, 1)
    assert v["beta_fragility_heuristic"] == pytest.approx(0.5 * 0.5 + 0.5 * -0.5 - 0.2, abs=1e-15)
    assert metrics.longest_drawdown([-0.5, 1.0, 0.1, -0.1]) == 2
    assert metrics.longest_drawdown([0.1, 0.0]) == 0


def test_messages_of_the_metrics():
    r, days = [0.1, 0.2], np.array(["2024-01-02", "2024-01-01"], dtype="datetime64[D]")
    for call, kind, message in [
        (
            lambda: metrics.beta(r, [0.1]),
            DataError,
            "returns and market: 2 and 1 bars; bar k of both must be the same bar",
        ),
        (lambda: metrics.capture(r, r, 252, "both"), ConfigError, "side must be 'all', 'up' or 'down', got 'both'"),
        (lambda: metrics.alpha(r, r, 252, 3.0), ConfigError, r"rf is a yearly fraction \(0.03 = 3 % a year\), got 3"),
        (lambda: metrics.martin_ratio(r, 252, -1), ConfigError, "rf is a yearly fraction"),
        (lambda: metrics.information_ratio(r, r, 0), ConfigError, "periods_per_year must be above 0, got 0"),
        (lambda: metrics.beta(r, [0.1, math.nan]), DataError, "^market: 1 of 2 are NaN, the first at bar 1"),
        (
            lambda: metrics.aggregate_returns(r, days, "month"),
            DataError,
            "^dates: one is empty or before the one above it; sort the returns by date$",
        ),
        (lambda: metrics.aggregate_returns(r, days[:1], "month"), DataError, r"2 returns and dates of shape \(1,\)"),
        (
            lambda: metrics.aggregate_returns(r, days[::-1], "day"),
            ConfigError,
            "by must be 'week', 'month', .* got 'day'",
        ),
        (lambda: metrics.rolling(perf.max_drawdown, 3, r), ConfigError, "a window of 3 bars over series of 2; give"),
        (
            lambda: metrics.rolling(metrics.beta, 1, r, [0.1]),
            ConfigError,
            "a window of 1 bars over series of 2, 1; give",
        ),
    ]:
        with pytest.raises(kind, match=message):
            call()
