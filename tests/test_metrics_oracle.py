"""Every metric on every series against empyrical-reloaded, other routes and exact rationals, to 1e-12."""

import itertools
import math
import warnings
from fractions import Fraction as Q
from functools import partial
from pathlib import Path

import empyrical
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from test_performance import HAND
from test_performance import exact as exact_headline

from hitherto.evaluate import metrics
from hitherto.evaluate import performance as perf

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
CLOCKS = {252: "daily", 52: "weekly", 12: "monthly", 4: "quarterly"}
RF = 0.02
WINDOW = 20


def normal(seed, n, mean=0.0004, sd=0.01):
    return np.random.default_rng(seed).normal(mean, sd, n)


def regimes():
    """A quiet, a wild and a quiet stretch."""
    return np.concatenate([normal(20, 200, 0.001, 0.004), normal(21, 200, -0.001, 0.04), normal(22, 200, 0.001, 0.004)])


def trending():
    e = normal(23, 800)
    for k in range(1, len(e)):
        e[k] += 0.6 * e[k - 1]
    return e


def option_seller():
    """Small steady gains and, on one day of fifty, a fall."""
    rng = np.random.default_rng(24)
    return np.where(rng.random(1000) < 0.02, -0.12, 0.002) + rng.normal(0, 0.0005, 1000)


def mostly_flat():
    rng = np.random.default_rng(25)
    return np.where(rng.random(600) < 0.7, 0.0, rng.normal(0.0005, 0.02, 600))


def series():
    """25 names: (returns, market, bars a year)."""
    rng = np.random.default_rng(99)
    day = {
        "two months": normal(0, 42),
        "a year": normal(1, 252),
        "500 days": normal(2, 500),
        "falling": normal(3, 1000, -0.001),
        "rising": normal(4, 1000, 0.002),
        "fat tails": rng.standard_t(3, 2000) * 0.008,
        "fatter tails": np.clip(rng.standard_t(1.5, 500) * 0.01, -0.95, None),
        "10,000 days": normal(5, 10_000, 0.0003),
        "nearly constant": 0.001 + normal(6, 300, 0, 1e-9),
        "of 1e-9": normal(7, 300, 1e-10, 1e-9),
        "large": rng.uniform(-0.8, 1.5, 60),
        "all gains": np.abs(normal(8, 250)) + 1e-4,
        "all losses": -np.abs(normal(9, 250)) - 1e-4,
        "one gain": np.array([0.01]),
        "one loss": np.array([-0.01]),
        "two bars": np.array([0.03, -0.02]),
        "five by hand": np.array([0.1, -0.05, 0.2, -0.1, 0.04]),
        "regimes": regimes(),
        "trending": trending(),
        "option seller": option_seller(),
        "mostly flat": mostly_flat(),
        "all lost": np.append(normal(10, 99), -1.0),
    }
    out = {name: (r, market_of(k, r), 252) for k, (name, r) in enumerate(day.items())}
    for k, (name, n, p) in enumerate([("ten years of months", 120, 12), ("weeks", 260, 52), ("quarters", 40, 4)]):
        r = normal(30 + k, n, 0.08 / p, 0.15 / math.sqrt(p))
        out[name] = (r, market_of(100 + k, r), p)
    return out


def market_of(seed, r):
    """A market that explains part of ``r``, of the same scale, without ties at its lowest, middle or highest bar."""
    scale = float(np.abs(r).mean())
    return np.clip(0.6 * r, -0.9, None) + np.random.default_rng(1000 + seed).normal(0, 0.4 * scale, len(r))


SERIES = series()


def dates_of(r, p):
    start = np.datetime64("1980-01-01")
    if p == 252:
        return np.busday_offset(start, np.arange(len(r)), roll="forward")
    step = {52: 7, 12: 30, 4: 91}[p]
    return start + np.arange(len(r)) * np.timedelta64(step, "D")


def rolled(of, *s, **settings):
    """Ours and theirs of one rolling metric on the first 300 bars."""
    ours, theirs, against = of
    head = [x[:300] for x in s]
    window = min(WINDOW, len(head[0]))
    return metrics.rolling(ours, window, *head, **settings), theirs(*head, window=window, **against)


def aggregated(r, p, by, convert):
    d = dates_of(r, p)
    theirs = empyrical.aggregate_returns(pd.Series(r, pd.DatetimeIndex(d)), convert)
    return metrics.aggregate_returns(r, d, by)[1], theirs.to_numpy()


def beside_empyrical(r, m, p):
    """43 metrics: name -> (ours, theirs), each a number or an array."""
    f, period, e = RF / p, CLOCKS[p], empyrical
    at, clock = {"periods_per_year": p, "rf": RF}, {"period": CLOCKS[p]}
    bats = e.batting_average(r, m)
    pairs = {
        "total_return": (perf.total_return(r), e.cum_returns_final(r)),
        "cum_returns": (metrics.cum_returns(r), e.cum_returns(r)),
        "drawdown_curve": (perf.drawdown_curve(r)[1:], e.stats.drawdown_series(r)),
        "cagr": (perf.cagr(r, p), e.cagr(r, period)),
        "annual_volatility": (perf.annual_volatility(r, p), e.annual_volatility(r, period)),
        "downside_risk": (metrics.downside_risk(r, p, RF), e.downside_risk(r, f, period)),
        "sharpe": (perf.sharpe(r, p, RF), e.sharpe_ratio(r, f, period)),
        "sortino": (perf.sortino(r, p, RF), e.sortino_ratio(r, f, period)),
        "calmar": (perf.calmar(r, p), e.calmar_ratio(r, period)),
        "omega": (perf.omega(r, p, RF), e.omega_ratio(r, f, annualization=p)),
        "max_drawdown": (perf.max_drawdown(r), e.max_drawdown(r)),
        "stability_of_timeseries": (metrics.stability_of_timeseries(r), e.stability_of_timeseries(r)),
        "value_at_risk": (perf.value_at_risk(r), e.value_at_risk(r)),
        "conditional_value_at_risk": (perf.conditional_value_at_risk(r), e.conditional_value_at_risk(r)),
        "tail_ratio": (perf.tail_ratio(r), e.tail_ratio(r)),
        "skew": (perf.skew(r), stats.skew(r)),
        "kurtosis": (perf.kurtosis(r), stats.kurtosis(r)),
        "information_ratio": (metrics.information_ratio(r, m, 1), e.excess_sharpe(r, m)),
        "capture": (metrics.capture(r, m, p), e.capture(r, m, period)),
        "up_capture": (metrics.capture(r, m, p, "up"), e.up_capture(r, m, period=period)),
        "down_capture": (metrics.capture(r, m, p, "down"), e.down_capture(r, m, period=period)),
        "up_down_capture": (metrics.up_down_capture(r, m, p), e.up_down_capture(r, m, period=period)),
        "batting_average": (metrics.batting_average(r, m), bats["batting average"]),
        "up_batting_average": (metrics.batting_average(r, m, "up"), bats["up market"]),
        "down_batting_average": (metrics.batting_average(r, m, "down"), bats["down market"]),
        "beta_fragility_heuristic": (metrics.beta_fragility_heuristic(r, m), e.beta_fragility_heuristic(r, m)),
    }
    theirs = {"all": e.alpha_beta, "up": e.up_alpha_beta, "down": e.down_alpha_beta}
    for side, name in (("all", ""), ("up", "up_"), ("down", "down_")):
        a, b = theirs[side](r, m, risk_free=f, period=period)
        pairs |= {f"{name}alpha": (metrics.alpha(r, m, p, RF, side), a), f"{name}beta": (metrics.beta(r, m, side), b)}
    one, two = partial(rolled, **at), partial(rolled, periods_per_year=p)
    s = e.stats
    pairs |= {
        "rolling sharpe": one((perf.sharpe, s.roll_sharpe_ratio, {"risk_free": f, **clock}), r),
        "rolling sortino": one((perf.sortino, s.roll_sortino_ratio, {"required_return": f, **clock}), r),
        "rolling downside_risk": one((metrics.downside_risk, s.roll_downside_risk, {"required_return": f, **clock}), r),
        "rolling alpha": one((metrics.alpha, s.roll_alpha, {"risk_free": f, **clock}), r, m),
        "rolling annual_volatility": two((perf.annual_volatility, s.roll_annual_volatility, clock), r),
        "rolling max_drawdown": rolled((perf.max_drawdown, s.roll_max_drawdown, {}), r),
        "rolling beta": rolled((metrics.beta, s.roll_beta, {}), r, m),
    }
    for by in ("week", "month", "quarter", "year"):
        pairs[f"aggregate_returns by {by}"] = aggregated(r, p, by, f"{by}ly")
    return pairs


def as_array(x):
    return np.atleast_1d(np.asarray(math.nan if x is None else x, dtype=np.float64))


def differing(ours, theirs):
    """True unless both are equal to 1e-12, relative or absolute; None and NaN are the same, inf is not."""
    a, b = as_array(ours), as_array(theirs)
    return a.shape != b.shape or not np.allclose(a, b, rtol=1e-12, atol=1e-12, equal_nan=True)


# (metric, series) where the two part, each by a rule with its own test in test_metrics_divergences.py
PART = {
    ("sortino", "nearly constant"): "no loss",
    ("rolling sortino", "nearly constant"): "no loss",
    ("sortino", "all gains"): "no loss",
    ("rolling sortino", "all gains"): "no loss",
    ("rolling sortino", "option seller"): "no loss",
    ("sortino", "one loss"): "one bar, sortino",
    ("rolling sortino", "one loss"): "one bar, sortino",
    ("omega", "one loss"): "one bar, omega",
    ("calmar", "of 1e-9"): "returns of 1e-9",
}


@pytest.mark.parametrize("name", SERIES)
def test_equal_to_empyrical(name):
    r, m, p = SERIES[name]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        pairs = beside_empyrical(r, m, p)
    assert len(pairs) == 43
    assert {k: v for k, v in pairs.items() if differing(*v) and (k, name) not in PART} == {}
    for metric in (k for k, s in PART if s == name):
        ours, theirs = (as_array(x) for x in pairs[metric])
        assert differing(ours, theirs), f"{metric}: they agree now; take the row out"
        if PART[metric, name] == "no loss":  # the other windows agree
            assert np.array_equal(np.isnan(ours), np.isinf(theirs))
            assert not differing(ours[np.isfinite(ours)], theirs[np.isfinite(ours)])


def test_there_are_25_series_and_every_clock():
    assert len(SERIES) == 25
    assert {p for _, _, p in SERIES.values()} == set(CLOCKS)
    assert {s for _, s in PART} <= set(SERIES)


@pytest.mark.skipif(not DATA.is_dir(), reason="shared/data with the real prices is absent")
def test_equal_to_empyrical_on_real_prices():
    # a bank of the CSI 300 beside the index
    pl = pytest.importorskip("polars")
    shares = pl.read_parquet(
        DATA / "ashare" / "csi300_ever_daily.parquet", columns=["date", "symbol", "close", "factor"]
    )
    index = pl.read_parquet(DATA / "ashare" / "indices_daily.parquet", columns=["date", "symbol", "close"])
    both = (
        shares.filter(pl.col("symbol") == "SH600036")
        .join(index.filter(pl.col("symbol") == "SH000300"), on="date", suffix="_index")
        .sort("date")
    )
    price = (both["close"].cast(pl.Float64) * both["factor"].cast(pl.Float64)).to_numpy()
    level = both["close_index"].cast(pl.Float64).to_numpy()
    r, m = np.diff(price) / price[:-1], np.diff(level) / level[:-1]
    assert len(r) > 3000
    pairs = beside_empyrical(r, m, 252)
    # the index stood still on one day: a rising one for empyrical, neither for us
    assert {k for k, v in pairs.items() if differing(*v)} == {"up_batting_average"}
    assert (m == 0).sum() == 1
    assert 0.5 < metrics.beta(r, m) < 1.5


def wealth_by_hand(r):
    wealth, peak, at_peak, longest, falls = 1.0, 1.0, 0, 0, []
    for k, v in enumerate(r, 1):
        wealth *= 1 + v
        if wealth >= peak * (1 - 1e-13):
            longest = max(longest, k - at_peak if falls and falls[-1] < -1e-13 else 0)
            peak, at_peak = max(peak, wealth), k
        falls.append(wealth / peak - 1)
    return wealth, falls, max(longest, len(r) - at_peak)


def by_another_route(r, m, p):
    """13 metrics that empyrical has not, by pandas and plain loops: NaN where a denominator is 0."""
    s, e, active = pd.Series(r), pd.Series(r) - RF / p, pd.Series(r) - m
    wealth, falls, longest = wealth_by_hand(r)
    gain, loss = s[s > 0], -s[s < 0]
    worst = -e.nsmallest(int((len(e) - 1) * 0.05) + 1).mean()
    ulcer = math.sqrt(sum(f * f for f in falls) / len(r))
    low, high = s.quantile(0.05), s.quantile(0.95)
    b = stats.linregress(m, r).slope if len(r) > 1 else math.nan
    with np.errstate(all="ignore"):
        div = partial(np.divide, dtype=np.float64)
        return {
            "ulcer_index": ulcer,
            "martin_ratio": div(wealth ** (p / len(r)) - 1 - RF, ulcer if ulcer > 1e-13 else math.nan),
            "recovery_factor": div(wealth - 1, -min(falls) if min(falls) < -1e-13 else math.nan),
            "longest_drawdown": longest,
            "win_rate": len(gain) / (len(gain) + len(loss)),
            "payoff_ratio": div(gain.mean(), loss.mean()),
            "profit_factor": div(gain.sum(), loss.sum() or math.nan),
            "gain_to_pain_ratio": div(s.sum(), loss.sum() or math.nan),
            "common_sense_ratio": div(gain.sum(), loss.sum() or math.nan) * abs(div(high, low)),
            "starr_ratio": e.mean() / worst if worst > 0 else math.nan,
            "tracking_error": active.std() * math.sqrt(p),
            "r_squared": s.corr(pd.Series(m)) ** 2 if len(r) > 1 else math.nan,
            "treynor_ratio": e.mean() * p / b,
        }


@pytest.mark.parametrize("name", SERIES)
def test_equal_to_another_route(name):
    r, m, p = SERIES[name]
    got = {f.name: f.value for f in metrics.figures(r, periods_per_year=p, rf=RF, costs="gross", market=m)}
    expected = by_another_route(r, m, p)
    assert len(expected) == 13
    assert {k: (got[k], v) for k, v in expected.items() if differing(got[k], v)} == {}


def hand_market(r):
    """A market in rationals: each bar a mix of two bars of ``r``, all of them different."""
    return [(v + r[(k + 1) % len(r)]) / 2 + Q(k * k + 1, 997) for k, v in enumerate(r)]


def slope(r, m):
    if len(m) < 2 or len(set(m)) == 1:
        return None
    mean = sum(m) / len(m)
    return sum((a - mean) * b for a, b in zip(m, r, strict=True)) / sum((a - mean) ** 2 for a in m)


def year(r, p):
    return float(math.prod(1 + v for v in r)) ** (p / len(r)) - 1


def exact(r, m, p, rf):
    """The definitions of metrics.py in rationals; only roots, powers and logarithms are floats."""
    n, f = len(r), rf / p
    wealth = list(itertools.accumulate([Q(1), *(1 + v for v in r)], lambda a, b: a * b))
    fall = [w / max(wealth[: k + 1]) - 1 for k, w in enumerate(wealth)]
    e, active = [v - f for v in r], [a - b for a, b in zip(r, m, strict=True)]
    mean = sum(active) / n
    spread = math.sqrt(sum((v - mean) ** 2 for v in active) / (n - 1))
    gain, loss = [v for v in r if v > 0], [-v for v in r if v < 0]
    ulcer = math.sqrt(sum(v * v for v in fall[1:]) / n)
    s = sorted(r)
    low, high = (quantile(s, q) for q in (Q(1, 20), Q(19, 20)))
    logs = list(itertools.accumulate(Q(math.log1p(v)) for v in r))
    rank = sorted(range(n), key=lambda k: m[k])
    a, b, c = rank[0], rank[n // 2], rank[-1]
    share = (m[c] - m[b]) / (m[c] - m[a])
    at = [wealth[0], *wealth[1:]]
    peaks = [max(k for k in range(j + 1) if at[k] == max(at[: j + 1])) for j in range(n + 1)]
    out = {
        "downside_risk": math.sqrt(sum(min(v, 0) ** 2 for v in e) / n * p),
        "stability_of_timeseries": slope(logs, [Q(k) for k in range(n)]) * slope([Q(k) for k in range(n)], logs),
        "ulcer_index": ulcer,
        "martin_ratio": (year(r, p) - rf) / ulcer,
        "recovery_factor": (wealth[-1] - 1) / -min(fall),
        "longest_drawdown": max(
            (j + 1 if j < n and fall[j + 1] == 0 else j) - peaks[j] for j in range(n + 1) if fall[j] < 0
        ),
        "gain_to_pain_ratio": sum(r) / sum(loss),
        "profit_factor": sum(gain) / sum(loss),
        "payoff_ratio": sum(gain) / len(gain) / (sum(loss) / len(loss)),
        "win_rate": Q(len(gain), len(gain) + len(loss)),
        "common_sense_ratio": None if low == 0 else sum(gain) / sum(loss) * abs(high) / abs(low),
        "tail_ratio": None if low == 0 else abs(high) / abs(low),
        "starr_ratio": sum(e) / n / -min(e),  # of up to 20 bars the worst one is the tail
        "tracking_error": spread * math.sqrt(p),
        "information_ratio": float(mean) / spread * math.sqrt(p),
        "treynor_ratio": sum(e) / n * p / slope(r, m),
        "r_squared": slope(r, m) * slope(m, r),
        "beta_fragility_heuristic": None if n < 3 else share * r[a] + (1 - share) * r[c] - r[b],
    }
    for prefix, keep in (("", lambda v: True), ("up_", lambda v: v > 0), ("down_", lambda v: v < 0)):
        rs = [v for v, w in zip(r, m, strict=True) if keep(w)]
        ms = [w for w in m if keep(w)]
        k = slope(rs, ms)
        one = None if k is None else sum(v - f - k * (w - f) for v, w in zip(rs, ms, strict=True)) / len(rs)
        out[f"{prefix}beta"] = k
        out[f"{prefix}alpha"] = None if one is None or one <= -1 else float(1 + one) ** p - 1
        out[f"{prefix}capture"] = year(rs, p) / year(ms, p) if math.prod(1 + v for v in ms) != 1 else None
        hits = sum(v > w for v, w in zip(rs, ms, strict=True))
        out[f"{prefix}batting_average"] = Q(hits, len(ms)) if ms else None
    up, down = out["up_capture"], out["down_capture"]
    out["up_down_capture"] = None if up is None or not down else up / down
    return out


def quantile(s, q):
    at = (len(s) - 1) * q
    k = int(at)
    return s[k] + (at - k) * (s[min(k + 1, len(s) - 1)] - s[k])


@pytest.mark.parametrize("r", HAND, ids=range(len(HAND)))
def test_hand_fixtures_in_exact_rationals(r):
    m = hand_market(r)
    got = {
        f.name: f.value
        for f in metrics.figures(
            [float(v) for v in r], periods_per_year=4, rf=0.02, costs="gross", market=[float(v) for v in m]
        )
    }
    headline = exact_headline(r, 4)
    expected = exact(r, m, 4, Q(1, 50))
    assert {*headline, *expected} == set(metrics.METRICS)
    assert not {*headline} & {*expected}
    assert len(expected) == 31
    assert {k: (got[k], v) for k, v in expected.items() if differing(got[k], None if v is None else float(v))} == {}
