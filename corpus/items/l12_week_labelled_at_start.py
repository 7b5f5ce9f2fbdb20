"""Weekly closes carry the label of the week's start and are filled forward: Monday knows Friday's close."""

ITEM = {
    "leak": "L12",
    "kind": "frame",
    "reach": 4,
    "why": "resample('W', label='left') dates Friday's close before Monday",
}


def weekly(frame):
    return frame["close"].resample("W", label="left", closed="right").last()


def signal(frame):
    return frame["close"] / weekly(frame).reindex(frame.index, method="ffill") - 1.0
