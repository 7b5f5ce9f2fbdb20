"""The market that a study trades on: its costs, its dated rules, and the books that its weights become there."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hitherto.config import ExchangeSettings
from hitherto.errors import ConfigError
from hitherto.exchange.account import Book
from hitherto.exchange.actions import Actions, read
from hitherto.exchange.simulate import Venue
from hitherto.exchange.terms import Costs, Rulings
from hitherto.panel import Panel
from hitherto.portfolio.base import Weights
from hitherto.study.core import Prepared, Study

PAPER = (
    "on paper: the rules of '{}' know no short sale; this book sells short all the same, under their limits, lots and "
    "fees, and pays nothing for borrowing"
)


@dataclass(frozen=True, eq=False)
class Floor:
    """A study's market on one panel.

    rules, events: None where the study trades without any. first: the rules hold from this row on; nothing trades
    before it.
    """

    settings: ExchangeSettings
    panel: Panel
    costs: Costs
    rules: Rulings | None
    events: Actions | None = None
    first: int = 0

    @cached_property
    def proportional(self) -> float:
        """What trading costs a side, a fraction of the value: mean of buys and sells, dated duties at their mean."""
        from hitherto.hindsight.tape import rates

        e = self.settings
        buy, sell = rates(Costs(e.fee_bps, e.slippage_bps, sell_tax_bps=e.sell_tax_bps), self.rules)
        return float((buy.mean() + sell.mean()) / 2)

    def laid(self, *, short: bool = False) -> Rulings | None:
        """Return the rules; ``short`` lets holdings be negative, on paper."""
        return dataclasses.replace(self.rules, shorts=True) if short and self.rules is not None else self.rules

    def digest(self) -> str:
        """Return the SHA-256 of the rules as laid and the corporate actions: what books rest on beside prices."""
        h = hashlib.sha256()
        parts = [] if self.rules is None else [self.rules.kind, self.rules.terms]
        if self.events is not None:
            parts += [self.events.t, self.events.n, self.events.dividend, self.events.split]
        for part in parts:
            h.update(np.ascontiguousarray(part).tobytes())
        return h.hexdigest()

    def venue(self, *, times: float = 1.0, short: bool = False) -> Venue:
        """Return the market with every cost ``times`` as large; ``short`` lets a book go short on paper."""
        e = self.settings
        return Venue(
            self.panel, costs=self.costs, rules=self.laid(short=short), events=self.events, fill=e.fill,
            same_bar=e.same_bar, times=times,
        )  # fmt: skip

    @cached_property
    def usual(self) -> Venue:
        """The market as the study trades on it."""
        return self.venue()

    @cached_property
    def paper(self) -> Venue:
        """The same for books that hold short positions."""
        return self.venue(short=True)

    def trade(
        self, weights: Weights, name: str, span: tuple[int, int], *, reinvest: bool = False, delay: int = 1
    ) -> Book:
        """Trade weights on the rows of ``span`` (first, one past the last), on paper where they go short."""
        named = Weights(name, weights.values, weights.decided)
        rules = self.rules
        on_paper = rules is not None and not rules.shorts and bool((weights.values < 0).any())
        book = (self.paper if on_paper else self.usual).book(
            named, capital=self.settings.capital, start=span[0], stop=span[1], reinvest=reinvest,
            delay=delay,
        )  # fmt: skip
        if not on_paper or rules is None:
            return book
        return dataclasses.replace(book, flags=(*book.flags, PAPER.format(rules.market)))


def first_test(p: Prepared) -> int:
    """Return the first row on which a book may trade: the first test row of all folds."""
    return min((int(np.argmax(f.test.any(axis=1))) for f in p.folds), default=0)


def floor(study: Study, panel: Panel, first: int = 0) -> Floor:
    """Return the market of a study's settings on a panel; ConfigError where its rules need more than they are told.

    first: rows before it are not traded, and need no rules.
    """
    e = study.settings.exchange
    costs = Costs(e.fee_bps, e.slippage_bps, e.min_fee, e.sell_tax_bps, e.lot, e.volume_cap, e.impact)
    events = None if e.actions is None else read(study.path(e.actions), panel)
    if e.rules == "none":
        return Floor(e, panel, costs, None, events)
    if panel.adjustment == "restated_total_return":
        raise ConfigError(
            f"{study.where}: exchange.rules = '{e.rules}' trades raw prices in lots, but these prices are restated by "
            "later splits and dividends; read raw prices with a factor, or trade without rules"
        )
    from hitherto.exchange.rules import lay
    from hitherto.exchange.status import Status

    status = None if e.status is None else Status.read(study.path(e.status))
    laid = lay(e.rules, panel.since(first), status, assume_st=e.assume.st, handling=e.handling)
    kind = np.vstack([np.zeros((first, len(panel.symbols)), np.uint8), laid.kind])
    laid = dataclasses.replace(laid, kind=kind)
    return Floor(e, panel, costs, laid, events, first)
