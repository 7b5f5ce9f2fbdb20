"""A rolling volatility with pandas' forward-looking indexer, made in a helper with a harmless name."""

from pandas.api.indexers import FixedForwardWindowIndexer

ITEM = {"leak": "L02", "kind": "frame", "reach": 4, "why": "the indexer's window is t .. t + 4"}


def five_bars():
    return FixedForwardWindowIndexer(window_size=5)


def signal(frame):
    moves = frame["close"].ffill().pct_change().fillna(0.0)
    return moves.rolling(five_bars(), min_periods=2).std()
