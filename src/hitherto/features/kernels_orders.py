"""Compiled order statistics of windows: extremes and their positions, the rank of the newest value, quantiles.

Extremes and ranks walk the lags newest first and are read off at the end of each nested window. Quantiles keep each
window sorted from row to row: the sorted values of a window do not depend on how they came to be sorted.
"""

from __future__ import annotations

import numpy as np

from hitherto.features.cache import kernel
from hitherto.features.kernels_block import (
    GROUP,
    INF,
    LANES,
    NAN,
    TILE,
    G,
    L,
    U,
    advance,
    clear,
    finite,
    first_known,
    load,
    store,
)

BEST, LAG, VALUE, PLACE = (U(k * LANES) for k in range(4))
BELOW, EQUAL, RANK = (U(k * LANES) for k in range(3))
GONE, CARRY, READ = (U(k * LANES) for k in range(3))


@kernel
def _scan_best(buf, i, k, stop, acc):
    while k < stop:
        step = GROUP if k + GROUP <= stop else 1
        age = float(k)
        b = U(i - k - step + 1) * L
        if step == GROUP:
            for j in range(L):
                m, at = acc[BEST + j], acc[LAG + j]
                for g in range(G):
                    v = buf[b + (G - U(1) - g) * L + j]
                    at = age + float(g) if v >= m else at
                    m = v if v >= m else m
                acc[BEST + j], acc[LAG + j] = m, at
        else:
            for j in range(L):
                v, m = buf[b + j], acc[BEST + j]
                acc[LAG + j] = age if v >= m else acc[LAG + j]
                acc[BEST + j] = v if v >= m else m
        k += step


@kernel
def _finish_best(acc, sign, i, first, oldest):
    then = U(oldest) * L
    for j in range(L):
        known = acc[BEST + j] > -INF
        acc[VALUE + j] = sign * acc[BEST + j] + 0.0 if known else NAN
        acc[PLACE + j] = (float(i) - first[then + j]) - acc[LAG + j] + 1.0 if known else NAN


@kernel
def extremes(x, shape, start, spans, sign, ops, out):
    """Write the largest value of ``sign * x`` (ops 0) and its position from the first known row (ops 1)."""
    R, columns = shape
    depth = spans[-1] - 1
    tile = max(TILE, 4 * depth)
    buf = np.empty((depth + min(tile, R - start)) * LANES)
    first = np.empty(len(buf) + LANES)
    acc = np.empty(4 * LANES)
    for c0 in range(0, columns, LANES):
        width = U(min(LANES, columns - c0))
        for a in range(start, R, tile):
            rows = depth + min(tile, R - a)
            load(x, columns, a - depth, a - depth + rows, c0, sign, -INF, buf)
            first_known(buf, rows, -INF, first)
            for i in range(depth, rows):
                for j in range(L):
                    acc[BEST + j], acc[LAG + j] = -INF, 0.0
                k = 0
                for q in range(len(spans)):
                    _scan_best(buf, i, k, spans[q], acc)
                    k = spans[q]
                    _finish_best(acc, sign, i, first, i - k + 1)
                    for s in range(len(ops)):
                        row = (s * len(spans) + q) * (R - start) + a - start + i - depth
                        store(acc, VALUE if ops[s] == 0 else PLACE, width, out, U(row) * U(columns) + U(c0))


@kernel
def _scan_rank(buf, i, k, stop, acc):
    now = U(i) * L
    while k < stop:
        step = GROUP if k + GROUP <= stop else 1
        b = U(i - k - step + 1) * L
        if step == GROUP:
            for j in range(L):
                x, less, same = buf[now + j], acc[BELOW + j], acc[EQUAL + j]
                for g in range(G):
                    v = buf[b + (G - U(1) - g) * L + j]
                    less += 1.0 if v < x else 0.0
                    same += 1.0 if v == x else 0.0
                acc[BELOW + j], acc[EQUAL + j] = less, same
        else:
            for j in range(L):
                v, x = buf[b + j], buf[now + j]
                acc[BELOW + j] += 1.0 if v < x else 0.0
                acc[EQUAL + j] += 1.0 if v == x else 0.0
        k += step


@kernel
def ranks(x, shape, start, spans, out):
    """Write the share of the window's known values that row t's is not below, ties counting half."""
    R, columns = shape
    depth = spans[-1] - 1
    tile = max(TILE, 4 * depth)
    buf = np.empty((depth + min(tile, R - start)) * LANES)
    acc, tally = np.empty(3 * LANES), np.empty(3 * LANES * len(spans))
    for c0 in range(0, columns, LANES):
        width = U(min(LANES, columns - c0))
        for a in range(start, R, tile):
            rows = depth + min(tile, R - a)
            load(x, columns, a - depth, a - depth + rows, c0, 1.0, NAN, buf)
            clear(tally, U(0), U(len(tally)))
            for i in range(rows):
                for q in range(len(spans)):
                    advance(buf, i, spans[q], tally, q * 3 * LANES, False)
                if i < depth:
                    continue
                clear(acc, U(0), U(len(acc)))
                k = 0
                for q in range(len(spans)):
                    _scan_rank(buf, i, k, spans[q], acc)
                    k = spans[q]
                    n0 = U(q * 3 * LANES)
                    for j in range(L):
                        rank = (acc[BELOW + j] + (acc[EQUAL + j] + 1.0) / 2.0) / tally[n0 + j]
                        acc[RANK + j] = rank if acc[EQUAL + j] > 0.0 else NAN
                    row = q * (R - start) + a - start + i - depth
                    store(acc, RANK, width, out, U(row) * U(columns) + U(c0))


# Quantiles: each window is kept sorted, unknown values as +inf at the end. One branch-free pass takes the oldest value
# out and puts the newest in.


@kernel
def _replace(s, at, w, buf, new, acc):
    """Replace GONE by row ``new`` of ``buf`` in sorted rows 0..w-1 of ``s`` from ``at`` on (row w is +inf).

    Without the one the values are r[i] = s[i] if s[i] < gone else s[i + 1]; with the other they are
    max(r[i - 1], min(r[i], new)).
    """
    now = U(new) * L
    for j in range(L):
        acc[CARRY + j] = -INF
    i = 0
    while i < w:
        step = GROUP if i + GROUP <= w else 1
        b = U(at) + U(i) * L
        if step == GROUP:
            for j in range(L):
                out, put, before, here = acc[GONE + j], buf[now + j], acc[CARRY + j], s[b + j]
                for g in range(G):
                    after = s[b + (g + U(1)) * L + j]
                    r = here if here < out else after
                    low = r if r < put else put
                    s[b + g * L + j] = before if before > low else low
                    before = r
                    here = after
                acc[CARRY + j] = before
        else:
            for j in range(L):
                here, after, put = s[b + j], s[b + L + j], buf[now + j]
                r = here if here < acc[GONE + j] else after
                low = r if r < put else put
                s[b + j] = acc[CARRY + j] if acc[CARRY + j] > low else low
                acc[CARRY + j] = r
        i += step


@kernel
def _read(s, at, count, n0, level, acc):
    """Interpolate between the two sorted values on either side of the level's place."""
    m = count[U(n0)]
    alike = True
    for j in range(L):
        alike &= count[U(n0) + j] == m
    if alike:  # one place for all lanes: plain loads instead of gathers, same arithmetic
        place = level * (m - 1.0 if m > 1.0 else 0.0)
        low = np.floor(place)
        first, second = U(at) + U(np.int64(low)) * L, U(at) + U(np.int64(np.ceil(place))) * L
        share = place - low
        for j in range(L):
            below = s[first + j]
            acc[READ + j] = finite(below + (s[second + j] - below) * share, m > 0.0)
        return
    for j in range(L):
        n = count[U(n0) + j]
        place = level * (n - 1.0 if n > 1.0 else 0.0)
        low = np.floor(place)
        below = s[U(at) + U(np.int64(low)) * L + j]
        above = s[U(at) + U(np.int64(np.ceil(place))) * L + j]
        acc[READ + j] = finite(below + (above - below) * (place - low), n > 0.0)


@kernel
def _leave(buf, i, w, full, count, n0, acc):
    """Note the value that leaves a window at row i (+inf, nothing, while it fills) and count the known ones."""
    now, old = U(i) * L, U(max(i - w, 0)) * L
    for j in range(L):
        g = buf[old + j] if full else INF
        acc[GONE + j] = g
        count[U(n0) + j] += (1.0 if buf[now + j] < INF else 0.0) - (1.0 if g < INF else 0.0)


@kernel
def quantiles(x, shape, start, spans, levels, out):
    """Write the quantile of each level, flat (levels, spans, R - start, N)."""
    R, columns = shape
    depth = spans[-1] - 1
    tile = max(TILE, 4 * depth)
    buf = np.empty((depth + min(tile, R - start)) * LANES)
    at = np.zeros(len(spans) + 1, np.int64)
    for q in range(len(spans)):
        at[q + 1] = at[q] + (spans[q] + 1) * LANES
    s, count, acc = np.empty(at[-1]), np.empty(len(spans) * LANES), np.empty(3 * LANES)
    for c0 in range(0, columns, LANES):
        width = U(min(LANES, columns - c0))
        for a in range(start, R, tile):
            rows = depth + min(tile, R - a)
            load(x, columns, a - depth, a - depth + rows, c0, 1.0, INF, buf)
            s[:] = INF
            clear(count, U(0), U(len(count)))
            for i in range(rows):
                for q in range(len(spans)):
                    w, n0 = spans[q], q * LANES
                    if i <= depth - w:
                        continue  # before the first window of this tile
                    _leave(buf, i, w, i > depth, count, n0, acc)
                    _replace(s, at[q], w, buf, i, acc)
                    if i < depth:
                        continue
                    for p in range(len(levels)):
                        _read(s, at[q], count, n0, levels[p], acc)
                        row = (p * len(spans) + q) * (R - start) + a - start + i - depth
                        store(acc, READ, width, out, U(row) * U(columns) + U(c0))
