"""Which way to lay features out: time-major (T, N, F) or asset-major (N, T, F), for (L, B, F) batches.

Ours: one ``np.take`` per date from (T, N, F) straight into the (L, B, F) batch, as windows.py does. Peer: gather whole
windows from (N, T, F), one contiguous run each, and turn them to (L, B, F). "date" batches hold whole dates in random
order (70 % of the names, as a universe does), "random" batches any samples. "batch-first" leaves the peer's windows
unturned (B, L, F): the best that asset-major could do if a model took them so. Torch's recurrent nets want (L, B, F).
"""

from __future__ import annotations

from functools import partial

from harness import alternate, emit, parse_args  # isort: skip  (pins threads first)

import numpy as np

T, F, SIZE = 1000, 20, 1024


def time_major_dates(values, days, names, L, x):
    for batch in days:
        a = 0
        for t in batch:
            n = names[t]
            np.take(values[t - L + 1 : t + 1], n, axis=1, out=x[:, a : a + len(n)], mode="clip")
            a += len(n)


def asset_major_dates(windows, days, names, L, x, w, turn):
    for batch in days:
        a = 0
        for t in batch:
            n = names[t]
            w[a : a + len(n)] = windows[n, t - L + 1]
            a += len(n)
        if turn:
            x[:, :a] = w[:a].transpose(1, 0, 2)


def time_major_random(flat, N, samples, L, x):
    for t, n in samples:
        row = (t - L + 1) * N + n + np.arange(L)[:, None] * N
        np.take(flat, row, axis=0, out=x[:, : len(t)], mode="clip")


def asset_major_random(windows, samples, L, x, w, turn):
    for t, n in samples:
        w[: len(t)] = windows[n, t - L + 1]
        if turn:
            x[:, : len(t)] = w[: len(t)].transpose(1, 0, 2)


def batches_of_dates(rng, names, L, dates):
    out, group, count = [], [], 0
    for t in rng.permutation(np.arange(L - 1, T))[:dates]:
        group.append(int(t))
        count += len(names[t])
        if count >= SIZE:
            out.append(group)
            group, count = [], 0
    return out


def measure(N: int, L: int, dates: int, n: int) -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((T, N, F), dtype=np.float32)
    other = np.ascontiguousarray(values.transpose(1, 0, 2))
    windows = np.lib.stride_tricks.sliding_window_view(other, L, axis=1).transpose(0, 1, 3, 2)
    names = [np.flatnonzero(rng.random(N) < 0.7) for _ in range(T)]
    days = batches_of_dates(rng, names, L, dates)
    widest = max(sum(len(names[t]) for t in batch) for batch in days)
    x, w = np.empty((L, widest, F), np.float32), np.empty((widest, L, F), np.float32)
    samples = [(rng.integers(L - 1, T, SIZE), rng.integers(0, N, SIZE)) for _ in days]
    xr, wr = np.empty((L, SIZE, F), np.float32), np.empty((SIZE, L, F), np.float32)

    a = np.empty_like(x)
    time_major_dates(values, days[:1], names, L, a)
    asset_major_dates(windows, days[:1], names, L, x, w, True)
    filled = sum(len(names[t]) for t in days[0])
    if not np.array_equal(a[:, :filled], x[:, :filled]):
        raise SystemExit("layout: the two gathers disagree")

    per = 1e3 / len(days)
    for turn, tag in ((True, "turned to (L, B, F)"), (False, "batch-first")):
        ours, peer = alternate(
            partial(time_major_dates, values, days, names, L, x),
            partial(asset_major_dates, windows, days, names, L, x, w, turn), n,
        )  # fmt: skip
        emit(f"layout: date batch N={N} L={L}, asset-major {tag}", ours * per, peer * per, "ms", n)
        ours, peer = alternate(
            partial(time_major_random, values.reshape(-1, F), N, samples, L, xr),
            partial(asset_major_random, windows, samples, L, xr, wr, turn), n,
        )  # fmt: skip
        emit(f"layout: random batch N={N} L={L}, asset-major {tag}", ours * per, peer * per, "ms", n)


def main() -> None:
    quick = parse_args().quick
    for N in (300,) if quick else (300, 800):
        for L in (20,) if quick else (20, 30):
            measure(N, L, dates=100 if quick else 300, n=3 if quick else 9)


if __name__ == "__main__":
    main()
