"""Looks like l28: a front-adjusted return; the newest factor cancels, and is left out here as it should be."""

ITEM = {"leak": None, "kind": "panel", "reach": None, "why": "only the ratio of two past factors enters"}


def signal(panel):
    adjusted = panel.fields["close"] * panel.fields["factor"]
    out = adjusted * float("nan")
    out[5:] = adjusted[5:] / adjusted[:-5] - 1.0
    return {"r5": out}
