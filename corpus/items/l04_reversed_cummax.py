"""Distance to a 'ceiling' that is the running maximum of the reversed path: the highest price still to come."""

ITEM = {"leak": "L04", "kind": "frame", "reach": "end", "why": "cummax of the reversed column is the future maximum"}


def signal(frame):
    close = frame["close"].ffill()
    ceiling = close[::-1].cummax()[::-1]
    return close / ceiling - 1.0
