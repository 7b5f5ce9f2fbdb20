"""The verdict in plain words, in English and Chinese, by the rule table of ``evaluate.rules``.

A book beats another only if the 95 % paired block-bootstrap interval of the difference of their net returns lies
above 0; it falls short only if the interval lies below 0; otherwise the test does not tell them apart, and the words
say "does not beat". Fewer than 60 common bars: cannot tell. "yes" stands only where every test of a row says so. One
test period proves nothing about the next.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hitherto.errors import DataError
from hitherto.evaluate.forecast import ForecastSummary, ICSummary
from hitherto.evaluate.inference import (
    NEWEY_WEST_WARNING,
    NEWEY_WEST_WARNING_ZH,
    Interval,
    mean_interval,
    optimal_block,
    paired_difference,
)
from hitherto.evaluate.luck import about_sharpe, best_book, best_model, loses_less, overfitted, student_p, unknown
from hitherto.evaluate.rules import MIN_BARS, Beside, Row, chinese, figures, nth, p_value, percent, row, side
from hitherto.evaluate.trials import Searched
from hitherto.exchange.account import Book
from hitherto.seeds import Stream

LEAST_APART = 10  # dates whose labels do not overlap


@dataclass(frozen=True)
class Verdict:
    """The headline (one sentence about net returns), the rows behind it, the rule, and what must be said with them."""

    headline: str
    headline_zh: str
    rows: tuple[Row, ...]
    rule: str
    rule_zh: str = ""
    notes: tuple[str, ...] = ()
    notes_zh: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return dataclasses.asdict(self)


def judge(
    book: Book, against: Mapping[str, Book], *, periods_per_year: float, rng: Stream,
    forecast: ForecastSummary | None = None, naive: ForecastSummary | None = None, in_returns: bool = True,
    sharpe: Interval | None = None, searched: Searched | None = None,
    models: Mapping[str, ForecastSummary] | None = None, books: Mapping[str, Book] | None = None, draws: int = 2000,
    level: float = 0.95,
) -> Verdict:  # fmt: skip
    """Return the verdict on ``book``.

    against: name ("equal weight", "ridge") -> Book under the same rules and costs; compared on the common bars.
    forecast: the summary of the model behind the book, for its IC and its error against the zero forecast; naive: that
    of persistence; in_returns: False where it forecasts standings, whose squared errors say nothing. sharpe: interval
    of the book's yearly Sharpe ratio. searched: what the trial ledger counts; None leaves deflation out. models, books:
    every fitted model and every book that could have been put forward; None leaves out the tests over them. Every test
    has a stream of its own: adding one changes no other. DataError when ``against`` is empty or two books share no bar.
    """
    if not against:
        raise DataError("verdict: no book to compare with; pass at least {'equal weight': book}")
    net = [
        _against(book, other, name, periods_per_year, rng.numpy("verdict", name), draws, level)
        for name, other in against.items()
    ]
    rows, notes = list(net), False
    if forecast is not None:
        rows += [_ic("ic", forecast.ic, forecast.horizon, level)]
        rows += [_ic("rank_ic", forecast.rank_ic, forecast.horizon, level), _error(forecast, level, in_returns)]
        notes = forecast.horizon > 1
        if naive is not None:
            rows.append(_naive(forecast, naive, rng.numpy("verdict", "naive", naive.model), draws, level))
    luck = about_sharpe(book, periods_per_year, sharpe, searched, level)
    rows += luck
    if models:
        rows.append(best_model(models))
    if books:
        rival, other = next(iter(against.items()))
        rows += [best_book(books, rival, other, rng.numpy("verdict", "superior")), overfitted(books)]
    headline = _headline(book.name, net, [r for r in luck if r.key == "deflated" and r.answer == "no"])
    said = ((NEWEY_WEST_WARNING,), (NEWEY_WEST_WARNING_ZH,)) if notes else ((), ())
    return Verdict(*headline, tuple(rows), *_rule(draws, level), *said)


def _rule(draws: int, level: float) -> tuple[str, str]:
    return (
        f"paired block bootstrap of net returns, {draws} draws, {level * 100:g} % percentile interval, automatic block "
        "length; 'beats' means that the whole interval of the difference lies above 0; 'yes' stands only where every "
        "test of its row says so",
        f"净收益的配对分块自助法，{draws} 次抽样，{level * 100:g}% 分位区间，自动块长；“优于”指差值的整个区间在 0 "
        "以上；“是”要求该行的全部检验一致",
    )


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
    a, b = common_returns(book, other)
    names = {"name": name, "name_zh": chinese(name)}
    if len(a) < MIN_BARS:
        return row("net", "unknown", {"bars": len(a), "least": MIN_BARS, **names}, level=level)
    d = paired_difference(a, b, rng, periods_per_year=periods_per_year, draws=draws, level=level)
    fill = {"value": percent(d.estimate), "lo": percent(d.lo), "hi": percent(d.hi), "lag": percent(-d.estimate),
            "lag_lo": percent(-d.hi), "lag_hi": percent(-d.lo)}  # fmt: skip
    return row("net", side(d), {**fill, **names}, d, level=level)


def _headline(name: str, rows: list[Row], luck: list[Row]) -> tuple[str, str]:
    """Bad news first; the victory sentence only when every comparison was won and luck does not explain it."""
    zh = chinese(name)
    if all(r.answer == "yes" for r in rows):
        best, best_zh = "; ".join(r.words for r in rows), "；".join(r.words_zh for r in rows)
        if luck:
            return (
                f"The Sharpe ratio of {name} is {luck[0].words}, although it {best}.",
                f"{zh}的夏普比率{luck[0].words_zh}，尽管{best_zh}。",
            )
        return (
            f"In this test {name} {best}. One period is no promise for the next.",
            f"在本次检验中，{zh}{best_zh}。一段时期的结果不代表未来。",
        )
    order = sorted(rows, key=lambda r: r.answer == "yes")
    return f"{name} {'; '.join(r.words for r in order)}.", f"{zh}{'；'.join(r.words_zh for r in order)}。"


def _ic(key: str, s: ICSummary, horizon: int, level: float) -> Row:
    """Return the row of an IC: where labels overlap, dates whose labels do not have the last word on "yes"."""
    d = s.interval
    if d is None:
        return unknown(key, s.reason or "too few dates", "有效日期太少", level=level)
    beside, outcome = _t_statistics(s, horizon), side(d)
    if outcome != "no" and horizon > 1:
        apart = beside.get("nonoverlapping")
        if apart is None or apart.n < LEAST_APART:
            why = f"fewer than {LEAST_APART} dates whose labels of {horizon} bars do not overlap"
            return unknown(key, why, f"互不重叠的 {horizon} 期标签不足 {LEAST_APART} 个", level=level)
        if apart.p >= 1 - level or apart.t * d.estimate <= 0:
            outcome = "doubt" if outcome == "yes" else "faint"
    en, zh = figures(d, level)
    if "nonoverlapping" in beside:
        t = beside["nonoverlapping"]
        en += f"; every {nth(horizon)} date alone: t {t.t:.2f}, {t.n} dates"
        zh += f"；每 {horizon} 日取一日：t {t.t:.2f}，{t.n} 日"
    if horizon > 1 and "newey_west" in beside:
        en += f"; Newey-West t {beside['newey_west'].t:.2f}, too sure here"
        zh += f"；Newey-West t {beside['newey_west'].t:.2f}（此处过于乐观）"
    fill = {"figures": en, "figures_zh": zh, "nth": nth(horizon), "horizon": horizon}
    return row(key, outcome, fill, d, tuple(beside.values()), level)


def _t_statistics(s: ICSummary, horizon: int) -> dict[str, Beside]:
    from scipy.special import ndtr

    out: dict[str, Beside] = {}
    if horizon > 1 and s.nonoverlapping is not None:
        t = s.nonoverlapping
        out["nonoverlapping"] = Beside("nonoverlapping", t.t, student_p(t), t.n)
    if s.newey_west is not None:
        t = s.newey_west
        out["newey_west"] = Beside("newey_west", t.t, float(2.0 * ndtr(-abs(t.t))), t.n)
    return out


def _error(f: ForecastSummary, level: float, in_returns: bool) -> Row:
    if not in_returns:
        why = ("it forecasts standings within a date, not returns", "模型预测的是截面内的相对位置而非收益率")
        return unknown("error", *why, level=level)
    if f.skill is None:
        return unknown("error", "too few dates", "有效日期太少", level=level)
    known = np.isfinite(f.daily_error) & np.isfinite(f.daily_zero)
    return _with_diebold("error", f.skill, f.daily_error[known], f.daily_zero[known], f.horizon, level, {})


def _naive(f: ForecastSummary, naive: ForecastSummary, rng: np.random.Generator, draws: int, level: float) -> Row:
    """The mean daily difference of RankIC on the dates where both have one."""
    names = {"name": naive.model, "name_zh": chinese(naive.model)}
    gap = f.daily_rank_ic - naive.daily_rank_ic
    gap = gap[~np.isnan(gap)]
    if len(gap) < MIN_BARS:
        return unknown("naive", "too few dates", "有效日期太少", names, level)
    block = min(max(optimal_block(gap), float(f.horizon)), float(len(gap)))
    d = mean_interval(gap, rng, draws, level, block)
    return _with_diebold("naive", d, -gap, np.zeros_like(gap), f.horizon, level, names)


def _with_diebold(
    key: str, d: Interval, own: np.ndarray, other: np.ndarray, horizon: int, level: float, names: Mapping[str, object]
) -> Row:
    """A row that rests on an interval and on Diebold and Mariano's test of losses: both must be on the good side."""
    test, outcome, (en, zh) = loses_less(own, other, horizon), side(d), figures(d, level)
    beside: tuple[Beside, ...] = ()
    if test is not None:
        better = -test.t  # above 0 is better, as in the estimate
        beside = (Beside("diebold_mariano", better, test.p, test.n),)
        en += f"; Diebold-Mariano t {better:.2f}, p {p_value(test.p)}"
        zh += f"；Diebold-Mariano t {better:.2f}，p {p_value(test.p)}"
    if outcome == "yes" and (test is None or test.t >= 0 or test.p >= 1 - level):
        outcome = "doubt"
    return row(key, outcome, {"figures": en, "figures_zh": zh, **names}, d, beside, level)
