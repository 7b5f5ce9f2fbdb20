"""The rows of the verdict about luck: what a Sharpe ratio is worth, and what is left of the best of many."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import DataError, MissingExtraError
from hitherto.evaluate.comparison import DieboldMariano, diebold_mariano, holm, superior_predictive_ability
from hitherto.evaluate.forecast import ForecastSummary
from hitherto.evaluate.inference import Interval, TStat
from hitherto.evaluate.overfitting import pbo
from hitherto.evaluate.rules import BY_KEY, MIN_BARS, Row, chinese, confidence, p_value, row, years
from hitherto.evaluate.trials import Outcome, Searched
from hitherto.exchange.account import Book
from hitherto.sharpe import deflated_sharpe, min_track_record, probabilistic_sharpe

Floats = NDArray[np.float64]
LEAST_BOOKS, LEAST_BLOCK, BLOCKS = 4, 15, 16  # of 2 worthless books 8 % are called robust, of 4 or more at most 3 %


def about_sharpe(
    book: Book, periods_per_year: float, ratio: Interval | None, searched: Searched | None, level: float
) -> list[Row]:
    """Return the rows on the net returns of a book: probabilistic and deflated Sharpe ratio, minimum track record.

    ratio: the interval of its yearly Sharpe ratio, which has to agree with the probabilistic one; None leaves it out.
    searched: None leaves the deflated ratio out.
    """
    o = Outcome.of(book.returns)
    keys = ["sharpe", *(["deflated"] if searched is not None else []), "track"]
    if o.bars < MIN_BARS:
        why = (
            f"the book has {o.bars} returns, {MIN_BARS} are needed",
            f"组合只有 {o.bars} 期收益（至少 {MIN_BARS} 期）",
        )
        return [unknown(k, *why, level=level) for k in keys]
    if o.sharpe is None or o.skew is None or o.kurtosis is None:
        return [unknown(k, "its returns are constant", "组合的收益为常数", level=level) for k in keys]
    shape = (o.skew, o.kurtosis)
    psr = probabilistic_sharpe(o.sharpe, o.bars, 0.0, *shape)
    if math.isnan(psr):
        why = ("the moments of its returns leave no variance", "收益的矩不给出方差")
        return [unknown(k, *why, level=level) for k in keys]
    rows = [_probabilistic(psr, o.sharpe * math.sqrt(periods_per_year), ratio, level)]
    if searched is not None and searched.variance is not None:
        dsr = deflated_sharpe(o.sharpe, o.bars, searched.trials, searched.variance, *shape)
        outcome = "yes" if dsr >= BY_KEY["deflated"].threshold else "no"
        rows.append(row("deflated", outcome, {"trials": searched.trials, "value": confidence(dsr)}, (dsr, None, None)))
    elif searched is not None:
        rows.append(unknown("deflated", "no trial has a result", "没有试验给出结果"))
    luck = None if searched is None else searched.luck
    return [*rows, _track(o.sharpe, o.bars, shape, periods_per_year, luck)]


def _probabilistic(psr: float, yearly: float, ratio: Interval | None, level: float) -> Row:
    outcome = "no" if psr < BY_KEY["sharpe"].threshold else "doubt" if ratio is not None and ratio.lo <= 0 else "yes"
    en, zh = f"{yearly:.2f} a year", f"每年 {yearly:.2f}"
    if ratio is not None:
        en += f" ({level * 100:g} %: {ratio.lo:.2f}..{ratio.hi:.2f})"
        zh += f"（{level * 100:g}% 区间 {ratio.lo:.2f}..{ratio.hi:.2f}）"
    fill = {"value": confidence(psr), "figures": en, "figures_zh": zh}
    return row("sharpe", outcome, fill, (psr, None, None), level=level)


def _track(sharpe: float, bars: int, shape: tuple[float, float], per: float, luck: float | None) -> Row:
    enough, have = BY_KEY["track"].threshold, bars / per
    need = min_track_record(sharpe, 0.0, *shape, confidence=enough) / per
    if not math.isfinite(need):
        return row("track", "never", {"have": f"{have:.1f}"})
    more = more_zh = ""
    if luck is not None and luck > 0:
        longer = min_track_record(sharpe, luck, *shape, confidence=enough) / per
        if math.isfinite(longer):
            span, span_zh = years(longer)
            more, more_zh = f", {span} to rule out the luck of the search", f"，排除搜索的运气需 {span_zh} 年"
        else:
            more, more_zh = ", and no length rules out the luck of the search", "，多长都不能排除搜索的运气"
    asked, asked_zh = years(need)
    fill = {"have": f"{have:.1f}", "need": asked, "need_zh": asked_zh, "more": more, "more_zh": more_zh}
    return row("track", "yes" if have >= need else "no", fill, (need, None, None))


def loses_less(a: Floats, b: Floats, horizon: int) -> DieboldMariano | None:
    """Return ``diebold_mariano`` of two series of losses (n,); None where they are equal or too few."""
    try:
        return diebold_mariano(a, b, min(horizon, max(1, len(a) - 1)))
    except DataError:
        return None


def student_p(t: TStat) -> float:
    """Return the two-sided p-value of a t-statistic of n observations under Student's distribution."""
    from scipy.special import stdtr

    return float(2.0 * stdtr(t.n - 1, -abs(t.t)))


def best_model(models: Mapping[str, ForecastSummary]) -> Row:
    """Return the row on all models' daily RankIC against 0: two-sided p, Holm; one that ranks backwards has p = 1.

    Where labels overlap, the larger p of Diebold-Mariano and of dates whose labels do not.
    """
    p: dict[str, float] = {}
    for name, s in models.items():
        x = s.daily_rank_ic[~np.isnan(s.daily_rank_ic)]
        test = loses_less(-x, np.zeros_like(x), s.horizon) if len(x) >= MIN_BARS else None
        if test is not None:
            apart = s.rank_ic.nonoverlapping if s.horizon > 1 else None
            good = test.t < 0 and (apart is None or apart.t > 0)
            p[name] = max(test.p, 0.0 if apart is None else student_p(apart)) if good else 1.0
    if not p:
        return unknown("holm", f"no model has a RankIC on {MIN_BARS} dates", f"没有模型在 {MIN_BARS} 个日期上有 RankIC")
    adjusted = dict(zip(p, (float(v) for v in holm(list(p.values()))), strict=True))
    lowest, threshold = min(adjusted.values()), BY_KEY["holm"].threshold
    shown = [n for n, v in adjusted.items() if v < threshold] or [n for n, v in adjusted.items() if v == lowest]
    fill = {"count": len(p), "p": p_value(lowest), "names": ", ".join(shown)}
    return row("holm", "yes" if lowest < threshold else "no", fill, (lowest, None, None))


def best_book(books: Mapping[str, Book], rival: str, other: Book, rng: np.random.Generator) -> Row:
    """Return the row on all books' net returns against those of ``other``, called ``rival``: Hansen's test."""
    names = {"name": rival, "name_zh": chinese(rival)}
    r = together([other, *books.values()])
    if len(r) < MIN_BARS:
        why = (f"{len(r)} common bars, {MIN_BARS} are needed", f"共同交易期只有 {len(r)} 个（至少 {MIN_BARS} 个）")
        return unknown("superior", *why, names)
    if (np.ptp(r[:, 1:] - r[:, :1], axis=0) <= 1e-14 * np.abs(r[:, 0]).max()).any():
        why = (f"a book differs from {rival} by the same on every bar", f"有组合与{chinese(rival)}的逐期差值恒定")
        return unknown("superior", *why, names)
    try:
        test = superior_predictive_ability(-r[:, 0], -r[:, 1:], rng)
    except MissingExtraError:
        return unknown("superior", 'pip install "hitherto[stats]"', '需 pip install "hitherto[stats]"', names)
    except DataError as e:
        return unknown("superior", str(e), str(e), names)
    outcome = "yes" if test.p < BY_KEY["superior"].threshold else "no"
    fill = {"p": p_value(test.p), "count": len(books), "names": list(books)[test.best], **names}
    return row("superior", outcome, fill, (test.p, None, None))


def overfitted(books: Mapping[str, Book]) -> Row:
    """Return the row on the probability of backtest overfitting of a search among ``books``.

    Not assessed below 4 books, where worthless ones look robust too often, and 15 bars in each of 16 blocks.
    """
    r = together(list(books.values()))
    n, least = len(books), BLOCKS * LEAST_BLOCK
    if n < LEAST_BOOKS or len(r) < least:
        why = f"{n} {'book' if n == 1 else 'books'} on {len(r)} bars; {LEAST_BOOKS} books and {least} bars are needed"
        return unknown("overfitting", why, f"{n} 个组合、{len(r)} 个交易期；至少需要 {LEAST_BOOKS} 个和 {least} 个")
    try:
        share = pbo(r, BLOCKS).pbo
    except DataError as e:  # a book that stands still in some half: the message names it
        return unknown("overfitting", str(e), f"有组合在某一半样本中收益恒定（{e}）")
    outcome = "yes" if share < BY_KEY["overfitting"].threshold else "no"
    chance = math.ceil(n / 2) / n  # the middle one of an odd number counts as the lower half
    fill = {"value": f"{share:.3f}", "chance": f"{chance:.2f}", "count": n}
    return row("overfitting", outcome, fill, (share, None, None))


def together(books: Sequence[Book]) -> Floats:
    """Return the net returns (K, B) of all books on the bars that all have; K = 0 where there is none."""
    first, last = max(b.start for b in books), min(b.start + len(b.equity) for b in books)
    if last - first < 2:
        return np.zeros((0, len(books)))
    return np.stack([b.returns[first - b.start : last - b.start - 1] for b in books], axis=1)


def unknown(key: str, why: str, why_zh: str, names: Mapping[str, object] | None = None, level: float = 0.95) -> Row:
    """Return the row of a rule that cannot be held against the data, and why."""
    return row(key, "unknown", {"why": why, "why_zh": why_zh, **(names or {})}, level=level)
