"""The peer half of ``windows.py``: Qlib's TSDataSampler, in the environment that has pyqlib.

Usage: ``python windows_qlib.py PANEL.npy LOOKBACK``. PANEL is (T, N, F) float32. Every line on stdin is a request,
``one`` or ``batch`` and how many random samples, answered by one JSON line with the seconds they took; ``batch`` asks
for 800 samples at once.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import pandas as pd
import qlib
from qlib.data.dataset import TSDataSampler

AT_ONCE = 800


def sampler(panel: np.ndarray, lookback: int) -> TSDataSampler:
    """Every listing of every day from the first full window on."""
    T, N, F = panel.shape
    days = pd.bdate_range("2000-01-03", periods=T)
    rows = pd.MultiIndex.from_product([days, [f"SH{600000 + n}" for n in range(N)]], names=["datetime", "instrument"])
    frame = pd.DataFrame(panel.reshape(-1, F), index=rows, columns=[f"f{i}" for i in range(F)])
    return TSDataSampler(frame, days[lookback - 1], days[-1], lookback)


def main() -> None:
    panel = np.load(sys.argv[1], allow_pickle=False)
    start = time.perf_counter()
    samples = sampler(panel, int(sys.argv[2]))
    built = time.perf_counter() - start
    print(json.dumps({"version": qlib.__version__, "built": built, "samples": len(samples)}), flush=True)
    rng = np.random.default_rng(0)
    for line in sys.stdin:
        what, count = line.split()
        wanted = rng.integers(0, len(samples), int(count))
        start = time.perf_counter()
        if what == "one":
            for i in wanted:
                samples[i]
        else:
            for a in range(0, len(wanted), AT_ONCE):
                samples[wanted[a : a + AT_ONCE]]
        print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)


if __name__ == "__main__":
    main()
