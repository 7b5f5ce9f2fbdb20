"""The verdict: its rule, its words in two languages, and what it must not claim."""

import json
import re

import numpy as np
import pytest

from hitherto.errors import DataError
from hitherto.evaluate.forecast import summarise
from hitherto.evaluate.inference import paired_difference
from hitherto.evaluate.verdict import MIN_BARS, chinese, common_returns, judge
from hitherto.exchange.account import Book, Fills
from hitherto.labels import Label
from hitherto.models.base import Forecast
from hitherto.seeds import Stream


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
    assert [r.answer for r in v.rows] == ["no", "no"]
    assert all(r.lo < 0 < r.hi for r in v.rows)


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
    assert [r.answer for r in v.rows] == ["yes", "yes"]


def test_bad_news_comes_first_and_a_loss_is_named():
    v = call(0.001, -0.001)
    assert re.match(
        r"lstm, top 5 falls short of ridge by 25\.2 % a year \(95 %: [\d.]+\.\.[\d.]+\) after costs; beats", v.headline
    )
    assert "In this test" not in v.headline
    assert "每年落后于岭回归 25.2%" in v.headline_zh
    assert [r.answer for r in v.rows] == ["yes", "no"]
    assert v.rows[1].hi < 0


def test_the_rule_is_the_paired_bootstrap_and_is_printed():
    v = call(0.0004, 0.0, draws=500)
    assert v.rule == (
        "paired block bootstrap of net returns, 500 draws, 95 % percentile interval, automatic block length; "
        "'beats' means that the whole interval of the difference lies above 0"
    )
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


def forecasts(strength, seed=0, T=200, N=15):
    rng = np.random.default_rng(seed)
    real = rng.normal(0, 0.02, (T, N, 1))
    rows = np.zeros((T, N, 1), np.int32)
    label = Label(real, rows, rows, ("return_1",), (1,))
    fold = np.zeros(T, np.int32)
    made = [
        Forecast("lstm", strength * real + rng.normal(0, 0.004, real.shape), fold, ("return_1",)),
        Forecast("persistence", rng.normal(0, 0.02, real.shape), fold, ("return_1",)),
        Forecast("zero", 0 * real, fold, ("return_1",)),
    ]
    return [summarise(f, label, rng=Stream(0, f.model), draws=500) for f in made]


def answers(strength, which=0):
    made = forecasts(strength)
    m = market(n=200)
    v = judge(book("a", m), {"equal weight": book("e", m)}, periods_per_year=252, rng=Stream(0), forecast=made[which],
              naive=made[1])  # fmt: skip
    return v, {r.question: r.answer for r in v.rows}


def test_the_forecast_is_judged_beside_zero_and_persistence():
    v, good = answers(0.3)
    assert good == {
        "Beats equal weight after costs?": "no",
        "Is the IC above 0?": "yes",
        "Is the RankIC above 0?": "yes",
        "Is its squared error below that of forecasting zero?": "yes",
        "Is its RankIC above that of persistence?": "yes",
    }
    assert v.rows[4].question_zh == "RankIC 是否高于惯性预测？"
    assert v.rows[1].words.startswith("yes, the interval excludes 0: 0.")
    assert [r.unit for r in v.rows] == ["fraction", "number", "number", "fraction", "number"]
    _, bad = answers(-0.3)
    assert set(bad.values()) == {"no"}
    json.dumps(v.to_dict(), allow_nan=False)


def test_a_forecast_without_an_ic_cannot_tell():
    v, _ = answers(0.3, which=2)
    assert v.rows[1].answer == "cannot tell"
    assert v.rows[1].words == ("cannot tell: 0 of 200 dates have an IC; one needs 3 pairs and unequal forecasts")
    assert v.rows[3].answer == "no"  # zero does not beat itself


def test_chinese_words_exist_for_the_ladder_and_pass_names_through():
    assert [chinese(n) for n in ("equal_weight", "Ridge", "zero", "my <b>model")] == [
        "等权组合", "岭回归", "零预测", "my <b>model",
    ]  # fmt: skip
