"""The top of the report: what a reader sees in ten seconds, in English or Chinese."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hitherto.evaluate.inference import Interval
from hitherto.report import content as c
from hitherto.report import words

if TYPE_CHECKING:
    from hitherto.study.result import Result

ZH = {
    "Net excess return": "超额净收益", "Sharpe ratio": "夏普比率", "RankIC": "秩信息系数 RankIC",
    "Maximum drawdown": "最大回撤", "Capture": "捕获率",
    "a year over equal weight under the same costs": "每年，相对同等成本下的等权组合",
    "annualised, net, no risk-free rate": "年化，扣除成本，未减无风险利率",
    "mean daily rank correlation": "每日截面秩相关的均值",
    "deepest fall of net wealth; interval: the same days in other orders": "净值最深跌幅；区间：同样的日子换一种次序",
    "share of the way from the worst to the best book of hindsight": "从事后最差组合到最优组合之间所处的位置",
    "random books reach {}": "随机组合为 {}",
    "The prices are restated: the vendor rewrote the past with later splits and dividends, so their levels know the "
    "future. Only scale-free features are honest on such data; raw prices with a factor are better.":
        "价格经过追溯调整：供应商用后来的拆分和分红改写了历史，价格水平含有未来信息。此类数据只能使用与量纲无关的特征；"
        "原始价格加复权因子更好。",
    "Every symbol is alive on the last day: the names were chosen, or have lived on, with hindsight.":
        "所有标的在最后一天都仍存在：样本是事后选出或幸存下来的（幸存者偏差）。",
    "Universe by dated membership: {}.": "股票池按成分股日期：{}。",
    "This study trades without market rules: a name that opened at its price limit is bought here although nobody sold "
    "it. Returns are optimistic by that much; [exchange] rules = \"cn\" enforces them.":
        "本研究未采用市场规则：开盘涨停的股票在这里仍可买入，收益因此偏乐观；设置 [exchange] rules = \"cn\" 即可启用。",
    "The audit was switched off in this study: nothing was tried to catch it using the future.":
        "本研究关闭了审计：没有做任何检查来发现未来数据泄漏。",
    "determinism": "确定性", "right-truncation": "右端截断", "future rewritten": "改写未来", "refit": "重新拟合",
    "batch neighbours": "批内邻居", "interval algebra": "区间检查",
    "fill delay": "延迟成交", "gradients": "梯度", "vintages": "数据版本",
    "metamorphic data": "蜕变数据", "null worlds": "零假设世界", "test reads": "测试集读取",
    "files, network and clock": "文件、网络与时钟", "warm-up length": "预热长度", "the prices themselves": "价格本身",
    "everything: the audit was switched off": "全部：审计已关闭",
    "{} symbols, {} to {}; out of sample {} to {}, {} fold(s)": "{} 只标的，{} 至 {}；样本外 {} 至 {}，{} 折",
    "Beats the benchmark index after costs?": "扣除成本后是否优于基准指数？", "yes": "是", "not shown": "未能证明",
}  # fmt: skip


def say(r: Result, text: str, *values: object) -> str:
    """Return a phrase in the report's language with its values filled in."""
    out = ZH.get(text, text) if r.study.settings.report.language == "zh" else text
    return out.format(*values) if values else out


def span(r: Result) -> tuple[int, int]:
    """Return the first and last row of the books."""
    book = r.book
    return book.start, book.start + len(book.equity) - 1


def known(x: float | None) -> float:
    """Return x, or NaN for None: the report's word for "not known"."""
    return float("nan") if x is None else float(x)


def estimate(i: Interval | None, value: float | None = None) -> c.Estimate:
    """Return an interval as the report wants it; the bare value where there is none."""
    return c.Estimate(known(value)) if i is None else c.Estimate(i.estimate, i.lo, i.hi)


def subtitle(r: Result) -> str:
    """Return the line under the title: how much, from when to when."""
    panel, (first, last) = r.prepared.panel, span(r)
    days = [panel.sessions[i] for i in (0, -1, first, last)]
    text = say(r, "{} symbols, {} to {}; out of sample {} to {}, {} fold(s)", len(panel.symbols), *days,
               len(r.prepared.folds))  # fmt: skip
    return text.replace("1 fold(s)", "1 fold").replace("fold(s)", "folds")


def flags(r: Result) -> tuple[str, ...]:
    """Return the warnings that stand at the top of the page."""
    out = list(r.book.flags)
    if r.prepared.panel.adjustment == "restated_total_return":
        out.append(say(
            r, "The prices are restated: the vendor rewrote the past with later splits and dividends, so their levels "
            "know the future. Only scale-free features are honest on such data; raw prices with a factor are better."
        ))  # fmt: skip
    if any(f.code == "survivorship" for f in r.prepared.panel.findings):
        text = "Every symbol is alive on the last day: the names were chosen, or have lived on, with hindsight."
        out.append(say(r, text))
    if "membership" in r.prepared.panel.notes:
        out.append(say(r, "Universe by dated membership: {}.", r.prepared.panel.notes["membership"]))
    if r.prepared.panel.zone == "Asia/Shanghai" and r.evaluation.floor.rules is None:
        out.append(say(
            r, "This study trades without market rules: a name that opened at its price limit is bought here although "
            "nobody sold it. Returns are optimistic by that much; [exchange] rules = \"cn\" enforces them."
        ))  # fmt: skip
    if r.audit is None:
        text = "The audit was switched off in this study: nothing was tried to catch it using the future."
        out.append(say(r, text))
    return tuple(out)


def verdict(r: Result) -> c.Verdict:
    """Return the verdict's sentence and rows."""
    zh = r.study.settings.report.language == "zh"
    rows = []
    for x in r.verdict.rows:
        ask, words = (x.question_zh, x.words_zh) if zh else (x.question, x.words)
        if x.unit in ("fraction", "number"):
            rows.append(c.VerdictRow(ask, known(x.estimate), known(x.lo), known(x.hi), words, x.unit))
        else:  # a confidence, a p-value or a span of years: the words say it
            rows.append(c.VerdictRow(ask, known(None), known(None), known(None), words))
    index = r.evaluation.against.get("benchmark")
    if index is not None:
        ask = say(r, "Beats the benchmark index after costs?")
        answer = say(r, "yes" if index.lo > 0 else "not shown")
        rows.append(c.VerdictRow(ask, index.estimate, index.lo, index.hi, answer))
    v = r.verdict
    said = ((v.rule_zh, *v.notes_zh), "。") if zh else ((v.rule, *v.notes), ". ")
    return c.Verdict(v.headline, v.headline_zh if zh else "", tuple(rows), said[1].join(said[0]))


def key_figures(r: Result, seen: c.Hindsight | None) -> tuple[c.KeyFigure, ...]:
    """Return the five figures: net excess return, Sharpe, RankIC, maximum drawdown, capture."""
    e, main = r.evaluation, r.evaluation.main
    row, ratio = r.verdict.rows[0], e.sharpe[main]  # the verdict's own comparison with equal weight
    excess = c.Estimate(row.estimate, known(row.lo), known(row.hi)) if row.estimate is not None else None
    rank = e.summaries[r.study.models[0].name][e.output].rank_ic
    perf = e.performance[main]
    capture = seen.capture if seen else None
    held = say(r, "share of the way from the worst to the best book of hindsight")
    if seen and seen.random:
        held += "; " + say(r, "random books reach {}", words.percent(seen.random.value))
    fall = estimate(e.intervals[main].get("max_drawdown"), perf.max_drawdown)  # too few bars: the figure stands alone
    rows = (
        ("Net excess return", excess, True, "a year over equal weight under the same costs", None),
        ("Sharpe ratio", estimate(ratio, perf.sharpe), False, "annualised, net, no risk-free rate", None),
        ("RankIC", estimate(rank.interval, rank.mean), False, "mean daily rank correlation", 3),
        ("Maximum drawdown", fall, True, "deepest fall of net wealth; interval: the same days in other orders", None),
        ("Capture", capture, True, held, None),
    )
    return tuple(_figure(say(r, label), e, fraction, say(r, text), digits) for label, e, fraction, text, digits in rows)


def _figure(label: str, e: c.Estimate | None, fraction: bool, text: str, digits: int | None) -> c.KeyFigure:
    if e is None:
        return c.KeyFigure(label, "–", "", text)
    value = words.percent(e.value) if fraction else words.number(e.value, digits or 2)
    return c.KeyFigure(label, value, words.interval(e, fraction, digits), text)


PROBES = {
    "P0": "determinism", "P1": "right-truncation", "P2": "future rewritten", "P3": "refit", "P4": "batch neighbours",
    "P5": "gradients", "P6": "vintages", "P7": "metamorphic data", "P8": "null worlds", "P9": "fill delay",
    "P10": "interval algebra", "P11": "test reads", "P12": "files, network and clock", "P13": "warm-up length",
    "P14": "the prices themselves",
}  # fmt: skip


def audit(r: Result) -> c.Audit:
    """Return what was tried to catch the study, one row per probe and outcome."""
    if r.audit is None:
        return c.Audit(not_assessed=(say(r, "everything: the audit was switched off"),))
    groups: dict[tuple[str, str], list[Any]] = {}
    for x in r.audit.results:
        groups.setdefault((x.probe, x.status), []).append(x)
    rows = []
    for (probe, status), members in sorted(groups.items(), key=lambda g: int(g[0][0][1:])):
        result: c.Result = "ok" if status == "ok" else "LEAK" if status == "LEAK" else "not assessed"
        found = "; ".join(f.line() for x in members for f in x.findings)
        detail = "; ".join(dict.fromkeys(x.detail for x in members if x.detail))
        on = ", ".join(dict.fromkeys(x.target for x in members))
        tried = "; ".join(dict.fromkeys(x.tried for x in members))
        rows.append(
            c.AuditRow(
                f"{probe} {say(r, PROBES.get(probe, ''))}".strip(), f"{tried} (on {on})", result, found or detail
            )
        )
    return c.Audit(tuple(rows), smallest(r.audit.canaries), r.audit.canary_caught, tuple(r.audit.not_assessed))


def smallest(canaries: Sequence[Any]) -> str:
    """Return one sentence on the weakest planted leak caught in each target (audit.json holds the ladder)."""
    weakest: dict[float, list[str]] = {}
    other: list[str] = []
    for target in dict.fromkeys(x.target for x in canaries):
        caught = [x for x in canaries if x.target == target and x.caught]
        strengths = [x.size[0] for x in caught if x.size is not None and x.size[1] == 1]
        if strengths:
            weakest.setdefault(min(strengths), []).append(target)
        other += [x.leak for x in caught if x.size is None]
    if not weakest and not other:
        return "Nothing that was planted was caught."
    parts = [f"{s:.0e} of a column's scale in {', '.join(t)}" for s, t in sorted(weakest.items())]
    text = f"tomorrow's outcome mixed in at {'; at '.join(parts)}" if parts else ""
    return "; ".join(p for p in [text, *dict.fromkeys(other)] if p) + "."
