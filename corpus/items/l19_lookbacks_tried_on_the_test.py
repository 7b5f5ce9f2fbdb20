"""Twenty look-backs of a momentum book are all run on the test years before one of them is written up."""

import numpy as np

ITEM = {"leak": "L19", "kind": "trials", "reach": None, "why": "what is left of the best of 20 after deflation is luck"}


def trials(panel):
    close = panel.fields["close"] * panel.fields["factor"]
    log = np.log(np.where(np.isfinite(close), close, np.nan))
    day = np.nan_to_num(np.diff(log, axis=0))
    walk = np.cumsum(day, axis=0)
    books = []
    for span in range(1, 41, 2):
        move = walk.copy()
        move[span:] -= walk[:-span]
        side = np.sign(move - np.median(move, axis=1, keepdims=True))
        books.append((side[:-1] * day[1:]).mean(axis=1))
    return {"returns": np.column_stack(books)[len(day) // 2 :]}
