"""Returns weighted by how far the row lies in the sample, to prefer recent ones."""

import numpy as np

ITEM = {"leak": "L32", "kind": "frame", "reach": None, "why": "the number of rows is known only at the end"}


def signal(frame):
    weight = np.arange(1, len(frame) + 1) / len(frame)
    return frame["close"].pct_change(5, fill_method=None) * weight
