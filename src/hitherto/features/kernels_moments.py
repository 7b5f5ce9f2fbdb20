"""Compiled window sums: moments of one series, and the mean absolute deviation.

For each row the lags are walked newest first, all sums are read off at the end of each nested window, and no sum is
carried from row to row: a value is a function of its window's rows, bit for bit. Deviations are taken from the newest
known value. It lies in every window that knows anything, so constants give exactly zero, and since
(sum d)^2 <= (n - 1) sum d^2 with that one d = 0, the one-pass variance loses at most a factor n of precision.
"""

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
    first_known,
    latest,
    load,
    moves,
    store,
)

OPS = ("sum", "count", "mean", "var", "std", "slope", "resi", "rsquare", "wma", "skew", "kurt")
# Places of a block's working numbers: pivot; sums of x, d, d^2, d^3, d^4, age d; squares about the mean, mean less
# pivot; count, sums of ages and of squared ages; age of the first known row; row t's value; the result.
PIVOT, S0, S1, S2, S3, S4, SK, SS, OFFSET, N, A, B, AGE, NOW, OUT = (U(k * LANES) for k in range(15))


@kernel
def _scan_sum(buf, i, k, stop, acc):
    while k < stop:
        if k + GROUP <= stop:
            b = U(i - k - GROUP + 1) * L
            for j in range(L):
                s = acc[S0 + j]
                for g in range(G):
                    v = buf[b + (G - U(1) - g) * L + j]
                    s += v if v == v else 0.0
                acc[S0 + j] = s
            k += GROUP
        else:
            b = U(i - k) * L
            for j in range(L):
                v = buf[b + j]
                acc[S0 + j] += v if v == v else 0.0
            k += 1


@kernel
def _scan_mean(buf, i, k, stop, acc):
    while k < stop:
        if k + GROUP <= stop:
            b = U(i - k - GROUP + 1) * L
            for j in range(L):
                p, s1 = acc[PIVOT + j], acc[S1 + j]
                for g in range(G):
                    v = buf[b + (G - U(1) - g) * L + j]
                    s1 += v - p if v == v else 0.0
                acc[S1 + j] = s1
            k += GROUP
        else:
            b = U(i - k) * L
            for j in range(L):
                v = buf[b + j]
                acc[S1 + j] += v - acc[PIVOT + j] if v == v else 0.0
            k += 1


@kernel
def _scan_squares(buf, i, k, stop, acc):
    while k < stop:
        if k + GROUP <= stop:
            b = U(i - k - GROUP + 1) * L
            for j in range(L):
                p, s1, s2 = acc[PIVOT + j], acc[S1 + j], acc[S2 + j]
                for g in range(G):
                    v = buf[b + (G - U(1) - g) * L + j]
                    d = v - p if v == v else 0.0
                    s1 += d
                    s2 += d * d
                acc[S1 + j], acc[S2 + j] = s1, s2
            k += GROUP
        else:
            b = U(i - k) * L
            for j in range(L):
                v = buf[b + j]
                d = v - acc[PIVOT + j] if v == v else 0.0
                acc[S1 + j] += d
                acc[S2 + j] += d * d
            k += 1


@kernel
def _scan_line(buf, i, k, stop, acc):
    while k < stop:
        age = float(k)
        if k + GROUP <= stop:
            b = U(i - k - GROUP + 1) * L
            for j in range(L):
                p, s1, s2, sk = acc[PIVOT + j], acc[S1 + j], acc[S2 + j], acc[SK + j]
                for g in range(G):
                    v = buf[b + (G - U(1) - g) * L + j]
                    d = v - p if v == v else 0.0
                    s1 += d
                    s2 += d * d
                    sk += (age + float(g)) * d
                acc[S1 + j], acc[S2 + j], acc[SK + j] = s1, s2, sk
            k += GROUP
        else:
            b = U(i - k) * L
            for j in range(L):
                v = buf[b + j]
                d = v - acc[PIVOT + j] if v == v else 0.0
                acc[S1 + j] += d
                acc[S2 + j] += d * d
                acc[SK + j] += age * d
            k += 1


@kernel
def _scan_shape(buf, i, k, stop, acc):
    for lag in range(k, stop):
        b = U(i - lag) * L
        for j in range(L):
            v = buf[b + j]
            d = v - acc[PIVOT + j] if v == v else 0.0
            square = d * d
            acc[S3 + j] += square * d
            acc[S4 + j] += square * square


@kernel
def _finish_moment(op, acc):
    """Turn the sums of one window into operator number ``op`` of OPS, at place OUT."""
    if op == 0:
        for j in range(L):
            acc[OUT + j] = finite(acc[S0 + j], acc[N + j] > 0.0)
    elif op == 1:
        for j in range(L):
            acc[OUT + j] = acc[N + j]
    elif op == 2:
        for j in range(L):
            acc[OUT + j] = finite(acc[PIVOT + j] + acc[OFFSET + j], acc[N + j] > 0.0)
    elif op == 3:
        for j in range(L):
            acc[OUT + j] = finite(acc[SS + j] / (acc[N + j] - 1.0), acc[N + j] > 1.0)
    elif op == 4:
        for j in range(L):
            acc[OUT + j] = finite(np.sqrt(acc[SS + j] / (acc[N + j] - 1.0)), acc[N + j] > 1.0)
    elif op == 8:
        for j in range(L):
            top = acc[AGE + j] + 1.0
            v = acc[PIVOT + j] + (top * acc[S1 + j] - acc[SK + j]) / (top * acc[N + j] - acc[A + j])
            acc[OUT + j] = finite(v, acc[N + j] > 0.0)
    elif op < 8:
        _finish_line(op, acc)
    else:
        _finish_shape(op, acc)


@kernel
def _finish_line(op, acc):
    if op == 5:
        for j in range(L):
            acc[OUT + j] = finite(
                _slope(acc[N + j], acc[A + j], acc[B + j], acc[S1 + j], acc[SK + j]), acc[N + j] > 1.0
            )
    elif op == 6:
        for j in range(L):
            slope = _slope(acc[N + j], acc[A + j], acc[B + j], acc[S1 + j], acc[SK + j])
            acc[OUT + j] = finite(
                (acc[NOW + j] - acc[PIVOT + j]) - acc[OFFSET + j] - slope * (acc[A + j] / acc[N + j]), acc[N + j] > 1.0
            )
    else:
        for j in range(L):
            slope = _slope(acc[N + j], acc[A + j], acc[B + j], acc[S1 + j], acc[SK + j])
            v = slope * ((acc[A + j] * acc[S1 + j] - acc[N + j] * acc[SK + j]) / (acc[N + j] * acc[SS + j]))
            acc[OUT + j] = finite(
                v if v < 1.0 else 1.0, moves(acc[N + j], acc[SS + j], acc[PIVOT + j], acc[OFFSET + j])
            )


@kernel
def _finish_shape(op, acc):
    for j in range(L):
        n, o, s1, s2, s3, s4 = acc[N + j], acc[OFFSET + j], acc[S1 + j], acc[S2 + j], acc[S3 + j], acc[S4 + j]
        m2 = acc[SS + j] / n
        if op == 9:
            m3 = (s3 - 3.0 * o * s2 + 2.0 * o * o * s1) / n
            v = np.sqrt(n * (n - 1.0)) / (n - 2.0) * (m3 / (m2 * np.sqrt(m2)))
        else:
            m4 = (s4 - 4.0 * o * s3 + 6.0 * o * o * s2 - 3.0 * o * o * o * s1) / n
            v = (n - 1.0) / ((n - 2.0) * (n - 3.0)) * ((n + 1.0) * (m4 / (m2 * m2)) - 3.0 * (n - 1.0))
        acc[OUT + j] = finite(v, (n > op - 7.0) & moves(n, acc[SS + j], acc[PIVOT + j], o))


@kernel
def _slope(n, ages, ages2, s1, sk):
    return (ages * s1 - n * sk) / (n * ages2 - ages * ages)


@kernel
def _prepare(acc, tally, at, degree):
    """Set out one window's count, mean and squared deviations, and its sums of ages for a line."""
    n0 = U(at)
    if degree == 0:
        for j in range(L):
            acc[N + j] = tally[n0 + j]
    elif degree == 1:
        for j in range(L):
            n = tally[n0 + j]
            acc[N + j] = n
            acc[OFFSET + j] = acc[S1 + j] / (n if n > 1.0 else 1.0)
    else:
        for j in range(L):
            n = tally[n0 + j]
            o = acc[S1 + j] / (n if n > 1.0 else 1.0)
            squares = acc[S2 + j] - o * acc[S1 + j]
            acc[N + j] = n
            acc[OFFSET + j] = o
            acc[SS + j] = squares if squares > 0.0 else 0.0 * squares
    if degree == 3:
        for j in range(L):
            acc[A + j] = tally[n0 + L + j]
            acc[B + j] = tally[n0 + L + L + j]


@kernel
def _age(acc, i, first, oldest):
    then = U(oldest) * L
    for j in range(L):
        acc[AGE + j] = float(i) - first[then + j]


@kernel
def _needs(ops):
    """Return what to add up: plain sums?, the highest of mean, squares, line (1, 2, 3), cubes and fourths?, weights?"""
    plain, degree, higher, weighs = False, 0, False, False
    for op in ops:
        plain |= op == 0
        higher |= op > 8
        weighs |= op == 8
        degree = max(degree, 0 if op < 2 else 1 if op == 2 else 2 if op < 5 or op > 8 else 3)
    return plain, degree, higher, weighs


@kernel
def moments(x, shape, start, spans, ops, out):  # noqa: C901 - a callee of branches would count references
    """Run operators ``ops`` (numbers in OPS) over flat (R, N) ``x`` into flat (ops, spans, R - start, N) ``out``."""
    R, columns = shape
    depth = spans[-1] - 1
    tile = max(TILE, 4 * depth)
    buf = np.empty((depth + min(tile, R - start)) * LANES)
    first = np.zeros(len(buf) + LANES)
    acc, tally = np.empty(15 * LANES), np.empty(3 * LANES * len(spans))
    plain, degree, higher, weighs = _needs(ops)
    for c0 in range(0, columns, LANES):
        width = U(min(LANES, columns - c0))
        for a in range(start, R, tile):
            rows = depth + min(tile, R - a)
            load(x, columns, a - depth, a - depth + rows, c0, 1.0, NAN, buf)
            if weighs:
                first_known(buf, rows, NAN, first)
            clear(acc, U(0), U(len(acc)))
            clear(tally, U(0), U(len(tally)))
            for i in range(rows):
                latest(buf, i, acc, PIVOT)
                for q in range(len(spans)):
                    advance(buf, i, spans[q], tally, q * 3 * LANES, degree == 3)
                if i < depth:
                    continue
                clear(acc, S0, SS)
                if degree == 3:
                    for j in range(L):
                        acc[NOW + j] = buf[U(i) * L + j]
                k = 0
                for q in range(len(spans)):
                    stop = spans[q]
                    if plain:
                        _scan_sum(buf, i, k, stop, acc)
                    if degree == 3:
                        _scan_line(buf, i, k, stop, acc)
                    elif degree == 2:
                        _scan_squares(buf, i, k, stop, acc)
                    elif degree == 1:
                        _scan_mean(buf, i, k, stop, acc)
                    if higher:
                        _scan_shape(buf, i, k, stop, acc)
                    k = stop
                    _prepare(acc, tally, q * 3 * LANES, degree)
                    if weighs:
                        _age(acc, i, first, i - k + 1)
                    for s in range(len(ops)):
                        _finish_moment(ops[s], acc)
                        row = (s * len(spans) + q) * (R - start) + a - start + i - depth
                        store(acc, OUT, width, out, U(row) * U(columns) + U(c0))


@kernel
def mads(x, shape, start, spans, out):
    """Write the mean absolute deviation from the mean, flat (spans, R - start, N)."""
    R, columns = shape
    depth = spans[-1] - 1
    tile = max(TILE, 4 * depth)
    buf = np.empty((depth + min(tile, R - start)) * LANES)
    acc, tally = np.empty(15 * LANES), np.empty(3 * LANES * len(spans))
    for c0 in range(0, columns, LANES):
        width = U(min(LANES, columns - c0))
        for a in range(start, R, tile):
            rows = depth + min(tile, R - a)
            load(x, columns, a - depth, a - depth + rows, c0, 1.0, NAN, buf)
            clear(acc, U(0), U(len(acc)))
            clear(tally, U(0), U(len(tally)))
            for i in range(rows):
                latest(buf, i, acc, PIVOT)
                for q in range(len(spans)):
                    advance(buf, i, spans[q], tally, q * 3 * LANES, False)
                if i < depth:
                    continue
                clear(acc, S0, SS)
                k = 0
                for q in range(len(spans)):
                    _scan_mean(buf, i, k, spans[q], acc)
                    k = spans[q]
                    _deviate(buf, i, k, acc, tally, q * 3 * LANES)
                    row = q * (R - start) + a - start + i - depth
                    store(acc, OUT, width, out, U(row) * U(columns) + U(c0))


@kernel
def _deviate(buf, i, w, acc, tally, at):
    """Walk a window again, now that its mean is known."""
    for j in range(L):
        n = tally[U(at) + j]
        acc[OFFSET + j] = acc[S1 + j] / (n if n > 1.0 else 1.0)
        acc[S2 + j] = 0.0
    for lag in range(w):
        b = U(i - lag) * L
        for j in range(L):
            v = buf[b + j]
            acc[S2 + j] += abs((v - acc[PIVOT + j]) - acc[OFFSET + j]) if v == v else 0.0
    for j in range(L):
        n = tally[U(at) + j]
        acc[OUT + j] = finite(acc[S2 + j] / n, n > 0.0)
