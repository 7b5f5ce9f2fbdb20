"""Compiled recursions over all rows until t, row by row, with a state that is saved and replayed bit for bit."""

from __future__ import annotations

import numpy as np

from hitherto.features.cache import kernel

NAN, INF = np.nan, np.inf
DECAYS = ("mean", "var", "std")
EXPANDING = ("sum", "count", "mean", "var", "std", "max", "min")


@kernel
def decays(x, alpha, mean, square, weight, weight2, count, ops, out):
    """Exponential mean, variance and deviation of every row; the five (N,) arrays are the state, updated in place."""
    keep = 1.0 - alpha
    for t in range(x.shape[0]):
        for j in range(x.shape[1]):
            v = x[t, j]
            known = abs(v) < INF
            w = keep * weight[j] + (1.0 if known else 0.0)
            distance = v - mean[j] if w > 1.0 else 0.0
            new = mean[j] + distance / w if w > 1.0 else v
            square[j] = keep * square[j] + (distance * (v - new) if known else 0.0)
            mean[j] = new if known else mean[j]
            weight[j] = w
            weight2[j] = keep * keep * weight2[j] + (1.0 if known else 0.0)
            count[j] += 1.0 if known else 0.0
            variance = square[j] / w * (w * w / (w * w - weight2[j])) if count[j] > 1.0 else NAN
            for s in range(len(ops)):
                r = mean[j] if ops[s] == 0 else variance if ops[s] == 1 else np.sqrt(variance)
                out[s, t, j] = r if abs(r) < INF else NAN


@kernel
def expanding(x, count, total, mean, square, high, low, ops, out):
    """Sum, count, mean, variance, deviation and extremes of all rows until t (Welford 1962); six (N,) state arrays."""
    for t in range(x.shape[0]):
        for j in range(x.shape[1]):
            v = x[t, j]
            if abs(v) < INF:
                count[j] += 1.0
                total[j] += v
                distance = v - mean[j]
                mean[j] = mean[j] + distance / count[j] if count[j] > 1.0 else v
                square[j] += distance * (v - mean[j]) if count[j] > 1.0 else 0.0
                high[j] = max(high[j], v + 0.0)
                low[j] = min(low[j], v + 0.0)
            n = count[j]
            for s in range(len(ops)):
                op = ops[s]
                if op == 0:
                    r = total[j]
                elif op == 1:
                    r = n
                elif op == 2:
                    r = mean[j]
                elif op == 5:
                    r = high[j]
                elif op == 6:
                    r = low[j]
                else:
                    r = square[j] / (n - 1.0) if n > 1.0 else NAN
                    r = np.sqrt(r) if op == 4 else r
                out[s, t, j] = r if (abs(r) < INF) & ((n > 0.0) | (op == 1)) else NAN
