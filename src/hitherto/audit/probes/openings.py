"""P9 on a book that can be re-run: what fills at the open of a bar must not know how that bar went on.

One bar at a time keeps its open and gets another high, low, close and volume, the rest of the panel untouched, and the
book runs again: its orders at that open must stay as they were. Nobody else sees this leak: a rewriting of what follows
a bar leaves the bar itself as it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hitherto.audit.probes import since
from hitherto.audit.probes.ledger import RTOL, Fills
from hitherto.audit.verdict import CanaryResult, Finding, ProbeResult, date
from hitherto.errors import HithertoError
from hitherto.panel import PRICES, Floats, Mask, Panel
from hitherto.seeds import Stream

NUDGE = 1e-3  # of the open: a fill at the open follows it, a limit order that met it by chance stays
SURE = 3  # bars at which orders moved and were followed up, four runs each: enough
SIZE = 1e-9  # of the shares
SIZES = ("volume", "amount", "money", "turnover")
PLANTED = "canary: one share more at the open when the bar rises"
Book = Callable[[Panel], Fills]


@dataclass
class Bar:
    """(2, N) shares bought and sold at one bar's open, and whether the same side filled at another price of it."""

    shares: Floats
    other: Mask

    def net(self, n: int) -> float:
        """Shares bought less shares sold of one name."""
        return float(self.shares[0, n] - self.shares[1, n])


@dataclass
class Seen:
    """Names by what happened to their orders: turned or resized, came or went, went to another price; all compared.

    favours: of the orders that came or went, those that were there when the bar went their way. volume: what followed
    the volume alone. first: (row, shares before, shares after) of the earliest.
    """

    side: int = 0
    size: int = 0
    gone: int = 0
    priced: int = 0
    favours: int = 0
    tried: int = 0
    bars: int = 0
    planted: int = 0
    volume_orders: int = 0
    volume_sizes: int = 0
    unsure: int = 0
    first: tuple[int, float, float] | None = None
    errors: list[str] = field(default_factory=list)


@dataclass
class AtTheOpen:
    """The probe as ``AuditPlan.checks`` takes it; ``canaries`` and ``evaluations`` are known after the call.

    run: panel -> Fills. base: its fills on ``panel``. slippage: share of the price that is added to the trader's cost
    at the open. bars: how many are rewritten.
    """

    run: Book
    panel: Panel
    base: Fills
    slippage: float = 0.0
    bars: int = 8
    canaries: tuple[CanaryResult, ...] = ()
    evaluations: int = 0

    def __call__(self, rng: Stream) -> ProbeResult:
        """Rewrite bar after bar; LEAK L21 when orders turn, change in size or come with the bar's move, else L23.

        L22 when they choose between the open and another price of the bar. An order whose size follows the volume of
        its bar is capped by it: that is said, and is no finding. "not assessed" when nothing fills at the open.
        """
        begun = time.perf_counter()
        self.evaluations, self.canaries = 0, ()
        what, seen = "the bar after its open rewritten", Seen()
        rows = self._rows(rng)
        if not len(rows):
            why = "no fill at the open itself" if "open" in self.panel.fields else "the bars have no open"
            return ProbeResult("P9", self.base.name, what, "not assessed", why, seconds=since(begun))
        sure = 0
        kinds, few = ("mirror", "walk"), len(rows) <= self.bars // 2
        tries = [(int(row), kind) for i, row in enumerate(rows) for k, kind in enumerate(kinds) if few or k == i % 2]
        for row, kind in tries:
            sure += self._bar(row, kind, rng, seen)
            if sure == SURE:
                break
        for row in rows[:: max(1, len(rows) // 2)]:
            self._volume(int(row), rng, seen)
        found = self._findings(seen)
        blind = not found and not seen.planted
        if not found:
            self.canaries = (
                CanaryResult(self.base.name, PLANTED.removeprefix("canary: "), not blind, ("P9",) * (not blind), True,
                             (seen.planted, seen.bars)),
            )  # fmt: skip
        status = "LEAK" if found else "cannot tell" if seen.errors or blind else "ok"
        hits = {"L21": (seen.side + seen.size, seen.tried), "L23": (seen.gone, seen.tried)}
        hits[PLANTED] = (seen.planted, seen.bars)
        most = (seen.side + seen.size + seen.gone + seen.priced, seen.tried)
        return ProbeResult("P9", self.base.name, f"{what}, at {seen.bars} bars", status, self._said(seen, blind), most,
                           found, hits, seconds=since(begun), looked=("L21", "L22", "L23"))  # fmt: skip

    def _rows(self, rng: Stream) -> NDArray[np.int64]:
        """Bars with orders at the open: half with the most, a quarter with the largest moves, the rest at random."""
        if "open" not in self.panel.fields or "close" not in self.panel.fields:
            return np.zeros(0, np.int64)
        opens = at_open(self.base, self.panel, self.slippage) & ~self.base.at(_tied(self.panel), True)
        rows, count = np.unique(self.base.row[opens], return_counts=True)
        if len(rows) <= self.bars:
            return rows
        draw = rng.numpy("bars")
        close, open_ = self.panel.fields["close"][rows], self.panel.fields["open"][rows]
        with np.errstate(invalid="ignore", divide="ignore"):
            moved = np.nan_to_num(np.abs(np.log(close / open_)), posinf=0.0).max(axis=1)
        tie = draw.random(len(rows))
        busy = np.lexsort((tie, -count))[: max(self.bars, len(rows) // 2)]
        wild = np.argsort(-moved, kind="stable")[: max(self.bars // 4, len(rows) // 20)]
        chosen = dict.fromkeys(int(i) for i in draw.permutation(busy)[: self.bars // 2])
        chosen |= dict.fromkeys(int(i) for i in draw.permutation(wild)[: self.bars // 4])
        for i in draw.permutation(len(rows)):
            if len(chosen) == self.bars:
                break
            chosen.setdefault(int(i))
        return rows[sorted(chosen)]

    def _again(self, panel: Panel, seen: Seen, row: int) -> Fills | None:
        """Run the book; None where it raised: foreign code may raise anything."""
        self.evaluations += 1
        try:
            return self.run(panel)
        except HithertoError as e:
            seen.errors.append(f"bar {date(self.panel, row)}: {e}"[:200])
        except Exception as e:  # noqa: BLE001  somebody else's code: what it raised is reported, not hidden
            seen.errors.append(f"bar {date(self.panel, row)}: {self.base.name} raised {type(e).__name__}: {e}"[:200])
        return None

    def _bar(self, row: int, kind: str, rng: Stream, seen: Seen) -> bool:
        """Rewrite one bar's prices; return whether orders at its open moved, and follow the open for sure."""
        panel = other_bar(self.panel, row, kind, rng)
        fills = self._again(panel, seen, row)
        if fills is None:
            return False
        runs = ((self.base, self.panel), (fills, panel))
        old, new = (_open(f, p, row, self.slippage) for f, p in runs)
        more = [_open(f, p, row, self.slippage, True).shares for f, p in runs]
        was, now = old.shares > 0, new.shares > 0
        clear = ~(_tied(self.panel)[row] | _tied(panel)[row])
        seen.bars += 1
        seen.tried += int(((was | now).any(axis=0) & clear).sum())
        seen.planted += int((_resized(*more) & clear).any())
        moved = _resized(old.shares, new.shares) & clear
        if moved.any():
            held = self._follows(panel, row, was & moved, now & moved, seen)
            seen.unsure += int((moved & ~held).sum())
            moved &= held
        if not moved.any():
            return False
        turned = moved & (was[::-1] & now & ~was & ~now[::-1]).any(axis=0)
        gone = moved & (was != now).any(axis=0) & ~turned
        priced = gone & ((was & ~now & new.other) | (now & ~was & old.other)).any(axis=0)
        seen.side, seen.priced = seen.side + int(turned.sum()), seen.priced + int(priced.sum())
        seen.size += int((moved & (was == now).all(axis=0)).sum())
        gone &= ~priced
        seen.gone += int(gone.sum())
        seen.favours += int((gone & self._favoured(panel, row, was, now)).sum())
        if seen.first is None or row < seen.first[0]:
            n = int(np.flatnonzero(moved)[0])
            seen.first = (row, old.net(n), new.net(n))
        return True

    def _favoured(self, panel: Panel, row: int, was: Mask, now: Mask) -> Mask:
        """(N,) whether the order is there in the one of both bars that went its way more."""
        old, new = ((p.fields["close"] / p.fields["open"])[row] for p in (self.panel, panel))
        with np.errstate(invalid="ignore"):
            better = np.stack([new > old, new < old])  # for who buys, for who sells
        return np.asarray(((now & ~was & better) | (was & ~now & better[::-1])).any(axis=0))

    def _follows(self, panel: Panel, row: int, was: Mask, now: Mask, seen: Seen) -> Mask:
        """(N,) whether these orders follow the open up and down, in each run that has them."""
        held = np.ones(panel.shape[1], bool)
        for mine, market in ((was, self.panel), (now, panel)):
            for up in (1 + NUDGE, 1 - NUDGE) if mine.any() else ():
                nudged = _nudged(market, row, up)
                fills = self._again(nudged, seen, row)
                if fills is None:
                    return np.zeros_like(held)
                there = _open(fills, nudged, row, self.slippage, near=NUDGE / 2).shares > 0
                held &= (there | ~mine).all(axis=0)
        return held

    def _volume(self, row: int, rng: Stream, seen: Seen) -> None:
        """Rewrite one bar's volume alone: sizes that follow it are a cap, an order that comes and goes is none."""
        names = [f for f in SIZES if f in self.panel.fields]
        if not names:
            return
        factor = np.where(rng.numpy("volume", row).random(self.panel.shape[1]) < 0.5, 0.125, 8.0)
        fields = {k: v.copy() if k in names else v for k, v in self.panel.fields.items()}
        for name in names:
            fields[name][row] = np.ceil(fields[name][row] * factor)
        fills = self._again(self.panel.replace(fields=fields), seen, row)
        if fills is None:
            return
        old, new = (_open(f, self.panel, row, self.slippage) for f in (self.base, fills))
        was, now = old.shares > 0, new.shares > 0
        turned = (was[::-1] & now & ~was & ~now[::-1]).any(axis=0)
        seen.side += int(turned.sum())
        seen.volume_orders += int(((was != now).any(axis=0) & ~turned).sum())
        seen.volume_sizes += int(((was == now).all(axis=0) & _resized(old.shares, new.shares)).sum())
        if turned.any() and seen.first is None:
            n = int(np.flatnonzero(turned)[0])
            seen.first = (row, old.net(n), new.net(n))

    def _findings(self, seen: Seen) -> tuple[Finding, ...]:
        gated = seen.volume_orders if not seen.volume_sizes else 0
        came = seen.favours if seen.favours > 0.5 * seen.gone else 0
        kinds = {
            "L21": (seen.side + seen.size + came + gated,
                    "knows how its own bar goes on: " + _words({"turned": seen.side, "resized": seen.size,
                    "there when the bar goes their way": came, "there by the bar's volume": gated})),
            "L22": (seen.priced, "takes the open or another price of the same bar, by how it goes on"),
            "L23": (0 if came else seen.gone, "there or not by the close of their own bar"),
        }  # fmt: skip
        row, old, new = seen.first or (-1, None, None)
        first = date(self.panel, row) if row >= 0 else ""
        return tuple(
            Finding(leak, f"{self.base.name}.at the open", "P9", hits, max(seen.tried, hits), None, first, old, new,
                    of="fills", note=note)
            for leak, (hits, note) in kinds.items() if hits
        )  # fmt: skip

    def _said(self, seen: Seen, blind: bool) -> str:
        said = list(dict.fromkeys(seen.errors))[:3]
        if blind:
            said.append("a planted share that knows the bar was not caught")
        if seen.volume_sizes:
            said.append(f"sizes of {seen.volume_sizes} fills follow the volume of their own bar: a cap, not counted")
        if seen.unsure:
            said.append(f"{seen.unsure} orders that moved did not follow the open, and are not counted")
        return "; ".join(said)


def other_bar(panel: Panel, row: int, kind: str, rng: Stream) -> Panel:
    """Return the panel with another bar at ``row``: its open as it was, its other prices anew, low to high in order.

    "mirror": what rose falls as much. "walk": the shape of a random earlier bar of the listing. A bar of one price
    only (locked all day) and unknown prices stay.
    """
    fields, open_ = dict(panel.fields), panel.fields["open"][row]
    names = [p for p in PRICES if p in fields and p != "open"]
    free = np.isfinite(open_)
    for p in names:
        free &= np.isfinite(fields[p][row])
    if {"high", "low"} <= fields.keys():
        free &= fields["high"][row] > fields["low"][row]
    listing = np.arange(panel.shape[1])
    pick = _earlier(panel, names, row, rng)
    for p in names:
        other = {"high": "low", "low": "high"}.get(p, p)
        with np.errstate(invalid="ignore", divide="ignore"):
            if kind == "mirror":
                fresh = open_ * (open_ / panel.fields[other][row]) if other in fields else open_
            else:
                fresh = open_ * (panel.fields[p][pick, listing] / panel.fields["open"][pick, listing])
        fields[p] = panel.fields[p].copy()
        fields[p][row] = np.where(free & np.isfinite(fresh), fresh, fields[p][row])
    return panel.replace(fields=_ordered(fields, row, free))


def _ordered(fields: dict[str, Floats], row: int, free: Mask) -> dict[str, Floats]:
    """Rounding may put a close a bit outside of low and high: they hold it."""
    inside = [fields[p][row] for p in ("open", "close") if p in fields]
    for name, hold in (("high", np.fmax), ("low", np.fmin)):
        if name in fields:
            bound = hold.reduce([fields[name][row], *inside])
            fields[name][row] = np.where(free, bound, fields[name][row])
    return fields


def _earlier(panel: Panel, names: list[str], row: int, rng: Stream) -> NDArray[np.intp]:
    """(N,) a random earlier row of each listing with all prices and a range, the row itself where there is none."""
    known = np.logical_and.reduce([np.isfinite(panel.fields[p][:row]) for p in [*names, "open"]])
    if {"high", "low"} <= panel.fields.keys():
        known &= panel.fields["high"][:row] > panel.fields["low"][:row]
    draw = rng.numpy("bar", row).random(known.shape)
    best = np.where(known, draw, -1.0)
    return np.where(known.any(axis=0), best.argmax(axis=0), row) if row else np.zeros(panel.shape[1], np.intp)


def _nudged(panel: Panel, row: int, by: float) -> Panel:
    """The open of one bar a little higher or lower, high and low held outside of it."""
    fields = dict(panel.fields)
    for name in ("open", "high", "low"):
        if name in fields:
            fields[name] = fields[name].copy()
    fields["open"][row] *= by
    return panel.replace(fields=_ordered(fields, row, np.isfinite(fields["open"][row])))


def at_open(fills: Fills, panel: Panel, slippage: float, near: float = RTOL) -> Mask:
    """Return (K,) bool: fills at the open, with the trader's slippage on it."""
    if "open" not in panel.fields:
        return np.zeros(len(fills.row), bool)
    price = fills.at(panel.fields["open"]) * (1 + slippage * fills.side)
    return fills.known & (np.abs(fills.price - price) <= near * fills.price)


def _open(fills: Fills, panel: Panel, row: int, slippage: float, planted: bool = False, near: float = RTOL) -> Bar:
    """What was bought and sold at the open of one bar; planted: a share more where the bar closes above its open."""
    N = panel.shape[1]
    here = fills.known & (fills.row == row)
    at = here & at_open(fills, panel, slippage, near)
    size = fills.shares
    if planted:
        size = size + (fills.at(panel.fields["close"]) > fills.at(panel.fields["open"]))
    sides = [fills.side > 0, fills.side < 0]
    shares = np.stack([np.bincount(fills.column[at & s], size[at & s], N) for s in sides]).astype(np.float64)
    other = np.stack([np.bincount(fills.column[here & ~at & s], minlength=N) > 0 for s in sides])
    return Bar(shares, other)


def _tied(panel: Panel) -> Mask:
    """(T, N) bars that end at their open: nobody can say at which of the two an order filled."""
    open_, close = panel.fields["open"], panel.fields["close"]
    return np.abs(close - open_) <= RTOL * np.abs(open_)


def _resized(old: Floats, new: Floats) -> Mask:
    """(N,) whether shares differ on either side beyond rounding."""
    return np.asarray((np.abs(old - new) > SIZE * np.maximum(old, new)).any(axis=0))


def _words(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {what}" for what, n in counts.items() if n)
