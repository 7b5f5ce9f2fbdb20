"""How firm a result is: costs, delays, capital, orders, years and the band of permuted scores."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import make_panel

import hitherto as ht
from hitherto.errors import ConfigError, DataError
from hitherto.evaluate.performance import summary
from hitherto.exchange.account import REASONS, Book, Fills
from hitherto.exchange.simulate import Venue
from hitherto.exchange.terms import Costs, Rulings
from hitherto.models.base import Context
from hitherto.portfolio.base import Weights
from hitherto.portfolio.construct import equal_weight, long_short, topk_dropout
from hitherto.report import html
from hitherto.report.content import Equity, ReportContent, Verdict
from hitherto.study import Study, forecasts_of, stress
from hitherto.study.evaluate import evaluate

COSTS = Costs(5.0, 5.0, 0.0, 10.0)


def make_desk(T=120, N=10, seed=0, costs=COSTS, scores=None, fill="next_close", halts=0.0, rules=None, k=3):
    """A top-k book of random scores (or of ``scores``) on a random market."""
    panel = make_panel(T, N, seed=seed, halts=halts)
    scores = np.random.default_rng(seed + 1).normal(size=(T, N)) if scores is None else scores(panel)
    mask = np.isfinite(panel.fields["close"])

    def rebuild(values):
        return topk_dropout(values, mask, k, 1)

    weights, venue = rebuild(scores), Venue(panel, costs=costs, fill=fill, rules=rules)
    rival = venue.book(equal_weight(mask), capital=1e6)
    return stress.Desk(
        panel, weights, venue.book(weights, capital=1e6), costs, fill=fill, rules=rules, rival=rival, scores=scores,
        mask=mask, rebuild=rebuild, seed=seed,
    )  # fmt: skip


def one_name(prices, costs, capital=1000.0, **panel):
    """A desk that buys one name at the close of bar 1, all it can, and keeps it."""
    prices = np.asarray(prices, float)[:, None]
    base = make_panel(len(prices), 1, fields=("close",))
    made = dataclasses.replace(base, fields={"close": prices}, **panel)
    weights = Weights("all in", np.zeros(prices.shape), np.zeros(len(prices), bool))
    weights.values[0], weights.decided[0] = 1.0, True
    book = Venue(made, costs=costs).book(weights, capital=capital)
    return stress.Desk(made, weights, book, costs, capital=capital)


# ---- costs and delay ----------------------------------------------------------------------------------------------


def test_costs_and_delays_of_a_book_worked_by_hand():
    """One name at 10, 10, 11, 12.1, 12.1: an order of 100 shares, filled at bar 1 (or 2, or 3), fees of 1 % x k."""
    part = stress.stress(one_name([10, 10, 11, 12.1, 12.1], Costs(fee_bps=100.0)))
    assert [(r.times, r.delay) for r in part.rows] == [(k, d) for d in (0, 1, 2) for k in (0, 1, 2, 5)]
    for row in part.rows:
        # 1,000 in cash buy 1000 / (price x (1 + fee)) shares, at most the 100 ordered at bar 0 (sized one bar later
        # per bar of delay: at 10, then at 11)
        ordered = 1000 / [10, 10, 11][row.delay]
        price = [10, 11, 12.1][row.delay]
        shares = min(ordered, 1000 / (price * (1 + 0.01 * row.times)))
        end = shares * 12.1 + 1000 - shares * price * (1 + 0.01 * row.times)
        assert row.net == pytest.approx((end / 1000) ** (252 / 4) - 1, rel=1e-9, abs=1e-9)
    assert part.breakeven == math.inf


def test_the_row_as_traded_is_the_book_as_traded():
    desk = make_desk()
    part, perf = stress.stress(desk), summary(desk.book, 252)
    row = next(r for r in part.rows if (r.times, r.delay) == (1.0, 0))
    assert row.net == pytest.approx(perf.cagr, rel=1e-12)
    assert row.sharpe.value == pytest.approx(perf.sharpe, rel=1e-9)
    assert row.sharpe.lo < row.sharpe.value < row.sharpe.hi
    assert row.max_drawdown == pytest.approx(perf.max_drawdown, rel=1e-12)
    assert row.difference.value == 0.0
    late = next(r for r in part.rows if (r.times, r.delay) == (1.0, 2))
    book = Venue(desk.panel, costs=COSTS).book(desk.weights, delay=3, stop=desk.stop)
    assert late.net == pytest.approx(summary(book, 252).cagr, rel=1e-12)
    assert late.difference.value == pytest.approx((book.returns - desk.book.returns).mean() * 252, rel=1e-9)
    free = next(r for r in part.rows if (r.times, r.delay) == (0.0, 0))
    assert free.net == pytest.approx(summary(Venue(desk.panel).book(desk.weights), 252).cagr, rel=1e-12)


def test_more_costs_leave_less():
    nets = {r.times: r.net for r in stress.stress(make_desk(), delays=(0,)).rows}
    assert nets[0.0] > nets[1.0] > nets[2.0] > nets[5.0]


def test_a_ruined_book_has_lost_everything_and_has_no_ratio():
    """Short 100 % of a name that goes from 10 to 30: 1,000 - 200 x 10 is gone."""
    desk = one_name([10, 10, 30, 30, 31], Costs())
    short = dataclasses.replace(desk.weights, values=-desk.weights.values)
    part = stress.stress(dataclasses.replace(desk, weights=short), delays=(0,))
    assert {r.net for r in part.rows} == {-1.0}
    assert all(math.isnan(r.sharpe.value) for r in part.rows)
    assert math.isnan(part.breakeven)


@pytest.mark.parametrize(
    ("nets", "at"),
    [
        ((0.10, 0.06, 0.02, -0.02), 3.5),
        ((0.10, 0.05, 0.0, -0.2), 2.0),
        ((0.02, -0.02, -0.1, -0.3), 0.5),
        ((0.10, 0.06, 0.02, 0.01), math.inf),
        ((0.0, -0.1, -0.2, -0.3), math.nan),
        ((0.1, math.nan, -0.2, -0.3), math.nan),
    ],
)
def test_breakeven_by_hand(nets, at):
    assert stress.breakeven((0.0, 1.0, 2.0, 5.0), nets) == pytest.approx(at, nan_ok=True)


# ---- capacity -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nets", "base", "at"),
    [
        ((0.10, 0.08, 0.02), 0.10, 10**7.5),
        ((0.10, 0.05, 0.02), 0.10, 1e7),
        ((0.04, 0.03, 0.02), 0.10, 0.0),
        ((0.10, 0.09, 0.06), 0.10, math.inf),
        ((0.10, 0.09, 0.06), 0.0, math.nan),
        ((0.10, math.nan, 0.06), 0.1, math.nan),
    ],
)
def test_half_gone_by_hand(nets, base, at):
    assert stress.half_gone((1e6, 1e7, 1e8), nets, base) == pytest.approx(at, rel=1e-12, nan_ok=True)


@pytest.mark.parametrize(("fill", "dated"), [("next_close", False), ("next_open", False), ("next_close", True)])
def test_capacity_counts_the_orders_that_met_the_cap(fill, dated):
    """The slow count: an order meets the cap when it is larger than a tenth of the volume known at its fill."""
    rules = chinese(make_panel(120, 10)) if dated else None
    desk = make_desk(fill=fill, halts=0.03, rules=rules, costs=Costs(3.0, 5.0))
    part = stress.capacity(desk)
    assert [r.capital for r in part.rows] == [1e6, 1e7, 1e8, 1e9]
    assert (part.cap, part.impact, part.base) == (0.1, 1.0, desk.growth)
    volume = desk.panel.fields["volume"]
    venue = Venue(desk.panel, costs=Costs(3.0, 5.0, volume_cap=0.1, impact=1.0), fill=fill, rules=rules)
    for row in part.rows:
        book = venue.book(desk.weights, capital=row.capital, stop=desk.stop)
        assert row.net == stress.growth(book.equity, 252)
        f, met = book.fills, 0
        for t, n, ordered, shares, reason in zip(f.t, f.n, f.ordered, f.shares, f.reason, strict=True):
            seen = volume[: t + (fill == "next_close"), n]
            known = seen[np.isfinite(seen)] if fill == "next_open" else seen[-1:]
            most = 0.1 * known[-1] if len(known) and np.isfinite(known[-1]) else 0
            most = math.floor(most) if dated else most
            cut = REASONS[reason] == "filled" and abs(shares) < abs(ordered) and abs(ordered) > most
            met += cut or REASONS[reason] == "volume cap"
            if REASONS[reason] == "filled":
                assert abs(shares) <= most
        assert row.cut == met / len(f.t)
    cuts = [r.cut for r in part.rows]
    assert cuts == sorted(cuts)
    assert cuts[-1] > 0.5 > cuts[0]


def test_capacity_keeps_the_studys_own_cap_and_impact():
    part = stress.capacity(make_desk(costs=dataclasses.replace(COSTS, volume_cap=0.25, impact=0.5)))
    assert (part.cap, part.impact) == (0.25, 0.5)


def test_capacity_without_volume_is_not_assessed():
    desk = one_name([10, 10, 11, 12, 12], Costs())
    assert stress.capacity(desk).not_assessed == "no volume"
    assert stress.capacity(desk).rows == ()


# ---- orders -------------------------------------------------------------------------------------------------------


def hand_made(equity, fills=(), sessions=None, traded=None, fees=None):
    """A desk around a book written by hand; fills: (t, n, decided, ordered, shares, reason)."""
    K = len(equity)
    zero = np.zeros(K)
    columns = list(zip(*fills, strict=True)) if fills else [[]] * 6
    t, n, decided = (np.array(c, np.int32) for c in columns[:3])
    ordered, shares = (np.array(c, float) for c in columns[3:5])
    none = np.zeros(len(t))
    made = Fills(t, n, decided, ordered, shares, none, none, none, none, none, none,
                 np.array([REASONS.index(r) for r in columns[5]], np.uint8))  # fmt: skip
    price = np.tile([10.0, 20.0], (K, 1))
    book = Book("mine", 0, np.array(equity, float), zero, np.zeros((K, 2)), price, zero if fees is None else fees, zero,
                zero, zero if traded is None else traded, made)  # fmt: skip
    panel = make_panel(K, 2)
    if sessions is not None:
        panel = dataclasses.replace(panel, sessions=np.array(sessions, "datetime64[D]"))
    return stress.Desk(panel, Weights("mine", zero[:, None] * [0, 0], zero > 0), book, Costs(), per=4)


def test_orders_by_outcome_of_a_book_written_by_hand():
    desk = hand_made(
        [100, 100, 100, 100, 100],
        [
            (1, 0, 0, 100, 100, "filled"), (1, 1, 0, 10, 4, "filled"), (2, 0, 1, -50, -50, "filled"),
            (2, 1, 1, -4, 0, "limit down"), (3, 1, 2, -4, 0, "limit down"), (3, 0, 2, 7, 0, "no cash"),
        ],
        traded=np.array([0, 40.0, 20.0, 0, 0]), fees=np.array([0, 1.0, 1.0, 0, 0]),
    )  # fmt: skip
    part = stress.orders(desk)
    assert [dataclasses.astuple(r) for r in part.rows] == [
        ("filled", 1, 1, 1000.0, 500.0, 0.0, 0.0),
        ("filled in part", 1, 0, 200.0, 0.0, 120.0, 0.0),
        ("no cash", 1, 0, 70.0, 0.0, 70.0, 0.0),
        ("limit down", 0, 2, 0.0, 160.0, 0.0, 160.0),
    ]
    assert part.turnover == pytest.approx(0.5 * 60 / 100)  # four bars are one year here
    assert part.cost == pytest.approx(0.02)


def test_every_order_is_counted_once():
    desk = make_desk(halts=0.05)
    part, f = stress.orders(desk), desk.book.fills
    assert sum(r.buys for r in part.rows) == (f.ordered > 0).sum()
    assert sum(r.sells for r in part.rows) == (f.ordered < 0).sum()
    assert {"filled", "suspended"} <= {r.reason for r in part.rows}
    refused = {REASONS[code] for code in np.unique(f.reason)} - {"filled"}
    assert refused == {r.reason for r in part.rows} - {"filled", "filled in part"}
    assert part.turnover == pytest.approx(summary(desk.book, 252).turnover, rel=1e-12)
    assert part.cost == pytest.approx(summary(desk.book, 252).cost, rel=1e-12)


def test_a_book_without_orders_has_no_rows():
    assert stress.orders(hand_made([100, 100])).rows == ()


# ---- calendar years -----------------------------------------------------------------------------------------------


def test_years_of_a_book_written_by_hand():
    days = ["2019-12-30", "2019-12-31", "2020-01-02", "2020-06-30", "2020-12-31", "2021-01-04"]
    desk = hand_made([100, 110, 121, 60.5, 121, 133.1], sessions=days, traded=np.full(6, 20.0), fees=np.full(6, 1.0))
    rival = dataclasses.replace(desk.book, equity=np.array([100, 100, 105, 105, 110, 99.0]))
    part = stress.periods(dataclasses.replace(desk, rival=rival))
    assert [(r.year, r.sessions) for r in part.rows] == [(2019, 1), (2020, 3), (2021, 1)]
    assert [r.net for r in part.rows] == pytest.approx([0.1, 0.1, 0.1])
    assert [r.excess for r in part.rows] == pytest.approx([0.1, 0.0, 0.2])
    assert [r.max_drawdown for r in part.rows] == pytest.approx([0, -0.5, 0])
    assert part.rows[1].turnover == pytest.approx(10 / 110 + 10 / 121 + 10 / 60.5)
    assert part.rows[1].cost == pytest.approx(1 / 110 + 1 / 121 + 1 / 60.5)
    r = np.array([0.1, -0.5, 1.0])
    assert part.rows[1].sharpe.value == pytest.approx(r.mean() / r.std(ddof=1) * 2)  # too short for an interval
    assert math.isnan(part.rows[1].sharpe.lo)
    assert math.isnan(part.rows[0].sharpe.value)  # one return has no deviation


def test_years_compound_to_the_whole():
    desk = make_desk(T=900)
    rows = stress.periods(desk).rows
    assert len(rows) == 3
    assert np.prod([1 + r.net for r in rows]) == pytest.approx(desk.book.equity[-1] / desk.book.equity[0], rel=1e-12)
    assert sum(r.sessions for r in rows) == len(desk.book.returns)
    assert all(r.sharpe.lo < r.sharpe.value < r.sharpe.hi for r in rows)
    assert all(math.isnan(r.excess) for r in stress.periods(dataclasses.replace(desk, rival=None)).rows)


def test_years_after_ruin_stand_still():
    days = ["2019-12-31", "2020-01-02", "2020-12-31", "2021-12-31"]
    rows = stress.periods(hand_made([100, 50, -10, -20], sessions=days)).rows
    assert [(r.year, r.net) for r in rows] == [(2020, -1.0), (2021, 0.0)]


# ---- permuted scores ----------------------------------------------------------------------------------------------


def slowly(scores, ok, order):
    """The definition: follow the permutation from n until a name that is ok."""
    out = np.full(scores.shape, np.nan)
    for t, n in zip(*np.nonzero(ok), strict=True):
        m = order[n]
        while not ok[t, m]:
            m = order[m]
        out[t, n] = scores[t, m]
    return out


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.floats(0, 1))
def test_permuted_scores_equal_their_definition(seed, names, share):
    rng = np.random.default_rng(seed)
    scores, ok = rng.normal(size=(6, names)), rng.random((6, names)) < share
    order = rng.permutation(names)
    out = stress.permuted(scores, ok, order)
    assert np.array_equal(out, slowly(scores, ok, order), equal_nan=True)
    assert np.array_equal(np.isfinite(out), ok)
    for before, after, among in zip(scores, out, ok, strict=True):  # nothing lost, nothing doubled
        assert sorted(before[among]) == sorted(after[among])
    everyone = np.ones(scores.shape, bool)
    assert np.array_equal(stress.permuted(scores, everyone, order), scores[:, order])


def test_every_permutation_of_the_names_with_a_score_is_equally_likely():
    """All 120 permutations of five names leave each of the 6 permutations of three of them 20 times."""
    scores, ok = np.arange(5.0)[None], np.array([[True, False, True, True, False]])
    made = [tuple(stress.permuted(scores, ok, np.array(p))[0, ok[0]]) for p in itertools.permutations(range(5))]
    counts = {p: made.count(p) for p in set(made)}
    assert counts == dict.fromkeys(itertools.permutations((0.0, 2.0, 3.0)), 20)


def test_a_name_that_drops_out_moves_one_other():
    rng = np.random.default_rng(0)
    scores = np.tile(rng.normal(size=40), (2, 1))
    ok = np.ones((2, 40), bool)
    ok[1, 7] = False
    one, two = stress.permuted(scores, ok, rng.permutation(40))
    assert ((one != two) & ok[1]).sum() == 1


def test_the_band_repeats_to_the_bit_whatever_the_threads():
    desk = make_desk()
    one, two = stress.null_band(desk, 20, threads=1), stress.null_band(desk, 20, threads=2)
    for a, b in ((one.low, two.low), (one.mid, two.mid), (one.high, two.high)):
        assert np.array_equal(a, b)
        assert a.shape == desk.book.equity.shape
    assert (one.above, one.draws) == (two.above, 20)
    assert one.low[0] == one.high[0] == 1.0
    assert (one.low <= one.mid).all()
    assert (one.mid <= one.high).all()
    other = stress.null_band(dataclasses.replace(desk, seed=desk.seed + 1), 20)
    assert not np.array_equal(one.mid, other.mid)


def test_a_band_of_one_book_is_that_book():
    desk = make_desk()
    band = stress.null_band(desk, 1)
    order = stress.Stream(desk.seed, "null").numpy(0).permutation(desk.scores.shape[1])
    made = desk.rebuild(desk.scores[:, order])
    book = Venue(desk.panel, costs=COSTS).book(made, stop=desk.stop)
    assert np.array_equal(band.mid, book.equity / book.equity[0])
    assert band.above == int(book.equity[-1] / book.equity[0] >= desk.book.equity[-1] / desk.book.equity[0])


def test_skill_that_was_planted_ends_above_every_permuted_book():
    """Scores that know the return earned after the fill, with noise as large as it: no luck can match 300 such bars."""

    def knows(panel):
        close = panel.fields["close"]
        coming = np.zeros(close.shape)
        coming[:-2] = close[2:] / close[1:-1] - 1.0
        return coming + np.random.default_rng(9).normal(0, coming.std(), close.shape)

    desk = make_desk(T=300, scores=knows)
    band = stress.null_band(desk, 60)
    assert band.above == 0
    assert band.p == 1 / 61
    assert desk.book.equity[-1] / desk.book.equity[0] > 1.2 * band.high[-1]


def test_scores_without_skill_lie_inside_the_band():
    """With iid scores the strategy's rank among itself and 19 permuted books is uniform on 1..20.

    Over seeds 0..39 the count of p = 1/20 is Binomial(40, 1/20): 10 or more has a chance of 2e-5. The count of
    p <= 1/2 is Binomial(40, 1/2): outside 9..31 has a chance of 2e-4.
    """
    ps = np.array([stress.null_band(make_desk(T=60, seed=s, k=3), 19, threads=1).p for s in range(40)])
    assert (ps < 0.051).sum() < 10
    assert 9 <= (ps < 0.501).sum() <= 31


def test_the_band_needs_scores_and_at_least_one_book():
    desk = make_desk()
    assert stress.null_band(dataclasses.replace(desk, scores=None)) is None
    with pytest.raises(ConfigError, match=r"^null band: draws must be a whole number of books >= 1, got 0$"):
        stress.null_band(desk, 0)


def test_an_error_in_one_book_ends_the_band():
    desk, calls = make_desk(), []

    def broken(scores):
        calls.append(1)
        raise DataError("this book cannot be built")

    with pytest.raises(DataError, match=r"^this book cannot be built$"):
        stress.null_band(dataclasses.replace(desk, rebuild=broken), 5000)
    assert len(calls) < 5000


def test_a_long_short_rule_is_permuted_as_well():
    desk = make_desk()
    mask = desk.mask

    def rebuild(scores):
        return long_short(scores, mask, k=2, every=5)

    weights = rebuild(desk.scores)
    book = Venue(desk.panel, costs=COSTS).book(weights)
    band = stress.null_band(dataclasses.replace(desk, weights=weights, book=book, rebuild=rebuild), 10)
    assert band.draws == 10
    assert np.isfinite(band.high).all()


# ---- rules, and a study -------------------------------------------------------------------------------------------


def chinese(panel) -> Rulings:
    """A market of one kind: 10 % limits, cents, lots of 100, T+1, stamp duty of 0.1 %, at least 5 yuan an order."""
    row = [1000, 1000, 100, 1, 100, 100, 1, 300_000, 500, 0, 100_000, 1000, 0, 0, 0, np.inf]
    said = ("No name is ever ST (assume.st = never).",)
    return Rulings("cn", np.zeros(panel.shape, np.uint8), np.array([row], float), "ab" * 32, said)


def test_every_part_under_dated_rules():
    laid = chinese(make_panel(120, 10))
    desk = make_desk(rules=laid, costs=Costs(3.0, 5.0))
    parts = stress.parts(desk)
    assert set(parts) == {"stress", "capacity", "orders", "periods"}
    row = next(r for r in parts["stress"].rows if (r.times, r.delay) == (1.0, 0))
    assert row.net == stress.growth(desk.book.equity, 252)
    nets = [parts["stress"].net(k) for k in stress.TIMES]
    assert nets == sorted(nets, reverse=True)
    assert np.isfinite(nets).all()
    refused = {r.reason for r in parts["orders"].rows}
    assert "below one lot" in refused or "filled in part" in refused
    shown = stress.rules(laid, 14, 1200)
    assert (shown.market, shown.digest, shown.assumptions) == ("cn", "ab" * 32, laid.assumptions)
    assert (shown.contradictions, shown.closes) == (14, 1200)
    assert stress.rules(None) is None


def test_a_studys_desk_and_its_report():
    panel = make_panel(T=260, N=12, halts=0.01, factor=True)
    study = Study(
        panel, features={"expressions": {"r1": "close / ref(close, 1) - 1"}}, models=[ht.Ridge()],
        split={"train": 120, "valid": 30, "test": 40, "folds": 2}, portfolio=[{"k": 3, "drop": 1}],
        exchange={"fee_bps": 5.0, "slippage_bps": 2.0},
    )  # fmt: skip
    p = study.prepare()
    e = evaluate(study, p, forecasts_of(study.fit_all(p, lambda _: Context()), panel.shape, p.label.names))
    desk = stress.desk(study, p, e, Costs(5.0, 2.0))
    assert np.array_equal(desk.rebuild(e.scores).values, e.weights[e.main].values)
    again = desk.usual.book(desk.weights, capital=desk.capital, start=desk.book.start, stop=desk.stop)
    assert np.array_equal(again.equity, e.books[e.main].equity)
    band = stress.null_band(desk, 30)
    curve = desk.book.equity / desk.book.equity[0]
    days = panel.sessions[desk.book.start : desk.stop]
    content = ReportContent(
        "A study", Verdict("Nothing is shown."), equity=Equity(days, {"it": curve}, {"it": "strategy"}, null=band),
        **stress.parts(desk),
    )  # fmt: skip
    page = html.render(content)
    assert f"{band.above} of 30 books of permuted scores end at or above it" in page
    assert all(f'id="chart-{name}"' in page for name in ("stress", "capacity", "orders", "periods"))
