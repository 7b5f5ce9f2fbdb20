"""The price is standardised with the mean and deviation of all rows."""

ITEM = {"leak": "L04", "kind": "frame", "reach": "end", "why": "mean() and std() run over the whole column"}


def signal(frame):
    close = frame["close"]
    return (close - close.mean()) / close.std()
