"""What must hold of every book under China's rules, on 1,000 random stretches of real bars, recomputed in the open."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import numpy as np
import pytest

from hitherto.exchange.account import REASONS, Book
from hitherto.exchange.rules import lay
from hitherto.exchange.simulate import simulate
from hitherto.exchange.terms import Costs, Rulings
from hitherto.panel import Panel, read_bars
from hitherto.portfolio.base import Weights

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "ashare" / "csi300_ever_daily.parquet"
STRETCHES = 1_000
FEE, CAP = Decimal("0.00025"), 0.1


@dataclass
class Session:
    """One random stretch of real bars, a random strategy, and its book."""

    seed: int
    panel: Panel
    rules: Rulings
    fill: str
    cap: float
    book: Book


def cut(panel, rules, rows, columns, session_length):
    """The bars ``rows`` of the names ``columns``; ``session_length`` bars count as one session."""
    fields = {k: v[rows][:, columns].copy() for k, v in panel.fields.items()}
    masks = {k: getattr(panel, k)[rows][:, columns].copy() for k in ("listed", "suspended", "missing", "universe")}
    sessions = panel.sessions[rows]
    sessions = sessions[np.arange(len(sessions)) // session_length * session_length]
    small = dataclasses.replace(
        panel, times=panel.times[rows], sessions=sessions, symbols=tuple(panel.symbols[n] for n in columns),
        fields=fields, **masks,
    )  # fmt: skip
    return small, dataclasses.replace(rules, kind=np.ascontiguousarray(rules.kind[rows][:, columns]))


def draw(seed, panel, rules, busy):
    """Stretch and strategy number ``seed``: half of the names have a halt, an ex-day or a one-price bar in it."""
    rng = np.random.default_rng(seed)
    length, N = int(rng.integers(4, 24)), int(rng.integers(3, 20))
    first = int(rng.integers(0, len(panel.times) - length))
    rows = slice(first, first + length)
    there = panel.listed[rows].any(axis=0)
    wanted = np.where(busy[rows].any(axis=0), 20.0, 1.0) * there
    columns = np.sort(rng.choice(len(there), N, replace=False, p=wanted / wanted.sum()))
    small, laid = cut(panel, rules, rows, columns, int(rng.integers(1, 4)))
    values = rng.random((length, N)) * (rng.random((length, N)) < 0.6)
    values /= np.maximum(values.sum(axis=1, keepdims=True), 1e-9)
    values *= rng.choice([0.0, 0.5, 1.0], (length, 1), p=[0.15, 0.25, 0.6])
    weights = Weights("random", values, rng.random(length) < 0.9)
    weights.decided[0] = True
    fill = "next_open" if seed % 2 else "next_close"
    costs = Costs(fee_bps=2.5, slippage_bps=float(rng.choice([0, 5])), volume_cap=float(rng.choice([0, CAP])),
                  impact=float(rng.choice([0, 1])))  # fmt: skip
    book = simulate(small, weights, costs=costs, rules=laid, fill=fill, capital=float(rng.choice([2e4, 1e6, 3e8])))
    return Session(seed, small, laid, fill, costs.volume_cap, book)


@pytest.fixture(scope="module")
def sessions():
    if not DATA.exists():
        pytest.skip("the real A-share bars are not here")
    panel = read_bars(DATA)
    rules = lay("cn", panel, assume_st="never")
    f = panel.fields
    busy = panel.suspended | (f["high"] == f["low"])
    busy[1:] |= f["factor"][1:] != f["factor"][:-1]
    return [draw(seed, panel, rules, busy) for seed in range(STRETCHES)]


def whole(values, unit):
    """Whole numbers of a unit (0.01, 0.0001); they must be whole."""
    scaled = np.asarray(values, float) / unit
    out = np.rint(scaled)
    assert np.allclose(scaled, out, rtol=0, atol=1e-3)
    return out.astype(np.int64)


def pips(prices):
    """Prices of the source (single precision) as whole pips of 0.0001 yuan, on the tick of 0.01."""
    return (np.floor(np.asarray(prices, float) * 100 + 0.5 + 1e-6) * 100).astype(np.int64)


def half_up(x, unit="1"):
    return x.quantize(Decimal(unit), ROUND_HALF_UP)


def done(s):
    """(t, n, shares, pips) of each fill as Python ints."""
    f = s.book.fills
    yes = f.reason == 0
    columns = f.t[yes], f.n[yes], f.shares[yes].astype(np.int64), whole(f.price[yes], 1e-4)
    return list(zip(*(c.tolist() for c in columns), strict=True))


def growth(panel):
    """(T, N) factor over the last known factor; a fall moves nothing in China."""
    factor = panel.fields["factor"]
    out, last = np.ones(factor.shape), factor[0].copy()
    for t in range(1, len(factor)):
        known = np.isfinite(factor[t]) & np.isfinite(last)
        out[t, known] = np.maximum(factor[t, known] / last[known], 1.0)
        last = np.where(np.isfinite(factor[t]), factor[t], last)
    return out


def references(s):
    """(T, N) ex price in yuan that a bar's limits start from: of the session before, NaN where the book saw none."""
    close, grown, days = s.panel.fields["close"], growth(s.panel), s.panel.sessions
    out, last = np.full(close.shape, np.nan), np.full(close.shape[1], np.nan)
    before = last
    for t in range(s.book.start, len(close)):
        if t == 0 or days[t] != days[t - 1]:
            before = last
        last, before = last / grown[t], before / grown[t]
        out[t] = before
        last = np.where(np.isfinite(close[t]), pips(np.nan_to_num(close[t])) / 1e4, last)
    return out


def limits(s, reference, t, n):
    """(down, up) in pips, half-up in decimals."""
    up, down, _, band = s.rules.terms[s.rules.kind[t, n]][:4]
    if not np.isfinite(reference[t, n]) or up < 0:
        return -1, 2**62
    ref = half_up(Decimal(int(np.floor(reference[t, n] * 1e6 + 0.5 + 1e-3))) / 10**6, "0.01")
    high = max(half_up(ref * (1 + Decimal(int(up)) / 10_000), "0.01"), ref + Decimal(int(band)) / 100)
    low = min(half_up(ref * (1 - Decimal(int(down)) / 10_000), "0.01"), ref - Decimal(int(band)) / 100)
    return int(low * 10_000), int(high * 10_000)


def test_the_sessions_are_real_and_many(sessions):
    reasons = Counter()
    for s in sessions:
        reasons.update(REASONS[r] for r in s.book.fills.reason)
    assert reasons["filled"] > 20_000
    for reason in ("no cash", "below one lot", "limit up", "limit down", "one price", "T+1", "suspended"):
        assert reasons[reason] > 10, reasons
    assert sum((growth(s.panel) > 1).any() for s in sessions) > 200


def test_cash_and_positions_are_the_equity_to_the_fen(sessions):
    odd = 0
    for s in sessions:
        b = s.book
        cash, equity, shares = whole(b.cash, 0.01), whole(b.equity, 0.01), b.shares.astype(np.int64)
        marks = np.where(shares != 0, b.price, 0.0) * 1e4
        on_tick = np.abs(marks - np.rint(marks)) < 1e-6  # a halted name's ex price lies between the pips
        value = np.where(on_tick, (shares * np.rint(marks).astype(np.int64) + 50) // 100, 0)
        rest = np.where(on_tick, 0.0, shares * marks / 100)
        slack = np.where(on_tick, 0.0, shares * 0.005 + 1).sum(axis=1)
        assert (np.abs(cash + value.sum(axis=1) + rest.sum(axis=1) - equity) <= slack).all(), s.seed
        odd += int((~on_tick).any())
    assert odd < 0.05 * len(sessions)


def test_cash_is_never_negative(sessions):
    assert min(int(whole(s.book.cash, 0.01).min()) for s in sessions) >= 0


def test_every_fill_lies_within_its_bar(sessions):
    for s in sessions:
        low, high = (pips(np.nan_to_num(s.panel.fields[k])) for k in ("low", "high"))
        for t, n, _, price in done(s):
            assert low[t, n] <= price <= high[t, n], (s.seed, t, n)


def test_no_fill_at_a_limit_on_the_wrong_side(sessions):
    beyond = 0
    for s in sessions:
        reference = references(s)
        for t, n, shares, price in done(s):
            down, up = limits(s, reference, t, n)
            assert price < up if shares > 0 else price > down, (s.seed, t, n)
            beyond += 1
    assert beyond > 20_000


def test_no_fill_on_a_one_price_board_or_a_suspended_day(sessions):
    boards = 0
    for s in sessions:
        reference, f = references(s), s.panel.fields
        for t, n, _, price in done(s):
            assert s.panel.listed[t, n]
            assert not s.panel.suspended[t, n]
            if s.fill == "next_close" and f["high"][t, n] == f["low"][t, n]:
                assert price not in limits(s, reference, t, n), (s.seed, t, n)
                boards += 1
    assert boards >= 1  # a name that traded at one price in the middle may be dealt in


def test_refusals_at_a_limit_are_true(sessions):
    """The other direction: who is refused for a limit did stand at it."""
    checked = 0
    for s in sessions:
        reference, f = references(s), s.book.fills
        at = pips(np.nan_to_num(s.panel.fields["open" if s.fill == "next_open" else "close"]))
        for t, n, code in zip(f.t.tolist(), f.n.tolist(), f.reason.tolist(), strict=True):
            if REASONS[code] in ("limit up", "limit down", "one price"):
                down, up = limits(s, reference, t, n)
                held = {"limit up": at[t, n] >= up, "limit down": at[t, n] <= down}
                assert held.get(REASONS[code], at[t, n] >= up or at[t, n] <= down), (s.seed, t, n)
                checked += 1
    assert checked > 200


def test_no_share_is_sold_in_the_session_that_bought_it(sessions):
    binding = 0
    for s in sessions:
        days = np.unique(s.panel.sessions, return_inverse=True)[1]
        before = np.vstack([np.zeros(s.panel.shape[1]), s.book.shares])  # row i: held before bar start + i
        sold, bought = Counter(), set()
        for t, n, shares, _ in done(s):
            if shares < 0:
                sold[int(days[t]), n] -= shares
            else:
                bought.add((int(days[t]), n))
        for (day, n), amount in sold.items():
            opening = max(int(np.argmax(days == day)), s.book.start)
            assert amount <= before[opening - s.book.start, n], (s.seed, day, n)
            binding += int((day, n) in bought)
    assert binding > 100


def test_holdings_are_the_running_sum_of_fills(sessions):
    for s in sessions:
        moves = np.zeros(s.book.shares.shape, np.int64)
        for t, n, shares, _ in done(s):
            moves[t - s.book.start, n] += shares
        np.testing.assert_array_equal(np.cumsum(moves, axis=0), s.book.shares, err_msg=str(s.seed))


def test_lots_are_lawful(sessions):
    boards = set()
    for s in sessions:
        for t, n, shares, _ in done(s):
            star = s.panel.symbols[n].startswith("SH688")
            boards.add(star)
            if shares > 0:
                assert shares >= 200 if star else shares % 100 == 0, (s.seed, t, n)
    assert boards == {True, False}


def test_odd_lots_are_sold_whole(sessions):
    """A sale that is no multiple of 100 leaves nothing behind that could have been sold. One bar a session here."""
    for s in sessions:
        if len(np.unique(s.panel.sessions)) < len(s.panel.sessions):
            continue
        for t, n, shares, _ in done(s):
            if shares < 0 and not s.panel.symbols[n].startswith("SH688") and shares % 100:
                assert s.book.shares[t - s.book.start, n] == 0, (s.seed, t, n)


def test_every_fee_part_is_half_up(sessions):
    change, seen = np.datetime64("2023-08-28"), set()
    for s in sessions:
        f, days = s.book.fills, s.panel.times.astype("datetime64[ns]").astype("datetime64[D]")
        yes = np.flatnonzero(f.reason == 0)
        parts = np.stack([whole(getattr(f, k)[yes], 0.01) for k in ("commission", "tax")], axis=1).tolist()
        for (t, _, shares, price), (commission, tax) in zip(done(s), parts, strict=True):
            value = half_up(Decimal(abs(shares) * price) / 10_000, "0.01")
            rate = Decimal(0) if shares > 0 else Decimal("0.0005" if days[t] >= change else "0.001")
            assert commission == max(int(half_up(value * FEE, "0.01") * 100), 500), (s.seed, t)
            assert tax == int(half_up(value * rate, "0.01") * 100), (s.seed, t)
            seen.add(rate)
    assert len(seen) == 3


def test_money_is_accounted_for(sessions):
    for s in sessions:
        b, f = s.book, s.book.fills
        flow = np.zeros(len(b.cash), np.int64)
        yes = np.flatnonzero(f.reason == 0)
        taken = whole(f.fee[yes] + f.slippage[yes], 0.01).tolist()
        for (t, _, shares, price), fee in zip(done(s), taken, strict=True):
            value = (abs(shares) * price + 50) // 100
            flow[t - b.start] += (-value if shares > 0 else value) - fee
        cash = whole(b.cash, 0.01)
        np.testing.assert_array_equal(np.diff(cash), (flow + whole(b.corporate, 0.01))[1:], err_msg=str(s.seed))
        for name in ("fees", "slippage"):
            assert whole(getattr(b, name), 0.01).min() >= 0


def test_ex_days_pay_what_the_price_loses(sessions):
    paid = 0
    for s in sessions:
        grown, b = growth(s.panel), s.book
        due = np.zeros(len(b.cash))
        for i in range(1, len(due)):
            g = grown[b.start + i]
            on = (g > 1) & (b.shares[i - 1] != 0)
            due[i] = np.floor(
                b.shares[i - 1, on] * np.rint(b.price[i - 1, on] * 1e4) * (1 - 1 / g[on]) / 100 + 0.5
            ).sum()
            paid += int(on.sum())
        assert np.abs(whole(b.corporate, 0.01) - due).max() <= 1, s.seed
    assert paid > 300


def test_the_volume_cap_holds(sessions):
    """At the close by the bar's own volume, at the open by the last volume known before."""
    near = 0
    for s in sessions:
        volume = s.panel.fields["volume"]
        for t, n, shares, _ in done(s) if s.cap else ():
            known = volume[: t + (s.fill == "next_close"), n]
            most = int(np.floor(s.cap * known[np.isfinite(known)][-1]))
            assert abs(shares) <= most, (s.seed, t, n)
            near += int(abs(shares) > most - 100)
    assert near > 100
