"""The verdict: its rule, its words in two languages, and what it must not claim."""

import dataclasses
import json
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from scipy.signal import lfilter

from hitherto.errors import DataError
from hitherto.evaluate.comparison import against_naive, diebold_mariano
from hitherto.evaluate.forecast import summarise
from hitherto.evaluate.inference import (
    NEWEY_WEST_WARNING,
    NEWEY_WEST_WARNING_ZH,
    Interval,
    TStat,
    newey_west_t,
    nonoverlapping_t,
    paired_difference,
)
from hitherto.evaluate.rules import MIN_BARS, RULES, chinese, confidence, nth, p_value, years
from hitherto.evaluate.trials import Searched
from hitherto.evaluate.verdict import common_returns, judge
from hitherto.exchange.account import Book, Fills
from hitherto.labels import Label
from hitherto.models.base import Forecast
from hitherto.seeds import Stream
from hitherto.sharpe import deflated_sharpe, probabilistic_sharpe


def book(name, returns, start=0):
    e = np.concatenate([[100.0], 100.0 * np.cumprod(1 + np.asarray(returns))])
    zero, empty = np.zeros(len(e)), np.zeros(0)
    ints = empty.astype(np.int32)
    fills = Fills(ints, ints, ints, *[empty] * 8, empty.astype(np.uint8))
    return Book(name, start, e, e, np.zeros((len(e), 1)), np.ones((len(e), 1)), zero, zero, zero, zero, fills)


def market(seed=0, n=1000):
    return np.random.default_rng(seed).normal(0.0003, 0.01, n)


def own(seed, mean, n=1000):
    return np.random.default_rng(100 + seed).normal(mean, 0.002, n)


def call(edge_equal, edge_ridge, **kw):
    m = market()
    noise = own(1, 0.0) - own(1, 0.0).mean()
    main = book("lstm, top 5", m + noise)
    against = {"equal weight": book("equal", m - edge_equal), "ridge": book("ridge", m - edge_ridge)}
    return judge(main, against, periods_per_year=252, rng=Stream(3), **kw)


def test_no_edge_is_called_no_edge():
    v = call(0.0, 0.0)
    assert re.fullmatch(
        r"lstm, top 5 does not beat equal weight: the interval of the difference contains 0 "
        r"\(95 %: -[\d.]+\.\.[\d.]+ % a year\); does not beat ridge: the interval of the difference contains 0 "
        r"\(95 %: -[\d.]+\.\.[\d.]+ % a year\)\.",
        v.headline,
    )
    assert "未能优于等权组合：收益差的区间包含 0" in v.headline_zh
    assert "未能优于岭回归" in v.headline_zh
    assert [r.answer for r in v.rows[:2]] == ["no", "no"]
    assert all(r.lo < 0 < r.hi for r in v.rows[:2])


def test_a_real_edge_is_stated_with_its_interval_and_no_promise():
    v = call(0.001, 0.002)
    assert re.fullmatch(
        r"In this test lstm, top 5 beats equal weight by 25\.2 % a year \(95 %: [\d.]+\.\.[\d.]+\) after costs; "
        r"beats ridge by 50\.4 % a year \(95 %: [\d.]+\.\.[\d.]+\) after costs\. "
        r"One period is no promise for the next\.",
        v.headline,
    )
    assert "每年优于等权组合 25.2%（95% 区间 " in v.headline_zh
    assert v.headline_zh.endswith("一段时期的结果不代表未来。")
    assert v.rows[0].estimate == pytest.approx(0.252, abs=1e-12)
    assert v.rows[1].estimate == pytest.approx(0.504, abs=1e-12)
    assert [r.answer for r in v.rows[:2]] == ["yes", "yes"]


def test_bad_news_comes_first_and_a_loss_is_named():
    v = call(0.001, -0.001)
    assert re.match(
        r"lstm, top 5 falls short of ridge by 25\.2 % a year \(95 %: [\d.]+\.\.[\d.]+\) after costs; beats", v.headline
    )
    assert "In this test" not in v.headline
    assert "每年落后于岭回归 25.2%" in v.headline_zh
    assert [r.answer for r in v.rows[:2]] == ["yes", "no"]
    assert v.rows[1].hi < 0


def test_the_rule_is_the_paired_bootstrap_and_is_printed():
    v = call(0.0004, 0.0, draws=500)
    assert v.rule == (
        "paired block bootstrap of net returns, 500 draws, 95 % percentile interval, automatic block length; "
        "'beats' means that the whole interval of the difference lies above 0; 'yes' stands only where every test of "
        "its row says so"
    )
    assert v.rule_zh.startswith("净收益的配对分块自助法，500 次抽样，95% 分位区间")
    assert v.notes == ()
    m, noise = market(), own(1, 0.0) - own(1, 0.0).mean()
    a, b = common_returns(book("a", m + noise), book("b", m - 0.0004))
    d = paired_difference(a, b, Stream(3).numpy("verdict", "equal weight"), periods_per_year=252, draws=500)
    assert (v.rows[0].estimate, v.rows[0].lo, v.rows[0].hi) == d


def test_adding_a_rival_changes_no_other_row():
    m = market()
    main, equal = book("a", m + own(0, 0.0)), book("e", m)
    one = judge(main, {"equal weight": equal}, periods_per_year=252, rng=Stream(0))
    two = judge(main, {"buy and hold": book("b", m), "equal weight": equal}, periods_per_year=252, rng=Stream(0))
    assert two.rows[1] == one.rows[0]


def test_a_short_test_cannot_tell():
    m = market(n=MIN_BARS - 1)
    v = judge(book("a", m + 0.01), {"ridge": book("r", m)}, periods_per_year=252, rng=Stream(0))
    assert v.headline == "a cannot be told from ridge: only 59 common bars, 60 are needed."
    assert v.headline_zh == "a与岭回归仅有 59 个共同交易期（至少需要 60 个），无法判断。"
    assert (v.rows[0].answer, v.rows[0].estimate) == ("cannot tell", None)


def test_books_are_compared_on_their_common_bars_only():
    m = market(n=200)
    a, b = common_returns(book("a", m, start=10), book("b", m[30:] * 2, start=40))
    np.testing.assert_allclose(b, 2 * a, atol=1e-12)
    assert len(a) == 170
    with pytest.raises(DataError) as caught:
        common_returns(book("a", m[:5], start=0), book("b", m[:5], start=5))
    assert str(caught.value) == (
        "books 'a' (bars 0..5) and 'b' (bars 5..10) share no return; simulate both on the same bars"
    )
    with pytest.raises(DataError, match="no book to compare with"):
        judge(book("a", m), {}, periods_per_year=252, rng=Stream(0))


def test_noise_is_rarely_called_a_win():
    # Equal expectations: the whole interval lies above 0 in about 2.5-3.5 % of runs. Over 100 seeds at 4 %, 13 or more
    # wins have a chance of 0.02 %.
    wins = 0
    for seed in range(100):
        m = market(seed, 500)
        main = book("a", m + np.random.default_rng(1000 + seed).normal(0, 0.002, 500))
        v = judge(main, {"equal weight": book("e", m)}, periods_per_year=252, rng=Stream(seed), draws=500)
        wins += v.rows[0].answer == "yes"
    assert wins < 13


def summaries(strength, seed=0, T=200, N=15, horizon=1):
    """A model, persistence and zero; the realised values of ``horizon`` bars overlap."""
    rng = np.random.default_rng(seed)
    bars = rng.normal(0, 0.02, (T + horizon - 1, N))
    real = np.lib.stride_tricks.sliding_window_view(bars, horizon, axis=0).sum(-1)[..., None]
    rows = np.zeros((T, N, 1), np.int32)
    label = Label(real, rows, rows, (f"return_{horizon}",), (horizon,))
    fold = np.zeros(T, np.int32)
    made = {
        "lstm": strength * real + rng.normal(0, 0.004, real.shape),
        "persistence": rng.normal(0, 0.02, real.shape),
        "zero": 0 * real,
    }
    made = {k: Forecast(k, v, fold, label.names) for k, v in made.items()}
    return {k: summarise(f, label, rng=Stream(0, k), draws=500) for k, f in made.items()}, made, label


def judged(forecast, naive=None, n=200, **kw):
    m = market(n=n)
    v = judge(book("a", m), {"equal weight": book("e", m)}, periods_per_year=252, rng=Stream(0), forecast=forecast,
              naive=naive, **kw)  # fmt: skip
    return v, {r.key: r for r in v.rows}


def test_the_forecast_is_judged_beside_zero_and_persistence():
    s, _, _ = summaries(0.3)
    v, rows = judged(s["lstm"], s["persistence"])
    assert {r.question: r.answer for r in v.rows} == {
        "Beats equal weight after costs?": "no",
        "Is the IC above 0?": "yes",
        "Is the RankIC above 0?": "yes",
        "Is its squared error below that of forecasting zero?": "yes",
        "Is its RankIC above that of persistence?": "yes",
        "Is the Sharpe ratio above 0?": "no",
        "Is the test long enough for its Sharpe ratio?": "no",
    }
    assert v.notes == ()  # labels of one bar do not overlap
    assert rows["naive"].question_zh == "RankIC 是否高于惯性预测？"
    assert rows["ic"].words.startswith("yes, the interval excludes 0: 0.")
    units = ["fraction", "number", "number", "fraction", "number", "probability", "years"]
    assert [r.unit for r in v.rows] == units
    bad, _, _ = summaries(-0.3)
    v, rows = judged(bad["lstm"], bad["persistence"])
    assert {r.answer for r in v.rows} == {"no"}
    assert rows["ic"].words.startswith("no, it is below 0: -0.")
    json.dumps(v.to_dict(), allow_nan=False)


def test_the_error_rests_on_diebold_and_mariano_too():
    s, made, label = summaries(0.3)
    rows = judged(s["lstm"], s["persistence"])[1]
    oracle = against_naive(made["lstm"].values[..., 0], label.values[..., 0])
    (beside,) = rows["error"].beside
    assert (beside.name, beside.n) == ("diebold_mariano", 200)
    assert (beside.t, beside.p) == pytest.approx((-oracle.t, oracle.p), rel=1e-9)  # above 0 is better, as in the row
    gap = s["lstm"].daily_rank_ic - s["persistence"].daily_rank_ic
    assert rows["naive"].beside[0].t == pytest.approx(gap.mean() / gap.std(ddof=1) * math.sqrt(200), rel=1e-9)
    assert f"; Diebold-Mariano t {beside.t:.2f}, p < 0.001" in rows["error"].words
    # the interval alone is not enough: losses that are hardly lower on average turn the row to "not shown"
    hardly = s["lstm"].daily_zero - 1e-6 + np.tile([1e-4, -1e-4], 100)
    worse = dataclasses.replace(s["lstm"], daily_error=hardly)
    row = judged(worse)[1]["error"]
    assert row.answer == "no"
    assert row.words.startswith("not shown: the interval excludes 0, the Diebold-Mariano test does not: 0.")


def test_squared_errors_of_standings_say_nothing():
    s, _, _ = summaries(0.3)
    row = judged(s["lstm"], in_returns=False)[1]["error"]
    assert (row.answer, row.estimate, row.beside) == ("cannot tell", None, ())
    assert row.words == "cannot tell: it forecasts standings within a date, not returns"
    assert row.words_zh == "模型预测的是截面内的相对位置而非收益率，无法判断"


def test_dates_whose_labels_do_not_overlap_have_the_last_word():
    s, _, _ = summaries(0.3, horizon=5)
    v, rows = judged(s["lstm"])
    assert v.notes == (NEWEY_WEST_WARNING,)
    assert v.notes_zh == (NEWEY_WEST_WARNING_ZH,)
    row = rows["rank_ic"]
    apart, newey = row.beside
    x = s["lstm"].daily_rank_ic
    assert (apart.t, apart.n) == nonoverlapping_t(x, 5)[:2]
    assert apart.p == pytest.approx(stats.ttest_1samp(x[::5], 0).pvalue, rel=1e-9)
    assert (newey.t, newey.n) == newey_west_t(x, 4)[:2]
    assert row.answer == "yes"
    assert row.words.endswith(
        f"; every 5th date alone: t {apart.t:.2f}, 40 dates; Newey-West t {newey.t:.2f}, too sure here"
    )
    # the same interval, but every fifth date alone shows nothing
    doubtful = dataclasses.replace(s["lstm"].rank_ic, nonoverlapping=TStat(1.9, 40))
    row = judged(dataclasses.replace(s["lstm"], rank_ic=doubtful))[1]["rank_ic"]
    assert row.answer == "no"
    assert row.words.startswith("not shown: the interval excludes 0, every 5th date alone does not: ")
    assert row.words_zh.startswith("未能证明：区间不含 0，但每 5 日取一日时不能排除 0：")
    below = dataclasses.replace(doubtful, interval=Interval(-0.2, -0.3, -0.1), nonoverlapping=TStat(-1.9, 40))
    row = judged(dataclasses.replace(s["lstm"], rank_ic=below))[1]["rank_ic"]
    assert row.words.startswith("no: the interval is below 0, every 5th date alone does not exclude it: -0.2000")
    few = dataclasses.replace(s["lstm"].rank_ic, nonoverlapping=TStat(9.0, 9))
    row = judged(dataclasses.replace(s["lstm"], rank_ic=few))[1]["rank_ic"]
    assert row.words == "cannot tell: fewer than 10 dates whose labels of 5 bars do not overlap"


def test_worthless_factors_over_overlapping_labels_are_seldom_called_good():
    # A factor that hardly moves, judged by 20-bar labels on 500 dates (25 of which do not overlap): "yes" needs the
    # upper side of both tests: 2.5 % of 1,200 other worlds, so 11 or more of 120 have a chance of 0.02 %. The interval
    # alone lay above 0 in 6.7 % of them.
    yes = 0
    for seed in range(120):
        rng = np.random.default_rng([3, seed])
        factor = lfilter([1.0], [1.0, -0.99], rng.normal(size=(700, 12)), axis=0)[200:, :, None]
        wealth = np.cumsum(rng.normal(0, 0.02, (520, 12)), axis=0)
        real = (wealth[20:] - wealth[:-20])[..., None]
        rows = np.zeros(real.shape, np.int32)
        label = Label(real, rows, rows, ("return_20",), (20,))
        forecast = Forecast("x", factor, np.zeros(500, np.int32), label.names)
        yes += judged(summarise(forecast, label, rng=Stream(seed), draws=200), n=60)[1]["rank_ic"].answer == "yes"
    assert yes < 11


def test_a_forecast_without_an_ic_cannot_tell():
    s, _, _ = summaries(0.3)
    rows = judged(s["zero"], s["persistence"])[1]
    assert rows["ic"].answer == "cannot tell"
    assert rows["ic"].words == ("cannot tell: 0 of 200 dates have an IC; one needs 3 pairs and unequal forecasts")
    assert rows["error"].answer == "no"  # zero does not beat itself


def moved(sharpe, n=1000, seed=5, per=252):
    """Returns with exactly this yearly Sharpe ratio."""
    z = np.random.default_rng(seed).standard_t(5, n)
    return 0.01 * ((z - z.mean()) / z.std(ddof=1) + sharpe / math.sqrt(per))


def about(yearly, n=1000, **kw):
    r = moved(yearly, n)
    v = judge(book("a", r), {"equal weight": book("e", r - 0.002)}, periods_per_year=252, rng=Stream(0), **kw)
    return v, {x.key: x for x in v.rows}, r


def test_the_track_record_says_how_many_years_it_has_and_needs():
    _, rows, r = about(0.5)
    o = (0.5 / math.sqrt(252), float(stats.skew(r)), float(stats.kurtosis(r, fisher=False)))
    need = rows["track"].estimate
    assert probabilistic_sharpe(o[0], need * 252, 0.0, *o[1:]) == pytest.approx(0.95, abs=1e-12)
    assert rows["track"].words == f"no: the test has 4.0 years; {need:.1f} would be needed"
    assert rows["sharpe"].estimate == pytest.approx(probabilistic_sharpe(o[0], 1000, 0.0, *o[1:]))
    assert rows["sharpe"].words.endswith(", 0.95 is asked: 0.50 a year")
    _, rows, _ = about(2.0, sharpe=Interval(2.0, 1.0, 3.0))
    assert rows["track"].answer == rows["sharpe"].answer == "yes"
    assert rows["sharpe"].words == "yes, at a confidence of > 0.999: 2.00 a year (95 %: 1.00..3.00)"
    _, rows, _ = about(2.0, sharpe=Interval(2.0, -0.1, 3.0))  # dependent returns: the interval decides
    assert rows["sharpe"].answer == "no"
    assert rows["sharpe"].words == (
        "not shown: the confidence is > 0.999, but the interval contains 0: 2.00 a year (95 %: -0.10..3.00)"
    )
    _, rows, _ = about(-0.1)
    assert rows["track"].words == "no: the Sharpe ratio of its 4.0 years is not above 0, no length would do"
    _, rows, _ = about(0.5, n=59)
    assert rows["track"].words == "cannot tell: the book has 59 returns, 60 are needed"
    flat = judge(book("a", np.zeros(99)), {"e": book("e", np.zeros(99))}, periods_per_year=252, rng=Stream(0))
    assert flat.rows[1].words == "cannot tell: its returns are constant"


def test_the_luck_of_the_search_is_taken_off_and_stands_in_the_headline():
    few = Searched(1, 1 / 1000, 1, "a", "b")
    v, rows, r = about(2.0, searched=few)
    assert v.headline.startswith("In this test a beats equal weight by ")
    assert rows["deflated"].words == (
        "above the luck of the search: 1 of 1 trials on this data, deflated Sharpe ratio > 0.999"
    )
    many = Searched(200, 0.0015, 200, "a", "b")
    v, rows, r = about(2.0, searched=many)
    shape = (float(stats.skew(r)), float(stats.kurtosis(r, fisher=False)))
    want = deflated_sharpe(2.0 / math.sqrt(252), 1000, 200, 0.0015, *shape)
    assert want < 0.95
    assert rows["deflated"].estimate == pytest.approx(want)
    says = (
        "not distinguishable from the luck of the search: 1 of 200 trials on this data, deflated Sharpe ratio "
        f"{math.floor(1000 * want) / 1000:.3f} (0.95 is asked)"
    )
    assert rows["deflated"].words == says
    assert v.headline.startswith(f"The Sharpe ratio of a is {says}, although it beats equal weight by 50.4 % a year")
    assert v.headline_zh.startswith("a的夏普比率与搜索的运气无法区分：此数据上 200 次试验中的 1 次")
    assert rows["track"].words.startswith("yes: the test has 4.0 years, 0.7 are needed, ")
    assert rows["track"].words.endswith(" to rule out the luck of the search")
    nothing = about(2.0, searched=Searched(3, None, 0, "a", "b"))[1]["deflated"]
    assert nothing.words == "cannot tell: no trial has a result"


def test_holm_counts_every_model():
    s, _, _ = summaries(0.0135)
    x = s["lstm"].daily_rank_ic
    p = float(stats.ttest_1samp(x, 0).pvalue)
    assert x.mean() > 0
    assert 0.001 < p < 0.0125  # found alone, and among four
    noise = {f"noise{k}": summaries(0.0, seed=50 + k)[0]["persistence"] for k in range(3)}
    alone, most = (judged(s["lstm"], models={"lstm": s["lstm"], **others})[1]["holm"] for others in ({}, noise))
    assert alone.estimate == pytest.approx(p, rel=1e-6)
    assert alone.words == f"yes, of 1 models: lstm (adjusted p {p:.3f})"
    assert most.estimate == pytest.approx(4 * p, rel=1e-6)
    back = summaries(-0.3)[0]["lstm"]
    row = judged(back, models={"lstm": back})[1]["holm"]  # ranks backwards: no evidence of an edge
    assert (row.estimate, row.answer) == (1.0, "no")
    assert row.words == "not shown for any of 1 models: the lowest adjusted p is 1.000 (lstm)"
    long = summaries(0.3, horizon=5)[0]["lstm"]  # labels overlap: the larger p
    for apart, want in ((TStat(2.5, 40), 2 * stats.t.sf(2.5, 39)), (TStat(-2.5, 40), 1.0), (TStat(99.0, 40), None)):
        one = dataclasses.replace(long, rank_ic=dataclasses.replace(long.rank_ic, nonoverlapping=apart))
        x = one.daily_rank_ic
        want = diebold_mariano(-x, 0 * x, 5).p if want is None else want
        assert judged(one, models={"lstm": one})[1]["holm"].estimate == pytest.approx(want, rel=1e-9)
    zero = judged(back, models={"zero": s["zero"]})[1]["holm"]
    assert zero.words == "cannot tell: no model has a RankIC on 60 dates"


def crowd(edge, n=500, count=5, seed=0):
    m = market(seed, n)
    shift = [edge, *[0.0] * (count - 1)]
    books = {f"b{k}": book(f"b{k}", m + own(10 * seed + k, e, n)) for k, e in enumerate(shift)}
    v = judge(books["b0"], {"equal weight": book("e", m)}, periods_per_year=252, rng=Stream(seed), books=books)
    return {r.key: r for r in v.rows}


def test_the_best_of_many_books_is_held_against_all_of_them():
    rows = crowd(0.002)
    assert rows["superior"].words == "yes: Hansen's p < 0.001 over 5 books; the best is b0"
    assert rows["overfitting"].words == (
        "yes: it ends in the lower half in 0.000 of the splits (0.60 is the mean of 5 books of equal worth)"
    )
    # Books without an edge. Of 200 other worlds 2.5 % had Hansen's p below .05 and 2 % PBO: even at 5 and 3 % the
    # chance of 8 and of 6 in 25 is 0.002 % and 0.01 %.
    found = [crowd(0.0, seed=k) for k in range(1, 26)]
    assert sum(f["superior"].answer == "yes" for f in found) < 8
    assert sum(f["overfitting"].answer == "yes" for f in found) < 6
    # PBO of one search among them has mean .6 and deviation .26 (600 others), the mean of 25 one of .052: .21 is 4 sd
    assert np.mean([f["overfitting"].estimate for f in found]) == pytest.approx(0.6, abs=0.21)


def test_too_little_for_the_tests_of_many_is_said():
    assert crowd(0.0, count=3)["overfitting"].words == (
        "not assessed: 3 books on 500 bars; 4 books and 240 bars are needed"
    )
    assert crowd(0.0, n=239)["overfitting"].words_zh == "未评估：5 个组合、239 个交易期；至少需要 4 个和 240 个"
    assert crowd(0.0, n=59)["superior"].words == "not assessed: 59 common bars, 60 are needed"
    m = market()
    same = {"e": book("e", m)}
    v = judge(book("a", m), {"equal weight": book("e", m)}, periods_per_year=252, rng=Stream(0), books=same)
    assert v.rows[-2].words.startswith("not assessed: a book differs from equal weight by the same on every bar")


def test_without_arch_it_is_not_assessed(monkeypatch):
    monkeypatch.setitem(sys.modules, "arch.bootstrap", None)
    row = crowd(0.002)["superior"]
    assert row.answer == "cannot tell"
    assert row.words == 'not assessed: pip install "hitherto[stats]"'
    assert row.words_zh == '未评估：需 pip install "hitherto[stats]"'


def odd_returns(rng, n):
    """Returns as books have them on a bad day: constant, ruined, hardly ever moving, always rising, tiny, wild."""
    r = rng.normal(0, 0.01, n)
    kind = rng.integers(0, 8)
    if kind < 2:
        r[:] = 0.001 * kind
    elif kind == 2:
        r[n // 2] = -1.0
    elif kind == 3:
        r = np.where(rng.random(n) < 0.95, 0.0, r)
    elif kind == 4:
        r = np.abs(r)
    return {5: r * 1e-9, 6: np.maximum(30 * r, -0.99)}.get(int(kind), r)


@pytest.mark.parametrize("seed", range(30))
def test_whatever_comes_has_an_answer(seed):
    rng = np.random.default_rng(seed)
    n, T = int(rng.choice([2, 10, 59, 61, 250])), int(rng.choice([1, 5, 30, 80]))
    N, horizon = int(rng.choice([1, 2, 10])), int(rng.choice([1, 5, 20]))
    books = {f"b{k}": book(f"b{k}", odd_returns(rng, n)) for k in range(rng.integers(1, 7))}
    real = rng.normal(0, 0.02, (T, N, 1))
    real[rng.random(real.shape) < 0.2] = np.nan
    rows = np.zeros(real.shape, np.int32)
    label = Label(real, rows, rows, ("r",), (horizon,))
    made = [
        summarise(Forecast(k, rng.normal(size=real.shape) * scale, np.zeros(T, np.int32), ("r",)), label,
                  rng=Stream(0), draws=50)
        for k, scale in (("lstm", rng.choice([0.0, 1e-12, 0.01, 1e9])), ("persistence", 1.0))
    ]  # fmt: skip
    v = judge(books["b0"], {"equal weight": book("e", odd_returns(rng, n))}, periods_per_year=252, rng=Stream(seed),
              forecast=made[0], naive=made[1], searched=Searched(seed, 0.01 if seed % 2 else None, seed, "a", "b"),
              models={"lstm": made[0]}, books=books, draws=100)  # fmt: skip
    assert [r.key for r in v.rows] == [r.key for r in RULES]
    json.dumps(v.to_dict(), allow_nan=False)
    for r in v.rows:
        assert (r.answer == "yes") is r.words.startswith(("yes", "beats", "above"))
        assert (r.answer == "cannot tell") is (r.estimate is None and "no length would do" not in r.words)
        assert not re.search(r"\b(nan|inf|None)\b|[{}]", r.words + r.words_zh)
        if r.lo is not None:
            assert (r.answer != "yes") or r.lo > 0


def numbers(text):
    return re.findall(r"\d+(?:[.,]\d+)*", text)


def test_the_rule_table_has_both_languages_and_both_say_the_same_figures():
    assert len({r.key for r in RULES}) == len(RULES)
    for rule in RULES:
        assert {"yes", "no", "unknown"} <= set(rule.words), rule.key
        for en, zh in (rule.question, rule.test, *rule.words.values()):
            assert en.isascii(), en
            assert re.search("[\u4e00-\u9fff]", zh), zh
    s, _, _ = summaries(0.3, horizon=5)
    books = {f"b{k}": book(f"b{k}", moved(0.5 + k, seed=k)) for k in range(5)}
    v = judge(books["b0"], {"equal weight": books["b1"], "ridge": books["b2"]}, periods_per_year=252, rng=Stream(0),
              forecast=s["lstm"], naive=s["persistence"], searched=Searched(7, 0.002, 7, "a", "b"),
              sharpe=Interval(0.5, -0.5, 1.5), models=s, books=books)  # fmt: skip
    assert {r.key for r in v.rows} == {r.key for r in RULES}
    for r in v.rows:
        assert set(numbers(r.words)) == set(numbers(r.words_zh)), r.key
        for text in (r.question, r.question_zh, r.words, r.words_zh, r.test, r.test_zh):
            assert "{" not in text
    json.dumps(v.to_dict(), allow_nan=False)
    again = judge(books["b0"], {"equal weight": books["b1"]}, periods_per_year=252, rng=Stream(0), books=books)
    kept = {r.key: r for r in v.rows}
    assert all(kept[r.key] == r for r in again.rows if r.key in ("superior", "overfitting"))
    assert again.rows[0] == v.rows[0]


def test_the_page_on_verdicts_has_every_rule_and_its_threshold():
    page = (Path(__file__).resolve().parents[1] / "docs" / "verdicts.md").read_text(encoding="utf-8")
    lines = {m[1]: m[0] for m in re.finditer(r"^\| `(\w+)` \|.*$", page, re.M)}
    assert list(lines) == [r.key for r in RULES]
    for r in RULES:
        assert f"| {r.question[0]} " in lines[r.key], r.key
        assert not r.threshold or f"{r.threshold:g}"[1:] in lines[r.key], r.key


def test_printed_thresholds_are_never_reached_by_rounding():
    assert [confidence(p) for p in (0.94999, 0.95, 0.9995, 0.0)] == ["0.949", "0.950", "> 0.999", "0.000"]
    assert [p_value(p) for p in (0.0004, 0.049)] == ["< 0.001", "0.049"]
    assert [nth(k) for k in (2, 3, 5, 11, 21, 112)] == ["2nd", "3rd", "5th", "11th", "21st", "112th"]
    assert [years(k) for k in (3.14, 1000.5)] == [("3.1", "3.1"), ("more than 1,000", "超过 1,000")]


def test_chinese_words_exist_for_the_ladder_and_pass_names_through():
    assert [chinese(n) for n in ("equal_weight", "Ridge", "zero", "my <b>model")] == [
        "等权组合", "岭回归", "零预测", "my <b>model",
    ]  # fmt: skip
