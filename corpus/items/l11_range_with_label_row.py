"""The place of the price in a range whose window was cut by the sample maker: ten inputs and the label row."""

ITEM = {
    "leak": "L11",
    "kind": "frame",
    "reach": 1,
    "why": "low and high of the window include the row after the decision",
}
INPUTS = 10


def window_bounds(frame):
    rows = INPUTS + 1
    low = frame["low"].rolling(rows, min_periods=2).min().shift(-1)
    high = frame["high"].rolling(rows, min_periods=2).max().shift(-1)
    return low, high


def signal(frame):
    low, high = window_bounds(frame)
    return (frame["close"] - low) / (high - low)
