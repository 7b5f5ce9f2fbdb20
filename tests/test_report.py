"""The report as text: what it says, what it escapes, what it leaves out, and how large it is."""

import dataclasses
import json
import os
import re
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_toys import BASIS, EVIL, make_audit, make_report, make_stress

from hitherto.errors import ConfigError, HithertoError
from hitherto.evaluate.attribution import BreakevenCost
from hitherto.evaluate.inference import Interval
from hitherto.report import figures, findings, html, look, robust, tables
from hitherto.report.content import (
    Audit,
    AuditRow,
    Costs,
    Equity,
    Estimate,
    Example,
    Gates,
    Hindsight,
    HindsightList,
    HindsightRow,
    IcSeries,
    Ladder,
    LadderRow,
    NullBand,
    ReportContent,
    Rules,
    Verdict,
    WeightsHistory,
)
from hitherto.report.explained import Explanation
from hitherto.report.robust import (
    Capacity,
    CapacityRow,
    OrderRow,
    Orders,
    PeriodRow,
    Periods,
    Stress,
    StressRow,
)
from hitherto.report.thin import thin
from hitherto.report.words import WORDS, amount, clean, number, percent, say, typeset

DAYS = np.datetime64("2020-01-01") + np.arange(8)


class Page(HTMLParser):
    """Tags with attributes, and the text outside scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self._stack = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._stack.append(tag)

    def handle_endtag(self, tag):
        if self._stack and self._stack[-1] == tag:
            self._stack.pop()

    def handle_data(self, data):
        if not self._stack:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def page():
    return html.render(make_report())


@pytest.fixture(autouse=True)
def _light(request, monkeypatch):
    """Plotly's 4.8 MB script is left out where neither it nor the size of the page is looked at."""
    if "page" not in request.fixturenames and "megabytes" not in request.node.name:
        monkeypatch.setattr(html, "_plotly", lambda: "/* plotly */")


def bare(verdict="Nothing is shown.", **parts) -> ReportContent:
    return ReportContent(title="Bare", verdict=Verdict(verdict), **parts)


def words(text):
    """Sentences with plain spaces, as a person reads them."""
    return text.replace("\u00a0", " ")


# ---- the page -----------------------------------------------------------------------------------------------------


def test_no_tag_points_outside_the_file(page):
    outside = [
        (tag, name, value)
        for tag, attrs in Page(page).tags
        for name, value in attrs.items()
        if name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href", "formaction", "ping")
        and not (value or "").startswith(("#", "data:"))
    ]
    assert outside == []
    style = re.search(r"<style>(.*?)</style>", page, re.S).group(1)
    assert "url(" not in style
    assert "@import" not in style


def test_the_policy_allows_the_scripts_of_the_page_and_nothing_else(page):
    import base64
    import hashlib

    metas = [a for t, a in Page(page).tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"]
    policy = metas[0]["content"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy
    assert "'unsafe-inline'" not in policy.split("script-src")[1].split(";")[0]
    found = re.findall(r"<script>(.*?)</script>", page, re.S)
    assert len(found) == 2
    for script in found:
        assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy


def test_the_page_is_below_seven_megabytes(page):
    assert 1e6 < len(page.encode()) < 7e6


def test_a_long_study_stays_below_seven_megabytes():
    """Thirty years of daily data, every series at its full length."""
    content = make_report(T=10_950)
    assert len(html.render(content).encode()) < 7e6
    for chart in figures.charts(content).values():
        for trace in chart.figure.data:
            if trace.type != "heatmap":
                assert len(trace.x) <= 2000, (chart.name, trace.name)


def test_a_page_above_seven_megabytes_is_refused_with_the_cure():
    with pytest.raises(ConfigError, match=r"^report: the page is \d+\.\d MB, the limit is 7 MB; shorten the settings"):
        html.render(make_report(settings="x" * 3_000_000))


def test_a_reader_without_javascript_is_sent_to_the_tables(page):
    assert '<noscript><p class="note">Charts need JavaScript; the tables below each of them hold the numbers.' in page


def test_the_same_content_gives_the_same_bytes(page):
    assert html.render(make_report()) == page


def test_the_order_of_the_page(page):
    text = Page(page).text
    marks = [
        "Twenty US stocks", "does not beat equal weight", "7 trials have read", "Read this first", "vendor-adjusted",
        "Sharpe ratio, net", "252 bars a year", "What was tried to catch it cheating", "After costs LSTM top-5",
        "a year the market gave", "Selection added in", "Summed bar by bar",
        "RankIC averages", "over 1 bar and", "Before costs the top fifth", "Ranks correlate 0.90", "ranks 4 of 6",
        "Forecasts for AAPL", "the forget gate averages", "names are held", "turnover a year costs",
        "Costs take", "months gained", "Ahead of equal weight in 2 of 3", "Over 252 bars the Sharpe ratio",
        "It earned most under", "It paid 5.0", "falls to 0 at 3.4 times", "is gone after 2.5 bars of delay",
        "Half of the net return is gone", "was not traded", "Choosing perfectly",
        "Features and forecasts recomputed", "Study file", "What the data check saw",
    ]  # fmt: skip
    at = [text.index(mark) for mark in marks]
    assert at == sorted(at), dict(zip(marks, at, strict=True))


def test_flags_stand_at_the_top_and_in_the_audit(page):
    text = Page(page).text
    flag = make_report().flags[0]
    first, second = (m.start() for m in re.finditer(re.escape(flag), text))
    assert first < text.index("Sharpe ratio, net")
    assert text.index("Choosing perfectly") < second < text.index("Features and forecasts recomputed")


def test_it_never_claims_to_be_free_of_leaks(page):
    assert not re.search(r"leak.free|no leak", Page(page).text, re.I)
    assert not any(re.search(r"leak.free|无泄漏", phrase, re.I) for pair in WORDS.values() for phrase in pair)


def test_chinese_is_kept_and_the_chinese_page_is_chinese(page):
    assert "扣除成本后，LSTM 没有跑赢等权组合" in page
    assert "平安银行" in page
    chinese = html.render(make_report(language="zh", rising_red=True))
    text = Page(chinese).text
    assert '<html lang="zh-CN">' in chinese
    for phrase in ("为抓出作弊所做的尝试", "净值", "成本吃掉毛收益的 61", "1 万 变成 2.1468 亿", "2 亿 只剩 9.57 万"):
        assert phrase in words(text), phrase


def test_every_phrase_has_the_same_blanks_in_both_languages():
    for key, (en, zh) in WORDS.items():
        assert set(re.findall(r"{(\w+)}", en)) == set(re.findall(r"{(\w+)}", zh)), key


# ---- text from data stays text ------------------------------------------------------------------------------------

HOSTILE = (EVIL, "</script><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "<!--<script>", "{{ 7*7 }}",
           "%{customdata}<b>x</b>", "a\u202eb\x1b[31mc\u2028d", "\ud800", "x" * 300)  # fmt: skip


def named(n):
    base = make_report(T=60)
    assert base.equity is not None
    assert base.weights is not None
    assert base.example is not None
    return dataclasses.replace(
        base, title=n, subtitle=n, created=n, flags=(n,), settings=n, data_card=f"p {n}\n\n- q {n}",
        verdict=Verdict(n, n, rule=n), assumptions=(n,), facts={n: {n: n}},
        audit=make_audit(rows=(AuditRow(n, n, "ok", n),), smallest=n, not_assessed=(n,)),
        equity=Equity(base.equity.dates, {n: base.equity.curves["Ridge"]}, {n: "strategy"}),
        ladder=Ladder((LadderRow(n, "strategy", sharpe=Estimate(1.0, 0.5, 1.5)),)),
        example=dataclasses.replace(base.example, asset=n, horizon=n, model=n,
                                    gates=Gates(DAYS[0], {n: np.zeros((3, 2))})),
        weights=WeightsHistory(base.weights.dates, (n, *base.weights.names[1:]), base.weights.weights),
        hindsight_list=HindsightList((HindsightRow(n, n, 0.1, 1.1),)), rules=Rules(n, n, (n,), 1),
        orders=Orders((OrderRow(n, 1, 0, 1.0, 0.0, 1.0),), caption=n),
        capacity=Capacity(not_assessed=n, caption=n), stress=dataclasses.replace(base.stress, caption=n),
        periods=dataclasses.replace(base.periods, caption=n),
        explained=Explanation(
            costs=(BreakevenCost(n, Interval(0.001, 0.0, 0.002), 0.0005, 2.0, None, n, BASIS),), size_of=n,
            not_assessed={"rolling": n, "delay": n},
        ),
    )  # fmt: skip


@pytest.fixture(scope="module")
def harmless():
    return [tag for tag, _ in Page(html.render(named("harmless"))).tags]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_name_is_text_wherever_it_appears(name, harmless):
    """The same name as title, symbol, model, probe, period, setting and finding; the tag structure must not move."""

    content = named(name)
    page = html.render(content)
    assert [t for t, _ in Page(page).tags] == harmless
    shown = " ".join(clean(name).split())
    assert shown in Page(page).text
    data = page.split('id="charts">')[1].split("</script>")[0]
    assert not set("<>&\u2028\u2029") & set(data)
    assert json.loads(data).keys() == {*figures.charts(content)} - {"capacity", "rolling", "delay"}


def test_chart_labels_are_escaped_for_plotly_which_reads_html():
    content = make_report(T=60)
    ticks = figures.weights(content.weights, content).figure.layout.yaxis.ticktext
    assert any(t.startswith("&lt;script&gt;") for t in ticks)
    assert not any("<" in t for t in ticks)
    assert look.label("a<b> & c") == "a&lt;b&gt; &amp; c"
    assert unescape(look.label("<" * 50, 16)) == "<" * 15 + "…"


def test_codes_like_600519_are_labels_not_numbers():
    content = make_report(T=60)
    axis = figures.weights(content.weights, content).figure.layout.yaxis
    assert "600519" in axis.ticktext
    assert list(axis.tickvals) == list(range(len(axis.ticktext)))


@given(st.text(max_size=60))
def test_embedded_json_returns_as_it_was(text):
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    written = html.embed({"k": text})
    assert not set("<>&\u2028\u2029") & set(written)
    assert json.loads(written) == {"k": text}


def test_clean_replaces_what_moves_a_terminal_or_reorders_text():
    assert clean("a\x1b[31mb\u202ec\x00\ud800\u200b") == "a\ufffd[31mb\ufffdc\ufffd\ufffd\ufffd"
    assert clean("平安\tbank\n") == "平安\tbank\n"


# ---- parts that are missing ---------------------------------------------------------------------------------------

PARTS = (
    "equity", "hindsight", "ic", "ladder", "example", "weights", "costs", "hindsight_list", "audit", "stress",
    "capacity", "orders", "periods", "rules", "explained", "search", "basis",
)  # fmt: skip


LITTLE = Explanation(costs=(BreakevenCost("nothing", None, 0.001, None, None, "it does not trade", BASIS),))


@pytest.fixture(scope="module")
def full():
    return Page(html.render(make_report(T=60, explained=LITTLE))).text


@pytest.mark.parametrize("part", PARTS)
def test_each_part_may_be_missing(part, full):
    less = Page(html.render(make_report(T=60, **{"explained": LITTLE, part: None}))).text
    assert len(less) < len(full)
    assert "does not beat equal weight" in less


def test_the_barest_report_says_that_no_audit_was_run():
    text = Page(html.render(bare())).text
    assert "Nothing is shown." in text
    assert text.count("No audit was run: nothing below was tested for use of the future.") == 2
    assert "Contents" not in text
    assert "Equity" not in text


def test_empty_series_leave_their_section_out():
    none, no = np.zeros(0), np.zeros(0, "datetime64[D]")
    content = bare(
        equity=Equity(no, {"S": none}, {"S": "strategy"}),
        hindsight=Hindsight(no, none, none),
        ic=IcSeries(no, none, none, 20, Estimate(0.0)),
        ladder=Ladder(()),
        example=Example("A", no, none, none),
        weights=WeightsHistory(no, ("A",), np.zeros((0, 1))),
        costs=Costs(no, none, none, 0.1, 0.1),
        hindsight_list=HindsightList(),
        stress=Stress(()),
        capacity=Capacity(),
        orders=Orders(()),
        periods=Periods(()),
    )
    assert figures.charts(content) == {}
    assert "<figure" not in html.render(content)


def test_nan_and_infinity_are_gaps_and_dashes():
    bad = np.array([1.0, np.nan, np.inf, -np.inf, 0.0, -1.0, 1.2, 90.0])
    null = NullBand(bad, bad, bad, 3, 9)
    curve = Equity(DAYS, {"S": bad, "B": np.full(8, np.nan)}, {"S": "strategy", "B": "benchmark"}, null=null)
    content = bare(
        equity=curve, hindsight=Hindsight(DAYS, bad, bad), ic=IcSeries(DAYS, bad, bad, 3, Estimate(np.nan)),
        ladder=Ladder((LadderRow("M", "model"),)), example=Example("A", DAYS, bad, bad),
        weights=WeightsHistory(DAYS, ("A",), bad[:, None]), costs=Costs(DAYS, bad, bad, np.nan, np.nan),
        stress=Stress((StressRow(1.0, 0, np.nan),)), capacity=Capacity((CapacityRow(1e6, np.nan, np.nan),)),
        orders=Orders((OrderRow("no cash", 1, 0, 1.0, 0.0, 1.0),)), periods=Periods((PeriodRow(2020, 8, np.nan),)),
    )  # fmt: skip
    page = html.render(content)
    assert "Infinity" not in page.split('id="charts">')[1].split("</script>")[0]
    assert "NaN" not in page.split('id="charts">')[1].split("</script>")[0]
    assert not re.search(r"\bnan\b|\binf\b", Page(page).text)


def test_parts_whose_lengths_differ_are_refused():
    with pytest.raises(ConfigError, match=r"^report: equity 'S' has shape \(3,\), its dates have 8 rows$"):
        Equity(DAYS, {"S": np.ones(3)}, {"S": "strategy"})
    with pytest.raises(
        ConfigError, match=r"^report: curve 'S' has the role None; use strategy, benchmark, baseline or"
    ):
        Equity(DAYS, {"S": np.ones(8)}, {})
    with pytest.raises(ConfigError, match=r"^report: null 'mid' has shape \(2,\), its dates have 8 rows$"):
        Equity(DAYS, {}, {}, null=NullBand(np.ones(8), np.ones(2), np.ones(8), 0, 1))
    with pytest.raises(ConfigError, match=r"^report: weights have shape \(8, 2\), dates and names say \(8, 1\)$"):
        WeightsHistory(DAYS, ("A",), np.ones((8, 2)))
    with pytest.raises(ConfigError, match=r"^report: gates must share one \(L, H\) shape"):
        Gates(DAYS[0], {"input": np.ones((3, 2)), "forget": np.ones((4, 2))})
    with pytest.raises(ConfigError, match=r"^report: costs name 1 years, 0 fees and 0 slippages$"):
        Costs(DAYS, np.ones(8), np.ones(8), 0.1, 0.1, years=(2020,))
    assert set(Gates(DAYS[0], {"f": np.ones((3, 2)), "c": np.ones((3, 2))}).values) == {"forget", "cell"}
    with pytest.raises(ConfigError, match=r"^report: language 'fr' is not known; use 'en' or 'zh'$"):
        bare(language="fr")


# ---- a reader who stops after ten seconds -------------------------------------------------------------------------


def alarm(content):
    found = re.search(r'<p class="alarm" role="alert">(.*?)</p>', html.render(content))
    return unescape(found.group(1)) if found else None


def test_a_leak_stands_above_the_verdict_whatever_the_verdict_says():
    content = make_report(
        T=60, explained=LITTLE, audit=make_audit(rows=(AuditRow("Refit", "", "ok"), AuditRow("Rewrite", "", "LEAK")))
    )
    said = "A leak was found (Rewrite): this study used the future, so no figure below can be trusted."
    assert alarm(content) == said
    page = html.render(content)
    assert page.index(said) < page.index("does not beat equal weight")
    assert 'class="verdict doubted"' in page
    assert html.plain_summary(content).index(said) < html.plain_summary(content).index("does not beat")


def test_an_audit_that_cannot_see_says_so():
    blind = "The audit did not catch the leak that was planted to test it"
    assert alarm(bare(audit=make_audit(canary_caught=False))).startswith(blind)
    assert alarm(bare(audit=make_audit(rows=(AuditRow("Canary", "", "missed"),)))).startswith(blind)
    assert alarm(bare(audit=make_audit(rows=(AuditRow("X", "", "not assessed"),)))).startswith(
        "No probe could be assessed"
    )
    assert alarm(bare(audit=None)).startswith("No audit was run")
    assert alarm(bare(audit=make_audit())) is None


def test_probes_of_one_name_are_counted_not_repeated():
    rows = (*(AuditRow("P1", f"target {i}", "ok") for i in range(6)), AuditRow("P1", "target 6", "LEAK"))
    page = html.render(bare(audit=make_audit(rows=rows)))
    assert page.count('<span class="probe">P1') == 2
    assert '<span class="probe">P1 <small>× 6</small></span><span class="result">nothing found' in page
    assert '<span class="probe">P1</span><span class="result">LEAK' in page


def test_the_key_of_the_equity_chart_is_ordered_by_where_each_book_ended():
    content = make_report(T=400)
    chart = figures.charts(content)["equity"]
    *key, band = chart.key
    assert (band.name, band.style, band.traces) == ("Permuted scores, middle 95 %", "band", (0, 1))
    ends = [content.equity.curves[k.name][-1] for k in key]
    assert ends == sorted(ends, reverse=True)
    assert [k.note for k in key] == [amount(e) for e in ends]
    for k in key:  # each entry switches its own line
        assert content.equity.curves[k.name][-1] == chart.figure.data[k.traces[0]].y[-1]


def test_a_planted_leak_that_was_caught_is_not_counted_as_a_quiet_probe():
    sentence, stop = findings.audit(make_audit(), "en")
    assert sentence == "5 probes looked for use of the future and found none; that is what was tried, not a proof."
    assert not stop
    assert findings.audit(Audit((AuditRow("X", "", "ok"),)), "en")[0].startswith("One probe looked")


# ---- titles state findings, computed from the numbers -------------------------------------------------------------


def cost(gross, net):
    return words(findings.costs(Costs(DAYS, np.ones(8), np.ones(8), gross, net), "en"))


def test_costs_both_signs():
    assert cost(0.10, 0.039) == "Costs take 61 % of the gross edge"
    assert cost(0.10, 0.10) == "Costs take 0 % of the gross edge"
    assert cost(0.02, -0.01) == "Costs take more than the whole gross edge: +2.0 % a year before costs, −1.0 % after"
    assert cost(-0.031, -0.043) == (
        "There was no gross edge for costs to take: −3.1 % a year before costs, −4.3 % after"
    )
    assert cost(0.01, 0.02).endswith("the cost account does not add up")
    assert cost(np.nan, 0.02) == "The gross edge is not known"


@pytest.mark.parametrize(
    ("lo", "hi", "says"),
    [
        (-0.01, 0.03, "contains 0, so no skill is shown"),
        (0.0, 0.03, "contains 0, so no skill is shown"),
        (0.004, 0.03, "above 0, interval [0.004, 0.030]"),
        (-0.03, -0.004, "so the forecasts pointed the wrong way"),
        (np.nan, np.nan, "no interval was computed"),
    ],
)
def test_ic_title(lo, hi, says):
    part = IcSeries(DAYS, np.zeros(8), np.zeros(8), 3, Estimate((lo + hi) / 2, lo, hi))
    assert findings.ic(part, "en").endswith(says)


def test_equity_title_ranks_the_strategy():
    curves = {"Mine": np.linspace(1, 1.5, 8), "A": np.linspace(1, 1.2, 8), "B": np.linspace(1, 0.8, 8)}
    roles = {"Mine": "strategy", "A": "baseline", "B": "model"}
    said = findings.equity(Equity(DAYS, curves, roles), "en")
    assert said == "After costs Mine turned 1.00 into 1.50, ahead of all 2 others; A (1.20) comes next"
    curves["A"] = np.linspace(1, 2, 8)
    said = findings.equity(Equity(DAYS, curves, roles), "en")
    assert said == "After costs Mine turned 1.00 into 1.50, behind 1 of 2 others; A ended highest (2.00)"


def test_drawdown_title_and_table():
    wealth = np.array([1.0, 1.2, 0.9, 1.0, 1.2, 1.1, 1.3, 1.17])
    assert words(findings.drawdown(wealth, "en")) == "The deepest fall took 25.0 % and was made good after 3 bars"
    rows = tables.falls(DAYS, wealth, "en").rows
    assert [words(r.cells[3].text) for r in rows] == ["−25.0 %", "−10.0 %", "−8.3 %"]
    assert [r.cells[2].text for r in rows] == ["2020-01-05", "—", "2020-01-07"]
    assert "not made good by the end, 6 bars later" in findings.drawdown(wealth[::-1].copy(), "en")
    assert findings.drawdown(np.arange(1.0, 9.0), "en") == "Wealth never fell below an earlier high"


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=40))
def test_deepest_fall_equals_the_slow_definition(values):
    wealth = np.array(values)
    slow = min(wealth[j] / wealth[: j + 1].max() - 1 for j in range(len(wealth)))
    found = findings.falls(wealth)
    assert (found[0].depth if found else 0.0) == slow


@pytest.mark.parametrize(
    ("capture", "random", "key"),
    [
        (Estimate(0.51, 0.49, 0.53), Estimate(0.5, 0.48, 0.52), "not told apart from random books"),
        (Estimate(0.56, 0.54, 0.58), Estimate(0.5, 0.48, 0.52), "more than random books"),
        (Estimate(0.44, 0.42, 0.46), Estimate(0.5, 0.48, 0.52), "less than random books"),
        (Estimate(0.515, 0.51, 0.52), Estimate(0.5, 0.48, 0.52), "not told apart from random books"),
    ],
)
def test_capture_title(capture, random, key):
    assert key in findings.hindsight(Hindsight(DAYS, np.ones(8), np.ones(8), "", capture, random), "en")


def test_ladder_title_both_signs():
    def said(value, lo, hi):
        rows = (
            LadderRow("Me", "strategy", sharpe=Estimate(value, lo, hi)),
            LadderRow("R", "model", sharpe=Estimate(0.7)),
        )
        return findings.ladder(Ladder(rows), "en")

    assert said(0.5, -0.2, 1.2) == "Me ranks 2 of 2 by net Sharpe ratio, and its interval contains 0"
    assert said(0.9, 0.2, 1.6) == "Me ranks 1 of 2 by net Sharpe ratio, and its interval lies above 0"
    assert said(-0.9, -1.6, -0.2) == "Me ranks 2 of 2 by net Sharpe ratio, and its interval lies below 0"


def test_example_title_counts_directions_and_correlation():
    actual = np.array([0.01, -0.02, 0.03, -0.01, 0.02, 0.0, np.nan, 0.01])
    said = words(findings.example(Example("A", DAYS, actual, actual * 0.1), "A", "en"))
    assert said.startswith("Forecasts for A correlate +1.00 with what followed and were right on direction 100 %")
    assert said.endswith("it rose 67 % of the time")
    assert "correlate −1.00" in findings.example(Example("A", DAYS, actual, -actual), "A", "en")
    assert findings.example(Example("A", DAYS, actual, np.ones(8)), "A", "en") == "Forecasts for A never change"


def test_gates_title_is_the_memory_of_the_forget_gate():
    gates = Gates(DAYS[0], {"forget": np.full((4, 3), 0.9)})
    assert findings.gates(gates, "en") == (
        "On 2020-01-01 the forget gate averages 0.90: the cell keeps about 10.0 bars of memory"
    )
    assert "window that ends on" in findings.gates(Gates(DAYS[0], {"reset": np.ones((4, 3))}), "en")


def test_weights_title_long_short_and_empty():
    w = np.tile([0.5, -0.3, 0.0], (8, 1))
    said = words(findings.weights(WeightsHistory(DAYS, ("A", "B", "C"), w), "en"))
    assert said == "2.0 names are held on average, 1.0 of them short; the largest weight is 50.0 % (A)"
    assert findings.weights(WeightsHistory(DAYS, ("A", "B", "C"), 0 * w), "en") == "Nothing was ever held"


def test_equity_title_and_table_name_the_permuted_books():
    flat = np.ones(8)
    null = NullBand(0.8 * flat, 1.1 * flat, 1.3 * flat, 31, 500)
    part = Equity(DAYS, {"Mine": np.linspace(1, 1.5, 8)}, {"Mine": "strategy"}, null=null)
    assert findings.equity(part, "en") == (
        "After costs Mine turned 1.00 into 1.50; 31 of 500 books of permuted scores end at or above it"
    )
    assert null.p == 32 / 501
    assert NullBand(flat, flat, flat, 0, 499).p == 1 / 500  # never 0
    table = tables.equity(part, "en")
    assert table.head == ("Last session of", "Mine", "Permuted 2.5 %", "Permuted median", "Permuted 97.5 %")
    assert [c.text for c in table.rows[0].cells] == ["2020", "1.50", "0.80", "1.10", "1.30"]
    caption = figures.charts(bare(equity=part))["equity"].caption
    assert caption.endswith("one-sided p = (1 + 31) / (1 + 500) = 0.064.")


def stressed(*nets, breakeven):
    rows = [StressRow(t, 0, n) for t, n in zip((0.0, 1.0, 5.0), nets, strict=True)]
    part = Stress((*rows, StressRow(1.0, 2, 0.01)), breakeven)
    return words(robust.stress_title(part, "en"))


def test_stress_title_says_where_costs_eat_the_return():
    assert stressed(0.08, 0.05, -0.07, breakeven=2.67) == (
        "The net return of +5.0 % a year falls to 0 at 2.7 times the costs; filled 2 bars later it is +1.0 %"
    )
    assert stressed(0.08, 0.07, 0.03, breakeven=np.inf) == (
        "The net return of +7.0 % a year is still +3.0 % at 5 times the costs; filled 2 bars later it is +1.0 %"
    )
    assert stressed(0.08, -0.001, -0.3, breakeven=0.998) == (
        "After costs it loses, −0.1 % a year: it would break even at 0.99 times the costs; "
        "filled 2 bars later it is +1.0 %"
    )
    assert stressed(-0.01, -0.02, -0.3, breakeven=np.nan) == (
        "It loses money even free of costs: −1.0 % a year before them, −2.0 % after"
    )
    assert stressed(0.08, np.nan, 0.03, breakeven=np.nan) == "The net return as traded is not known"


def test_stress_chart_draws_one_line_per_delay_and_marks_the_break_even():
    chart = figures.charts(make_report(T=60))["stress"]
    *lines, mark = chart.figure.data
    assert [line.name for line in lines] == ["as traded", "+1 bar", "+2 bars"]
    assert {line.line.color for line in lines} == {look.STRATEGY}
    assert list(lines[0].x) == [0, 1, 2, 5]
    assert np.allclose(lines[0].y, [8.9, 6.3, 3.7, -4.1])
    assert (mark.x[0], mark.y[0], mark.text[0]) == (make_stress().breakeven, 0.0, "× 3.4")
    assert [r.role for r in chart.table.rows].index("strategy") == 1
    assert words(chart.table.rows[1].cells[0].text) == "× 1"
    assert chart.table.rows[1].cells[-1].text == ""  # the book as traded does not differ from itself


@pytest.mark.parametrize(
    ("half", "base", "said"),
    [
        (2.5e8, 0.05, "Half of the net return is gone at a capital of 250 million"),
        (np.inf, 0.05, "More than half of the net return is left at a capital of 1 billion"),
        (0.0, 0.05, "Volume cap and impact take more than half of the net return already at a capital of 1 million"),
        (np.nan, -0.02, "There is no net return to halve: −2.0 % a year as traded"),
    ],
)
def test_capacity_title(half, base, said):
    part = Capacity((CapacityRow(1e6, 0.05, 0.0), CapacityRow(1e9, 0.01, 0.3)), half, base, 0.1, 1.0)
    assert words(robust.capacity_title(part, "en")) == said
    chart = figures.charts(bare(capacity=part))["capacity"]
    assert [k.name for k in chart.key] == ["Strategy", "As traded", *(["Half of it"] if base > 0 else [])]
    assert "an order takes at most 10 % of its bar's volume" in words(chart.caption)


def test_capacity_without_a_volume_is_said_not_drawn():
    content = bare(capacity=Capacity(not_assessed="no volume"))
    chart = figures.charts(content)["capacity"]
    assert chart.figure is None
    text = Page(html.render(content)).text
    assert "Capacity was not assessed: no volume in these bars" in text
    assert "未评估资金容量：行情中没有成交量" in html.render(dataclasses.replace(content, language="zh"))


def test_orders_title_table_and_picture():
    rows = (
        OrderRow("filled", 6, 2, 600.0, 200.0), OrderRow("filled in part", 1, 0, 100.0, 0.0, 25.0),
        OrderRow("limit up", 1, 0, 75.0, 0.0, 75.0), OrderRow("T+1", 0, 1, 0.0, 25.0, 0.0, 25.0),
    )  # fmt: skip
    part = Orders(rows, 12.5, 0.031)
    assert words(robust.orders_title(part, "en")) == (
        "12.5 % of the value ordered was not traded, the largest part for “limit up” (7.5 %)"
    )
    cut = Orders((*rows[:1], OrderRow("filled in part", 9, 0, 200.0, 0.0, 125.0)))
    assert words(robust.orders_title(cut, "en")) == (
        "12.5 % of the value ordered was not traded, the largest part (12.5 %) of orders filled in part: "
        "cash, lots or volume ran out"
    )
    chart = figures.charts(bare(orders=part))["orders"]
    assert [[words(c.text) for c in r.cells] for r in chart.table.rows] == [
        ["filled whole", "6", "2", "72.73 %", "80.00 %", "0.00 %"],
        ["filled in part", "1", "0", "9.09 %", "10.00 %", "2.50 %"],
        ["limit up", "1", "0", "9.09 %", "7.50 %", "7.50 %"],
        ["T+1", "0", "1", "9.09 %", "2.50 %", "2.50 %"],
    ]
    buys, sells = chart.figure.data
    assert list(chart.figure.layout.yaxis.ticktext) == ["T+1", "limit up", "filled in part"]
    assert list(buys.x) == [0.0, 7.5, 2.5]
    assert list(sells.x) == [2.5, 0.0, 0.0]
    assert "One-way turnover 12.5 × a year, costs 3.10 % a year." in words(chart.caption)


def test_orders_that_were_all_filled_need_no_picture():
    content = bare(orders=Orders((OrderRow("filled", 6, 2, 600.0, 200.0),)))
    assert figures.charts(content)["orders"].figure is None
    assert "Every order was filled whole" in Page(html.render(content)).text
    assert robust.orders_title(Orders((OrderRow("filled", 0, 0, 0.0, 0.0),)), "en") == "Nothing was ever ordered"


def test_every_reason_of_refusal_has_a_phrase():
    from hitherto.exchange.account import REASONS

    assert [r for r in REASONS if f"o_{r}" not in WORDS] == []


def test_periods_title():
    def said(*rows):
        return words(robust.periods_title(Periods(rows), "en"))

    years = (PeriodRow(2020, 242, 0.1, 0.02), PeriodRow(2021, 243, -0.1, -0.03), PeriodRow(2022, 240, 0.2, 0.01))
    assert said(*years) == "Ahead of equal weight in 2 of 3 calendar years; 2021 was the worst of them (−3.0 %)"
    assert said(years[1]) == "In its only calendar year, 2021, it stood −3.0 % against equal weight"
    short = PeriodRow(2019, 19, -0.5, -0.5)  # in the table, not in the title
    assert said(short, *years) == said(*years)
    assert said(short) == "In its only calendar year, 2019, it stood −50.0 % against equal weight"
    assert said(PeriodRow(2020, 9, 0.1), PeriodRow(2021, 9, -0.2)) == (
        "It gained in 1 of 2 calendar years; 2021 was the worst of them (−20.0 %)"
    )


def test_rules_in_force_stand_among_the_assumptions():
    content = make_report(T=60)
    text = words(Page(html.render(content)).text)
    at = [text.index(mark) for mark in (
        "Assumptions", "Fractional shares.", "No name is ever ST (assume.st = never).", "Rules in force", "Market cn",
        content.rules.digest, "Closes that contradict them 14 of 1,203,377", "Study file",
    )]  # fmt: skip
    assert at == sorted(at)
    bars = bare(rules=Rules("us", "ab12"))
    assert "Closes that contradict them not counted" in Page(html.render(bars)).text
    assert "Closes that contradict them 0" in Page(html.render(bare(rules=Rules("us", "ab12", (), 0)))).text


def test_every_chart_has_title_caption_axis_unit_and_table():
    charts = figures.charts(make_report(T=400))
    assert list(charts) == [
        "equity", "drawdown", "hindsight", "ic", "ladder", "example", "gates", "weights", "costs", "cost_years",
        "stress", "capacity", "orders", "periods", "attribution", "attribution_years", "attribution_path", "exposure",
        "decay", "quantiles", "autocorrelation", "heatmap", "rolling", "regimes", "breakeven", "delay",
    ]  # fmt: skip
    assert sorted(charts) == sorted(name for _, names in html.SECTIONS for name in names)
    for chart in charts.values():
        assert chart.title
        assert chart.caption
        assert chart.name in ("example", "gates") or chart.basis.startswith("252 bars a year · risk-free")
        assert chart.table.rows
        layout = chart.figure.layout
        written = [a.text for a in layout.annotations] + [layout.xaxis.title.text, layout.yaxis.title.text]
        assert any(w for w in written), chart.name


# ---- colours ------------------------------------------------------------------------------------------------------


def test_a_role_has_one_colour_in_every_chart():
    content = make_report(T=400)
    charts = figures.charts(content)
    lines = {t.name: t.line.color for t in charts["equity"].figure.data}
    dots = {t.name: t.marker.color for t in charts["ladder"].figure.data}
    assert lines["LSTM top-5"] == dots["LSTM top-5"] == look.STRATEGY
    for name in ("Ridge", "LightGBM", "Equal weight", "Buy and hold"):
        assert lines[name] == dots[name] == look.ROLE_COLOURS[content.equity.roles[name]]
    assert charts["hindsight"].figure.data[0].line.color == look.HINDSIGHT
    drawn = [t for t in charts["equity"].figure.data if t.fill is None and not t.name.startswith("Permuted")]
    assert len({(t.line.color, t.line.dash) for t in drawn}) == len(drawn) == 6
    low, high = charts["equity"].figure.data[:2]  # drawn first: behind every curve
    assert (low.name, high.name, high.fill) == ("Permuted 2.5 %", "Permuted 97.5 %", "tonexty")
    assert high.fillcolor == look.pale(look.BASELINE)


def test_one_switch_turns_gain_and_loss_round():
    for rising_red, gain in ((True, look.RED), (False, look.GREEN)):
        content = make_report(T=400, rising_red=rising_red, explained=None)
        bars = figures.charts(content)["example"].figure.data[0]
        assert all((c == gain) == (y >= 0) for c, y in zip(bars.marker.color, bars.y, strict=True))
        assert f"--up:{gain};" in html.render(content)


# ---- thinning -----------------------------------------------------------------------------------------------------


@given(
    st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), min_size=0, max_size=400),
    st.integers(4, 60),
)
def test_thinning_keeps_ends_and_extremes(values, points):
    series = np.array(values, float)
    rows = thin(series, points)
    assert len(rows) <= max(points, 0)
    assert np.all(np.diff(rows) > 0)
    if len(series) <= points:
        assert np.array_equal(rows, np.arange(len(series)))
        return
    assert rows[0] == 0
    assert rows[-1] == len(series) - 1
    if np.isfinite(series).any():
        assert np.nanmin(series[rows]) == np.nanmin(series)
        assert np.nanmax(series[rows]) == np.nanmax(series)
    else:
        assert np.isnan(series[rows]).all()


def test_thinning_keeps_a_spike_and_a_gap_of_a_long_series():
    series = np.sin(np.arange(100_000) / 500)
    series[61_803], series[27_182] = 9.0, -9.0
    series[40_000:45_000] = np.nan
    rows = thin(series)
    assert len(rows) <= 2000
    assert {61_803, 27_182} <= set(rows)
    assert np.isnan(series[rows]).sum() >= 40  # 5 % of the series is a gap, so about 5 % of 1,000 buckets are


# ---- numbers, terminal, file --------------------------------------------------------------------------------------


def test_numbers_as_text():
    assert number(-0.004, 2) == "0.00"
    assert number(-1234.5, 1) == "−1,234.5"
    assert number(0.5, 2, sign=True) == "+0.50"
    assert number(np.nan) == "—"
    assert words(percent(0.6123)) == "61.2 %"
    assert percent(np.nan) == "—"
    assert words(amount(2.1468e8, "zh")) == "2.1468 亿"
    assert words(amount(1e4, "zh")) == "1 万"
    assert words(amount(2.146823e8)) == "214.68 million"
    assert words(amount(1e9)) == "1 billion"
    assert words(amount(-2.5e9)) == "−2.50 billion"
    assert words(amount(3.14e-7)) == "3.14 × 10⁻⁷"
    assert words(amount(-2.5e12)) == "−2.50 × 10¹²"
    assert amount(0.0) == "0.0000"
    assert (
        typeset("-0.7% .. +4.8%, 1..-2, 2020-01-05, 1e-5, x-1, -.5")
        == "−0.7% .. +4.8%, 1..−2, 2020-01-05, 1e-5, x-1, −.5"
    )


def test_the_words_are_inserted_never_parsed():
    assert say("en", "f_equity_alone", name="{end} {0}", end="2") == "After costs {end} {0} turned 1.00 into 2"


def test_plain_summary_lines_up_and_cannot_move_the_cursor():
    import unicodedata

    ladder = Ladder(
        (LadderRow("平安\x1b[31m", "strategy", net_return=0.1), LadderRow("ridge", "model", net_return=-0.2))
    )
    text = html.plain_summary(make_report(T=60, ladder=ladder))
    assert "\x1b" not in text
    rows = [line for line in text.splitlines() if line.startswith(("Model", "平安", "ridge"))]

    def width(s):
        return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in s)

    assert len(rows) == 3
    assert len({width(r) for r in rows}) == 1
    assert "does not beat equal weight" in text
    assert "! Prices are vendor-adjusted" in text
    assert "252 bars a year · risk-free rate 0\u00a0% a year · arithmetic means, drawdown compounded" in text


def test_write_is_whole_or_not_at_all(tmp_path, monkeypatch):
    target = tmp_path / "new" / "报告.html"
    assert html.write(make_report(T=60, explained=None), target) == target
    first = target.read_bytes()
    assert first == html.render(make_report(T=60, explained=None)).encode()

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(HithertoError, match="disk full"):
        html.write(make_report(T=90, explained=None), target)
    assert target.read_bytes() == first
    assert list(target.parent.iterdir()) == [target]


def test_a_data_cards_markdown_is_laid_out():
    text = (
        "# Card\n\nTwo *plain*\nlines of **bold**.\n\n| a | b |\n|---|---|\n| `x` | 2 * 3 |\n\n- one\n  more\n- two\n\n"
        "```python\nd = 1\n\ne = <2>\n```\nafter"
    )
    assert html._card(text) == [
        ("heading", ["Card"]),
        ("paragraph", ["Two plain lines of bold."]),
        ("table", [["a", "b"], ["x", "2 * 3"]]),
        ("list", ["one more", "two"]),
        ("code", ["d = 1", "", "e = <2>"]),
        ("paragraph", ["after"]),
    ]
    page = html.render(dataclasses.replace(make_report(), data_card=text))
    assert "<pre>d = 1\n\ne = &lt;2&gt;</pre>" in page
    assert "<td>x</td><td>2 * 3</td>" in page
