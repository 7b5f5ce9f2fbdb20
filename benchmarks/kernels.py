"""Nanoseconds per value of each kernel family: 3,500 days x 800 names, windows 5 10 20 30 60, one thread."""

import sys

from harness import alone, emit, parse_args  # first: pins the threads

# isort: split
import numpy as np

from hitherto.features import kernels

WINDOWS = (5, 10, 20, 30, 60)
CHUNK = 250  # rows per call, as the plan cuts them


def chunked(f, *series):
    """Call f on chunks of rows, each with its warm-up, and drop the results."""
    warm = WINDOWS[-1] - 1
    cuts = []
    for a in range(0, len(series[0]), CHUNK):
        first = max(a - warm, 0)
        cuts.append(([x[first : a + CHUNK] for x in series], a - first))

    def run():
        for parts, start in cuts:
            f(*parts, start)

    return run


def main():
    quick = parse_args().quick
    T, N, rounds = (1000, 800, 3) if quick else (3500, 800, 5)
    rng = np.random.default_rng(0)
    price = 10 * np.exp(np.cumsum(rng.normal(0, 0.02, (T, N)), axis=0))
    volume = np.exp(rng.normal(10, 1, (T, N)))
    volume[rng.random((T, N)) < 0.02] = np.nan  # suspended
    price[: T // 3, : N // 10] = np.nan  # listed late
    up = np.where(rng.random((T, N)) < 0.5, 1.0, 0.0)

    # (family, kernel calls, series, values per cell, how many such scans alpha158 asks for)
    families = [
        ("mean", lambda x, a: kernels.moments(x, a, WINDOWS, ("mean",)), (up,), 1, 2),
        ("sum", lambda x, a: kernels.moments(x, a, WINDOWS, ("sum",)), (up,), 1, 6),
        ("mean std", lambda x, a: kernels.moments(x, a, WINDOWS, ("mean", "std")), (volume,), 2, 2),
        ("mean std slope resi rsquare",
         lambda x, a: kernels.moments(x, a, WINDOWS, ("mean", "std", "slope", "resi", "rsquare")), (price,), 5, 1),
        ("corr", lambda x, y, a: kernels.pairs(x, y, a, WINDOWS, ("corr",)), (price, volume), 1, 2),
        ("max idxmax", lambda x, a: kernels.orders(x, a, WINDOWS, ("max", "idxmax")), (price,), 2, 2),
        ("rank", lambda x, a: kernels.orders(x, a, WINDOWS, ("rank",)), (price,), 1, 1),
        ("quantile .2 .8", lambda x, a: kernels.quantiles(x, a, WINDOWS, (0.2, 0.8)), (price,), 2, 1),
        ("skew kurt", lambda x, a: kernels.moments(x, a, WINDOWS, ("skew", "kurt")), (price,), 2, 0),
        ("wma", lambda x, a: kernels.moments(x, a, WINDOWS, ("wma",)), (price,), 1, 0),
        ("mad", lambda x, a: kernels.mads(x, a, WINDOWS), (price,), 1, 0),
    ]  # fmt: skip
    total = 0.0
    for name, f, series, values, times in families:
        seconds = alone(chunked(f, *series), rounds)
        emit(name, seconds / (T * N * len(WINDOWS) * values) * 1e9, None, "ns/value", rounds)
        total += times * seconds
    emit("all window scans of alpha158, per value of its 158", total / (T * N * 158) * 1e9, None, "ns/value", rounds)
    emit("ema", alone(lambda: kernels.ema(price, 0.1), rounds) / (T * N) * 1e9, None, "ns/value", rounds)


if __name__ == "__main__":
    sys.exit(main())
