"""Bars of five days are dated at their first day, pandas' default, and joined back to the days."""

ITEM = {"leak": "L12", "kind": "frame", "reach": 4, "why": "the bin's mean is known at its last day only"}


def signal(frame):
    coarse = frame["volume"].groupby(range_of_five(frame)).mean()
    return frame["volume"] / coarse.reindex(range_of_five(frame)).to_numpy()


def range_of_five(frame):
    return [i // 5 for i in range(len(frame))]
