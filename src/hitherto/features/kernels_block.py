"""What all window kernels share: blocks of columns, exact tallies of whole numbers, the rule on what is known.

Columns go in blocks of ``LANES``: the processor's vectors run across names, never along time. Indices are unsigned,
since numba guards signed ones against being negative, which turns vector loads into gathers.
"""

from __future__ import annotations

import numpy as np

from hitherto.features.cache import kernel

LANES = 32  # columns of a block: 4 vectors of 8 doubles, enough to hide the latency of the additions
GROUP = 5  # lags added between two stores of the running sums
TILE = 512  # rows of a block worked on at once, in the processor's cache
FLAT = 1e-12  # as in operators.py: a series that moves less than this share of its own size is rounding noise
NAN, INF = np.nan, np.inf

U = np.uintp
L = U(LANES)
G = U(GROUP)


@kernel
def load(x, N, first, stop, c0, sign, fill, buf):
    """Copy rows first..stop of a block of flat (R, N) ``x``; what is unknown, before row 0 or no column is ``fill``."""
    width = U(min(LANES, N - c0))
    for r in range(first, stop):
        a = U(r - first) * L
        if r < 0:
            for j in range(L):
                buf[a + j] = fill
        else:
            at = U(r) * U(N) + U(c0)
            for j in range(width):
                v = x[at + j]
                buf[a + j] = sign * v + 0.0 if abs(v) < INF else fill
            for j in range(width, L):
                buf[a + j] = fill


@kernel
def clear(acc, first, stop):
    """Set the places first..stop of ``acc`` to 0."""
    for j in range(first, stop):
        acc[j] = 0.0


@kernel
def store(acc, place, width, out, at):
    """Write the first ``width`` lanes of a place to flat ``out`` from ``at`` on."""
    for j in range(width):
        out[at + j] = acc[place + j]


@kernel
def latest(buf, i, acc, place):
    """Keep the newest known value of each lane in a place of ``acc``."""
    a = U(i) * L
    for j in range(L):
        v = buf[a + j]
        acc[place + j] = v if v == v else acc[place + j]


@kernel
def advance(buf, i, w, tally, at, ages):
    """Move a window's count, and its sums of ages and squared ages, on by one row: whole numbers, hence exact."""
    a, n0, a0, b0 = U(i) * L, U(at), U(at) + L, U(at) + L + L
    old = U(max(i - w, 0)) * L
    full = 1.0 if i >= w else 0.0
    if ages:
        for j in range(L):
            o, n, age = buf[old + j], tally[n0 + j], tally[a0 + j]
            gone = full * float(w) if o == o else 0.0
            tally[b0 + j] += 2.0 * age + n - float(w) * gone
            tally[a0 + j] = age + n - gone
    for j in range(L):
        v, o = buf[a + j], buf[old + j]
        tally[n0 + j] += (1.0 if v == v else 0.0) - (full if o == o else 0.0)


@kernel
def first_known(buf, rows, nothing, first):
    """Write for each row of a block the first known row at or after it, ``rows`` where there is none."""
    for j in range(L):
        first[U(rows) * L + j] = float(rows)
    for back in range(rows):
        i = rows - 1 - back
        a = U(i) * L
        for j in range(L):
            v = buf[a + j]
            first[a + j] = float(i) if (v == v) & (v != nothing) else first[a + L + j]


@kernel
def finite(v, ok):
    """Return ``v`` where it is finite and ``ok``."""
    return v if ok & (abs(v) < INF) else NAN


@kernel
def moves(n, squares, pivot, offset):
    """Return whether n values differ by more than rounding noise, given their squared deviations and mean."""
    size = FLAT * (abs(pivot) + abs(offset))
    return (n > 1.0) & (squares > n * (size * size))
