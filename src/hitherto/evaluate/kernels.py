"""Compiled twin of the daily ICs. Imported on first use: numba costs a third of a second."""

from __future__ import annotations

import numba
import numpy as np

CODES = 65535  # codes of the short sort: 16 bits above 16 bits of position
CROWD = 16  # a code shared by more values than this, not all equal, leaves the date to the full sort
LOW16 = np.uint32(0xFFFF)
DIGIT = 8  # bits per radix pass: 256 buckets beat 2,048 for the few hundred names of a date
PASSES = 4
LOW32 = np.uint64(0xFFFFFFFF)
SIGN = np.uint64(0x8000000000000000)


@numba.njit(cache=True)
def _settle(a, box, i, j, out):
    """Rank the values at sorted places i..j-1, which share a code, by comparing them; False if that is too long."""
    if j - i > CROWD:
        first = a[box[i] & LOW16]
        for p in range(i, j):
            if a[box[p] & LOW16] != first:
                return False
            out[box[p] & LOW16] = 0.5 * (i + j + 1)
        return True
    for p in range(i, j):
        v = a[box[p] & LOW16]
        below = equal = 0
        for q in range(i, j):
            w = a[box[q] & LOW16]
            below += w < v
            equal += w == v
        out[box[p] & LOW16] = i + below + 0.5 * (equal + 1)
    return True


@numba.njit(cache=True)
def short_ranks(a, m, low, high, box, box2, count, out):
    """Write the ranks 1..m of ``a[:m]`` (float64 in low..high, no NaN), ties averaged, to ``out[:m]``; True if done.

    Radix sort by 16 bits of the place in the range, then exact comparison of those that share a code: subtraction and
    multiplication round monotonically, so a smaller code means a smaller value. False, nothing promised, where a
    code is crowded by unequal values (one far value does that) or the range is beyond float64's reach.
    """
    if m > CODES or not 1e-290 < high - low < 1e300:
        return False
    scale = CODES / (high - low)
    for i in range(m):
        box[i] = np.uint32(np.int32((a[i] - low) * scale)) << np.uint32(16) | np.uint32(i)
    count[:2] = 0
    for i in range(m):
        k = box[i]
        count[0, (k >> np.uint32(16)) & np.uint32(255)] += 1
        count[1, k >> np.uint32(24)] += 1
    for p in range(2):
        shift = np.uint32(16 + DIGIT * p)
        total = np.int32(0)
        for b in range(1 << DIGIT):
            here = count[p, b]
            count[p, b] = total
            total += here
        for i in range(m):
            k = box[i]
            b = (k >> shift) & np.uint32(255)
            q = count[p, b]
            count[p, b] = q + 1
            box2[q] = k
        box, box2 = box2, box
    for i in range(m):
        out[box[i] & LOW16] = i + 1.0
    i = 0
    while i < m - 1:
        code = box[i] >> np.uint32(16)
        if box[i + 1] >> np.uint32(16) != code:
            i += 1
            continue
        j = i + 2
        while j < m and box[j] >> np.uint32(16) == code:
            j += 1
        if not _settle(a, box, i, j, out):
            return False
        i = j
    return True


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
    first = key[box[i] & LOW32]
    q = i + 1
    while q < j and key[box[q] & LOW32] == first:
        q += 1
    if q == j:  # all equal, the usual case
        for q in range(i, j):
            out[box[q] & LOW32] = 0.5 * (i + j + 1)
        return
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


@numba.njit(cache=True, fastmath={"reassoc"})
def _all_finite(x, y):
    total = 0.0
    for n in range(x.size):
        total += (x[n] - x[n]) + (y[n] - y[n])  # NaN as soon as one is NaN or infinite
    return total == 0.0


@numba.njit(cache=True, fastmath={"nnan", "ninf", "nsz"})
def _range(a, m):
    low = high = a[0]
    for i in range(m):
        low = a[i] if a[i] < low else low
        high = a[i] if a[i] > high else high
    return low, high


@numba.njit(cache=True)
def _pairs(x, y, a, b):
    """Copy the pairs without a NaN of one date to ``a`` and ``b``; return how many, -1 at an infinity."""
    if _all_finite(x, y):
        a[:] = x
        b[:] = y
        return x.size
    m = 0
    for n in range(x.size):
        u, w = x[n], y[n]
        if np.isinf(u) or np.isinf(w):
            return -1
        if u == u and w == w:
            a[m], b[m] = u, w
            m += 1
    return m


@numba.njit(cache=True)
def daily_ics(x, y, least, ic, rank_ic):
    """Fill ``ic`` and ``rank_ic`` (T,) from ``x`` and ``y`` (T, N) float64; return False at the first infinity."""
    T, N = x.shape
    a, b, rank_a, rank_b = np.empty(N), np.empty(N), np.empty(N), np.empty(N)
    key, box, box2 = np.empty(N, np.uint64), np.empty(N, np.uint64), np.empty(N, np.uint64)
    small, small2 = np.empty(N, np.uint32), np.empty(N, np.uint32)
    count = np.empty((PASSES, 1 << DIGIT), np.int32)
    for t in range(T):
        m = _pairs(x[t], y[t], a, b)
        if m < 0:
            return False
        ic[t] = rank_ic[t] = np.nan
        if m < least:
            continue
        low_a, high_a = _range(a, m)
        low_b, high_b = _range(b, m)
        if not (_moves(low_a, high_a) and _moves(low_b, high_b)):
            continue
        if not short_ranks(a, m, low_a, high_a, small, small2, count, rank_a):
            average_ranks(a, m, key, box, box2, count, rank_a)
        if not short_ranks(b, m, low_b, high_b, small, small2, count, rank_b):
            average_ranks(b, m, key, box, box2, count, rank_b)
        ic[t] = correlation(a, b, m)
        rank_ic[t] = correlation(rank_a, rank_b, m)
    return True
