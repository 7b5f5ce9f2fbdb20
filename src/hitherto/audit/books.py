"""A door for backtests that can be run again: a function that turns bars into the table of its fills.

The table of its first run is looked at as any table is; then the function runs on other panels. What it holds and pays
after each bar must not move when what follows does (P0, P1, P2); what it does at the open of a bar must not know how
that bar goes on; and whom it trades must not depend on who lives on.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from hitherto.audit import adapters, cuts
from hitherto.audit.probes import since, survivors
from hitherto.audit.probes.ledger import Fills, Limits, ratio
from hitherto.audit.probes.openings import AtTheOpen, at_open
from hitherto.audit.rewrite import rewrite
from hitherto.audit.tables import plan_from_fills, read_fills, traded
from hitherto.audit.target import AuditPlan, FunctionTarget, Level, Outputs
from hitherto.audit.verdict import ProbeResult
from hitherto.errors import ConfigError, HithertoError
from hitherto.panel import Floats, Panel
from hitherto.seeds import Stream

if TYPE_CHECKING:
    import pandas as pd

QUICK = (50, 600)  # listings, bars
ENDS = (0.35, 0.6, 0.85)  # of the bars with fills: where the panel is made to end
RERUN = frozenset(("L01", "L02", "L03", "L04", "L12", "L24", "L26", "L32"))  # classes that the runs look at


@dataclass(frozen=True, eq=False)
class Book:
    """A backtest under audit, as ``from_book`` makes it. whole: the panel of the table; panel: that of the runs."""

    name: str
    function: Callable[[Any], Any]
    whole: Panel
    panel: Panel
    gets: Literal["panel", "long"] = "panel"
    limits: Limits | None = None
    t_plus_one: bool = False
    slippage: float = 0.0
    bars: int = 8

    def run(self, panel: Panel) -> Fills:
        """Return the fills that the function gives on ``panel``, matched to it."""
        made = self.function(panel if self.gets == "panel" else long_frame(panel))
        if isinstance(made, Fills):
            return dataclasses.replace(made, name=self.name)
        if not len(made):
            none, nothing = np.zeros(0, np.int64), np.zeros(0)
            return Fills(self.name, none, none, none.astype(np.int8), nothing, nothing, none)
        return read_fills(made, panel, name=self.name)

    @cached_property
    def table(self) -> Fills:
        """The fills on the whole panel."""
        return self._first(self.whole)

    @cached_property
    def base(self) -> Fills:
        """The fills on the panel of the runs."""
        return self.table if self.panel is self.whole else self._first(self.panel)

    def _first(self, panel: Panel) -> Fills:
        try:
            return self.run(panel)
        except HithertoError:
            raise
        except Exception as e:
            raise ConfigError(
                f"audit: {self.name} raised {type(e).__name__} on the unchanged panel: {e}; make it run there first"
            ) from e

    def answers(self, rng: Stream) -> ProbeResult:
        """Ask whether the fills move at all when the whole history is another one; else no re-run can show anything."""
        begun = time.perf_counter()
        what = "the whole history is another one"
        other = rewrite(self.panel, np.zeros(self.panel.shape[1], np.int64), "walk", rng.child("another history"))
        try:
            fills = self.run(other)
        except Exception as e:  # noqa: BLE001  somebody else's code: what it raised is reported, not hidden
            why = f"{self.name} raised {type(e).__name__}: {e}"[:200]
            return ProbeResult("P2", self.name, what, "not assessed", why, seconds=since(begun))
        own, mine = ([f.row, f.column, f.side * f.shares, f.price] for f in (self.base, fills))
        if all(np.array_equal(a, b, equal_nan=True) for a, b in zip(own, mine, strict=True)):
            why = "its fills do not move with the bars: it reads data of its own, and cannot be shown another future"
            return ProbeResult("P2", self.name, what, "cannot tell", why, seconds=since(begun))
        return ProbeResult("P2", self.name, what, "ok", "its fills follow", seconds=since(begun))

    def audit_targets(self) -> AuditPlan:
        """Return the plan: the table's own probes, P0 to P2 on what is held and paid, and the two of the re-runs."""
        results, missing = plan_from_fills(self.table, self.whole, limits=self.limits, t_plus_one=self.t_plus_one,
                                           rerun=True)  # fmt: skip
        book = traded(self.table, self.whole)
        rows = np.unique(self.base.row[self.base.known])
        opens = at_open(self.base, self.panel, self.slippage)
        asked = RERUN | {"L23"} if opens.any() else RERUN
        asked |= {"L21"} if opens.any() and opens[self.base.known].all() else set()
        notes = [m for m in missing if m.split(":")[0] not in asked]
        if self.panel is not self.whole:
            notes.append("what only the whole panel shows: the book was run again on a part of it")
        checks: list[Callable[[Stream], ProbeResult]] = []
        if len(rows):
            ends = rows[[int(share * (len(rows) - 1)) for share in ENDS]]
            checks = [
                AtTheOpen(self.run, self.panel, self.base, self.slippage, self.bars),
                lambda _rng: survivors.rerun(self.run, self.panel, self.base, ends),
                self.answers,
            ]
        T, N = self.panel.shape
        target = FunctionTarget(self.name, Holdings(self), "date", True, adapters.FOREIGN_RTOL)
        return AuditPlan(
            self.panel, (target,), span=(int(rows[0]), T - 1) if len(rows) else None, limit=(N, T),
            books=() if book is None else (book,), given=results[0 if book is None else 1 :], checks=tuple(checks),
            notes=tuple(notes),
        )  # fmt: skip


class Holdings:
    """The book as numbers: "position", shares held after each bar, and "price", mean price of the bar's fills.

    Many backtests close everything in the last bar they are given, or never trade in it: on a shorter panel its last
    bar is taken from the unchanged one (P2 looks there). A price is compared only where the same shares were filled, so
    that one leak is told once. The first panel it runs on must be the unchanged one.
    """

    def __init__(self, book: Book) -> None:
        self.book = book
        self._base: tuple[Floats, Floats] | None = None

    def __call__(self, panel: Panel) -> Outputs:
        """Return the two columns (T, N) float64: positions in raw shares, 0 where none; prices NaN without a fill."""
        if self._base is None:
            self._base = self._bars(self.book.base, self.book.panel)
        shares, price = self._bars(self.book.run(panel), panel)
        old_shares, old_price = self._base
        last = panel.shape[0] - 1
        if panel.shape[1] == old_shares.shape[1] and last < len(old_shares):
            if last < len(old_shares) - 1:
                shares[last], price[last] = old_shares[last], old_price[last]
            price = np.where(shares == old_shares[: last + 1], price, old_price[: last + 1])
        return {"position": np.cumsum(shares, axis=0), "price": price}

    @staticmethod
    def _bars(fills: Fills, panel: Panel) -> tuple[Floats, Floats]:
        on = fills.known & np.isfinite(fills.price)
        cell = (fills.row[on], fills.column[on])
        shares, size, paid = (np.zeros(panel.shape) for _ in range(3))
        np.add.at(shares, cell, (fills.side * fills.shares)[on])
        np.add.at(size, cell, fills.shares[on])
        np.add.at(paid, cell, (fills.shares * fills.price)[on])
        return shares, np.where(size > 0, ratio(paid, size), np.float64("nan"))


def from_book(
    f: Callable[[Any], Any], panel: Panel | None = None, *, gets: Literal["panel", "long"] = "panel",
    limits: Limits | None = None, t_plus_one: bool = False, slippage: float = 0.0, level: Level = "quick",
    name: str | None = None, seed: int = 0,
) -> Book:  # fmt: skip
    """Return a backtest, ``f(bars) -> table of fills``, ready for ``hitherto.audit``.

    f: given a Panel, or with ``gets="long"`` the pandas frame indexed by (date, symbol), raw prices; it returns a table
    as ``read_fills`` takes it (date, symbol, side, shares, price; decided), computed from what it was given only: a
    book that reads its own files cannot be shown another future. panel: None for a made-up one. limits, t_plus_one: of
    the first table, as for ``plan_from_fills``. slippage: share of the price that ``f`` adds to the trader's cost at
    the open, so that its fills there are recognised. level: "quick" runs again on at most 50 listings x 600 bars,
    "full" on the whole panel, at more bars; the first table is always that of the whole panel.

    Errors: ConfigError for another ``gets`` or ``level``; when the audit begins, if ``f`` fails on the unchanged panel.
    """
    if gets not in ("panel", "long"):
        raise ConfigError(f"audit: a book gets 'panel' or 'long', not {gets!r}")
    if level not in ("quick", "full"):
        raise ConfigError(f"audit: level must be 'quick' or 'full', got {level!r}")
    whole = adapters.made_up_panel() if panel is None else panel
    part = whole
    if level == "quick" and (whole.shape[1] > QUICK[0] or whole.shape[0] > QUICK[1]):
        part, _ = cuts.cut_down(whole, QUICK, whole.shape[0] - 1, Stream(seed, "book"))
    called = name or getattr(f, "__name__", type(f).__name__)
    return Book(called, f, whole, part, gets, limits, t_plus_one, slippage, 8 if level == "quick" else 24)


def long_frame(panel: Panel) -> pd.DataFrame:
    """Return the listed cells as a pandas frame indexed by (date, symbol), columns = the fields, prices raw."""
    import pandas as pd

    rows: NDArray[np.bool_] = panel.listed.ravel()
    index = pd.MultiIndex.from_product([adapters.dates(panel), list(panel.symbols)], names=["date", "symbol"])
    return pd.DataFrame({k: v.ravel()[rows] for k, v in panel.fields.items()}, index=index[rows])
