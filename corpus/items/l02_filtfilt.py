"""A Butterworth low pass is run forward and backward for zero lag; the backward pass carries the future to the past."""

from scipy.signal import butter, filtfilt

ITEM = {"leak": "L02", "kind": "frame", "reach": None, "why": "the backward pass has an infinite, fading memory"}


def signal(frame):
    b, a = butter(3, 0.2)
    return filtfilt(b, a, frame["close"].ffill().to_numpy())
