"""The compiled programme behind the bounds: forward over the bars, one number per state, in log wealth.

Kernels that call each other share this file, since numba's disk cache follows the file of a function. Everything is
float64 without fast-math, so that results repeat to the bit.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from hitherto.exchange import terms as col

# Bits of what may be done with a name on a bar.
BUY, SELL, PAID = 1, 2, 4
CASH = -1


@njit(cache=True, nogil=True)
def search(price, close, able, kind, buy, sell, took, source):
    """Find the largest sum of log terms that ends in each state, forward over the bars, from cash at bar 0.

    price, close: (K, N) log adjusted fill price and close, NaN where unknown. able: (K, N) bits BUY, SELL, PAID (this
    bar's corporate action may turn the holding into cash at its last close, free of costs). kind: (K, N) row of buy and
    sell, the (M,) log factors of one purchase and one sale. For the worst path the caller hands in everything with its
    sign changed. took: (K, N) uint8, set to 1 where the best way to hold n after bar i is to buy it there; source:
    (K, 2) int32, who pays for it: column 0, or column 1 when column 0 is n itself. Returns (K,) the best value of any
    state after each bar, and the best state after the last one.

    A holding is kept as the log of its number of shares, so that holding on costs nothing, not even an addition.
    """
    K, N = price.shape
    cash, shares, mark = 0.0, np.full(N, -np.inf), np.full(N, -np.inf)
    wealth, state = np.zeros(K), CASH
    _note(mark, close[0])
    for i in range(1, K):
        cash = _paid(cash, shares, mark, able[i])
        top, first, next_top, second = _sellers(shares, price[i], able[i], kind[i], sell)
        # A purchase of the best seller's own name must be financed otherwise: a name held on is never sold to itself.
        # That matters to the worst path, where costs are sought.
        source[i, 0] = first if top > cash else CASH
        source[i, 1] = second if next_top > cash else CASH
        _buyers(shares, max(cash, top), max(cash, next_top), source[i, 0], price[i], able[i], kind[i], buy, took[i])
        cash = max(cash, top)
        _note(mark, close[i])
        wealth[i], state = _richest(cash, shares, mark)
    return wealth, state


@njit(cache=True, nogil=True)
def _note(mark, close):
    for n in range(len(mark)):
        if not np.isnan(close[n]):
            mark[n] = close[n]


@njit(cache=True, nogil=True)
def _paid(cash, shares, mark, able):
    """Return the cash after the corporate actions of a bar that pay it."""
    for n in range(len(shares)):
        if able[n] & PAID:
            cash = max(cash, shares[n] + mark[n])
    return cash


@njit(cache=True, nogil=True)
def _sellers(shares, price, able, kind, sell):
    """Return the best proceeds of a sale, whose they are, and the second best."""
    top, first, next_top, second = -np.inf, CASH, -np.inf, CASH
    for n in range(len(shares)):
        if able[n] & SELL:
            got = shares[n] + price[n] + sell[kind[n]]
            if got > top:
                top, first, next_top, second = got, n, top, first
            elif got > next_top:
                next_top, second = got, n
    return top, first, next_top, second


@njit(cache=True, nogil=True)
def _buyers(shares, funds, others, first, price, able, kind, buy, took):
    """Buy each name where that makes more shares of it than holding on does."""
    for n in range(len(shares)):
        if able[n] & BUY:
            bought = (others if n == first else funds) - price[n] + buy[kind[n]]
            if bought > shares[n]:
                shares[n], took[n] = bought, 1


@njit(cache=True, nogil=True)
def _richest(cash, shares, mark):
    best, state = cash, CASH
    for n in range(len(shares)):
        value = shares[n] + mark[n]
        if value > best:
            best, state = value, n
    return best, state


@njit(cache=True, nogil=True)
def trace(took, source, state):
    """Return (K,) int32: the state after each bar on the way to ``state`` after the last, -1 for cash."""
    K = len(took)
    holding = np.full(K, CASH, np.int32)
    for i in range(K - 1, 0, -1):
        holding[i] = state
        if state == CASH:
            state = source[i, 0]
        elif took[i, state]:
            state = source[i, 1] if source[i, 0] == state else source[i, 0]
    return holding


@njit(cache=True, nogil=True)
def replay(holding, price, close, kind, buy, sell):
    """Return (K,) the log wealth of a sequence of holdings, valued at the last known close of each bar."""
    K, N = price.shape
    out, mark = np.zeros(K), np.full(N, np.nan)
    _note(mark, close[0])
    amount, held = 0.0, CASH
    for i in range(1, K):
        new = holding[i]
        if new != held:
            if held != CASH:
                amount += price[i, held] + sell[kind[i, held]]
            if new != CASH:
                amount += buy[kind[i, new]] - price[i, new]
            held = new
        _note(mark, close[i])
        out[i] = amount if held == CASH else amount + mark[held]
    return out


@njit(cache=True, nogil=True)
def barriers(price, close, high, low, growth, kind, terms):
    """Return (T, N) uint8: what the price limits say of ``price``: bit 1 at the upper, 2 at the lower, 4 one price.

    Prices are raw, in currency, on the tick. high and low: (T, N), or empty where the fill does not know them. The
    reference is the last known close over the growth of the factor since, half-up to the tick; a limit is
    reference x (1 +- limit), half-up to the tick, at least ``band`` ticks away.
    """
    T, N = price.shape
    out, last = np.zeros((T, N), np.uint8), np.full(N, np.nan)
    for t in range(T):
        for n in range(N):
            k = kind[t, n]
            last[n] /= growth[t, n]
            tick = terms[k, col.TICK] / 1e4
            if terms[k, col.UP] >= 0.0 and not np.isnan(last[n]) and not np.isnan(price[t, n]):
                reference = np.int64(np.floor(last[n] / tick + 0.5 + 1e-6))
                band = np.int64(terms[k, col.BAND])
                up = (reference * np.int64(10_000.0 + terms[k, col.UP]) + 5_000) // 10_000
                down = (reference * np.int64(10_000.0 - terms[k, col.DOWN]) + 5_000) // 10_000
                up, down = max(up, reference + band), min(down, reference - band)
                down = max(down, np.int64(1)) if band > 0 else down
                at = np.int64(np.floor(price[t, n] / tick + 0.5))
                code = (1 if at >= up else 0) | (2 if at <= down else 0)
                if code and len(high) and abs(high[t, n] - low[t, n]) < tick / 2:
                    code |= 4
                out[t, n] = code
            if not np.isnan(close[t, n]):
                last[n] = close[t, n]
    return out


@njit(cache=True, nogil=True)
def on_tick(values, kind, terms):
    """Return (T, N): prices half-up to the tick, a millionth of which forgives the noise of floats, as the exchange."""
    out = np.empty(values.shape)
    for t in range(values.shape[0]):
        for n in range(values.shape[1]):
            tick = terms[kind[t, n], col.TICK]
            out[t, n] = np.floor(values[t, n] * 1e4 / tick + 0.5 + 1e-6) * tick / 1e4
    return out
