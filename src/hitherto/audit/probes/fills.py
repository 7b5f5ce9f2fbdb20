"""P9: fill delay. An order must fill after the bar that decided it; what a later fill leaves of the result is shown."""

from __future__ import annotations

import time

import numpy as np

from hitherto.audit.probes import since
from hitherto.audit.target import Traded
from hitherto.audit.verdict import Finding, ProbeResult


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
