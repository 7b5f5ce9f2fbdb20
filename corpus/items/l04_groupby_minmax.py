"""Min-max scaling by symbol with group transforms, so that the scale comes from the symbol's whole life."""

ITEM = {"leak": "L04", "kind": "long", "reach": "end", "why": "transform('max') broadcasts the maximum of all dates"}


def signal(frame):
    by = frame["close"].groupby(level="symbol")
    low, high = by.transform("min"), by.transform("max")
    return (frame["close"] - low) / (high - low)
