"""Compiled rules of construct.py: selections and bounded heaps in place of sorts.

A name is a pair (score, column): the higher score is better, and of equal scores the lower column. The worst names are
found by the same code with the signs turned. Imported on first use: numba costs a third of a second.
"""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def push(score, column, size, room, s, c):
    """Keep the best ``room`` pairs of those pushed, worst at the root; return how many are kept."""
    if size < room:
        i = size
        while i > 0:
            p = (i - 1) >> 1
            if s > score[p] or (s == score[p] and c < column[p]):
                break
            score[i], column[i] = score[p], column[p]
            i = p
        score[i], column[i] = s, c
        return size + 1
    if room == 0 or not (s > score[0] or (s == score[0] and c < column[0])):
        return size
    _sink(score, column, size, s, c)
    return size


@numba.njit(cache=True, nogil=True)
def _sink(score, column, size, s, c):
    """Put (s, c) in the place of the root and let it sink below every worse pair of the first ``size``."""
    i = 0
    while True:
        j = 2 * i + 1
        if j >= size:
            break
        r = j + 1
        if r < size and (score[r] < score[j] or (score[r] == score[j] and column[r] > column[j])):
            j = r
        if not (score[j] < s or (score[j] == s and column[j] > c)):
            break
        score[i], column[i] = score[j], column[j]
        i = j
    score[i], column[i] = s, c


@numba.njit(cache=True, nogil=True)
def _order(score, column, size):
    """Turn the heap into a list, best first."""
    for last in range(size - 1, 0, -1):
        s, c = score[last], column[last]
        score[last], column[last] = score[0], column[0]
        _sink(score, column, last, s, c)


@numba.njit(cache=True, nogil=True)
def count(scores, mask):
    """Return (T,) int64: names with a score that may be held; -1 where the row has an infinite score."""
    T, N = scores.shape
    out = np.empty(T, np.int64)
    for t in range(T):
        known = 0
        infinite = 0
        for n in range(N):
            s = scores[t, n]
            known += mask[t, n] & (s == s)
            infinite += np.abs(s) == np.inf
        out[t] = -1 if infinite else known
    return out


@numba.njit(cache=True, nogil=True)
def _largest(x, m, k):
    """Return the k-th largest of ``x[:m]``, 1 <= k <= m, no NaN; reorders ``x`` (Hoare's selection)."""
    low, high, goal = 0, m - 1, k - 1
    while low < high:
        a, b, c = x[low], x[(low + high) >> 1], x[high]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = low, high
        while i <= j:
            while x[i] > pivot:
                i += 1
            while x[j] < pivot:
                j -= 1
            if i <= j:
                x[i], x[j] = x[j], x[i]
                i += 1
                j -= 1
        if goal <= j:
            high = j
        elif goal >= i:
            low = i
        else:
            break
    return x[goal]


@numba.njit(cache=True, nogil=True)
def _gather(scores, mask, t, x):
    """Copy the usable scores of row t to the front of ``x``; return how many."""
    m = 0
    for n in range(scores.shape[1]):
        s = scores[t, n]
        x[m] = s  # written first, kept if usable: a branch here is guessed wrong too often
        m += mask[t, n] & (s == s)
    return m


@numba.njit(cache=True, nogil=True)
def top(scores, mask, decided, k, values):
    """Write 1 / k on the best k names of each decided row."""
    T, N = scores.shape
    x = np.empty(N + 1)
    for t in range(T):
        if not decided[t]:
            continue
        m = _gather(scores, mask, t, x)
        room = min(k, m)
        edge = _largest(x, m, room)
        for n in range(N):
            if scores[t, n] > edge and mask[t, n]:
                values[t, n] = 1.0 / k
                room -= 1
        n = 0
        while room > 0:
            if scores[t, n] == edge and mask[t, n]:
                values[t, n] = 1.0 / k
                room -= 1
            n += 1


@numba.njit(cache=True, nogil=True)
def top_dropout(scores, mask, decided, k, drop, values):
    """Write 1 / k on the names held after replacing at most ``drop`` of them, row by row."""
    T, N = scores.shape
    held, holding = np.zeros(N, np.bool_), np.empty(min(k, N), np.int64)
    new, new_column = np.empty(min(k + drop, N)), np.empty(min(k + drop, N), np.int64)
    low, low_column = np.empty(min(drop, N)), np.empty(min(drop, N), np.int64)
    owned = 0
    for t in range(T):
        if not decided[t]:
            continue
        room = k - owned
        a = b = 0
        edge = -np.inf if drop + room > 0 else np.inf
        for n in range(N):
            s = scores[t, n]
            if s > edge and mask[t, n] and not held[n]:
                a = push(new, new_column, a, drop + room, s, n)
                if a == drop + room:
                    edge = new[0]
        _order(new, new_column, a)
        for i in range(owned):  # no score: below all others
            n = holding[i]
            s = scores[t, n]
            b = push(low, low_column, b, drop, -s if mask[t, n] and s == s else np.inf, -n)
        for i in range(a):
            b = push(low, low_column, b, drop, -new[i], -new_column[i])
        sold = 0
        for i in range(b):
            if held[-low_column[i]]:
                held[-low_column[i]] = False
                sold += 1
        kept = 0
        for i in range(owned):
            if held[holding[i]]:
                holding[kept] = holding[i]
                kept += 1
        owned = kept + min(a, sold + room)
        for i in range(kept, owned):
            holding[i] = new_column[i - kept]
            held[holding[i]] = True
        for i in range(owned):
            values[t, holding[i]] = 1.0 / k


@numba.njit(cache=True, nogil=True)
def both_ends(scores, mask, decided, known, k, quantile, gross, values):
    """Write +-gross / 2 / m on the best and the worst m names of each decided row; ``k`` 0 asks for the quantile."""
    T, N = scores.shape
    x = np.empty(N + 1)
    for t in range(T):
        if not decided[t]:
            continue
        wanted = k if k > 0 else max(1, int(np.floor(quantile * known[t] + 1e-9)))
        m = min(wanted, known[t] // 2)
        names = _gather(scores, mask, t, x)
        for sign in (1.0, -1.0):
            edge = sign * _largest(x, names, m if sign > 0 else names - m + 1)
            room = m
            for n in range(N):
                if sign * scores[t, n] > edge and mask[t, n]:
                    values[t, n] = sign * gross / 2 / m
                    room -= 1
            n = 0 if sign > 0 else N - 1  # of equal scores the lower column is the better one
            while room > 0:
                if sign * scores[t, n] == edge and mask[t, n]:
                    values[t, n] = sign * gross / 2 / m
                    room -= 1
                n += int(sign)


@numba.njit(cache=True, nogil=True)
def bins(scores, mask, decided, q, out):
    """Write the quantile 0..q-1 (0 = lowest) of each name of a decided row to ``out`` (T, N) int16."""
    T, N = scores.shape
    key, column = np.empty(N), np.empty(N, np.int64)
    for t in range(T):
        if not decided[t]:
            continue
        m = 0
        for n in range(N):
            s = scores[t, n]
            if s == s and mask[t, n]:
                key[m], column[m] = -s, n
                m += 1
        order = np.argsort(key[:m], kind="mergesort")  # stable: of equal scores the lower column comes first
        for p in range(m):
            rank = m - 1 - p
            out[t, column[order[p]]] = max(0, (rank * q - 1) // (m - 1))


@numba.njit(cache=True, nogil=True)
def alike(of, b, decided, values):
    """Write 1 / count on the names of quantile ``b``."""
    T, N = of.shape
    for t in range(T):
        if not decided[t]:
            continue
        m = 0
        for n in range(N):
            m += of[t, n] == b
        for n in range(N):
            if of[t, n] == b:
                values[t, n] = 1.0 / m


@numba.njit(cache=True, nogil=True)
def _average_ranks(x, m, order, out):
    """Write ranks 1..m of ``x[:m]``, ties sharing their mean rank."""
    i = 0
    while i < m:
        j = i + 1
        while j < m and x[order[j]] == x[order[i]]:
            j += 1
        for p in range(i, j):
            out[order[p]] = 0.5 * (i + 1 + j)
        i = j


@numba.njit(cache=True, nogil=True)
def proportional(scores, mask, decided, ranked, long_only, gross, values):
    """Write weights proportional to the demeaned score (or average rank) of each decided row."""
    T, N = scores.shape
    x, column, rank = np.empty(N), np.empty(N, np.int64), np.empty(N)
    for t in range(T):
        if not decided[t]:
            continue
        m = 0
        largest = 0.0
        for n in range(N):
            s = scores[t, n]
            if s == s and mask[t, n]:
                x[m], column[m] = s, n
                largest = max(largest, abs(s))
                m += 1
        if ranked:
            _average_ranks(x, m, np.argsort(x[:m], kind="mergesort"), rank)
            x[:m] = rank[:m]
            largest = float(m)
        mean = 0.0
        for i in range(m):  # divided by the largest first: sums of scores near 1e308 would overflow
            x[i] /= largest
            mean += x[i] / m
        total = 0.0
        for i in range(m):
            x[i] = max(x[i] - mean, 0.0) if long_only else x[i] - mean
            total += abs(x[i])
        for i in range(m):
            values[t, column[i]] = gross * x[i] / total


@numba.njit(cache=True, nogil=True)
def volatilities(returns, window, least):
    """Return (T, N) standard deviations (divided by the count) of the last ``window`` rows' known returns.

    Each row is summed afresh: a running sum would carry what left the window long ago.
    """
    T, N = returns.shape
    out = np.full((T, N), np.nan)
    count, total, square = np.empty(N), np.empty(N), np.empty(N)
    for t in range(T):
        count[:], total[:], square[:] = 0.0, 0.0, 0.0
        for s in range(max(0, t - window + 1), t + 1):
            for n in range(N):
                x = returns[s, n]
                known = x == x
                x = x if known else 0.0
                count[n] += known
                total[n] += x
                square[n] += x * x
        for n in range(N):
            if count[n] >= least:
                mean = total[n] / count[n]
                out[t, n] = np.sqrt(max(square[n] / count[n] - mean * mean, 0.0))
    return out
