"""Ranks within the day are divided by the number of columns, which counts names that are listed years later."""

ITEM = {
    "leak": "L26",
    "kind": "wide",
    "reach": None,
    "why": "the number of columns knows every name that will ever list",
}


def signal(frame):
    close = frame["close"]
    return close.rank(axis=1) / len(close.columns)
