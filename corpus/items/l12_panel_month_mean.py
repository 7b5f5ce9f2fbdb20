"""Monthly averages of the whole panel are spread over their own month with a numpy index."""

import numpy as np

ITEM = {"leak": "L12", "kind": "panel", "reach": 22, "why": "row t gets the average of its month, whose end is later"}


def signal(panel):
    volume = np.nan_to_num(panel.fields["volume"])
    months = np.unique(panel.sessions.astype("datetime64[M]"), return_inverse=True)[1]
    total = np.zeros((months.max() + 1, volume.shape[1]))
    np.add.at(total, months, volume)
    return {"share": volume / np.maximum(total[months], 1.0)}
