"""Looks like l02: the Butterworth low pass, run forward only."""

from scipy.signal import butter, lfilter

ITEM = {"leak": None, "kind": "frame", "reach": None, "why": "lfilter is recursive on the past"}


def signal(frame):
    b, a = butter(3, 0.2)
    values = frame["close"].ffill().to_numpy()
    return lfilter(b, a, values - values[0]) + values[0]
