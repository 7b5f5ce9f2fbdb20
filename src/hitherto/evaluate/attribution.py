"""Where a book's return came from: market, universe, size, sector, selection, trading and cost, bar by bar."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import DataError
from hitherto.evaluate.inference import MIN_POINTS, Interval, optimal_block, resampled_means
from hitherto.evaluate.performance import clean
from hitherto.evaluate.periods import Basis
from hitherto.exchange.account import Book

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Mask = NDArray[np.bool_]
LEAST = 5  # names of a group: below, its mean is mostly the luck of the name that is judged by it
PARTS = ("market", "universe", "size", "sector", "selection", "trading", "cost", "rest")


@dataclass(frozen=True, eq=False)
class Attribution:
    """The net return of each bar of a book, cut into parts that add up to it.

    parts: the names of the columns, in the order of ``PARTS`` (universe, size, sector only where they were given).
    values: (K - 1, P) float64 fractions of the equity before the bar. returns: (K - 1,) net returns.
    exposure: (K - 1,) net exposure before the bar. means: part -> annual arithmetic mean with its interval (None: too
    few bars). total: the whole span, linked. notes: part -> one sentence, how it was computed.
    """

    parts: tuple[str, ...]
    values: Floats
    returns: Floats
    exposure: Floats
    means: dict[str, Interval | None]
    total: Linked
    notes: dict[str, str]
    basis: Basis


@dataclass(frozen=True)
class Linked:
    """The parts of some bars, linked so that they add up to ``net``, the compounded net return of these bars."""

    label: str
    bars: int
    net: float
    parts: dict[str, float]


@dataclass(frozen=True)
class BreakevenCost:
    """The cost a side, a fraction of the value traded, at which a mean is 0; below it the strategy earns.

    against: "nothing" (the mean net return less rf is 0) or "equal weight" (the mean net difference to it is 0; both
    pay the cost). cost: estimate with its interval; None with a ``reason``. paid: what a side cost in this book, all
    fees and slippage over the value traded. multiple: cost / paid. retraded: multiple of the study's own costs at which
    the re-simulated book earns just that (inf: beyond the largest tried; None: not tried). A cost below 0: it loses
    even free of costs.
    """

    against: str
    cost: Interval | None
    paid: float
    multiple: float | None
    retraded: float | None
    reason: str
    basis: Basis


@dataclass(frozen=True)
class DelayRow:
    """The same decisions filled ``delay`` bars later: compound annual net return, and the annual mean net difference
    to equal weight (as traded), with its interval.
    """

    delay: int
    net: float
    edge: Interval | None


@dataclass(frozen=True)
class BreakevenDelay:
    """The delay in bars at which the mean net edge over equal weight is gone, by straight lines between the rows.

    bars: inf = it outlives every delay tried. None: there is no edge to lose at delay 0, see ``reason``.
    """

    rows: tuple[DelayRow, ...]
    bars: float | None
    reason: str
    basis: Basis


NOTES = {
    "market": "Net exposure before the bar x the market's return of the bar.",
    "universe": "Net exposure x (equal weight of the universe less the market given).",
    "size": "Weight in each third by size x (equal weight of that third less that of the universe).",
    "sector": "Weight in each sector x the mean of its names' returns over the universe, their size taken off.",
    "selection": "What the names earned beyond market and groups: the choice within them.",
    "trading": "Orders filled away from the close: from the fill to the close of the bar.",
    "cost": "Fees and slippage over the equity before the bar.",
    "rest": "Rounding of money, and what dividends and splits turned into cash within a bar.",
}


def thirds(size: Floats, universe: Mask) -> Codes:
    """Return (T, N) int64: third by ``size`` among the universe's names of each bar, 0 = smallest, -1 = not known.

    size: (T, N) any unit, NaN = unknown; as known at the bar. Equal sizes go by column.
    """
    known = universe & np.isfinite(size)
    order = np.argsort(np.where(known, size, np.inf), axis=1, kind="stable")
    count = known.sum(axis=1, keepdims=True)
    third = np.minimum(3 * np.arange(size.shape[1])[None, :] // np.maximum(count, 1), 2)
    out = np.empty(size.shape, np.int64)
    np.put_along_axis(out, order, third, axis=1)
    out[~known] = -1
    return out


def returns(
    net: Floats, weights: Floats, names: Floats, universe: Mask, cost: Floats, rng: np.random.Generator, *,
    periods_per_year: float, rf: float = 0.0, trading: Floats | None = None, market: Floats | None = None,
    size: Codes | None = None, groups: Codes | None = None, least: int = LEAST, draws: int = 2000,
) -> Attribution:  # fmt: skip
    """Cut the net returns of B bars into parts that add up to them.

    net: (B,) simple net returns. weights: (B, N) what was held before the bar, fractions of equity, no NaN. names:
    (B, N) simple returns of the names over the bar; NaN = no price, a holding then earns 0 (it stays at its last
    price). universe: (B, N) names admitted before the bar; their equal weight is the market unless ``market`` (B,) is
    given. cost: (B,) >= 0, fees and slippage over the equity before. trading: (B,) what fills away from the close
    earned. size, groups: (B, N) codes >= 0 known before the bar, -1 = none (its excess is selection).

    market = exposure x market return: by holdings, no regression. size = sum of w x (mean return of the name's third
    less that of the universe); sector = sum of w x (mean, over the sector, of what the thirds leave): size goes first,
    so that what both explain is called size. selection = the names' rest; so is the excess of a group with fewer than
    ``least`` returns, since the mean of n names holds 1/n of what one of them earned by itself. A bar on which no name
    of the universe has a return has no market: all its names' return is selection. rest = net less all others.

    rf is not taken off (a part is not an excess return). means: arithmetic, 95 % block bootstrap, the bars of all parts
    drawn together. Errors: DataError on shapes, NaN weights, a market with NaN, or a ruined book.
    Source: by groups as Brinson, Hood and Beebower 1986; by characteristics of the holdings as Daniel, Grinblatt,
    Titman and Wermers 1997.
    """
    r, held = _aligned(net, weights, names, universe, cost, market)
    moved = np.where(np.isfinite(names), names, 0.0)
    known = universe & np.isfinite(names)
    count = known.sum(axis=1)
    equal = np.where(known, moved, 0.0).sum(axis=1) / np.maximum(count, 1)
    exposed = held.sum(axis=1)
    index = equal if market is None else np.asarray(market, np.float64)
    parts = {"market": exposed * index}
    if market is not None:
        parts["universe"] = exposed * (equal - index)
    left = np.where(np.isfinite(names), moved - equal[:, None], -equal[:, None])
    for name, codes in (("size", size), ("sector", groups)):
        if codes is not None:
            mean = _group_means(left, codes, known, least)
            parts[name] = (held * mean).sum(axis=1)
            left = left - mean
    parts["selection"] = (held * left).sum(axis=1)
    if trading is not None:
        parts["trading"] = np.asarray(trading, np.float64)
    parts["cost"] = -np.asarray(cost, np.float64)
    parts["rest"] = r - np.sum(list(parts.values()), axis=0)
    values = np.stack([parts[p] for p in PARTS if p in parts], axis=1)
    order = tuple(p for p in PARTS if p in parts)
    notes = {p: NOTES[p] for p in order}
    if (count == 0).any():
        notes["market"] += f" {int((count == 0).sum())} bars have no market return; all of theirs is selection."
    basis = Basis(periods_per_year, rf, "linked in logs", "net of fees and slippage, which are a part of their own")
    means = _means(values, r, rng, periods_per_year, draws)
    total = link("all", values, r, order)
    return Attribution(order, values, r, exposed, dict(zip(order, means, strict=True)), total, notes, basis)


def _aligned(
    net: Floats, weights: Floats, names: Floats, universe: Mask, cost: Floats, market: Floats | None
) -> tuple[Floats, Floats]:
    r = clean(net)
    B = len(r)
    if not (weights.shape == names.shape == universe.shape and len(weights) == B and len(cost) == B):
        raise DataError(
            f"attribution: {B} returns, weights {weights.shape}, names {names.shape}, universe {universe.shape}, costs "
            f"{len(cost)}; give one row a bar"
        )
    if (r <= -1.0).any():
        raise DataError(f"attribution: the book is ruined at bar {int(np.argmax(r <= -1.0))}; nothing can be linked")
    if not np.isfinite(weights).all():
        raise DataError("attribution: a weight is not finite; 0 means no holding")
    if market is not None and (len(market) != B or not np.isfinite(market).all()):
        raise DataError(
            f"attribution: the market must have a return on each of {B} bars; leave it out for equal weight"
        )
    return r, np.asarray(weights, np.float64)


def _group_means(x: Floats, codes: Codes, known: Mask, least: int) -> Floats:
    """Return (B, N): the mean of ``x`` over the known names of the same bar and code; 0 below ``least`` of them."""
    B, N = x.shape
    wide = int(codes.max(initial=-1)) + 1
    if wide == 0:
        return np.zeros((B, N))
    cell = np.arange(B)[:, None] * wide + np.maximum(codes, 0)
    counted = known & (codes >= 0)
    total = np.bincount(cell[counted], weights=x[counted], minlength=B * wide)
    count = np.bincount(cell[counted], minlength=B * wide)
    mean = np.where(count >= least, total / np.maximum(count, 1), 0.0)
    return np.where(codes >= 0, mean[cell], 0.0)


def _means(values: Floats, r: Floats, rng: np.random.Generator, per: float, draws: int) -> list[Interval | None]:
    if len(r) < MIN_POINTS:
        return [None] * values.shape[1]
    drawn = resampled_means(values, rng, draws, optimal_block(r)) * per
    lo, hi = np.quantile(drawn, [0.025, 0.975], axis=0)
    return [Interval(float(m * per), float(a), float(b)) for m, a, b in zip(values.mean(axis=0), lo, hi, strict=True)]


def of_book(
    book: Book, names: Floats, universe: Mask, rng: np.random.Generator, *, periods_per_year: float, rf: float = 0.0,
    market: Floats | None = None, size: Floats | None = None, groups: Codes | None = None, least: int = LEAST,
    draws: int = 2000,
) -> Attribution:  # fmt: skip
    """Attribute the net returns of a Book; see ``returns``.

    names, universe, size, groups: (T, N) of the panel the book was traded on, row t as known at t (what was held over
    bar t reads universe, size and groups of row t - 1). names: total returns over bar t, dividends in. market: (T,)
    returns, NaN outside the book. size: any unit, cut into thirds of the universe. Trading is what the book's fills
    earned from their price to the close of their bar.
    """
    K = len(book.equity)
    if not (book.equity > 0).all():
        raise DataError(f"attribution: book '{book.name}' is ruined; nothing can be linked")
    bars, before = slice(book.start + 1, book.start + K), slice(book.start, book.start + K - 1)
    was = book.equity[:-1]
    held = np.where(book.shares[:-1] != 0, book.shares[:-1] * book.price[:-1], 0.0) / was[:, None]
    f = book.fills
    done = (f.shares != 0) & (f.t > book.start)
    at = f.t[done] - book.start
    earned = f.shares[done] * (book.price[at, f.n[done]] - f.price[done])
    trading = np.bincount(at, weights=earned, minlength=K)[1:] / was
    thirded = None if size is None else thirds(size[before], universe[before])
    return returns(
        book.returns, held, names[bars], universe[before], (book.fees + book.slippage)[1:] / was, rng,
        periods_per_year=periods_per_year, rf=rf, trading=trading, market=None if market is None else market[bars],
        size=thirded, groups=None if groups is None else groups[before], least=least, draws=draws,
    )  # fmt: skip


def link(label: str, values: Floats, net: Floats, parts: tuple[str, ...]) -> Linked:
    """Link parts per bar (B, P) so that they add up to the compounded return of ``net`` (B,), to rounding.

    Each bar's parts are scaled by (log(1 + r) / r) / (log(1 + R) / R), r its return and R that of all the bars: the
    order of the bars does not matter. DataError for a return of -100 % or less.
    Source: Carino, "Combining Attribution Effects Over Time", Journal of Performance Measurement 3(4), 1999.
    """
    if (net <= -1.0).any():
        raise DataError(f"attribution: a return of {net.min():.2%} cannot be linked in logs; nothing was left")
    log = np.log1p(net)
    whole = float(log.sum())
    scale = np.where(net != 0, log / np.where(net != 0, net, 1.0), 1.0)
    scale /= whole / np.expm1(whole) if whole != 0 else 1.0
    return Linked(label, len(net), float(np.expm1(whole)), dict(zip(parts, (scale @ values).tolist(), strict=True)))


def link_by(a: Attribution, labels: NDArray[np.str_]) -> tuple[Linked, ...]:
    """Return the parts linked over the bars of each label, (B,) text, in order of first appearance; "" is left out."""
    seen, first, code = np.unique(labels, return_index=True, return_inverse=True)
    return tuple(
        link(str(seen[k]), a.values[code == k], a.returns[code == k], a.parts) for k in np.argsort(first) if seen[k]
    )


def breakeven_cost(
    book: Book, rng: np.random.Generator, *, periods_per_year: float, rf: float = 0.0, rival: Book | None = None,
    draws: int = 2000, level: float = 0.95,
) -> BreakevenCost:  # fmt: skip
    """Return the cost a side at which the mean net return of a book less rf, or its mean edge over ``rival``, is 0.

    mean(gross return - rf / p) / mean(value traded / equity before), gross = net + fees and slippage over the equity
    before; against a rival, difference over difference: both pay the cost. The bars of both are drawn together in
    blocks; the interval is that of the ratio. The cost is taken as proportional, the trades as they were. None with a
    reason where the book trades no more than the rival. DataError on a ruined book.
    """
    against = "nothing" if rival is None else rival.name
    basis = Basis(periods_per_year, rf if rival is None else 0.0, "simple mean", "before fees and slippage")
    gross, traded, spent = _gross(book)
    paid = float(spent.sum() / traded.sum()) if traded.sum() > 0 else float("nan")
    gross = gross - basis.rf / periods_per_year
    if rival is not None:
        other, others, _ = _gross(rival)
        gross, traded = gross - other, traded - others
    why = ""
    if not traded.mean() > 0:
        why = "it does not trade" if rival is None else f"it trades no more than {rival.name}: no cost evens them out"
    elif len(gross) < MIN_POINTS:
        why = f"{len(gross)} bars are too few"
    if why:
        return BreakevenCost(against, None, paid, None, None, why, basis)
    drawn = resampled_means(np.stack([gross, traded], axis=1), rng, draws, optimal_block(gross))
    usable = drawn[:, 1] > 0
    estimate = float(gross.mean() / traded.mean())
    if usable.mean() < 0.5:
        return BreakevenCost(against, None, paid, None, None, "it trades too rarely to be bounded", basis)
    lo, hi = np.quantile(drawn[usable, 0] / drawn[usable, 1], [(1 - level) / 2, (1 + level) / 2])
    multiple = estimate / paid if paid > 0 else None
    return BreakevenCost(against, Interval(estimate, float(lo), float(hi)), paid, multiple, None, "", basis)


def _gross(book: Book) -> tuple[Floats, Floats, Floats]:
    """Gross returns, value traded and cost of each bar, over the equity before it."""
    if not (book.equity > 0).all():
        raise DataError(f"breakeven: book '{book.name}' is ruined; its equity is no base for a return")
    was = book.equity[:-1]
    spent = (book.fees + book.slippage)[1:] / was
    return book.returns + spent, book.traded[1:] / was, spent


def breakeven_delay(rows: tuple[DelayRow, ...], periods_per_year: float, rf: float = 0.0) -> BreakevenDelay:
    """Return the delay at which the mean edge of ``rows``, delays rising from 0, first falls to 0: see the class."""
    basis = Basis(periods_per_year, rf, "simple mean", "net of fees and slippage")
    edges = [(r.delay, r.edge.estimate) for r in rows if r.edge is not None]
    if len(edges) < len(rows) or not edges:
        return BreakevenDelay(rows, None, "too few bars, or a book was ruined", basis)
    if edges[0][1] <= 0:
        return BreakevenDelay(rows, None, "it has no edge over equal weight even without delay", basis)
    for (a, above), (b, below) in pairwise(edges):
        if below <= 0:
            return BreakevenDelay(rows, a + (b - a) * above / (above - below), "", basis)
    return BreakevenDelay(rows, float("inf"), "", basis)
