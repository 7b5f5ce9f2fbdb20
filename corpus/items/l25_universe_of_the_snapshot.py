"""Reversal among the panel's universe, which the vendor filled with today's constituents."""

import numpy as np

ITEM = {"leak": "L25", "kind": "panel", "reach": None, "why": "the universe mask is that of the last row"}
VINTAGES = True


def signal(panel):
    close = panel.fields["close"] * panel.fields["factor"]
    out = np.full(close.shape, np.nan)
    out[5:] = close[:-5] / close[5:] - 1
    return {"reversal": np.where(panel.universe, out, np.nan)}
