"""Why the result is what it is, as the report takes it: attribution, periods, signal, and how much was searched.

The parts are the frozen dataclasses of ``evaluate``: fractions are plain fractions, NaN and None mean "not known", and
each carries its ``Basis``, which is printed beside its figure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hitherto.report.content import NAN, Estimate, Language
from hitherto.report.look import Chart
from hitherto.report.tables import Table
from hitherto.report.words import NBSP, WORDS, number, percent, say

if TYPE_CHECKING:
    from hitherto.evaluate.attribution import Attribution, BreakevenCost, BreakevenDelay, Linked
    from hitherto.evaluate.inference import Interval
    from hitherto.evaluate.periods import Basis, Drawdowns, Exposure, Heatmap, Regimes, Rolling
    from hitherto.evaluate.signals import Autocorrelation, Decay, Quantiles


@dataclass(frozen=True, eq=False)
class Explanation:
    """Everything beyond the verdict about one strategy. A part that is None is left out of the page, or named there
    with its reason when ``not_assessed`` (part -> why, one line) has one.

    by_year, by_month, by_regime: the attribution linked over those bars. size_of: what stands for size, "" = not given.
    """

    attribution: Attribution | None = None
    by_year: tuple[Linked, ...] = ()
    by_month: tuple[Linked, ...] = ()
    by_regime: tuple[Linked, ...] = ()
    size_of: str = ""
    heatmap: Heatmap | None = None
    exposure: Exposure | None = None
    regimes: Regimes | None = None
    drawdowns: Drawdowns | None = None
    rolling: Rolling | None = None
    costs: tuple[BreakevenCost, ...] = ()
    delay: BreakevenDelay | None = None
    decay: Decay | None = None
    quantiles: Quantiles | None = None
    autocorrelation: Autocorrelation | None = None
    not_assessed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Search:
    """How many trials read this test data, and what the best of as many without any skill would show.

    sharpe, luck: Sharpe ratios a year (net, rf 0). deflated: deflated Sharpe ratio in [0, 1]. NaN = not known. enough:
    from where on the luck of the search is no explanation.
    """

    trials: int
    sharpe: float = NAN
    luck: float = NAN
    deflated: float = NAN
    enough: float = 0.95


def estimate(i: Interval | None) -> Estimate:
    """An interval as the tables and titles take it; NaN where there is none."""
    return Estimate(NAN) if i is None else Estimate(i.estimate, i.lo, i.hi)


def verb(e: Estimate, lang: Language) -> str:
    """Whether an interval "contains 0", "lies above 0" or "lies below 0"."""
    return say(lang, "v_above" if e.lo > 0 else "v_below" if e.hi < 0 else "v_contains")


def basis_line(basis: Basis | None, lang: Language, compounding: str = "") -> str:
    """What a figure rests on, as one line: bars a year, risk-free rate, compounding, costs.

    compounding: key of other words for it.
    """
    if basis is None:
        return ""
    parts = [
        say(lang, "b_periods", n=f"{basis.periods_per_year:g}"),
        say(lang, "b_rf", rf=percent(basis.rf, 2 if basis.rf else 0)),
        say(lang, compounding or f"b_{basis.compounding.replace(' ', '_')}"),
        _costs(basis.costs, lang),
    ]
    return " · ".join(p for p in parts if p)


def _costs(text: str, lang: Language) -> str:
    if f"b_{text}" in WORDS:
        return say(lang, f"b_{text}")
    side = re.fullmatch(r"gross, and net of (\S+) bps a side", text)
    return say(lang, "b_side", bps=side[1]) if side else text


def reason(text: str, lang: Language) -> str:
    """Why a part was not assessed, in plain words of the language where the line is known."""
    for pattern, english, chinese in REASONS:
        found = re.fullmatch(pattern, text)
        if found:
            return (english if lang == "en" else chinese).format(*found.groups()) or text
    return text


REASONS = (
    (r"there are no scores", "", "没有得分"),
    (r"it has no edge over equal weight even without delay", "", "即使不延迟也没有相对等权的优势"),
    (r"it trades no more than (.*): no cost evens them out", "", "交易不多于 {}：没有成本能使两者持平"),
    (r"it trades too rarely to be bounded", "", "交易太少，无法给出区间"),
    (r"it does not trade", "", "没有交易"),
    (r"(\d+) bars are too few", "", "仅 {} 根 K 线，太少"),
    (r"too few bars, or a book was ruined", "", "K 线太少，或组合已破产"),
    (r"the benchmark has no close on (\d+) of (\d+) bars; the market is equal weight", "",
     "基准在 {1} 根中的 {0} 根没有收盘价；市场以等权代替"),
    (r"rolling Sharpe: a window of (\d+) bars needs (\d+) to (\d+) \(all there are\)",
     "the test has {2} bars, its least window {0}", "测试期仅 {2} 根，最短窗口为 {0} 根"),
    (r"breakeven delay: there is no book of equal weight to compare with", "there is no book of equal weight",
     "没有等权组合可供比较"),
    (r".*\bis ruined\b.*", "", "组合已破产"),
)  # fmt: skip


def absent(name: str, why: str, lang: Language) -> Chart:
    """A chart that cannot be drawn: only a title that says why."""
    title = say(lang, "not_assessed", what=say(lang, f"p_{name}"), why=reason(why, lang))
    return Chart(name, title, "", None, (), Table((), ()))


def search_line(part: Search, lang: Language) -> str:
    """One sentence on the search: trials counted, luck's Sharpe ratio, this one's, and what is left after it."""
    n, luck, mine = part.trials, number(part.luck), number(part.sharpe)
    key = "n_only" if n <= 1 else "n_search"
    if part.luck != part.luck or part.sharpe != part.sharpe:
        return say(lang, f"{key}_bare", n=n)
    text = say(lang, key, n=n, luck=luck, mine=mine)
    if part.deflated != part.deflated:
        return text
    ends = "n_alone" if n <= 1 else "n_beyond" if part.deflated >= part.enough else "n_within"
    gap = " " if lang == "en" else ""
    return text + gap + say(lang, ends, deflated=number(part.deflated), enough=f"{part.enough:g}")


def bps(value: float) -> str:
    """A fraction of the value in basis points."""
    return f"{number(1e4 * value, 1)}{NBSP}bps"
