"""A centred window hides in a function that is mapped over symbols by a group transform."""

ITEM = {"leak": "L02", "kind": "long", "reach": 2, "why": "rolling(5, center=True) inside the transform"}


def denoise(column):
    return column.rolling(5, center=True, min_periods=1).median()


def signal(frame):
    return frame["close"] - frame["close"].groupby(level="symbol").transform(denoise)
