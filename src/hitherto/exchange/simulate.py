"""Simulate: weights decided at t meet the market of t+1, bar after bar, through the one step of the exchange."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import ConfigError, DataError
from hitherto.exchange import kernels, ready, terms
from hitherto.exchange.account import FILLED, REASONS, Book, Fills
from hitherto.exchange.step import BarRules
from hitherto.exchange.terms import FEN, PIPS, Costs, Rulings
from hitherto.outcome import MarketRow, Outcome
from hitherto.panel import Panel
from hitherto.portfolio.base import Weights

Floats = NDArray[np.float64]
Fill = Literal["next_close", "next_open", "same_close"]
SAME_CLOSE = "same_close: fills at the very close that the decision read; the result is optimistic"
SAME_BAR = "same_bar: orders fill in the bar whose close decided them, before it was known; the result is impossible"
LEAST_SPLIT, MOST_SPLIT = 1e-4, 900.0  # new shares per old: outside it 1e-8 of a share cannot be counted
LARGEST = 1e14  # of currency: shares x pips stay inside 64 bits
RATES = [terms.TAX_BUY, terms.TAX_SELL, terms.TRANSFER, terms.OTHER, terms.SHARE_BOTH, terms.SHARE_SELL,
         terms.COMMISSION, terms.MINIMUM, terms.SHARE_CAP]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Events:
    """Explicit corporate actions, which win over the factor on their (t, n).

    t, n: (E,) rows and columns of the panel, the ex-date. dividend: (E,) cash per old share, in currency. split: (E,)
    new shares per old one (1.3 for three bonus shares on ten; 1 for none). A fraction of a share is paid in cash.
    """

    t: NDArray[np.int64]
    n: NDArray[np.int64]
    dividend: Floats
    split: Floats

    def checked(self, panel: Panel) -> tuple[NDArray[Any], ...]:
        """Return the four columns in time order, dividend and split in 1e-8; DataError for what cannot be."""
        t, n = np.asarray(self.t, np.int64), np.asarray(self.n, np.int64)
        money, ratio = np.asarray(self.dividend, np.float64), np.asarray(self.split, np.float64)
        if not (t.ndim == 1 and t.shape == n.shape == money.shape == ratio.shape):
            raise DataError(f"events: shapes {t.shape}, {n.shape}, {money.shape}, {ratio.shape} differ; one row each")
        T, N = panel.shape
        bad = ~((t >= 0) & (t < T) & (n >= 0) & (n < N) & np.isfinite(money) & (money >= 0) & (ratio > 0))
        bad |= ~((ratio >= LEAST_SPLIT) & (ratio <= MOST_SPLIT))
        if bad.any():
            i = int(np.argmax(bad))
            raise DataError(
                f"events: row {i} (t={t[i]}, n={n[i]}, dividend={money[i]:g}, split={ratio[i]:g}) lies outside the "
                f"panel's {T} x {N}, or its dividend is below 0 or its split outside {LEAST_SPLIT:g}..{MOST_SPLIT:g}; "
                "correct or drop it"
            )
        order = np.lexsort((n, t))
        if len(t) and (np.diff(t[order] * N + n[order]) == 0).any():
            raise DataError("events: a name has two events on one bar; add the dividends and multiply the splits")
        return t[order], n[order], np.round(money[order] * 1e8), np.round(ratio[order] * 1e8)


NO_EVENTS = Events(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0))


class Venue:
    """A panel under costs and rules, made ready once and traded many times.

    costs: None is free. rules: None is a market without rules (fractions of shares and money). events: explicit
    corporate actions. fill: orders decided at close t fill at bar t+1, at its close (``next_close``) or its open
    (``next_open``, valued at the close); ``same_close`` fills at close t itself and flags the book. same_bar: the
    classic fault, to show what it is worth: the order that close t decides fills in bar t, at its open or close, as if
    it had been known at close t - 1; flags the book. times: multiplies every cost, dated ones included. Threads may
    share a Venue.
    """

    def __init__(
        self, panel: Panel, *, costs: Costs | None = None, rules: Rulings | None = None, events: Events | None = None,
        fill: Fill = "next_close", same_bar: bool = False, times: float = 1.0,
    ) -> None:  # fmt: skip
        if fill not in ("next_close", "next_open", "same_close"):
            raise ConfigError(f"simulate: fill must be 'next_close', 'next_open' or 'same_close', got {fill!r}")
        if same_bar and fill == "same_close":
            raise ConfigError(
                "simulate: same_bar goes with fill 'next_open' or 'next_close'; same_close is one already"
            )
        if not (np.isfinite(times) and times >= 0):
            raise ConfigError(f"simulate: times must be a number >= 0, got {times!r}")
        if rules is not None and rules.kind.shape != panel.shape:
            raise ConfigError(f"simulate: the rules are laid on {rules.kind.shape}, the panel has {panel.shape}")
        self.panel, self.costs, self.rules, self.fill, self.same_bar = panel, costs or Costs(), rules, fill, same_bar
        panel.need({"close", "open"} if fill == "next_open" else {"close"}, f"a fill at the {fill.replace('_', ' ')}")
        if self.costs.volume_cap or self.costs.impact:
            panel.need({"volume"}, "a volume cap or an impact")
        self._rules = self._fixed(times)
        self._events = (events or NO_EVENTS).checked(panel)
        self._market = self._arrays()
        sessions = panel.sessions
        self._fresh = ready.read_only(np.r_[True, sessions[1:] != sessions[:-1]])

    def _fixed(self, times: float) -> tuple[Any, ...]:
        whole = self.rules is not None
        table = self.rules.with_costs(self.costs) if self.rules is not None else self.costs.terms()
        table[:, RATES] *= times if times else np.where(np.isinf(table[:, RATES]), 1.0, 0.0)  # no inf x 0
        slip = self.costs.slippage_bps * 1e4 * times
        if whole:
            table[:, RATES], slip = np.round(table[:, RATES]), float(round(slip))
        falls = self.rules is None or self.rules.falls
        return (ready.read_only(table), slip, float(self.costs.volume_cap), float(self.costs.impact * times), whole,
                falls, self.fill != "next_open")  # fmt: skip

    def _arrays(self) -> tuple[NDArray[Any], ...]:
        panel = self.panel
        none = np.zeros((0, 0))
        close = ready.read_only(panel.fields["close"])
        at = ready.read_only(panel.fields["open"]) if self.fill == "next_open" else close
        high, low, volume = (ready.read_only(panel.fields.get(f, none)) for f in ("high", "low", "volume"))
        if not (len(high) and len(low)):
            high = low = ready.read_only(none)
        grown = ready.growth(ready.read_only(panel.fields["factor"])) if "factor" in panel.fields else None
        grown = np.ones(panel.shape) if grown is None else grown
        if not grown.min() > 0:
            t, n = np.argwhere(~(grown > 0))[0]
            raise DataError(
                f"simulate: the factor of {panel.symbols[n]} on {panel.sessions[t]} is not positive; "
                "correct it, or read the bars without a factor"
            )
        grown[self._events[0], self._events[1]] = 1.0
        sigma = adv = none
        moved = self._with_events(close, grown)
        if self.costs.impact:
            sigma, adv = ready.known_before(close, volume, ready.read_only(moved), ready.SPAN)
        kind = np.zeros(panel.shape, np.uint8) if self.rules is None else self.rules.kind
        halt = ready.halts(ready.read_only(panel.listed), ready.read_only(panel.suspended))
        return tuple(map(ready.read_only, (at, high, low, close, volume, grown, halt, kind, sigma, adv)))

    def _with_events(self, close: Floats, grown: Floats) -> Floats:
        """Return growth with the events in it: they move the price as a factor does, and are no return of the market.

        DataError for a dividend that the last price before does not cover.
        """
        fixed = self._rules[5]
        moved = grown.copy() if fixed else np.maximum(grown, 1.0)
        for t, n, money, ratio in zip(*self._events, strict=True):
            seen = np.flatnonzero(np.isfinite(close[:t, n]))
            if not len(seen):
                continue
            was = close[seen[-1], n] / np.prod(moved[seen[-1] + 1 : t, n])
            if was <= money / 1e8:
                raise DataError(
                    f"events: {self.panel.symbols[n]} pays {money / 1e8:g} a share on {self.panel.sessions[t]}, its "
                    f"last price was {was:g}; correct the dividend (per share, in currency)"
                )
            moved[t, n] = was / ((was - money / 1e8) / (ratio / 1e8))
        return moved

    def book(
        self, weights: Weights, *, capital: float = 1e6, start: int | None = None, stop: int | None = None,
        allow_short: bool | None = None, delay: int = 1, reinvest: bool = False,
    ) -> Book:  # fmt: skip
        """Trade target weights and return the book of bars start..stop-1; see ``simulate`` for the arguments."""
        first, last = self._range(weights, start, stop)
        made = self._fold(weights, first, last, capital, allow_short, delay, reinvest, keep=True)
        money, shares, marks, table, count = made
        if self.rules is not None:
            money /= FEN
            marks /= PIPS
        equity, cash, fees, slippage, corporate, traded = (column.copy() for column in money.T)
        return Book(
            name=weights.name, start=first, equity=equity, cash=cash, shares=shares, price=marks, fees=fees,
            slippage=slippage, corporate=corporate, traded=traded, fills=_fills(table[:count], self.rules is not None),
            flags=self._flags(first, last, delay, equity, shares, table[:count, 11]),
            rules="" if self.rules is None else self.rules.label,
        )  # fmt: skip

    def equity(
        self, weights: Weights, *, capital: float = 1e6, start: int | None = None, stop: int | None = None,
        allow_short: bool | None = None, delay: int = 1, reinvest: bool = False,
    ) -> Floats:  # fmt: skip
        """Return (K,) float64: the equity of ``book``, without its holdings and fills (faster, and small)."""
        first, last = self._range(weights, start, stop)
        money = self._fold(weights, first, last, capital, allow_short, delay, reinvest, keep=False)[0]
        return money[:, 0] / FEN if self.rules is not None else money[:, 0].copy()

    def bar(self, t: int) -> tuple[MarketRow, BarRules]:
        """Return what bar ``t`` offers and the rules it is under, as ``exchange.step`` wants them."""
        row = Outcome(self.panel).market(t)
        _, _, _, close, volume, grown, halt, kind, sigma, adv = self._market
        nothing = np.full(close.shape[1], np.nan)
        before = nothing.copy()
        for past in volume[:t]:
            before = np.where(np.isfinite(past), past, before)
        seen = (sigma[t], adv[t]) if len(sigma) else (nothing, nothing)
        rules = BarRules(self._rules[0], kind[t], self._rules[5], halt[t], before, *seen, bool(self._fresh[t]),
                         self.rules is not None)  # fmt: skip
        return row._replace(growth=grown[t]), rules

    def _fold(
        self, weights: Weights, first: int, last: int, capital: float, allow_short: bool | None, delay: int,
        reinvest: bool, *, keep: bool,
    ) -> tuple[Any, ...]:  # fmt: skip
        if delay < 1 or delay != int(delay):
            raise ConfigError(f"simulate: delay must be >= 1 bar, got {delay}; for the same bar say fill='same_close'")
        if not (np.isfinite(capital) and capital > 0):
            raise ConfigError(f"simulate: capital must be a positive amount, got {capital!r}")
        if self.rules is not None and capital < 0.01:
            raise ConfigError(f"simulate: under rules money is counted in 0.01; capital {capital!r} is less than that")
        values, decided = ready.read_only(weights.values), ready.read_only(weights.decided)
        short = self._shorts(weights, values, decided, first, last, allow_short)
        pending, lag = np.full(len(values), -1, np.int64), delay - 1 - self.same_bar
        rows = np.arange(first + max(lag, 0), last + min(lag, 0))
        pending[rows] = np.where(decided[rows - lag], rows - lag, -1)
        money = float(round(capital * FEN)) if self.rules is not None else float(capital)
        # numpy asks for huge pages where the compiled code would not: a quarter of the time of a kept book
        K = last - first if keep else 0
        held, marks = np.empty((K, values.shape[1])), np.empty((K, values.shape[1]))
        table = np.empty((np.count_nonzero(values) * 5 // 4 + 1024 if keep else 1, 12))
        made, table, count = kernels.fold(
            values, pending, short, self._market, self._events, self._fresh, money, self._rules, first, last,
            self.fill == "same_close", reinvest, held, marks, table,
        )  # fmt: skip
        large = np.abs(made[:, 0]) > LARGEST * FEN
        if self.rules is not None and large.any():
            raise DataError(
                f"simulate: the equity of '{weights.name}' passes {LARGEST:g} on "
                f"{self.panel.sessions[first + int(np.argmax(large))]}; whole fen are exact up to there: start with "
                "less capital, or trade without rules"
            )
        return made, held, marks, table, count

    def _range(self, weights: Weights, start: int | None, stop: int | None) -> tuple[int, int]:
        T = self.panel.shape[0]
        if weights.values.shape != self.panel.shape or weights.decided.shape != (T,):
            raise DataError(
                f"simulate: weights '{weights.name}' have shape {weights.values.shape} and {weights.decided.shape}, "
                f"the panel {self.panel.shape}; build them from this panel"
            )
        rows = np.flatnonzero(weights.decided)
        if start is None and not len(rows):
            raise DataError(f"simulate: weights '{weights.name}' decide nothing on any row; check scores and universe")
        first = int(rows[0]) if start is None else start
        last = T if stop is None else stop
        if not 0 <= first < last <= T:
            raise ConfigError(f"simulate: bars {first}..{last} are empty or outside the panel's 0..{T}")
        return first, last

    def _shorts(
        self, weights: Weights, values: Floats, decided: NDArray[np.bool_], first: int, last: int,
        allow_short: bool | None,
    ) -> NDArray[np.bool_]:  # fmt: skip
        """Return (T,) bool: a decision of that row may go short; refuse weights that cannot be traded."""
        code, total = ready.survey(values, decided, first, last)
        days = self.panel.sessions
        if (code & 1).any():
            raise DataError(
                f"simulate: weights '{weights.name}' are not finite on {days[np.argmax(code & 1)]}; 0 means no position"
            )
        negative = (code & 2) > 0
        if negative.any() and self.rules is not None and not self.rules.shorts:
            raise ConfigError(
                f"simulate: weights '{weights.name}' are negative on {days[np.argmax(negative)]}, but the rules of "
                f"'{self.rules.market}' know no short sale; clip them at 0, or trade the book without rules"
            )
        if allow_short is False and negative.any():
            raise ConfigError(
                f"simulate: weights '{weights.name}' are negative on {days[np.argmax(negative)]} "
                "but allow_short is False; allow it, or clip them at 0"
            )
        short = np.logical_or.accumulate(negative) if allow_short is None else np.full(len(code), allow_short)
        if self.rules is not None and not self.rules.shorts:
            short[:] = False
        over = ~short & (total > 1 + 1e-9)
        if over.any():
            at = np.argmax(over)
            raise ConfigError(
                f"simulate: weights '{weights.name}' sum to {total[at]:.4g} on {days[at]}; "
                "a long-only book cannot borrow: scale them to at most 1, or set allow_short=True"
            )
        return short

    def _flags(
        self, first: int, last: int, delay: int, equity: Floats, shares: Floats, codes: Floats
    ) -> tuple[str, ...]:  # fmt: skip
        panel = self.panel
        flags = [SAME_CLOSE] if self.fill == "same_close" else [SAME_BAR] if self.same_bar else []
        if delay > 1:
            flags.append(f"delay: fills {delay - 1} bars later than normal")
        if not (codes == FILLED).any():
            most = np.bincount(codes.astype(int)) if len(codes) else np.zeros(1)
            why = f" (most: {REASONS[int(np.argmax(most))]})" if len(codes) else ""
            flags.append(f"never traded: {len(codes)} orders, none filled{why}")
        frozen = np.flatnonzero((shares[-1] != 0) & ~panel.listed[last - 1])
        if len(frozen):
            names = ", ".join(panel.symbols[n] for n in frozen[:5]) + (", ..." if len(frozen) > 5 else "")
            flags.append(f"delisted: {len(frozen)} positions are frozen at their last price: {names}")
        ruined = np.flatnonzero(equity <= 0)
        if len(ruined):
            flags.append(f"ruined: equity fell to {equity[ruined[0]]:.2f} on {panel.sessions[first + ruined[0]]}")
        return tuple(flags)


def simulate(
    panel: Panel, weights: Weights, *, costs: Costs | None = None, rules: Rulings | None = None,
    events: Events | None = None, fill: Fill = "next_close", capital: float = 1e6, start: int | None = None,
    stop: int | None = None, allow_short: bool | None = None, delay: int = 1, reinvest: bool = False,
    same_bar: bool = False,
) -> Book:  # fmt: skip
    """Trade target weights under the rules of ``exchange.step`` and return the book of bars start..stop-1.

    At each decided row t the order for name n is weight x equity(t) / close(t) - shares(t), all known at t; a name
    without a close at t is kept. Orders fill at bar t+1, see ``Venue``. What does not fill is dropped; the next
    decision orders again. Rows not decided trade nothing.

    start: first bar, default the first decided row (decisions before it are ignored); the account then holds
    ``capital`` in cash. stop: one past the last bar, default T. costs: None is free. rules: dated rules laid on the
    panel (``exchange.rules.lay``), None for none. allow_short: None allows it from the first decision on that holds a
    negative weight, so that no later row changes an earlier fill; rules without short sales refuse negative weights.
    delay: bars between the decision and the fill (1 is normal; 2 is the audit's late fill: the same weights, sized one
    bar later). reinvest: corporate actions by factor in shares instead of cash. same_bar: see ``Venue``.

    Errors: shapes that differ, NaN weights on a decided row, weights of a long-only row that sum to more than 1, a
    factor that is not positive, an empty range (DataError or ConfigError).
    """
    venue = Venue(panel, costs=costs, rules=rules, events=events, fill=fill, same_bar=same_bar)
    return venue.book(weights, capital=capital, start=start, stop=stop, allow_short=allow_short, delay=delay,
                      reinvest=reinvest)  # fmt: skip


def _fills(table: Floats, whole: bool) -> Fills:
    t, n, decided = (table[:, i].astype(np.int32) for i in range(3))
    columns = table[:, 3:11].T.copy()
    if whole:
        columns[2] /= PIPS
        columns[3:] /= FEN
    ordered, shares, price, *parts = columns
    return Fills(t, n, decided, ordered, shares, price, *parts, reason=table[:, 11].astype(np.uint8))
