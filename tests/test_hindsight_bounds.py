"""Hindsight's bounds: the programme against every sequence of holdings, and the proved bounds against what books make.

The bounds are theorems, so no random test here can fail by luck: one violation is one bug.
"""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import make_panel

from hitherto.errors import ConfigError, DataError
from hitherto.exchange import terms as col
from hitherto.exchange.account import REASONS
from hitherto.exchange.simulate import Venue, simulate
from hitherto.exchange.terms import Costs, Rulings
from hitherto.hindsight import best_path, lower_bound, upper_bound, worst_path
from hitherto.hindsight.tape import permissions
from hitherto.panel import read_bars
from hitherto.portfolio.base import Weights
from hitherto.portfolio.construct import buy_and_hold, equal_weight, topk, topk_dropout

seeds = st.integers(0, 10**6)
FILLS = ("next_close", "next_open")
DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "ashare" / "csi300_ever_daily.parquet"
BARRED = [REASONS.index(r) for r in ("limit up", "limit down", "one price", "suspended")]
EPS = 1e-9  # of log wealth: what float64 sums over a few thousand trades may lose


# 1. The programme against every sequence of holdings ------------------------------------------------------------------


def ticked(panel):
    """The panel with whole-cent prices, so that rounding to the tick changes nothing; some bars of one price."""
    fields = {k: np.round(v, 2) if k in ("open", "high", "low", "close") else v for k, v in panel.fields.items()}
    one = np.random.default_rng(panel.shape[0]).random(panel.shape) < 0.2
    for name in ("open", "high", "low"):
        fields[name] = np.where(one, fields["close"], fields[name])
    return panel.replace(fields=fields)


def rulings(panel, seed=0, up=200, down=150, minimum=0.0):
    """Toy rules of two terms that change on a random bar: limits near 2 %, a stamp duty on sales that is halved."""
    table = np.zeros((2, col.COLUMNS))
    table[:, [col.UP, col.DOWN, col.TICK, col.BAND]] = up, down, 100, 1
    table[:, [col.LOT, col.STEP, col.SETTLE]] = 100, 100, 1
    table[:, [col.COMMISSION, col.MINIMUM, col.TRANSFER]] = 300_000, minimum, 1_000
    table[:, col.TAX_SELL] = 2_000_000, 1_000_000
    table[:, col.SHARE_CAP] = np.inf
    kind = np.zeros(panel.shape, np.uint8)
    kind[np.random.default_rng(seed).integers(1, panel.shape[0]) :] = 1
    return Rulings("toy", kind, table, "0" * 64)


def barred(panel, rules, fill, t, n, last):
    """What the limits forbid at bar t, in whole cents from their definition: (no purchase, no sale)."""
    if not np.isfinite(last):
        return False, False
    row = rules.terms[rules.kind[t, n]]
    reference = int(np.floor(last * 100 + 0.5 + 1e-6))
    up = max((2 * reference * (10_000 + int(row[col.UP])) + 10_000) // 20_000, reference + 1)
    down = max(1, min((2 * reference * (10_000 - int(row[col.DOWN])) + 10_000) // 20_000, reference - 1))
    price = round(panel.fields["open" if fill == "next_open" else "close"][t, n] * 100)
    flat = panel.fields["high"][t, n] == panel.fields["low"][t, n] and fill == "next_close"
    return price >= up or (flat and price <= down), price <= down or (flat and price >= up)


def brute(panel, costs, sign, fill, rules):
    """Every sequence of holdings, its final log wealth by definition; returns the best of ``sign`` x it."""
    T, N = panel.shape
    price, close = panel.fields["open" if fill == "next_open" else "close"], panel.fields["close"]
    growth = np.ones((T, N))
    growth[1:] = panel.fields["factor"][1:] / panel.fields["factor"][:-1]
    best = -np.inf
    for rest in itertools.product(range(-1, N), repeat=T - 1):
        path, cash, shares, last = (-1, *rest), 1.0, 0.0, close[0].copy()
        for t in range(1, T):
            old, new = path[t - 1], path[t]
            last = last / growth[t]
            if old >= 0:
                shares *= growth[t, old]
            if old != new:
                dear, cheap = 0.0, costs.sell_tax_bps / 1e4
                both = (costs.fee_bps + costs.slippage_bps) / 1e4
                for n, selling in ((old, True), (new, False)):
                    if n < 0:
                        continue
                    if panel.suspended[t, n] or not (selling or panel.universe[t - 1, n]):
                        break
                    if rules and barred(panel, rules, fill, t, n, last[n])[selling]:
                        break
                    if rules:
                        row = rules.terms[rules.kind[t, n]]
                        both = (costs.fee_bps + costs.slippage_bps) / 1e4 + row[col.TRANSFER] / 1e8
                        dear, cheap = row[col.TAX_BUY] / 1e8, row[col.TAX_SELL] / 1e8
                    if selling:
                        cash, shares = shares * price[t, n] * (1 - both - cheap), 0.0
                    else:
                        cash, shares = 0.0, cash / (price[t, n] * (1 + both + dear))
                else:
                    last = np.where(np.isfinite(close[t]), close[t], last)
                    continue
                break
            last = np.where(np.isfinite(close[t]), close[t], last)
        else:
            final = cash if path[-1] < 0 else shares * last[path[-1]]
            best = max(best, sign * np.log(final))
    return sign * best


@settings(max_examples=40)
@given(seed=seeds, fill=st.sampled_from(FILLS), ruled=st.booleans(), fee=st.sampled_from([0, 2, 30]))
def test_the_programme_equals_brute_force(seed, fill, ruled, fee):
    rng = np.random.default_rng(seed)
    T, N = (5, 3) if seed % 2 else (6, 2)
    panel = ticked(make_panel(T=T, N=N, seed=seed, halts=0.15, factor=True))
    panel = panel.replace(universe=rng.random((T, N)) < 0.8)
    rules = rulings(panel, seed) if ruled else None
    costs = Costs(fee_bps=fee, slippage_bps=rng.integers(0, 20), sell_tax_bps=0 if ruled else rng.integers(0, 90))
    for find, sign in ((best_path, +1), (worst_path, -1)):
        path = find(panel, costs, fill=fill, rules=rules)
        assert path.log_wealth[-1] == pytest.approx(brute(panel, costs, sign, fill, rules), abs=1e-11)


def test_limits_and_dated_tax_change_the_best_path():
    """The oracle above would pass a programme that ignores rules if they never mattered: they matter in most worlds."""
    changed = taxed = 0
    for seed in range(20):
        panel = ticked(make_panel(T=40, N=4, seed=seed))
        rules = rulings(panel, seed)
        free = Rulings("toy", rules.kind, np.where(np.arange(col.COLUMNS) <= col.DOWN, -1, rules.terms), "0" * 64)
        half = Rulings("toy", np.ones_like(rules.kind), rules.terms, "0" * 64)
        got = best_path(panel, 0, rules=rules).log_wealth[-1]
        changed += got < best_path(panel, 0, rules=free).log_wealth[-1] - EPS
        taxed += got < best_path(panel, 0, rules=half).log_wealth[-1] - EPS
    assert changed > 10
    assert taxed > 10


def test_a_stamp_duty_is_paid_on_sales_only():
    close = np.array([[10.0], [10.0], [20.0], [10.0]])
    panel = make_panel(T=4, N=1).replace(fields={"close": close})
    kept = best_path(panel, Costs(sell_tax_bps=100), stop=3)  # bought at 10, marked at 20, never sold
    assert kept.log_wealth[-1] == pytest.approx(np.log(2))
    sold = best_path(panel, Costs(sell_tax_bps=100))
    assert sold.log_wealth[-1] == pytest.approx(np.log(2 * 0.99))
    assert (sold.cost_bps, sold.sell_bps) == pytest.approx((0, 100))


@given(seed=seeds, fill=st.sampled_from(FILLS))
def test_the_exchange_refuses_what_the_tape_forbids(seed, fill):
    """Twin of the exchange's own limits: fills happen where the tape allows them, refusals where it does not."""
    panel = ticked(make_panel(T=30, N=4, seed=seed, halts=0.1, factor=True))
    rules = rulings(panel, seed)
    rng = np.random.default_rng(seed)
    values = rng.dirichlet(np.ones(4), 30) * (rng.random((30, 4)) < 0.6)
    book = simulate(panel, Weights("any", values, np.ones(30, bool)), rules=rules, fill=fill, capital=1e8, start=0)
    buys, sells = permissions(panel, fill, rules)
    f = book.fills
    allowed = np.where(f.ordered > 0, buys[f.t, f.n], sells[f.t, f.n])
    assert allowed[f.reason == 0].all()
    assert not allowed[np.isin(f.reason, BARRED)].any()


# 2. The bounds against books ------------------------------------------------------------------------------------------


def contain(book_log, upper, lower=None):
    """Assert that a book's log wealth lies between the bounds on every bar."""
    over = np.max(book_log - upper)
    assert over <= EPS, f"above the upper bound by {over:.3g}"
    if lower is not None:
        under = np.max(lower - book_log)
        assert under <= EPS, f"below the lower bound by {under:.3g}"


def one_name(path, T):
    """Weights that follow a path, decided and filled at the same close (the fills of the path itself)."""
    values = np.zeros((T, len(path.symbols)))
    bars = path.start + np.flatnonzero(path.holding >= 0)
    values[bars, path.holding[path.holding >= 0]] = 1.0
    decided = np.zeros(T, bool)
    decided[path.start + 1 :] = path.holding[1:] != path.holding[:-1]
    decided[path.start] = True
    return Weights("path", values, decided)


@given(seed=seeds, sign=st.sampled_from([1, -1]))
def test_the_best_and_the_worst_path_are_books_that_the_exchange_makes(seed, sign):
    """The bounds are attained: the exchange, following the path, earns exactly the log wealth that it promises."""
    panel = make_panel(T=50, N=5, seed=seed, halts=0.05, factor=True)
    costs = Costs(fee_bps=3, slippage_bps=2, sell_tax_bps=10)
    path = (best_path if sign > 0 else worst_path)(panel, costs)
    book = simulate(panel, one_name(path, 50), costs=costs, fill="same_close", reinvest=True)
    got = np.log(book.equity / book.equity[0])
    assert got == pytest.approx(path.log_wealth, abs=1e-8)
    upper, lower = (f(panel, costs, reinvest=True) for f in (upper_bound, lower_bound))
    assert (upper if sign > 0 else lower)[-1] == pytest.approx(path.log_wealth[-1], abs=1e-9)
    contain(got, upper, lower)


def test_wrong_costs_break_the_bound():
    """The planted failure: bounds computed with too high (upper) or too low (lower) costs do not hold their books."""
    panel = make_panel(T=60, N=5, seed=0, factor=True)
    right, high, low = Costs(fee_bps=5, sell_tax_bps=10), Costs(fee_bps=7, sell_tax_bps=10), Costs(fee_bps=5)
    for find, wrong in ((best_path, high), (worst_path, low)):
        path = find(panel, right)
        book = simulate(panel, one_name(path, 60), costs=right, fill="same_close", reinvest=True)
        got = np.log(book.equity / book.equity[0])
        contain(got, upper_bound(panel, right, reinvest=True), lower_bound(panel, right, reinvest=True))
        with pytest.raises(AssertionError, match="bound by"):
            contain(got, upper_bound(panel, wrong, reinvest=True), lower_bound(panel, wrong, reinvest=True))


def test_cash_from_a_dividend_is_spared_the_costs_of_a_sale():
    """Why the bound for books that take cash allows a free exit on ex-dates: without it this one lies above."""
    close = np.array([[10.0], [10.0], [5.0], [0.05]])
    panel = make_panel(T=4, N=1).replace(fields={"close": close, "factor": np.array([[1.0], [1.0], [2.0], [2.0]])})
    costs = Costs(sell_tax_bps=9000)
    ahead = make_panel(T=4, N=1).replace(fields={"close": np.array([[10.0], [20.0], [20.0], [20.0]])})
    assert upper_bound(ahead, costs)[-1] == 0  # nothing to gain after the first fill
    book = simulate(panel, Weights("b", np.ones((4, 1)), np.array([True, False, False, False])), costs=costs)
    assert book.equity / 1e6 == pytest.approx([1, 1, 1, 0.505])
    # Bought at 10: half is paid out at the ex-date, the rest falls to 0.05. Reinvested it would fall to 0.01.
    contain(np.log(book.equity / 1e6), upper_bound(panel, costs), lower_bound(panel, costs))
    with pytest.raises(AssertionError, match="below the lower bound"):
        contain(np.log(book.equity / 1e6), upper_bound(panel, costs), lower_bound(panel, 0, reinvest=True) + 2)


def random_weights(rng, panel, paths):
    """A random strategy: how many names, how often, how concentrated; every third one follows a path of hindsight."""
    T, N = panel.shape
    kind = rng.integers(3)
    if kind == 0:
        values = rng.dirichlet(np.full(N, rng.choice([0.1, 1.0, 10.0])), T) * rng.random((T, 1))
    elif kind == 1:
        keep = rng.random((T, N)) < rng.random()
        values = np.where(keep, rng.random((T, N)), 0.0)
        values /= np.maximum(values.sum(axis=1, keepdims=True), 1.0)
    else:
        holding = np.r_[paths[int(rng.integers(len(paths)))].holding[1:], -1]  # decided one bar before its fill
        holding = np.where(rng.random(T) < rng.choice([0.0, 0.1]), rng.integers(-1, N, T), holding)
        values = np.zeros((T, N))
        values[np.flatnonzero(holding >= 0), holding[holding >= 0]] = rng.choice([0.5, 1.0])
    decided = rng.random(T) < rng.choice([0.1, 0.5, 1.0])
    decided[0] = True
    return Weights("random", values, decided)


def rough(panel, rng):
    """The panel with what real bars have: dividends, splits both ways, unknown factors and prices, births, deaths."""
    T, N = panel.shape
    fields = {k: v.copy() for k, v in panel.fields.items()}
    jumps = rng.choice([0.5, 0.9, 1.05, 1.37, 2.0], (T, N))
    fields["factor"] = np.cumprod(np.where(rng.random((T, N)) < 0.04, jumps, 1.0), axis=0)
    for name in ("factor", "open", "close"):
        fields[name][rng.random((T, N)) < rng.choice([0.0, 0.1])] = np.nan
    rows, first, last = np.arange(T)[:, None], rng.integers(-T, T // 2, N), rng.integers(T // 2, 2 * T, N)
    return panel.replace(fields=fields, listed=(rows >= first) & (rows <= last))


def strategies_of_a_world(seed, wrong=0.0):
    """Hold 20 random strategies of one random market against both bounds, on every bar; return how many come close.

    wrong: bps a side by which the bounds' costs are too high (upper) or too low (lower): a planted failure.
    """
    rng = np.random.default_rng(seed)
    panel = make_panel(T=60, N=int(rng.integers(2, 9)), seed=int(rng.integers(1 << 30)), halts=0.08, factor=True)
    panel = rough(panel, rng) if seed % 2 else panel
    fee, slip, tax = float(rng.choice([0, 3, 50])) + 60 * (wrong > 0), rng.choice([0, 5, 40]), rng.choice([0, 10, 200])
    costs, dear, cheap = (Costs(fee_bps=fee + w, slippage_bps=slip, sell_tax_bps=tax) for w in (0, wrong, -wrong))
    fill, reinvest = FILLS[int(rng.integers(2))], bool(rng.integers(2))
    paths = [find(panel, costs, fill=fill) for find in (best_path, worst_path)]
    venue = Venue(panel, costs=costs, fill=fill)
    upper = upper_bound(panel, dear, fill=fill, reinvest=reinvest)
    lower = lower_bound(panel, cheap, fill=fill, reinvest=reinvest)
    near = 0
    for _ in range(20):
        weights = random_weights(rng, panel, paths)
        got = np.log(venue.equity(weights, reinvest=reinvest, delay=int(rng.integers(1, 3)), capital=1.0))
        contain(got, upper, lower)
        near += got[-1] > 0.7 * upper[-1] or got[-1] < 0.7 * lower[-1]
    return near


@pytest.mark.parametrize("block", range(5))
def test_the_bounds_contain_1000_random_strategies(block):
    """5 blocks x 10 worlds x 20 strategies: halts, ex-days, gaps, births and deaths, costs, fills, delays."""
    near = sum(strategies_of_a_world(10 * block + world) for world in range(10))
    assert near > 0  # some come close, or containing them would say little


@pytest.mark.parametrize("seed", range(0, 20, 2))
def test_wrong_costs_break_the_bounds_of_the_random_strategies(seed):
    """The planted failure: the very same check, with costs that are wrong by 60 bps a side, fails each time."""
    with pytest.raises(AssertionError, match="bound by"):
        strategies_of_a_world(seed, wrong=60.0)


def test_the_upper_bound_holds_with_minimum_fees_lots_caps_and_impact():
    """Everything left out of the bound only costs the book: 200 random strategies, 10 worlds."""
    costs = Costs(fee_bps=3, slippage_bps=2, min_fee=5, sell_tax_bps=10, lot=100, volume_cap=0.1, impact=0.5)
    for world in range(10):
        rng = np.random.default_rng(world)
        panel = make_panel(T=60, N=6, seed=world, halts=0.05, factor=True)
        venue, upper = Venue(panel, costs=costs), upper_bound(panel, costs)
        for _ in range(20):
            weights = random_weights(rng, panel, [best_path(panel, 10)])
            contain(np.log(venue.equity(weights, capital=1e6) / 1e6), upper)


def roundings(book):
    """Log of the capital that rounding may add: half a fen for each rounded value, fee part and credit, see the doc."""
    count = 8 * len(book.fills.t) + int((book.corporate != 0).sum()) * book.shares.shape[1]
    # An ex price is no whole pip until the name trades: it is valued to half a pip of 0.0001.
    return np.log1p(0.005 * count / book.equity[0]) + 0.00005 / np.nanmin(book.price)


@pytest.mark.parametrize("fill", FILLS)
def test_the_upper_bound_holds_in_whole_shares_and_fen(fill):
    """Dated taxes, limits, lots, T+1 and minimum commission: 200 random strategies, 10 worlds, each fill."""
    near = 0
    for world in range(10):
        rng = np.random.default_rng(world)
        panel = make_panel(T=60, N=5, seed=world, halts=0.05, factor=True)
        panel = rough(panel, rng) if world % 2 else ticked(panel)
        rules = rulings(panel, world, up=1000, down=1000, minimum=500)
        costs = Costs(fee_bps=2.5, slippage_bps=5)
        paths = [best_path(panel, costs, fill=fill, rules=rules)]
        venue, upper = (
            Venue(panel, costs=costs, rules=rules, fill=fill),
            upper_bound(panel, costs, fill=fill, rules=rules),
        )
        for _ in range(20):
            book = venue.book(random_weights(rng, panel, paths), capital=1e8)
            got = np.log(book.equity / 1e8)
            contain(got - roundings(book), upper)
            near += got[-1] > 0.6 * upper[-1]
    assert near > 0


def test_the_bound_is_of_the_names_it_is_told():
    panel = make_panel(T=40, N=5, seed=2)
    outside = np.ones(panel.shape, bool)
    outside[:, 2:] = False
    two = panel.assets(np.arange(2))
    assert np.array_equal(upper_bound(panel, 5, within=outside), upper_bound(two, 5))
    assert upper_bound(panel, 5)[-1] > upper_bound(two, 5)[-1]
    assert np.array_equal(upper_bound(panel, 5, times=2), upper_bound(panel, 10))
    part = upper_bound(panel, 5, 10, 30)
    assert part.shape == (20,)
    assert part[0] == 0
    assert np.array_equal(part, upper_bound(panel.rows(30).since(10), 5))


def test_a_falling_factor_is_a_reverse_split():
    panel = make_panel(T=5, N=2)
    fields = {
        "close": np.array([[10.0, 10]] * 3 + [[20.0, 10]] * 2),
        "factor": np.array([[2.0, 1]] * 3 + [[1.0, 1]] * 2),
    }
    panel = panel.replace(fields=fields)
    book = simulate(panel, Weights("b", np.full((5, 2), 0.5), np.array([True, False, False, False, False])))
    assert book.equity == pytest.approx(np.full(5, 1e6))
    assert not upper_bound(panel).any()
    assert not lower_bound(panel).any()


def test_messages():
    panel = make_panel(T=10, N=3)
    with pytest.raises(DataError, match=r"^lower_bound: min_fee and impact are not proportional to the value traded"):
        lower_bound(panel, Costs(min_fee=5, impact=1))
    with pytest.raises(DataError, match=r"^lower_bound: the rules' minimum commission and whole lots are not prop"):
        lower_bound(panel, rules=rulings(panel))
    with pytest.raises(ConfigError, match=r"^hindsight: cost_bps must lie in \[0, 10000\), got nan$"):
        upper_bound(panel, float("nan"))
    with pytest.raises(ConfigError, match=r"^hindsight: a sale would cost 120% of its value; costs must stay below"):
        upper_bound(panel, Costs(fee_bps=6000), times=2)
    with pytest.raises(ConfigError, match=r"^hindsight: times must be a number >= 0, got -1$"):
        upper_bound(panel, 5, times=-1)
    with pytest.raises(ConfigError, match=r"^hindsight: fill must be 'next_close' or 'next_open', got 'same_close'$"):
        best_path(panel, 5, fill="same_close")
    factor = panel.replace(
        fields={**panel.fields, "factor": np.where(np.arange(10)[:, None] < 5, 1.0, 0.0) + np.zeros((10, 3))}
    )
    with pytest.raises(DataError, match=r"^hindsight: the factor of S000 on 2015-01-10 is not positive; correct it"):
        upper_bound(factor)


# 3. Real bars ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real():
    if not DATA.exists():
        pytest.skip("the real bars of shared/data/ashare are not here")
    return read_bars(str(DATA), zone="Asia/Shanghai")


def strategies(panel):
    """Name -> weights of 20 strategies that people trade, and of one that cheats."""
    price, ok = panel.view("close"), panel.universe
    change = np.full(panel.shape, np.nan)
    change[1:] = price[1:] / price[:-1] - 1

    def past(n):
        out = np.full(panel.shape, np.nan)
        out[n:] = price[n:] / price[:-n] - 1
        return out

    sums = np.cumsum(np.nan_to_num(change) ** 2, axis=0)
    risk = np.where(
        np.isfinite(price), np.vstack([np.full((60, panel.shape[1]), np.nan), sums[60:] - sums[:-60]]), np.nan
    )
    traded = panel.fields["volume"] * panel.fields["close"]
    rank = np.random.default_rng(0).normal(size=panel.shape)
    cheat = np.full(panel.shape, np.nan)
    cheat[:-2] = price[2:] / price[1:-1]
    made = {
        "equal weight monthly": equal_weight(ok, 20), "equal weight yearly": equal_weight(ok, 240),
        "buy and hold": buy_and_hold(ok), "random daily": topk(rank, ok, 50), "random one": topk(rank, ok, 1, 5),
        "least traded": topk(-traded, ok, 20, 20), "most traded": topk(traded, ok, 20, 5),
        "close at the high": topk(panel.fields["close"] / panel.fields["high"], ok, 10, 1),
    }  # fmt: skip
    for n, k, every in ((20, 1, 1), (20, 10, 5), (60, 50, 20), (250, 5, 20)):
        made[f"momentum {n}/{k}/{every}"] = topk(past(n), ok, k, every)
    for n, k, every in ((1, 50, 1), (5, 10, 5), (20, 3, 1)):
        made[f"reversal {n}/{k}/{every}"] = topk(-past(n), ok, k, every)
    for k, every in ((1, 20), (50, 5)):
        made[f"low volatility {k}/{every}"] = topk(-risk, ok, k, every)
    made["top 50, 5 out"] = topk_dropout(past(20), ok, 50, 5)
    made["top 10, 1 out"] = topk_dropout(-past(5), ok, 10, 1, 2)
    made["high volatility"] = topk(risk, ok, 5, 10)
    assert len(made) == 20
    made["sees tomorrow"] = topk(cheat, ok, 1)
    return made


def test_the_bounds_contain_20_real_strategies(real):
    """741 stocks, 3,643 days, both fills, dividends in cash (upper bound) and reinvested (both), nothing violated."""
    costs = Costs(fee_bps=2.5, slippage_bps=5, sell_tax_bps=10)
    venues = {fill: Venue(real, costs=costs, fill=fill) for fill in FILLS}
    bounds = {}
    ends = {}
    for i, (name, weights) in enumerate(strategies(real).items()):
        fill, reinvest = FILLS[i % 2], i % 3 > 0
        start = int(np.argmax(weights.decided))
        key = (fill, reinvest, start)
        if key not in bounds:
            lower = lower_bound(real, costs, start, fill=fill, reinvest=True) if reinvest else None
            bounds[key] = upper_bound(real, costs, start, fill=fill, reinvest=reinvest), lower
        equity = venues[fill].equity(weights, reinvest=reinvest, capital=1.0)
        contain(np.log(equity), *bounds[key])
        ends[name] = np.log10(equity[-1]), bounds[key][0][-1] / np.log(10)
    got, most = ends["sees tomorrow"]
    assert got > 0.5 * most  # a cheat comes half the way in log wealth, so the bound is no empty one


def test_the_upper_bound_contains_20_real_strategies_under_chinese_rules(real):
    """Whole lots, dated fees, limits, T+1: the same strategies; fills and refusals are where the tape says so."""
    from hitherto.exchange.rules import lay

    rules, costs = lay("cn", real, assume_st="never"), Costs(fee_bps=2.5, slippage_bps=5)
    venues = {fill: Venue(real, costs=costs, rules=rules, fill=fill) for fill in FILLS}
    may = {fill: permissions(real, fill, rules) for fill in FILLS}
    for i, weights in enumerate(made for name, made in strategies(real).items() if name != "sees tomorrow"):
        fill = FILLS[i % 2]
        book = venues[fill].book(weights, capital=1e7)
        bound = upper_bound(real, costs, book.start, fill=fill, rules=rules)
        contain(np.log(book.equity / 1e7) - roundings(book), bound)
        f = book.fills
        allowed = np.where(f.ordered > 0, may[fill][0][f.t, f.n], may[fill][1][f.t, f.n])
        assert allowed[f.reason == 0].all()
        assert not allowed[np.isin(f.reason, BARRED)].any()
