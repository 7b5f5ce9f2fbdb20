"""Probes: experiments that make a target betray its use of the future. One file each, each usable alone.

P0, P1, P2 and P3 share one protocol, ``probe(target, panel, cuts, rng, ...) -> ProbeResult``. P4 asks a predictor and
P10 counts intervals, so that they take those instead of a panel. What the first four share, comparing, lives here.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hitherto.audit.target import Counted
from hitherto.panel import Mask, Panel

Columns = Mapping[str, NDArray[Any]]


@dataclass
class Evidence:
    """The earliest changed number of a column: row, listing, and its value before and after."""

    row: int
    listing: int
    old: float
    new: float


def scale(values: NDArray[Any]) -> float:
    """Return the scale of a column: its standard deviation over known numbers, else its largest size, else 1."""
    known = values[np.isfinite(values)].astype(np.float64)
    if not len(known):
        return 1.0
    size = float(known.std())
    # A constant column has a deviation of rounding errors only.
    if size > 1e-12 * float(np.abs(known).max()):
        return size
    return float(np.abs(known).max()) or 1.0


def tolerances(target: Counted, base: Columns, noise: Mapping[str, float], *, same_shape: bool) -> dict[str, float]:
    """Return column -> absolute tolerance: 0 for exact targets (``shape_rtol`` for other shapes), else 1e-5 scales.

    A target that differs from itself is judged above four times that difference.
    """
    # foreign code: what cancels leaves rounding; our own targets have shape_rtol 0 and stay bit for bit
    rtol = (min(1e-13, target.shape_rtol) if same_shape else target.shape_rtol) if target.exact else target.rtol
    out = {}
    sizes = target.scales if target.is_first(base) else {}
    for name, values in base.items():
        share = max(rtol, 4.0 * noise.get(name, 0.0))
        if share and name not in sizes:
            sizes[name] = scale(values)
        out[name] = share * sizes[name] if share else 0.0
    return out


def differs(old: NDArray[Any], new: NDArray[Any], tolerance: float) -> Mask:
    """Return where two arrays differ by more than ``tolerance``; NaN equals NaN, and nothing else.

    An infinite tolerance (a number that comes and goes between equal runs) passes everything.
    """
    if tolerance == float("inf"):
        return np.zeros(old.shape, bool)
    out = (old != new) & ~(np.isnan(old) & np.isnan(new))
    if tolerance > 0:
        with np.errstate(invalid="ignore"):
            out &= ~(np.abs(old.astype(np.float64) - new) <= tolerance)
    return out


def past_changes(old: NDArray[Any], new: NDArray[Any], cuts: NDArray[np.integer], tolerance: float) -> Mask:
    """Return (T, N) bool: numbers at or before each listing's cut that changed."""
    last = int(np.max(cuts)) + 1
    out = np.zeros(old.shape, bool)
    out[:last] = differs(old[:last], new[:last], tolerance)
    out[:last] &= np.arange(last)[:, None] <= np.asarray(cuts)[None, :]
    return out


def earliest(changed: Mask, old: NDArray[Any], new: NDArray[Any]) -> Evidence:
    """Return the earliest changed number, one with both values known where there is one."""
    both = changed.copy()
    both[: len(new)] &= np.isfinite(old[: len(new)]) & np.isfinite(new[: len(new)])
    row, listing = np.argwhere(both if both.any() else changed)[0]
    return Evidence(int(row), int(listing), float(old[row, listing]), float(new[row, listing]))


def attempt(target: Counted, panel: Panel) -> tuple[Columns, str]:
    """Return the target's columns and "", or nothing and what it raised: foreign code may raise anything."""
    try:
        return target.run(panel), ""
    except Exception as e:  # noqa: BLE001  the target is somebody else's code; what it raised is reported, not hidden
        return {}, f"{target.name} raised {type(e).__name__}: {e}".split("\n")[0][:200]


def since(begun: float) -> float:
    """Return seconds since ``time.perf_counter()`` said ``begun``."""
    return time.perf_counter() - begun
