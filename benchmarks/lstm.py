"""LSTM training, one epoch with all in it (windows, target, clipping, Adam): ours, beside the usual PyTorch loop.

Peers: "DataLoader" = a Dataset of one window per item, nn.LSTM, torch.optim.Adam; "whole batch" = the same loop fed by
our own gather, so that the ratio shows what pieces and worker threads alone bring. Made data, F=20, L=30, H=64, O=2.
"""

from __future__ import annotations

from harness import alternate, emit, parse_args  # isort: skip  (pins threads before torch)

import numpy as np
import torch

from hitherto.features.base import Features
from hitherto.labels import Label
from hitherto.models.base import Context
from hitherto.models.recurrent import LSTM
from hitherto.seeds import Stream
from hitherto.windows import Windows

LOOKBACK, WIDTH, HIDDEN, OUTPUTS, BATCH, NAMES = 30, 20, 64, 2, 800, 300


def made(days: int) -> Windows:
    """Windows of ``days`` dates x 300 names of noise."""
    rng = np.random.default_rng(0)
    T = days + LOOKBACK - 1
    x = rng.standard_normal((T, NAMES, WIDTH), dtype=np.float32)
    t = np.broadcast_to(np.arange(T, dtype=np.int32)[:, None, None], (T, NAMES, OUTPUTS))
    label = Label(rng.standard_normal((T, NAMES, OUTPUTS)), t + 1, t + 2, ("a", "b"), (1, 5))
    features = Features(x, tuple(f"f{i}" for i in range(WIDTH)), (1,) * WIDTH)
    return Windows(features, label, np.ones((T, NAMES), bool), LOOKBACK)


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


def main() -> None:
    quick = parse_args().quick
    windows, rounds = made(15 if quick else 120), 3 if quick else 5
    none = windows.with_(mask=np.zeros_like(windows.mask))
    model = LSTM(hidden=HIDDEN, lookback=LOOKBACK, batch=BATCH, epochs=1)
    for threads in (1, 2):
        context = Context(threads=threads)
        for name, loader in (("DataLoader", True), ("whole batch", False)):
            ours, peer = alternate(
                lambda context=context: model.fit(windows, none, rng=Stream(0), context=context),
                Usual(windows, threads, loader).epoch,
                rounds,
            )
            size = len(windows)
            emit(f"lstm epoch, {threads} thread(s), vs {name}", size / ours, size / peer, "samples/s", rounds)


if __name__ == "__main__":
    main()
