"""Whether a book trades only names that lived on (L24): from the table alone, and by running the book again.

The table alone gives a judgement of plausibility: how likely it is that a book that does not know who dies never meets
one of the dead. The book that can be run again gives an experiment: names that it leaves alone today were traded when
the data ended before they fell.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hitherto.audit.probes import since
from hitherto.audit.probes.ledger import LUCK, Fills, carried, ratio
from hitherto.audit.verdict import Finding, ProbeResult, Status, date
from hitherto.errors import HithertoError
from hitherto.panel import MASKS, PRICES, Floats, Mask, Panel

PAST = 60  # bars from which a name's size, price and volatility are taken
MEMBERS = 0.95  # of the fills in members, from which on the book is one of members
LEAST = 5  # fills that a name must have in one run, and not one in the other
WHOLE = 0.4  # of the names that changed: those that came or went as a whole; who takes their place changes too
ENDED = 0.2  # the same where some did when the bars merely ended earlier


def table(fills: Fills, panel: Panel) -> ProbeResult:
    """Ask whether the fills avoid every name that ends before the bars do (L24); below p = 1e-6 nobody does by luck.

    One draw per distinct name, at its first trade, from the names that the book could have taken that day: those listed
    (members only, where it trades members only) and, by the mean volume in currency, the price and the volatility of
    the 60 bars before (each ranked among the survivors of its date), inside what the book trades at all. p: the product
    of the shares of survivors in these draws, without replacement; C(N - K, n) / C(N, n) where all are there from the
    first day. Repeated trades of a name count once. A book of large or quiet names, in which few die, is compared with
    such names only; a sector in which nobody dies is not known, so that this is a judgement of plausibility and no
    experiment. "not assessed" when a dead name was traded, when no dead name could have been, or when p >= 1e-6.
    """
    begun = time.perf_counter()
    what = "names that end before the bars do among those traded"

    def answer(status: Status, detail: str, found: tuple[Finding, ...] = (), n: int = 0) -> ProbeResult:
        hits = {"L24": (n, n)} if found else {}
        return ProbeResult("P9", fills.name, what, status, detail, (n, n) if found else (0, n), found, hits,
                           seconds=since(begun), looked=("L24",))  # fmt: skip

    dead = panel.listed.any(axis=0) & ~panel.listed[-1]
    on = fills.known & fills.at(panel.listed, False)
    names, index = np.unique(fills.column[on], return_index=True)
    if not dead.any() or not len(names):
        return answer("not assessed", "the bars hold no name that ends early" if len(names) else "no fills")
    met = int(dead[names].sum())
    if met:
        return answer("not assessed", f"{met} of {len(names)} names traded end before the bars do", n=len(names))
    order = np.argsort(fills.row[on], kind="stable")
    names, index = np.unique(fills.column[on][order], return_index=True)
    log_p = _avoided(panel, names, fills.row[on][order][index], _eligible(fills, panel, on), dead)
    p = math.exp(log_p)
    words = f"none of {len(names)} names traded ends before the bars do, {int(dead.sum())} of {panel.shape[1]} names do"
    if p >= LUCK:
        return answer("not assessed", f"{words}: p = {p:.1g}", n=len(names))
    first = date(panel, int(fills.row[on].min()))
    note = f"{words}: p = {p:.1g} for a book that does not know them; judged by plausibility"
    found = Finding("L24", fills.name, "P9", len(names), len(names), None, first, of="names", note=note)
    return answer("LEAK", f"{words}: p = {p:.1g}", (found,), len(names))


def rerun(run: Callable[[Panel], Fills], panel: Panel, base: Fills, rows: NDArray[np.integer]) -> ProbeResult:
    """Let the panel end, and names die or thrive, after ``rows``, and see whose earlier fills come or go as a whole.

    At every row the panel ends; at the middle one each half of the names dies in turn, while the other half thrives.
    LEAK L24: names with five fills in one of two runs and none in the other are at least 40 % of the names that changed
    (20 % where some are found when the bars just end); statistics of the whole sample move parts of a name's fills.
    Fills of the last bar before the cut are not compared: many books close everything where the bars end. One run of
    the book per panel.
    """
    begun = time.perf_counter()
    what, seen = "names traded when the bars end earlier, or names die", Fates()
    T, N = panel.shape
    cuts = sorted({int(r) for r in rows if 0 < r < T - 1})
    middle = cuts[len(cuts) // 2] if cuts else 0
    halves = np.arange(N) % 2 == 0
    panels = [(c, True, panel.rows(c + 1)) for c in cuts]
    panels += [(middle, False, fated(panel, middle, dead)) for dead in (halves, ~halves) if cuts]
    for cut, ended, other in panels:
        try:
            fills = run(other)
        except HithertoError as e:
            seen.errors.append(str(e)[:200])
        except Exception as e:  # noqa: BLE001  somebody else's code: what it raised is reported, not hidden
            seen.errors.append(f"{base.name} raised {type(e).__name__}: {e}"[:200])
        else:
            seen.note(base, fills, panel, cut, ended)
    found = seen.findings(base, panel)
    details = list(dict.fromkeys(seen.errors))
    if seen.changed and not found:
        details.append(f"fills of {len({n for _, n in seen.changed})} names change, not whole names")
    status = "LEAK" if found else "ok" if seen.tried and not seen.errors else "not assessed"
    hits = (found[0].hits, found[0].tried) if found else (0, int((_counts(base, panel, T) > 0).sum()))
    return ProbeResult("P1", base.name, f"{what}, on {seen.tried} panels", status, "; ".join(details), hits, found,
                       {"L24": hits}, seconds=since(begun), looked=("L24",))  # fmt: skip


@dataclass
class Fates:
    """(Run, name) where earlier fills changed, and where they came or went as a whole; the first of those in words."""

    changed: set[tuple[int, int]] = field(default_factory=set)
    whole: set[tuple[int, int]] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)
    tried: int = 0
    ended: int = 0
    first: tuple[int, str] | None = None

    def note(self, base: Fills, fills: Fills, panel: Panel, cut: int, ended: bool) -> None:
        """Compare the fills before ``cut`` of two runs."""
        self.tried += 1
        was, now = (_counts(f, panel, cut) for f in (base, fills))
        moved = (_shares(base, panel, cut) != _shares(fills, panel, cut)).any(axis=0)
        whole = np.flatnonzero(moved & (np.minimum(was, now) == 0) & (np.maximum(was, now) >= LEAST))
        self.changed |= {(self.tried, int(n)) for n in np.flatnonzero(moved)}
        self.whole |= {(self.tried, int(n)) for n in whole}
        self.ended += len(whole) * ended
        if len(whole) and self.first is None:
            n = int(whole[0])
            words = "the bars end there" if ended else "names die later"
            before = f"{panel.symbols[n]} has {now[n]} fills before {date(panel, cut)} when {words}"
            self.first = (cut, f"{before}, {was[n]} as the bars are")

    def findings(self, base: Fills, panel: Panel) -> tuple[Finding, ...]:
        """One L24, or none."""
        share = ENDED if self.ended > 1 else WHOLE
        if self.first is None or len(self.whole) < share * len(self.changed):
            return ()
        cut, note = self.first
        traded = set(np.flatnonzero(_counts(base, panel, panel.shape[0])).tolist())
        names, tried = ({n for _, n in pairs} for pairs in (self.whole, self.changed))
        return (Finding("L24", f"{base.name}.names", "P1", len(names), len(traded | tried), None, date(panel, cut),
                        of="names", note=note),)  # fmt: skip


def fated(panel: Panel, cut: int, dead: Mask) -> Panel:
    """Return the panel with ``dead`` (N,) names that fall to a tenth after ``cut`` and are delisted halfway to the end.

    The others rise to ten times their price, and none of them is delisted earlier than it was.
    """
    T = panel.shape[0]
    path = np.clip(np.arange(T) - cut, 0, None)[:, None] / max(1, T - 1 - cut)
    grown = 10.0 ** np.where(dead[None, :], -2 * path, path)
    gone = dead[None, :] & (np.arange(T)[:, None] > (cut + T) // 2)
    fields = {k: np.where(gone, np.nan, v * grown if k in PRICES else v) for k, v in panel.fields.items()}
    masks = {m: getattr(panel, m) & ~gone for m in MASKS}
    return panel.replace(fields=fields, **masks)


def _avoided(panel: Panel, names: NDArray, first: NDArray, eligible: Mask, dead: Mask) -> float:
    """Log of the chance that draws at the names' first trades meet no dead name."""
    out, drawn = 0.0, np.zeros(panel.shape[1], bool)
    for row, name in sorted(zip(first.tolist(), names.tolist(), strict=True)):
        pool = eligible[row] & ~drawn
        pool[name] = True
        out += math.log1p(-float((pool & dead).sum()) / float(pool.sum()))
        drawn[name] = True
    return out


def _eligible(fills: Fills, panel: Panel, on: Mask) -> Mask:
    """(T, N) listed names whose size, price and volatility rank, known the bar before, lies where the book trades."""
    rows, columns = fills.row[on], fills.column[on]
    members = panel.universe[rows, columns].mean() > MEMBERS
    out = panel.listed & panel.universe if members else panel.listed.copy()
    for values in _traits(panel):
        rank = _ranks(np.where(panel.listed, values, np.nan), panel.listed[-1])
        rank = np.vstack([np.full((1, panel.shape[1]), np.nan), rank[:-1]])
        mine = rank[rows, columns]
        if np.isfinite(mine).any():
            out &= (rank >= np.nanmin(mine)) & (rank <= np.nanmax(mine))
    return out


def _traits(panel: Panel) -> list[Floats]:
    """Trailing mean volume in currency, price and mean absolute return, (T, N) each."""
    out = []
    close = panel.fields.get("close")
    if close is None:
        return out
    price = carried(close)
    out.append(price)
    if "volume" in panel.fields:
        out.append(_trailing(panel.fields["volume"] * close))
    adjusted = carried(panel.view("close"))
    step = np.full(panel.shape, np.nan)
    step[1:] = np.abs(ratio(adjusted[1:], adjusted[:-1]) - 1)
    return [*out, _trailing(step)]


def _trailing(values: Floats) -> Floats:
    """Mean of the known values of the last 60 rows, from one known value on."""
    known = np.isfinite(values)
    total, count = (np.cumsum(v, axis=0) for v in (np.where(known, values, 0.0), known.astype(np.float64)))
    total[PAST:], count[PAST:] = total[PAST:] - total[:-PAST], count[PAST:] - count[:-PAST]
    return ratio(total, np.where(count > 0, count, np.nan))


def _ranks(values: Floats, alive: Mask) -> Floats:
    """Share of the survivors (N,) of each row that lie at or below a value; NaN stays.

    Among the survivors alone, since ranks among all would rise and fall with the number of those who are still to die.
    """
    out = np.full(values.shape, np.nan)
    for row, mine in enumerate(values):
        usual = np.sort(mine[alive & np.isfinite(mine)])
        if len(usual):
            out[row] = np.where(np.isfinite(mine), np.searchsorted(usual, mine, side="right") / len(usual), np.nan)
    return out


def _counts(fills: Fills, panel: Panel, stop: int) -> NDArray[np.int64]:
    """(N,) fills of each name before row ``stop``."""
    on = fills.known & (fills.row < stop)
    return np.bincount(fills.column[on], minlength=panel.shape[1])


def _shares(fills: Fills, panel: Panel, stop: int) -> Floats:
    """(stop, N) signed shares of each bar before ``stop``."""
    on = fills.known & (fills.row < stop)
    out = np.zeros((stop, panel.shape[1]))
    np.add.at(out, (fills.row[on], fills.column[on]), (fills.side * fills.shares)[on])
    return out
