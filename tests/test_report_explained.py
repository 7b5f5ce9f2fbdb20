"""Why the result is what it is, on the page: every sentence, its basis, what is not assessed, short and odd runs."""

import dataclasses
import math
import re

import numpy as np
import pytest
from report_toys import BASIS, about, make_attribution, make_explained, make_report
from toys import make_panel

import hitherto as ht
from hitherto.evaluate.attribution import BreakevenCost, BreakevenDelay, DelayRow, Linked
from hitherto.evaluate.periods import heatmap, rolling_sharpe
from hitherto.evaluate.signals import Decay, ICRow
from hitherto.report import conditions, figures, html, look, skill, source, tables, timing
from hitherto.report.content import ReportContent, Verdict
from hitherto.report.explained import Explanation, Search, basis_line, reason, search_line
from hitherto.report.words import WORDS
from hitherto.study import Study

NAN = float("nan")
DAYS = np.datetime64("2020-01-01") + np.arange(60)


def words(text):
    """Sentences with plain spaces, as a person reads them."""
    return text.replace("\u00a0", " ")


def bare(**parts) -> ReportContent:
    return ReportContent(title="Bare", verdict=Verdict("Nothing is shown."), **parts)


def drawn(x: Explanation, **more):
    return figures.charts(bare(explained=x, **more))


@pytest.fixture(scope="module")
def toy():
    rng = np.random.default_rng(3)
    wealth = np.cumprod(1 + rng.normal(0.0005, 0.01, 60))
    return make_explained(DAYS, wealth, rng)


# ---- what a figure rests on, and how much was searched --------------------------------------------------------------


def test_the_basis_line_names_all_four():
    assert words(basis_line(BASIS, "en")) == (
        "252 bars a year · risk-free rate 0 % a year · compounded · net of fees and slippage"
    )
    other = dataclasses.replace(
        BASIS, periods_per_year=1008, rf=0.021, compounding="simple mean", costs="gross, and net of 5 bps a side"
    )
    assert words(basis_line(other, "en")) == (
        "1008 bars a year · risk-free rate 2.10 % a year · arithmetic mean · gross, and net of 5 bps a side"
    )
    assert words(basis_line(other, "zh")) == (
        "每年 1008 根 K 线 · 无风险利率每年 2.10 % · 算术平均 · 扣除前，以及扣除单边 5 个基点后"
    )
    assert basis_line(None, "en") == ""


def test_every_basis_that_a_study_writes_has_words_in_both_languages():
    from hitherto.evaluate import attribution, periods, signals
    from hitherto.study import explaining

    said = set()
    for module in (attribution, periods, signals, explaining):
        with open(module.__file__, encoding="utf-8") as file:
            said |= set(re.findall(r'"((?:net of|before) [a-z, ]+)"', file.read()))
    assert len(said) >= 4
    assert [s for s in said if f"b_{s}" not in WORDS] == []


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (
            Search(7, 0.62, 0.44, 0.71),
            "7 trials have read this test data: the best of as many without any skill is expected to show a Sharpe "
            "ratio of 0.44 a year; this one shows 0.62. Deflated Sharpe ratio 0.71: not distinguishable from the luck "
            "of the search (from 0.95 on it is).",
        ),
        (
            Search(7, 1.9, 0.44, 0.97),
            "7 trials have read this test data: the best of as many without any skill is expected to show a Sharpe "
            "ratio of 0.44 a year; this one shows 1.90. Deflated Sharpe ratio 0.97: more than the luck of the search "
            "explains (0.95 or more).",
        ),
        (Search(3), "3 trials have read this test data; the returns leave no deflated Sharpe ratio."),
        (Search(1), "This is the only trial on this test data that the ledger knows of."),
    ],
)
def test_the_search_is_said_in_one_line(part, said):
    assert search_line(part, "en") == said
    assert f'<p class="search">{said}</p>' in html.render(bare(search=part))
    assert re.match(r"已有|台账", search_line(part, "zh"))


def test_the_only_trial_is_told_by_its_probability():
    said = search_line(Search(1, 0.8, 0.0, 0.9), "en")
    assert said.startswith(
        "This is the only trial on this test data that the ledger knows of; its Sharpe ratio is 0.80"
    )
    assert "0.90 is the probability" in said


# ---- where the return came from -------------------------------------------------------------------------------------


def test_attribution_says_what_selection_gave_and_lists_what_was_not_given(toy):
    rng = np.random.default_rng(0)
    a = make_attribution(np.full(40, 0.001), rng)
    means = {"market": about(0.12, 0.1), "selection": about(0.031, 0.02), "trading": about(0.0, 0.01),
             "cost": about(-0.04, 0.001), "rest": about(0.0, 0.0)}  # fmt: skip
    a = dataclasses.replace(a, means=means)
    said = words(source.attribution_title(a, "en"))
    assert said == (
        "Of +11.1 % a year the market gave +12.0 %, selection +3.1 % (its interval lies above 0) and costs −4.0 %"
    )
    table = drawn(dataclasses.replace(toy, attribution=a))["attribution"].table
    rows = {
        r.cells[0].text: (words(r.cells[0].under), words(r.cells[1].text), words(r.cells[1].under)) for r in table.rows
    }
    assert rows["size"] == ("not given", "—", "")
    assert rows["sector"] == ("not given", "—", "")
    assert rows["universe"][0] == "the benchmark has no close on 3 of 9 bars; the market is equal weight"
    assert rows["selection"][1:] == ("+3.10 %", "[1.1, 5.1 %]")
    assert rows["rest"][1:] == ("0.00 %", "")  # what never moves has no interval
    assert rows["net return"][1] == "+11.10 %"
    whole = sum(a.total.parts.values())
    assert math.isclose(whole, a.total.net, abs_tol=1e-12)


def test_attribution_of_few_bars_has_no_intervals():
    a = make_attribution(np.full(5, 0.01), np.random.default_rng(0))
    a = dataclasses.replace(a, means=dict.fromkeys(a.means))
    chart = drawn(Explanation(attribution=a))["attribution"]
    assert chart.title.startswith("Over these 5 bars the market gave ")
    assert chart.title.endswith("too few for intervals")
    assert "linked in logs" in chart.basis
    assert chart.figure.data[0].x[0] == pytest.approx(100 * (1.01**5 - 1))  # the net return, linked


def linked(label, selection, bars=250):
    return Linked(label, bars, selection - 0.01, {"market": 0.0, "selection": selection, "cost": -0.01})


def test_years_title_counts_whole_years():
    rows = (linked("2018", 0.5, bars=3), linked("2019", 0.02), linked("2020", -0.04), linked("2021", 0.01))
    assert words(source.years_title(rows, "en")) == (
        "Selection added in 2 of 3 calendar years: best 2019 (+2.0 %), worst 2020 (−4.0 %)"
    )
    assert words(source.years_title(rows[:1], "en")) == "In 2018, selection came to +50.0 %"


def test_yearly_parts_are_stacked_and_the_net_return_marked(toy):
    chart = drawn(toy)["attribution_years"]
    *bars, mark = chart.figure.data
    assert {b.type for b in bars} == {"bar"}
    assert chart.figure.layout.barmode == "relative"
    assert sum(b.y[0] for b in bars) == pytest.approx(
        mark.y[0], abs=0.2
    )  # parts that nowhere reach 0.05 % are left out
    assert mark.y[0] == pytest.approx(100 * toy.by_year[0].net)
    assert chart.key[-1].style == "mark"


def test_the_path_names_its_extremes(toy):
    content = make_report(T=400)
    chart = figures.charts(content)["attribution_path"]
    path = np.cumsum(content.explained.attribution.values[:, 1])
    dates = content.equity.dates[1:]
    assert words(chart.title) == (
        f"Summed bar by bar, selection stands at {100 * path[-1]:+.1f} % at the end; its high was "
        f"{100 * path.max():+.1f} % on {dates[path.argmax()]}, its low {100 * path.min():+.1f} % on "
        f"{dates[path.argmin()]}"
    ).replace(" -", " −")  # fmt: skip


def test_exposure_of_a_short_book_shows_gross_and_net(toy):
    chart = drawn(toy)["exposure"]
    assert [k.name for k in chart.key] == ["Gross", "Net", "Names"]
    assert words(chart.title) == (
        "On average 5.0 names are held, 99 % of equity long and short together, 97 % net; 41.0 × turnover a year "
        "costs 4.0 %"
    )
    long = dataclasses.replace(toy.exposure, gross=toy.exposure.net)
    assert [k.name for k in drawn(dataclasses.replace(toy, exposure=long))["exposure"].key] == ["Net", "Names"]


# ---- when it worked -------------------------------------------------------------------------------------------------


def test_months_are_counted_and_coloured_as_the_market_does():
    returns, dates = np.array([0.02, -0.05, 0.01]), np.array(["2020-01-31", "2020-02-28", "2021-03-31"], "M8[D]")
    part = heatmap(returns, dates, BASIS)
    assert words(timing.heatmap_title(part, "en")) == (
        "2 of 3 months gained; the best was Jan 2020 (+2.0 %), the worst Feb 2020 (−5.0 %)"
    )
    assert (
        words(timing.heatmap_title(part, "zh"))
        == "3 个月中有 2 个月盈利；最好 2020年1月（+2.0 %），最差 2020年2月（−5.0 %）"
    )
    for rising_red, gain in ((True, look.RED), (False, look.GREEN)):
        chart = drawn(Explanation(heatmap=part), rising_red=rising_red)["heatmap"]
        scale = chart.figure.layout.coloraxis.colorscale
        assert scale[-1][1] == look.blend(gain, 0.75)
        assert chart.figure.data[0].z[0][0] == pytest.approx(2.0)
        assert np.isnan(chart.figure.data[0].z[0][2])
    assert [c.text for c in chart.table.rows[1].cells][:5] == ["2021", "—", "—", "+1.0\u00a0%", "—"]
    alone = heatmap(returns[:1], dates[:1], BASIS)
    assert words(timing.heatmap_title(alone, "en")) == "Jan 2020, the only month, came to +2.0 %"


def test_rolling_title_and_a_book_that_never_moves():
    rng = np.random.default_rng(0)
    part = rolling_sharpe(rng.normal(0, 0.01, 60), DAYS, BASIS, 20)
    outside = np.mean((part.lo > 0) | (part.hi < 0))
    said = words(timing.rolling_title(part, "en"))
    assert said.startswith("Over 20 bars the Sharpe ratio ranged from −")
    assert said.endswith(f"in {100 * outside:.0f} % of the windows its band excludes 0")
    still = drawn(Explanation(rolling=rolling_sharpe(np.zeros(60), DAYS, BASIS, 20)))["rolling"]
    assert still.figure is None
    assert still.title == "Rolling Sharpe ratio: the net return never moved"


def test_regimes_title_and_table(toy):
    chart = drawn(toy)["regimes"]
    assert words(chart.title) == (
        "It earned most under “trend: falling” (+30.0 % a year) and least under “volatility: turbulent” (−11.0 %); "
        "2 of 5 intervals exclude 0"
    )
    assert [r.cells[0].text for r in chart.table.rows][-1] == "trend: not known"
    assert "selection" in chart.table.head
    few = tuple(dataclasses.replace(r, mean=None, sharpe=None) for r in toy.regimes.rows)
    none = drawn(dataclasses.replace(toy, regimes=dataclasses.replace(toy.regimes, rows=few)))["regimes"]
    assert none.figure is None
    assert none.title == "States of the market: too few bars, in the test or before it, to compare any"


def test_falls_have_the_dates_and_bars_of_their_recovery():
    rng = np.random.default_rng(1)
    wealth = np.r_[1.0, 1.2, 0.9, 1.0, 1.2, 1.1, np.full(54, 1.05)]
    content = make_report(T=400, explained=make_explained(DAYS, wealth, rng))
    chart = figures.charts(content)["drawdown"]
    first, second = (tuple(words(c.text) for c in r.cells) for r in chart.table.rows)
    assert first == ("2020-01-02", "2020-01-03", "2020-01-05", "−25.0 %", "1", "2", "3")
    assert second == ("2020-01-05", "2020-01-07", "not yet", "−12.5 %", "2", "—", "55")
    assert "under water on 97 % of the bars" in words(chart.caption)  # 2 + 55 of 59


# ---- the signal -----------------------------------------------------------------------------------------------------


def ics(*estimates, half=0.01):
    return tuple(ICRow(h, about(e, half), about(e, half), 500) for h, e in zip((1, 5, 20), estimates, strict=False))


@pytest.mark.parametrize(
    ("half", "end"), [(4.2, "; half of it is gone 4.2 bars later"),
                      (math.inf, "; more than half of it is left 20 bars later"), (None, "")],
)  # fmt: skip
def test_decay_title(half, end):
    part = Decay(ics(0.02, 0.03, 0.005), ics(0.02, 0.01, 0.001), half, "next_close", BASIS)
    assert skill.decay_title(part, "en") == (
        f"RankIC is +0.020 over 1 bar and +0.005 over 20 bars; 2 of 3 intervals exclude 0{end}"
    )


def test_signal_without_enough_dates_is_said_not_drawn(toy):
    none = tuple(dataclasses.replace(r, ic=None, rank_ic=None) for r in ics(0.0, 0.0))
    x = Explanation(
        decay=Decay(none, none, None, "next_close", BASIS),
        quantiles=dataclasses.replace(toy.quantiles, spread_gross=None, spread_net=None),
        autocorrelation=dataclasses.replace(
            toy.autocorrelation, rows=tuple(dataclasses.replace(r, value=None) for r in toy.autocorrelation.rows)
        ),
    )
    charts = drawn(x)
    assert {c.figure for c in charts.values()} == {None}
    assert "two names or more" in charts["decay"].title
    assert "a name in every quantile" in charts["quantiles"].title
    assert "rank the same names" in charts["autocorrelation"].title
    html.render(bare(explained=x))


def test_quantiles_title_and_bars(toy):
    chart = drawn(toy)["quantiles"]
    assert words(chart.title) == (
        "Before costs the top fifth of the scores earned +4.0 % a year against the bottom (its interval contains 0); "
        "after costs a long-short of the two earns −2.0 %"
    )
    gross, net = chart.figure.data
    assert list(gross.y) == pytest.approx([11, 12, 13, 14, 15, 4])
    assert list(net.y) == pytest.approx([8, 9, 10, 11, 12, -2])
    assert list(chart.figure.layout.xaxis.ticktext) == ["1", "2", "3", "4", "5", "spread"]


# ---- what would have to be true -------------------------------------------------------------------------------------


def cost(estimate, against="nothing", why=""):
    found = None if estimate is None else about(estimate, 0.001)
    return BreakevenCost(against, found, 0.0005, None if estimate is None else estimate / 0.0005, None, why, BASIS)


@pytest.mark.parametrize(
    ("alone", "rival", "said"),
    [
        (0.00165, 0.0008, "its mean net return stays above 0 % up to 16.5 bps; it stays ahead of equal weight up to "
                          "8.0 bps"),
        (0.00165, -0.0002, "its mean net return stays above 0 % up to 16.5 bps; it would trail equal weight even free "
                           "of costs"),
        (-0.0001, -0.0002, "it would lose even free of costs; it would trail equal weight even free of costs"),
        (0.0010, None, "its mean net return stays above 0 % up to 10.0 bps; against equal weight: it trades no more"),
    ],
)  # fmt: skip
def test_breakeven_title(alone, rival, said):
    parts = (cost(alone), cost(rival, "equal weight", "" if rival is not None else "it trades no more"))
    assert words(conditions.breakeven_title(parts, "en")) == f"It paid 5.0 bps a side; {said}"
    table = conditions.breakeven_table(parts, "en")
    assert words(table.rows[0].cells[1].text) == f"{1e4 * alone:.1f} bps".replace("-", "−")
    assert (table.rows[1].cells[3].text == "—") == (rival is None or rival < 0)  # no multiple of what it paid


def test_breakeven_marks_what_was_paid_and_what_trading_again_says(toy):
    chart = drawn(toy)["breakeven"]
    *dots, line = chart.figure.data
    assert [d.name for d in dots] == ["equal weight", "nothing (net return 0)"]
    assert list(line.x) == [5.0, 5.0]
    assert words(chart.caption).endswith("the return is gone at 2.6 times them.")


def test_delay_title():
    def said(bars, first, why=""):
        rows = tuple(DelayRow(k, 0.1, about(first - 0.01 * k, 0.02)) for k in range(6))
        return words(conditions.delay_title(BreakevenDelay(rows, bars, why, BASIS), "en"))

    assert said(2.5, 0.025) == (
        "The edge of +2.5 % a year over equal weight (its interval lies above 0) is gone after 2.5 bars of delay"
    )
    assert said(math.inf, 0.08) == (
        "The edge of +8.0 % a year over equal weight (its interval lies above 0) outlives 5 bars of delay"
    )
    assert (
        said(None, -0.01, "none") == "There is no edge over equal weight for a delay to take: −1.0 % a year without any"
    )
    none = BreakevenDelay((DelayRow(0, 0.1, None),), None, "too few bars, or a book was ruined", BASIS)
    assert conditions.delay_title(none, "en") == "Break-even delay: not assessed, too few bars, or a book was ruined"
    assert drawn(Explanation(delay=none))["delay"].figure is None


# ---- what is not assessed -------------------------------------------------------------------------------------------


def test_a_part_that_is_not_assessed_says_why_in_both_languages():
    why = dict.fromkeys(("attribution", "exposure", "heatmap", "rolling", "regimes", "delay", "decay", "quantiles",
                         "autocorrelation", "costs"), "there are no scores")  # fmt: skip
    for lang, end in (("en", "not assessed, there are no scores"), ("zh", "未评估，没有得分")):
        charts = drawn(Explanation(not_assessed=why), language=lang)
        assert len(charts) == 10
        for chart in charts.values():
            assert chart.figure is None
            assert chart.title.endswith(end)
        html.render(bare(explained=Explanation(not_assessed=why), language=lang))
    assert drawn(Explanation()) == {}


def test_reasons_are_told_in_plain_words():
    text = "rolling Sharpe: a window of 20 bars needs 10 to 9 (all there are)"
    assert reason(text, "en") == "the test has 9 bars, its least window 20"
    assert reason(text, "zh") == "测试期仅 9 根，最短窗口为 20 根"
    assert reason("of another kind", "zh") == "of another kind"


# ---- from a study ---------------------------------------------------------------------------------------------------

TABLES = {
    "features": {"expressions": {"r1": "close / ref(close, 1) - 1", "gap": "close / mean(close, 10) - 1"}},
    "label": {"horizons": [1]},
    "audit": {"level": "off"},
}


def content_of(folder, language="en", test=40, names=8, k=3, **changes):
    panel = make_panel(T=140 + 2 * test, N=names, factor=True)
    study = Study(
        panel, models=[ht.Ridge()],
        **{**TABLES, "split": {"train": 100, "valid": 30, "test": test, "folds": 1}, "portfolio": [{"k": k, "drop": 1}],
           "report": {"language": language, "null_books": 20}, **changes},
    )  # fmt: skip
    return study.run(folder, progress="off").content()


def test_a_chinese_report_has_no_english_sentence(tmp_path):
    content = content_of(tmp_path / "run", "zh")
    english = re.compile(r"[A-Za-z]{2,}(?: [A-Za-z]{2,}){2,}")
    said = [content.title, content.subtitle, *content.assumptions, *content.facts, content.hindsight_list.caption]
    said += [line for c in figures.charts(content).values() for line in (c.title, c.caption, c.basis, *c.table.head)]
    said += [k.name for c in figures.charts(content).values() for k in c.key]
    assert [s for s in said if english.search(s)] == []
    assert "等权" in content.equity.curves
    assert content.equity.roles["等权"] == "baseline"


def test_ten_days_of_test_still_give_a_report_that_says_what_it_lacks(tmp_path):
    content = content_of(tmp_path / "run", test=10)
    page = html.render(content)
    charts = figures.charts(content)
    assert len(content.explained.attribution.returns) < 10
    for name in ("decay", "quantiles", "autocorrelation", "regimes", "rolling", "breakeven", "delay"):
        assert charts[name].figure is None, name
        assert charts[name].title in page.replace("&#39;", "'"), name
    assert "too few for intervals" in charts["attribution"].title


def test_a_single_name_that_may_not_trade_still_gives_a_report(tmp_path):
    content = content_of(tmp_path / "run", names=1, k=1, exchange={"lot": 100, "capital": 1.0})
    charts = figures.charts(content)
    html.render(content)
    assert charts["exposure"].title == "Nothing was ever held"
    assert charts["breakeven"].title == "It paid nothing to trade; no break-even cost: it does not trade"
    assert charts["rolling"].figure is None


def test_bars_within_a_day_keep_their_time(tmp_path):
    from hitherto.study.content import moments

    panel = make_panel(T=8, N=2)
    assert moments(panel) is panel.sessions
    hours = np.datetime64("2020-01-06T01:30", "m") + np.arange(8) * np.timedelta64(60, "m")
    days = hours.astype("M8[D]")
    inner = dataclasses.replace(
        panel, times=hours.astype("M8[ns]").astype(np.int64), sessions=days, zone="Asia/Shanghai"
    )
    assert str(moments(inner)[0]) == "2020-01-06T09:30"
    assert look.days(moments(inner))[1] == "2020-01-06T10:30"


def test_the_verdicts_table_shows_small_correlations_and_leaves_out_figures_that_the_words_say():
    from hitherto.report.content import VerdictRow

    rows = (
        VerdictRow("Beats?", -0.0604, -0.1661, 0.0438, "no (-16.6..4.4 %)"),
        VerdictRow("IC?", -0.0036, -0.0337, 0.0291, "no", "number"),
        VerdictRow("Sharpe?", 0.62, -0.21, 1.44, "not shown", "number"),
        VerdictRow("Luck?", NAN, NAN, NAN, "the confidence is 0.516"),
    )
    table = tables.verdict(Verdict("x", rows=rows), "en")
    assert table.head == ("Question", "Answer", "Estimate, 95 % interval")
    shown = [tuple(words(t) for t in (r.cells[1].text, r.cells[2].text, r.cells[2].under)) for r in table.rows]
    assert shown == [
        ("no (−16.6..4.4 %)", "−6.04 %", "[−16.61, 4.38 %]"), ("no", "−0.004", "[−0.034, 0.029]"),
        ("not shown", "+0.62", "[−0.21, 1.44]"), ("the confidence is 0.516", "", ""),
    ]  # fmt: skip
