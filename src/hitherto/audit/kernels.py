"""Compiled twins of comparing and planting. Imported on first use: numba costs a third of a second."""

from __future__ import annotations

import numpy as np
from numba import njit

LARGEST = np.finfo(np.float64).max


@njit(cache=True, nogil=True)
def note_moves(old, new, old_bits, new_bits, row, cuts, allowed, gap, first, both, known):
    """Write down what moved in a tile of rows; bits first, since almost every number stays what it was.

    old, new: (R, N, K) floats, rows ``row`` and on; old_bits, new_bits: the same memory as unsigned integers. cuts:
    (N,) last rows that count. allowed: (K,) absolute tolerances. gap: (R, N) bool. first, both: (N, K) int64, the first
    row that moved, and the first with both values finite; -1 so far. known: (K,) bool, whether one outside gaps moved.
    """
    rows, listings, width = old.shape
    for r in range(rows):
        t = row + r
        for n in range(listings):
            if t > cuts[n]:
                continue
            apart = old_bits[r, n, 0] ^ new_bits[r, n, 0]
            for k in range(1, width):
                apart |= old_bits[r, n, k] ^ new_bits[r, n, k]
            if apart == 0:
                continue
            for k in range(width):
                a, b = np.float64(old[r, n, k]), np.float64(new[r, n, k])
                if a == b or (np.isnan(a) and np.isnan(b)):
                    continue
                if allowed[k] > 0.0 and abs(a - b) <= allowed[k]:
                    continue
                if first[n, k] < 0:
                    first[n, k] = t
                if both[n, k] < 0 and np.isfinite(a) and np.isfinite(b):
                    both[n, k] = t
                if not gap[r, n]:
                    known[k] = True


@njit(cache=True, nogil=True)
def count_known(values, count, live):
    """Add the finite numbers of a tile (R, N, K) to ``count`` (K,), and mark in ``live`` (R, N) where there is one."""
    rows, listings, width = values.shape
    for r in range(rows):
        for n in range(listings):
            some = 0
            for k in range(width):
                # x - x is 0 for finite x only; adding keeps the loop free of branches
                finite = np.int64(values[r, n, k] - values[r, n, k] == 0)
                count[k] += finite
                some += finite
            if some:
                live[r, n] = True


@njit(cache=True, nogil=True)
def plant(host, lead, reaches, ratio, which, strength, share, draw, out):
    """Write host + strength x (return ``reach`` rows ahead) x ratio into ``out`` (T, N, L) for L leaks.

    host: (T, N). lead: (T, N) float64 prices. reaches: (J,) int64; which: (L,) the leak's place in ``reaches``. share:
    (L,) of the cells that carry the leak, those with draw (T, N), in [0, 1), below it. A return that is not known is 0.
    """
    rows, listings = host.shape
    leaks = len(which)
    ahead = np.zeros((len(reaches), listings))
    part = np.zeros(leaks)
    for t in range(rows):
        for j in range(len(reaches)):
            later = t + reaches[j]
            for n in range(listings):
                r = np.nan
                if later < rows and lead[t, n] != 0.0:
                    r = lead[later, n] / lead[t, n] - 1.0
                ahead[j, n] = min(max(r * ratio, -LARGEST), LARGEST) if abs(r) <= LARGEST else 0.0
        for n in range(listings):
            for k in range(leaks):
                part[k] = ahead[which[k], n]
            value, chance = np.float64(host[t, n]), draw[t, n]
            for k in range(leaks):
                out[t, n, k] = value + strength[k] * part[k] * (1.0 if chance < share[k] else 0.0)
