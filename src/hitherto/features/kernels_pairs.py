"""Compiled sums over the windows of a pair of series; see kernels_moments for how and why."""

from __future__ import annotations

import numpy as np

from hitherto.features.cache import kernel
from hitherto.features.kernels_block import (
    GROUP,
    LANES,
    NAN,
    TILE,
    G,
    L,
    U,
    advance,
    clear,
    finite,
    latest,
    load,
    moves,
    store,
)

OPS = ("cov", "corr")
SX, SY, SXX, SYY, SXY, PX, PY, PAIR = (U(k * LANES) for k in range(8))  # places in the sums


@kernel
def _both(one, other):
    """Make each of a pair unknown where the other is."""
    for j in range(U(len(one))):
        a, b = one[j], other[j]
        ok = (a == a) & (b == b)
        one[j] = a if ok else NAN
        other[j] = b if ok else NAN


@kernel
def _scan_pair(x, y, i, k, stop, acc):
    while k < stop:
        step = GROUP if k + GROUP <= stop else 1
        b = U(i - k - step + 1) * L
        if step == GROUP:
            for j in range(L):
                sx, sy, sxx, syy, sxy = acc[SX + j], acc[SY + j], acc[SXX + j], acc[SYY + j], acc[SXY + j]
                px, py = acc[PX + j], acc[PY + j]
                for g in range(G):
                    at = b + (G - U(1) - g) * L + j
                    v, w = x[at], y[at]
                    dx = v - px if v == v else 0.0
                    dy = w - py if w == w else 0.0
                    sx += dx
                    sy += dy
                    sxx += dx * dx
                    syy += dy * dy
                    sxy += dx * dy
                acc[SX + j], acc[SY + j], acc[SXX + j], acc[SYY + j], acc[SXY + j] = sx, sy, sxx, syy, sxy
        else:
            for j in range(L):
                v, w = x[b + j], y[b + j]
                dx = v - acc[PX + j] if v == v else 0.0
                dy = w - acc[PY + j] if w == w else 0.0
                acc[SX + j] += dx
                acc[SY + j] += dy
                acc[SXX + j] += dx * dx
                acc[SYY + j] += dy * dy
                acc[SXY + j] += dx * dy
        k += step


@kernel
def _finish_pair(op, acc, tally, at):
    for j in range(L):
        n = tally[U(at) + j]
        m = n if n > 1.0 else 1.0
        ox, oy = acc[SX + j] / m, acc[SY + j] / m
        sxy = acc[SXY + j] - ox * acc[SY + j]
        if op == 0:
            acc[PAIR + j] = finite(sxy / (n - 1.0), n > 1.0)
        else:
            sxx, syy = acc[SXX + j] - ox * acc[SX + j], acc[SYY + j] - oy * acc[SY + j]
            ok = moves(n, sxx, acc[PX + j], ox) & moves(n, syy, acc[PY + j], oy)
            v = sxy / (np.sqrt(sxx) * np.sqrt(syy))
            v = 1.0 if v > 1.0 else v
            acc[PAIR + j] = finite(-1.0 if v < -1.0 else v, ok)


@kernel
def pairs(x, y, shape, start, spans, ops, out):
    """Run operators ``ops`` (numbers in OPS) over the rows of flat (R, N) ``x`` and ``y`` where both are known."""
    R, columns = shape
    depth = spans[-1] - 1
    tile = max(TILE, 4 * depth)
    one = np.empty((depth + min(tile, R - start)) * LANES)
    other = np.empty_like(one)
    acc, tally = np.empty(8 * LANES), np.empty(3 * LANES * len(spans))
    for c0 in range(0, columns, LANES):
        width = U(min(LANES, columns - c0))
        for a in range(start, R, tile):
            rows = depth + min(tile, R - a)
            load(x, columns, a - depth, a - depth + rows, c0, 1.0, NAN, one)
            load(y, columns, a - depth, a - depth + rows, c0, 1.0, NAN, other)
            _both(one, other)
            clear(acc, U(0), U(len(acc)))
            clear(tally, U(0), U(len(tally)))
            for i in range(rows):
                latest(one, i, acc, PX)
                latest(other, i, acc, PY)
                for q in range(len(spans)):
                    advance(one, i, spans[q], tally, q * 3 * LANES, False)
                if i < depth:
                    continue
                clear(acc, SX, PX)
                k = 0
                for q in range(len(spans)):
                    _scan_pair(one, other, i, k, spans[q], acc)
                    k = spans[q]
                    for s in range(len(ops)):
                        _finish_pair(ops[s], acc, tally, q * 3 * LANES)
                        row = (s * len(spans) + q) * (R - start) + a - start + i - depth
                        store(acc, PAIR, width, out, U(row) * U(columns) + U(c0))
