"""The verdict in plain words, by one stated rule, in English and Chinese.

The rule: a book beats another only if the 95 % paired block-bootstrap interval of the difference of their net returns
lies above 0; it falls short only if the interval lies below 0; otherwise the test does not tell them apart, and the
words say "does not beat". Fewer than 60 common bars: cannot tell. One test period proves nothing about the next.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from hitherto.errors import DataError
from hitherto.evaluate.forecast import ForecastSummary
from hitherto.evaluate.inference import Interval, mean_interval, optimal_block, paired_difference
from hitherto.exchange.account import Book
from hitherto.seeds import Stream

Answer = Literal["yes", "no", "cannot tell"]
MIN_BARS = 60
CHINESE = {
    "equal weight": "等权组合", "ridge": "岭回归", "buy and hold": "买入持有", "zero": "零预测",
    "persistence": "惯性预测", "momentum": "动量",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One question with its figures: estimate, lo and hi None when it cannot tell; "fraction" (of capital a
    year, or of the squared error removed) is read in per cent, "number" (correlations) as it is.

    answer: "yes" only if the interval lies wholly on the good side of 0, "no" otherwise.
    """

    question: str
    question_zh: str
    unit: Literal["fraction", "number"]
    estimate: float | None
    lo: float | None
    hi: float | None
    answer: Answer
    words: str
    words_zh: str


@dataclass(frozen=True)
class Verdict:
    """The headline (one sentence, about net returns only) and the rows behind it."""

    headline: str
    headline_zh: str
    rows: tuple[Row, ...]
    rule: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return dataclasses.asdict(self)


def judge(
    book: Book, against: Mapping[str, Book], *, periods_per_year: float, rng: Stream,
    forecast: ForecastSummary | None = None, naive: ForecastSummary | None = None, draws: int = 2000,
    level: float = 0.95,
) -> Verdict:  # fmt: skip
    """Return the verdict on ``book``.

    against: name ("equal weight", "ridge") -> Book under the same rules and costs; compared on the common bars.
    forecast: the summary of the model behind the book, for its RankIC and its error against the zero forecast;
    naive: that of persistence. Every comparison has a stream of its own: adding one changes no other.
    DataError when ``against`` is empty or two books share no bar.
    """
    if not against:
        raise DataError("verdict: no book to compare with; pass at least {'equal weight': book}")
    rows = [
        _against(book, other, name, periods_per_year, rng.numpy("verdict", name), draws, level)
        for name, other in against.items()
    ]
    headline, headline_zh = _headline(book.name, rows)
    if forecast is not None:
        rows += _about_forecast(forecast, naive, rng, draws, level)
    rule = (
        f"paired block bootstrap of net returns, {draws} draws, {level * 100:g} % percentile interval, automatic block "
        "length; 'beats' means that the whole interval of the difference lies above 0"
    )
    return Verdict(headline, headline_zh, tuple(rows), rule)


def common_returns(a: Book, b: Book) -> tuple[np.ndarray, np.ndarray]:
    """Return the net returns (K,) of both books on the bars that both have; DataError when there is none."""
    first, last = max(a.start, b.start), min(a.start + len(a.equity), b.start + len(b.equity))
    if last - first < 2:
        raise DataError(
            f"books '{a.name}' (bars {a.start}..{a.start + len(a.equity) - 1}) and '{b.name}' "
            f"(bars {b.start}..{b.start + len(b.equity) - 1}) share no return; simulate both on the same bars"
        )
    return tuple(x.returns[first - x.start : last - x.start - 1] for x in (a, b))  # type: ignore[return-value]


def _against(
    book: Book, other: Book, name: str, periods_per_year: float, rng: np.random.Generator, draws: int, level: float
) -> Row:
    zh = chinese(name)
    ask, ask_zh = f"Beats {name} after costs?", f"扣除成本后是否优于{zh}？"
    a, b = common_returns(book, other)
    if len(a) < MIN_BARS:
        words = f"cannot be told from {name}: only {len(a)} common bars, {MIN_BARS} are needed"
        words_zh = f"与{zh}仅有 {len(a)} 个共同交易期（至少需要 {MIN_BARS} 个），无法判断"
        return Row(ask, ask_zh, "fraction", None, None, None, "cannot tell", words, words_zh)
    d = paired_difference(a, b, rng, periods_per_year=periods_per_year, draws=draws, level=level)
    if d.lo > 0:
        words = f"beats {name} by {_percent(d.estimate)} % a year ({_band(d, level)}) after costs"
        words_zh = f"扣除成本后每年优于{zh} {_percent(d.estimate)}%（{_band_zh(d, level)}）"
    elif d.hi < 0:
        lag = Interval(-d.estimate, -d.hi, -d.lo)
        words = f"falls short of {name} by {_percent(lag.estimate)} % a year ({_band(lag, level)}) after costs"
        words_zh = f"扣除成本后每年落后于{zh} {_percent(lag.estimate)}%（{_band_zh(lag, level)}）"
    else:
        words = f"does not beat {name}: the interval of the difference contains 0 ({_band(d, level)} % a year)"
        words_zh = f"未能优于{zh}：收益差的区间包含 0（{_band_zh(d, level)}，每年）"
    return Row(ask, ask_zh, "fraction", *d, "yes" if d.lo > 0 else "no", words, words_zh)


def _headline(name: str, rows: list[Row]) -> tuple[str, str]:
    """Bad news first; the victory sentence only when every comparison was won."""
    if all(r.answer == "yes" for r in rows):
        best = "; ".join(r.words for r in rows)
        return (
            f"In this test {name} {best}. One period is no promise for the next.",
            f"在本次检验中，{chinese(name)}{'；'.join(r.words_zh for r in rows)}。一段时期的结果不代表未来。",
        )
    order = sorted(rows, key=lambda r: r.answer == "yes")
    return f"{name} {'; '.join(r.words for r in order)}.", f"{chinese(name)}{'；'.join(r.words_zh for r in order)}。"


def _about_forecast(
    forecast: ForecastSummary, naive: ForecastSummary | None, rng: Stream, draws: int, level: float
) -> list[Row]:
    rows = [
        _sign_row("Is the IC above 0?", "IC 是否大于 0？", "number", forecast.ic.interval, level,
                  forecast.ic.reason),
        _sign_row("Is the RankIC above 0?", "RankIC 是否大于 0？", "number", forecast.rank_ic.interval, level,
                  forecast.rank_ic.reason),
        _sign_row("Is its squared error below that of forecasting zero?", "均方误差是否小于零预测？",
                  "fraction", forecast.skill, level),
    ]  # fmt: skip
    if naive is not None:
        gap = _rank_ic_gap(forecast, naive, rng.numpy("verdict", "naive", naive.model), draws, level)
        rows.append(_sign_row(f"Is its RankIC above that of {naive.model}?", f"RankIC 是否高于{chinese(naive.model)}？",
                              "number", gap, level))  # fmt: skip
    return rows


def _rank_ic_gap(
    a: ForecastSummary, b: ForecastSummary, rng: np.random.Generator, draws: int, level: float
) -> Interval | None:
    """The mean daily difference of RankIC on the dates where both have one."""
    gap = a.daily_rank_ic - b.daily_rank_ic
    gap = gap[~np.isnan(gap)]
    if len(gap) < MIN_BARS:
        return None
    block = min(max(optimal_block(gap), float(a.horizon)), float(len(gap)))
    return mean_interval(gap, rng, draws, level, block)


def _sign_row(
    ask: str, ask_zh: str, unit: Literal["fraction", "number"], d: Interval | None, level: float, why: str = ""
) -> Row:
    if d is None:
        words = f"cannot tell: {why or 'too few dates'}"
        return Row(ask, ask_zh, unit, None, None, None, "cannot tell", words, "有效日期太少，无法判断")
    figures = f"{d.estimate:.4f} ({level * 100:g} %: {d.lo:.4f}..{d.hi:.4f})"
    if d.lo > 0:
        words, words_zh = f"yes, the interval excludes 0: {figures}", f"是，区间不含 0：{figures}"
    elif d.hi < 0:
        words, words_zh = f"no, it is below 0: {figures}", f"否，低于 0：{figures}"
    else:
        words, words_zh = f"no, the interval contains 0: {figures}", f"否，区间包含 0：{figures}"
    return Row(ask, ask_zh, unit, *d, "yes" if d.lo > 0 else "no", words, words_zh)


def chinese(name: str) -> str:
    """Return the Chinese word for a baseline, or the name itself."""
    return CHINESE.get(name.lower().replace("_", " "), name)


def _percent(x: float) -> str:
    return f"{100 * x:.1f}"


def _band(d: Interval, level: float) -> str:
    return f"{level * 100:g} %: {_percent(d.lo)}..{_percent(d.hi)}"


def _band_zh(d: Interval, level: float) -> str:
    return f"{level * 100:g}% 区间 {_percent(d.lo)}%..{_percent(d.hi)}%"
