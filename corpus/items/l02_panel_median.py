"""A median filter over dates is run on the whole panel at once; scipy centres it."""

from scipy.ndimage import median_filter

ITEM = {"leak": "L02", "kind": "panel", "reach": 2, "why": "median_filter of size (5, 1) is centred on the row"}


def signal(panel):
    shape = panel.fields["high"] / panel.fields["low"]
    return {"range": median_filter(shape, size=(5, 1), mode="nearest")}
