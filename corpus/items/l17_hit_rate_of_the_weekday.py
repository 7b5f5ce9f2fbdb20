"""The score of a weekday is the share of its days that were followed by a rise, over the whole history."""

ITEM = {
    "leak": "L17",
    "kind": "frame",
    "reach": "end",
    "why": "a group mean of the next day's direction over all dates",
}


def signal(frame):
    up = (frame["close"].shift(-1) > frame["close"]).astype(float)
    return up.groupby(frame.index.day_of_week).transform("mean")
