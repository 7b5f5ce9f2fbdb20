"""P9: fill delay. An order must fill after the bar that decided it; what a later fill leaves of the result is shown.

Where nobody wrote the decision down, the side of the fills is set against the return of their own bar.
"""

from __future__ import annotations

import math
import time

import numpy as np

from hitherto.audit.probes import since
from hitherto.audit.probes.ledger import LUCK, RTOL, Fills, carried, ratio
from hitherto.audit.target import Traded
from hitherto.audit.verdict import Finding, ProbeResult, date
from hitherto.panel import Floats, Mask, Panel

CAPTURED = 0.25  # share of the bar's own move
SUSPICION = "suspicion: "
DAYS = 20  # dates below which no statistic is made
FILLS, DATES = 100, 60  # below which no hit rate is judged
HITS = 2 / 3  # of the fills of a date, on the average date: no daily forecast is there
LASTING = 0.2  # of hits more in the own bar than in the next
ALONG, WITH_GAP = 30, 0.6  # fills that go with the gap before them, and their hits


def probe(book: Traded) -> ProbeResult:
    """Count the orders that fill in the bar of their decision, and report the Sharpe ratio one bar later.

    A fill at the decision's own close is counted too: nobody trades at a price whose print the decision had to read.
    """
    begun = time.perf_counter()
    early = np.asarray(book.filled) <= np.asarray(book.decided)
    hits, tried = int(early.sum()), len(early)
    detail = f"Sharpe {book.sharpe:.2f} as traded, {book.later:.2f} with fills one bar later"
    found = ()
    if hits:
        found = (Finding("L21", book.name, "P9", hits, tried, reach=1, old=book.sharpe, new=book.later, of="orders"),)
    status = "not assessed" if not tried else "LEAK" if found else "ok"
    return ProbeResult("P9", book.name, "every fill against its decision; the same weights one bar later", status,
                       detail, (hits, tried), found, seconds=since(begun))  # fmt: skip


def same_bar(fills: Fills, panel: Panel, *, rerun: bool = False) -> ProbeResult:
    """Ask whether the side of the fills goes with the return of their own bar.

    Fills at the open against open to close: LEAK L21 when ``hit_rate`` says that nobody forecasts so well; a suspicion
    when the side earns a quarter of its own bar's move (left to the experiment where the book is run again: ``rerun``).
    Fills at the close, where no decision dates are given, against the close-to-close return that ends there: who trades
    with it read the close that he fills at; a suspicion, never a finding. Suspicions: mean over dates of side x (return
    less that of the cross-section), t-test over dates, "cannot tell" with p < 1e-6 and a quarter of the mean absolute
    return.
    """
    begun = time.perf_counter()
    found, said = _opens(fills, panel, rerun)
    if fills.decided is None:
        said += _closes(fills, panel)
    suspicious = any(words.startswith(SUSPICION) for words in said)
    status = "LEAK" if found else "cannot tell" if suspicious else "ok" if said else "not assessed"
    few = f"fewer than {DAYS} dates with fills at the open or the close"
    if fills.decided is not None:
        few = "decision dates are given and were compared; of fills at the open there are too few"
    cuts = (found[0].hits, found[0].tried) if found else (0, 0)
    return ProbeResult("P9", fills.name, "the side of each fill against the return of its own bar", status,
                       "; ".join(said) or few, cuts, found, {"L21": cuts} if found else {},
                       seconds=since(begun))  # fmt: skip


def _opens(fills: Fills, panel: Panel, rerun: bool) -> tuple[tuple[Finding, ...], list[str]]:
    """What fills at the open say, in words, and an L21 where they hit too often."""
    if "open" not in panel.fields or "close" not in panel.fields:
        return (), []
    at_open, at_close = (_at(fills, panel, name) for name in ("open", "close"))
    own = ratio(panel.fields["close"], panel.fields["open"]) - 1
    found, words = hit_rate(fills, panel, at_open, own)
    share, p = _captured(fills, at_open & ~at_close, own)
    if found or not np.isfinite(p):
        return found, [words] if words else []
    knew = p < LUCK and share > CAPTURED and not rerun
    return (), [f"{SUSPICION * knew}fills at the open earn {share:.0%} of their own bar's move, p = {p:.1g}"]


def _closes(fills: Fills, panel: Panel) -> list[str]:
    """What fills at the close say, in words."""
    if "close" not in panel.fields:
        return []
    at_close, step = _at(fills, panel, "close"), _steps(panel)
    share, p = _captured(fills, at_close, step)
    before = np.vstack([np.full((1, panel.shape[1]), np.nan), step[:-1]])
    earlier, _ = _captured(fills, at_close, before)
    if not np.isfinite(p):
        return []
    knew = p < LUCK and abs(share) > max(CAPTURED, 2 * abs(np.nan_to_num(earlier)))
    words = f"fills at the close go with {share:.0%} of the move that ends there, p = {p:.1g}"
    return [f"{SUSPICION}{words}; give the column decided" if knew else words]


def _at(fills: Fills, panel: Panel, name: str) -> Mask:
    return fills.known & (np.abs(fills.price - fills.at(panel.fields[name])) <= RTOL * fills.price)


def _steps(panel: Panel) -> Floats:
    """(T, N) returns from close to close, over gaps too."""
    last = carried(panel.view("close"))
    step = np.full(panel.shape, np.nan)
    step[1:] = ratio(last[1:], last[:-1]) - 1
    return step


def hit_rate(fills: Fills, panel: Panel, at_open: Mask, own: Floats) -> tuple[tuple[Finding, ...], str]:
    """Return L21 when the fills at the open go their bar's way more often than anybody forecasts, and the evidence.

    own: (T, N) returns from open to close. The share of hits is taken per date and then over dates, so that one move of
    the market counts once, and a bar that ends at its open is a miss. Guilty: 100 fills on 60 dates, a lower 99.9 %
    bound above 2/3, a fifth more than the same sides have in the next bar (a trend that lasts is no knowledge), and
    0.6 also of the fills that buy after a gap up or sell after a gap down (an open printed off the market comes back by
    itself, which pays who trades against it). The bound is Chernoff's for numbers between 0 and 1, with as many
    independent dates as their autocorrelation leaves.

    This is a judgement of plausibility, not an experiment: daily forecasts hit 51 to 55 of 100, and 2/3 on the average
    date, sure to 99.9 %, is nothing that is known before the bar. A book that can be run again is better asked by
    ``openings``.
    """
    mine = _per_date(fills, at_open, own)
    if mine is None or mine[1] < FILLS or len(mine[0]) < DATES:
        return (), ""
    shares, n, k, first = mine
    mean, low = float(shares.mean()), lower_bound(float(shares.mean()), independent(shares))
    last = carried(panel.view("close"))
    gap = np.full(panel.shape, np.nan)
    gap[1:] = ratio(panel.view("open")[1:], last[:-1]) - 1
    later = _per_date(fills, at_open, np.vstack([own[1:], np.full((1, panel.shape[1]), np.nan)]))
    along = _per_date(fills, at_open & (fills.side * fills.at(gap) > 0), own)
    following = float("nan") if later is None else float(later[0].mean())
    with_gap = 0.0 if along is None or along[1] < ALONG else float(along[0].mean())
    words = f"hit rate {mean:.2f} of {n:,} fills on {len(shares)} dates in their own bar, {following:.2f} in the next"
    if not (low > HITS and mean - following > LASTING and with_gap > WITH_GAP):
        return (), ""
    note = f"{words}; at least {low:.2f} to 99.9 %, where daily forecasts hit 0.51 to 0.55: judged by plausibility"
    return (Finding("L21", fills.name, "P9", k, n, None, date(panel, first), of="fills", note=note),), words


def lower_bound(share: float, n: float, chance: float = 1e-3) -> float:
    """Return the lowest mean that gives ``share`` or more over ``n`` numbers in [0, 1] with this chance (Chernoff)."""
    most = -math.log(chance) / n
    low, high = 0.0, share
    for _ in range(60):
        p = (low + high) / 2
        gap = (share * math.log(share / p) if share > 0 else 0.0) if p > 0 else math.inf
        gap += (1 - share) * math.log((1 - share) / (1 - p)) if share < 1 else 0.0
        low, high = (p, high) if gap > most else (low, p)
    return low


def independent(values: Floats) -> float:
    """Return how many independent numbers a series is worth: by its long-run variance, lags up to the root, Bartlett's
    weights; never more than it has."""
    n, own = len(values), values - values.mean()
    variance = float(own @ own) / n
    if variance <= 0:
        return float(n)
    lags = int(math.sqrt(n))
    long_run = variance + 2 * sum(
        (1 - k / (lags + 1)) * float(own[k:] @ own[:-k]) / n for k in range(1, lags + 1)
    )  # fmt: skip
    return n * min(1.0, variance / max(long_run, variance))


def _per_date(fills: Fills, which: Mask, returns: Floats) -> tuple[Floats, int, int, int] | None:
    """(hit share of each date, fills, hits, first row of a hit); None where there is no fill."""
    moved = fills.at(returns)
    on = which & np.isfinite(moved)
    days, index = np.unique(fills.row[on], return_inverse=True)
    if not len(days):
        return None
    hit = (fills.side * moved)[on] > 0
    shares = np.bincount(index, hit) / np.bincount(index)
    return shares, int(on.sum()), int(hit.sum()), int(fills.row[on][hit].min()) if hit.any() else int(days[0])


def _captured(fills: Fills, which: Mask, returns: Floats) -> tuple[float, float]:
    """(share of the mean absolute return that the side captures, two-sided p over dates); NaN with too few dates."""
    from scipy.special import stdtr

    own = returns
    if returns.shape[1] >= 5:
        known = np.isfinite(returns)
        mean = np.where(known, returns, 0).sum(1) / np.maximum(known.sum(1), 1)
        own = returns - mean[:, None]
    moved = fills.at(own)
    on = which & np.isfinite(moved)
    days, index = np.unique(fills.row[on], return_inverse=True)
    if len(days) < DAYS:
        return float("nan"), float("nan")
    many = np.bincount(index)
    daily = np.bincount(index, (fills.side * moved)[on]) / many
    usual = float(np.abs(moved[on]).mean())
    spread = float(daily.std(ddof=1)) / math.sqrt(len(days))
    if usual == 0 or spread == 0:
        return float("nan"), float("nan")
    t = float(daily.mean()) / spread
    return float(daily.mean()) / usual, float(2 * stdtr(len(days) - 1, -abs(t)))
