"""Many fits of one architecture at once, beside the same fits one after another; made data, folds of a walk-forward.

Parts (``--part``, default both):
threads  K = 8 LSTMs (20 inputs, 20 bars, hidden 64), one on each of 2 threads, beside one thread; goal 1.6. Then what
         bounds the gain: CPU seconds alone over side by side (caches, memory); time blocked (the GIL; while a core is
         short it also holds the time in which the GIL's owner had none); time without a core (other processes); time
         in which a thread had no fit left. "gain on free cores" leaves the last two out; it is a lower bound on a busy
         machine. "Python and dispatch": the CPU time of the same calls on a net of one cell, of which the GIL is held
         for a part at most. Linux only (schedstat).
stacked  K = 8 of the same in one stack of tensors on the CPU (batched products do not pay there), and on CUDA K = 32
         in one CUDA graph beside 32 fits by cuDNN, one after another; goal 8. Skipped, saying so, without CUDA.
"""

from __future__ import annotations

from harness import alternate, emit, parser  # isort: skip  (pins threads before torch)

import dataclasses
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from hitherto.models.base import Context
from hitherto.models.net import Standardised
from hitherto.models.recurrent import LSTM
from hitherto.seeds import Stream
from hitherto.train import loop
from hitherto.train.speed import made_windows
from hitherto.train.stacked import Job, fit_stacked
from hitherto.train.together import each_on_one

WIDTH, LOOKBACK, NAMES, BATCH, THREADS = 20, 20, 400, 800, 2
Clocks = dict[str, float]  # seconds of one thread


def folds(count: int, dates: int, model: LSTM) -> list[Job]:
    """One job a fold: ``dates`` dates to train on and a quarter as many to validate, each fold 10 dates later."""
    held = max(2, dates // 4)
    whole = made_windows(dates + held + 10 * (count - 1), NAMES, WIDTH, 1, LOOKBACK)
    rows = np.arange(len(whole.mask))[:, None] - (LOOKBACK - 1)
    jobs = []
    for k in range(count):
        train = whole.with_(mask=whole.mask & (rows >= 10 * k) & (rows < 10 * k + dates))
        valid = whole.with_(mask=whole.mask & (rows >= 10 * k + dates) & (rows < 10 * k + dates + held))
        net = model.make(WIDTH, 1, Stream(k))
        jobs.append(Job(net, train, valid, model, Stream(k), Standardised(model.target)))
    for job in jobs:
        len(job.train), len(job.valid)  # the index is made at the first look
    return jobs


def fit(job: Job, device: str = "cpu") -> None:
    """One fit by the loop."""
    context = Context(device=device)
    loop.fit(job.net, job.train, job.valid, job.settings, rng=job.rng, context=context, target=job.target)


# -- threads -----------------------------------------------------------------------------------------------------------


def clocks() -> Clocks:
    """Wall, CPU, and the time in which this thread could have run but had no core."""
    waited = int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    return {"wall": time.perf_counter(), "cpu": time.thread_time(), "waited": waited}


def clocked(jobs: list[Job], threads: int) -> Clocks:
    """Run the fits; return wall of it all, and the sums over fits of wall, CPU and time without a core."""

    def one(job: Job, _: object) -> Clocks:
        before = clocks()
        fit(job)
        return {name: value - before[name] for name, value in clocks().items()}

    begin = time.perf_counter()
    each = each_on_one(one, jobs, threads)
    return {"all": time.perf_counter() - begin} | {name: sum(e[name] for e in each) for name in each[0]}


def dates_of(quick: bool, hidden: int) -> int:
    """Dates of a fold: more for a small net."""
    return (6 if quick else 30) * (2 if hidden == 16 else 1)


def on_threads(quick: bool, rounds: int) -> None:
    """Print the gain of two threads, and its factors."""
    for hidden, layers in ((64, 1), (64, 2), (16, 1))[: 2 if quick else 3]:
        model = LSTM(hidden=hidden, layers=layers, lookback=LOOKBACK, batch=BATCH, epochs=1)
        jobs = folds(8, dates_of(quick, hidden), model)
        calls = folds(2, dates_of(quick, hidden), dataclasses.replace(model, hidden=1))
        clocked(jobs[:2], THREADS)
        alone, beside = [], []
        for k in range(rounds):
            for threads, out in ((1, alone), (THREADS, beside))[:: 1 if k % 2 else -1]:
                out.append(clocked(jobs, threads))
        name = f"8 LSTMs {layers} x {hidden}, each on one of {THREADS} threads"
        ours, peer = (statistics.median(c["all"] for c in side) for side in (beside, alone))
        emit(f"{name}, peer one after another", ours, peer, "s", rounds)

        def median(values: list[float]) -> float:
            return statistics.median(values)

        memory = median([a["cpu"] / b["cpu"] for a, b in zip(alone, beside, strict=True)])
        blocked = median([max(0.0, 1 - (b["cpu"] + b["waited"]) / b["wall"]) for b in beside])
        before = median([max(0.0, 1 - (a["cpu"] + a["waited"]) / a["wall"]) for a in alone])
        waited = median([b["waited"] / b["wall"] for b in beside])
        idle = median([1 - b["wall"] / (THREADS * b["all"]) for b in beside])
        emit(f"{name}: CPU seconds alone over side by side", memory, None, "of 1", rounds)
        emit(f"{name}: time blocked (GIL); alone {100 * before:.1f}", 100 * blocked, None, "% of a fit", rounds)
        emit(f"{name}: time without a core", 100 * waited, None, "% of a fit", rounds)
        emit(f"{name}: threads without a fit", 100 * idle, None, "% of the time", rounds)
        python = [clocked(calls, 1)["cpu"] / len(calls) / (a["cpu"] / len(jobs)) for a in alone]
        emit(f"{name}: Python and dispatch, at most", 100 * median(python[1:]), None, "% of CPU time", rounds - 1)
        # time without a core is no part of what free cores would see: CPU and blocked time alone
        free = median([b["cpu"] / (b["wall"] - b["waited"]) for b in beside])
        emit(f"{name}: gain on free cores", THREADS * memory * free, None, "x", rounds)


# -- stacked -----------------------------------------------------------------------------------------------------------


def in_one_stack(quick: bool, rounds: int) -> None:
    """Print one stack beside one fit after another."""
    model = LSTM(hidden=64, lookback=LOOKBACK, batch=BATCH, epochs=1)
    jobs = folds(8, 6 if quick else 30, model)
    ours, peer = alternate(lambda: fit_stacked(jobs), lambda: each_on_one(lambda job, _: fit(job), jobs, 1), rounds)
    emit("8 LSTMs 1 x 64 in one stack on the CPU, peer one after another", ours, peer, "s", rounds)
    if not torch.cuda.is_available():
        print(json.dumps({"name": "32 LSTMs in one stack on CUDA", "skipped": "no CUDA device is here"}), flush=True)
        return
    for hidden, layers in ((64, 1), (64, 2), (16, 1)):
        model = LSTM(hidden=hidden, layers=layers, lookback=LOOKBACK, batch=BATCH, epochs=2 if quick else 5)
        jobs = folds(32, 30 if quick else 120, model)

        def stack(jobs: list[Job] = jobs) -> None:
            fit_stacked(jobs, device="cuda")
            torch.cuda.synchronize()

        def in_turn(jobs: list[Job] = jobs) -> None:
            for job in jobs:
                fit(job, "cuda")
            torch.cuda.synchronize()

        ours, peer = alternate(stack, in_turn, rounds)
        emit(f"32 LSTMs {layers} x {hidden} in one stack on CUDA, peer cuDNN in turn", ours, peer, "s", rounds)


def main() -> None:
    """Run the parts asked for."""
    p = parser()
    p.add_argument("--part", choices=("all", "threads", "stacked"), default="all")
    args = p.parse_args()
    rounds = 3 if args.quick else 5
    if args.part in ("all", "threads"):
        on_threads(args.quick, rounds)
    if args.part in ("all", "stacked"):
        in_one_stack(args.quick, rounds)


if __name__ == "__main__":
    main()
