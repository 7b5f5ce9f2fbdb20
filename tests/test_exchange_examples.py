"""Every worked example of docs/exchange.md, figure by figure: ``told`` takes a figure only if the page prints it."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import numpy as np
import pytest
from exchange_twin import BOARDS, BSE, ETF, FREE, MAIN, ST, STAR, panel_of, rulings

from hitherto.exchange.account import REASONS
from hitherto.exchange.simulate import Events, simulate
from hitherto.exchange.step import BarRules, State, step
from hitherto.exchange.terms import MINIMUM, TAX_SELL, TRANSFER, Costs
from hitherto.outcome import MarketRow
from hitherto.portfolio.base import Weights

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "exchange.md").read_text(encoding="utf-8")
REAL = ROOT.parent / "shared" / "data" / "ashare" / "csi300_ever_daily.parquet"
NONE = [*FREE[:8], 0, *([0] * 6), np.inf]  # whole shares, no limits, no fees
BOARD = {"main board": MAIN, "STAR": STAR, "BSE": BSE, "US": FREE, "ETF": ETF}


def told(text):
    """The number that the page prints as ``text``."""
    assert re.search(rf"(?<![\d.,]){re.escape(text)}(?![\d]|[.,]\d)", PAGE), f"docs/exchange.md does not say {text}"
    return float(text.replace(",", ""))


def table(heading):
    """Rows of the first table after a heading or phrase, cells stripped of bold."""
    lines = PAGE[PAGE.index(heading) :].splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("| "))
    rows = []
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().strip("*") for cell in line.strip("|").split("|")])
    return rows[2:]


def bar(terms, order, price, **given):
    """One bar at ``price`` through ``step``: (state, fills). Arguments are one number or N of them.

    given: cash, shares, last, locked; open, high, low, volume; growth; before, sigma, adv; fresh, at, costs, reinvest.
    """
    order = np.atleast_1d(np.array(order, float))

    def each(name, default):
        return np.broadcast_to(np.array(given.get(name, default), float), order.shape).copy()

    close = each("close", price)
    row = MarketRow(
        open=each("open", price), high=each("high", np.add(price, 0.01)), low=each("low", np.subtract(price, 0.01)),
        close=close, volume=each("volume", 1e9), growth=each("growth", 1.0), tradable=np.isfinite(close), last=close,
    )  # fmt: skip
    rules = BarRules(
        terms=np.array([terms], float), kind=np.zeros(order.shape, np.uint8), falls=given.get("falls", False),
        halt=np.zeros(order.shape, np.uint8), before=each("before", 1e9), sigma=each("sigma", np.nan),
        adv=each("adv", np.nan), fresh=given.get("fresh", True),
    )  # fmt: skip
    state = State(np.array(given.get("cash", 0.0)), each("shares", 0.0), each("last", np.nan), each("locked", 0.0))
    return step(
        state, order, row, given.get("costs", Costs()), price=given.get("at", "close"), rules=rules,
        reinvest=given.get("reinvest", False),
    )  # fmt: skip


def with_(terms, **changes):
    """A copy of a row of terms with some columns changed."""
    out = list(terms)
    for name, value in changes.items():
        out[{"tax_sell": TAX_SELL, "transfer": TRANSFER, "minimum": MINIMUM}[name]] = value
    return out


def outcome(fills, n=0):
    return REASONS[fills.reason[n]] if fills.reason[n] else abs(float(fills.shares[n]))


# ---- ex-days ---


def test_the_ex_day_is_real():
    if not REAL.exists():
        pytest.skip("the real A-share bars are not here")
    import polars as pl

    rows = pl.scan_parquet(REAL).filter(
        (pl.col("symbol") == "SH600008") & pl.col("date").is_between(dt.date(2016, 5, 20), dt.date(2016, 5, 23))
    )
    close, factor = (rows.collect()[c].to_numpy() for c in ("close", "factor"))
    np.testing.assert_allclose(close, [told("8.12"), told("4.07")], rtol=1e-6)
    np.testing.assert_allclose(factor, [told("2.733673"), told("5.563265")], rtol=1e-6)


G = 5.563265 / 2.733673


def test_an_ex_day_by_factor():
    assert round(G, 7) == told("2.0350880")
    assert round(told("8.12") / G, 4) == told("3.9900")
    assert round(told("8.12") * (1 - 1 / G), 4) == told("4.1300")
    assert round(1 - 1 / G, 7) == told("0.5086207")
    for close, worth in (("3.99", "8,120.00"), ("4.07", "8,200.00")):
        state, fills = bar(MAIN, 0, told(close), shares=told("1,000"), last=told("8.12"), growth=G)
        assert fills.corporate == told("4,130.00")
        assert state.cash + state.shares[0] * told(close) == pytest.approx(told(worth), abs=1e-9)


def test_the_other_formula_overpays_by_the_factor():
    worth = told("1,000") * told("8.12")
    wrong = round(worth * (G - 1), 2)
    assert wrong == told("8,404.91")
    assert wrong > worth
    assert round(G - 1, 7) == told("1.0350880")
    assert wrong == pytest.approx(told("4,130.00") * G, abs=0.01)


def test_an_ex_day_reinvested():
    state, _ = bar(MAIN, 0, told("3.99"), shares=1000, last=8.12, growth=G, reinvest=True)
    assert state.shares[0] == told("2,035")
    assert state.cash == told("0.35")
    assert round(1000 * G, 4) == told("2,035.0880")
    assert state.cash + state.shares[0] * told("3.99") == pytest.approx(told("8,120.00"), abs=1e-9)


def test_a_falling_factor():
    given = {"shares": told("105"), "last": told("4.00"), "growth": 0.1}
    state, fills = bar(FREE, 0, told("40.00"), falls=True, **given)
    assert (state.shares[0], state.cash, fills.corporate) == (10, told("20.00"), told("20.00"))
    state, fills = bar(MAIN, 0, 4.0, falls=False, **given)
    assert (state.shares[0], state.cash, fills.corporate) == (105, 0, 0)


def by_event(close, dividend, split, weights, capital):
    """One name under an event on the last of its bars: the book."""
    close = np.array(close, float)[:, None]
    T = len(close)
    panel = panel_of({"close": close}, np.datetime64("2024-01-01") + np.arange(T))
    event = Events(np.array([T - 1]), np.array([0]), np.array([dividend]), np.array([split]))
    target = Weights("one", np.array(weights, float)[:, None], np.array(weights) > 0)
    return simulate(panel, target, rules=rulings(np.zeros((T, 1)), [NONE]), events=event, capital=capital)


def test_an_explicit_event():
    book = by_event([8.12, 8.12, told("4.07")], told("0.15"), 2.0, [1, 0, 0], told("8,120.00"))
    assert book.shares[:, 0].tolist() == [0, 1000, told("2,000")]
    assert book.corporate[-1] == told("150.00")
    assert book.equity[-1] == told("8,290.00")
    assert (told("8.12") - 0.15) / 2 == pytest.approx(told("3.985"))
    assert told("8,120.00") == 2000 * 3.985 + 150


def test_a_waiting_order_is_split_with_the_shares():
    # 1,000 of 1,300 shares held; the order for 300 more waits over the ex-day
    book = by_event([8.12, 8.12, 4.07], 0.15, 2.0, [1000 / 1300, 1, 0], 1300 * 8.12)
    assert book.fills.ordered.tolist() == [1000, 2 * told("300")]
    assert told("600") == 600


def test_the_fraction_of_a_split_is_paid():
    book = by_event([9.0, told("9.00"), told("6.00")], 0.0, 1.5, [1, 0, 0], 333 * 9.0)
    assert book.shares[:, 0].tolist() == [0, told("333"), told("499")]
    assert book.cash[-1] == told("3.00")


# ---- limits ---


def test_the_table_of_limits():
    boards = {"10 %": MAIN, "5 %": ST}
    rows = table("## Price limits")
    assert len(rows) == 5
    for ref, limit, up, down, _ in rows:
        ref, up, down = float(ref), float(up), float(down)
        given = {"shares": 1_000, "cash": 1e6, "last": ref}
        for price, order, reason in (
            (up, 100, "limit up"), (up - 0.01, 100, 100), (up, -100, 100),
            (down, -100, "limit down"), (down + 0.01, -100, 100), (down, 100, 100),
        ):  # fmt: skip
            _, fills = bar(boards[limit], order, price, high=price + 0.05, **given)
            assert outcome(fills) == reason, (ref, limit, price, order)


def test_pythons_round_is_wrong():
    assert round(0.95 * 1.1, 2) == told("1.04")
    assert round(2.05 * 1.1, 2) == told("2.25")


@pytest.mark.parametrize("growth", [G, None], ids=["factor", "event"])
def test_the_reference_of_an_ex_day(growth):
    up, down = told("4.39"), told("3.59")
    for price, order, reason in (
        (up, 100, "limit up"), (up - 0.01, 100, 100), (down, -100, "limit down"), (down + 0.01, -100, 100),
    ):  # fmt: skip
        last = 8.12 if growth else told("3.985")
        _, fills = bar(MAIN, order, price, shares=1000, cash=1e6, last=last, growth=growth or 1.0, high=5.0)
        assert outcome(fills) == reason


def test_what_a_limit_day_fills():
    rows = table("With a reference of 10.00")
    assert len(rows) == 5
    for prices, bought, sold in rows:
        low, high, price = (float(x) for x in prices.split(","))
        for order, expected in ((100, bought), (-100, sold)):
            _, fills = bar(MAIN, order, price, low=low, high=high, shares=100, cash=1e6, last=10.0)
            told_ = f"filled at {fills.price[0]:.2f}" if not fills.reason[0] else REASONS[fills.reason[0]]
            assert told_ == expected, prices
    # at the open, high and low are not known yet: only the limit itself refuses
    _, fills = bar(MAIN, -100, 11.0, low=11.0, high=11.0, shares=100, last=10.0, at="open")
    assert outcome(fills) == 100


def test_without_a_close_before_there_is_no_limit():
    _, fills = bar(MAIN, 100, 30.0, cash=1e6, last=np.nan)
    assert outcome(fills) == 100


# ---- lots, fees ---


def test_the_table_of_lots():
    rows, board = table("## Lots"), None
    assert len(rows) == 6
    for name, lots, buy, bought, hold, sale, sold in rows:
        board = next((terms for key, terms in BOARD.items() if name.startswith(key)), board)
        assert board is not None
        assert not lots or [float(x) for x in lots.split(",")] == board[4:6]
        _, fills = bar(board, float(buy), 10.0, cash=1e6, last=10.0)
        assert outcome(fills) == (bought if bought == "below one lot" else float(bought))
        _, fills = bar(board, -float(sale), 10.0, cash=1e3, shares=float(hold), last=10.0)
        assert outcome(fills) == (sold if sold == "below one lot" else float(sold.split(" ")[0]))


def test_the_table_of_fees():
    old = with_(MAIN, tax_sell=100_000)
    old[7] = told("2.5") * 1e4
    columns = list(zip(*table("## Fees"), strict=True))[2:]
    for terms, cells in zip((old, with_(old, tax_sell=50_000)), columns, strict=True):
        commission, tax, transfer, total = (float(cell.split("->")[-1]) for cell in cells)
        state, fills = bar(terms, -3300, told("30.43"), shares=told("3,300"), last=30.43)
        assert (fills.commission[0], fills.tax[0], fills.transfer[0], fills.other[0]) == (commission, tax, transfer, 0)
        assert fills.fee[0] == pytest.approx(total, abs=1e-9)
        assert state.cash == pytest.approx(told("100,419.00") - total, abs=1e-9)
    for rate, once in ((0.00126, "126.53"), (0.00076, "76.32")):
        assert round(told("100,419.00") * rate, 2) == told(once)


def test_the_least_commission():
    terms = with_(MAIN)
    terms[7] = 25_000
    state, fills = bar(terms, 1000, told("12.34"), cash=20_000.0, last=12.34)
    assert (fills.commission[0], fills.tax[0], fills.transfer[0]) == (told("5.00"), 0, told("0.12"))
    assert state.cash == pytest.approx(20_000 - told("12,345.12"), abs=1e-9)


def test_slippage_is_beside_the_price():
    terms = with_(MAIN)
    terms[7] = 25_000
    state, fills = bar(terms, 1000, 10.0, cash=20_000.0, last=10.0, costs=Costs(slippage_bps=5))
    assert (fills.price[0], fills.slippage[0], fills.commission[0], fills.transfer[0]) == (10.0, 5.0, 5.0, told("0.10"))
    assert state.cash == pytest.approx(20_000 - told("10,010.10"), abs=1e-9)


def test_impact_grows_with_the_root_of_the_order():
    given = {"cash": 1e6, "last": 12.0, "sigma": 0.02, "adv": told("1,000,000"), "costs": Costs(impact=1.0)}
    _, fills = bar(MAIN, told("10,000"), told("12.00"), **given)
    assert fills.slippage[0] == told("240.00")
    _, fills = bar(MAIN, 40_000, 12.0, **given)
    assert fills.slippage[0] == 8 * told("240.00")


# ---- T+1, volume, cash ---


def test_shares_bought_today_cannot_be_sold_today():
    given = {"last": 10.0}
    morning, _ = bar(MAIN, told("200"), 10.0, cash=1e5, shares=told("300"), **given)
    assert morning.locked is not None
    assert (morning.shares[0], morning.locked[0]) == (500, 200)
    later = {"cash": morning.cash, "shares": morning.shares, "locked": morning.locked, **given}
    afternoon, fills = bar(MAIN, -told("500"), 10.0, fresh=False, **later)
    assert (afternoon.shares[0], fills.shares[0]) == (200, -300)
    assert afternoon.locked is not None
    later |= {"cash": afternoon.cash, "shares": afternoon.shares, "locked": afternoon.locked}
    _, refused = bar(MAIN, -200, 10.0, fresh=False, **later)
    assert outcome(refused) == "T+1"
    _, tomorrow = bar(MAIN, -200, 10.0, fresh=True, **later)
    assert outcome(tomorrow) == 200


def test_the_volume_cap():
    given = {"cash": 1e6, "last": 10.0, "costs": Costs(volume_cap=told("0.1"))}
    _, fills = bar(MAIN, told("5,000"), 10.0, volume=told("12,345"), **given)
    assert outcome(fills) == told("1,200")
    _, fills = bar(MAIN, 5_000, 10.0, volume=1.0, before=told("12,345"), at="open", **given)
    assert outcome(fills) == 1_200


def test_not_enough_cash():
    rows = table("Sales come first")
    assert len(rows) == 3
    last_a, last_b = (cells[-1].split("=")[-1].strip() for cells in (rows[0], rows[2]))
    assert (told(last_a), float(last_b.replace("*", "").replace(",", ""))) == (16_010, 9_010)
    lots = [[told("600") * j // 65_536 // 100 * 100, told("500") * j // 65_536 // 100 * 100] for j in (43_690, 43_691)]
    assert lots == [[300, 300], [400, 300]]
    terms = [*with_(MAIN, transfer=0)]
    terms[7] = 0
    state, fills = bar(terms, [600, 500], np.array([10.0, 20.0]), cash=told("10,000.00"), last=[10.0, 20.0])
    assert fills.shares.tolist() == [300, 300]
    assert state.cash == told("990.00")
    _, refused = bar(terms, [600, 500], np.array([10.0, 20.0]), cash=1_000.0, last=[10.0, 20.0])
    assert [REASONS[r] for r in refused.reason] == ["no cash", "no cash"]


def test_the_order_of_one_bar_sells_first():
    state, fills = bar(MAIN, [100, -100], np.array([10.0, 10.0]), cash=20.0, shares=[0, 100], last=[10.0, 10.0])
    assert fills.shares.tolist() == [100, -100]
    assert state.cash >= 0


# ---- reasons, other markets ---


def test_the_table_of_reasons():
    named = {}
    for codes, names, _ in table("**A fill at the open reads**"):
        named |= dict(zip((int(c) for c in codes.split(",")), (n.strip() for n in names.split(",")), strict=True))
    assert [named[code] for code in range(len(named))] == list(REASONS)


def test_us_fees_with_a_cap():
    terms = list(FREE)
    terms[7], terms[8], terms[TAX_SELL] = 0, 0, 0
    terms[14], terms[15] = told("0.000166") * 1e8, told("8.30") * 100
    for shares, fee in ((told("10,000"), "1.66"), (told("100,000"), "8.30")):
        _, fills = bar(terms, -shares, 50.0, shares=shares, last=50.0)
        assert fills.other[0] == told(fee)
    state, _ = bar(NONE, 3, told("187.65"), cash=600.0, last=187.65)
    assert state.cash == pytest.approx(600 - told("562.95"), abs=1e-9)


def test_the_rates_of_the_page_are_those_of_the_boards():
    assert {int(row[TRANSFER]) for row in BOARDS[[0, 1]]} == {1_000}
    assert MAIN[MINIMUM] == 500


def test_fees_without_rules_are_qlibs():
    day = np.array([[10.0], [10.0], [12.0], [12.0]])
    panel = panel_of({"close": day}, np.datetime64("2024-01-01") + np.arange(4))
    weights = Weights("in and out", np.array([[0.5], [0.0], [0.0], [0.0]]), np.array([True, False, True, False]))
    book = simulate(panel, weights, costs=Costs(fee_bps=5, sell_tax_bps=10), capital=100_000.0)
    np.testing.assert_allclose(book.fills.fee, [50_000 * 0.0005, 60_000 * 0.0015], rtol=1e-12)
