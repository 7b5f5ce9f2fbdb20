"""Returns are put against the day's mean, but names without a price count as zero, those not yet listed too."""

ITEM = {"leak": "L26", "kind": "wide", "reach": None, "why": "a name that lists later already pulls the mean to zero"}


def signal(frame):
    moves = frame["close"].ffill().pct_change()
    market = moves.fillna(0.0).to_numpy().mean(axis=1)
    return moves.sub(market, axis=0)
