"""The bench harness, imported first: pins threads before torch, alternates ours and the peer, prints JSON lines."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

PINS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning workers slow a small LSTM step up to 40x on a busy box
for _name in PINS:
    os.environ.setdefault(_name, "1")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def timed(f: Callable[[], object]) -> float:
    """Return the wall seconds of one call."""
    start = time.perf_counter()
    f()
    return time.perf_counter() - start


def alternate(ours: Callable[[], object], peer: Callable[[], object], n: int) -> tuple[float, float]:
    """Return the median wall seconds of both over ``n`` rounds, alternating, after one warm-up call of each.

    The order within a round flips each time, so that neither always runs on the other's warm cache.
    """
    ours()
    peer()
    a: list[float] = []
    b: list[float] = []
    for k in range(n):
        for f, out in ((ours, a), (peer, b)) if k % 2 == 0 else ((peer, b), (ours, a)):
            out.append(timed(f))
    return statistics.median(a), statistics.median(b)


def alone(ours: Callable[[], object], n: int) -> float:
    """Return the median wall seconds of ``n`` calls after a warm-up, for what has no peer."""
    ours()
    return statistics.median(timed(ours) for _ in range(n))


def emit(name: str, ours: float, peer: float | None, unit: str, n: int) -> None:
    """Print one JSON line; ``ratio`` = peer / ours for times ("s", "ms", "us"), ours / peer for rates ("x/s")."""
    ratio = None
    if peer is not None and ours > 0 and peer > 0:
        ratio = ours / peer if unit.endswith("/s") else peer / ours
    line = {"name": name, "ours": ours, "peer": peer, "ratio": ratio, "unit": unit, "n": n}
    print(json.dumps({k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in line.items()}), flush=True)


def parser() -> argparse.ArgumentParser:
    """Return the parser with the two common options, for scripts that add their own."""
    # the caller's own docstring is its --help text
    doc = getattr(sys.modules.get("__main__"), "__doc__", None)
    out = argparse.ArgumentParser(description=doc)
    out.add_argument("--quick", action="store_true", help="smaller sizes and fewer rounds, under 60 s")
    out.add_argument("--peer-python", metavar="PATH", default=None, help="interpreter of the peer's own environment")
    return out


def parse_args() -> argparse.Namespace:
    """Return the parsed common options: ``quick`` (bool) and ``peer_python`` (str or None)."""
    return parser().parse_args()
