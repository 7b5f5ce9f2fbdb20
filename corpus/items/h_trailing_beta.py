"""Looks like l04: a beta to the market, estimated on the sixty bars up to the row."""

ITEM = {"leak": None, "kind": "wide", "reach": None, "why": "rolling covariance and variance end at the row"}


def signal(frame):
    moves = frame["close"].pct_change()
    market = moves.mean(axis=1)
    product = moves.mul(market, axis=0).rolling(60, min_periods=30).mean()
    both = moves.rolling(60, min_periods=30).mean().mul(market.rolling(60, min_periods=30).mean(), axis=0)
    return (product - both).div(market.rolling(60, min_periods=30).var(ddof=0), axis=0)
