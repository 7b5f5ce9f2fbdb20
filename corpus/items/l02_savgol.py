"""A Savitzky-Golay filter smooths the price with a polynomial through five bars on both sides."""

from scipy.signal import savgol_filter

ITEM = {"leak": "L02", "kind": "frame", "reach": 5, "why": "the filter's window of 11 is centred"}


def smooth(values):
    return savgol_filter(values, 11, 2, mode="nearest")


def signal(frame):
    return frame["close"] / smooth(frame["close"].ffill().to_numpy()) - 1.0
