"""Returns of all names are projected on principal directions that were found on all dates."""

import numpy as np

ITEM = {"leak": "L04", "kind": "wide", "reach": "end", "why": "the directions come from an SVD over all rows"}


def signal(frame):
    moves = frame["close"].ffill().pct_change().fillna(0.0)
    centred = moves.to_numpy() - moves.to_numpy().mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    top = directions[:2]
    return moves - centred @ top.T @ top
