"""LSTM training, one epoch with all in it (windows, target, clipping, Adam): ours, beside others and beside nothing.

Parts (``--part``, default all of them):
overhead  the loop beside the bare forward and backward passes of the same pieces, and what is left, by name;
usual     peers "DataLoader" (a Dataset of one window per item, nn.LSTM, torch.optim.Adam) and "whole batch" (the same
          loop fed by our own gather, which shows what pieces and worker threads alone bring); F=20, L=30, H=64, O=2;
qlib      pyqlib's pytorch_lstm_ts with its TSDataSampler, at its settings (F=20, L=20, H=64, 2 layers, batch 800) on
          the same data, thread for thread; needs ``--peer-python``, an environment with pyqlib and torch;
keras     Keras 3 on torch, train_on_batch without a loader against our whole loop (F=6, L=60, H=64, 2 layers, batch
          800); needs ``--keras-python``, an environment with keras and torch.
One thread: CPU seconds (a busy machine changes them less) and wall; two: wall.
"""

from __future__ import annotations

from harness import PINS, alternate, emit, parser  # isort: skip  (pins threads before torch)

import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from hitherto.compute import Workers
from hitherto.models.base import Context
from hitherto.models.net import Standardised
from hitherto.models.recurrent import LSTM
from hitherto.seeds import Stream
from hitherto.train import losses, optimiser
from hitherto.train.pieces import Cutter, inputs
from hitherto.train.speed import made_windows
from hitherto.windows import Windows

HERE = Path(__file__).resolve().parent
LOOKBACK, WIDTH, HIDDEN, OUTPUTS, BATCH, NAMES = 30, 20, 64, 2, 800, 300
Taken = dict[str, float]  # wall, cpu (seconds), samples


def without(windows: Windows) -> Windows:
    """Return the windows without a sample."""
    return windows.with_(mask=np.zeros_like(windows.mask))


def timed(call: Callable[[], object], samples: int) -> Taken:
    """Return wall and CPU seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "samples": samples}


def in_turn(calls: dict[str, Callable[[], Taken]], n: int) -> dict[str, list[Taken]]:
    """Return ``n`` rounds of every call after one warm-up, the order turned round each time."""
    for call in calls.values():
        call()
    out: dict[str, list[Taken]] = {name: [] for name in calls}
    for k in range(n):
        for name in list(calls)[:: 1 if k % 2 else -1]:
            out[name].append(calls[name]())
    return out


def beside(name: str, ours: list[Taken], peer: list[Taken], threads: int) -> None:
    """Print samples a second of both; the ratio is the median over rounds, each with its own neighbours in time."""
    for clock in ("cpu", "wall") if threads == 1 else ("wall",):
        rates = [[t["samples"] / t[clock] for t in side] for side in (ours, peer)]
        a, b = (statistics.median(r) for r in rates)
        emit(f"{name}, {threads} thread(s), {clock} time", a, b, "samples/s", len(ours))


# -- overhead ----------------------------------------------------------------------------------------------------------


def overhead(quick: bool, rounds: int) -> None:
    """Print the real epoch beside the bare forward and backward of the same pieces, and the parts of the difference."""
    for hidden, layers in ((64, 2), (64, 1), (32, 1), (16, 1)):
        model = LSTM(hidden=hidden, layers=layers, batch=BATCH, epochs=1, lookback=20)
        steps = (8 if quick else 40) * (1 if hidden == HIDDEN else 4)
        windows = made_windows(steps * 2, 400, WIDTH, 1, 20)
        calls, steps = stages(model, windows)
        taken = in_turn(calls, rounds)
        each = {name: [t["cpu"] / steps * 1e3 for t in values] for name, values in taken.items()}
        bare = statistics.median(each["bare"])
        name = f"LSTM {layers} x {hidden}, 1 thread, CPU"
        emit(
            f"{name}: our epoch, peer bare forward+backward", statistics.median(each["ours"]), bare, "ms a step", rounds
        )
        share = statistics.median(a / b - 1 for a, b in zip(each["ours"], each["bare"], strict=True))
        emit(f"{name}: loop overhead", 100 * share, None, "% of the bare passes", rounds)
        for part in ("gather", "check and target", "cut", "clip and Adam"):
            emit(
                f"{name}: of it {part}",
                100 * statistics.median(each[part]) / bare,
                None,
                "% of the bare passes",
                rounds,
            )


def stages(model: LSTM, windows: Windows) -> tuple[dict[str, Callable[[], Taken]], int]:
    """Return what is timed, each over all steps of an epoch, and the number of steps."""
    net = model.make(windows.width, windows.outputs, Stream(0))
    loss, target, none = losses.make(model, windows.outputs), Standardised(model.target), without(windows)
    cutter = Cutter(net, model.lookback, "cpu", by_date=False, pad=True)
    parameters, adam = list(net.parameters()), optimiser.make("adam", list(net.parameters()), 0.0)
    batches = list(windows.batches(model.batch, np.random.default_rng(0)))
    pieces = [
        [(torch.from_numpy(b.x[:, p.first : p.last].copy()), torch.from_numpy(b.y[p.first : p.last]), p.blocks)
         for p in cutter.cut(b.blocks)] for b in batches
    ]  # fmt: skip

    def bare() -> None:
        with Workers(1):
            for batch in pieces:
                for x, y, blocks in batch:
                    torch.autograd.grad(loss(net(x, None), y, blocks), parameters)

    def tensors() -> None:
        for b in batches:
            inputs(b, "cpu")
            torch.isfinite(torch.from_numpy(np.ascontiguousarray(target(b.y, b.blocks), np.float32))).all()

    def cut() -> None:
        for b in batches:
            x = torch.from_numpy(b.x)
            for p in cutter.cut(b.blocks):
                x[:, p.first : p.last].contiguous()

    def update() -> None:
        with Workers(1):
            for _ in batches:
                optimiser.clip_by_norm(gradients, 1.0)
                adam.step(gradients, 1e-6)

    gradients = [torch.ones_like(p) for p in parameters]
    calls = {
        "ours": lambda: model.fit(windows, none, rng=Stream(0), context=Context()), "bare": bare,
        "gather": lambda: sum(1 for _ in windows.batches(model.batch, np.random.default_rng(0))),
        "check and target": tensors, "cut": cut, "clip and Adam": update,
    }  # fmt: skip
    return {name: lambda call=call: timed(call, len(windows)) for name, call in calls.items()}, len(batches)


# -- the usual loop ----------------------------------------------------------------------------------------------------


class OneWindow(torch.utils.data.Dataset):
    """The usual Dataset: item i is one window and its label."""

    def __init__(self, windows: Windows) -> None:
        self.values, self.index = windows.features.values, windows.index
        self.y = windows.targets().astype(np.float32)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        t, n = self.index[i]
        return torch.from_numpy(self.values[t - LOOKBACK + 1 : t + 1, n]), torch.from_numpy(self.y[i])


class Usual:
    """nn.LSTM, Linear, Adam, clip_grad_norm_, whole batches."""

    def __init__(self, windows: Windows, threads: int, loader: bool) -> None:
        self.windows, self.threads = windows, threads
        self.loader = torch.utils.data.DataLoader(OneWindow(windows), batch_size=900, shuffle=True) if loader else None
        self.lstm = torch.nn.LSTM(WIDTH, HIDDEN, batch_first=loader)
        self.head = torch.nn.Linear(HIDDEN, OUTPUTS)
        self.parameters = [*self.lstm.parameters(), *self.head.parameters()]
        self.optimiser = torch.optim.Adam(self.parameters)

    def epoch(self) -> None:
        """Train for one epoch."""
        torch.set_num_threads(self.threads)
        if self.loader is not None:
            for x, y in self.loader:
                self.step(self.lstm(x)[0][:, -1], y)
        else:
            for b in self.windows.batches(BATCH, np.random.default_rng(0)):
                self.step(self.lstm(torch.from_numpy(b.x))[0][-1], torch.from_numpy(b.y))
        torch.set_num_threads(1)

    def step(self, last: torch.Tensor, y: torch.Tensor) -> None:
        self.optimiser.zero_grad()
        torch.nn.functional.mse_loss(self.head(last), y).backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()


def usual(quick: bool, rounds: int) -> None:
    """Print our epoch beside the usual ones."""
    windows = made_windows(15 if quick else 120, NAMES, WIDTH, OUTPUTS, LOOKBACK)
    none, size = without(windows), len(windows)
    model = LSTM(hidden=HIDDEN, lookback=LOOKBACK, batch=BATCH, epochs=1)
    for threads in (1, 2):
        context = Context(threads=threads)
        for name, loader in (("DataLoader", True), ("whole batch", False)):
            ours, peer = alternate(
                lambda context=context: model.fit(windows, none, rng=Stream(0), context=context),
                Usual(windows, threads, loader).epoch,
                rounds,
            )
            emit(f"lstm epoch, {threads} thread(s), vs {name}", size / ours, size / peer, "samples/s", rounds)


# -- peers in environments of their own --------------------------------------------------------------------------------


class Peer:
    """A peer's process: one line in, one JSON line out."""

    def __init__(self, python: str, script: str, folder: Path, threads: int, settings: dict[str, int]) -> None:
        command = [python, str(HERE / script), str(folder), str(threads), json.dumps(settings)]
        environment = {**os.environ, **dict.fromkeys(PINS, str(threads))}
        environment.pop("PYTHONPATH", None)  # ours would shadow the peer's own packages
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder
        )
        said = self.ask(None)
        print(json.dumps({"name": f"{script}, {threads} thread(s)", **said}), flush=True)

    def ask(self, request: str | None) -> Taken:
        """Return the answer; other lines that the peer prints are passed over."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if request is not None:
            self.process.stdin.write(request + "\n")
            self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise SystemExit(f"{self.process.args} ended; what it said stands above")

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait(timeout=60)


def qlib(python: str, quick: bool, rounds: int) -> None:
    """Print our epochs beside Qlib's. Train alone is equal work; its fit also scores train and validation anew."""
    train_dates, valid_dates, names, lookback = (20, 6, 400, 20) if quick else (120, 30, 400, 20)
    whole = made_windows(train_dates + valid_dates, names, WIDTH, 1, lookback)
    late = np.arange(len(whole.mask)) >= len(whole.mask) - valid_dates
    train, valid = (whole.with_(mask=whole.mask & rows[:, None]) for rows in (~late, late))
    settings = {"lookback": lookback, "hidden": HIDDEN, "layers": 2, "batch": BATCH, "valid": valid_dates}
    model = LSTM(hidden=HIDDEN, layers=2, lookback=lookback, batch=BATCH, epochs=1, target="raw")
    assert whole.label is not None
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        np.save(folder / "x.npy", whole.features.values)
        np.save(folder / "y.npy", whole.label.values[:, :, 0].astype(np.float32))
        for threads in (1, 2):
            context = Context(threads=threads)

            def ours(held: Windows, score: bool, context: Context = context) -> Taken:
                def call() -> None:
                    fitted = model.fit(train, held, rng=Stream(0), context=context)
                    if score:
                        fitted.predict(train)

                return timed(call, len(train))

            with Peer(python, "lstm_qlib.py", folder, threads, settings) as peer:
                taken = in_turn({
                    "train": lambda: ours(without(valid), False), "peer train": lambda: peer.ask("train"),
                    "fit": lambda: ours(valid, False), "peer fit": lambda: peer.ask("epoch"),
                    "scores": lambda: ours(valid, True),
                }, rounds)  # fmt: skip
            beside("vs Qlib, train epoch with loader", taken["train"], taken["peer train"], threads)
            beside("vs Qlib, epoch and scores of train and valid", taken["scores"], taken["peer fit"], threads)
            beside("vs Qlib, epoch as fit takes it", taken["fit"], taken["peer fit"], threads)


def keras(python: str, quick: bool, rounds: int) -> None:
    """Print our epoch beside Keras' train_on_batch."""
    windows = made_windows(4, 400, 6, 1, 60)
    model = LSTM(hidden=HIDDEN, layers=2, lookback=60, batch=BATCH, epochs=1, target="raw")
    none, batch = without(windows), windows.gather([0, 1])
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        np.save(folder / "batch_x.npy", np.ascontiguousarray(batch.x.transpose(1, 0, 2)))
        np.save(folder / "batch_y.npy", batch.y)
        for threads in (1,) if quick else (1, 2):
            context = Context(threads=threads)

            def ours(context: Context = context) -> Taken:
                return timed(lambda: model.fit(windows, none, rng=Stream(0), context=context), len(windows))

            with Peer(python, "lstm_keras.py", folder, threads, {"hidden": HIDDEN, "layers": 2}) as peer:
                taken = in_turn({"ours": ours, "peer": lambda: peer.ask("step")}, rounds)
            beside("vs Keras 3 on torch, our loop, its train_on_batch", taken["ours"], taken["peer"], threads)


def main() -> None:
    p = parser()
    p.add_argument("--part", choices=("all", "overhead", "usual", "qlib", "keras"), default="all")
    p.add_argument("--keras-python", metavar="PATH", default=None, help="interpreter of the environment with Keras")
    args = p.parse_args()
    rounds = 3 if args.quick else 7
    if args.part in ("all", "overhead"):
        overhead(args.quick, rounds)
    if args.part in ("all", "usual"):
        usual(args.quick, min(rounds, 5))
    for part, python, option in (
        (qlib, args.peer_python, "--peer-python"),
        (keras, args.keras_python, "--keras-python"),
    ):
        if args.part not in ("all", part.__name__):
            continue
        if python is None or not Path(python).exists():
            print(json.dumps({"name": part.__name__, "skipped": f"no such peer: give {option} PATH"}), flush=True)
        else:
            part(python, args.quick, rounds)


if __name__ == "__main__":
    main()
