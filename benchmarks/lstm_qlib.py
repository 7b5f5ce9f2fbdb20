"""The Qlib half of ``lstm.py``: its own TSDataSampler and ``pytorch_lstm_ts.LSTM``, in the environment that has pyqlib.

Usage: ``python lstm_qlib.py FOLDER THREADS SETTINGS``. FOLDER holds x.npy (T, N, F) and y.npy (T, N), float32; SETTINGS
is JSON: lookback, hidden, layers, batch, valid (the last dates, kept for validation). Every line on stdin is a request,
answered by one JSON line {"wall", "cpu", "samples"}: ``train`` is one call of its train_epoch; ``epoch`` is what one
epoch of its fit does: train_epoch, then test_epoch on the train and on the validation loader. The loaders are built as
its fit builds them, except for worker processes: none, so that THREADS is all there is.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import qlib
import torch
from qlib.contrib.model.pytorch_lstm_ts import LSTM
from qlib.data.dataset import TSDataSampler
from qlib.model.utils import ConcatDataset
from torch.utils.data import DataLoader


def sampler(x: np.ndarray, y: np.ndarray, first: int, last: int, lookback: int) -> TSDataSampler:
    """Return Qlib's sampler of rows first..last - 1, with the fill that its fit asks for."""
    (T, N, F), days = x.shape, pd.bdate_range("2000-01-03", periods=len(x))
    index = pd.MultiIndex.from_product([days, [f"SH{600000 + n}" for n in range(N)]], names=["datetime", "instrument"])
    columns = pd.MultiIndex.from_tuples([*(("feature", f"f{i}") for i in range(F)), ("label", "y")])
    table = pd.DataFrame(np.concatenate([x, y[:, :, None]], 2).reshape(T * N, F + 1), index=index, columns=columns)
    out = TSDataSampler(table, start=days[first], end=days[last - 1], step_len=lookback)
    out.config(fillna_type="ffill+bfill")
    return out


def main() -> None:
    folder, threads, s = Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
    torch.set_num_threads(threads)
    x, y = (np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("x", "y"))
    logging.disable(logging.INFO)
    model = LSTM(d_feat=x.shape[2], hidden_size=s["hidden"], num_layers=s["layers"], batch_size=s["batch"], GPU=-1,
                 n_jobs=0, seed=0)  # fmt: skip
    loaders, samples, split = {}, 0, len(x) - s["valid"]
    for name, first, last in (("train", s["lookback"] - 1, split), ("valid", split, len(x))):
        data = sampler(x, y, first, last, s["lookback"])
        pairs = ConcatDataset(data, np.ones(len(data)))
        loaders[name] = DataLoader(pairs, batch_size=s["batch"], shuffle=name == "train", num_workers=0, drop_last=True)
        samples = samples or len(loaders[name]) * s["batch"]
    print(json.dumps({"version": qlib.__version__, "torch": torch.__version__}), flush=True)
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        model.train_epoch(loaders["train"])
        if line.strip() == "epoch":
            model.test_epoch(loaders["train"])
            model.test_epoch(loaders["valid"])
        taken = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        print(json.dumps({**taken, "samples": samples}), flush=True)


if __name__ == "__main__":
    main()
