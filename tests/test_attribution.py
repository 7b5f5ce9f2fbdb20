"""Where a return came from: parts that add up, by hand and by slow twins, and what would have to be true."""

import dataclasses
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import make_panel

import hitherto as ht
from hitherto.errors import DataError
from hitherto.evaluate import attribution, periods
from hitherto.evaluate.attribution import DelayRow, breakeven_cost, breakeven_delay, link, link_by, thirds
from hitherto.evaluate.inference import Interval
from hitherto.evaluate.performance import sharpe
from hitherto.exchange.rules import lay
from hitherto.exchange.simulate import Events, Venue
from hitherto.exchange.terms import Costs
from hitherto.models.base import Context
from hitherto.portfolio.base import Weights
from hitherto.portfolio.construct import equal_weight, long_short, topk_dropout
from hitherto.study import content, explaining, forecasts_of
from hitherto.study.core import admitted
from hitherto.study.evaluate import evaluate
from hitherto.study.stress import Desk

NAN = float("nan")
ON = np.ones((2, 4), bool)


def rng(seed=0):
    return np.random.default_rng(seed)


def parts(net, weights, names, universe, cost, **given):
    return attribution.returns(
        np.array(net), np.array(weights), np.array(names), universe, np.array(cost), rng(), periods_per_year=252,
        draws=50, **{"least": 1, **given},
    )  # fmt: skip


def make_desk(
    T=320, N=12, seed=0, fill="next_close", halts=0.0, factor=False, rule="topk", costs=None, panel=None, **venue
):
    """A book on a random market, beside equal weight."""
    panel = make_panel(T, N, seed=seed, halts=halts, factor=factor) if panel is None else panel
    scores, mask = rng(seed + 1).normal(size=(T, N)), np.isfinite(panel.fields["close"])
    scores[:40] = NAN
    weights = topk_dropout(scores, mask, 4, 1) if rule == "topk" else long_short(scores, mask, k=3, every=3)
    costs = Costs(5.0, 5.0, 0.0, 10.0) if costs is None else costs
    made = Venue(panel, costs=costs, fill=fill, **venue)
    return Desk(
        panel, weights, made.book(weights, start=40), costs, fill=fill, scores=scores, mask=mask, seed=seed,
        rival=made.book(equal_weight(mask, 1, 40), start=40), rules=venue.get("rules"), events=venue.get("events"),
    )  # fmt: skip


def attributed(d, reinvest=False, **given):
    book = d.book
    if reinvest:
        book = d.usual.book(d.weights, capital=d.capital, start=book.start, stop=d.stop, reinvest=True)
    a = attribution.of_book(book, explaining.name_returns(d), d.mask, rng(), periods_per_year=252, draws=50, **given)
    return a, book, dict(zip(a.parts, a.values.T, strict=True))


# ---- by hand ------------------------------------------------------------------------------------------------------


def test_parts_by_hand():
    """Four names of +4, +2, 0 and -2 %: market 1 %; small 3 %, large -1 %; sectors cut across."""
    names = np.array([[0.04, 0.02, 0.0, -0.02]])
    a = parts(
        [0.019], [[0.5, 0.0, 0.25, 0.0]], names, ON[:1], [0.001], size=np.array([[0, 0, 1, 1]]),
        groups=np.array([[0, 1, 0, 1]]),
    )  # fmt: skip
    seen = dict(zip(a.parts, a.values[0], strict=True))
    assert a.parts == ("market", "size", "sector", "selection", "cost", "rest")
    assert a.exposure[0] == 0.75
    assert seen["market"] == pytest.approx(0.75 * 0.01)
    assert seen["size"] == pytest.approx(0.5 * 0.02 + 0.25 * -0.02)
    # what size leaves: +1, -1, +1, -1 %, which is all sector 0 and 1
    assert seen["sector"] == pytest.approx(0.75 * 0.01)
    assert seen["selection"] == pytest.approx(0.0, abs=1e-15)
    assert seen["cost"] == -0.001
    assert seen["rest"] == pytest.approx(0.0, abs=1e-15)


def test_a_given_market_splits_the_universe_off():
    names = np.array([[0.04, 0.02, 0.0, -0.02]])
    a = parts([0.03], [[1.0, 0.0, 0.0, 0.0]], names, ON[:1], [0.01], market=np.array([0.004]))
    seen = dict(zip(a.parts, a.values[0], strict=True))
    assert seen == pytest.approx({
        "market": 0.004, "universe": 0.006, "selection": 0.03, "cost": -0.01, "rest": 0.0
    })  # fmt: skip


def test_names_without_a_price_a_group_or_a_place_in_the_universe():
    """A held name without a price earns 0, all of which is named; one outside the groups is selection."""
    names = np.array([[NAN, 0.02, 0.06, 0.1]])
    universe = np.array([[True, True, True, False]])
    a = parts([0.045], [[0.25, 0.25, 0.0, 0.4]], names, universe, [0.0], size=np.array([[0, 1, 1, -1]]))
    seen = dict(zip(a.parts, a.values[0], strict=True))
    assert seen["market"] == pytest.approx(0.9 * 0.04)  # mean of 2 and 6 %
    assert seen["size"] == pytest.approx(0.0)  # size 0 has no return that bar; size 1 is the market
    assert seen["selection"] == pytest.approx(0.25 * -0.04 + 0.25 * -0.02 + 0.4 * 0.06)
    assert seen["rest"] == pytest.approx(0.0, abs=1e-15)


def test_a_bar_without_a_market_is_selection_and_said():
    a = parts(
        [0.01, 0.0], [[1.0, 0, 0, 0]] * 2, [[0.01, 0, 0, 0]] * 2, np.array([[False] * 4, [True] * 4]), [0.0, 0.01]
    )
    assert a.values[0].tolist() == [0.0, 0.01, -0.0, 0.0]
    assert a.notes["market"].endswith("1 bars have no market return; all of theirs is selection.")


def test_a_group_of_few_names_is_selection():
    names = np.array([[0.04, 0.02, 0.0, -0.02]])
    for least, size in ((2, 0.02), (3, 0.0)):
        a = parts([0.04], [[1.0, 0, 0, 0]], names, ON[:1], [0.0], size=np.array([[0, 0, 1, 1]]), least=least)
        seen = dict(zip(a.parts, a.values[0], strict=True))
        assert seen["size"] == pytest.approx(size)
        assert seen["selection"] == pytest.approx(0.03 - size)


def test_thirds_by_hand():
    size = np.array([[5.0, 1.0, 3.0, NAN, 2.0, 4.0, 9.0], [1.0, 1.0, NAN, NAN, NAN, NAN, NAN]])
    universe = np.ones(size.shape, bool)
    universe[0, 6] = False
    assert thirds(size, universe).tolist() == [[2, 0, 1, -1, 0, 1, -1], [0, 1, -1, -1, -1, -1, -1]]


# ---- they add up --------------------------------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(1, 8), st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=60, deadline=None)
def test_parts_add_up_per_bar_and_linked(bars, width, seed, index):
    g = rng(seed)
    names = g.normal(0, 0.05, (bars, width))
    names[g.random(names.shape) < 0.2] = NAN
    net, weights = g.normal(0, 0.1, bars).clip(-0.9), g.normal(0, 1, (bars, width))
    a = parts(
        net, weights, names, g.random(names.shape) < 0.8, g.random(bars) * 0.01, trading=g.normal(0, 0.01, bars),
        market=g.normal(0, 0.01, bars) if index else None, size=g.integers(-1, 3, names.shape),
        groups=g.integers(-1, 5, names.shape),
    )  # fmt: skip
    np.testing.assert_allclose(a.values.sum(axis=1), net, atol=1e-12)
    total = np.prod(1 + net) - 1
    assert a.total.net == pytest.approx(total, rel=1e-12, abs=1e-12)
    scale = max(1.0, sum(map(abs, a.total.parts.values())))
    assert abs(sum(a.total.parts.values()) - total) < 1e-12 * scale
    labels = np.array(["a", "b", ""])[g.integers(0, 3, bars)]
    for row in link_by(a, labels):
        want = np.prod(1 + net[labels == row.label]) - 1
        assert row.bars == (labels == row.label).sum()
        assert abs(sum(row.parts.values()) - want) < 1e-12 * max(1.0, sum(map(abs, row.parts.values())))


def test_link_by_hand():
    """Two bars of +100 % and -50 %: nothing is left over, each part keeps its log share."""
    values = np.array([[1.0, 0.0], [0.0, -0.5]])
    row = link("x", values, values.sum(axis=1), ("up", "down"))
    assert row.net == 0.0
    assert row.parts["up"] == pytest.approx(math.log(2))
    assert row.parts["down"] == pytest.approx(-math.log(2))
    one = link("one", np.array([[0.3, -0.1]]), np.array([0.2]), ("a", "b"))
    assert one.parts == pytest.approx({"a": 0.3, "b": -0.1}, rel=1e-14)
    still = link("still", np.zeros((3, 1)), np.zeros(3), ("a",))
    assert (still.net, still.parts) == (0.0, {"a": 0.0})


def test_link_by_keeps_the_order_of_time():
    a = parts([0.01, 0.02, 0.03], np.zeros((3, 4)), np.zeros((3, 4)), np.ones((3, 4), bool), np.zeros(3))
    rows = link_by(a, np.array(["late", "early", "late"]))
    assert [(r.label, r.bars) for r in rows] == [("late", 2), ("early", 1)]
    assert rows[0].net == pytest.approx(1.01 * 1.03 - 1)


def test_link_does_not_care_for_the_order_of_bars():
    values = rng(1).normal(0, 0.02, (50, 3))
    a, b = (link("", v, v.sum(axis=1), ("x", "y", "z")).parts for v in (values, values[::-1]))
    assert a == pytest.approx(b, rel=1e-12)


# ---- of books -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fill", ["next_close", "next_open", "same_close"])
@pytest.mark.parametrize("rule", ["topk", "long_short"])
@pytest.mark.parametrize("halts", [0.0, 0.05])
def test_nothing_is_left_over_of_a_book_without_rules(fill, rule, halts):
    """``rest`` is what holdings, fills and costs do not explain: rounding alone."""
    a, book, seen = attributed(make_desk(fill=fill, rule=rule, halts=halts))
    assert np.abs(seen["rest"]).max() < 1e-12
    np.testing.assert_allclose(a.values.sum(axis=1), book.returns, atol=1e-12)
    if fill == "next_open":
        assert np.abs(seen["trading"]).max() > 1e-5
    else:
        assert np.abs(seen["trading"]).max() < 1e-12
    paid = (book.fees + book.slippage)[1:] / book.equity[:-1]
    np.testing.assert_allclose(seen["cost"], -paid, atol=1e-15)
    assert (seen["cost"] < 0).any()


def test_a_book_by_the_slow_twin():
    d = make_desk(T=90, N=6, fill="next_open", halts=0.1)
    size, groups = rng(5).random((90, 6)), rng(6).integers(0, 2, (90, 6))
    _, book, seen = attributed(d, size=size, groups=groups, least=2)
    close, N = d.panel.fields["close"], 6
    third = thirds(size, d.mask)
    for k in range(1, len(book.equity)):
        t, was = book.start + k, book.equity[k - 1]
        r = []
        for n in range(N):
            past = [x for x in close[:t, n] if not math.isnan(x)]
            r.append(close[t, n] / past[-1] - 1 if past and not math.isnan(close[t, n]) else NAN)
        in_it = [n for n in range(N) if d.mask[t - 1, n] and not math.isnan(r[n])]
        w = [book.shares[k - 1, n] * book.price[k - 1, n] / was if book.shares[k - 1, n] else 0.0 for n in range(N)]
        m = sum(r[n] for n in in_it) / len(in_it)

        def mean(code, of, value, members=tuple(in_it)):
            inside = [value[n] for n in members if of[n] == code]
            return sum(inside) / len(inside) if len(inside) >= 2 and code >= 0 else 0.0

        size_mean = [mean(third[t - 1, n], third[t - 1], [x - m for x in r]) for n in range(N)]
        left = [r[n] - m - size_mean[n] for n in range(N)]
        group_mean = [mean(groups[t - 1, n], groups[t - 1], left) for n in range(N)]
        bought = sum(
            s * (book.price[k, n] - p)
            for when, n, s, p in zip(book.fills.t, book.fills.n, book.fills.shares, book.fills.price, strict=True)
            if when == t and s
        )
        earned = sum(x * (0.0 if math.isnan(y) else y) for x, y in zip(w, r, strict=True))
        want = {
            "market": sum(w) * m, "size": np.dot(w, size_mean), "sector": np.dot(w, group_mean),
            "selection": earned - sum(w) * m - np.dot(w, size_mean) - np.dot(w, group_mean), "trading": bought / was,
        }  # fmt: skip
        for part, value in want.items():
            assert seen[part][k - 1] == pytest.approx(value, abs=1e-12), (k, part)


def test_dividends_by_factor_are_in_the_names_returns():
    """In shares, nothing is left over; in cash, what was paid earns nothing more on that bar: that is the rest."""
    d = make_desk(factor=True, seed=3)
    _, _, seen = attributed(d, reinvest=True)
    assert np.abs(seen["rest"]).max() < 1e-12
    a, book, seen = attributed(d)
    assert np.abs(seen["rest"]).max() > 1e-6
    bars = slice(book.start + 1, d.stop)
    grown = d.panel.fields["factor"][bars] / d.panel.fields["factor"][book.start : d.stop - 1]
    held = book.shares[:-1] * np.nan_to_num(book.price[:-1]) / book.equity[:-1, None]
    lost = -(held * (1 - 1 / grown) * explaining.name_returns(d)[bars]).sum(axis=1)
    np.testing.assert_allclose(seen["rest"], lost, atol=1e-12)
    assert a.total.parts["rest"] != 0


def test_dividends_by_table_are_in_the_names_returns():
    """A price that halves by a split and pays a dividend is no loss of selection."""
    T, N = 60, 3
    base = make_panel(T, N, fields=("close",))
    close = np.full((T, N), 10.0)
    close[30:, 0] = 4.5  # two for one, and 1 in cash for each old share
    events = Events(np.array([30]), np.array([0]), np.array([1.0]), np.array([2.0]))
    panel = dataclasses.replace(base, fields={"close": close})
    weights = Weights("all", np.zeros((T, N)), np.zeros(T, bool))
    weights.values[0], weights.decided[0] = (1.0, 0.0, 0.0), True
    book = Venue(panel, events=events).book(weights)
    d = Desk(panel, weights, book, Costs(), events=events, mask=np.ones((T, N), bool))
    assert explaining.name_returns(d)[30, 0] == pytest.approx(0.0, abs=1e-15)
    _, book, seen = attributed(d)
    assert np.abs(book.returns).max() < 1e-12
    for part in seen.values():
        assert np.abs(part).max() < 1e-12


def test_rounding_under_rules_is_the_rest():
    """Prices in cents: money is rounded once a holding and once a fee, to the cent, and nothing else is left over."""
    base = make_panel(200, 5, seed=2)
    panel = dataclasses.replace(base, fields={k: np.round(v, 2) for k, v in base.fields.items()})
    d = make_desk(T=200, N=5, costs=Costs(5.0), rules=lay("us", panel), panel=panel)
    a, book, seen = attributed(d)
    np.testing.assert_allclose(a.values.sum(axis=1), book.returns, atol=1e-12)
    assert 0 < np.abs(seen["rest"]).max() < 3 * 5 * 0.005 / book.equity.min()


# ---- planted ------------------------------------------------------------------------------------------------------


def test_equal_weight_of_the_universe_is_all_market():
    g = rng(2)
    names, w = g.normal(0, 0.02, (80, 9)), np.full((80, 9), 1 / 9)
    a = parts(
        names.mean(axis=1), w, names, np.ones(names.shape, bool), np.zeros(80), size=g.integers(0, 3, names.shape)
    )
    seen = dict(zip(a.parts, a.values.T, strict=True))
    np.testing.assert_allclose(seen["market"], names.mean(axis=1), atol=1e-15)
    for part in ("size", "selection", "cost", "rest"):
        assert np.abs(seen[part]).max() < 1e-15


@pytest.mark.parametrize("planted", ["size", "sector", "selection"])
def test_a_planted_source_gets_the_return(planted):
    """A book of the smallest third, of one sector, or of the names that will rise."""
    g, T, N = rng(4), 250, 60
    size, sector = np.tile(np.arange(N) // 20, (T, 1)), np.tile(np.arange(N) % 4, (T, 1))
    lucky = np.zeros((T, N), bool)
    np.put_along_axis(lucky, g.permuted(np.tile(np.arange(N), (T, 1)), axis=1)[:, :15], True, axis=1)
    chosen = {"size": size == 0, "sector": sector == 1, "selection": lucky}[planted]
    names = g.normal(0, 0.001, (T, N)) + 0.01 * chosen
    w = chosen / chosen.sum(axis=1, keepdims=True)
    a = parts((w * names).sum(axis=1), w, names, np.ones((T, N), bool), np.zeros(T), size=size, groups=sector)
    mean = {part: a.means[part].estimate / 252 for part in a.parts}
    assert mean[planted] == pytest.approx(0.01 * (1 - chosen.mean()), abs=1e-3)
    assert a.means[planted].lo > 0
    for part in {"size", "sector", "selection"} - {planted}:
        assert abs(mean[part]) < 0.0015


@given(st.integers(0, 2**32 - 1), st.integers(45, 78))
@settings(max_examples=10, deadline=None)
def test_groups_are_those_known_before_the_bar(seed, t):
    """What size, sector and universe say at t cannot change the parts of bar t, and does change those of t + 1."""
    d, g = make_desk(T=80, N=6, seed=1), rng(seed)
    size, groups, mask = g.random((80, 6)), g.integers(0, 2, (80, 6)), d.mask.copy()
    a = attributed(d, size=size, groups=groups, least=1)[0].values
    size[t:], groups[t:], mask[t:] = -size[t:], 1 - groups[t:], g.random((80 - t, 6)) < 0.5
    b = attributed(dataclasses.replace(d, mask=mask), size=size, groups=groups, least=1)[0].values
    assert (a[: t - 40] == b[: t - 40]).all()
    assert (a[t - 40 :] != b[t - 40 :]).any()


def test_means_have_intervals_and_the_same_seed_the_same_bits():
    d = make_desk()
    a, b = (attributed(d)[0] for _ in range(2))
    assert a.means == b.means
    for k, part in enumerate(a.parts):
        i = a.means[part]
        assert i.estimate == pytest.approx(252 * a.values[:, k].mean(), rel=1e-12)
        assert i.lo <= i.estimate <= i.hi or part == "rest"
    assert (
        parts([0.0] * 3, np.zeros((3, 4)), np.zeros((3, 4)), np.ones((3, 4), bool), np.zeros(3)).means["cost"] is None
    )


def test_attribution_says_what_is_wrong():
    four = np.zeros((2, 4))
    with pytest.raises(DataError, match="attribution: the book is ruined at bar 1; nothing can be linked"):
        parts([0.0, -1.0], four, four, ON, [0.0, 0.0])
    with pytest.raises(DataError, match=r"attribution: 1 returns, weights \(2, 4\), names \(2, 4\), universe \(2, 4\)"):
        parts([0.0], four, four, ON, [0.0])
    with pytest.raises(DataError, match="attribution: a weight is not finite; 0 means no holding"):
        parts([0.0, 0.0], four + NAN, four, ON, [0.0, 0.0])
    with pytest.raises(DataError, match="the market must have a return on each of 2 bars; leave it out for"):
        parts([0.0, 0.0], four, four, ON, [0.0, 0.0], market=np.array([0.0, NAN]))
    with pytest.raises(DataError, match=r"a return of -100.00% cannot be linked in logs; nothing was left"):
        link("", four, np.array([0.0, -1.0]), ("a", "b", "c", "d"))


# ---- what would have to be true -----------------------------------------------------------------------------------


def test_breakeven_cost_by_hand():
    d = make_desk()
    book = d.book
    seen = breakeven_cost(book, rng(), periods_per_year=252, rf=0.02)
    spent = (book.fees + book.slippage)[1:] / book.equity[:-1]
    turned = book.traded[1:] / book.equity[:-1]
    want = (np.mean(book.returns + spent) - 0.02 / 252) / np.mean(turned)
    assert seen.cost.estimate == pytest.approx(want, rel=1e-12)
    assert seen.cost.lo < want < seen.cost.hi
    assert seen.paid == pytest.approx(spent.sum() / turned.sum(), rel=1e-12)
    assert 0.001 <= seen.paid <= 0.002  # 10 bps a side, 10 more on sales
    assert seen.multiple == pytest.approx(want / seen.paid)
    assert (seen.against, seen.reason, seen.basis.rf) == ("nothing", "", 0.02)


def planted(T=400, N=8):
    """A rising market, and scores that know a little of the next bar's return."""
    base = make_panel(T, N, seed=5)
    lift = np.exp(0.002 * np.arange(T))[:, None]
    panel = dataclasses.replace(base, fields={k: v * lift for k, v in base.fields.items()})
    scores, close = rng(1).normal(0, 0.2, (T, N)), panel.fields["close"]
    scores[:-2] += close[2:] / close[1:-1] - 1
    return panel, scores


@pytest.mark.parametrize("against", [False, True])
def test_at_the_breakeven_cost_the_retraded_mean_is_zero(against):
    """The oracle is the exchange itself: the same decisions under just that proportional cost."""
    panel, scores = planted()
    mask = np.ones(panel.shape, bool)
    weights, even = topk_dropout(scores, mask, 3, 1), equal_weight(mask)

    def traded(cost):
        venue = Venue(panel, costs=Costs(1e4 * cost))
        return venue.book(weights), venue.book(even)

    def gap(books):
        return 252 * float((books[0].returns - (books[1].returns if against else 0)).mean())

    mine, rival = traded(0.0005)
    seen = breakeven_cost(mine, rng(), periods_per_year=252, rival=rival if against else None)
    assert seen.cost.estimate > 0.0005
    before, after = gap((mine, rival)), gap(traded(seen.cost.estimate))
    assert before > 0.03
    assert abs(after) < 0.02 * before


def test_breakeven_interval_is_that_of_a_ratio():
    """Independent bars, constant turnover: the interval is that of the mean over the turnover (2,000 draws: 5 %)."""
    d = make_desk(T=1000)
    book = d.book
    still = dataclasses.replace(book, traded=np.r_[0.0, 0.2 * book.equity[:-1]])
    seen = breakeven_cost(still, rng(), periods_per_year=252).cost
    gross = book.returns + ((book.fees + book.slippage)[1:] / book.equity[:-1])
    wide = 2 * 1.96 * gross.std() / math.sqrt(len(gross)) / 0.2
    assert seen.hi - seen.lo == pytest.approx(wide, rel=0.15)


def test_breakeven_cost_gives_reasons():
    d = make_desk(T=60)
    idle = Venue(d.panel).book(Weights("idle", np.zeros((60, 12)), np.r_[True, np.zeros(59, bool)]), start=40)
    seen = breakeven_cost(idle, rng(), periods_per_year=252)
    assert (seen.cost, seen.reason) == (None, "it does not trade")
    seen = breakeven_cost(d.rival, rng(), periods_per_year=252, rival=d.book)
    assert seen.reason == f"it trades no more than {d.book.name}: no cost evens them out"
    ruined = dataclasses.replace(d.book, equity=np.r_[d.book.equity[:-1], 0.0])
    with pytest.raises(DataError, match="is ruined; its equity is no base for a return"):
        breakeven_cost(ruined, rng(), periods_per_year=252)


def edges(*values):
    return tuple(DelayRow(k, 0.0, None if v is None else Interval(v, v - 1, v + 1)) for k, v in enumerate(values))


def test_breakeven_delay_by_hand():
    assert breakeven_delay(edges(0.1, 0.04, -0.02, 0.5), 252).bars == pytest.approx(1 + 0.04 / 0.06)
    assert breakeven_delay(edges(0.1, 0.1), 252).bars == math.inf
    assert breakeven_delay(edges(0.1, 0.0), 252).bars == 1
    none = breakeven_delay(edges(-0.1, 0.3), 252)
    assert (none.bars, none.reason) == (None, "it has no edge over equal weight even without delay")
    assert breakeven_delay(edges(0.1, None), 252).reason == "too few bars, or a book was ruined"


def test_a_planted_edge_of_one_bar_does_not_outlive_its_delay():
    """Scores that know the next bar alone: filled one bar later, nothing is left but luck and costs.

    Luck: 3 of 10 names of 2 % a bar over 698 bars have an edge of 0 +- .10 a year (s.d.); the bar of .6 is 6 s.d.
    """
    T, N = 700, 10
    panel = make_panel(T, N, seed=8)
    close, scores, mask = panel.fields["close"], np.zeros((T, N)), np.ones((T, N), bool)
    scores[:-2] = close[2:] / close[1:-1] - 1
    weights, venue = topk_dropout(scores, mask, 3, 3), Venue(panel, costs=Costs(1.0))
    d = Desk(panel, weights, venue.book(weights), Costs(1.0), rival=venue.book(equal_weight(mask)), scores=scores)
    seen = explaining.delays(d, explaining.Stream(0, "x"), 0.0)
    assert [r.delay for r in seen.rows] == [0, 1, 2, 3, 4, 5]
    assert seen.rows[0].net == pytest.approx(d.growth)
    assert seen.rows[0].edge.lo > 3
    assert all(abs(r.edge.estimate) < 0.6 for r in seen.rows[1:])
    assert seen.bars > 0.8


# ---- error bars ---------------------------------------------------------------------------------------------------


def test_books_of_luck_show_no_selection():
    """200 books that hold 6 of 30 names by lot: the 95 % interval of selection leaves 0 out in 5 %.

    More than 12 % or none at all by luck: binomial(200, .065), for intervals a little short, or (200, .05): .2 %.
    """
    found, g = 0, rng(7)
    for _ in range(200):
        names = g.normal(0.0005, 0.02, (250, 30))
        w = np.zeros(names.shape)
        np.put_along_axis(w, g.permuted(np.tile(np.arange(30), (250, 1)), axis=1)[:, :6], 1 / 6, axis=1)
        on = np.ones(names.shape, bool)
        a = attribution.returns(
            (w * names).sum(axis=1), w, names, on, np.zeros(250), g, periods_per_year=252, draws=400
        )
        found += a.means["selection"].excludes_zero
    assert 0 < found <= 24


def test_the_breakeven_interval_covers_the_truth():
    """200 worlds of a known gross mean and turnover: the 95 % interval holds their ratio in 95 %.

    Below 88 % by luck: binomial(200, .93) for percentile intervals of 300 bars, .4 %.
    """
    base, held, g = make_desk(T=60).book, 0, rng(3)
    for _ in range(200):
        r, turned = g.normal(0.0008, 0.01, 300), g.uniform(0.1, 0.3, 300)
        equity = np.cumprod(np.r_[1.0, 1.0 + r])
        nothing, traded = np.zeros(301), np.r_[0.0, turned * equity[:-1]]
        book = dataclasses.replace(base, equity=equity, fees=nothing, slippage=nothing, traded=traded)
        cost = breakeven_cost(book, g, periods_per_year=252, draws=400).cost
        held += cost.lo < 0.0008 / 0.2 < cost.hi
    assert held >= 176


# ---- the whole of it ----------------------------------------------------------------------------------------------


def test_explain_desk_has_every_part_and_repeats_bit_for_bit():
    d = make_desk(T=420)
    a, b = (
        explaining.explain_desk(d, d.mask, rf=0.01, horizon=5, cost=0.001, groups=np.tile(np.arange(12) % 3, (420, 1)))
        for _ in range(2)
    )
    assert a.not_assessed == {}
    for name in (
        "attribution",
        "heatmap",
        "exposure",
        "regimes",
        "drawdowns",
        "rolling",
        "delay",
        "decay",
        "quantiles",
    ):
        assert getattr(a, name).basis.periods_per_year == 252
    assert a.attribution.parts == ("market", "size", "sector", "selection", "trading", "cost", "rest")
    assert a.size_of == "value traded, mean of 20 bars"
    assert [r.label for r in a.by_year] == ["2015", "2016"]
    assert len(a.by_month) == np.isfinite(a.heatmap.months).sum()
    for row, net in zip(a.by_month, a.heatmap.months[np.isfinite(a.heatmap.months)], strict=True):
        assert row.net == pytest.approx(net, abs=1e-12)
        assert sum(row.parts.values()) == pytest.approx(net, abs=1e-12)
    assert {r.label.split(":")[0] for r in a.by_regime} <= {"volatility", "trend"}
    assert [c.against for c in a.costs] == ["nothing", d.rival.name]
    assert [r.bars for r in a.decay.horizons] == [1, 2, 3, 5, 10, 20]
    assert len(a.quantiles.rows) == 5
    assert (a.attribution.means, a.costs, a.delay, a.decay, a.autocorrelation.rows) == (
        b.attribution.means, b.costs, b.delay, b.decay, b.autocorrelation.rows,
    )  # fmt: skip
    assert a.regimes.rows == b.regimes.rows
    assert a.quantiles.rows == b.quantiles.rows


def test_every_part_is_of_the_bars_of_the_book():
    """Dates and regimes are those of the rows that end its returns."""
    d = make_desk(T=420)
    seen = explaining.explain_desk(d, d.mask, rf=0.0)
    market = explaining.market_returns(explaining.name_returns(d), d.mask)
    codes = periods.regime_codes(market)
    assert np.array_equal(seen.regimes.volatility, codes[0][41:])
    assert np.array_equal(seen.regimes.trend, codes[1][41:])
    assert (seen.regimes.volatility >= 0).any()
    assert seen.rolling.dates[-1] == d.panel.sessions[-1]
    assert len(seen.rolling.dates) == 379 - seen.rolling.window + 1
    assert (seen.drawdowns.dates[0], seen.exposure.dates[0]) == (d.panel.sessions[40],) * 2
    assert seen.decay.horizons[0].dates == 380 - 2
    first = np.prod(1 + d.book.returns[d.panel.sessions[41:] < np.datetime64("2015-03-01")])
    assert (1 + seen.heatmap.months[0, 1]) == pytest.approx(first)


def test_a_studys_explanation_is_about_its_strategy():
    panel = make_panel(T=260, N=12, halts=0.01, factor=True)
    study = ht.Study(
        panel, features={"expressions": {"r1": "close / ref(close, 1) - 1"}}, models=[ht.Ridge()],
        label={"horizons": [2], "entry": "next_open"}, exchange={"fee_bps": 5.0, "slippage_bps": 2.0},
        periods_per_year=300,
        split={"train": 120, "valid": 30, "test": 40, "folds": 2}, portfolio=[{"k": 3, "drop": 1}],
    )  # fmt: skip
    p = study.prepare()
    e = evaluate(study, p, forecasts_of(study.fit_all(p, lambda _: Context()), panel.shape, p.label.names))
    r = SimpleNamespace(study=study, prepared=p, evaluation=e)
    seen = explaining.explain(r, rf=0.03)
    book = e.books[e.main]
    assert seen.not_assessed == {}
    assert seen.attribution.total.net == pytest.approx(book.equity[-1] / book.equity[0] - 1, rel=1e-9)
    assert np.array_equal(seen.attribution.returns, book.returns)
    assert (seen.quantiles.horizon, seen.decay.entry, len(seen.quantiles.rows)) == (2, "next_open", 5)
    assert seen.quantiles.cost == pytest.approx(0.0007)
    assert seen.costs[0].paid == pytest.approx(0.0007)
    assert seen.costs[1].against == "equal weight"
    assert {x.basis.rf for x in (seen.rolling, seen.regimes, seen.costs[0])} == {0.03}
    assert seen.rolling.whole == pytest.approx(sharpe(book.returns, 300, 0.03))
    assert seen.heatmap.basis.periods_per_year == 300
    assert seen.exposure.rows[-1].turnover == pytest.approx(e.performance[e.main].turnover)
    ic = e.summaries[study.models[0].name][0].rank_ic.mean  # of the study itself, on its own horizon
    assert seen.decay.horizons[1].bars == 2
    assert seen.decay.horizons[1].rank_ic.estimate == pytest.approx(ic, abs=1e-9)
    desk = content.desk_of(r)
    assert explaining.explain(r, desk=desk, rf=0.03).costs == seen.costs


def test_explain_desk_says_what_it_lacks():
    d = make_desk(T=90)
    bare = dataclasses.replace(d, scores=None, rival=None)
    index = np.full(90, NAN)
    index[50:] = 1.0
    seen = explaining.explain_desk(bare, d.mask, rf=0.0, index=index)
    assert seen.not_assessed == {
        "universe": "the benchmark has no close on 10 of 50 bars; the market is equal weight",
        "delay": "breakeven delay: there is no book of equal weight to compare with",
        "decay": "there are no scores", "quantiles": "there are no scores", "autocorrelation": "there are no scores",
    }  # fmt: skip
    assert "universe" not in seen.attribution.parts


def test_a_whole_benchmark_is_the_market():
    d = make_desk(T=120)
    index = np.exp(np.cumsum(rng(9).normal(0, 0.01, 120)))
    seen = explaining.explain_desk(d, d.mask, rf=0.0, index=index).attribution
    np.testing.assert_allclose(seen.values[:, 0], seen.exposure * (index[41:] / index[40:-1] - 1), atol=1e-14)
    assert seen.parts[1] == "universe"


def test_the_market_is_of_the_names_admitted_before():
    names = np.array([[NAN, NAN], [0.1, 0.3], [0.2, -0.2], [NAN, NAN]])
    admitted = np.array([[True, False], [True, True], [True, True], [True, True]])
    got = explaining.market_returns(names, admitted)
    np.testing.assert_array_equal(got, [NAN, 0.1, 0.0, NAN])


@pytest.mark.parametrize("rf", [0.0, 0.2])
def test_retraded_multiple_is_where_the_mean_is_the_risk_free_rate(rf):
    panel, scores = planted()
    mask = np.ones(panel.shape, bool)
    weights, costs = topk_dropout(scores, mask, 3, 1), Costs(2.0, 1.0, min_fee=1.0)
    d = Desk(panel, weights, Venue(panel, costs=costs).book(weights), costs, scores=scores)
    alone = breakeven_cost(d.book, rng(), periods_per_year=252, rf=rf)
    assert alone.multiple > 2
    seen = explaining.retraded(d, rf, alone.multiple)
    equity = d.venue(seen).equity(d.weights, capital=d.capital, start=d.book.start, stop=d.stop)
    assert abs(np.mean(equity[1:] / equity[:-1] - 1) - rf / 252) < 0.02 * d.book.returns.mean()
    assert seen == pytest.approx(alone.multiple, rel=0.1)
    assert explaining.retraded(d, 0.0, None) is None


def test_real_ashares_under_their_rules():
    """60 names of 2010-2024, cash dividends, halts and limits: what is left over stays below 1 bp a year."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data" / "ashare" / "csi300_ever_daily.parquet"
    if not path.exists():
        pytest.skip("no ashare/csi300_ever_daily.parquet beside the repository")
    panel = ht.read_bars(path, zone="Asia/Shanghai").assets(np.arange(60))
    mask = admitted(panel)
    close = panel.view("close")
    scores = np.full(panel.shape, NAN)
    scores[20:] = 1 - close[20:] / close[:-20]
    scores[~mask] = NAN
    weights, costs = topk_dropout(scores, mask, 10, 2), Costs(2.5, 5.0)
    venue = Venue(panel, costs=costs, rules=lay("cn", panel, assume_st="never"), fill="next_open")
    d = Desk(panel, weights, venue.book(weights, start=20, capital=1e7), costs, scores=scores, mask=mask)
    a, book, seen = attributed(d, size=explaining.size_of_names(panel)[0])
    np.testing.assert_allclose(a.values.sum(axis=1), book.returns, atol=1e-12)
    assert abs(242 * seen["rest"].mean()) < 1e-4
    assert 0 < np.abs(seen["rest"]).max() < 0.01  # a dividend's cash on a bar of 10 %
    assert abs(sum(a.total.parts.values()) - a.total.net) < 1e-12
    assert a.parts == ("market", "size", "selection", "trading", "cost", "rest")


def test_size_is_what_was_known():
    panel = make_panel(60, 4, halts=0.2)
    size, name = explaining.size_of_names(panel)
    assert name == "value traded, mean of 20 bars"
    traded = panel.fields["volume"] * panel.fields["close"]
    for t in (0, 5, 19, 20, 44):
        seen = traded[max(0, t - 19) : t + 1]
        for n in range(4):
            known = [x for x in seen[:, n] if not math.isnan(x)]
            if known:
                assert size[t, n] == pytest.approx(np.mean(known), rel=1e-9)
            else:
                assert math.isnan(size[t, n])
    cut, _ = explaining.size_of_names(panel.rows(30))
    assert np.array_equal(cut, size[:30], equal_nan=True)
    bare = dataclasses.replace(panel, fields={"close": panel.fields["close"]})
    assert explaining.size_of_names(bare) == (None, "")
    idle = dataclasses.replace(panel, fields={**panel.fields, "volume": np.zeros((60, 4))})
    assert explaining.size_of_names(idle) == (None, "")
    cap = np.array([[5.0, NAN], [NAN, 2.0], [7.0, NAN]])
    owned = make_panel(3, 2)
    owned = dataclasses.replace(owned, fields={**owned.fields, "market_cap": cap})
    size, name = explaining.size_of_names(owned)
    assert name == "market_cap"
    np.testing.assert_array_equal(size, [[5.0, NAN], [5.0, 2.0], [7.0, 2.0]])


def test_sectors_are_codes_of_the_day():
    bare = make_panel(3, 2)
    assert explaining.sectors_of_names(bare) is None
    given = dataclasses.replace(bare, fields={**bare.fields, "sector": np.array([[0.0, NAN], [NAN, 3.0], [2.0, NAN]])})
    np.testing.assert_array_equal(explaining.sectors_of_names(given), [[0, -1], [0, 3], [2, 3]])
    for bad in (-1.0, 0.5):
        wrong = dataclasses.replace(bare, fields={**bare.fields, "sector": np.full((3, 2), bad)})
        with pytest.raises(DataError, match=f"sector: {bad:g} for .* is no code; number the sectors from 0"):
            explaining.sectors_of_names(wrong)


@pytest.mark.parametrize(("names", "want"), [(20, 5), (9, 4), (4, 2), (3, 2), (1, 2), (0, 2)])
def test_quantiles_hold_two_names_where_they_can(names, want):
    mask = np.zeros((5, 30), bool)
    mask[1:, :names] = True
    assert explaining.quantiles_of(mask) == want


def test_parts_rest_on_a_stated_basis():
    a = attributed(make_desk(T=60))[0]
    line = "252 bars a year, rf 0.00% a year, linked in logs, net of fees and slippage, which are a part of their own"
    assert str(a.basis) == line
    assert isinstance(a.basis, periods.Basis)
