"""Windows a second, 20 bars x 20 features of float32 with holes, NaN fill and affine transform fused, on one thread.

Ours by whole dates in random order and as random samples; the peer, Qlib's TSDataSampler (``--peer-python``), gives
random samples one by one and 800 at once, without fill or transform. Beside them what no gather can beat, a plain copy
of as many bytes, the same without numba, through prefetch, and the memory that an epoch takes. Made data.
"""

from __future__ import annotations

from harness import alone, alternate, emit, parser  # isort: skip  (pins threads first)

import json
import subprocess
import tempfile
import tracemalloc
from collections.abc import Iterable
from pathlib import Path

import numpy as np

import hitherto.windows as module
from hitherto.features.base import Affine, Features
from hitherto.train.prefetch import prefetch
from hitherto.windows import Batch, Missing, Windows

LOOKBACK, WIDTH, NAMES, BATCH, AT_ONCE = 20, 20, 800, 1024, 800


def made(days: int) -> Windows:
    """Windows of ``days`` x 800 names of noise; 2 % of the cells are holes, 2 % of the samples not asked for."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((days, NAMES, WIDTH), dtype=np.float32)
    x[rng.random(x.shape, dtype=np.float32) < 0.02] = np.nan
    affine = Affine(rng.normal(0, 0.1, WIDTH).astype(np.float32), rng.uniform(0.5, 2, WIDTH).astype(np.float32), 3.0)
    features = Features(x, tuple(f"f{i}" for i in range(WIDTH)), (1,) * WIDTH)
    return Windows(features, None, rng.random((days, NAMES)) < 0.98, LOOKBACK, affine, labelled=False)


def consume(batches: Iterable[Batch]) -> None:
    for _ in batches:
        pass


def by_dates(w: Windows, ahead: bool = False) -> None:
    """One epoch of whole dates in random order."""
    batches = w.batches(BATCH, np.random.default_rng(1))
    consume(prefetch(batches) if ahead else batches)


def at_random(w: Windows, samples: np.ndarray) -> None:
    """The samples asked for, 800 at once."""
    for a in range(0, len(samples), AT_ONCE):
        w.gather_samples(samples[a : a + AT_ONCE])


def copies(w: Windows) -> None:
    """A plain copy: the rows of whole dates as they lie, no choice of names, no arithmetic, into batches as large."""
    v, per = w.features.values, -(-BATCH // NAMES)
    last = np.random.default_rng(1).permutation(np.arange(LOOKBACK - 1, len(w.features.values)))
    kept = None
    for a in range(0, len(last), per):
        batch = np.empty((LOOKBACK, per, NAMES, WIDTH), np.float32)
        for k, t in enumerate(last[a : a + per]):
            batch[:, k] = v[t - LOOKBACK + 1 : t + 1]
        kept = batch  # as in a loop over batches, where the last one lives until the next one is there
    assert kept is not None


class Peer:
    """TSDataSampler in its own process: one request a line, one JSON answer a line."""

    def __init__(self, python: str, folder: Path, panel: np.ndarray) -> None:
        np.save(folder / "panel.npy", panel, allow_pickle=False)
        command = [python, str(Path(__file__).with_name("windows_qlib.py")), str(folder / "panel.npy"), str(LOOKBACK)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        print(json.dumps({"peer": "qlib", **self._read()}), flush=True)

    def _read(self) -> dict:
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise SystemExit("windows: the peer's process died; see its message above")

    def ask(self, what: str, count: int) -> None:
        self.process.stdin.write(f"{what} {count}\n")
        self.process.stdin.flush()
        self._read()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=60)


def beside_qlib(w: Windows, python: str, samples: np.ndarray, n: int) -> None:
    """Random samples: ours beside TSDataSampler one by one and batched, each in samples a second."""
    with tempfile.TemporaryDirectory() as folder:
        peer = Peer(python, Path(folder), w.features.values)
        try:
            for what, count in (("one", 10_000), ("batch", 40_000)):
                ours, theirs = alternate(lambda: at_random(w, samples), lambda: peer.ask(what, count), n)  # noqa: B023
                emit(f"random samples, peer TSDataSampler {what}", len(samples) / ours, count / theirs, "samples/s", n)
        finally:
            peer.close()


def memory(w: Windows) -> None:
    """Peak of an epoch above the panel, in batches."""
    largest = 0
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for b in w.batches(BATCH, np.random.default_rng(1)):
            largest = max(largest, b.x.nbytes)
            del b
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    emit("peak memory of an epoch above the panel, in batches", peak / largest, None, "batches", 1)


def main() -> None:
    args = parser().parse_args()
    n, w = (5, made(300)) if args.quick else (9, made(1000))
    samples = np.random.default_rng(2).integers(0, len(w), 40_000 if args.quick else 200_000)
    channel = w.with_(missing=Missing(mask_channel=True))
    size = len(w)
    bound = (len(w.features.values) - LOOKBACK + 1) * NAMES
    ours, plain = alternate(lambda: by_dates(w), lambda: copies(w), n)
    emit("whole dates, peer plain copy", size / ours, bound / plain, "samples/s", n)
    emit("random samples", len(samples) / alone(lambda: at_random(w, samples), n), None, "samples/s", n)
    emit("whole dates with a mask channel", size / alone(lambda: by_dates(channel), n), None, "samples/s", n)
    ahead, without = alternate(lambda: by_dates(w, ahead=True), lambda: by_dates(w), n)
    emit("whole dates through prefetch, peer without", size / ahead, size / without, "samples/s", n)
    emit("index", alone(lambda: len(w.with_()), n), None, "s", n)
    memory(w)
    if args.peer_python:
        beside_qlib(w, args.peer_python, samples, n)
    module._compiled = lambda: None
    emit("whole dates without numba", size / alone(lambda: by_dates(w), n), None, "samples/s", n)
    emit("random samples without numba", len(samples) / alone(lambda: at_random(w, samples), n), None, "samples/s", n)
    memory(w)


if __name__ == "__main__":
    main()
