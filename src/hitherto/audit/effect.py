"""What a leak was worth: the skill of a leaking column as it stands, and with every number delayed by its reach."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hitherto.audit.probes.worlds import daily
from hitherto.panel import PRICES, Panel

Floats = NDArray[np.float64]
LEAST, NAMES = 20, 5  # dates, and names on a date
YEAR = 252


class Worth(NamedTuple):
    """Mean daily RankIC with the next bar's return, and the Sharpe ratio a year (252 bars) of a book held for it.

    The book weighs names by their centred rank, gross 1, no costs. late: the same numbers, delayed by the leak's reach.
    NaN where fewer than 20 dates have five names.
    """

    ic: float
    late_ic: float
    sharpe: float
    late_sharpe: float

    def __str__(self) -> str:
        ic, late = (f"{round(x, 3) + 0.0:.3f}" for x in (self.ic, self.late_ic))  # + 0.0: no minus zero
        sharpe, later = (f"{round(x, 1) + 0.0:.1f}" for x in (self.sharpe, self.late_sharpe))
        return (
            f"worth a daily RankIC of {ic} and a Sharpe ratio of {sharpe}; {late} and {later} when delayed by its reach"
        )


def worth(values: NDArray[Any], panel: Panel, reach: int) -> Worth | None:
    """Return what a column (T, N) earns now and ``reach`` >= 1 bars later; None where neither can be measured."""
    late = np.full(values.shape, np.nan)
    late[reach:] = values[:-reach] if reach < len(values) else np.nan
    now, then = (_skill(np.asarray(x, np.float64), panel) for x in (values, late))
    return None if np.isnan(now[0]) or np.isnan(then[0]) else Worth(now[0], then[0], now[1], then[1])


def _skill(values: Floats, panel: Panel) -> tuple[float, float]:
    """Return (mean daily RankIC, Sharpe ratio a year) of a column against the next bar's returns."""
    ic = daily(values, panel)[0]
    ic = ic[np.isfinite(ic)]
    if len(ic) < LEAST:
        return float("nan"), float("nan")
    earned = _book(values, panel)
    spread = earned.std(ddof=1) if len(earned) > 1 else 0.0
    return float(ic.mean()), float(earned.mean() / spread * np.sqrt(YEAR)) if spread > 0 else float("nan")


def _book(values: Floats, panel: Panel) -> Floats:
    """Return the bar returns of holding centred ranks, gross 1, for one bar."""
    lead = "close" if "close" in panel.fields else next(p for p in PRICES if p in panel.fields)
    price = panel.view(lead)
    with np.errstate(invalid="ignore", divide="ignore"):
        ahead = price[1:] / price[:-1] - 1.0
    out = []
    for x, r in zip(values[:-1], ahead, strict=True):
        known = np.isfinite(x) & np.isfinite(r)
        if known.sum() < NAMES:
            continue
        rank = np.argsort(np.argsort(x[known], kind="stable"), kind="stable") - (known.sum() - 1) / 2
        out.append(float((rank * r[known]).sum() / np.abs(rank).sum()))
    return np.array(out)
