"""P14: what the prices themselves show: levels that were adjusted later and called raw, and files without an end.

No target is run. A price is quoted in cents; one that was multiplied by later splits and dividends is so only after
the last of them. That nobody leaves the file is no proof, but it is said.
"""

from __future__ import annotations

import time

import numpy as np

from hitherto.audit.probes import since
from hitherto.audit.verdict import Finding, ProbeResult, Status, date
from hitherto.panel import Floats, Mask, Panel

TICK = 0.01
NEAR = 0.06  # of a tick: a price in float32 is that close to its cent, one in eight prices is so by chance
LAST, FIRST = 20, 60  # bars of a listing: all of the last on the tick, at most half of the first
LEAST, SHARE = 3, 0.2  # listings that must show it, and their share of those quoted in cents at their end
NAMES, YEARS = 30, 3.0  # a file of fewer names or years says nothing about who left it


def probe(panel: Panel) -> ProbeResult:
    """Look at the prices of ``panel``, and at who left it.

    LEAK (L28) when prices that are called raw are whole cents at the end of a listing and not at its beginning, in at
    least 3 and 20 % of the listings that end in whole cents: multiplied by what came later. Ratios of prices are not
    touched by it. "ok" when they are whole cents throughout; "not assessed" when they are not, or were declared to be
    restated. The detail says when none of 30 or more listings ends in 3 years or more (L24): a file of survivors looks
    so, and no bar of it can tell. Never "cannot tell".
    """
    begun = time.perf_counter()
    status, said, found = _ticks(panel)
    alive = survivors(panel)
    return ProbeResult(
        "P14", "prices", "whole cents at the end and the beginning of each listing; who left", status,
        "; ".join(s for s in (said, alive) if s), findings=found, seconds=since(begun),
        looked=("L28",) if status != "not assessed" else (),
    )  # fmt: skip


def survivors(panel: Panel) -> str:
    """Return a sentence when none of 30 or more listings ends before the bars do in 3 years or more, else ""."""
    years = float((panel.sessions[-1] - panel.sessions[0]) / np.timedelta64(1, "D")) / 365.25
    N = panel.shape[1]
    if N < NAMES or years < YEARS or not bool(panel.listed[-1].all()):
        return ""
    return f"L24: none of {N} listings ends in {years:.1f} years; a file of survivors looks so"


def _ticks(panel: Panel) -> tuple[Status, str, tuple[Finding, ...]]:
    if panel.adjustment == "restated_total_return":
        return "not assessed", "prices are declared as adjusted later", ()
    name = next((n for n in ("close", "open") if n in panel.fields), None)
    if name is None:
        return "not assessed", "no close and no open", ()
    prices = panel.fields[name]
    on = on_tick(prices)
    known = np.isfinite(prices) & (prices >= 1)  # below, many markets quote fractions of a cent
    count = known.sum(axis=0)
    order = np.cumsum(known, axis=0)
    last = known & (order > count - LAST)
    first = known & (order <= FIRST)
    long = (count >= 2 * FIRST) & (last & on).sum(axis=0).astype(bool)
    quoted = long & ((last & ~on).sum(axis=0) == 0)
    if not quoted.any():
        return "not assessed", "prices are not in whole cents: whether they were adjusted cannot be read from them", ()
    off = quoted & ((first & on).sum(axis=0) <= FIRST // 2)
    hits, tried = int(off.sum()), int(quoted.sum())
    if hits < max(LEAST, SHARE * tried):
        return "ok", "", ()
    n = int(np.flatnonzero(off)[0])
    row = int(np.flatnonzero(known[:, n] & ~on[:, n])[0])
    note = (f"{name} of {panel.symbols[n]} is {prices[row, n]:.6g} there and whole cents at its end: multiplied by "
            "later splits or dividends, though called raw")  # fmt: skip
    return "LEAK", "", (Finding("L28", "prices", "P14", hits, tried, None, date(panel, row), of="listings", note=note),)


def on_tick(prices: Floats) -> Mask:
    """Return where prices are whole cents, or 64ths as they were quoted in the United States until 2001."""
    with np.errstate(invalid="ignore"):
        cents, parts = prices / TICK, prices * 64
        return (np.abs(cents - np.round(cents)) <= NEAR) | (np.abs(parts - np.round(parts)) <= NEAR * 64 * TICK)
