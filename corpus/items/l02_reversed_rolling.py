"""The recent high is taken from the reversed column by a helper, so that the window looks ahead instead of back."""

ITEM = {"leak": "L02", "kind": "frame", "reach": 3, "why": "rolling on the reversed column looks at t .. t + 3"}


def recent_high(column):
    return column.iloc[::-1].rolling(4, min_periods=1).max().iloc[::-1]


def signal(frame):
    return frame["close"] / recent_high(frame["high"]) - 1.0
