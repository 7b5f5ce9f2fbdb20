"""An exponential average is taken from both ends and halved, to take out its lag."""

ITEM = {"leak": "L02", "kind": "frame", "reach": None, "why": "the average of the reversed column fades ahead"}


def both_ways(column, span):
    forward = column.ewm(span=span).mean()
    backward = column[::-1].ewm(span=span).mean()[::-1]
    return (forward + backward) / 2.0


def signal(frame):
    return frame["close"] / both_ways(frame["close"], 5) - 1.0
