"""Twenty entry thresholds on either side are backtested on the test stretch, and the best of forty is the result."""

import numpy as np

ITEM = {"leak": "L19", "kind": "trials", "reach": None, "why": "40 trials on the test stretch; the best is reported"}


def trials(panel):
    close = panel.fields["close"] * panel.fields["factor"]
    day = np.nan_to_num(np.diff(close, axis=0) / close[:-1])
    test = slice(int(0.6 * len(day)), None)
    limits = np.quantile(np.abs(day), np.linspace(0.02, 0.95, 20))
    books = [(np.sign(day[:-1]) * (np.abs(day[:-1]) > limit) * day[1:]).mean(axis=1) for limit in limits]
    return {"returns": np.column_stack([*books, *(-book for book in books)])[test]}
