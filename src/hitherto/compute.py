"""Device and threads: probe what is there, choose, record it beside the results.

Small recurrent nets are trained by whole worker threads (one piece of a batch each) and not by OpenMP inside each
operation: OpenMP workers meet at a barrier per time step, and spin there when the machine is busy.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import metadata
from typing import Any, TypeVar

from hitherto.errors import ConfigError

Item = TypeVar("Item")
Result = TypeVar("Result")
PACKAGES = ("numpy", "scipy", "polars", "pyarrow", "pandas", "numba", "torch", "safetensors", "scikit-learn")
PRECISIONS = ("float32", "tf32", "bf16")


def set_omp_passive() -> None:
    """Let idle OpenMP workers sleep instead of spin, unless the user chose; call before torch is first imported."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@functools.cache
def keep_memory() -> bool:
    """Let glibc keep freed memory for the next step instead of giving it back; return whether that was said.

    A step of a two-layer LSTM frees and takes about 100 MB; handed back each time, every page is mapped and cleared
    anew: 40 % of the time of a fit on one thread. Nothing is said elsewhere than on glibc, or where the user has set
    MALLOC_ variables or GLIBC_TUNABLES.
    """
    if platform.libc_ver()[0] != "glibc" or any(k.startswith(("MALLOC_", "GLIBC_TUNABLES")) for k in os.environ):
        return False
    import ctypes

    mallopt = ctypes.CDLL(None).mallopt
    trim, pad, own_map = -1, -2, -3  # M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD of malloc.h
    return all([mallopt(trim, 512 << 20), mallopt(pad, 64 << 20), mallopt(own_map, 32 << 20)])


def cores() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def choose_threads(threads: int | str = "auto") -> int:
    """Return the worker threads to use: ``"auto"`` is every core up to 8 (a batch has about eight pieces)."""
    if threads == "auto":
        return min(cores(), 8)
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ConfigError(f"threads must be 'auto' or a whole number >= 1, got {threads!r}")
    return threads


def choose_device(device: str = "auto") -> str:
    """Return the torch device: ``"auto"`` is cuda, then mps, then cpu; one that is absent raises ConfigError."""
    import torch

    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if present[name])
    if not present.get(device.split(":")[0], False):
        here = ", ".join(name for name, there in present.items() if there)
        raise ConfigError(f'device {device!r} was asked for; here there is {here}. Use device = "auto".')
    return device


def choose_precision(precision: str, device: str) -> str:
    """Return ``precision`` when this device proves able to train in it; ConfigError with the reason otherwise.

    "float32"; "tf32": products of float32 numbers with 10-bit mantissas (CUDA, compute capability 8 and later); "bf16":
    forward and backward in bfloat16 under autocast, weights and sums in float32. The probe takes one step of a small
    LSTM and compares its gradients with those in float32: at most 5 % apart.
    """
    import torch

    if precision not in PRECISIONS:
        raise ConfigError(f"precision {precision!r} is not known; use one of {', '.join(PRECISIONS)}.")
    if precision == "float32":
        return precision
    try:
        if precision == "tf32" and not (device.startswith("cuda") and torch.cuda.get_device_capability(device)[0] >= 8):
            raise RuntimeError("it needs a CUDA device of compute capability 8 or later")
        exact, rough = (_probe_gradient(p, device) for p in ("float32", precision))
        apart = float((exact - rough).norm() / exact.norm())
        if not apart < 0.05:
            raise RuntimeError(f"its gradients are {100 * apart:.1f} % off")
    except RuntimeError as error:
        reason = str(error).splitlines()[0].strip()
        raise ConfigError(
            f"precision {precision!r} on {device}: the probe failed ({reason}). Use 'float32'."
        ) from error
    return precision


def _probe_gradient(precision: str, device: str) -> Any:
    import torch

    rng = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        lstm = torch.nn.LSTM(8, 16)
    with torch.no_grad():
        for p in lstm.parameters():
            p.uniform_(-0.25, 0.25, generator=rng)
    x = torch.randn(6, 32, 8, generator=rng).to(device)
    lstm = lstm.to(device)
    with torch.enable_grad(), Precision(precision, device) as inside, inside():
        loss = lstm(x)[0][-1].float().square().mean()
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(lstm.parameters()))]).cpu()


class Precision:
    """A context in which products have ``precision``; ``inside()`` is to be entered around each forward pass.

    torch lets cuDNN use TF32 unless told otherwise: here it is off unless "tf32" was asked for. The settings of the
    process return at the end.
    """

    def __init__(self, precision: str, device: str) -> None:
        self.precision, self.kind = precision, device.split(":")[0]

    def __enter__(self) -> Callable[[], contextlib.AbstractContextManager[Any]]:
        import torch

        if self.kind == "cuda":
            self._before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
            on = self.precision == "tf32"
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = on
        if self.precision == "bf16":
            return lambda: torch.autocast(self.kind, dtype=torch.bfloat16)
        return contextlib.nullcontext

    def __exit__(self, *_: object) -> None:
        import torch

        if self.kind == "cuda":
            torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = self._before


class Workers:
    """A context of ``threads`` threads, each running torch single-threaded; torch's own setting returns at the end.

    The work is cut the same way whatever the number of threads and results are collected in order, so that the
    number of threads changes the speed and no bit of the results.
    """

    def __init__(self, threads: int) -> None:
        self.threads = choose_threads(threads)
        self._pool: ThreadPoolExecutor | None = None
        self._before = 0

    def __enter__(self) -> Workers:
        import torch

        keep_memory()
        self._before = torch.get_num_threads()
        torch.set_num_threads(1)
        if self.threads > 1:  # a new thread has its own OpenMP setting
            self._pool = ThreadPoolExecutor(self.threads, "hitherto", torch.set_num_threads, (1,))
        return self

    def __exit__(self, *_: object) -> None:
        import torch

        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
        torch.set_num_threads(self._before)

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Start ``function`` on every item now (with one thread: as the results are asked for); yield in order."""
        if self._pool is None:
            return map(function, items)
        return _results([self._pool.submit(function, item) for item in items])


def _results(futures: list[Future[Result]]) -> Iterator[Result]:
    for future in futures:
        yield future.result()


def measure_lstm_step(
    threads: int, *, hidden: int = 64, lookback: int = 30, width: int = 20, batch: int = 512
) -> float:
    """Return the median milliseconds of one LSTM training step (forward, backward, update) on ``threads`` workers."""
    import torch

    rng = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):  # torch draws the first weights from its global state
        lstm = torch.nn.LSTM(width, hidden)
    parameters = list(lstm.parameters())
    with torch.no_grad():
        for p in parameters:
            p.uniform_(-0.1, 0.1, generator=rng)
    x = torch.randn(lookback, batch, width, generator=rng)

    def gradient(piece: Any) -> Any:
        return torch.autograd.grad(lstm(piece)[0][-1].square().sum() / batch, parameters)

    with torch.enable_grad(), Workers(threads) as workers:
        taken = []
        for _ in range(9):
            begin = time.perf_counter()
            parts = list(workers.map(gradient, x.split(128, dim=1)))
            with torch.no_grad():
                for p, *pieces in zip(parameters, *parts, strict=True):
                    p -= 1e-3 * torch.stack(pieces).sum(0)
            taken.append(time.perf_counter() - begin)
    return statistics.median(taken[2:]) * 1e3


def probe() -> dict[str, Any]:
    """Return what this machine offers: device, cores, threads chosen by "auto", processor capability, OpenMP wait."""
    import torch

    return {
        "device": choose_device("auto"),
        "cores": cores(),
        "threads": choose_threads("auto"),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "mkldnn": torch.backends.mkldnn.is_available(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", "not set"),
    }


def record(device: str = "cpu", threads: int = 1, precision: str = "float32") -> dict[str, Any]:
    """Return what a run notes so that its bits can be repeated: versions, platform, device and threads."""
    versions = {"python": platform.python_version()}
    for name in ("hitherto", *PACKAGES, "lightgbm", "plotly"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    capability = sys.modules["torch"].backends.cpu.get_cpu_capability() if "torch" in sys.modules else "not asked"
    return {
        "versions": versions,
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu_capability": capability,
        "device": device,
        "threads": threads,
        "precision": precision,
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", "not set"),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS", "not set"),
    }
