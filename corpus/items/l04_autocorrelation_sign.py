"""Momentum or reversal is chosen by the sign of the autocorrelation of all returns: one bit of the future."""

import numpy as np

ITEM = {"leak": "L04", "kind": "frame", "reach": "end", "why": "one sign, estimated on all rows, turns every number"}


def signal(frame):
    moves = np.log(frame["close"]).diff()
    turn = np.sign(moves.corr(moves.shift(1)))
    return turn * moves.rolling(5, min_periods=1).sum()
