"""High frequencies are cut off in the spectrum of the whole path."""

import numpy as np

ITEM = {"leak": "L04", "kind": "frame", "reach": "end", "why": "a Fourier transform mixes all rows"}


def signal(frame):
    path = np.log(frame["close"].ffill().to_numpy())
    spectrum = np.fft.rfft(path)
    spectrum[max(1, len(path) // 16) :] = 0.0
    return np.fft.irfft(spectrum, len(path))
