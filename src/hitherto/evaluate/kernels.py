"""Compiled twins of the daily ICs and of the resampled ratios. Imported on first use: numba takes .3 s to load."""

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


@numba.njit(cache=True)
def _walk(r, log, place, starts, lengths, centre, free, counts):
    """Walk one resample: sums of powers of r - centre, of gains, losses and squared losses of r - free, the log of
    the final wealth and of its deepest fall; ``counts`` takes how often each place in the order was drawn."""
    n = r.size
    one = two = three = gain = loss = below = wealth = peak = fall = 0.0
    for b in range(starts.size):
        i = starts[b]
        for _ in range(lengths[b]):
            if i == n:
                i = 0
            u = r[i] - centre
            e = r[i] - free
            one += u
            two += u * u
            three += u * u * u
            gain += max(e, 0.0)
            e = min(e, 0.0)
            loss -= e
            below += e * e
            wealth += log[i]
            peak = max(peak, wealth)
            fall = min(fall, wealth - peak)
            counts[place[i]] += 1
            i += 1
    return one / n, two / n, three / n, gain, loss, below / n, wealth, fall


@numba.njit(cache=True)
def _between(a, b, share):
    return a + (b - a) * share if share < 0.5 else b - (b - a) * (1.0 - share)  # as numpy rounds it


@numba.njit(cache=True)
def _order_statistics(counts, ordered, cutoff):
    """Return smallest, quantile ``cutoff``, mean of the values up to it, quantile 1 - cutoff and largest of the
    resample that drew ``ordered[k]`` ``counts[k]`` times: exact, from as much of the counts as the tails need."""
    n = counts.size
    at = (n - 1) * cutoff
    k = int(at)
    seen, place, worst, left, low = 0, -1, 0.0, 0.0, 0.0
    while seen <= k + 1 and place < n - 1:
        place += 1
        if counts[place] == 0:
            continue
        v = ordered[place]
        if seen == 0:
            low = v
        if seen <= k:
            worst += min(counts[place], k + 1 - seen) * v
            left = v  # ends as the value in place k
        seen += counts[place]
    bottom = _between(left, ordered[place], at - k)
    mean = worst / (k + 1)
    at = (n - 1) * (1.0 - cutoff)
    k = int(at)
    seen, place, right, high = 0, n, 0.0, 0.0
    while seen < n - k:
        place -= 1
        if counts[place] == 0:
            continue
        v = ordered[place]
        if seen == 0:
            high = v
        if seen <= n - 2 - k:
            right = v  # ends as the value in place k + 1
        seen += counts[place]
    return low, bottom, mean, _between(ordered[place], right, at - k), high


@numba.njit(cache=True)
def resampled_ratios(r, log, order, starts, lengths, periods, free, cutoff, rounding, out):
    """Fill ``out`` (draws, 11) with the ratios of each resample of ``r`` (n,) float64; NaN where there is none.

    log: log(1 + r). order: the places of r, sorted. starts, lengths: (draws, k) blocks, each row n long. free: the
    risk-free return of a bar. rounding: a spread no larger is none. The columns are those of ``inference.RATIOS``.
    """
    n = r.size
    ordered, place, counts = r[order], np.empty(n, np.int64), np.zeros(n, np.int64)
    place[order] = np.arange(n)
    running = np.zeros(2 * n + 1)
    mean = r.mean()
    for i in range(2 * n):
        running[i + 1] = running[i] + (r[i % n] - mean)
    for d in range(out.shape[0]):
        centre = 0.0  # the resample's own mean, from sums of its blocks: its central moments lose no digits
        for b in range(starts.shape[1]):
            centre += running[starts[d, b] + lengths[d, b]] - running[starts[d, b]]
        centre = centre / n + mean
        counts[:] = 0
        one, two, three, gain, loss, below, wealth, fall = _walk(
            r, log, place, starts[d], lengths[d], centre, free, counts
        )
        low, bottom, worst, top, high = _order_statistics(counts, ordered, cutoff)
        m2 = two - one * one
        excess = centre + one - free
        growth = np.expm1(wealth * periods / n)
        depth = np.expm1(fall)
        moves = high - low > rounding
        out[d, :] = np.nan
        out[d, 0] = growth
        out[d, 1] = np.sqrt(max(m2, 0.0) * n / (n - 1) * periods)
        if moves:
            out[d, 2] = excess / np.sqrt(m2 * n / (n - 1)) * np.sqrt(periods)
            out[d, 10] = (three - 3 * one * two + 2 * one**3) / m2**1.5
        if np.sqrt(below) > rounding:
            out[d, 3] = excess * np.sqrt(periods) / np.sqrt(below)
        out[d, 4] = depth
        if depth < -rounding:
            out[d, 5] = growth / -depth
        if loss > rounding:
            out[d, 6] = gain / loss
        if abs(bottom) > rounding:
            out[d, 7] = abs(top) / abs(bottom)
        out[d, 8] = bottom
        out[d, 9] = worst
