"""Rewrite the future of a panel: another market after each listing's cut, at the same scale, the past untouched.

The masks (listed, suspended, missing, universe) are kept, and a cell that was NaN stays NaN, so that shapes and sample
counts do not move and results can be compared bit for bit. What leaks through a mask is seen by truncation only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hitherto.panel import PRICES, Floats, Mask, Panel
from hitherto.seeds import Stream

Kind = Literal["walk", "mirror", "nan"]
KINDS: tuple[Kind, ...] = ("walk", "mirror", "nan")
Rows = NDArray[np.integer]


def rewrite(panel: Panel, cuts: Rows, kind: Kind, rng: Stream, fields: Iterable[str] | None = None) -> Panel:
    """Return the panel with ``fields`` (None: all) replaced in the rows after ``cuts`` (N,), one row per listing.

    "walk": a fresh random walk from the last close before the cut, with the past's volatility and intraday shapes
    (OHLC stay consistent), fresh volumes, a factor that steps right after the cut, other fields resampled from their
    past. "mirror": returns, log volumes and deviations change their sign. "nan": nothing is known any more. A cut at
    the last row leaves the listing as it is.
    """
    T, _ = panel.shape
    future = np.arange(T)[:, None] > np.asarray(cuts)[None, :]
    chosen = set(panel.fields if fields is None else fields)
    out = dict(panel.fields)
    if kind == "nan":
        fresh = {k: np.full(panel.shape, np.nan) for k in chosen}
    elif kind == "mirror":
        fresh = _mirror(panel, future, chosen)
    else:
        fresh = _walk(panel, future, chosen, rng.numpy("rewrite"))
    for name, values in fresh.items():
        old = out[name]
        out[name] = np.where(future & np.isfinite(old), values, old)
    return panel.replace(fields=out)


def before(values: Floats, future: Mask) -> Floats:
    """Return (N,) float64: the last known value up to the cut; where there is none the first known one, else 1."""
    known = np.isfinite(values)
    rows = np.arange(len(values))[:, None]
    last = np.where(known & ~future, rows, -1).max(axis=0)
    first = np.where(known.any(axis=0), known.argmax(axis=0), 0)
    value = values[np.where(last >= 0, last, first), np.arange(values.shape[1])]
    return np.where(np.isfinite(value), value, 1.0)


def _volatility(close: Floats, future: Mask) -> Floats:
    """(N,) standard deviation of the past's log returns, kept within 0.5 and 10 % a bar; 2 % where there is no past."""
    with np.errstate(divide="ignore", invalid="ignore"):
        r = np.diff(np.log(np.where(future, np.nan, close)), axis=0)
    known = np.isfinite(r)
    count = known.sum(axis=0)
    r = np.where(known, r, 0.0)
    mean = r.sum(axis=0) / np.maximum(count, 1)
    var = (r * r).sum(axis=0) / np.maximum(count, 1) - mean * mean
    return np.where(count > 2, np.clip(np.sqrt(np.maximum(var, 0)), 0.005, 0.1), 0.02)


def _past_cells(known: Mask, rng: np.random.Generator) -> NDArray[np.intp]:
    """(T, N) for every cell the place, in a flat field, of a random known past row of its listing (row 0: none)."""
    T, N = known.shape
    pick = np.zeros((N, T), np.intp)
    for n, mine in enumerate(np.ascontiguousarray(known.T)):
        rows = np.flatnonzero(mine)
        if len(rows):
            pick[n] = rows[rng.integers(0, len(rows), T)]
    pick *= N
    pick += np.arange(N)[:, None]
    return np.ascontiguousarray(pick.T)


def _walk(panel: Panel, future: Mask, chosen: set[str], rng: np.random.Generator) -> dict[str, Floats]:
    shape = panel.shape
    out: dict[str, Floats] = {}
    prices = [p for p in PRICES if p in panel.fields]
    if prices:
        lead = "close" if "close" in prices else prices[0]
        anchor = panel.fields[lead]
        steps = np.where(future, _volatility(anchor, future) * rng.standard_normal(shape), 0.0)
        path = before(anchor, future) * np.exp(np.cumsum(steps, axis=0))
        whole = np.logical_and.reduce([np.isfinite(panel.fields[p]) for p in prices]) & ~future
        pick = _past_cells(whole, rng)
        with np.errstate(divide="ignore", invalid="ignore"):
            for p in sorted(chosen.intersection(prices)):
                ratio = (panel.fields[p] / anchor).take(pick)
                out[p] = path * np.where(np.isfinite(ratio), ratio, 1.0)
    if "factor" in chosen:
        first = future & ~np.vstack([np.zeros((1, shape[1]), bool), future[:-1]])
        step = np.where(first | (rng.random(shape) < 0.01), 1.02 + 0.05 * rng.random(shape), 1.0)
        out["factor"] = before(panel.fields["factor"], future) * np.cumprod(np.where(future, step, 1.0), axis=0)
    for name in sorted(chosen - set(PRICES) - {"factor"}):
        values = panel.fields[name]
        pick = _past_cells(np.isfinite(values) & ~future, rng)
        drawn = values.take(pick)
        # A tenth of noise, so that a field that hardly moves is still another one.
        fresh = drawn * np.exp(0.1 * rng.standard_normal(shape))
        out[name] = np.round(fresh) if name == "volume" else np.where(drawn == 0, rng.standard_normal(shape), fresh)
    return out


def _mirror(panel: Panel, future: Mask, chosen: set[str]) -> dict[str, Floats]:
    out: dict[str, Floats] = {}
    prices = [p for p in PRICES if p in panel.fields]
    swap = {"high": "low", "low": "high"}
    with np.errstate(divide="ignore", invalid="ignore"):
        for name in sorted(chosen):
            values = panel.fields[name]
            if name in prices:
                lead = panel.fields["close" if "close" in prices else prices[0]]
                other = swap.get(name, name)
                source = panel.fields.get(other, values)
                fresh = before(lead, future) ** 2 / source
            elif name == "factor":
                fresh = before(values, future) ** 2 / values
            elif name == "volume":
                past = np.where((~future) & (values > 0), values, np.nan)
                middle = before(past, np.zeros_like(future))
                fresh = np.round(np.where(values > 0, middle**2 / values, middle))
            else:
                fresh = 2.0 * before(values, future) - values
            out[name] = np.where(np.isfinite(fresh), fresh, values)
    return out
