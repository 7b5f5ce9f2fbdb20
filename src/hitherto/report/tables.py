"""Tables behind the charts, as text cells ready to print."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hitherto.report import findings
from hitherto.report.content import (
    Costs,
    Dates,
    Equity,
    Estimate,
    Example,
    Gates,
    Hindsight,
    HindsightRow,
    IcSeries,
    Ladder,
    Language,
    Verdict,
    WeightsHistory,
)
from hitherto.report.words import DASH, amount, interval, number, percent, say, typeset


@dataclass(frozen=True)
class Cell:
    """Text of one cell; ``under``: its interval in small print; ``sign``: +1 or -1 where colour means gain or loss."""

    text: str
    under: str = ""
    sign: int = 0


@dataclass(frozen=True)
class Row:
    """Cells of one row; ``role`` colours the first one as in the charts."""

    cells: tuple[Cell, ...]
    role: str = ""


@dataclass(frozen=True)
class Table:
    """Head and rows; the first ``words`` columns hold words and are set left, the others hold numbers, set right."""

    head: tuple[str, ...]
    rows: tuple[Row, ...]
    words: int = 1


def gain(value: float, digits: int = 1) -> Cell:
    """A signed fraction that is coloured as a gain or a loss."""
    text = percent(value, digits, sign=True)
    return Cell(text, sign=1 if text.startswith("+") else -1 if text.startswith("−") else 0)


def _row(*cells: Cell | str, role: str = "") -> Row:
    return Row(tuple(c if isinstance(c, Cell) else Cell(c) for c in cells), role)


def _years(dates: Dates) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Each calendar year with the rows that lie in it."""
    years = dates.astype("datetime64[Y]").astype(int) + 1970
    for year in np.unique(years):
        yield int(year), np.flatnonzero(years == year)


def verdict(part: Verdict, language: Language) -> Table:
    """Questions, answers, estimates with their intervals; a row whose words say its figure has none."""
    rows = []
    for r in part.rows:
        fraction = r.unit == "fraction"
        digits = 2 if fraction or not abs(r.estimate) < 0.1 else 3  # a correlation of 0.004 is not 0.00
        value = percent(r.estimate, digits, sign=True) if fraction else number(r.estimate, digits, sign=True)
        cell = Cell("" if math.isnan(r.estimate) else value)
        if cell.text:
            cell = Cell(value, interval(Estimate(r.estimate, r.lo, r.hi), fraction, digits))
        rows.append(_row(r.question, typeset(r.answer), cell))
    return Table(tuple(say(language, k) for k in ("question", "answer", "estimate")), tuple(rows), words=2)


def equity(part: Equity, language: Language) -> Table:
    """Wealth on the last session of each year, by book, and of the books of permuted scores."""
    null = part.null
    curves = [*part.curves.values(), *([] if null is None else [null.low, null.mid, null.high])]
    names = () if null is None else tuple(say(language, k) for k in ("null_low", "null_mid", "null_high"))
    rows = []
    for year, at in _years(part.dates):
        rows.append(_row(str(year), *(amount(findings.last_finite(v[at]), language) for v in curves)))
    return Table((say(language, "last"), *part.curves, *names), tuple(rows))


def falls(dates: Dates, wealth: NDArray[np.float64], language: Language) -> Table:
    """The five deepest falls."""
    rows = []
    for fall in findings.falls(wealth)[:5]:
        end = len(wealth) - 1 if fall.end is None else fall.end
        back = DASH if fall.end is None else str(dates[fall.end])
        rows.append(_row(str(dates[fall.top]), str(dates[fall.low]), back, gain(fall.depth), str(end - fall.top)))
    head = ("high", "low", "end", "depth", "sessions")
    return Table(tuple(say(language, k) for k in head), tuple(rows), words=3)


def hindsight(part: Hindsight, strategy: NDArray[np.float64] | None, language: Language) -> Table:
    """Best and worst wealth on the last session of each year, the strategy between them when its dates are the same."""
    shown = [part.best, *([] if strategy is None else [strategy]), part.worst]
    head = ["last", "best", *([] if strategy is None else ["strategy"]), "worst"]
    rows = [
        _row(str(year), *(amount(findings.last_finite(v[at]), language) for v in shown))
        for year, at in _years(part.dates)
    ]
    return Table(tuple(say(language, k) for k in head), tuple(rows))


def ic(part: IcSeries, language: Language) -> Table:
    """Mean, share above 0 and count of dates, by year."""
    rows = []
    for year, at in _years(part.dates):
        values = part.daily[at]
        values = values[np.isfinite(values)]
        mean = float(values.mean()) if len(values) else math.nan
        share = float((values > 0).mean()) if len(values) else math.nan
        rows.append(_row(str(year), number(mean, 4, sign=True), percent(share, 0), str(len(values))))
    return Table(tuple(say(language, k) for k in ("year", "mean", "positive", "dates")), tuple(rows))


def ladder(part: Ladder, language: Language) -> Table:
    """Every model with its intervals."""
    rows = [
        _row(
            r.model,
            Cell(number(r.ic.value, 3, sign=True), interval(r.ic, digits=3)),
            Cell(number(r.rank_ic.value, 3, sign=True), interval(r.rank_ic, digits=3)),
            number(r.icir, 2, sign=True),
            percent(r.net_return, 1, sign=True),
            Cell(number(r.sharpe.value, 2, sign=True), interval(r.sharpe)),
            percent(r.max_drawdown),
            number(r.turnover, 1),
            percent(r.cost, 2),
            role=r.role,
        )
        for r in part.rows
    ]
    keys = ("net_return", "sharpe", "drawdown", "turnover", "cost")
    return Table((say(language, "model"), "IC", "RankIC", "ICIR", *(say(language, k) for k in keys)), tuple(rows))


def example(part: Example, language: Language) -> Table:
    """Agreement of forecast and outcome, by year."""
    rows = []
    for year, at in _years(part.dates):
        corr, hit, up = findings.agreement(part.forecast[at], part.actual[at])
        rows.append(_row(str(year), number(corr, 2, sign=True), percent(hit, 0), percent(up, 0), str(len(at))))
    return Table(tuple(say(language, k) for k in ("year", "corr", "hit", "rose", "dates")), tuple(rows))


def gates(part: Gates, language: Language) -> Table:
    """Mean over the hidden units, at the oldest and newest bar and over the window."""
    rows = []
    for name, values in part.values.items():
        v = np.asarray(values, float)
        ends = (number(float(v[0].mean())), number(float(v[-1].mean()))) if len(v) else (DASH, DASH)
        rows.append(_row(name, number(float(v.mean())) if v.size else DASH, *ends))
    return Table(tuple(say(language, k) for k in ("gate", "mean", "oldest", "newest")), tuple(rows))


def weights(part: WeightsHistory, columns: NDArray[np.intp], language: Language) -> Table:
    """Mean and largest weight, and share of decisions held, of the names drawn."""
    rows = []
    for n in columns:
        w = np.nan_to_num(part.weights[:, n], nan=0.0, posinf=0.0, neginf=0.0)
        largest = float(w[np.argmax(np.abs(w))]) if len(w) else math.nan
        held = float((np.abs(w) > findings.TINY).mean()) if len(w) else math.nan
        mean = float(w.mean()) if len(w) else math.nan
        rows.append(_row(part.names[n], percent(mean, 2), percent(largest), percent(held, 0)))
    return Table(tuple(say(language, k) for k in ("asset", "mean_weight", "largest", "held")), tuple(rows))


def cost_curves(part: Costs, language: Language) -> Table:
    """Wealth before and after costs on the last session of each year."""
    curves = (part.gross_curve, part.net_curve)
    rows = [
        _row(str(year), *(amount(findings.last_finite(v[at]), language) for v in curves))
        for year, at in _years(part.dates)
    ]
    return Table(tuple(say(language, k) for k in ("last", "gross", "net")), tuple(rows))


def cost_years(part: Costs, language: Language) -> Table:
    """Fees, slippage and their sum, by year."""
    rows = [
        _row(str(year), percent(fee, 2), percent(slip, 2), percent(fee + slip, 2))
        for year, fee, slip in zip(part.years, part.fees, part.slippage, strict=True)
    ]
    return Table(tuple(say(language, k) for k in ("year", "fees", "slippage", "total")), tuple(rows))


def hindsight_rows(rows: tuple[HindsightRow, ...], start: float, language: Language) -> Table:
    """One hindsight list, the starting wealth first."""
    lines = [_row(say(language, "first"), "", "", amount(start, language))]
    lines += [_row(r.period, r.asset, gain(r.gain, 2), amount(r.wealth, language)) for r in rows]
    return Table(tuple(say(language, k) for k in ("period", "asset", "gain", "wealth")), tuple(lines), words=2)
