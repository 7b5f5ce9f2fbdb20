"""Front-adjusted price levels are ranked across names: a later split of one name moves the ranks of the past."""

import numpy as np

ITEM = {"leak": "L28", "kind": "panel", "reach": "end", "why": "levels are adjusted with the factor of the last row"}


def signal(panel):
    factor = panel.fields["factor"]
    level = np.nan_to_num(panel.fields["close"] * factor / factor[-1])
    return {"rank": level.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable").astype(float)}
