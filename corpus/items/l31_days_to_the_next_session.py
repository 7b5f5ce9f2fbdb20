"""The number of days until the next session, from the dates in the data."""

ITEM = {
    "leak": "L31",
    "kind": "frame",
    "reach": 1,
    "why": "an unscheduled closure is known the evening before it is announced",
}


def signal(frame):
    days = frame.index.to_series()
    return (days.shift(-1) - days).dt.days
