"""Sessions left in the month, counted in the data themselves."""

ITEM = {
    "leak": "L31",
    "kind": "long",
    "reach": None,
    "why": "closures later in the month shorten the count before anybody announced them",
}


def signal(frame):
    dates = frame.index.get_level_values("date")
    days = dates.unique()
    left = days.to_series().groupby(days.to_period("M")).cumcount(ascending=False)
    return left.loc[dates].set_axis(frame.index)
