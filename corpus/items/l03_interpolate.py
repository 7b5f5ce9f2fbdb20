"""A helper that cleans the data draws a straight line through each suspension, to a price that is not known yet."""

ITEM = {"leak": "L03", "kind": "frame", "reach": None, "why": "interpolate() needs the next known bar"}


def clean(column):
    return column.interpolate(limit_direction="forward")


def signal(frame):
    return clean(frame["close"]).pct_change(5)
