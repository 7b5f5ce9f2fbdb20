"""Looks like l12: weekly closes, dated at the week's end and filled forward: Monday knows last Friday's close."""

ITEM = {
    "leak": None,
    "kind": "frame",
    "reach": None,
    "why": "closed and labelled right; the week under way has no date yet",
}


def signal(frame):
    weekly = frame["close"].resample("W-FRI", label="right", closed="right").last()
    return frame["close"] / weekly.reindex(frame.index, method="ffill") - 1.0
