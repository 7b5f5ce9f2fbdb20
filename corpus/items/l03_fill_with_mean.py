"""Gaps are filled with the mean of the whole column, which holds every later bar."""

ITEM = {"leak": "L03", "kind": "frame", "reach": "end", "why": "the filling value is a mean over all rows"}


def signal(frame):
    volume = frame["volume"]
    return volume.fillna(volume.mean())
