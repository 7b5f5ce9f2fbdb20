"""Compiled twin of the daily ICs. Imported on first use: numba costs a third of a second."""

from __future__ import annotations

import numba
import numpy as np

DIGIT = 8  # bits per radix pass: 256 buckets beat 2,048 for the few hundred names of a date
PASSES = 4
LOW32 = np.uint64(0xFFFFFFFF)
SIGN = np.uint64(0x8000000000000000)


@numba.njit(cache=True)
def average_ranks(a, m, key, box, box2, count, out):
    """Write the ranks 1..m of ``a[:m]`` (float64, no NaN), ties averaged, to ``out[:m]``; the rest is scratch.

    Radix sort by the upper 32 bits of an integer that orders like the double, the position in the lower 32; runs that
    agree there are finished by the whole integer, so the order is exact.
    """
    bits = a.view(np.uint64)
    count[:] = 0
    for i in range(m):
        u = bits[i]
        if a[i] == 0.0:
            u = np.uint64(0)  # -0.0 ties with 0.0
        k = ~u if u >> np.uint64(63) else u | SIGN
        key[i] = k
        box[i] = (k & ~LOW32) | np.uint64(i)
        for p in range(PASSES):
            count[p, (k >> np.uint64(32 + DIGIT * p)) & np.uint64(255)] += 1
    for p in range(PASSES):
        shift = np.uint64(32 + DIGIT * p)
        total = np.int32(0)
        for b in range(1 << DIGIT):
            here = count[p, b]
            count[p, b] = total
            total += here
        for i in range(m):
            b = (box[i] >> shift) & np.uint64(255)
            q = count[p, b]
            count[p, b] = q + 1
            box2[q] = box[i]
        box, box2 = box2, box
    i = 0
    while i < m:
        j = i + 1
        while j < m and box[j] >> np.uint64(32) == box[i] >> np.uint64(32):
            j += 1
        if j - i == 1:
            out[box[i] & LOW32] = i + 1.0
        else:
            _finish_run(box, i, j, key, out)
        i = j


@numba.njit(cache=True)
def _finish_run(box, i, j, key, out):
    whole = np.empty(j - i, np.uint64)
    for q in range(i, j):
        whole[q - i] = key[box[q] & LOW32]
    order = np.argsort(whole)
    a = 0
    while a < j - i:
        b = a
        while b + 1 < j - i and whole[order[b + 1]] == whole[order[a]]:
            b += 1
        for q in range(a, b + 1):
            out[box[i + order[q]] & LOW32] = i + 0.5 * (a + b) + 1.0
        a = b + 1


@numba.njit(cache=True, fastmath={"reassoc"})
def _moments(a, b, m, mean_a, mean_b):
    aa = bb = ab = 0.0
    for i in range(m):
        u = a[i] - mean_a
        w = b[i] - mean_b
        aa += u * u
        bb += w * w
        ab += u * w
    return aa, bb, ab


@numba.njit(cache=True, fastmath={"reassoc"})
def correlation(a, b, m):
    """Return the Pearson correlation of ``a[:m]`` and ``b[:m]``, neither constant, in -1..1."""
    mean_a = mean_b = 0.0
    for i in range(m):
        mean_a += a[i]
        mean_b += b[i]
    mean_a /= m
    mean_b /= m
    aa, bb, ab = _moments(a, b, m, mean_a, mean_b)
    if not (1e-200 < aa < 1e200 and 1e-200 < bb < 1e200):  # squares would lose digits: scale the deviations first
        top_a = top_b = 0.0
        for i in range(m):
            top_a = max(top_a, abs(a[i] - mean_a))
            top_b = max(top_b, abs(b[i] - mean_b))
        aa = bb = ab = 0.0
        for i in range(m):
            u = (a[i] - mean_a) / top_a
            w = (b[i] - mean_b) / top_b
            aa += u * u
            bb += w * w
            ab += u * w
    return min(1.0, max(-1.0, ab / np.sqrt(aa) / np.sqrt(bb)))


@numba.njit(cache=True)
def _moves(low, high):
    return high - low > 1e-13 * max(abs(low), abs(high))


@numba.njit(cache=True)
def daily_ics(x, y, least, ic, rank_ic):
    """Fill ``ic`` and ``rank_ic`` (T,) from ``x`` and ``y`` (T, N) float64; return False at the first infinity."""
    T, N = x.shape
    a, b, rank_a, rank_b = np.empty(N), np.empty(N), np.empty(N), np.empty(N)
    key, box, box2 = np.empty(N, np.uint64), np.empty(N, np.uint64), np.empty(N, np.uint64)
    count = np.empty((PASSES, 1 << DIGIT), np.int32)
    for t in range(T):
        m = 0
        low_a = low_b = np.inf
        high_a = high_b = -np.inf
        for n in range(N):
            u, w = x[t, n], y[t, n]
            if np.isinf(u) or np.isinf(w):
                return False
            if u == u and w == w:
                a[m], b[m] = u, w
                low_a, high_a = min(low_a, u), max(high_a, u)
                low_b, high_b = min(low_b, w), max(high_b, w)
                m += 1
        if m < least or not (_moves(low_a, high_a) and _moves(low_b, high_b)):
            ic[t] = rank_ic[t] = np.nan
            continue
        average_ranks(a, m, key, box, box2, count, rank_a)
        average_ranks(b, m, key, box, box2, count, rank_b)
        ic[t] = correlation(a, b, m)
        rank_ic[t] = correlation(rank_a, rank_b, m)
    return True
