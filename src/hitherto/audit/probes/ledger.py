"""P9 on a table of fills: what no market gave cannot have been traded.

Exact invariants are counted (prices outside the bar, suspended days, lifetimes, membership, T+1, limits); statistics
(best price of the bar, tradability known from the close) come with a p-value. A table
cannot be run again, so nothing here acquits the signal behind it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hitherto.audit.probes import since
from hitherto.audit.verdict import Finding, ProbeResult, Status, date
from hitherto.errors import ConfigError
from hitherto.panel import Floats, Mask, Panel

RTOL = 1e-6  # of a price: bars kept as float32 are off by 6e-8
SLIPPAGE = 0.01  # a price this far outside the bar to the trader's cost is slippage, not a price that never was
LUCK = 1e-6  # one-sided p-value below which luck is no explanation
BETTER = 0.75  # share of fills better than open and close; an honest limit order has one half
BEST = 0.25  # of a bar's range, from its best end
Rows = NDArray[np.int64]
Limits = tuple[Floats, Floats]


@dataclass(frozen=True, eq=False)
class Fills:
    """K orders matched to the cells of a panel, in the order of the table.

    row, column: (K,) int64, -1 where the panel has no such session or listing. side: (K,) +1 buy, -1 sale. shares:
    (K,) float64 > 0, 0 for an order that was not filled. price: (K,) float64 raw, NaN when not filled. filled, decided:
    (K,) int64, both rows or both UTC nanoseconds; decided None: not given; its own "unknown" is ``UNKNOWN``. closed:
    (K,) bool, dated inside the panel's span on a day without a session. sized: False when only entering and leaving is
    known (weights). at_close: prices were taken from the panel's close.
    """

    name: str
    row: Rows
    column: Rows
    side: NDArray[np.int8]
    shares: Floats
    price: Floats
    filled: Rows
    decided: Rows | None = None
    closed: Mask | None = None
    sized: bool = True
    at_close: bool = False

    @property
    def known(self) -> Mask:
        """(K,) bool: filled, in a cell that the panel has."""
        return (self.row >= 0) & (self.column >= 0) & (self.shares > 0)

    def at(self, values: NDArray, fill: float = np.nan) -> NDArray:
        """(K,) the panel's values at the fills, ``fill`` where the panel has no cell."""
        ok = (self.row >= 0) & (self.column >= 0)
        out = np.full(len(self.row), fill, values.dtype if values.dtype == bool else np.float64)
        out[ok] = values[self.row[ok], self.column[ok]]
        return out


UNKNOWN = np.iinfo(np.int64).min


def probe(fills: Fills, panel: Panel, *, limits: Limits | None = None, t_plus_one: bool = False) -> ProbeResult:
    """Count the fills that the bars contradict.

    limits: (up, down), (T, N) float64 raw prices each, NaN where there is no limit. t_plus_one: shares bought today
    cannot be sold today (the table must start from an empty book). Classes: L22 outside [low, high] (worse for the
    trader by at most 1 % passes as slippage and is said), L24 before the first or after the last bar, L25 a buy that
    opens or adds while the name was neither at the decision nor at the fill a member, L29 on a day without a session,
    bar or volume, at a limit on the wrong side, or of shares bought the same day. ``hits``: class -> (fills, tried).
    """
    begun = time.perf_counter()
    on = fills.known
    checks: dict[str, tuple[Mask, str]] = {
        "L24": (on & ~fills.at(panel.listed, False), "before the first or after the last bar of the listing"),
        "L29": _untraded(fills, panel, limits, t_plus_one),
    }
    details: list[str] = []
    outside, said, misread = _outside(fills, panel)
    details += said
    if outside is not None:
        checks["L22"] = (outside, "")
    strangers = _strangers(fills, panel)
    if strangers is not None:
        checks["L25"] = (strangers, "a buy of a name that was not in the universe")
    found = []
    for leak in sorted(checks):
        hit, note = checks[leak]
        if hit.any():
            found.append(_finding(fills, panel, leak, hit, note or _bounds(fills, panel, hit)))
    tried = int((on | _closed(fills)).sum())
    hits = {leak: (int(hit.sum()), tried) for leak, (hit, _) in sorted(checks.items())}
    status = "LEAK" if found else "cannot tell" if misread else "ok" if tried else "not assessed"
    what = "fills against the bars: " + ", ".join(sorted(checks))
    most = max((h for h in hits.values()), default=(0, 0))
    return ProbeResult("P9", fills.name, what, status, "; ".join(details), most, tuple(found), hits,
                       seconds=since(begun))  # fmt: skip


def best_price(fills: Fills, panel: Panel) -> ProbeResult:
    """Ask whether fills are better than both the open and the close too often to be luck (L22).

    Of an order that waits at a price, the close is better or worse with chance one half each, and of one filled at
    random in the bar one quarter; only those in the best quarter of the bar count. Fills outside the bar, at the open
    or at the close itself, and bars whose best price is one of the two, are left out. LEAK: binomial p-value against
    one half below 1e-6 and a share above 75 %.
    """
    begun = time.perf_counter()
    what = "fills better than both the open and the close"
    lacking = [f for f in ("open", "high", "low", "close") if f not in panel.fields]
    if lacking or fills.at_close:
        why = "fills are taken at the close" if fills.at_close else f"the bars have no {', '.join(lacking)}"
        return ProbeResult("P9", fills.name, what, "not assessed", why, seconds=since(begun))
    o, h, low, c = (fills.at(panel.fields[f]) for f in ("open", "high", "low", "close"))
    buy, p = fills.side > 0, fills.price
    near = RTOL * p
    room = np.where(buy, np.minimum(o, c) - low, h - np.maximum(o, c)) > near
    away = (np.abs(p - o) > near) & (np.abs(p - c) > near)
    inside = fills.known & room & away & (p >= low - near) & (p <= h + near)
    better = inside & np.where(buy, p < np.minimum(o, c) - near, p > np.maximum(o, c) + near)
    # a limit that was reached is a bargain too where wicks are long; it does not hug the end of the bar
    better &= np.where(buy, p - low, h - p) <= BEST * (h - low) + near
    if not inside.any():
        return ProbeResult("P9", fills.name, what, "not assessed", "no fill away from the open and the close",
                           seconds=since(begun))  # fmt: skip
    # also each side alone: honest sales must not hide purchases at the low; three looks, so p is tripled
    parts = [s for s in (inside, inside & buy, inside & ~buy) if s.any()]
    inside = min(parts, key=lambda s: tail(int((better & s).sum()), int(s.sum()), 0.5))
    better &= inside
    k, n = int(better.sum()), int(inside.sum())
    p_value = min(1.0, 3 * tail(k, n, 0.5))
    words = f"{k} of {n} fills better than open and close, luck gives a half: p = {p_value:.1g}"
    found = ()
    if p_value < LUCK and k > BETTER * n:
        found = (_finding(fills, panel, "L22", better, f"the best price inside the bar: {words}", n),)
    return ProbeResult("P9", fills.name, what, "LEAK" if found else "ok", words, (k, n), found,
                       {"L22": (k, n)}, seconds=since(begun))  # fmt: skip


def tradability(fills: Fills, panel: Panel, limits: Limits | None) -> ProbeResult:
    """Ask whether orders at the open were skipped because of where the day closed (L23).

    With orders that were not filled in the table (shares 0 or no price): of the orders for names that opened inside
    the limit, those closing at it on the wrong side against the rest (Fisher's exact test). Without: the fills at the
    open that close at the wrong limit, against what the listing's and the date's own rates give (Poisson-binomial,
    lower tail). LEAK below p = 1e-6, when at most a tenth of those names were traded.
    """
    begun = time.perf_counter()
    what = "fills at the open of names that close at their limit"

    def answer(
        status: Status, detail: str, cuts: tuple[int, int] = (0, 0), found: tuple[Finding, ...] = ()
    ) -> ProbeResult:
        return ProbeResult("P9", fills.name, what, status, detail, cuts, found, {"L23": cuts}, seconds=since(begun))

    if limits is None or "open" not in panel.fields or "close" not in panel.fields or fills.at_close:
        return answer("not assessed", "needs fills at the open, and limit prices with the bars")
    open_, close = panel.fields["open"], panel.fields["close"]
    locked, free = _locked(open_, close, limits)
    own = np.where(fills.side > 0, 0, 1)
    cell = (fills.row >= 0) & (fills.column >= 0)
    ends, could = np.zeros(len(cell), bool), np.zeros(len(cell), bool)
    ends[cell] = locked[own[cell], fills.row[cell], fills.column[cell]]
    could[cell] = free[own[cell], fills.row[cell], fills.column[cell]]
    taken = fills.known & could & (np.abs(fills.price - fills.at(open_)) <= RTOL * fills.price)
    skipped = cell & could & (fills.shares == 0)
    k = int((taken & ends).sum())
    if skipped.any():
        n = int(((taken | skipped) & ends).sum())
        p_value = _fisher(k, n, int(taken.sum()), int((taken | skipped).sum()))
        others, left = int(((taken | skipped) & ~ends).sum()), int((skipped & ~ends).sum())
        words = (
            f"{n - k} of {n} orders for names that close at the limit were skipped, and {left} of {others} others: "
            f"p = {p_value:.1g}"
        )
        guilty, first = p_value < LUCK and k <= 0.1 * n, skipped & ends
    else:
        chance = _rates(locked, free)[own[taken], fills.row[taken], fills.column[taken]]
        n, expected = int(taken.sum()), float(chance.sum())
        p_value = _poisson_binomial(k, chance)
        words = f"{k} of {n} fills at the open close at their limit, {expected:.1f} expected: p = {p_value:.1g}"
        guilty, first = p_value < LUCK and k <= 0.1 * expected, taken
    if not n:
        return answer("not assessed", "no order at the open for a name that closes at its limit")
    if not guilty:
        return answer("ok", words, (0, n))
    missed = n - k if skipped.any() else n
    return answer("LEAK", words, (missed, n), (_finding(fills, panel, "L23", first, words, n, missed),))


def tail(k: int, n: int, chance: float) -> float:
    """Return P(at least ``k`` of ``n``) for a binomial with this chance."""
    from scipy.special import bdtrc

    return 1.0 if k <= 0 else float(bdtrc(k - 1, n, chance))


def _outside(fills: Fills, panel: Panel) -> tuple[Mask | None, list[str], bool]:
    """Fills outside [low, high]; sentences; whether the prices seem to be on another scale than the bars'."""
    if fills.at_close or "low" not in panel.fields or "high" not in panel.fields:
        return None, ["prices were not compared with [low, high]"], False
    low, high, p = fills.at(panel.fields["low"]), fills.at(panel.fields["high"]), fills.price
    on = fills.known & np.isfinite(low) & np.isfinite(high)
    buy = fills.side > 0
    under, over = on & (p < low * (1 - RTOL)), on & (p > high * (1 + RTOL))
    slipped = np.where(buy, over & (p <= high * (1 + SLIPPAGE)), under & (p >= low * (1 - SLIPPAGE)))
    out = (under | over) & ~slipped
    factor = panel.fields.get("factor")
    if factor is not None and out.sum() > 0.5 * on.sum():
        now = carried(factor)
        scales: tuple[tuple[str, Callable[[], Floats]], ...] = (
            ("price x factor", lambda: now), ("price x factor / last factor", lambda: now / now[-1]),
        )  # fmt: skip
        for words, of in scales:
            f = fills.at(of())
            fits = int((on & (p >= low * f * (1 - RTOL)) & (p <= high * f * (1 + RTOL))).sum())
            if fits > 0.9 * on.sum():
                why = f"{fits} of {int(on.sum())} prices lie inside the bars of {words}; give raw prices"
                return None, [why], True
    many = int(slipped.sum())
    return out, [f"{many} fills outside the bar to the trader's cost by at most 1 %"] if many else [], False


def _bounds(fills: Fills, panel: Panel, hit: Mask) -> str:
    i = int(np.flatnonzero(hit)[np.argmin(fills.row[hit])])
    low, high = (float(fills.at(panel.fields[f])[i]) for f in ("low", "high"))
    side = "buy" if fills.side[i] > 0 else "sale"
    return f"{side} of {panel.symbols[fills.column[i]]} at {fills.price[i]:.6g}, the bar is [{low:.6g}, {high:.6g}]"


def _closed(fills: Fills) -> Mask:
    return np.zeros(len(fills.row), bool) if fills.closed is None else fills.closed & (fills.shares > 0)


def _untraded(fills: Fills, panel: Panel, limits: Limits | None, t_plus_one: bool) -> tuple[Mask, str]:
    """Fills that the day could not give, and how many of each kind."""
    listed = fills.known & fills.at(panel.listed, False)
    close = panel.fields.get("close", next(iter(panel.fields.values())))
    kinds = {
        "on a day without a session": _closed(fills),
        "suspended": listed & fills.at(panel.suspended, False),
        "without a bar": listed & ~fills.at(panel.suspended, False) & ~np.isfinite(fills.at(close)),
    }
    halted = kinds["suspended"] | kinds["without a bar"]
    if "volume" in panel.fields:
        kinds["without volume"] = listed & ~halted & (fills.at(panel.fields["volume"]) == 0)
    if limits is not None:
        _check_limits(limits, panel)
        up, down = (fills.at(np.asarray(v, np.float64)) for v in limits)
        p = fills.price
        wrong = np.where(fills.side > 0, p >= up * (1 - RTOL), p <= down * (1 + RTOL))
        kinds["at a limit on the wrong side"] = listed & wrong
    if t_plus_one and fills.sized:
        kinds["of shares bought the same day"] = _same_day(fills, panel)
    out = np.logical_or.reduce(list(kinds.values()))
    return out, ", ".join(f"{int(m.sum())} {words}" for words, m in kinds.items() if m.any())


def _check_limits(limits: Limits, panel: Panel) -> None:
    for name, values in zip(("up", "down"), limits, strict=True):
        if np.shape(values) != panel.shape:
            raise ConfigError(
                f"audit: limit prices '{name}' have shape {np.shape(values)}, the panel {panel.shape}; give (T, N) "
                "raw prices, NaN where there is no limit"
            )


def _running(fills: Fills, panel: Panel) -> tuple[NDArray[np.intp], Floats]:
    """The fills by listing and time, and the adjusted shares held before each; splits do not change them."""
    factor = carried(panel.fields["factor"]) if "factor" in panel.fields else np.ones(panel.shape)
    signed = np.where(fills.known, fills.side * fills.shares / fills.at(factor, 1.0), 0.0)
    order = np.lexsort((np.arange(len(signed)), fills.filled, fills.column))
    total = np.cumsum(signed[order])
    first = np.r_[True, np.diff(fills.column[order]) != 0] if len(order) else np.zeros(0, bool)
    before = np.r_[0.0, total[:-1]] if len(order) else total
    start = np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))
    held = np.empty(len(order))
    held[order] = before - before[start]
    return order, held


def _same_day(fills: Fills, panel: Panel) -> Mask:
    """Sales of more than was held when the session began, in a name that was bought in the same session."""
    order, held = _running(fills, panel)
    out = np.zeros(len(order), bool)
    days = panel.sessions
    opening, sold, bought, last = 0.0, 0.0, False, (-1, np.datetime64("NaT"))
    factor = carried(panel.fields["factor"]) if "factor" in panel.fields else np.ones(panel.shape)
    shares = fills.shares / fills.at(factor, 1.0)
    for i in order[fills.known[order]]:
        here = (int(fills.column[i]), days[fills.row[i]])
        if here != last:
            opening, sold, bought, last = max(float(held[i]), 0.0), 0.0, False, here
        if fills.side[i] > 0:
            bought = True
        else:
            sold += float(shares[i])
            out[i] = bought and sold > opening + 1e-6 * max(1.0, opening)
    return out


def _strangers(fills: Fills, panel: Panel) -> Mask | None:
    """Buys that open or add while the name was no member; None when the panel knows no membership."""
    if np.array_equal(panel.universe, panel.listed):
        return None
    _, held = _running(fills, panel)
    at_rows = fills.decided is not None and bool((fills.decided < panel.shape[0]).all())
    when = np.where(fills.row > 0, fills.row - 1, fills.row)
    if at_rows and fills.decided is not None:
        when = np.where((fills.decided >= 0) & (fills.decided != UNKNOWN), fills.decided, when)
    earlier = np.zeros(len(when), bool)
    ok = fills.known
    earlier[ok] = panel.universe[when[ok], fills.column[ok]]
    member = fills.at(panel.universe, False) | earlier
    return ok & (fills.side > 0) & (held >= -1e-9) & ~member & fills.at(panel.listed, False)


def _finding(
    fills: Fills, panel: Panel, leak: str, hit: Mask, note: str, tried: int | None = None, hits: int | None = None
) -> Finding:
    rows = fills.row[hit & (fills.row >= 0)]
    first = date(panel, int(rows.min())) if len(rows) else ""
    tried = int((fills.known | _closed(fills)).sum()) if tried is None else tried
    return Finding(leak, fills.name, "P9", int(hit.sum()) if hits is None else hits, tried, None, first,
                   of="fills", note=note)  # fmt: skip


def _locked(open_: Floats, close: Floats, limits: Limits) -> tuple[Mask, Mask]:
    """(2, T, N): closes at the limit and opens inside it; and opens inside it with a known close. Buys, then sales."""
    up, down = (np.asarray(v, np.float64) for v in limits)
    with np.errstate(invalid="ignore"):
        free = np.stack([open_ < up * (1 - RTOL), open_ > down * (1 + RTOL)]) & np.isfinite(close)
        ends = np.stack([close >= up * (1 - RTOL), close <= down * (1 + RTOL)])
    return free & ends, free


def _rates(locked: Mask, free: Mask) -> Floats:
    """(2, T, N) chance to close at the limit: the listing's rate x the date's / the whole one, at most 1."""
    whole = ratio(locked.sum((1, 2)), free.sum((1, 2)))[:, None, None]
    listing = ratio(locked.sum(1), free.sum(1))[:, None, :]
    day = ratio(locked.sum(2), free.sum(2))[:, :, None]
    return np.nan_to_num(np.clip(ratio(listing * day, np.broadcast_to(whole, listing.shape)), 0.0, 1.0))


def _poisson_binomial(k: int, chance: Floats) -> float:
    """P(at most k successes) of independent trials with these chances: exact to 200, normal beyond."""
    if k > 200:
        from scipy.special import ndtr

        spread = math.sqrt(float((chance * (1 - chance)).sum())) or 1.0
        return float(ndtr((k + 0.5 - float(chance.sum())) / spread))
    dist = np.zeros(k + 1)
    dist[0] = 1.0
    for p in chance[chance > 0]:
        dist[1:] = dist[1:] * (1 - p) + dist[:-1] * p
        dist[0] *= 1 - p
    return float(min(1.0, dist.sum()))


def _fisher(k: int, n: int, taken: int, whole: int) -> float:
    """P(at most k of the n named orders among the taken ones), hypergeometric."""
    from scipy.stats import hypergeom

    return float(hypergeom.cdf(k, whole, n, taken))


def carried(values: Floats) -> Floats:
    """Return (T, N) values with gaps filled from earlier rows (the mark of a suspended name)."""
    rows = np.maximum.accumulate(np.where(np.isfinite(values), np.arange(len(values))[:, None], 0), axis=0)
    return np.take_along_axis(values, rows, axis=0)


def ratio(a: NDArray, b: NDArray) -> Floats:
    """Return a / b, NaN and infinities without a warning."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(a, np.float64) / np.asarray(b, np.float64)
