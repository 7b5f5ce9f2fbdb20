"""The compiled market: what one bar does to one account, and the fold of bars. The rules of trading exist here only.

float64 without fast-math, so that results repeat to the bit. Two modes share every line: *whole* (dated rules) keeps
money in whole fen, prices in whole pips of 0.0001 and shares whole, all integers far below 2^53, and rounds each fee
part half-up in 64-bit integers; *simple* keeps currency, raw prices and fractions, and rounds nothing. The kernels
share one file because numba's disk cache follows the file of a function, not those of the functions it calls.

market: (at, high, low, close, volume, growth, halt, kind, sigma, adv), (T, N) each. rules: (terms, slippage, cap,
impact, whole, falls, at_close). See ``hitherto.exchange.terms`` for the columns of terms.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from hitherto.exchange import account as why
from hitherto.exchange import terms as col

# Rows of what became of an order.
SHARES, PRICE, C_COMMISSION, C_TAX, C_TRANSFER, C_OTHER, C_SLIPPAGE = range(7)
E8 = 100_000_000
NUDGE = 1e-6  # of a tick or share: float noise of vendors' prices that must not turn a tie
HAIR = (
    1e-12  # simple mode: buys stay this share below the cash, so that rounding over thousands of names never overdraws
)
PARTS = 65536  # whole mode: buys that exceed the cash are scaled by a whole number of these parts


@njit(cache=True, nogil=True)
def _part(value, rate, whole):
    """``value`` x ``rate`` x 1e-8; in whole mode half-up, exactly, without overflow."""
    if rate == 0.0:
        return 0.0
    if not whole:
        return value * rate / 1e8
    v, r = np.int64(value), np.int64(rate)
    if value * rate < 1e18:
        return np.float64((v * r + E8 // 2) // E8)
    return np.float64(v // E8 * r + (v % E8 * r + E8 // 2) // E8)


@njit(cache=True, nogil=True)
def _worth(shares, price, whole):
    """Value of shares: fen from pips, half-up, in whole mode (an ex price without a trade is no whole pip yet)."""
    if not whole:
        return shares * price
    pips = np.floor(price + 0.5)
    if abs(price - pips) < NUDGE:
        return np.float64((np.int64(shares) * np.int64(pips) + 50) // 100)
    return np.floor(shares * price / 100.0 + 0.5)


@njit(cache=True, nogil=True)
def _unit(price, tick, whole):
    """A price of the tape in the kernel's unit: whole pips on the tick, or as it is."""
    return np.floor(price * 1e4 / tick + 0.5 + NUDGE) * tick if whole else price


@njit(cache=True, nogil=True)
def _costs(value, amount, sell, k, push, adv, terms, slippage, whole):
    """Commission, tax, transfer, other and slippage of one fill; push and adv: impact x sigma, mean volume before."""
    commission = max(_part(value, terms[k, col.COMMISSION], whole), terms[k, col.MINIMUM])
    tax = _part(value, terms[k, col.TAX_SELL] if sell else terms[k, col.TAX_BUY], whole)
    # a fee per share, 1e-8 of the currency: amount x 100 fen in whole mode
    each = amount * 100.0 if whole else amount
    transfer = _part(value, terms[k, col.TRANSFER], whole) + _part(each, terms[k, col.SHARE_BOTH], whole)
    other = _part(value, terms[k, col.OTHER], whole)
    if sell:
        other += min(_part(each, terms[k, col.SHARE_SELL], whole), terms[k, col.SHARE_CAP])
    friction = _part(value, slippage, whole)
    if push > 0.0:
        extra = value * (push * np.sqrt(amount / adv))
        friction += np.floor(extra + 0.5) if whole else extra
    return commission, tax, transfer, other, friction


@njit(cache=True, nogil=True)
def _push(t, n, sigma, adv, impact):
    """impact x sigma and mean volume; 0 where volatility or volume of the bars before are not known yet."""
    if impact > 0.0 and sigma[t, n] > 0.0 and adv[t, n] > 0.0:
        return impact * sigma[t, n], adv[t, n]
    return 0.0, 1.0


@njit(cache=True, nogil=True)
def _buy_lots(amount, k, terms):
    """Shares of a buy that the lots allow (fractions when the lot is 0)."""
    lot, step = terms[k, col.LOT], terms[k, col.STEP]
    if lot == 0.0:
        return amount
    if amount < lot * (1.0 - 1e-9):
        return 0.0
    return lot + np.floor((amount - lot) / step + 1e-9) * step


@njit(cache=True, nogil=True)
def _sell_lots(amount, k, terms):
    """Shares of a sale that leaves something behind."""
    lot, step = terms[k, col.LOT], terms[k, col.STEP]
    if lot == 0.0:
        return amount
    amount = np.floor(amount / step + 1e-9) * step
    return amount if amount >= lot else 0.0


@njit(cache=True, nogil=True)
def _barrier(price, before, high, low, k, terms):
    """What the limits say of a price: bit 1 at the upper one, bit 2 at the lower, bit 4 a board of one price.

    before: the last close of an earlier session, adjusted for the ex-day.
    """
    if terms[k, col.UP] < 0.0 or not np.isfinite(before):
        return 0
    tick, band = terms[k, col.TICK], np.int64(terms[k, col.BAND])
    reference = np.int64(np.floor(before / tick + 0.5 + NUDGE))
    up = (reference * np.int64(10_000.0 + terms[k, col.UP]) + 5_000) // 10_000
    down = (reference * np.int64(10_000.0 - terms[k, col.DOWN]) + 5_000) // 10_000
    up, down = max(up, reference + band), min(down, reference - band)
    if band > 0:
        down = max(down, np.int64(1))
    at, code = np.int64(np.floor(price / tick + 0.5)), 0
    if at >= up:
        code |= 1
    if at <= down:
        code |= 2
    if code and _unit(high, tick, True) == _unit(low, tick, True):
        code |= 4
    return code


@njit(cache=True, nogil=True)
def _corporate(cash, shares, last, reference, orders, growth, rules, reinvest):
    """Pay what the price loses on the ex date, and take the last price to the ex price; returns (cash, credited)."""
    whole, falls, credited = rules[4], rules[5], 0.0
    for n in range(len(shares)):
        g = growth[n]
        if g == 1.0 or (g < 1.0 and not falls):
            continue
        # a factor that falls is a reverse split: taking its worth in cash could overdraw the account
        in_shares = reinvest or g < 1.0
        if shares[n] != 0.0:
            paid, rest = shares[n] * last[n] * (1.0 - 1.0 / g), 0.0
            if whole:
                paid = np.floor(paid / 100.0 + 0.5)
            if in_shares:
                more = np.floor(shares[n] * g + NUDGE) if whole else shares[n] * g
                if whole:
                    rest = max(0.0, np.floor((shares[n] * g - more) * (last[n] / g) / 100.0 + 0.5))
                shares[n] = more
            cash += rest if in_shares else paid
            credited += paid if g > 1.0 else rest
        if in_shares:
            orders[n] = np.trunc(orders[n] * g + NUDGE * np.sign(orders[n])) if whole else orders[n] * g
        last[n] /= g
        reference[n] /= g
    return cash, credited


@njit(cache=True, nogil=True)
def _event(cash, shares, last, reference, orders, n, dividend, split, whole):
    """Pay an announced dividend (1e-8 of the currency a share) and split (new per old x 1e8); (cash, credited)."""
    held, credited = shares[n], 0.0
    ratio, unit = split / 1e8, 1e4 if whole else 1e8
    last[n], reference[n] = (last[n] - dividend / unit) / ratio, (reference[n] - dividend / unit) / ratio
    if whole:
        credited = _part(held * 100.0, dividend, True)
        v, r = np.int64(held), np.int64(split)
        shares[n] = np.float64(v // E8 * r + v % E8 * r // E8)
        orders[n] = np.trunc(orders[n] * ratio + NUDGE * np.sign(orders[n]))
        if held != 0.0:
            credited += np.floor((held * ratio - shares[n]) * last[n] / 100.0 + 0.5 + NUDGE)
    else:
        credited = held * dividend / 1e8
        shares[n], orders[n] = held * ratio, orders[n] * ratio
    return cash + credited, credited


@njit(cache=True, nogil=True)
def _refusal(order, price, halt, reference, high, low, k, terms):
    """Reason code that the market gives for not doing an order at all, 0 for none."""
    if halt != 0:
        return np.int64(halt)
    if not (np.isfinite(price) and price > 0.0):
        return why.NOT_TRADABLE
    seen = _barrier(price, reference, high, low, k, terms)
    if seen == 0:
        return why.FILLED
    if order > 0.0 and seen & 1:
        return why.LIMIT_UP
    if order < 0.0 and seen & 2:
        return why.LIMIT_DOWN
    return why.ONE_PRICE if seen & 4 else why.FILLED


@njit(cache=True, nogil=True)
def _capped(amount, volume, cap, whole):
    """The amount under the volume cap."""
    if cap == 0.0:
        return amount
    if not volume > 0.0:
        return 0.0
    return min(amount, np.floor(cap * volume) if whole else cap * volume)


@njit(cache=True, nogil=True)
def _sellable(asked, held, locked, volume, cap, k, terms, whole, short):
    """Shares that a sale may do, and the reason where that is none."""
    amount, free = asked, held - locked
    if not short:
        if held <= 0.0:
            return 0.0, why.NO_SHARES
        if free <= 0.0:
            return 0.0, why.T_PLUS_1
        amount = min(amount, free)
    amount = _capped(amount, volume, cap, whole)
    if amount == 0.0:
        return 0.0, why.VOLUME_CAP
    if amount != free:
        amount = _sell_lots(amount, k, terms)
        if not short:
            amount = min(amount, free)
    return amount, (why.FILLED if amount > 0.0 else why.BELOW_LOT)


@njit(cache=True, nogil=True)
def _trade(cash, shares, locked, reference, orders, t, market, before, rules, short, out, reason, deals):
    """Fill the orders of one account at bar t: sells by column, then all buys. out: (7, N), see SHARES...

    deals: (6, N) scratch. Returns (cash, fees, slippage, value traded).
    """
    at, high, low, _, volume, _, halt, kind, sigma, adv = market
    terms, slippage, cap, impact, whole, _, at_close = rules
    fees, slipped, traded, buys, tops = 0.0, 0.0, 0.0, 0, np.nan
    lows, bulk = np.nan, 0.0
    for n in range(len(orders)):
        if orders[n] == 0.0:
            continue
        for i in range(7):
            out[i, n] = 0.0 if i != PRICE else np.nan
        k = np.int64(kind[t, n])
        price = _unit(at[t, n], terms[k, col.TICK], whole)
        if at_close and len(high):  # only a fill at the close knows the day's high and low
            tops, lows = high[t, n], low[t, n]
        code = _refusal(orders[n], price, halt[t, n], reference[n], tops, lows, k, terms)
        reason[n] = code
        if code != why.FILLED:
            continue
        if cap > 0.0:
            bulk = volume[t, n] if at_close else before[n]
        push, mean = _push(t, n, sigma, adv, impact)
        if orders[n] > 0.0:
            amount = _capped(orders[n], bulk, cap, whole)
            reason[n] = why.VOLUME_CAP if amount == 0.0 else why.FILLED
            lots = _buy_lots(amount, k, terms)
            if amount > 0.0 and lots == 0.0:
                reason[n] = why.BELOW_LOT
            if lots > 0.0:
                deals[0, buys], deals[1, buys], deals[2, buys] = n, lots, price
                deals[3, buys], deals[4, buys], deals[5, buys] = k, push, mean
                buys += 1
            continue
        amount, reason[n] = _sellable(-orders[n], shares[n], locked[n], bulk, cap, k, terms, whole, short)
        if amount == 0.0:
            continue
        value = _worth(amount, price, whole)
        paid = _costs(value, amount, True, k, push, mean, terms, slippage, whole)
        fee = paid[0] + paid[1] + paid[2] + paid[3]
        if not short and cash + value < fee + paid[4]:
            reason[n] = why.NO_CASH
            continue
        cash += value - fee - paid[4]
        shares[n] -= amount
        _write(out, n, -amount, price, paid)
        fees, slipped, traded = fees + fee, slipped + paid[4], traded + value
    if buys:
        more = _buy(cash, shares, locked, deals[:, :buys], terms, slippage, whole, short, out, reason)
        cash, fees, slipped, traded = more[0], fees + more[1], slipped + more[2], traded + more[3]
    return cash, fees, slipped, traded


@njit(cache=True, nogil=True)
def _write(out, n, amount, price, paid):
    out[SHARES, n], out[PRICE, n] = amount, price
    out[C_COMMISSION, n], out[C_TAX, n], out[C_TRANSFER, n], out[C_OTHER, n] = paid[0], paid[1], paid[2], paid[3]
    out[C_SLIPPAGE, n] = paid[4]


@njit(cache=True, nogil=True)
def _buy(cash, shares, locked, deals, terms, slippage, whole, short, out, reason):
    """Fill the buys of one account, scaled to the cash unless ``short``; returns as ``_trade`` does.

    deals: (6, buys), rows name, amount, price, kind, impact x sigma, mean volume.
    """
    part = 1.0 if short else _affordable(cash, deals, terms, slippage, whole)
    fees, slipped, traded = 0.0, 0.0, 0.0
    for i in range(deals.shape[1]):
        n, price, k = np.int64(deals[0, i]), deals[2, i], np.int64(deals[3, i])
        amount = _scaled(deals[1, i], part, k, terms)
        if amount == 0.0:
            reason[n] = why.NO_CASH
            continue
        value = _worth(amount, price, whole)
        paid = _costs(value, amount, False, k, deals[4, i], deals[5, i], terms, slippage, whole)
        shares[n] += amount
        if terms[k, col.SETTLE] > 0.0:
            locked[n] += amount
        _write(out, n, amount, price, paid)
        fees += paid[0] + paid[1] + paid[2] + paid[3]
        slipped, traded = slipped + paid[4], traded + value
    return cash - (traded + fees + slipped), fees, slipped, traded


@njit(cache=True, nogil=True)
def _scaled(amount, part, k, terms):
    return amount if part == 1.0 else _buy_lots(amount * part, k, terms)


@njit(cache=True, nogil=True)
def _bill(part, deals, terms, slippage, whole):
    """What buying ``part`` of every amount costs, fees and slippage included."""
    bill = 0.0
    for i in range(deals.shape[1]):
        k = np.int64(deals[3, i])
        amount = _scaled(deals[1, i], part, k, terms)
        if amount > 0.0:
            value = _worth(amount, deals[2, i], whole)
            paid = _costs(value, amount, False, k, deals[4, i], deals[5, i], terms, slippage, whole)
            bill += value + paid[0] + paid[1] + paid[2] + paid[3] + paid[4]
    return bill


@njit(cache=True, nogil=True)
def _affordable(cash, deals, terms, slippage, whole):
    """Return the share of all buys, in [0, 1], that the cash affords."""
    if not whole:
        return _newton(cash, deals, terms, slippage)
    full = _bill(1.0, deals, terms, slippage, whole)
    if full <= cash:
        return 1.0
    # The bill never falls as the part grows: the largest part that fits is bracketed near cash / bill, then halved.
    low, high, width = 0, PARTS, 16
    mid = min(max(np.int64(PARTS * (cash / full)), 1), PARTS - 1)
    while high - low > 1:
        if _bill(mid / PARTS, deals, terms, slippage, whole) <= cash:
            low, mid = mid, mid + width
        else:
            high, mid = mid, mid - width
        width *= 4
        if not low < mid < high:
            mid = (low + high) // 2
    return low / PARTS


@njit(cache=True, nogil=True)
def _newton(cash, deals, terms, slippage):
    """Return the largest s in [0, 1] for which buying s x amounts stays a hair below the cash.

    The bill is convex in s (minimum fees, then straight, then impact), so Newton from s = 1 falls onto the root.
    """
    s, m = 1.0, deals.shape[1]
    for _ in range(m + 60):
        bill, slope = 0.0, 0.0
        for i in range(m):
            k = np.int64(deals[3, i])
            value, rate = deals[1, i] * deals[2, i], terms[k, col.COMMISSION] / 1e8
            each = value * (1.0 + slippage / 1e8)
            if s * value * rate >= terms[k, col.MINIMUM]:
                bill, slope = bill + s * (each + value * rate), slope + each + value * rate
            else:
                bill, slope = bill + s * each + terms[k, col.MINIMUM], slope + each
            if deals[4, i] > 0.0:
                extra = value * (deals[4, i] * np.sqrt(s * deals[1, i] / deals[5, i]))
                bill, slope = bill + s * extra, slope + 1.5 * extra
        if slope == 0.0 or bill <= cash * (1.0 - HAIR):
            return s
        s -= (bill - cash * (1.0 - 2.0 * HAIR)) / slope
        if s < HAIR:
            return 0.0
    return 0.0


@njit(cache=True, nogil=True)
def _mark(last, t, market, rules):
    close, kind, terms, whole = market[3], market[7], rules[0], rules[4]
    for n in range(len(last)):
        if np.isfinite(close[t, n]):
            last[n] = _unit(close[t, n], terms[kind[t, n], col.TICK], whole)


@njit(cache=True, nogil=True)
def _seen(before, volume):
    for n in range(len(before)):
        if np.isfinite(volume[n]):
            before[n] = volume[n]


@njit(cache=True, nogil=True)
def value_of(cash, shares, last, whole):
    """Cash and the value of every holding at its last price."""
    value = cash
    for n in range(len(shares)):
        if shares[n] != 0.0:
            value += _worth(shares[n], last[n], whole)
    return value


@njit(cache=True, nogil=True)
def size(equity, weights, shares, last, close, whole, orders):
    """Write the orders that bring an account to its target weights; no order where the close is not known."""
    for n in range(len(orders)):
        orders[n] = 0.0
        # below half a tick a price rounds to no pips at all: nothing can be sized by it
        if not close[n] > 0.0 or (whole and not last[n] > 0.0) or (weights[n] == 0.0 and shares[n] == 0.0):
            continue
        if equity <= 0.0 or weights[n] == 0.0:
            orders[n] = -shares[n]
        elif whole:
            orders[n] = np.floor(weights[n] * equity * 100.0 / last[n]) - shares[n]
        else:
            orders[n] = weights[n] * equity / close[n] - shares[n]


@njit(cache=True, nogil=True)
def bars(cash, shares, locked, last, reference, orders, market, before, rules, short, reinvest, out, reason):
    """Run one bar for B accounts in place; market arrays have 1 or B rows. Returns (B,) corporate credits."""
    B, N = shares.shape
    credited, deals, mine = np.empty(B), np.empty((6, N)), np.empty((7, N))
    for b in range(B):
        row = min(b, len(market[0]) - 1)
        known, mine[:] = before[row].copy(), out[:, b]
        cash[b], credited[b] = _corporate(
            cash[b], shares[b], last[b], reference[b], orders[b], market[5][row], rules, reinvest
        )
        cash[b] = _trade(
            cash[b], shares[b], locked[b], reference[b], orders[b], row, market, known, rules, short, mine, reason[b],
            deals,
        )[0]  # fmt: skip
        out[:, b] = mine
        _mark(last[b], row, market, rules)
    return credited


@njit(cache=True, nogil=True)
def _note(table, count, t, decided, orders, out, reason):
    """Append the orders of bar t to the growing fills table: t, n, decided, ordered, rows of out, reason."""
    for n in range(len(orders)):
        if orders[n] == 0.0:
            continue
        if count == len(table):
            bigger = np.empty((2 * len(table), 12))
            bigger[:count] = table
            table = bigger
        row = table[count]
        row[0], row[1], row[2], row[3], row[11] = t, n, decided, orders[n], reason[n]
        for i in range(7):
            row[4 + i] = out[i, n]
        count += 1
    return table, count


@njit(cache=True, nogil=True)
def fold(
    weights, pending, short, market, events, fresh, capital, rules, start, stop, same_bar, reinvest, held, marks, table
):
    """Fold the bar over bars start..stop-1.

    pending: (T,) row of ``weights`` that becomes orders at close t, -1 for none; the orders fill at bar t+1, or at
    close t with ``same_bar``. events: (rows, columns, dividends, splits), rows rising. fresh: (T,) the bar opens a
    session. held, marks, table: (K, N) and (any, 12) to write shares, last prices and fills into, or without rows to
    keep none. Returns (K, 6) equity cash fees slippage corporate traded, the fills table and its length.
    """
    close, volume, whole = market[3], market[4], rules[4]
    needs_volume = rules[2] > 0.0 and not rules[6]
    N, keep, count = close.shape[1], len(held) > 0, 0
    money = np.zeros((stop - start, 6))
    shares, locked, orders, last = np.zeros(N), np.zeros(N), np.zeros(N), np.full(N, np.nan)
    out, reason, deals, before = np.empty((7, N)), np.empty(N, np.uint8), np.empty((6, N)), np.full(N, np.nan)
    cash, waiting, e, reference = capital, -1, np.searchsorted(events[0], start), np.full(N, np.nan)
    for t in range(start if needs_volume else 0):
        _seen(before, volume[t])
    for t in range(start, stop):
        row = money[t - start]
        if fresh[t]:
            locked[:] = 0.0
            reference[:] = last
        while e < len(events[0]) and events[0][e] == t:
            cash, paid = _event(cash, shares, last, reference, orders, events[1][e], events[2][e], events[3][e], whole)
            row[4], e = row[4] + paid, e + 1
        cash, paid = _corporate(cash, shares, last, reference, orders, market[5][t], rules, reinvest)
        row[4] += paid
        if waiting >= 0 and not same_bar:
            cash, row[2], row[3], row[5] = _trade(
                cash, shares, locked, reference, orders, t, market, before, rules, short[waiting], out, reason, deals
            )
            if keep:
                table, count = _note(table, count, t, waiting, orders, out, reason)
        _mark(last, t, market, rules)
        waiting = pending[t]
        if waiting >= 0:
            equity = value_of(cash, shares, last, whole)
            size(equity, weights[waiting], shares, last, close[t], whole, orders)
            if same_bar:
                cash, row[2], row[3], row[5] = _trade(
                    cash, shares, locked, reference, orders, t, market, before, rules, short[waiting], out, reason,
                    deals,
                )  # fmt: skip
                if keep:
                    table, count = _note(table, count, t, waiting, orders, out, reason)
        if needs_volume:
            _seen(before, volume[t])
        row[0], row[1] = value_of(cash, shares, last, whole), cash
        if keep:
            held[t - start], marks[t - start] = shares, last
    return money, table, count
