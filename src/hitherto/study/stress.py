"""How firm the strategy's result is: other costs, delays and capitals, orders refused, years, and permuted scores.

Everything starts from a ``Desk``: the strategy's decisions, its book as traded, and all that the exchange was told.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hitherto.errors import ConfigError, DataError
from hitherto.evaluate.inference import paired_difference, ratio_intervals
from hitherto.evaluate.performance import max_drawdown, sharpe
from hitherto.exchange.account import FILLED, REASONS, VOLUME_CAP, Book, Fills
from hitherto.exchange.simulate import Events, Fill, Venue
from hitherto.exchange.terms import Costs, Rulings
from hitherto.panel import Panel
from hitherto.portfolio.base import Weights
from hitherto.report.content import Estimate, NullBand, Rules
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
from hitherto.seeds import Stream

if TYPE_CHECKING:
    from hitherto.study.core import Prepared, Study
    from hitherto.study.evaluate import Evaluation

Floats = NDArray[np.float64]
NAN = float("nan")
TIMES, DELAYS, CAPITALS = (0.0, 1.0, 2.0, 5.0), (0, 1, 2), (1.0, 10.0, 100.0, 1000.0)
CAP, IMPACT = 0.1, 1.0  # assumed for the capacity where the study names neither
DRAWS, THREADS = 500, 2
BAND = (0.025, 0.5, 0.975)


@dataclass(frozen=True, eq=False)
class Desk:
    """One strategy on its market: what the robustness sections vary, and the book to compare with.

    weights: its decisions. book: as traded; rival: equal weight on the same bars. scores (T, N) and rebuild: what the
    decisions were made of, and how (None: there is no null band). per: bars a year.
    """

    panel: Panel
    weights: Weights
    book: Book
    costs: Costs
    per: int = 252
    fill: Fill = "next_close"
    same_bar: bool = False
    capital: float = 1e6
    rules: Rulings | None = None
    events: Events | None = None
    rival: Book | None = None
    scores: Floats | None = None
    mask: NDArray[np.bool_] | None = None
    rebuild: Callable[[Floats], Weights] | None = None
    seed: int = 0

    def venue(self, times: float = 1.0, costs: Costs | None = None) -> Venue:
        """Return the study's market with every cost ``times`` as large, or with other costs."""
        return Venue(self.panel, costs=costs or self.costs, rules=self.rules, events=self.events, fill=self.fill,
                     same_bar=self.same_bar, times=times)  # fmt: skip

    @property
    def stop(self) -> int:
        """One past the last bar of the book."""
        return self.book.start + len(self.book.equity)

    @cached_property
    def usual(self) -> Venue:
        """The market as the study traded on it."""
        return self.venue()

    @property
    def growth(self) -> float:
        """Compound annual net return of the book as traded."""
        return growth(self.book.equity, self.per)


def desk(
    study: Study, p: Prepared, e: Evaluation, costs: Costs, rules: Rulings | None = None, events: Events | None = None
) -> Desk:
    """Return the desk of a study's strategy; costs, rules and events are those that its books were traded under.

    A book of the convex optimiser has no null band: hundreds of them would take hours.
    """
    from hitherto.study.evaluate import EQUAL, weigh

    s, first = study.settings, study.settings.portfolio[0]
    x = s.exchange

    def rebuild(scores: Floats) -> Weights:
        return weigh(first, scores, p.admitted, p.panel, e.floor.proportional)

    return Desk(
        p.panel, e.weights[e.main], e.books[e.main], costs, s.periods_per_year, x.fill, x.same_bar, x.capital, rules,
        events, e.books.get(EQUAL), e.scores, p.admitted, None if first.rule == "optimise" else rebuild, s.seed,
    )  # fmt: skip


def parts(d: Desk) -> dict[str, Any]:
    """Return the robustness parts of ``ReportContent`` by field name: stress, capacity, orders, periods."""
    return {"stress": stress(d), "capacity": capacity(d), "orders": orders(d), "periods": periods(d)}


def growth(equity: Floats, per: float) -> float:
    """Return the compound annual return of an equity curve (K,); -1 after ruin (equity at or below 0 on some bar)."""
    if not (equity > 0).all():
        return -1.0
    return float((equity[-1] / equity[0]) ** (per / max(1, len(equity) - 1)) - 1.0)


def stress(d: Desk, times: Sequence[float] = TIMES, delays: Sequence[int] = DELAYS) -> Stress:
    """Return the strategy's decisions traded again at every multiple of the costs and every further delay.

    A multiple holds for every fee, tax, slippage and impact, dated ones included. delays: bars beyond the usual fill;
    the weights stay as decided, their orders are sized and filled that much later. difference: mean per-bar difference
    to the book as traded x bars a year, paired block bootstrap; Sharpe: as everywhere. A ruined book has a net return
    of -100 % and no Sharpe ratio. ``breakeven`` is read without delay.
    """
    rng, rows = Stream(d.seed, "stress"), []
    for k in times:
        venue = d.usual if k == 1 else d.venue(k)
        for extra in delays:
            equity = venue.equity(d.weights, capital=d.capital, start=d.book.start, stop=d.stop, delay=1 + extra)
            rows.append(_stressed(d, equity, k, extra, rng.child(f"{k:g}", extra)))
    rows.sort(key=lambda r: (r.delay, r.times))
    plain = [r for r in rows if r.delay == min(delays)]
    return Stress(tuple(rows), breakeven([r.times for r in plain], [r.net for r in plain]))


def _stressed(d: Desk, equity: Floats, times: float, delay: int, rng: Stream) -> StressRow:
    net = growth(equity, d.per)
    if net == -1.0:
        return StressRow(times, delay, net, max_drawdown=-1.0)
    returns = equity[1:] / equity[:-1] - 1.0
    same = times == 1 and delay == 0
    gap = Estimate(0.0) if same else _difference(returns, d.book.returns, rng.numpy("difference"), d.per)
    return StressRow(times, delay, net, _ratio(returns, rng.numpy("sharpe"), d.per), max_drawdown(returns), gap)


def _difference(a: Floats, b: Floats, rng: np.random.Generator, per: float) -> Estimate:
    """Yearly difference with its interval; NaN where the series are too short to have one."""
    try:
        return Estimate(*paired_difference(a, b, rng, periods_per_year=per))
    except DataError:
        return Estimate(NAN)


def _ratio(returns: Floats, rng: np.random.Generator, per: float) -> Estimate:
    """Yearly Sharpe ratio with its interval; alone where the series is too short for one, NaN where it is constant."""
    try:
        return Estimate(*ratio_intervals(returns, rng, periods_per_year=per)["sharpe"])
    except (DataError, KeyError):
        value = sharpe(returns, per) if len(returns) > 1 else None
        return Estimate(NAN if value is None else value)


def breakeven(times: Sequence[float], nets: Sequence[float]) -> float:
    """Return the multiple of the costs at which the net return first falls to 0, by straight lines between the marks.

    inf: above 0 at every multiple. NaN: not above 0 at the smallest one, or a return is not known.
    """
    pairs = sorted(zip(times, nets, strict=True))
    if any(math.isnan(net) for _, net in pairs) or pairs[0][1] <= 0:
        return NAN
    for (a, above), (b, below) in pairwise(pairs):
        if below <= 0:
            return a + (b - a) * above / (above - below)
    return math.inf


def capacity(d: Desk, capitals: Sequence[float] = CAPITALS) -> Capacity:
    """Return the strategy traded at ``capitals`` times its own, under a volume cap and square-root impact.

    Both are those of the study's costs, else 10 % of a bar's volume and an impact of 1 (assumed, and named on the
    page). cut: share of all orders that met the cap. Without a volume it says so and has no rows.
    """
    if "volume" not in d.panel.fields or not (d.panel.fields["volume"] > 0).any():
        return Capacity(not_assessed="no volume")
    cap, impact = d.costs.volume_cap or CAP, d.costs.impact or IMPACT
    venue = d.venue(costs=dataclasses.replace(d.costs, volume_cap=cap, impact=impact))
    most = _largest_order(d, cap)
    rows = []
    for k in capitals:
        try:
            book = venue.book(d.weights, capital=k * d.capital, start=d.book.start, stop=d.stop)
        except DataError:  # more than whole fen can count
            break
        rows.append(CapacityRow(k * d.capital, growth(book.equity, d.per), _cut(book.fills, most)))
    half = half_gone([r.capital for r in rows], [r.net for r in rows], d.growth)
    return Capacity(tuple(rows), half, d.growth, cap, impact)


def _largest_order(d: Desk, cap: float) -> Floats:
    """Shares (T, N) that one order may take: at the close of this bar's volume, at the open of the last one known."""
    volume = d.panel.fields["volume"]
    if d.fill == "next_open":
        rows = np.where(np.isfinite(volume), np.arange(len(volume))[:, None], 0)
        volume = np.take_along_axis(volume, np.maximum.accumulate(rows, axis=0), axis=0)
        volume = np.concatenate([np.zeros((1, volume.shape[1])), volume[:-1]])
    most = cap * np.nan_to_num(volume)
    return most if d.rules is None else np.floor(most)  # fractions of a share trade only without rules


def _cut(f: Fills, most: Floats) -> float:
    """Share of all orders that the volume cap made smaller, or refused."""
    if not len(f.ordered):
        return NAN
    less = (f.reason == FILLED) & (np.abs(f.ordered) > most[f.t, f.n]) & (np.abs(f.shares) < np.abs(f.ordered))
    return float((less | (f.reason == VOLUME_CAP)).mean())


def half_gone(capitals: Sequence[float], nets: Sequence[float], base: float) -> float:
    """Return the capital at which the net return first falls to base / 2, by straight lines in log capital.

    inf: above it at every capital. 0: below it at the least one. NaN: base is not above 0, or a return is not known.
    """
    if not base > 0 or any(math.isnan(net) for net in nets):
        return NAN
    pairs = sorted(zip(capitals, nets, strict=True))
    if pairs[0][1] <= base / 2:
        return 0.0
    for (a, above), (b, below) in pairwise(pairs):
        if below <= base / 2:
            share = (above - base / 2) / (above - below)
            return float(a * (b / a) ** share)
    return math.inf


def orders(d: Desk) -> Orders:
    """Return the book's orders by what became of them, filled whole first, then in part, then by reason of refusal.

    An order's value is shares ordered x last price at its decision. Turnover and cost are yearly means over the bars.
    """
    f, book = d.book.fills, d.book
    done, asked = np.abs(f.shares), np.abs(f.ordered)
    part = (f.reason == FILLED) & (done < asked * (1.0 - 1e-9))
    price = book.price[f.decided - book.start, f.n]
    value = asked * np.where(np.isfinite(price), price, 0.0)
    undone = np.where(asked > 0, value * (1.0 - done / np.where(asked > 0, asked, 1.0)), 0.0)
    undone[(f.reason == FILLED) & ~part] = 0.0
    buys = f.ordered > 0
    rows = []
    for name, these in [
        ("filled", (f.reason == FILLED) & ~part),
        ("filled in part", part),
        *((reason, f.reason == code) for code, reason in enumerate(REASONS) if code != FILLED),
    ]:
        b, s = these & buys, these & ~buys
        if these.any():
            amounts = (float(x[side].sum()) for x in (value, undone) for side in (b, s))
            rows.append(OrderRow(name, int(b.sum()), int(s.sum()), *amounts))
    years = max(1, len(book.equity) - 1) / d.per
    paid = _per_equity(book, book.fees + book.slippage)
    return Orders(tuple(rows), float(book.turnover.sum() / years), float(paid.sum() / years))


def periods(d: Desk) -> Periods:
    """Return the book by calendar year: a return belongs to the year of the bar that ends it."""
    book, rng = d.book, Stream(d.seed, "periods")
    sessions = d.panel.sessions[book.start : book.start + len(book.equity)]
    years = (sessions.astype("datetime64[Y]").astype(int) + 1970)[1:]
    mine, other = _returns(book.equity), None if d.rival is None else _returns(d.rival.equity)
    paid, turned = _per_equity(book, book.fees + book.slippage)[1:], book.turnover[1:]
    rows = []
    for year in np.unique(years[np.isfinite(mine)]):
        at = years == year
        r = mine[at]
        net = float(np.prod(1.0 + r) - 1.0)
        excess = NAN if other is None else net - float(np.prod(1.0 + other[at]) - 1.0)
        rows.append(PeriodRow(
            int(year), int(at.sum()), net, excess,
            _ratio(r, rng.numpy(str(year)), d.per), max_drawdown(r),
            float(turned[at].sum()), float(paid[at].sum()),
        ))  # fmt: skip
    return Periods(tuple(rows))


def _returns(equity: Floats) -> Floats:
    """Simple returns, 0 from the bar on which nothing is left: a ruined account stays where it is."""
    alive = np.logical_and.accumulate(equity > 0)
    before = np.where(alive[:-1], equity[:-1], 1.0)
    return np.where(alive[:-1], np.maximum(equity[1:], 0.0) / before - 1.0, 0.0)


def _per_equity(book: Book, money: Floats) -> Floats:
    """Money of each bar over the equity of the bar before."""
    return money / np.r_[book.equity[:1], book.equity[:-1]]


def rules(laid: Rulings | None, contradictions: int | None = None, closes: int = 0) -> Rules | None:
    """Return the rules in force for the report; None for a market without rules."""
    return None if laid is None else Rules(laid.market, laid.digest, laid.assumptions, contradictions, closes)


def null_band(d: Desk, draws: int = DRAWS, threads: int = THREADS) -> NullBand | None:
    """Return the band of ``draws`` books whose scores were handed to other names; None without scores.

    Book b draws one permutation of the columns and keeps it on all bars, so that its scores persist and turn over as
    the strategy's do. On a bar where only some names have a score (and are admitted), each of them takes the score of
    the next name along its cycle of the permutation that has one: by that rule every bar's scores are permuted among
    that bar's own names, every such permutation is equally likely, and a name that drops out moves one other, not all.
    The books are built by the same portfolio rule and traded on the same market; band: quantiles of wealth per bar.

    The null hypothesis is that it does not matter which name got which score. p: Phipson & Smyth, "Permutation
    p-values should never be zero" (2010). Draw b depends on (seed, b) alone, not on the number of threads.
    """
    if d.scores is None or d.mask is None or d.rebuild is None:
        return None
    if draws < 1:
        raise ConfigError(f"null band: draws must be a whole number of books >= 1, got {draws}")
    scores, ok, rebuild = d.scores, d.mask & np.isfinite(d.scores), d.rebuild
    venue, rng = d.usual, Stream(d.seed, "null")
    wealth = np.empty((draws, len(d.book.equity)))

    def one(b: int) -> None:
        made = rebuild(permuted(scores, ok, rng.numpy(b).permutation(scores.shape[1])))
        equity = venue.equity(made, capital=d.capital, start=d.book.start, stop=d.stop)
        wealth[b] = equity / equity[0]

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(one, range(draws)):  # raises what a book raised
            pass
    above = int((wealth[:, -1] >= d.book.equity[-1] / d.book.equity[0]).sum())
    low, mid, high = np.quantile(wealth, BAND, axis=0, overwrite_input=True)
    return NullBand(low, mid, high, above, draws)


def permuted(scores: Floats, ok: NDArray[np.bool_], order: NDArray[np.int64]) -> Floats:
    """Return scores (T, N) handed round among the names of ``ok`` (T, N) on each bar; NaN elsewhere.

    Name n takes the score of the first of order[n], order[order[n]], ... that is ok on that bar: the permutation that
    ``order`` induces on the ok names. Where all are ok this is scores[:, order].
    """
    out = np.full(scores.shape, NAN)
    _hand_round(np.ascontiguousarray(scores), np.ascontiguousarray(ok), np.asarray(order, np.int64), out)
    return out


@njit(cache=True, nogil=True)
def _hand_round(scores, ok, order, out):
    T, N = scores.shape
    # walk: the columns cycle by cycle, each followed by the one whose score it would take; head: where cycles start
    walk, head, seen = np.empty(N, np.int64), np.empty(N + 1, np.int64), np.zeros(N, np.bool_)
    cycles, count = 0, 0
    for first in range(N):
        if seen[first]:
            continue
        head[cycles] = count
        cycles += 1
        n = first
        while not seen[n]:
            seen[n] = True
            walk[count] = n
            count += 1
            n = order[n]
    head[cycles] = N
    for t in range(T):
        for c in range(cycles):
            follower = -1
            for i in range(head[c], head[c + 1]):  # the first ok name of the cycle follows its last one
                if ok[t, walk[i]]:
                    follower = walk[i]
                    break
            if follower < 0:
                continue
            for i in range(head[c + 1] - 1, head[c] - 1, -1):
                n = walk[i]
                if ok[t, n]:
                    out[t, n] = scores[t, follower]
                    follower = n
