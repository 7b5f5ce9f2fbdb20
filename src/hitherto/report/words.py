"""Text of the report: cleaning of foreign strings, number formats, and every fixed phrase in English and Chinese."""

from __future__ import annotations

import math
import re
import unicodedata

from hitherto.report.content import Estimate, Language
from hitherto.report.words_explained import EXPLAINED
from hitherto.report.words_robust import ROBUST

NBSP = "\u00a0"
DASH = "—"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# Characters that reorder or hide the text around them; a symbol called with one could fake a neighbouring cell.
_INVISIBLE = frozenset("\u200b\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")


def clean(text: object) -> str:
    """Replace control, bidirectional and unpaired surrogate characters by U+FFFD; keep tabs and line ends."""
    return "".join(
        c if c in "\t\n" or (unicodedata.category(c) not in ("Cc", "Cs") and c not in _INVISIBLE) else "\ufffd"
        for c in str(text)
    )


def number(value: float, digits: int = 2, sign: bool = False) -> str:
    """Fixed-point text with a true minus; a dash when NaN, and a value that rounds to 0 has no sign."""
    if not math.isfinite(value):
        return DASH if math.isnan(value) else ("∞" if value > 0 else "−∞")
    body = f"{abs(value):,.{digits}f}"
    if not any(c in "123456789" for c in body):
        return body
    return ("−" if value < 0 else "+" if sign else "") + body


def percent(value: float, digits: int = 1, sign: bool = False) -> str:
    """A fraction in per cent, "61.0 %" with a no-break space; a dash when NaN."""
    text = number(value * 100, digits, sign)
    return text if text == DASH else f"{text}{NBSP}%"


def amount(value: float, language: Language = "en") -> str:
    """Wealth in words people use: 万 and 亿 in Chinese, million and billion in English, powers of ten beyond."""
    size = abs(value)
    if not math.isfinite(value):
        return number(value)
    if size and (size < 1e-3 or size >= 1e12):
        exponent = math.floor(math.log10(size))
        mantissa = round(value / 10.0**exponent, 2) if exponent > -308 else 0.0
        return f"{number(mantissa)}{NBSP}×{NBSP}10{str(exponent).translate(_SUPERSCRIPT)}"
    if language == "zh" and size >= 1e8:
        return f"{_round(value / 1e8, 4)}{NBSP}亿"
    if language == "zh" and size >= 1e4:
        return f"{_round(value / 1e4, 2)}{NBSP}万"
    if language == "en" and size >= 1e9:
        return f"{_round(value / 1e9, 2)}{NBSP}billion"
    if language == "en" and size >= 1e6:
        return f"{_round(value / 1e6, 2)}{NBSP}million"
    return number(value, 0 if size >= 1e4 else 2 if size >= 0.1 else 4)


def _round(value: float, digits: int) -> str:
    """Whole numbers without decimals, the others with ``digits``."""
    return number(value, 0 if abs(value - round(value)) < 1e-9 else digits)


def interval(estimate: Estimate, fraction: bool = False, digits: int | None = None) -> str:
    """[lo, hi] as text, or an empty string when no interval is known."""
    if math.isnan(estimate.lo) or math.isnan(estimate.hi):
        return ""
    if fraction:
        places = 1 if digits is None else digits
        return f"[{number(estimate.lo * 100, places)}, {percent(estimate.hi, places)}]"
    places = 2 if digits is None else digits
    return f"[{number(estimate.lo, places)}, {number(estimate.hi, places)}]"


def typeset(text: str) -> str:
    """Give numbers in ready-made text a true minus, so that they stand in line with ours."""
    return re.sub(r"(?<![\w-])-(?=\.?\d)", "−", text)


def say(language: Language, key: str, **values: object) -> str:
    """Return the fixed phrase ``key`` with its blanks filled; the values are inserted as they are, never parsed."""
    return WORDS[key][0 if language == "en" else 1].format(**values)


WORDS: dict[str, tuple[str, str]] = {
    # page furniture
    "kicker": ("Out-of-sample study, net of costs", "样本外研究 · 扣除成本"),
    "written": ("Written {date} by hitherto", "hitherto 生成于 {date}"),
    "unfold": ("Unfold all", "全部展开"),
    "fold": ("Fold all", "全部折叠"),
    "noscript": (
        "Charts need JavaScript; the tables below each of them hold the numbers.",
        "图表需要 JavaScript；每幅图下方的表格给出数据。",
    ),
    "numbers": ("The numbers behind this chart", "图表数据"),
    "how_verdict": ("How the verdict was reached", "结论依据"),
    "question": ("Question", "问题"),
    "estimate": ("Estimate, 95 % interval", "估计与 95 % 区间"),
    "answer": ("Answer", "回答"),
    "beware": ("Read this first", "请先阅读"),
    "contents": ("Contents", "目录"),
    # sections
    "s_tried": ("What was tried to catch it cheating", "为抓出作弊所做的尝试"),
    "s_equity": ("Equity", "净值"),
    "s_ladder": ("The ladder of models", "模型阶梯"),
    "s_example": ("One asset's forecast", "单一资产的预测"),
    "s_hindsight": ("With hindsight", "事后上下界"),
    "s_audit": ("Audit in detail", "审计明细"),
    "s_settings": ("Settings", "设置"),
    "s_data": ("Data", "数据"),
    # audit
    "a_none_run": (
        "No audit was run: nothing below was tested for use of the future.",
        "未做审计：以下内容未检验是否用到未来数据。",
    ),
    "a_leak": (
        "A leak was found ({probes}): this study used the future, so no figure below can be trusted.",
        "发现未来数据泄漏（{probes}）：本研究用到了未来，以下数字均不可信。",
    ),
    "a_blind": (
        "The audit did not catch the leak that was planted to test it, so it cannot tell whether this study is honest.",
        "审计未能抓住特意植入的泄漏，因此无法判断本研究是否诚实。",
    ),
    "a_unassessed": (
        "No probe could be assessed: nothing below was tested for use of the future.",
        "所有探针均未评估：以下内容未检验是否用到未来数据。",
    ),
    "a_clean": (
        "{n} probes looked for use of the future and found none; that is what was tried, not a proof.",
        "{n} 个探针查找是否用到未来数据，均未发现；这只说明试过什么，并非证明。",
    ),
    "a_clean_1": (
        "One probe looked for use of the future and found none; that is what was tried, not a proof.",
        "1 个探针查找是否用到未来数据，未发现；这只说明试过什么，并非证明。",
    ),
    "a_canary_none": (
        "No leak was planted to test the audit itself, so its sight is unknown.",
        "未植入泄漏来检验审计本身，其检出能力未知。",
    ),
    "a_smallest": ("Smallest leak it caught when planted", "植入后能抓到的最小泄漏"),
    "a_not": ("Not assessed", "未评估"),
    "probe": ("Probe", "探针"),
    "tried": ("What was tried", "尝试内容"),
    "result": ("Result", "结果"),
    "detail": ("Detail", "细节"),
    "r_ok": ("nothing found", "未发现"),
    "r_LEAK": ("LEAK", "泄漏"),
    "r_not assessed": ("not assessed", "未评估"),
    "r_caught": ("caught, as it must be", "已抓到，符合预期"),
    "r_missed": ("planted leak missed", "植入的泄漏未抓到"),
    # findings: equity
    "f_equity_first": (
        "After costs {name} turned 1.00 into {end}, ahead of all {m} others; {next} ({value}) comes next",
        "扣除成本后 {name} 把 1.00 变为 {end}，超过其余 {m} 个；其次为 {next}（{value}）",
    ),
    "f_equity_behind": (
        "After costs {name} turned 1.00 into {end}, behind {k} of {m} others; {next} ended highest ({value})",
        "扣除成本后 {name} 把 1.00 变为 {end}，落后于 {m} 个中的 {k} 个；最高为 {next}（{value}）",
    ),
    "f_equity_alone": ("After costs {name} turned 1.00 into {end}", "扣除成本后 {name} 把 1.00 变为 {end}"),
    "f_equity_none": ("No strategy curve was given", "未给出策略净值曲线"),
    "f_fall": (
        "The deepest fall took {depth} and was made good after {n} bars",
        "最大回撤 {depth}，历时 {n} 根 K 线收复",
    ),
    "f_fall_open": (
        "The deepest fall took {depth} and was not made good by the end, {n} bars later",
        "最大回撤 {depth}，至期末 {n} 根 K 线仍未收复",
    ),
    "f_fall_none": ("Wealth never fell below an earlier high", "净值从未低于此前高点"),
    "f_band": (
        "With perfect foresight 1.00 became {best}; with its mirror, {worst}",
        "完全预见使 1.00 变为 {best}；其镜像只剩 {worst}",
    ),
    "f_capture": ("The strategy captured {capture} of the foresight range", "策略捕获了事后区间的 {capture}"),
    "f_capture_same": (
        "The strategy captured {capture} of the foresight range: not told apart from random books ({random})",
        "策略捕获事后区间的 {capture}：与随机组合（{random}）无法区分",
    ),
    "f_capture_more": (
        "The strategy captured {capture} of the foresight range, more than random books ({random})",
        "策略捕获事后区间的 {capture}，高于随机组合（{random}）",
    ),
    "f_capture_less": (
        "The strategy captured {capture} of the foresight range, less than random books ({random})",
        "策略捕获事后区间的 {capture}，低于随机组合（{random}）",
    ),
    # findings: forecasts
    "f_ic_zero": (
        "{kind} averages {mean}: its interval {interval} contains 0, so no skill is shown",
        "{kind} 均值 {mean}：区间 {interval} 包含 0，未显示预测能力",
    ),
    "f_ic_plus": (
        "{kind} averages {mean}: above 0, interval {interval}",
        "{kind} 均值 {mean}，显著大于 0，区间 {interval}",
    ),
    "f_ic_minus": (
        "{kind} averages {mean}: below 0, interval {interval}, so the forecasts pointed the wrong way",
        "{kind} 均值 {mean}，显著小于 0，区间 {interval}：预测方向相反",
    ),
    "f_ic_bare": ("{kind} averages {mean}; no interval was computed", "{kind} 均值 {mean}；未计算区间"),
    "f_ladder": (
        "{name} ranks {k} of {m} by net Sharpe ratio, and its interval {verb}",
        "{name} 的净夏普比率在 {m} 个中列第 {k}，其区间{verb}",
    ),
    "f_ladder_bare": ("{name} ranks {k} of {m} by net Sharpe ratio", "{name} 的净夏普比率在 {m} 个中列第 {k}"),
    "f_ladder_none": ("{m} models side by side", "{m} 个模型并列比较"),
    "v_contains": ("contains 0", "包含 0"),
    "v_above": ("lies above 0", "位于 0 以上"),
    "v_below": ("lies below 0", "位于 0 以下"),
    "f_example": (
        "Forecasts for {asset} correlate {corr} with what followed and were right on direction {hit} of "
        "the time; it rose {up} of the time",
        "{asset} 的预测与随后收益相关系数为 {corr}，方向正确率 {hit}，而上涨占比为 {up}",
    ),
    "f_example_score": (
        "Scores for {asset} correlate {corr} with what followed",
        "{asset} 的得分与随后收益相关系数为 {corr}",
    ),
    "f_example_flat": ("Forecasts for {asset} never change", "{asset} 的预测始终不变"),
    "f_gates": (
        "On {date} the forget gate averages {mean}: the cell keeps about {bars} bars of memory",
        "{date} 遗忘门均值 {mean}：细胞约保留 {bars} 根 K 线的记忆",
    ),
    "f_gates_other": ("What the cell did with the window that ends on {date}", "截至 {date} 的窗口内各门的取值"),
    # findings: book
    "f_weights": (
        "{held} names are held on average; the largest weight is {largest} ({name})",
        "平均持有 {held} 只；最大权重 {largest}（{name}）",
    ),
    "f_weights_short": (
        "{held} names are held on average, {short} of them short; the largest weight is {largest} ({name})",
        "平均持有 {held} 只，其中空头 {short} 只；最大权重 {largest}（{name}）",
    ),
    "f_weights_none": ("Nothing was ever held", "从未持仓"),
    "f_costs": ("Costs take {share} of the gross edge", "成本吃掉毛收益的 {share}"),
    "f_costs_all": (
        "Costs take more than the whole gross edge: {gross} a year before costs, {net} after",
        "成本超过全部毛收益：扣除前每年 {gross}，扣除后 {net}",
    ),
    "f_costs_no_edge": (
        "There was no gross edge for costs to take: {gross} a year before costs, {net} after",
        "本无毛收益可供成本消耗：扣除前每年 {gross}，扣除后 {net}",
    ),
    "f_costs_odd": (
        "Net ({net} a year) exceeds gross ({gross}): the cost account does not add up",
        "净收益（每年 {net}）高于毛收益（{gross}）：成本账目不一致",
    ),
    "f_costs_unknown": ("The gross edge is not known", "毛收益未知"),
    "f_years_fees": (
        "Fees make up {share} of all costs; {year} was the dearest year ({most})",
        "费用占全部成本的 {share}；{year} 年最高（{most}）",
    ),
    "f_years_slippage": (
        "Slippage makes up {share} of all costs; {year} was the dearest year ({most})",
        "滑点占全部成本的 {share}；{year} 年最高（{most}）",
    ),
    "f_years_none": ("Nothing was paid", "没有产生成本"),
    "f_list": (
        "Choosing perfectly, {start} becomes {best}; choosing as badly as possible, {other} becomes {worst}",
        "每期都选对，{start} 变成 {best}；每期都选错，{other} 只剩 {worst}",
    ),
    "f_list_best": ("Choosing perfectly, {start} becomes {best}", "每期都选对，{start} 变成 {best}"),
    "f_list_worst": ("Choosing as badly as possible, {other} becomes {worst}", "每期都选错，{other} 只剩 {worst}"),
    # captions (used where the content brings none) and axes
    "c_equity": (
        "Net wealth of each book at the close, start = 1. An end point is one draw; the verdict rests on "
        "intervals of differences.",
        "各组合收盘净值，起点为 1。终点只是一次抽样；结论以差值的区间为准。",
    ),
    "c_fall": ("Wealth over its running maximum, minus 1.", "净值除以历史最高值再减 1。"),
    "c_band": (
        "Between the best and the worst books that knew the prices to come. Nobody could have traded either.",
        "介于预知之后价格的最好与最差组合之间。无人能够做到。",
    ),
    "c_band_of": ("Band: {label}. Nobody could have traded either edge.", "色带：{label}。无人能够做到任何一边。"),
    "c_ic": (
        "Per date, the correlation over that date's assets of forecast and outcome. Bars: mean of each "
        "month. Line: mean of the last {window} dates. Band: interval of the mean over all dates.",
        "每个日期上预测与结果的截面相关系数。柱：每月均值；线：最近 {window} 个日期的均值；色带：全部日期均值的区间。",
    ),
    "c_ladder": (
        "Net Sharpe ratio of each model's book through the same portfolio rule and costs, with its "
        "interval. All figures out of sample.",
        "各模型组合经相同构建规则与成本后的净夏普比率及其区间，全部为样本外。",
    ),
    "c_example": (
        "Bars: what followed. Line: the forecast made before it. The chart shows the last {n} of {m} "
        "dates; the title uses all.",
        "柱：随后实际发生；线：事前预测。图示 {m} 个日期中的最后 {n} 个；标题用全部日期。",
    ),
    "c_gates": (
        "One row per hidden unit, one column per bar of the window, recomputed from the weights. Memory: "
        "1 / (1 − mean forget gate).",
        "每行一个隐藏单元，每列一根 K 线，由权重重新算出。记忆长度为 1 /（1 − 遗忘门均值）。",
    ),
    "c_weights": (
        "Decided weights of the {n} of {m} names with the largest mean size; {drawn}.",
        "决策权重，平均绝对值最大的 {n} 只（共 {m} 只）；{drawn}。",
    ),
    "c_weights_all": ("Decided weights, largest mean size first; {drawn}.", "决策权重，按平均绝对值排序；{drawn}。"),
    "c_every": ("every decision is drawn", "每次决策均画出"),
    "c_some": ("one decision in {step} is drawn", "每 {step} 次决策画一次"),
    "c_costs": (
        "The same decisions with and without costs. Edge: {basis}, {gross} before costs and {net} after.",
        "同样的决策，扣除与不扣除成本。收益口径：{basis}，扣除前 {gross}，扣除后 {net}。",
    ),
    "c_years": ("Paid in each calendar year, as a share of mean equity.", "每个日历年支付的成本占平均净值的比例。"),
    "c_list": (
        "No one could have done this: each row is chosen with its own outcome already known. It bounds "
        "what was possible.",
        "无人能做到：每行都在已知结果之后挑选，只用来界定可能的范围。",
    ),
    "x_wealth": ("Net wealth, start = 1", "净值（起点 = 1）"),
    "x_wealth_log": ("Net wealth, start = 1, log scale", "净值（起点 = 1，对数刻度）"),
    "x_fall": ("Below the earlier high, %", "距前高，%"),
    "x_ic": ("{kind} (a correlation, −1 to 1)", "{kind}（相关系数，−1 至 1）"),
    "x_sharpe": ("Net Sharpe ratio, per year", "净夏普比率（年化）"),
    "x_return": ("Return over {horizon}, %", "{horizon}收益，%"),
    "x_score": ("Score (own scale)", "得分（自有刻度）"),
    "x_lag": ("bars before the decision", "决策前第几根 K 线"),
    "x_units": ("hidden unit", "隐藏单元"),
    "x_weights": ("Weight, % of capital", "权重，占资本 %"),
    "x_years": ("Cost, % of mean equity per year", "成本，占平均净值 %／年"),
    "gate_scale": ("gate, 0 shut to 1 open", "门：0 关 至 1 开"),
    "state_scale": ("state, around 0", "状态：以 0 为中心"),
    # table heads
    "year": ("Year", "年份"),
    "first": ("Start", "起点"),
    "last": ("Last session of", "年末"),
    "high": ("High before", "前高"),
    "low": ("Low", "低点"),
    "end": ("Made good", "收复"),
    "depth": ("Depth", "深度"),
    "sessions": ("Bars under water", "水下根数"),
    "model": ("Model", "模型"),
    "net_return": ("Net return a year", "年化净收益"),
    "sharpe": ("Net Sharpe", "净夏普"),
    "drawdown": ("Max. drawdown", "最大回撤"),
    "turnover": ("Turnover, × a year", "换手率，倍／年"),
    "cost": ("Cost a year", "年成本"),
    "best": ("Best", "最好"),
    "worst": ("Worst", "最差"),
    "strategy": ("Strategy", "策略"),
    "band": ("Hindsight band", "事后区间"),
    "dates": ("Dates", "日期数"),
    "mean": ("Mean", "均值"),
    "positive": ("Share above 0", "大于 0 占比"),
    "monthly": ("Mean of each month", "每月均值"),
    "rolling": ("Mean of {window} dates", "{window} 日均值"),
    "mean_band": ("Interval of the mean", "均值区间"),
    "corr": ("Correlation", "相关系数"),
    "hit": ("Direction right", "方向正确"),
    "rose": ("Rose", "上涨占比"),
    "actual": ("What followed", "随后实际"),
    "forecast": ("Forecast", "预测"),
    "gate": ("Gate", "门"),
    "oldest": ("Oldest bar", "最旧一根"),
    "newest": ("Newest bar", "最新一根"),
    "asset": ("Asset", "资产"),
    "mean_weight": ("Mean weight", "平均权重"),
    "largest": ("Largest", "最大"),
    "held": ("Share of decisions held", "持有占比"),
    "gross": ("Before costs", "扣除前"),
    "net": ("After costs", "扣除后"),
    "fees": ("Fees", "费用"),
    "slippage": ("Slippage", "滑点"),
    "total": ("Total", "合计"),
    "period": ("Period", "时期"),
    "gain": ("Gain", "收益"),
    "wealth": ("Wealth", "财富"),
    "best_list": ("Best in each period", "每期最好"),
    "worst_list": ("Worst in each period", "每期最差"),
    "assumptions": ("Assumptions", "假设"),
    "study": ("Study file", "研究文件"),
    "checks": ("What the data check saw", "数据检查发现"),
    "card": ("Data card", "数据说明"),
    "count": ("Count", "次数"),
    "where": ("Where", "位置"),
    "finding": ("Finding", "发现"),
    **ROBUST,
    **EXPLAINED,
}
