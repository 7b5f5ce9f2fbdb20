"""Looks like l04: a z-score, with the mean and deviation of the rows so far."""

ITEM = {"leak": None, "kind": "frame", "reach": None, "why": "expanding() ends at the row"}


def signal(frame):
    close = frame["close"]
    so_far = close.expanding(20)
    return (close - so_far.mean()) / so_far.std()
