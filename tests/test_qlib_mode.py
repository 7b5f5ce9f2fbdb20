"""Qlib mode: golden books made by Qlib itself, a book worked by hand, causality, messages."""

from __future__ import annotations

import numpy as np
import pytest

from hitherto.errors import ConfigError, DataError
from hitherto.exchange.account import FILLED, LIMIT_DOWN, LIMIT_UP, SUSPENDED
from hitherto.exchange.qlib_mode import qlib_topk_dropout
from hitherto.panel import Panel

OPTIONS = {"topk": 5, "n_drop": 2, "capital": 1e5}


def panel_of(close, factor=None, suspended=None) -> Panel:
    close = np.asarray(close, np.float64)
    T, N = close.shape
    sessions = np.busday_offset("2020-01-01", np.arange(T), roll="forward").astype("datetime64[D]")
    on = np.ones((T, N), bool)
    fields = {"close": close} if factor is None else {"close": close, "factor": np.asarray(factor, np.float64)}
    halts = np.isnan(close) if suspended is None else suspended
    return Panel(
        times=sessions.astype("datetime64[ns]").astype(np.int64), sessions=sessions,
        symbols=tuple(f"SH{600000 + n}" for n in range(N)), fields=fields, listed=on, suspended=halts, missing=~on,
        universe=on.copy(), adjustment="raw" if factor is None else "factor",
    )  # fmt: skip


def market():
    """A panel of 40 bars x 14 names with halts, limit days and dividends, and scores with gaps and no ties.

    Adjusted prices and factors are held in float32, as Qlib's files hold them, so that both compute from one input.
    """
    rng = np.random.default_rng(7)
    moves = rng.normal(0, 0.025, (40, 14))
    limit = rng.random((40, 14))
    moves = np.where(limit < 0.04, 0.1, np.where(limit > 0.96, -0.1, moves))
    adjusted = np.round(20 * np.cumprod(1 + moves, axis=0), 2).astype(np.float32).astype(np.float64)
    factor = np.cumprod(np.where(rng.random((40, 14)) < 0.02, 1.25, 1.0), axis=0).astype(np.float32).astype(np.float64)
    halted = rng.random((40, 14)) < 0.06
    scores = rng.standard_normal((40, 14))
    scores[rng.random((40, 14)) < 0.05] = np.nan
    scores[17] = np.nan
    close = np.where(halted, np.nan, adjusted / factor)
    return panel_of(close, factor), scores


# The account at the close of bars 1..39 as pyqlib 0.9.7 reports it, to 1e-5 yuan. Made with
# benchmarks/simulate_qlib.py on the arrays of market(): close = adjusted close, factor, scores; request
# {"signal": "scores", "first": 1, "last": 40, "topk": 5, "n_drop": 2, "capital": 1e5, "open_cost": 0.0005,
#  "close_cost": 0.0015, "min_cost": 5, "limit_threshold": 0.095, "trade_unit": null or 100,
#  "forbid_all_trade_at_limit": true or false}.
GOLDEN = {
    "plain": [
        99952.50000, 99676.39178, 100945.70342, 103363.39565, 99926.01110, 99345.04363, 97319.46347, 94018.55688,
        95284.46056, 93851.84308, 92757.05492, 94540.66141, 95180.96135, 96626.98683, 97135.83331, 94365.34549,
        91788.70695, 91012.01098, 91832.30041, 90392.11796, 90280.37784, 91451.85208, 92119.80574, 93823.00889,
        94364.21765, 91468.86141, 90780.30759, 88649.42034, 91332.12789, 89897.04743, 88254.55072, 87228.66837,
        85886.07750, 84449.99810, 83157.48064, 82210.18299, 83712.57298, 81893.49467, 79200.87955,
    ],
    "lots": [
        99954.04760, 99664.87313, 100893.19193, 103277.70068, 99801.89474, 99258.43372, 97293.30389, 94069.75262,
        95315.90982, 93908.49707, 92810.69638, 94479.69586, 95099.93383, 94818.88704, 94192.97298, 90465.65018,
        89142.49647, 88546.37686, 89528.94989, 88207.41528, 88027.23242, 89277.13322, 89548.59878, 90990.84489,
        91363.48959, 88516.46963, 87879.49399, 85660.71951, 88032.27625, 86558.96596, 84980.43140, 83862.96481,
        82517.12164, 81132.93536, 79872.43056, 78943.59903, 80419.27749, 78736.89828, 76048.75383,
    ],
    "free": [
        99952.50000, 99676.39178, 100945.70342, 103363.39565, 99926.01110, 99345.04363, 97319.46347, 94018.55688,
        95284.46056, 93851.84308, 92757.05492, 94513.01837, 95569.12311, 95313.66241, 94483.72841, 91247.95045,
        89658.90980, 88935.25773, 89864.79374, 88436.89728, 88306.83090, 89509.02645, 90037.78313, 91721.84075,
        92200.49774, 89319.46603, 88653.07648, 86533.49627, 89127.32287, 87700.68737, 86088.32286, 85040.91060,
        83682.68140, 81520.80484, 80270.43709, 79292.47288, 80761.86884, 78525.07110, 77148.00952,
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", ["plain", "lots", "free"])
def test_the_account_is_that_of_qlib(name):
    panel, scores = market()
    options = {"plain": {}, "lots": {"trade_unit": 100}, "free": {"forbid_all_trade_at_limit": False}}[name]
    book = qlib_topk_dropout(panel, scores, **OPTIONS, **options)
    assert book.start == 1
    np.testing.assert_allclose(book.equity, GOLDEN[name], rtol=1e-9)
    # the table tells good from bad: scores one bar late, or no limits, are not within it
    late = np.vstack([scores[:1], scores[:-1]])
    assert not np.allclose(qlib_topk_dropout(panel, late, **OPTIONS, **options).equity, GOLDEN[name], rtol=1e-3)
    loose = qlib_topk_dropout(panel, scores, **OPTIONS, **options, limit_threshold=None)
    assert not np.allclose(loose.equity, GOLDEN[name], rtol=1e-6)


def by_hand(**options):
    """Three names, two held, one replaced a day; see the figures in the test."""
    close = [[10, 10, 10], [10, 10, 10], [11, 9.5, 10.5], [12.1, 9.6, 10.5]]
    scores = np.array([[3.0, 2, 1], [2, 1, 3], [1, 3, 2], [np.nan] * 3])
    rules = {"topk": 2, "n_drop": 1, "capital": 1e4, "open_cost": 0.001, "close_cost": 0.002, "min_cost": 5.0}
    return qlib_topk_dropout(panel_of(close), scores, **rules, **options)


def test_a_book_worked_by_hand():
    book = by_hand()
    # Bar 1: cash 10,000 x 0.95 / 2 = 4,750 each in A and B at 10: 475 shares; the fee of 4.75 becomes the least, 5.
    # Cash 10,000 - 9,500 - 10 = 490.
    np.testing.assert_allclose(book.shares[0], [475, 475, 0])
    assert book.cash[0] == pytest.approx(490, abs=1e-9)
    # Bar 2: C, A, B by score, so B leaves: 475 x 9.5 = 4,512.50, fee 9.025; cash 4,993.475. C gets 95 % of it,
    # 4,743.80125, 451.790595 shares at 10.5, fee 5; cash 244.67375. A stands at 11: + 5,225.
    np.testing.assert_allclose(book.shares[1], [475, 0, 4743.80125 / 10.5])
    assert book.cash[1] == pytest.approx(244.67375, abs=1e-9)
    assert book.equity[1] == pytest.approx(244.67375 + 5225 + 4743.80125, abs=1e-9)
    # Bar 3: A is the worst, but up 10 %: it may not be sold, and its place is filled all the same. B gets 95 % of
    # 244.67375 = 232.4400625, fee 5; three names are held. Cash 7.2336875.
    assert (book.shares[2] > 0).tolist() == [True, True, True]
    assert book.shares[2, 1] == pytest.approx(232.4400625 / 9.6, abs=1e-9)
    assert book.cash[2] == pytest.approx(7.2336875, abs=1e-9)
    assert book.equity[2] == pytest.approx(7.2336875 + 475 * 12.1 + 4743.80125 + 232.4400625, abs=1e-9)
    last = book.fills.t == 3
    assert book.fills.n[last].tolist() == [0, 1]
    assert book.fills.reason[last].tolist() == [LIMIT_UP, FILLED]
    np.testing.assert_allclose(book.fees, [10, 14.025, 5])


def test_selling_at_the_upper_limit_when_allowed():
    book = by_hand(forbid_all_trade_at_limit=False)
    # A: 475 x 12.1 = 5,747.50, fee 11.495; cash 5,980.67875, of which B gets 95 %, fee 0.1 % = 5.6816...
    cash = 244.67375 + 5747.5 - 11.495
    part = cash * 0.95
    assert book.shares[2, 0] == 0
    assert book.shares[2, 1] == pytest.approx(part / 9.6, abs=1e-9)
    assert book.cash[2] == pytest.approx(cash - part - part * 0.001, abs=1e-9)


def test_lots_count_raw_shares():
    # factor 2: adjusted price 20 for a raw 10; 95,000 buy 9,500 raw shares, held as 4,750 adjusted ones
    panel = panel_of(np.full((3, 2), 10.07), factor=np.full((3, 2), 2.0))
    scores = np.array([[2.0, 1.0]] * 3)
    book = qlib_topk_dropout(panel, scores, topk=1, n_drop=1, capital=1e5, trade_unit=100)
    assert book.shares[0, 0] * 2.0 == pytest.approx(9400)  # 95,000 / 10.07 = 9,433.96
    assert book.cash[0] == pytest.approx(1e5 - 94_658 - 47.329)


@pytest.mark.parametrize(("cash", "shares"), [(200.0, 19.0), (15.0, 1.0), (5.2, 0.02), (4.0, 0.0)])
def test_cash_that_hardly_pays_the_fee(cash, shares):
    # 95 % of the cash goes into one name at 10, fee 5. 200: 190 and the fee are there. 15: 14.25 and 5 are not, so
    # that 15 - 5 = 10 are left for shares; 5.2 leave 0.2; 4 do not pay the fee.
    panel = panel_of(np.full((2, 1), 10.0))
    book = qlib_topk_dropout(panel, np.ones((2, 1)), topk=1, n_drop=1, capital=cash)
    assert book.shares[0, 0] == pytest.approx(shares, abs=1e-9)
    assert book.cash[0] >= 0


def test_a_purchase_with_all_the_cash_leaves_room_for_its_fee():
    panel = panel_of(np.full((2, 1), 10.0), factor=np.ones((2, 1)))
    rules = {"topk": 1, "n_drop": 1, "capital": 1e5, "risk_degree": 1.0}
    book = qlib_topk_dropout(panel, np.ones((2, 1)), **rules)
    assert book.shares[0, 0] == pytest.approx(1e5 / 1.0005 / 10, rel=1e-11)
    lots = qlib_topk_dropout(panel, np.ones((2, 1)), **rules, trade_unit=100)
    assert lots.shares[0, 0] == 9900  # 9,995 shares are affordable


def test_dust_of_cash_buys_nothing():
    # all cash went into A; its sale is refused at +10 %, and what rounding left of the cash must not open a position
    close = np.array([[10.0, 10], [10, 10], [11, 10]])
    scores = np.array([[2.0, 1], [1, 2], [1, 2]])
    book = qlib_topk_dropout(
        panel_of(close), scores, topk=1, n_drop=1, capital=1e8, risk_degree=1.0, open_cost=0.0005, min_cost=0.0
    )
    assert 0 <= book.cash[0] < 1e-3
    assert (book.shares[1] > 0).tolist() == [True, False]


def test_a_halt_keeps_its_price_and_blocks_the_sale():
    close = np.array([[10.0, 10], [10, 10], [np.nan, 10], [13, 10]])
    scores = np.array([[2.0, 1], [1, 2], [1, 2], [1, 2]])
    book = qlib_topk_dropout(panel_of(close), scores, topk=1, n_drop=1, capital=1e5)
    assert book.price[1, 0] == 10
    at = (book.fills.t == 2) & (book.fills.n == 0)
    assert book.fills.reason[at].tolist() == [SUSPENDED]
    # back at +30 % against the last known close: beyond the limit, still not sold
    assert book.fills.reason[(book.fills.t == 3) & (book.fills.n == 0)].tolist() == [LIMIT_UP]


def test_limits_bar_both_sides_only_when_told_to():
    # the held name falls 10 %: its sale is barred either way; the other falls 10 % too and may be bought only if free
    close = np.array([[10.0, 10], [10, 10], [9, 9]])
    scores = np.array([[2.0, 1], [1, 2], [1, 2]])
    barred = qlib_topk_dropout(panel_of(close), scores, topk=1, n_drop=1, capital=1e5)
    free = qlib_topk_dropout(panel_of(close), scores, topk=1, n_drop=1, capital=1e5, forbid_all_trade_at_limit=False)
    assert barred.fills.reason[-2:].tolist() == [LIMIT_DOWN, LIMIT_DOWN]
    assert free.fills.reason[-2:].tolist() == [LIMIT_DOWN, FILLED]


def test_the_books_add_up():
    panel, scores = market()
    book = qlib_topk_dropout(panel, scores, **OPTIONS)
    value = np.where(book.shares > 0, book.shares * book.price, 0.0).sum(axis=1)
    np.testing.assert_allclose(book.equity, book.cash + value, rtol=1e-12)
    done = book.fills.shares != 0
    flow = np.zeros(len(book.equity))
    np.add.at(flow, book.fills.t[done] - 1, -(book.fills.shares * book.fills.price)[done] - book.fills.fee[done])
    np.testing.assert_allclose(np.diff(np.r_[1e5, book.cash]), flow, atol=1e-7)
    assert (book.cash >= 0).all()
    assert (book.fills.decided == book.fills.t - 1).all()
    assert (book.fills.ordered != 0).all()
    assert (np.abs(book.fills.shares) <= np.abs(book.fills.ordered) * (1 + 1e-12)).all()
    held = (book.shares > 0).sum(axis=1)
    assert held.max() <= 5 + 2
    assert (held > 5).any()  # refused sales make room all the same


def test_a_bar_without_scores_trades_nothing():
    panel, scores = market()
    book = qlib_topk_dropout(panel, scores, **OPTIONS)
    assert not (book.fills.t == 18).any()
    np.testing.assert_array_equal(book.shares[17], book.shares[16])


def test_nothing_after_a_bar_moves_the_book_before():
    panel, scores = market()
    book = qlib_topk_dropout(panel, scores, **OPTIONS)
    for t in (5, 20, 33):
        later, close = scores.copy(), panel.fields["close"].copy()
        later[t:], close[t + 1 :] = -later[t:], close[t + 1 :] * 1.5
        other = panel.replace(fields={"close": close, "factor": panel.fields["factor"].copy()})
        again = qlib_topk_dropout(other, later, **OPTIONS)
        np.testing.assert_array_equal(again.equity[:t], book.equity[:t])  # bars 1..t
        assert again.equity[t] != book.equity[t]


def test_the_order_of_columns_does_not_matter():
    panel, scores = market()
    order = np.random.default_rng(0).permutation(14)
    book = qlib_topk_dropout(panel, scores, **OPTIONS)
    turned = qlib_topk_dropout(panel.assets(order), scores[:, order], **OPTIONS)
    np.testing.assert_allclose(turned.equity, book.equity, rtol=1e-13)
    np.testing.assert_allclose(turned.shares, book.shares[:, order], rtol=1e-12)


def test_equal_scores_and_names_without_one_go_by_symbol():
    close = np.full((3, 4), 10.0)
    scores = np.array([[2.0, 2, 2, 1], [np.nan, np.nan, 1, 1], [1, 1, 1, 1]])
    book = qlib_topk_dropout(panel_of(close), scores, topk=2, n_drop=1, capital=1e5)
    assert (book.shares[0] > 0).tolist() == [True, True, False, False]  # the first two of three equal ones
    # both held names lost their score: the last symbol leaves; of two equal candidates the first comes
    assert (book.shares[1] > 0).tolist() == [True, False, True, False]


def test_hold_thresh_keeps_a_name_and_still_buys():
    close = np.full((4, 3), 10.0)
    scores = np.array([[3.0, 2, 1], [1, 3, 2], [1, 2, 3], [1, 2, 3]])
    book = qlib_topk_dropout(panel_of(close), scores, topk=1, n_drop=1, capital=1e5, hold_thresh=2)
    # bar 2: A was held one bar only and stays, B comes beside it; bar 3: C would come, A and B rank last: A leaves
    assert (book.shares[1] > 0).tolist() == [True, True, False]
    assert not book.shares[2, 0] > 0
    # the count starts with the purchase: B, bought at bar 3, may not go at bar 4
    scores = np.array([[3.0, 2, 1], [3, 2, 1], [2, 3, 1], [1, 2, 3], [1, 2, 3]])
    late = qlib_topk_dropout(panel_of(np.full((5, 3), 10.0)), scores, topk=1, n_drop=1, capital=1e5, hold_thresh=2)
    assert (late.shares[2] > 0).tolist() == [False, True, False]
    assert (late.shares[3] > 0).tolist() == [False, True, True]


def test_messages():
    panel, scores = market()
    with pytest.raises(DataError) as e:
        qlib_topk_dropout(panel, scores[:-1])
    assert str(e.value) == "qlib_topk_dropout: scores have shape (39, 14), the panel (40, 14); use one panel for both"
    with pytest.raises(ConfigError) as e:
        qlib_topk_dropout(panel, scores, topk=5, n_drop=0)
    assert str(e.value) == (
        "qlib_topk_dropout: n_drop must lie in 1..topk, got n_drop 0 and topk 5; with n_drop 0 Qlib sells everything "
        "every other day"
    )
    bad = scores.copy()
    bad[3, 2] = np.inf
    with pytest.raises(DataError) as e:
        qlib_topk_dropout(panel, bad)
    assert str(e.value) == (
        "qlib_topk_dropout: the score of SH600002 on 2020-01-06 is infinite; give a number, or NaN for none"
    )
    with pytest.raises(DataError) as e:
        qlib_topk_dropout(panel, np.full((40, 14), np.nan))
    assert str(e.value) == "qlib_topk_dropout: no row holds a score; check the scores and the universe"
    with pytest.raises(ConfigError) as e:
        qlib_topk_dropout(panel, scores, start=0)
    assert str(e.value) == (
        "qlib_topk_dropout: bars 0..40 are empty or outside 1..40; the first bar trades on the scores of the row before"
    )
    with pytest.raises(DataError) as e:
        qlib_topk_dropout(panel_of(np.full((3, 2), 10.0)), np.ones((3, 2)), topk=1, n_drop=1, trade_unit=100)
    assert str(e.value) == (
        "qlib_topk_dropout: trade_unit counts raw shares and needs a factor wherever a close is known; without it Qlib "
        "trades fractions: give trade_unit=None"
    )
    with pytest.raises(ConfigError) as e:
        qlib_topk_dropout(panel, scores, risk_degree=1.5)
    assert str(e.value) == "qlib_topk_dropout: risk_degree must lie in (0, 1], got 1.5"
    with pytest.raises(ConfigError) as e:
        qlib_topk_dropout(panel, scores, limit_threshold=0.0)
    assert str(e.value) == "qlib_topk_dropout: limit_threshold must be > 0 or None, got 0.0"
    with pytest.raises(ConfigError) as e:
        qlib_topk_dropout(panel, scores, open_cost=-0.1)
    assert str(e.value) == "costs: fee_bps must be a number >= 0, got -1000.0"
