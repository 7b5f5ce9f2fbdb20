"""Hindsight: the two famous lists, bounds against brute force, and bounds against what books really make."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import make_panel

from hitherto.errors import ConfigError, DataError
from hitherto.exchange.simulate import simulate
from hitherto.exchange.step import Costs
from hitherto.hindsight import (
    best_path,
    best_single,
    best_topk,
    capture,
    compound,
    compound_edge,
    power_of_time,
    random_capture,
    rebalance_returns,
    worst_path,
    worst_single,
    worst_topk,
)  # fmt: skip
from hitherto.portfolio.base import Weights
from hitherto.portfolio.construct import topk

seeds = st.integers(0, 10**6)
GAINS = [80.89, 138.93, 149.07, 217.31, 183.21, 72.94, 108.51, 126.16, 138.08, 106.29, 116.43, 156]
LOSSES = [47.95, 14.25, 18.42, 61.73, 64.08, 47.65, 51.13, 41.92, 48.26, 40.94, 61.48, 45.36]


def test_the_two_famous_lists():
    """Ten thousand become 214.68 million (1万 -> 2.1468亿), 200 million become 95.7 thousand (2亿 -> 9.57万)."""
    up = compound(np.array(GAINS) / 100, 10_000)
    assert round(up[-1] / 1e8, 4) == 2.1468
    assert round(up[-1] / 1e6, 2) == 214.68
    assert up[0] == pytest.approx(18_089)
    down = compound(-np.array(LOSSES) / 100, 200e6)
    assert round(down[-1] / 1e4, 2) == 9.57
    assert round(down[-1] / 1e3, 1) == 95.7


def market_of(gains):
    """A panel of one decoy (flat) and one asset per list entry that earns exactly its gain in its own period."""
    K = len(gains)
    close = np.full((K + 1, K + 1), 10.0)
    for i, g in enumerate(gains):
        close[i + 1 :, i] *= 1 + g
    panel = make_panel(T=K + 1, N=K + 1)
    return panel.replace(fields={"close": close})


@pytest.mark.parametrize(("pick", "gains", "capital"), [(best_single, GAINS, 1e4), (worst_single, LOSSES, 2e8)])
def test_the_lists_come_out_of_a_market(pick, gains, capital):
    signed = np.array(gains) / 100 * (1 if pick is best_single else -1)
    periods = pick(market_of(signed), every=1, capital=capital)
    assert [p.asset for p in periods] == [f"S{i:03d}" for i in range(12)]
    assert [p.gain for p in periods] == pytest.approx(signed, rel=1e-12)
    assert [p.wealth for p in periods] == pytest.approx(compound(signed, capital), rel=1e-12)
    assert (periods[0].first, periods[0].last, periods[0].start, periods[-1].end) == ("2015-01-05", "2015-01-06", 0, 12)


def test_periods_follow_bars_or_the_calendar():
    panel = make_panel(T=70, N=3)  # sessions run daily from 2015-01-05
    assert [(p.start, p.end) for p in best_single(panel, 2, 20, every=7)] == [(2, 9), (9, 16), (16, 19)]
    months = best_single(panel, every="month")
    assert [p.last for p in months] == ["2015-01-31", "2015-02-28", "2015-03-15"]
    assert [p.first for p in months] == ["2015-01-05", "2015-01-31", "2015-02-28"]
    year = best_single(panel, every="year")
    assert [(p.start, p.end) for p in year] == [(0, 69)]


def test_a_name_must_trade_at_both_ends_and_be_in_the_universe():
    panel = market_of([1.0, 0.5, 0.2])  # asset i earns in period i; one period over all bars: 0 is best, then 1
    halted = np.zeros(panel.shape, bool)
    halted[3, 0] = True
    (p,) = best_single(panel.replace(suspended=halted), every=10)
    assert (p.asset, p.gain) == ("S001", pytest.approx(0.5))
    halted = np.zeros(panel.shape, bool)
    halted[1, 0] = True  # halted in between is no obstacle
    (p,) = best_single(panel.replace(suspended=halted), every=10)
    assert p.asset == "S000"
    outside = panel.universe.copy()
    outside[0, 0] = False
    (p,) = best_single(panel.replace(universe=outside), every=10)
    assert p.asset == "S001"
    (p,) = best_single(panel.replace(universe=np.zeros(panel.shape, bool)), every=10)
    assert (p.asset, p.gain, p.wealth) == ("", 0.0, 1.0)


def test_splits_do_not_count_as_losses():
    panel = make_panel(T=40, N=4, factor=True, seed=3)
    price = panel.view("close")
    for p in worst_single(panel, every=10):
        n = panel.symbols.index(p.asset)
        assert p.gain == pytest.approx(price[p.end, n] / price[p.start, n] - 1)
        assert p.gain == pytest.approx((price[p.end] / price[p.start]).min() - 1)


def brute(panel, cost_bps, sign):
    """Every sequence of holdings, its final log wealth by definition; returns the best of ``sign`` x it."""
    price, c, (T, N) = panel.view("close"), cost_bps / 1e4, panel.shape
    found = []
    for rest in itertools.product(range(-1, N), repeat=T - 1):
        path, wealth, worth = (-1, *rest), 1.0, np.full(N, np.nan)
        for t in range(T):
            before = worth.copy()
            worth = np.where(np.isfinite(price[t]), price[t], worth)
            if t == 0:
                continue
            old, new = path[t - 1], path[t]
            if old >= 0 and np.isfinite(before[old]):
                wealth *= worth[old] / before[old]
            if old != new:
                if (old >= 0 and panel.suspended[t, old]) or (
                    new >= 0 and (panel.suspended[t, new] or not panel.universe[t - 1, new])
                ):
                    break
                wealth *= ((1 - c) if old >= 0 else 1) / ((1 + c) if new >= 0 else 1)
        else:
            found.append(np.log(wealth))
    return max(sign * x for x in found) * sign


@settings(max_examples=25)
@given(seed=seeds, cost=st.sampled_from([0, 10, 100, 900]))
def test_the_programme_equals_brute_force(seed, cost):
    rng = np.random.default_rng(seed)
    T, N = (5, 3) if seed % 2 else (6, 2)
    panel = make_panel(T=T, N=N, seed=seed, halts=0.15, factor=True)
    panel = panel.replace(universe=rng.random((T, N)) < 0.8)
    assert best_path(panel, cost).log_wealth[-1] == pytest.approx(brute(panel, cost, +1), abs=1e-12)
    assert worst_path(panel, cost).log_wealth[-1] == pytest.approx(brute(panel, cost, -1), abs=1e-12)


@given(seed=seeds, cost=st.sampled_from([0, 5, 50]), fee=st.integers(0, 20))
def test_the_bounds_hold_every_single_holding_book(seed, cost, fee):
    """Random books that hold one name or cash at a time, filled at the next close, paying at least these costs."""
    panel = make_panel(T=40, N=5, seed=seed, halts=0.05, factor=True)
    rng = np.random.default_rng(seed)
    values = np.zeros(panel.shape)
    decided = rng.random(40) < 0.5
    pick = rng.integers(-1, 5, 40)
    values[decided & (pick >= 0), pick[decided & (pick >= 0)]] = 1.0
    decided[0] = True
    costs = Costs(fee_bps=cost + fee)
    book = simulate(panel, Weights("one", values, decided), costs=costs, reinvest=True)
    got = np.log(book.equity[-1] / book.equity[0])
    assert got <= best_path(panel, cost).log_wealth[-1] + 1e-9
    # The mirror must allow more cost than the book pays (each side at most cost + fee).
    assert got >= worst_path(panel, cost + fee).log_wealth[-1] - 1e-9


@given(seed=seeds)
def test_the_bounds_fall_with_costs_and_hold_each_asset(seed):
    panel = make_panel(T=50, N=4, seed=seed, halts=0.1)
    best = [best_path(panel, c).log_wealth[-1] for c in (0, 1, 10, 100, 1000, 9000)]
    worst = [worst_path(panel, c).log_wealth[-1] for c in (0, 1, 10, 100, 1000, 9000)]
    assert (np.diff(best) <= 1e-12).all()
    assert (np.diff(worst) <= 1e-12).all()
    assert best[-1] == 0  # cash is always allowed, and nothing pays 90 % a side
    price = panel.view("close")
    for n in range(4):
        known = np.flatnonzero(np.isfinite(price[1:, n])) + 1
        held = np.log(price[known[-1], n] / price[known[0], n])
        assert worst[0] - 1e-12 <= held <= best[0] + 1e-12


def test_the_path_is_what_it_says():
    panel = make_panel(T=60, N=5, seed=1)
    path = best_path(panel, 20, start=10, stop=50)
    assert path.start == 10
    assert path.holding.shape == path.log_wealth.shape == (40,)
    assert path.holding[0] == -1
    assert path.log_wealth[0] == 0
    assert path.trades == int((np.diff(path.holding) != 0).sum()) > 0
    outside = panel.replace(fields={k: np.where(np.arange(60)[:, None] < 50, v, 1.0) for k, v in panel.fields.items()})
    assert np.array_equal(best_path(outside, 20, 10, 50).log_wealth, path.log_wealth)


def test_topk_bounds_by_hand():
    panel = make_panel(T=6, N=3).replace(
        fields={"close": np.array([[9.0, 9, 9], [10, 10, 10], [9, 9, 9], [11, 12, 5], [9, 9, 9], [9, 9, 9]])}
    )
    rows = np.array([0, 2, 3])  # fills at bars 1, 3, 4: returns 10 %, 20 %, -50 %, then 9/11, 9/12, 9/5
    assert best_topk(panel, 2, rows) == pytest.approx([0.15, (9 / 11 + 9 / 5) / 2 - 1])
    assert worst_topk(panel, 1, rows) == pytest.approx([-0.5, 9 / 12 - 1])
    assert best_topk(panel, 6, rows)[0] == pytest.approx(-0.2 / 6)  # three names, the rest in cash
    assert capture(np.array([0.1, 0.0]), np.array([0.2, 0.5]), np.array([0.0, -0.5])) == pytest.approx(0.5)
    assert capture(np.array([0.1, 9.0]), np.array([0.2, 0.5]), np.array([0.0, 0.5])) == pytest.approx(0.5)


def test_the_bounds_choose_from_the_universe_of_the_decision():
    panel = make_panel(T=8, N=4, seed=5)
    price = panel.view("close")
    gain = price[5] / price[2] - 1
    outside = np.ones(panel.shape, bool)
    outside[1, np.argmax(gain)] = False
    (r,) = best_topk(panel.replace(universe=outside), 1, np.array([1, 4]))
    assert r == pytest.approx(np.sort(gain)[-2])


def test_the_open_fill_reads_opens():
    panel = make_panel(T=8, N=4, factor=True)
    rows, price = np.array([1, 4]), panel.view("open")
    assert best_topk(panel, 1, rows, "next_open") == pytest.approx([(price[5] / price[2]).max() - 1])
    assert not np.allclose(best_topk(panel, 1, rows, "next_open"), best_topk(panel, 1, rows, "next_close"))


@given(seed=seeds, k=st.integers(1, 5))
def test_a_book_lies_between_the_bounds(seed, k):
    """Any free top-k book, full at each rebalance, lies between the worst and the best k names."""
    panel = make_panel(T=40, N=8, seed=seed)
    scores = np.random.default_rng(seed).normal(size=panel.shape)
    w = topk(scores, panel.universe, k, every=5)
    rows = np.flatnonzero(w.decided)
    # Sized at the fill's own close the book holds exactly 1/k each; rows are moved so that its fills match the bounds'.
    book = simulate(
        panel, Weights("k", np.roll(w.values, 1, axis=0), np.roll(w.decided, 1)), fill="same_close", start=0
    )
    rows = rows[rows + 1 < 40]
    r, best, worst = rebalance_returns(book, rows), best_topk(panel, k, rows), worst_topk(panel, k, rows)
    assert (r <= best + 1e-9).all()
    assert (r >= worst - 1e-9).all()
    assert 0 <= capture(r, best, worst) <= 1


def test_the_best_book_captures_all_and_random_ones_lie_around_their_mean():
    panel = make_panel(T=60, N=10, seed=2)
    rows = np.arange(5, 55, 5)
    best, worst = best_topk(panel, 3, rows), worst_topk(panel, 3, rows)
    assert capture(best, best, worst) == 1
    assert capture(worst, best, worst) == 0
    got = random_capture(panel, 3, rows, n=400, rng=np.random.default_rng(0))
    assert got.low < got.mean < got.high
    # The mean of k names drawn at random is the mean of all of them.
    price = panel.view("close")[rows + 1]
    middle = capture((price[1:] / price[:-1] - 1).mean(axis=1), best, worst)
    # The standard error is sd / 20; 4 of them are exceeded by luck in 6e-5 of seeds.
    assert abs(got.mean - middle) < 4 * got.values.std() / 20
    assert np.mean((got.values >= got.low) & (got.values <= got.high)) == pytest.approx(0.95, abs=0.01)
    again = random_capture(panel, 3, rows, n=400, rng=np.random.default_rng(0))
    assert np.array_equal(got.values, again.values)


def test_topk_net_of_costs_by_hand():
    panel = make_panel(T=6, N=3).replace(
        fields={"close": np.array([[9.0, 9, 9], [10, 10, 10], [9, 9, 9], [11, 12, 5], [9, 9, 9], [9, 9, 9]])}
    )
    rows = np.array([0, 2, 3])  # the best: name 1 gains 20 %, then name 2 gains 80 %
    costs = Costs(fee_bps=60, slippage_bps=40, sell_tax_bps=50)  # 1 % to buy, 1.5 % to sell
    assert best_topk(panel, 1, rows, costs=costs) == pytest.approx([1.2 / 1.01 - 1, 0.985 / 1.01 * 9 / 5 - 1])
    assert best_topk(panel, 1, rows, costs=costs)[0] < best_topk(panel, 1, rows)[0]
    # The worst: name 2 halves; then name 1 falls to 9/12.
    assert worst_topk(panel, 1, rows, costs=costs) == pytest.approx([0.5 / 1.01 - 1, 0.985 / 1.01 * 9 / 12 - 1])
    # A name that stays is not traded at k = 1: it pays once.
    stay = panel.replace(fields={"close": np.cumprod(np.full((6, 3), [1.1, 1.0, 0.9]), axis=0)})
    assert best_topk(stay, 1, np.arange(4), costs=100) == pytest.approx([1.1 / 1.01 - 1, 0.1, 0.1])


@settings(max_examples=20)
@given(seed=seeds, k=st.integers(1, 6), fill=st.sampled_from(["next_close", "next_open"]))
def test_topk_net_of_costs_is_the_book_that_goes_from_pick_to_pick(seed, k, fill):
    panel = make_panel(T=30, N=5, seed=seed, halts=0.1, factor=True)
    rows, costs = np.arange(2, 27, 3), Costs(fee_bps=30, sell_tax_bps=100)
    gross, net = (best_topk(panel, k, rows, fill, costs=c) for c in (None, costs))
    assert (net <= gross + 1e-15).all()
    assert best_topk(panel, k, rows, fill, costs=0) == pytest.approx(gross, abs=1e-12)
    price = np.where(panel.suspended, np.nan, panel.view("open" if fill == "next_open" else "close"))[rows + 1]
    held, cash = np.zeros(5), 1.0
    for i, r in enumerate(price[1:] / price[:-1] - 1):
        order = [n for n in np.argsort(-r, kind="stable") if np.isfinite(r[n])][:k]
        before, low, high = held.sum() + cash, 0.0, held.sum() + cash
        for _ in range(60):  # the wealth left after the costs of bringing the picks to 1/k of it
            after = (low + high) / 2
            target = np.where(np.isin(np.arange(5), order), after / k, 0.0)
            change = target - held
            spent = 0.003 * change[change > 0].sum() - 0.013 * change[change < 0].sum()
            low, high = (after, high) if after + spent < before else (low, after)
        cash = after - target.sum()
        held = target * np.where(np.isfinite(r), 1 + r, 1)
        assert net[i] == pytest.approx((held.sum() + cash) / before - 1, abs=1e-12)


def test_weeks_quarters_and_several_names():
    panel = make_panel(T=200, N=4, seed=3)  # every day from Monday 2015-01-05
    weeks = best_single(panel, 0, 22, every="week")
    assert [(p.first, p.last) for p in weeks] == [
        ("2015-01-05", "2015-01-11"), ("2015-01-11", "2015-01-18"), ("2015-01-18", "2015-01-25"),
        ("2015-01-25", "2015-01-26"),
    ]  # fmt: skip
    assert [p.last for p in best_single(panel, every="quarter")] == ["2015-03-31", "2015-06-30", "2015-07-23"]
    (one,), (two,), (all_,) = (best_single(panel, every=300, top=k) for k in (1, 2, 9))
    price = panel.view("close")
    gain = np.sort(price[-1] / price[0] - 1)[::-1]
    assert one.gains == pytest.approx(gain[:1])
    assert (two.assets[0], two.gains[0]) == (one.asset, one.gain) == (two.asset, one.gains[0])
    assert two.gain == pytest.approx(gain[:2].mean())
    assert two.wealth == pytest.approx(1 + two.gain)
    assert all_.gains == pytest.approx(gain)
    assert worst_single(panel, every=300, top=4)[0].assets == all_.assets[::-1]


def test_the_power_of_time():
    assert compound_edge(-0.01, 365) == pytest.approx(0.0255, abs=5e-5)
    assert compound_edge(0.01, 365) == pytest.approx(37.78, abs=5e-3)
    assert power_of_time(37.7834, 365) == pytest.approx(0.01, abs=1e-7)
    assert power_of_time(1.0, 7) == 0
    assert compound_edge(0.0, 1e9) == 1
    with pytest.raises(
        DataError, match=r"^power_of_time: total must be final over initial wealth, a number > 0, got 0"
    ):
        power_of_time(0.0, 365)
    with pytest.raises(DataError, match=r"^power_of_time: periods must be a number > 0, got 0$"):
        power_of_time(2.0, 0)
    with pytest.raises(DataError, match=r"^compound_edge: edge must be a fraction > -1 \(0.01 = 1 %\), got -1$"):
        compound_edge(-1, 3)
    with pytest.raises(
        DataError, match=r"^compound_edge: \(1 \+ 1\) \*\* 2000 is about 10\^602, too large for a float"
    ):
        compound_edge(1.0, 2000)


@given(edge=st.floats(-0.5, 0.5), periods=st.floats(0.1, 300))
def test_the_power_of_time_and_its_reverse(edge, periods):
    assert power_of_time(compound_edge(edge, periods), periods) == pytest.approx(edge, rel=1e-9, abs=1e-12)


def test_messages():
    panel = make_panel(T=10, N=3)
    rows = np.array([1, 4])
    with pytest.raises(
        ConfigError,
        match=r"^hindsight: every must be a whole number of bars >= 1, or one of week, month, quarter, year; got 0$",
    ):
        best_single(panel, every=0)
    with pytest.raises(ConfigError, match=r"quarter, year; got 'day'$"):
        best_single(panel, every="day")
    with pytest.raises(ConfigError, match=r"^hindsight: rows 9..10 hold no period; the panel has rows 0..9$"):
        best_path(panel, 0, start=9)
    with pytest.raises(ConfigError, match=r"^hindsight: cost_bps must lie in \[0, 10000\), got -1$"):
        best_path(panel, -1)
    with pytest.raises(ConfigError, match=r"^hindsight: k must be a whole number of names >= 1, got 0$"):
        best_topk(panel, 0, rows)
    with pytest.raises(ConfigError, match=r"^hindsight: fill must be 'next_close' or 'next_open', got 'same_close'$"):
        best_topk(panel, 1, rows, "same_close")
    with pytest.raises(DataError, match=r"^hindsight: rebalances must be at least two rising rows$"):
        best_topk(panel, 1, np.array([3, 3]))
    with pytest.raises(DataError, match=r"^hindsight: rebalances 1..9 fill one bar later; the panel's last is 9$"):
        worst_topk(panel, 1, np.array([1, 9]))
    with pytest.raises(ConfigError, match=r"^hindsight: top must be a whole number of names >= 1, got 0$"):
        worst_single(panel, top=0)
    with pytest.raises(ConfigError, match=r"^hindsight: capital must be a positive amount, got nan$"):
        best_single(panel, capital=float("nan"))
    one, nan = np.zeros(2), np.array([0.0, np.nan])
    with pytest.raises(DataError, match=r"best and worst k are the same at every rebalance; k must be below"):
        capture(one, one, one)
    with pytest.raises(DataError, match=r"^capture: a return is NaN or infinite; drop that rebalance from all three$"):
        capture(nan, one + 1, one)
    with pytest.raises(
        DataError, match=r"^capture: \(2,\) returns, \(1,\) best, \(2,\) worst; use the same rebalances$"
    ):
        capture(one, one[:1], one)
    with pytest.raises(DataError, match=r"^compound: gains must be finite fractions >= -1"):
        compound([-1.5])
    book = simulate(panel, topk(np.ones(panel.shape), panel.universe, 1), start=3)
    with pytest.raises(DataError, match=r"^hindsight: the rebalances fill on bars 2..5, the book has 3..9; drop those"):
        rebalance_returns(book, rows)
