"""The larger half of the market is ranked, where size is the median volume of the whole sample."""

ITEM = {"leak": "L26", "kind": "wide", "reach": "end", "why": "members are chosen by a statistic of all dates"}


def signal(frame):
    volume = frame["volume"]
    size = volume.median()
    members = size.index[size >= size.median()]
    return frame["close"].pct_change()[members].rank(axis=1, pct=True).reindex(columns=volume.columns)
