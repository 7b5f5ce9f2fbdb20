"""The rule table of the verdict: what is asked, by which test, from which threshold, and in which words.

Report, terminal and JSON all read these rows. "yes" stands only where every test of a row says so; what is not shown is
called not shown. Names in braces are filled in by ``evaluate.verdict``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from hitherto.evaluate.inference import Interval

Unit = Literal["fraction", "number", "probability", "years"]
Words = tuple[str, str]  # English, Chinese
Answer = Literal["yes", "no", "cannot tell"]
MIN_BARS = 60
NONE = (None, None, None)
CHINESE = {
    "equal weight": "等权组合", "ridge": "岭回归", "buy and hold": "买入持有", "zero": "零预测",
    "persistence": "惯性预测", "momentum": "动量",
}  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """One question with its test, threshold and words (English, Chinese).

    threshold: what the test is held against: 0 for an interval, a confidence or a p-value else. unit: of the row's
    estimate. words: outcome -> words; "yes" is the answer yes, "unknown" is cannot tell, all others are no.
    """

    key: str
    question: Words
    test: Words
    threshold: float
    unit: Unit
    words: Mapping[str, Words]


@dataclass(frozen=True)
class Beside:
    """A statistic that stands beside the one that a row rests on: two-sided p, n observations."""

    name: str
    t: float
    p: float
    n: int


@dataclass(frozen=True)
class Row:
    """One question with its figures: estimate, lo and hi None when it cannot tell, or where there is no interval.

    unit: "fraction" (of capital a year, or of the squared error removed) is read in per cent, "number" (correlations),
    "probability" (a confidence or a p-value) and "years" as they are. answer: "yes" only if every test of the row says
    so. key: its rule in ``evaluate.rules``, with test and threshold as they were held. beside: further statistics.
    """

    question: str
    question_zh: str
    unit: Unit
    estimate: float | None
    lo: float | None
    hi: float | None
    answer: Answer
    words: str
    words_zh: str
    key: str
    test: str
    test_zh: str
    threshold: float
    beside: tuple[Beside, ...] = ()


TOO_FEW = ("cannot tell: {why}", "{why_zh}，无法判断")
INTERVAL = {
    "yes": ("yes, the interval excludes 0: {figures}", "是，区间不含 0：{figures_zh}"),
    "below": ("no, it is below 0: {figures}", "否，低于 0：{figures_zh}"),
    "no": ("no, the interval contains 0: {figures}", "否，区间包含 0：{figures_zh}"),
    "unknown": TOO_FEW,
}
APART = {
    **INTERVAL,
    "doubt": (
        "not shown: the interval excludes 0, every {nth} date alone does not: {figures}",
        "未能证明：区间不含 0，但每 {horizon} 日取一日时不能排除 0：{figures_zh}",
    ),
    "faint": (
        "no: the interval is below 0, every {nth} date alone does not exclude it: {figures}",
        "否：区间低于 0，但每 {horizon} 日取一日时不能排除 0：{figures_zh}",
    ),
}
DIEBOLD = {
    **INTERVAL,
    "doubt": (
        "not shown: the interval excludes 0, the Diebold-Mariano test does not: {figures}",
        "未能证明：区间不含 0，但 Diebold-Mariano 检验不显著：{figures_zh}",
    ),
}
IC_TEST = (
    "{level} % block-bootstrap interval of the mean, blocks no shorter than the label; where labels overlap, every "
    "date whose label shares no bar with the last one, too",
    "均值的 {level}% 分块自助区间，块长不短于标签；标签重叠时，互不重叠的日期也须显著",
)

RULES: tuple[Rule, ...] = (
    Rule(
        "net",
        ("Beats {name} after costs?", "扣除成本后是否优于{name_zh}？"),
        ("{level} % interval of the difference of net returns, paired block bootstrap, automatic block length",
         "净收益之差的 {level}% 区间，配对分块自助法，自动块长"),
        0.0, "fraction",
        {
            "yes": ("beats {name} by {value} % a year ({level} %: {lo}..{hi}) after costs",
                    "扣除成本后每年优于{name_zh} {value}%（{level}% 区间 {lo}%..{hi}%）"),
            "below": ("falls short of {name} by {lag} % a year ({level} %: {lag_lo}..{lag_hi}) after costs",
                      "扣除成本后每年落后于{name_zh} {lag}%（{level}% 区间 {lag_lo}%..{lag_hi}%）"),
            "no": ("does not beat {name}: the interval of the difference contains 0 ({level} %: {lo}..{hi} % a year)",
                   "未能优于{name_zh}：收益差的区间包含 0（{level}% 区间 {lo}%..{hi}%，每年）"),
            "unknown": ("cannot be told from {name}: only {bars} common bars, {least} are needed",
                        "与{name_zh}仅有 {bars} 个共同交易期（至少需要 {least} 个），无法判断"),
        },
    ),
    Rule("ic", ("Is the IC above 0?", "IC 是否大于 0？"), IC_TEST, 0.0, "number", APART),
    Rule("rank_ic", ("Is the RankIC above 0?", "RankIC 是否大于 0？"), IC_TEST, 0.0, "number", APART),
    Rule(
        "error",
        ("Is its squared error below that of forecasting zero?", "均方误差是否小于零预测？"),
        ("{level} % block-bootstrap interval of the share of the error removed, and Diebold-Mariano with the "
         "correction of Harvey, Leybourne and Newbold",
         "所消除误差比例的 {level}% 分块自助区间，以及经 Harvey-Leybourne-Newbold 校正的 Diebold-Mariano 检验"),
        0.0, "fraction", DIEBOLD,
    ),
    Rule(
        "naive",
        ("Is its RankIC above that of {name}?", "RankIC 是否高于{name_zh}？"),
        ("{level} % block-bootstrap interval of the daily difference, and Diebold-Mariano with the correction of "
         "Harvey, Leybourne and Newbold",
         "每日差值的 {level}% 分块自助区间，以及经 Harvey-Leybourne-Newbold 校正的 Diebold-Mariano 检验"),
        0.0, "number", DIEBOLD,
    ),
    Rule(
        "sharpe",
        ("Is the Sharpe ratio above 0?", "夏普比率是否大于 0？"),
        ("probabilistic Sharpe ratio of {threshold} (independent periods), and the block-bootstrap interval",
         "概率夏普比率达到 {threshold}（假定各期独立），且分块自助区间不含 0"),
        0.95, "probability",
        {
            "yes": ("yes, at a confidence of {value}: {figures}", "是，置信度 {value}：{figures_zh}"),
            "no": ("not shown: the confidence is {value}, {threshold} is asked: {figures}",
                   "未能证明：置信度 {value}，要求 {threshold}：{figures_zh}"),
            "doubt": ("not shown: the confidence is {value}, but the interval contains 0: {figures}",
                      "未能证明：置信度 {value}，但区间包含 0：{figures_zh}"),
            "unknown": TOO_FEW,
        },
    ),
    Rule(
        "deflated",
        ("Is the Sharpe ratio above the luck of the search?", "夏普比率是否超出多次尝试的运气？"),
        ("deflated Sharpe ratio of {threshold}, trials and their variance from the trial ledger",
         "折减夏普比率达到 {threshold}，试验次数与方差取自试验账本"),
        0.95, "probability",
        {
            "yes": ("above the luck of the search: 1 of {trials} trials on this data, deflated Sharpe ratio {value}",
                    "超出搜索的运气：此数据上 {trials} 次试验中的 1 次，折减夏普比率 {value}"),
            "no": ("not distinguishable from the luck of the search: 1 of {trials} trials on this data, deflated "
                   "Sharpe ratio {value} ({threshold} is asked)",
                   "与搜索的运气无法区分：此数据上 {trials} 次试验中的 1 次，折减夏普比率 {value}（要求 {threshold}）"),
            "unknown": TOO_FEW,
        },
    ),
    Rule(
        "track",
        ("Is the test long enough for its Sharpe ratio?", "检验期对其夏普比率而言是否足够长？"),
        ("minimum track record length at a confidence of {threshold} (independent periods)",
         "置信度 {threshold} 下的最短业绩记录长度（假定各期独立）"),
        0.95, "years",
        {
            "yes": ("yes: the test has {have} years, {need} are needed{more}",
                    "是：检验期 {have} 年，需要 {need_zh} 年{more_zh}"),
            "no": ("no: the test has {have} years; {need} would be needed{more}",
                   "否：检验期 {have} 年，需要 {need_zh} 年{more_zh}"),
            "never": ("no: the Sharpe ratio of its {have} years is not above 0, no length would do",
                      "否：{have} 年的夏普比率不大于 0，多长都不够"),
            "unknown": TOO_FEW,
        },
    ),
    Rule(
        "holm",
        ("Does a model rank better than chance, all of them counted?", "计入全部模型后，是否有模型的排序优于随机？"),
        ("Diebold-Mariano of the daily RankIC against 0 for each fitted model (where labels overlap the larger p of it "
         "and of dates whose labels do not), Holm's adjustment over them, p below {threshold}",
         "逐个已训练模型以 Diebold-Mariano 检验每日 RankIC 是否不同于 0（标签重叠时与互不重叠日期的 p 取大者），"
         "经 Holm 校正，p 小于 {threshold}"),
        0.05, "probability",
        {
            "yes": ("yes, of {count} models: {names} (adjusted p {p})",
                    "是，{count} 个模型中：{names}（校正后 p {p}）"),
            "no": ("not shown for any of {count} models: the lowest adjusted p is {p} ({names})",
                   "{count} 个模型均未能证明：最小的校正后 p 为 {p}（{names}）"),
            "unknown": TOO_FEW,
        },
    ),
    Rule(
        "superior",
        ("Does a book beat {name} after costs, all of them counted?",
         "计入全部组合后，是否有组合在扣除成本后优于{name_zh}？"),
        ("Hansen's test of superior predictive ability on net returns, stationary bootstrap, p below {threshold}",
         "对净收益的 Hansen 优越预测能力（SPA）检验，平稳自助法，p 小于 {threshold}"),
        0.05, "probability",
        {
            "yes": ("yes: Hansen's p {p} over {count} books; the best is {names}",
                    "是：{count} 个组合的 Hansen p 值 {p}；最好的是 {names}"),
            "no": ("not shown: Hansen's p {p} over {count} books", "未能证明：{count} 个组合的 Hansen p 值 {p}"),
            "unknown": ("not assessed: {why}", "未评估：{why_zh}"),
        },
    ),
    Rule(
        "overfitting",
        ("Does the best book of one half stay in the upper half on the other?",
         "一半数据上最好的组合在另一半上是否仍居前半？"),
        ("probability of backtest overfitting below {threshold}, CSCV with 16 blocks",
         "回测过拟合概率（PBO，16 块 CSCV）小于 {threshold}"),
        0.05, "probability",
        {
            "yes": ("yes: it ends in the lower half in {value} of the splits ({chance} is the mean of {count} books of "
                    "equal worth)",
                    "是：仅在 {value} 的划分中落入后半（{count} 个无差别组合平均为 {chance}）"),
            "no": ("not shown: it ends in the lower half in {value} of the splits ({chance} is the mean of {count} "
                   "books of equal worth)",
                   "未能证明：在 {value} 的划分中落入后半（{count} 个无差别组合平均为 {chance}）"),
            "unknown": ("not assessed: {why}", "未评估：{why_zh}"),
        },
    ),
)  # fmt: skip
BY_KEY = {r.key: r for r in RULES}


def row(
    key: str, outcome: str, fill: Mapping[str, object], interval: Interval | tuple[float | None, ...] = NONE,
    beside: tuple[Beside, ...] = (), level: float = 0.95,
) -> Row:  # fmt: skip
    """Return the row of the rule ``key`` with the words of ``outcome`` filled in; interval: estimate, lo, hi."""
    rule = BY_KEY[key]
    values = {"level": f"{level * 100:g}", "threshold": f"{rule.threshold:g}", **fill}
    (ask, ask_zh), (words, words_zh), (test, test_zh) = (
        (en.format(**values), zh.format(**values)) for en, zh in (rule.question, rule.words[outcome], rule.test)
    )
    answer: Answer = "yes" if outcome == "yes" else "cannot tell" if outcome == "unknown" else "no"
    estimate, lo, hi = interval
    return Row(
        ask, ask_zh, rule.unit, estimate, lo, hi, answer, words, words_zh, key, test, test_zh, rule.threshold, beside,
    )  # fmt: skip


def chinese(name: str) -> str:
    """Return the Chinese word for a baseline, or the name itself."""
    return CHINESE.get(name.lower().replace("_", " "), name)


def side(d: Interval) -> str:
    """Return the outcome of an interval: "yes" above 0, "below" it, else "no"."""
    return "yes" if d.lo > 0 else "below" if d.hi < 0 else "no"


def figures(d: Interval, level: float) -> Words:
    """Return an estimate with its interval in English and Chinese."""
    bounds = f"{d.lo:.4f}..{d.hi:.4f}"
    return f"{d.estimate:.4f} ({level * 100:g} %: {bounds})", f"{d.estimate:.4f}（{level * 100:g}% 区间 {bounds}）"


def percent(x: float) -> str:
    """Return a fraction in per cent, one digit."""
    return f"{100 * x:.1f}"


def p_value(p: float) -> str:
    """Return a p-value as it is printed."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def confidence(p: float) -> str:
    """Return a confidence as it is printed: never rounded up to a threshold."""
    return "> 0.999" if p > 0.999 else f"{math.floor(1000 * p) / 1000:.3f}"


def years(x: float) -> Words:
    """Return a span in years as it is printed in English and Chinese."""
    return ("more than 1,000", "超过 1,000") if x > 1000 else (f"{x:.1f}", f"{x:.1f}")


def nth(n: int) -> str:
    """Return an English ordinal in digits."""
    last = {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th") if n % 100 not in (11, 12, 13) else "th"
    return f"{n}{last}"
