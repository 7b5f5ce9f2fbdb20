"""Hindsight: what perfect foresight could have made or lost. Bounds to stand beside a result, never a signal.

The types here are their own and frozen; nothing in the library turns one into a Forecast, a score or Weights. Returns
are of adjusted prices (raw x factor, dividends reinvested). A name is eligible for a stretch when it was in the
universe on its decision row and could be traded (listed, not suspended, price known) at both its entry and its exit; a
name suspended at either end is left out, one suspended in between is not.
"""

from __future__ import annotations

from hitherto.hindsight.lists import (
    Period,
    best_single,
    compound,
    compound_edge,
    power_of_time,
    worst_single,
)
from hitherto.hindsight.paths import HindsightPath, best_path, lower_bound, upper_bound, worst_path
from hitherto.hindsight.topk import (
    RandomCapture,
    best_topk,
    capture,
    random_capture,
    rebalance_returns,
    worst_topk,
)

__all__ = [
    "HindsightPath", "Period", "RandomCapture", "best_path", "best_single", "best_topk", "capture", "compound",
    "compound_edge", "lower_bound", "power_of_time", "random_capture", "rebalance_returns", "upper_bound", "worst_path",
    "worst_single", "worst_topk",
]  # fmt: skip
