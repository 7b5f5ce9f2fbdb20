"""A cross-section of signals is scaled so that the whole backtest has a given volatility: one number for all dates."""

import numpy as np

ITEM = {"leak": "L04", "kind": "wide", "reach": "end", "why": "the leverage is one number from all dates"}


def leverage(book, moves):
    earned = (book.shift(1) * moves).sum(axis=1)
    return 0.1 / (earned.std() * np.sqrt(252.0))


def signal(frame):
    moves = frame["close"].ffill().pct_change().fillna(0.0)
    book = -moves.rolling(5, min_periods=1).mean()
    return book * leverage(book, moves)
