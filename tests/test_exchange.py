"""The exchange: one step against a slow plain-Python twin and hand-worked bars, a book against a fold of steps."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import make_panel

from hitherto.errors import ConfigError, DataError
from hitherto.exchange.account import REASONS
from hitherto.exchange.simulate import SAME_CLOSE, simulate
from hitherto.exchange.step import Costs, State, step, to_orders
from hitherto.outcome import MarketRow, Outcome
from hitherto.panel import Panel
from hitherto.portfolio.base import Weights
from hitherto.portfolio.construct import buy_and_hold, equal_weight, long_short, topk_dropout

NAN = np.nan
seeds = st.integers(0, 10**6)


def market(close, open_=None, growth=None, tradable=None):
    close = np.asarray(close, float)
    none = np.full(close.shape, NAN)
    open_ = close if open_ is None else np.asarray(open_, float)
    growth = np.ones(close.shape) if growth is None else np.asarray(growth, float)
    tradable = np.isfinite(close) if tradable is None else np.asarray(tradable)
    return MarketRow(open_, none, none, close, none, growth, tradable, none)


def slow_sale(cash, held, asked, at, costs, allow_short):
    """One sale: (shares sold, price, fee, slippage, reason)."""
    amount = asked if allow_short else min(asked, max(held, 0.0))
    if amount == 0:
        return 0.0, NAN, 0.0, 0.0, "no shares"
    if amount != held:
        amount = whole(amount, costs) if allow_short else min(whole(amount, costs), held)
    if amount == 0:
        return 0.0, NAN, 0.0, 0.0, "below one lot"
    value = amount * at
    fee = max(value * costs.fee_bps / 1e4, costs.min_fee) + value * costs.sell_tax_bps / 1e4
    slip = value * costs.slippage_bps / 1e4
    if not allow_short and cash + value < fee + slip:
        return 0.0, NAN, 0.0, 0.0, "no cash"
    return amount, at, fee, slip, "filled"


def slow_scale(cash, values, costs):
    """The largest share of all buys that the cash affords, by bisection."""

    def cost(s):
        slip = 1 + costs.slippage_bps / 1e4
        return sum(s * v * slip + max(s * v * costs.fee_bps / 1e4, costs.min_fee) for v in values)

    if not values or cost(1.0) <= cash * (1 - 1e-12):
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(200):
        mid = (low + high) / 2
        low, high = (mid, high) if cost(mid) <= cash * (1 - 2e-12) else (low, mid)
    return low if low >= 1e-12 else 0.0


def whole(amount, costs):
    return amount if not costs.lot else np.floor(amount / costs.lot + 1e-9) * costs.lot


def slow_step(state, orders, row, costs, price="close", allow_short=False, reinvest=False):
    """The same rules in plain Python floats, one name after the other."""
    cash, shares, last, orders = float(state.cash), list(state.shares), list(state.last), list(orders)
    at, names = getattr(row, price), range(len(orders))
    corporate, reason = 0.0, ["filled"] * len(orders)
    filled, paid, fees = [0.0] * len(orders), [NAN] * len(orders), [0.0] * len(orders)
    for n in names:
        in_shares = reinvest or row.growth[n] < 1  # a falling factor is a reverse split
        credit = shares[n] * (last[n] - last[n] / row.growth[n]) if row.growth[n] > 1 else 0.0
        corporate += credit
        cash += 0 if in_shares else credit
        shares[n] *= row.growth[n] if in_shares else 1
        orders[n] *= row.growth[n] if in_shares else 1
        last[n] /= row.growth[n]
    for n in names:
        if orders[n] and not (row.tradable[n] and at[n] > 0):
            reason[n] = "not tradable"
        elif orders[n] < 0:
            sale = slow_sale(cash, shares[n], -orders[n], at[n], costs, allow_short)
            amount, paid[n], fees[n], slip, reason[n] = sale
            if amount:
                cash, shares[n], filled[n] = cash + amount * paid[n] - fees[n] - slip, shares[n] - amount, -amount
    wanted = {n: whole(orders[n], costs) for n in names if orders[n] > 0 and reason[n] == "filled"}
    values = [wanted[n] * at[n] for n in wanted if wanted[n]]
    scale = 1.0 if allow_short else slow_scale(cash, values, costs)
    for n, asked in wanted.items():
        amount = asked if scale == 1 else whole(asked * scale, costs)
        if amount == 0:
            reason[n] = "no cash" if asked else "below one lot"
            continue
        filled[n], paid[n] = amount, at[n]
        fees[n] = max(amount * paid[n] * costs.fee_bps / 1e4, costs.min_fee)
        cash -= amount * paid[n] * (1 + costs.slippage_bps / 1e4) + fees[n]
        shares[n] += amount
    last = [c if np.isfinite(c) else p for p, c in zip(last, row.close, strict=True)]
    return State(cash, np.array(shares), np.array(last)), filled, paid, fees, reason, corporate


def random_case(seed, B=1, short=False, lot=0, min_fee=0.0):
    """Accounts that hold something, orders of both signs, halts, ex dates, too little cash now and then."""
    rng = np.random.default_rng(seed)
    N = int(rng.integers(1, 7))
    last = 10 * np.exp(rng.normal(0, 1, N))
    close = last * np.exp(rng.normal(0, 0.05, N))
    tradable = rng.random(N) > 0.2
    close[~tradable] = NAN
    growth = np.where(rng.random(N) < 0.3, rng.uniform(0.8, 2.2, N), 1.0)
    open_ = close * np.exp(rng.normal(0, 0.01, N))
    shares = np.round(rng.exponential(100, (B, N)) * (rng.random((B, N)) < 0.6))
    if short:
        shares *= rng.choice([-1, 1], (B, N))
    orders = np.round(rng.normal(0, 100, (B, N)), 1) * (rng.random((B, N)) < 0.8)
    orders = np.where(rng.random((B, N)) < 0.2, -shares, orders)  # whole holdings sold
    state = State(rng.exponential(1500, B) * (rng.random(B) < 0.9), shares, np.tile(last, (B, 1)))
    costs = Costs(
        fee_bps=rng.uniform(0, 30), slippage_bps=rng.uniform(0, 30), min_fee=min_fee, sell_tax_bps=10, lot=lot
    )
    return state, orders, market(close, open_, growth, tradable), costs


@pytest.mark.parametrize("price", ["close", "open"])
@given(
    seed=seeds,
    short=st.booleans(),
    reinvest=st.booleans(),
    lot=st.sampled_from([0, 1, 100]),
    min_fee=st.sampled_from([0, 5]),
)
def test_the_step_equals_its_slow_twin(price, seed, short, reinvest, lot, min_fee):
    state, orders, row, costs = random_case(seed, short=short, lot=lot, min_fee=min_fee)
    one = State(state.cash[0], state.shares[0], state.last[0])
    rules = {"price": price, "allow_short": short, "reinvest": reinvest}
    got, fills = step(one, orders[0], row, costs, **rules)
    want, filled, paid, fees, reason, corporate = slow_step(one, orders[0], row, costs, **rules)
    size = float(one.cash + np.abs(one.shares * one.last).sum() + np.abs(orders[0] * one.last).sum() + 1)
    assert abs(got.cash - want.cash) <= 1e-12 * size
    assert abs(fills.corporate - corporate) <= 1e-12 * size
    np.testing.assert_allclose(got.shares, want.shares, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(got.last, want.last, rtol=1e-15)
    np.testing.assert_allclose(fills.shares, filled, rtol=1e-11, atol=1e-9)
    np.testing.assert_allclose(fills.price, paid, rtol=1e-15)
    np.testing.assert_allclose(fills.fee, fees, rtol=1e-11, atol=1e-9)
    assert [REASONS[code] for code in fills.reason] == reason


@given(seed=seeds, short=st.booleans())
def test_a_batch_equals_its_accounts_one_by_one(seed, short):
    state, orders, row, costs = random_case(seed, B=4, short=short, min_fee=1.0)
    after, fills = step(state, orders, row, costs, allow_short=short)
    for b in range(4):
        one, its = step(State(*(x[b] for x in state[:3])), orders[b], row, costs, allow_short=short)
        for whole, single in zip([*after, *fills], [*one, *its], strict=True):
            assert np.array_equal(whole[b], single, equal_nan=True)
    rows = MarketRow(*(np.tile(x, (4, 1)) for x in row))
    again, _ = step(state, orders, rows, costs, allow_short=short)
    assert all(np.array_equal(x, y, equal_nan=True) for x, y in zip(after, again, strict=True))


@given(seed=seeds, lot=st.sampled_from([0, 1]), min_fee=st.sampled_from([0, 5]))
def test_long_only_never_borrows_nor_shorts(seed, lot, min_fee):
    state, orders, row, costs = random_case(seed, B=3, lot=lot, min_fee=min_fee)
    after, fills = step(state, orders * 50, row, costs)
    assert (after.cash >= 0).all()
    assert (after.shares >= 0).all()
    paid = np.nansum(fills.shares * fills.price, axis=1) + (fills.fee + fills.slippage).sum(1)
    held = state.cash + fills.corporate - paid
    np.testing.assert_allclose(after.cash, held, rtol=1e-9, atol=1e-6)
    assert ((fills.shares == 0) == np.isnan(fills.price)).all()
    assert not fills.shares[(fills.reason != 0)].any()


def test_one_bar_by_hand():
    """A: 100 shares, last 10, ex date with factor 1.25 -> ex price 8, 200 in cash. Sell 50 at 8: 400, fee 10 bps
    0.40, tax 10 bps 0.40, slippage 1 % 4. B: buy 20 at 25: 500, fee 0.50, slippage 5."""
    state = State(100.0, np.array([100.0, 0.0]), np.array([10.0, 24.0]))
    row = market([8.0, 25.0], growth=[1.25, 1.0])
    costs = Costs(fee_bps=10, slippage_bps=100, sell_tax_bps=10)
    after, fills = step(state, np.array([-50.0, 20.0]), row, costs)
    assert fills.corporate == pytest.approx(200, rel=1e-12)
    assert fills.price == pytest.approx([8, 25], rel=1e-12)
    assert fills.fee == pytest.approx([0.8, 0.5], rel=1e-12)
    assert fills.slippage == pytest.approx([4, 5], rel=1e-12)
    assert after.cash == pytest.approx(100 + 200 + 400 - 0.8 - 4 - 500 - 0.5 - 5, rel=1e-12)
    assert after.shares.tolist() == [50, 20]
    assert after.last.tolist() == [8, 25]


def test_buys_are_scaled_by_one_factor_when_cash_is_short():
    """Cash 1010; both buys ask for 1000 each at 1 % fee: 2020. Each gets a half."""
    state = State(1010.0, np.zeros(2), np.array([10.0, 20.0]))
    after, fills = step(state, np.array([100.0, 50.0]), market([10.0, 20.0]), Costs(fee_bps=100))
    assert fills.shares == pytest.approx([50, 25], rel=1e-11)
    assert 0 <= after.cash < 1e-8
    assert fills.reason.tolist() == [0, 0]
    short, _ = step(state, np.array([100.0, 50.0]), market([10.0, 20.0]), Costs(fee_bps=100), allow_short=True)
    assert short.cash == pytest.approx(-1010)


def test_the_minimum_fee_counts_in_the_scaling():
    """Cash 1005, fee 1 bp but at least 5: 1000 worth of one name is what it buys."""
    after, fills = step(
        State(1005.0, np.zeros(1), np.array([10.0])), np.array([500.0]), market([10.0]), Costs(1, min_fee=5)
    )
    assert fills.shares == pytest.approx([100], rel=1e-11)
    assert fills.fee == [5]
    assert 0 <= after.cash < 1e-8
    broke, fills = step(State(4.0, np.zeros(1), np.array([10.0])), np.array([1.0]), market([10.0]), Costs(1, min_fee=5))
    assert broke.cash == 4
    assert REASONS[fills.reason[0]] == "no cash"


def test_lots_and_odd_lots():
    state = State(1e6, np.array([250.0, 250.0, 0.0, 0.0]), np.full(4, 10.0))
    orders = np.array([-120.0, -250.0, 99.0, 399.9999999999])
    after, fills = step(state, orders, market(np.full(4, 10.0)), Costs(lot=100))
    assert after.shares.tolist() == [150, 0, 0, 400]  # a whole holding may go, odd as it is
    assert [REASONS[c] for c in fills.reason] == ["filled", "filled", "below one lot", "filled"]


def test_what_cannot_be_traded_is_refused_with_a_reason():
    state = State(50.0, np.array([10.0, 0.0, 0.0, 5.0]), np.array([10.0, 10.0, 10.0, 10.0]))
    row = market([NAN, 10.0, 10.0, 10.0], tradable=[False, True, False, True])
    after, fills = step(state, np.array([-10.0, -5.0, 5.0, 0.0]), row, Costs())
    assert [REASONS[c] for c in fills.reason] == ["not tradable", "no shares", "not tradable", "filled"]
    assert after.shares.tolist() == state.shares.tolist()
    assert after.cash == 50
    assert after.last.tolist() == [10, 10, 10, 10]  # the suspended name keeps its last price
    poor, fills = step(State(0.0, np.array([1.0]), np.array([2.0])), np.array([-1.0]), market([2.0]), Costs(min_fee=5))
    assert REASONS[fills.reason[0]] == "no cash"  # the fee exceeds proceeds and cash
    assert poor.shares[0] == 1


@given(seed=seeds, reinvest=st.booleans(), short=st.booleans())
def test_a_corporate_action_at_the_ex_price_makes_nobody_richer(seed, reinvest, short):
    """A price that falls exactly by the factor: equity is unchanged, for holders and shorts, halted or not."""
    rng = np.random.default_rng(seed)
    last, growth = rng.uniform(5, 50, 5), rng.uniform(0.5, 3, 5)
    shares = rng.uniform(-10, 10, 5) if short else rng.uniform(0, 10, 5)
    close = np.where(rng.random(5) < 0.3, NAN, last / growth)
    state = State(100.0, shares, last)
    after, _ = step(state, np.zeros(5), market(close, growth=growth), Costs(), reinvest=reinvest)
    before = 100 + (shares * last).sum()
    assert after.cash + (after.shares * after.last).sum() == pytest.approx(before, rel=1e-12, abs=1e-9)


def test_orders_bring_an_account_to_its_weights():
    state = State(np.array([100.0, -500.0]), np.array([[10.0, 0.0], [0.0, 20.0]]), np.full((2, 2), 10.0))
    orders = to_orders(state, np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([10.0, NAN]))
    assert orders.tolist() == [[0.0, 0.0], [0.0, 0.0]]  # equity 200: 10 shares of A is half; the second is ruined
    one = to_orders(State(100.0, np.zeros(2), np.full(2, NAN)), np.array([0.5, -0.5]), np.array([10.0, 20.0]))
    assert one.tolist() == [5, -2.5]


def panel_of(close, **fields):
    close = np.array(close, float)
    T, N = close.shape
    known = np.isfinite(close)
    sessions = np.datetime64("2020-01-01") + np.arange(T)
    on = np.ones((T, N), bool)
    return Panel(
        times=sessions.astype("datetime64[ns]").astype(np.int64), sessions=sessions,
        symbols=tuple("ABCDEFGH"[:N]), fields={"close": close, **{k: np.array(v, float) for k, v in fields.items()}},
        listed=fields.get("listed", on.copy()), suspended=~known, missing=~on, universe=on.copy(),
    )  # fmt: skip


def weights_of(values, decided=None, name="w"):
    values = np.array(values, float)
    return Weights(name, values, np.ones(len(values), bool) if decided is None else np.array(decided))


def test_three_bars_by_hand():
    """Capital 1000, 10 bps fee, 10 bps slippage, half each in A and B decided at bar 0, all in A decided at bar 1.

    Bar 0: closes 10, 20: orders 50 A, 25 B. Bar 1: closes 11, 19. A is worth 50 x 11 = 550, B 25 x 19 = 475,
    with fee and slippage 1.002 x 1025 = 1027.05 > 1000: scale 0.973662... Bar 2: A goes ex by 1.1 to 10, B halts.
    """
    panel = panel_of([[10, 20], [11, 19], [10, NAN]], factor=[[1, 1], [1, 1], [1.1, 1]])
    w = weights_of([[0.5, 0.5], [1, 0], [0, 0]])
    book = simulate(panel, w, costs=Costs(fee_bps=10, slippage_bps=10), capital=1000)
    s = 1000 / (1.002 * (50 * 11 + 25 * 19))
    a, b = 50 * s, 25 * s
    equity1 = a * 11 + b * 19
    assert book.equity[:2] == pytest.approx([1000, equity1], rel=1e-11)
    assert book.cash[1] == pytest.approx(0, abs=1e-8)
    assert book.fees[1] == pytest.approx(1 / 1.002, rel=1e-9)
    assert book.slippage[1] == pytest.approx(0.001 * equity1, rel=1e-9)
    assert book.corporate[2] == pytest.approx(a * 11 * (1 - 1 / 1.1), rel=1e-9)
    # The order for A (decided at 11) buys with the dividend; B, halted, is refused and stays.
    bought = min(equity1 / 11 - a, a * 1 / (1.002 * 10))
    assert book.shares[2] == pytest.approx([a + bought, b], rel=1e-9)
    assert book.equity[2] == pytest.approx(book.cash[2] + (a + bought) * 10 + b * 19, rel=1e-9)
    f = book.fills
    assert [f.t.tolist(), f.n.tolist(), f.decided.tolist()] == [[1, 1, 2, 2], [0, 1, 0, 1], [0, 0, 1, 1]]
    assert f.ordered == pytest.approx([50, 25, equity1 / 11 - a, -b], rel=1e-9)
    assert [REASONS[c] for c in f.reason] == ["filled", "filled", "filled", "suspended"]
    assert np.isnan(f.price[3])
    assert book.flags == ()


def random_weights(panel, seed, short=False, every=1):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=panel.shape)
    scores[panel.suspended] = NAN
    mask = panel.universe
    return long_short(scores, mask, k=2, every=every) if short else topk_dropout(scores, mask, 3, 1, every)


def check_book(book, panel, costs=None):
    """The identities of a book: equity, the flow of cash, and time order."""
    held = np.where(book.shares != 0, book.shares * book.price, 0).sum(1)
    np.testing.assert_allclose(book.cash + held, book.equity, rtol=1e-9)
    flow = np.zeros(len(book.cash))
    f = book.fills
    paid = np.where(f.shares != 0, f.shares * f.price, 0) + f.fee + f.slippage
    np.add.at(flow, book.fills.t - book.start, paid)
    moved = np.diff(book.cash) - book.corporate[1:]
    np.testing.assert_allclose(moved, -flow[1:], atol=1e-9 * np.abs(book.equity).max())
    fees = np.zeros(len(book.cash))
    np.add.at(fees, book.fills.t - book.start, book.fills.fee)
    np.testing.assert_allclose(fees, book.fees, rtol=1e-9, atol=1e-12)
    assert (np.diff(book.fills.t) >= 0).all()
    if SAME_CLOSE not in book.flags:
        assert (book.fills.decided < book.fills.t).all()
    traded = book.fills.shares != 0
    assert not panel.suspended[book.fills.t[traded], book.fills.n[traded]].any()


@given(
    seed=seeds,
    short=st.booleans(),
    fill=st.sampled_from(["next_close", "next_open", "same_close"]),
    every=st.integers(1, 4),
)
def test_books_add_up(seed, short, fill, every):
    panel = make_panel(T=25, N=6, seed=seed, halts=0.1, factor=True)
    costs = Costs(fee_bps=10, slippage_bps=5, min_fee=1, sell_tax_bps=10)
    book = simulate(panel, random_weights(panel, seed, short, every), costs=costs, fill=fill, capital=1e5)
    check_book(book, panel)
    assert (SAME_CLOSE in book.flags) == (fill == "same_close")
    if not short:
        assert (book.cash >= 0).all()
        assert (book.shares >= 0).all()
    again = simulate(panel, random_weights(panel, seed, short, every), costs=costs, fill=fill, capital=1e5)
    assert np.array_equal(book.equity, again.equity)


def test_the_check_of_books_can_fail():
    panel = make_panel(T=25, N=6, factor=True)
    book = simulate(panel, random_weights(panel, 0), costs=Costs(10))
    with pytest.raises(AssertionError):
        check_book(dataclasses.replace(book, cash=book.cash * (1 + 1e-6)), panel)
    with pytest.raises(AssertionError):
        check_book(dataclasses.replace(book, fills=dataclasses.replace(book.fills, decided=book.fills.t)), panel)


@pytest.mark.parametrize("fill", ["next_close", "next_open"])
@given(seed=seeds, short=st.booleans(), reinvest=st.booleans())
def test_the_simulation_is_a_fold_of_steps(fill, seed, short, reinvest):
    panel = make_panel(T=20, N=5, seed=seed, halts=0.15, factor=True)
    costs = Costs(fee_bps=10, slippage_bps=5, min_fee=1, lot=100 * (seed % 2))
    w = random_weights(panel, seed, short, 2)
    book = simulate(panel, w, costs=costs, fill=fill, capital=1e5, reinvest=reinvest)
    state = State(1e5, np.zeros(5), np.full(5, NAN))
    orders = np.zeros(5)
    for t, row in enumerate(Outcome(panel).markets()[book.start :], book.start):
        state, fills = step(
            state, orders, row, costs, price=fill.removeprefix("next_"), allow_short=short, reinvest=reinvest
        )
        orders = to_orders(state, w.values[t], row.close) if w.decided[t] else np.zeros(5)
        i = t - book.start
        assert state.cash == book.cash[i]
        assert np.array_equal(state.shares, book.shares[i])
        assert np.array_equal(state.last, book.price[i], equal_nan=True)
        assert fills.fee.sum() == pytest.approx(book.fees[i], rel=1e-12)
        assert fills.slippage.sum() == pytest.approx(book.slippage[i], rel=1e-12)
        assert fills.corporate == book.corporate[i]


@pytest.mark.parametrize("fill", ["next_close", "next_open"])
@given(seed=seeds, cut=st.integers(3, 18), short=st.booleans(), delay=st.integers(1, 2))
def test_rewriting_the_future_leaves_book_and_fills(fill, seed, cut, short, delay):
    """Rows after ``cut`` of prices, masks and weights are replaced: everything up to ``cut`` keeps its bits."""
    a, b = (make_panel(T=22, N=5, seed=s, halts=0.1, factor=True) for s in (seed, seed + 1))
    wa, wb = random_weights(a, seed, short), random_weights(b, seed + 1, not short)
    keep = np.arange(22) <= cut
    mixed = a.replace(
        fields={k: np.where(keep[:, None], v, b.fields[k]) for k, v in a.fields.items()},
        suspended=np.where(keep[:, None], a.suspended, b.suspended),
    )
    wm = Weights("m", np.where(keep[:, None], wa.values, wb.values), np.where(keep, wa.decided, wb.decided))
    costs = Costs(10, 5, min_fee=1)
    one, two = (simulate(p, w, costs=costs, fill=fill, delay=delay) for p, w in ((a, wa), (mixed, wm)))
    n = cut + 1 - one.start
    for name in ("equity", "cash", "shares", "price", "fees", "slippage", "corporate", "traded"):
        assert np.array_equal(getattr(one, name)[:n], getattr(two, name)[:n], equal_nan=True), name
    for f in dataclasses.fields(one.fills):
        x, y = (getattr(book.fills, f.name)[book.fills.t <= cut] for book in (one, two))
        assert np.array_equal(x, y, equal_nan=True), f.name


def test_the_open_fill_does_not_read_the_close_of_its_bar():
    panel = make_panel(T=12, N=4)
    w = equal_weight(panel.universe, every=5)
    close = panel.fields["close"].copy()
    close[6] *= 1.5
    moved = panel.replace(fields={**panel.fields, "close": close})
    one, two = (simulate(p, w, fill="next_open") for p in (panel, moved))
    at = one.fills.t <= 6
    assert (one.fills.t == 6).any()
    assert np.array_equal(one.fills.shares[at], two.fills.shares[at])
    assert one.equity[6] != two.equity[6]
    later, moved_later = (simulate(p, w, fill="next_close") for p in (panel, moved))
    assert not np.array_equal(later.fills.price[at], moved_later.fills.price[at])


@given(seed=seeds)
def test_a_free_reinvested_holding_earns_the_adjusted_price(seed):
    panel = make_panel(T=30, N=1, seed=seed, halts=0.2, factor=True)
    first, second = np.flatnonzero(~panel.suspended[:, 0])[:2]
    if second != first + 1:
        return  # bought one bar after the decision only when that bar trades
    w = buy_and_hold(~panel.suspended)
    book = simulate(panel, w, reinvest=True)
    adjusted = Outcome(panel).last_known()[:, 0] * panel.fields["factor"][:, 0]
    known = np.flatnonzero(~panel.suspended[:, 0])
    known = known[known >= second]
    held, cash = book.shares[known - book.start, 0] * panel.fields["close"][known, 0], book.cash[-1]
    np.testing.assert_allclose(held / held[0], adjusted[known] / adjusted[second], rtol=1e-9)
    assert cash >= 0


def test_same_close_fills_at_once_and_says_so():
    panel = panel_of([[10.0], [20.0], [40.0]])
    w = weights_of([[1.0], [0], [0]], [True, False, False])
    book = simulate(panel, w, fill="same_close", capital=100)
    assert book.equity == pytest.approx([100, 200, 400], rel=1e-9)
    assert book.flags == (SAME_CLOSE,)
    assert book.fills.t[0] == book.fills.decided[0] == 0
    honest = simulate(panel, w, capital=100)
    assert honest.equity == pytest.approx([100, 100, 200], rel=1e-9)


def test_a_delay_uses_old_weights_and_fresh_prices():
    panel = panel_of([[10.0], [20.0], [40.0], [80.0]])
    book = simulate(panel, weights_of([[0.5], [0], [0], [0]], [True, False, False, False]), capital=100, delay=2)
    assert book.fills.t.tolist() == [2]
    assert book.fills.decided.tolist() == [0]
    assert book.fills.ordered.tolist() == [50 / 20]  # half of 100 at the close before the fill
    assert book.flags == ("delay: fills 1 bars later than normal",)


def test_a_suspended_name_is_kept_and_refused():
    panel = panel_of([[10, 10], [10, 10], [NAN, 10], [NAN, 10], [5, 10]])
    w = weights_of([[1, 0], [0, 1], [0, 1], [0, 1], [0, 0]])
    book = simulate(panel, w, capital=100)
    assert book.shares[:, 0] == pytest.approx([0, 10, 10, 10, 10], rel=1e-9)
    assert book.equity == pytest.approx([100, 100, 100, 100, 50], rel=1e-9)
    f = book.fills
    # Sold at bar 2 in vain; bars 2 and 3 know no close of A and order nothing; bar 4 is the last.
    assert [(int(t), REASONS[r]) for t, n, r in zip(f.t, f.n, f.reason, strict=True) if n == 0] == [
        (1, "filled"),
        (2, "suspended"),
    ]


def test_a_suspension_flag_refuses_even_where_a_price_is_given():
    halted = np.array([[False], [True], [False]])
    panel = panel_of([[10.0], [10.0], [10.0]]).replace(suspended=halted)
    book = simulate(panel, weights_of([[1.0]] * 3), capital=100)
    assert [REASONS[r] for r in book.fills.reason] == ["suspended", "filled"]
    assert [bool(row.tradable[0]) for row in Outcome(panel).markets()] == [True, False, True]


def test_a_delisted_position_stays_frozen_and_is_reported():
    listed = np.array([[True], [True], [False], [False]])
    panel = panel_of([[10.0], [8.0], [NAN], [NAN]]).replace(listed=listed, suspended=np.zeros((4, 1), bool))
    book = simulate(panel, weights_of([[1.0], [0], [0], [0]]), capital=80)
    assert book.equity == pytest.approx([80, 80, 80, 80], rel=1e-9)
    assert book.flags == ("delisted: 1 positions are frozen at their last price: A",)
    assert [REASONS[r] for r in book.fills.reason] == ["filled", "not listed"]


def test_ruin_closes_the_book_and_is_flagged():
    panel = panel_of([[10.0], [10.0], [30.0], [10.0], [10.0]])
    book = simulate(panel, weights_of([[-1.0]] * 5), capital=100)
    assert book.equity == pytest.approx([100, 100, -100, 100, 100])
    assert book.shares[:, 0].tolist() == [0, -10, -10, 0, -10]  # at -100 it only closes
    assert book.flags == ("ruined: equity fell to -100.00 on 2020-01-03",)


def test_long_short_gross_stays_as_ordered():
    panel = make_panel(T=10, N=6)
    w = random_weights(panel, 0, short=True)
    book = simulate(panel, w, capital=1e6)
    gross = np.abs(book.shares * book.price).sum(1) / book.equity
    assert np.all(np.abs(gross[1:] - 2) < 0.3)  # 2 at the decision's prices, one bar of 2 % moves later
    assert (book.shares < 0).any()


def test_refusals():
    panel = make_panel(T=6, N=2)
    good = equal_weight(panel.universe)

    def refuse(error, text, weights=good, market=panel, **options):
        with pytest.raises(error, match=text):
            simulate(market, weights, **options)

    refuse(
        ConfigError, r"^simulate: fill must be 'next_close', 'next_open' or 'same_close', got 'close'$", fill="close"
    )
    refuse(ConfigError, r"^simulate: delay must be >= 1 bar, got 0; for the same bar say fill='same_close'$", delay=0)
    refuse(ConfigError, r"^simulate: capital must be a positive amount, got 0$", capital=0)
    refuse(ConfigError, r"^simulate: bars 4..2 are empty or outside the panel's 0..6$", start=4, stop=2)
    closes = panel_of(np.ones((6, 2)))
    refuse(
        DataError, r"^a fill at the next open needs open; these bars hold only close\.", market=closes, fill="next_open"
    )
    refuse(
        DataError,
        r"^simulate: weights 'w' have shape \(6, 3\) and \(6,\), the panel \(6, 2\);",
        weights_of(np.ones((6, 3))),
    )
    refuse(DataError, r"^simulate: weights 'w' decide nothing on any row;", weights_of(np.zeros((6, 2)), [False] * 6))
    refuse(DataError, r"^simulate: weights 'w' are not finite on 2015-01-05; 0 means", weights_of(np.full((6, 2), NAN)))
    refuse(
        ConfigError,
        r"negative on 2015-01-05 but allow_short is False;",
        weights_of(np.full((6, 2), -0.5)),
        allow_short=False,
    )
    refuse(
        ConfigError,
        r"^simulate: weights 'w' sum to 1.5 on 2015-01-05; a long-only book",
        weights_of(np.full((6, 2), 0.75)),
    )
    bad = panel.replace(fields={**panel.fields, "factor": np.array([[1.0, 1], [1, -1]] * 3)})
    refuse(DataError, r"^simulate: the factor of S001 on 2015-01-06 is not positive;", market=bad)
    with pytest.raises(ConfigError, match=r"^costs: fee_bps must be a number >= 0, got -1$"):
        Costs(fee_bps=-1)
    with pytest.raises(ConfigError, match=r"^costs: lot must be a whole number of shares \(0 = fractions\), got 0.5$"):
        Costs(lot=0.5)
    with pytest.raises(ConfigError, match=r"must stay below 10000 bps \(100 %\)$"):
        Costs(slippage_bps=10_000)
    state, row = State(1.0, np.ones(2), np.ones(2)), market([1.0, 1.0])
    with pytest.raises(DataError, match=r"^step: 1 orders are NaN or infinite; 0 means no order$"):
        step(state, np.array([1.0, NAN]), row, Costs())
    with pytest.raises(DataError, match=r"^step: shares are held of a name that has no last price;"):
        step(state._replace(last=np.array([1.0, NAN])), np.zeros(2), row, Costs())
    with pytest.raises(
        DataError, match=r"^step: cash \(1,\), shares \(1, 2\), last \(1, 2\) and orders \(1, 3\) do not"
    ):
        step(state, np.zeros(3), row, Costs())
    with pytest.raises(DataError, match=r"^step: growth must be > 0"):
        step(state, np.zeros(2), market([1.0, 1.0], growth=[0.0, 1.0]), Costs())
    with pytest.raises(DataError, match=r"^step: the market row has shape \(1, 3\), the accounts \(1, 2\)$"):
        step(state, np.zeros(2), market(np.ones(3)), Costs())
    with pytest.raises(DataError, match=r"^to_orders: weights have shape \(3,\), the shares \(2,\)$"):
        to_orders(state, np.ones(3), np.ones(2))


DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "ashare" / "csi300_ever_daily.parquet"


@pytest.mark.skipif(not DATA.exists(), reason="the real A-share bars (shared/data/ashare) are not here")
def test_a_real_two_for_one_split_is_no_windfall():
    """SH600008 went from 8.12 to 4.07 on 2016-05-23 with its factor x 2.035: the day's gain is 2 %, not 54 %."""
    import polars as pl

    one = pl.scan_parquet(DATA).filter(pl.col("symbol").cast(pl.String) == "SH600008").sort("date").collect()
    one = one.filter(pl.col("date").is_between(pl.date(2016, 5, 16), pl.date(2016, 6, 3)))
    close, factor = (one[c].to_numpy().astype(float)[:, None] for c in ("close", "factor"))
    panel = panel_of(close, factor=factor)
    books = [simulate(panel, buy_and_hold(panel.universe), reinvest=r) for r in (False, True)]
    i = int(np.argmax(factor[1:, 0] > 1.5 * factor[:-1, 0])) + 1
    adjusted = (close * factor)[i, 0] / (close * factor)[i - 1, 0] - 1
    assert abs(adjusted) < 0.03
    for book in books:
        assert book.returns[i - 1] == pytest.approx(adjusted, abs=0.012)
    assert books[1].returns[i - 1] == pytest.approx(adjusted, abs=1e-6)
