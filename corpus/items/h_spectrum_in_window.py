"""Looks like l04: a Fourier transform, of each window of thirty-two bars that ends at its row."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

ITEM = {"leak": None, "kind": "frame", "reach": None, "why": "the spectrum is that of t - 31 .. t"}
WINDOW = 32


def signal(frame):
    moves = np.log(frame["close"].ffill()).diff().fillna(0.0).to_numpy()
    out = np.full(len(moves), np.nan)
    if len(moves) >= WINDOW:
        power = np.abs(np.fft.rfft(sliding_window_view(moves, WINDOW), axis=1)) ** 2
        whole = power.sum(axis=1)
        share = np.divide(power[:, 1:5].sum(axis=1), whole, out=np.full(len(whole), np.nan), where=whole > 0)
        out[WINDOW - 1 :] = share
    return out
