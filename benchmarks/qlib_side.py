"""The peer half of ``alpha158.py``: runs pyqlib's own Alpha158 expressions, in the environment that has pyqlib.

Usage: ``python qlib_side.py FOLDER [KEEP]``. FOLDER holds open, high, low, close, volume, vwap as (T, N) float32 .npy
files, NaN = no bar. Every line on stdin is a request, answered by one JSON line: ``values`` writes FOLDER/qlib.npy, (F,
T, N) float32; ``time`` computes everything once without keeping it and answers the seconds. KEEP (a number) limits the
stocks. Disk caches are off, one process.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

FIELDS = ("open", "high", "low", "close", "volume", "vwap")
BLOCK = 50  # stocks per call: pandas holds several copies
WHAT = {"kbar": {}, "price": {"windows": [0], "feature": ["OPEN", "HIGH", "LOW", "VWAP"]}, "rolling": {}}


def dump(folder: Path, root: Path, keep: int | None) -> tuple[pd.DatetimeIndex, list[str], list[int]]:
    """Write Qlib's folder format; return calendar, names and the first row of each stock."""
    data = {f: np.load(folder / f"{f}.npy", allow_pickle=False)[:, :keep] for f in FIELDS}
    T, N = data["close"].shape
    days = pd.bdate_range("2000-01-03", periods=T)
    text = [f"{d:%Y-%m-%d}" for d in days]
    (root / "calendars").mkdir(parents=True)
    (root / "instruments").mkdir()
    (root / "calendars" / "day.txt").write_text("\n".join(text) + "\n")
    names, lines, starts = [f"SH{600000 + n}" for n in range(N)], [], []
    for n, name in enumerate(names):
        rows = np.flatnonzero(~np.isnan(data["close"][:, n]))
        a, b = (rows[0], rows[-1]) if len(rows) else (0, T - 1)
        starts.append(int(a))
        lines.append(f"{name}\t{text[a]}\t{text[b]}\n")
        here = root / "features" / name.lower()
        here.mkdir(parents=True)
        for field, values in data.items():
            np.concatenate([[a], values[a : b + 1, n]]).astype("<f4").tofile(here / f"{field}.day.bin")
    (root / "instruments" / "all.txt").write_text("".join(lines))
    return days, names, starts


def main() -> None:
    folder, keep = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None
    with tempfile.TemporaryDirectory() as temporary:
        days, names, _ = dump(folder, Path(temporary), keep)
        import qlib
        from qlib.contrib.data.loader import Alpha158DL
        from qlib.data import D
        from qlib.data.cache import H

        qlib.init(
            provider_uri=temporary, expression_cache=None, dataset_cache=None, kernels=1, logging_level=logging.ERROR
        )
        texts, columns = Alpha158DL.get_feature_config(WHAT)
        print(json.dumps({"version": qlib.__version__, "names": columns, "texts": texts}), flush=True)

        def blocks():
            for a in range(0, len(names), BLOCK):
                H.clear()
                yield a, D.features(names[a : a + BLOCK], texts, freq="day")

        for line in sys.stdin:
            start = time.perf_counter()
            if line.strip() == "time":
                for _ in blocks():
                    pass
            else:
                shape = (len(texts), len(days), len(names))
                out = np.lib.format.open_memmap(folder / "qlib.npy", "w+", np.float32, shape)
                out[:] = np.nan
                place = {name: n for n, name in enumerate(names)}
                for _, frame in blocks():
                    n = frame.index.get_level_values("instrument").map(place).to_numpy()
                    t = days.get_indexer(frame.index.get_level_values("datetime"))
                    out[:, t, n] = frame.to_numpy(np.float32).T
                out.flush()
            print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)


if __name__ == "__main__":
    main()
