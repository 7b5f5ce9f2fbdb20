"""Suspended days are filled from the bar at which trading resumes."""

ITEM = {"leak": "L03", "kind": "frame", "reach": None, "why": "bfill: the reach is as long as the suspension"}


def signal(frame):
    return frame["close"].bfill()
