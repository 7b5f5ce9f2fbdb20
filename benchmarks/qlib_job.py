"""Qlib's README job: a data set of 14 factors from daily bars, 800 stocks, 2007-2020: Parquet on disk to a matrix.

Qlib's README does not say which 14; these are the first 14 of the 20 Alpha158 columns that its own neural studies
take. Its table (its machine, one core): 147.0 s without caches, 47.6 s with the expression cache, 7.4 s with both;
HDF5 184.4, MySQL 365.3. Those seconds are not ours to divide by; they say what the job is. The bars here are random (no
such data set is free to ship), long, sorted by symbol and date, zstd; warm means the file is in the page cache and the
kernels are compiled. Read = file to validated bars; pivot = bars to the dense panel; compute = 14 factors.
"""

from __future__ import annotations

from harness import emit, parse_args  # isort: skip  (pins threads first)

import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from hitherto.features.alpha158 import alpha158
from hitherto.features.library import build
from hitherto.market import bars as reader
from hitherto.panel import from_bars

FACTORS = ("RESI5", "WVMA5", "RSQR5", "KLEN", "RSQR10", "CORR5", "CORD5", "CORR10", "ROC60", "RESI10", "VSTD5",
           "RSQR60", "CORR60", "WVMA60")  # fmt: skip


def write(path: Path, T: int, N: int) -> None:
    """Write T days of N names of random bars: prices in cents as float32, volume in lots, 2 % of the bars missing."""
    rng = np.random.default_rng(0)
    close = 20 * np.exp(np.cumsum(rng.normal(0, 0.01, (N, T)), axis=1))
    open_ = close * np.exp(rng.normal(0, 0.004, (N, T)))
    high, low = np.maximum(open_, close) * 1.004, np.minimum(open_, close) * 0.996
    days = np.busday_offset("2007-01-04", np.arange(T), roll="forward")
    here = rng.random((N, T)).ravel() > 0.02
    columns = {"open": open_, "high": high, "low": low, "close": close}
    prices = {k: np.round(np.maximum(v, 0.02), 2).astype(np.float32).ravel()[here] for k, v in columns.items()}
    volume = (100 * np.round(np.exp(rng.normal(9, 0.8, (N, T))))).astype(np.int64).ravel()[here]
    symbols = pl.Series([f"SH{600000 + n}" for n in range(N)]).gather(np.repeat(np.arange(N), T)[here])
    pl.DataFrame({"symbol": symbols, "date": np.tile(days, N)[here], **prices, "volume": volume}).write_parquet(path)


def job(path: Path) -> tuple[list[float], int]:
    """Return the seconds of read, pivot and compute, and the bytes of the matrix."""
    marks = [time.perf_counter()]
    bars = reader.read(path)
    marks.append(time.perf_counter())
    panel = from_bars(bars)
    marks.append(time.perf_counter())
    texts = alpha158(vwap="typical")
    values = build(panel, {k: texts[k] for k in FACTORS}).values
    marks.append(time.perf_counter())
    return list(np.diff(marks)), values.nbytes


def main() -> None:
    quick = parse_args().quick
    T, N, n = (700, 200, 3) if quick else (3400, 800, 5)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bars.parquet"
        write(path, T, N)
        size = path.stat().st_size / 1e6
        job(path)
        runs = [job(path) for _ in range(n)]
    name = f"qlib job: 14 factors, {N} stocks x {T} days, {size:.0f} MB of Parquet"
    emit(f"{name}, 1 thread, all", statistics.median(sum(s) for s, _ in runs), None, "s", n)
    for k, part in enumerate(("read and check", "pivot", "compute")):
        emit(f"{name}, {part}", statistics.median(s[k] for s, _ in runs), None, "s", n)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    emit(f"{name}, peak memory (the matrix is {runs[0][1] / 1e6:.0f} MB)", peak, None, "MB", n)


if __name__ == "__main__":
    main()
