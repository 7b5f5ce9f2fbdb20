"""Where empyrical and quantstats part from us: each test works out both numbers and finds them in docs/metrics.md."""

import itertools
import math
import re
import warnings
from fractions import Fraction as Q
from pathlib import Path

import empyrical
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from test_metrics_oracle import SERIES, differing, normal, slope

from hitherto.errors import DataError
from hitherto.evaluate import metrics
from hitherto.evaluate import performance as perf

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "metrics.md").read_text(encoding="utf-8")
DAYS = 500
R, M = normal(0, DAYS), normal(1, DAYS, 0.0003)


def rows(heading):
    part = PAGE.split(f"## {heading}")[1].split("\n## ")[0]
    cells = [[c.strip() for c in line.strip("|").split(" | ")] for line in part.splitlines() if line.startswith("| ")]
    return {c[0].strip("`| "): [v.strip("` ") for v in c[1:]] for c in cells[1:]}


EM, QS = rows("Where empyrical-reloaded 0.7.1 parts"), rows("Where quantstats 0.0.86 parts")


def written(x):
    if isinstance(x, str):
        return x
    return "none" if x is None else "NaN" if math.isnan(x) else f"{x:.6g}"


def told(case, ours, theirs, table=EM):
    """The row of ``case`` holds both numbers, and they are not the same."""
    assert table[case][:2] == [written(ours), written(theirs)], case
    assert isinstance(ours, str) or isinstance(theirs, str) or differing(ours, theirs)


def refused(f, *args, match, **kwargs):
    with pytest.raises(DataError, match=match):
        f(*args, **kwargs)
    return "refused"


def quiet(f, *args, **kwargs):
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return float(f(*args, **kwargs))


def with_gap():
    r = R.copy()
    r[100:200] = np.nan
    return r


def with_inf():
    r = R.copy()
    r[5] = np.inf
    return r


def test_rf_is_a_years_here_and_a_bars_there():
    told("rf 0.03, Sharpe", perf.sharpe(R, 252, 0.03), empyrical.sharpe_ratio(R, 0.03))
    assert not differing(perf.sharpe(R, 252, 0.03), empyrical.sharpe_ratio(R, 0.03 / 252))
    told("rf 0.03, omega", perf.omega(R, 252, 0.03), empyrical.omega_ratio(R, required_return=0.03))
    per_bar = 1.03 ** (1 / 252) - 1
    assert not differing(perf.omega(R, 252, per_bar * 252), empyrical.omega_ratio(R, required_return=0.03))


def test_cagr_has_two_clocks():
    d = np.busday_offset("2020-01-01", np.arange(DAYS))
    years = ((d[-1] - d[0]).astype(int) + 1) / 365.25
    p = perf.describe(R, 252, years=years)
    told("CAGR by the calendar", p.cagr_calendar, empyrical.cagr(R))
    assert not differing(p.cagr, empyrical.cagr(R))


def test_nan_is_asked_about():
    gap = with_gap()
    ours = refused(perf.cagr, gap, 252, match="100 of 500 are NaN, the first at bar 100")
    told("100 of 500 days NaN, CAGR", ours, empyrical.cagr(gap))
    drop, zero = (perf.cagr(perf.clean(gap, nan), 252) for nan in ("drop", "zero"))
    assert f"{drop:.6g} dropped, {zero:.6g} as cash" in EM["100 of 500 days NaN, CAGR"][2]
    assert not differing(zero, empyrical.cagr(gap))
    nothing = np.full(2, np.nan)
    ours = refused(perf.max_drawdown, nothing, match="2 of 2 are NaN")
    told("all NaN, max drawdown", ours, quiet(empyrical.max_drawdown, nothing))


def test_inf_is_an_error():
    ours = refused(perf.sharpe, with_inf(), 252, match="infinite at bar 5; a price of 0 was divided by")
    told("inf among the returns, Sharpe", ours, quiet(empyrical.sharpe_ratio, with_inf()))


def test_constants_have_no_ratio():
    flat = np.full(DAYS, 0.001)
    told("constant returns, Sharpe", perf.sharpe(flat, 252), quiet(empyrical.sharpe_ratio, flat))
    prices = 1.01 ** np.arange(50)
    r = np.diff(prices) / prices[:-1]
    told("prices that grow by 1 % a bar, Sharpe", perf.sharpe(r, 252), "about 1e15")
    assert 1e13 < empyrical.sharpe_ratio(r) < 1e18  # the rounding of one machine is not that of another
    still = 0.01 + normal(0, 100, 0, 1e-14)
    told("market constant but for rounding, beta", metrics.beta(normal(1, 100), still), "about -4e10")
    assert abs(empyrical.beta(normal(1, 100), still)) > 1e6


def test_without_a_denominator_there_is_no_ratio():
    gains = np.abs(R) + 1e-4
    told("no loss, Sortino", perf.sortino(gains, 252), quiet(empyrical.sortino_ratio, gains))
    idle = np.concatenate([np.zeros(50), np.full(4, 0.01)])
    told("5 % quantile 0, tail ratio", perf.tail_ratio(idle), quiet(empyrical.tail_ratio, idle))
    r, back = np.array([0.1, 0.05]), np.array([0.25, -0.2])
    told("market back where it began, capture", metrics.capture(r, back, 252), quiet(empyrical.capture, r, back))
    nearly = np.array([0.3, 0.7, 1 / (1.3 * 1.7) - 1])
    assert 0 < abs(np.prod(1 + nearly) - 1) < 1e-15  # back but for rounding
    assert metrics.capture(nearly[::-1], nearly, 252) is None


def test_one_bar_has_a_downside():
    r = np.array([-0.01])
    told("one bar, Sortino", perf.sortino(r, 252), empyrical.sortino_ratio(r))
    told("one bar, omega", perf.omega(r, 252), empyrical.omega_ratio(r))


def test_beyond_numbers_and_below_minus_100_percent_is_refused():
    boom = np.array([20.0, 20.0])
    ours = refused(perf.cagr, boom, 252, match=r"^CAGR: 441 to the power 126 is beyond any number; the series is too")
    told("two bars of 2000 %, CAGR", ours, quiet(empyrical.cagr, boom))
    debt = np.array([0.1, -1.5, 0.2])
    ours = refused(perf.max_drawdown, debt, match=r"-150.00% at bar 1; below -100 % there is no equity left")
    told("a return of -150 %, max drawdown", ours, empyrical.max_drawdown(debt))
    rich = np.full(400, 9.0)
    for f in (perf.total_return, perf.max_drawdown, metrics.cum_returns, metrics.ulcer_index):
        refused(f, rich, match=r"wealth is beyond any number at bar 308; returns are fractions \(0.01 = 1 %\)")


def test_a_market_at_zero_is_neither_up_nor_down():
    r, m = np.array([0.2, -0.1, 0.01, 0.01, 0.0]), np.array([0.1, -0.05, 0.0, 0.02, -0.01])
    bats = empyrical.batting_average(r, m)
    told("market at 0, up batting average", metrics.batting_average(r, m, "up"), bats["up market"])
    assert (metrics.batting_average(r, m), metrics.batting_average(r, m, "down")) == tuple(bats.iloc[[0, 2]])
    assert not differing(metrics.capture(r, m, 252, "up"), empyrical.up_capture(r, m))  # there m = 0 is not up


def test_ties_keep_the_order_of_time():
    rng = np.random.default_rng(3)
    m = rng.integers(-3, 4, 400) / 100
    r = rng.normal(0, 0.01, 400)
    told("ties in the market, fragility", metrics.beta_fragility_heuristic(r, m), "any of the tied bars")
    low, mid, high = (r[m == v] for v in (m.min(), np.sort(m)[200], m.max()))
    share = (m.max() - np.sort(m)[200]) / np.ptp(m)
    reachable = share * low[:, None, None] + (1 - share) * high[:, None] - mid
    assert np.abs(reachable - empyrical.beta_fragility_heuristic(r, m)).min() < 1e-12
    assert not differing(
        metrics.beta_fragility_heuristic(r, m), share * low[0] + (1 - share) * high[-1] - tied_mid(r, m)
    )


def tied_mid(r, m):
    return sorted(zip(m, range(len(m)), r, strict=True))[len(m) // 2][2]


def test_series_of_other_dates_are_refused():
    d = pd.DatetimeIndex(np.busday_offset("2020-01-01", np.arange(DAYS)))
    a, b = pd.Series(R, d).iloc[:300], pd.Series(M, d).iloc[100:]
    ours = refused(
        metrics.beta, a, b, match="^returns and market: 300 and 400 bars; bar k of both must be the same bar$"
    )
    told("series of other dates, beta", ours, empyrical.beta(a, b))
    refused(metrics.beta, a, b.iloc[:300], match="^returns and market: their dates differ; join them by date first$")
    both = [x.loc[b.index[0] : a.index[-1]] for x in (a, b)]
    assert not differing(metrics.beta(*both), empyrical.beta(a, b))


def test_the_information_ratio_is_a_years():
    ours, theirs = metrics.information_ratio(R, M, 252), empyrical.excess_sharpe(R, M)
    told("excess Sharpe", ours, theirs)
    assert not differing(ours, theirs * math.sqrt(252))


def test_returns_of_a_billionth_keep_eight_digits():
    r, _, p = SERIES["of 1e-9"]
    wealth = list(itertools.accumulate([Q(1), *(1 + Q(v) for v in r.tolist())], lambda a, b: a * b))
    deepest = min(w / peak - 1 for w, peak in zip(wealth, itertools.accumulate(wealth, max), strict=True))
    gained = wealth[-1] - 1  # 1e-8: (1 + x)^a - 1 = a x (1 + (a - 1) x / 2) to 1e-16 of itself
    a = Q(p, len(r))
    truth = float(a * gained * (1 + (a - 1) * gained / 2) / -deepest)
    ours, theirs = perf.calmar(r, p), empyrical.calmar_ratio(r)
    told("returns of 1e-9, Calmar", "6e-8 off", "6e-8 off")
    assert 1e-12 < abs(ours / truth - 1) < 1e-6
    assert 1e-12 < abs(theirs / truth - 1) < 1e-6


def test_beta_is_exact_where_returns_hardly_move():
    r, m, _ = SERIES["nearly constant"]
    truth = float(slope([Q(v) for v in r.tolist()], [Q(v) for v in m.tolist()]))
    told("beta of returns constant but for 1e-9", "exact", "7e-10 off")
    assert abs(metrics.beta(r, m) / truth - 1) < 1e-14
    assert 1e-12 < abs(empyrical.beta(r, m) / truth - 1) < 1e-7


def test_a_rolling_cagr_works():
    told("rolling CAGR", "works", "TypeError")
    with pytest.raises(TypeError):
        empyrical.stats.roll_cagr(R, window=60)
    got = metrics.rolling(perf.cagr, 60, R, periods_per_year=252)
    assert not differing(got, [empyrical.cagr(R[k : k + 60]) for k in range(DAYS - 59)])


def test_why_the_pareto_estimates_are_left_out():
    assert empyrical.gpd_risk_estimates(np.abs(R)).tolist() == [0] * 5
    at_1_percent = empyrical.gpd_risk_estimates(R)[3]
    assert at_1_percent == pytest.approx(0.048, abs=0.002)
    assert perf.value_at_risk(R, 0.01) == pytest.approx(-0.025, abs=5e-4)
    assert stats.norm.ppf(0.01) * 0.01 == pytest.approx(-0.023, abs=5e-4)


# quantstats 0.0.86 with pandas 3.1.1, measured; the last test measures again where it is installed
MEASURED = {
    "rf 0.03, Sharpe": 0.0215871, "VaR 5 %": -0.0165578, "CVaR 5 %": -0.0207975,
    "100 of 500 days NaN, CAGR": 0.0352486, "inf among the returns, Sharpe": 0.192773,
    "returns >= 0 with one above 1, Sharpe": 9.16264, "skew": -0.161281, "excess kurtosis": 0.477772,
    "ulcer index": 0.101987, "ulcer performance index": 0.39848, "recovery factor": 0.344081,
    "Treynor ratio": -3.75748, "information ratio": 0.0137369, "alpha": 0.0328811,
}  # fmt: skip
MISTAKABLE = np.array([0.01, 0.02, 1.5, 0.0, 0.01])


def beside_quantstats():
    return {
        "rf 0.03, Sharpe": perf.sharpe(R, 252, 0.03),
        "VaR 5 %": perf.value_at_risk(R),
        "CVaR 5 %": perf.conditional_value_at_risk(R),
        "100 of 500 days NaN, CAGR": refused(perf.cagr, with_gap(), 252, match="NaN"),
        "inf among the returns, Sharpe": refused(perf.sharpe, with_inf(), 252, match="infinite"),
        "returns >= 0 with one above 1, Sharpe": perf.sharpe(MISTAKABLE, 252),
        "skew": perf.skew(R),
        "excess kurtosis": perf.kurtosis(R),
        "ulcer index": metrics.ulcer_index(R),
        "ulcer performance index": metrics.martin_ratio(R, 252, 0.0),
        "recovery factor": metrics.recovery_factor(R),
        "Treynor ratio": metrics.treynor_ratio(R, M, 252, 0.0),
        "information ratio": metrics.information_ratio(R, M, 252),
        "alpha": metrics.alpha(R, M, 252, 0.0),
    }


def test_the_page_tells_where_quantstats_parts():
    ours = beside_quantstats()
    assert set(ours) == set(MEASURED) == set(QS) - {"constant returns, Sharpe"}
    for case, value in ours.items():
        told(case, value, MEASURED[case], QS)
    told("constant returns, Sharpe", perf.sharpe(np.full(DAYS, 0.001), 252), "about 2e16", QS)


def test_what_the_other_definitions_are():
    # so that a reader need not take the reasons on trust: each recorded number from its formula
    n, total = DAYS, perf.total_return(R)
    b = metrics.beta(R, M)
    low = stats.norm.ppf(0.05)
    worked = {
        "rf 0.03, Sharpe": perf.sharpe(R, 252, 252 * (1.03 ** (1 / 252) - 1)),
        "VaR 5 %": R.mean() + low * R.std(ddof=1),
        "CVaR 5 %": R.mean() - stats.norm.pdf(low) / 0.05 * R.std(ddof=1),
        "skew": stats.skew(R, bias=False),
        "excess kurtosis": stats.kurtosis(R, bias=False),
        "ulcer index": metrics.ulcer_index(R) * math.sqrt(n / (n - 1)),
        "ulcer performance index": total / (metrics.ulcer_index(R) * math.sqrt(n / (n - 1))),
        "recovery factor": abs(R.sum()) / -perf.max_drawdown(R),
        "Treynor ratio": total / b,
        "information ratio": metrics.information_ratio(R, M, 1),
        "alpha": (R.mean() - b * M.mean()) * 252,
        "100 of 500 days NaN, CAGR": perf.cagr(perf.clean(with_gap(), "drop"), 252),
        "inf among the returns, Sharpe": perf.sharpe(R[np.arange(DAYS) != 5], 252),
    }
    assert {k: v for k, v in worked.items() if v != pytest.approx(MEASURED[k], rel=2e-5)} == {}


def test_quantstats_itself_says_so():
    qs = pytest.importorskip("quantstats", reason="quantstats is not installed; its recorded numbers were compared")
    if qs.__version__ != "0.0.86":
        pytest.skip(f"recorded with quantstats 0.0.86, this is {qs.__version__}")
    d = pd.DatetimeIndex(np.busday_offset("2020-01-01", np.arange(DAYS)))
    r, m, s = pd.Series(R, d), pd.Series(M, d), qs.stats
    measured = {
        "rf 0.03, Sharpe": s.sharpe(r, rf=0.03), "VaR 5 %": s.value_at_risk(r),
        "CVaR 5 %": s.conditional_value_at_risk(r), "100 of 500 days NaN, CAGR": s.cagr(pd.Series(with_gap(), d)),
        "inf among the returns, Sharpe": s.sharpe(pd.Series(with_inf(), d)),
        "returns >= 0 with one above 1, Sharpe": s.sharpe(pd.Series(MISTAKABLE, d[:5])),
        "skew": s.skew(r), "excess kurtosis": s.kurtosis(r), "ulcer index": s.ulcer_index(r),
        "ulcer performance index": s.ulcer_performance_index(r), "recovery factor": s.recovery_factor(r),
        "Treynor ratio": s.treynor_ratio(r, m), "information ratio": s.information_ratio(r, m),
        "alpha": s.greeks(r, m)["alpha"],
    }  # fmt: skip
    assert {k: float(f"{v:.6g}") for k, v in measured.items()} == MEASURED
    assert s.sharpe(pd.Series(0.001, d)) > 1e15
    agree = {
        "cagr": (perf.cagr(R, 252), s.cagr(r)), "volatility": (perf.annual_volatility(R, 252), s.volatility(r)),
        "sharpe": (perf.sharpe(R, 252), s.sharpe(r)), "sortino": (perf.sortino(R, 252), s.sortino(r)),
        "max drawdown": (perf.max_drawdown(R), s.max_drawdown(r)), "calmar": (perf.calmar(R, 252), s.calmar(r)),
        "omega": (perf.omega(R, 252), s.omega(r)), "tail": (perf.tail_ratio(R), s.tail_ratio(r)),
        "win rate": (metrics.win_rate(R), s.win_rate(r)), "payoff": (metrics.payoff_ratio(R), s.payoff_ratio(r)),
        "profit factor": (metrics.profit_factor(R), s.profit_factor(r)),
        "gain to pain": (metrics.gain_to_pain_ratio(R), s.gain_to_pain_ratio(r)),
        "common sense": (metrics.common_sense_ratio(R), s.common_sense_ratio(r)),
        "beta": (metrics.beta(R, M), s.greeks(r, m)["beta"]), "r squared": (metrics.r_squared(R, M), s.r_squared(r, m)),
    }  # fmt: skip
    assert {k: v for k, v in agree.items() if differing(*v)} == {}


def test_the_table_of_the_page_is_that_of_the_code():
    page = rows("The table")
    assert list(page) == list(metrics.METRICS)
    assert {k: v[1] for k, v in page.items()} == {k: m.unit for k, m in metrics.METRICS.items()}
    can_be_none = {k for k, v in page.items() if v[3] != "never"}
    assert can_be_none == {k for k, m in metrics.METRICS.items() if m.reason} - {"batting_average"}


def test_the_python_of_the_page_runs(capsys):
    block = re.search(r"```python\n(.*?)```", PAGE, re.S)[1]
    exec(compile(block, "docs/metrics.md", "exec"), {"__name__": "page"})
    said = block.split("# sharpe ")[1].splitlines()[0]
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 2 + len(metrics.METRICS)
    assert f"sharpe {said}" in out


def test_every_row_of_the_page_has_its_test():
    source = Path(__file__).read_text(encoding="utf-8")
    assert len(EM) == 23
    assert [case for case in EM if f'told("{case}"' not in source] == []
