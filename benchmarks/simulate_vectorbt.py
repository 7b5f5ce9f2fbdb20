"""The peer half of ``simulate.py``: vectorbt's ``Portfolio.from_orders``, in the environment that has vectorbt.

Usage: ``python simulate_vectorbt.py FOLDER``. FOLDER holds close.npy and weights.npy, (T, N): row t of the weights is
decided at close t. Every line on stdin is a request, a JSON object ``{"first", "last", "capital", "rate", "engine"}``:
bars first..last-1 trade at their closes on the weights of the bar before, valued at the closes of the bar before (so
that the decision does not read the price it fills at). Answered by one JSON line: seconds of simulation and equity
curve, the same with the holdings at each close, final wealth, orders, peak memory.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import vectorbt as vbt


def peak_mb() -> float:
    """Peak resident memory since exec (``ru_maxrss`` would count the parent's)."""
    text = Path("/proc/self/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    folder = Path(sys.argv[1])
    close, weights = (np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("close", "weights"))
    print(json.dumps({"version": vbt.__version__}), flush=True)
    for line in sys.stdin:
        ask = json.loads(line)
        first, last = ask["first"], ask["last"]
        price = pd.DataFrame(close[first - 1 : last])
        size = np.vstack([np.full((1, close.shape[1]), np.nan), weights[first - 1 : last - 1]])
        size[np.isnan(price.to_numpy())] = np.nan
        start = time.perf_counter()
        book = vbt.Portfolio.from_orders(
            price, size=size, size_type="targetpercent", fees=ask["rate"], init_cash=ask["capital"], cash_sharing=True,
            group_by=True, call_seq="auto", val_price=-np.inf, freq="1D", engine=ask["engine"],
        )  # fmt: skip
        equity = book.value()
        seconds = time.perf_counter() - start
        book.assets()
        held = time.perf_counter() - start
        np.save(folder / "vectorbt.npy", np.asarray(equity, np.float64).ravel())
        out = {"seconds": seconds, "held": held, "wealth": float(np.asarray(equity)[-1]), "orders": len(book.orders)}
        print(json.dumps({**out, "peak_mb": peak_mb()}), flush=True)


if __name__ == "__main__":
    main()
