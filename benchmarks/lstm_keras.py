"""The Keras half of ``lstm.py``: LSTM layers of Keras 3 on its torch backend, in the environment that has Keras.

Usage: ``python lstm_keras.py FOLDER THREADS SETTINGS``. FOLDER holds batch_x.npy (B, L, F) and batch_y.npy (B, O),
float32; SETTINGS is JSON: hidden, layers. Every line on stdin asks for one ``train_on_batch`` of that batch and is
answered by one JSON line {"wall", "cpu", "samples"}. No loader: the batch is at hand, which favours Keras.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"  # before keras is imported

import keras
import numpy as np
import torch


def main() -> None:
    folder, threads, s = Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
    torch.set_num_threads(threads)
    x, y = (np.load(folder / f"batch_{name}.npy", allow_pickle=False) for name in ("x", "y"))
    layers = [keras.layers.LSTM(s["hidden"], return_sequences=k + 1 < s["layers"]) for k in range(s["layers"])]
    model = keras.Sequential([keras.Input(x.shape[1:]), *layers, keras.layers.Dense(y.shape[1])])
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="mse")
    print(json.dumps({"version": keras.__version__, "torch": torch.__version__}), flush=True)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        model.train_on_batch(x, y)
        taken = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        print(json.dumps({**taken, "samples": len(x)}), flush=True)


if __name__ == "__main__":
    main()
