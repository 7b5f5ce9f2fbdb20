"""A moving average with the window centred on the row: five of its eleven bars lie ahead."""

ITEM = {"leak": "L02", "kind": "frame", "reach": 5, "why": "rolling(11, center=True) ends five bars later"}


def signal(frame):
    return frame["close"].ffill().rolling(11, center=True, min_periods=1).mean()
