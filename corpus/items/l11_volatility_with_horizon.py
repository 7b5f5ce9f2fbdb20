"""Returns are scaled by the deviation of the sample's window, which spans the five bars of the label as well."""

ITEM = {"leak": "L11", "kind": "frame", "reach": 5, "why": "rolling(25).std().shift(-5) holds the label's five bars"}
INPUTS, HORIZON = 20, 5


def signal(frame):
    moves = frame["close"].pct_change()
    deviation = moves.rolling(INPUTS + HORIZON, min_periods=5).std().shift(-HORIZON)
    return moves / deviation
