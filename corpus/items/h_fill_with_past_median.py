"""Looks like l03: gaps are filled with a median, of the sixty bars before."""

ITEM = {"leak": None, "kind": "frame", "reach": None, "why": "the filling value is a trailing median"}


def signal(frame):
    volume = frame["volume"]
    return volume.fillna(volume.rolling(60, min_periods=5).median())
