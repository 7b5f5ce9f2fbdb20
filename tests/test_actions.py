"""Corporate actions from a table: laid on the panel's rows, paid once, and compared with the factor."""

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import make_panel

import hitherto as ht
from hitherto.errors import DataError
from hitherto.exchange import actions
from hitherto.exchange.rules import lay
from hitherto.exchange.simulate import Events, simulate
from hitherto.panel import Panel
from hitherto.portfolio.base import Weights

LEAN = Path(__file__).resolve().parents[2] / "shared" / "data" / "us_lean"
DAYS = ["2016-05-18", "2016-05-19", "2016-05-20", "2016-05-23", "2016-05-24"]  # Wednesday to Tuesday
NAMES = ("SH600008", "SZ000001")
ROWS = {
    "symbol": ["SZ000001", "SH600008"],
    "ex_date": ["2016-05-20", "2016-05-23"],
    "dividend": ["0.5", "0.15"],
    "split": ["", "2"],
}


def panel_of(close, factor=None, days=DAYS, names=NAMES, listed=None) -> Panel:
    close = np.array(close, float)
    days = np.array(days, "datetime64[D]")
    fields = {"close": close}
    if factor is not None:
        fields["factor"] = np.array(factor, float)
    on = np.ones(close.shape, bool) if listed is None else np.array(listed, bool)
    times = days.astype("datetime64[ns]").astype(np.int64)
    if len(set(days.tolist())) < len(days):
        times = times + np.arange(len(days))
    suspended = on & ~np.isfinite(close)
    return Panel(times=times, sessions=days, symbols=tuple(names), fields=fields, listed=on, suspended=suspended,
                 missing=np.zeros_like(on), universe=on.copy(),
                 adjustment="raw" if factor is None else "factor")  # fmt: skip


CLOSE = [[8.0, 10.0], [8.12, 10.0], [8.12, 9.5], [4.07, 9.5], [4.07, 9.5]]
PANEL = panel_of(CLOSE)


def buy_and_hold(panel, n=0, events=None, capital=8120.0, decided=0):
    """All cash into name n at the bar after ``decided``, without costs or rules."""
    values, rows = np.zeros(panel.shape), np.zeros(len(panel.times), bool)
    values[decided, n], rows[decided] = 1.0, True
    return simulate(panel, Weights("hold", values, rows), events=events, capital=capital)


def columns(events):
    return [np.asarray(x).tolist() for x in (events.t, events.n, events.dividend, events.split)]


def frame(**change):
    return pl.DataFrame({**ROWS, **change})


# Oracle


def test_the_table_lands_on_its_bars_and_the_book_is_paid():
    """1,000 shares at 8.12; 0.15 a share, then two for one: 150.00 in cash and 2,000 shares at 4.07 = 8,290.00."""
    got = actions.read(frame(), PANEL)
    assert isinstance(got, Events)
    assert columns(got) == [[2, 3], [1, 0], [0.5, 0.15], [1.0, 2.0]]
    assert got.notes == ()
    book = buy_and_hold(PANEL, events=got, capital=8000.0, decided=0)
    held = 8000 / 8.0  # sized at the close of the first bar ...
    assert book.shares[-1, 0] == pytest.approx(held * 8.0 / 8.12 * 2)  # ... and cut to the cash at 8.12
    book = simulate(
        PANEL, Weights("hold", np.array([[0, 0], [1.0, 0], [0, 0], [0, 0], [0, 0]]), np.arange(5) == 1), events=got,
        capital=8120.0, start=1,
    )  # fmt: skip
    assert book.shares[:, 0].tolist() == pytest.approx([0, 1000, 2000, 2000])
    assert book.cash.tolist() == pytest.approx([8120, 0, 150, 150], abs=1e-6)
    assert book.equity.tolist() == pytest.approx([8120, 8120, 8290, 8290])
    assert book.corporate.tolist() == pytest.approx([0, 0, 150, 0])


def test_every_source_gives_the_same_events(tmp_path):
    csv, parquet = tmp_path / "a.csv", tmp_path / "a.parquet"
    frame().write_csv(csv)
    frame().write_parquet(parquet)
    typed = frame(dividend=[0.5, 0.15], split=[None, 2.0]).with_columns(pl.col("ex_date").str.to_date())
    want = columns(actions.read(csv, PANEL))
    assert want == [[2, 3], [1, 0], [0.5, 0.15], [1.0, 2.0]]
    upper = frame().rename(str.upper).with_columns(note=pl.lit("more columns are ignored"))
    for source in (str(csv), parquet, frame(), typed, typed.to_arrow(), typed.to_pandas(), pd.DataFrame(ROWS),
                   pa.table(ROWS), upper):  # fmt: skip
        assert columns(actions.read(source, PANEL)) == want, type(source)
    assert frame().columns == list(ROWS)


def test_the_events_win_over_the_factor():
    factor = np.ones((5, 2))
    factor[3:, 0] = 2.035
    panel = panel_of(CLOSE, factor)
    by_factor, by_event = (buy_and_hold(panel, events=e, decided=1) for e in (None, actions.read(frame(), panel)))
    assert by_event.equity[-1] == pytest.approx(8290.0)
    assert by_factor.equity[-1] == pytest.approx(1000 * 4.07 + 8.12 * (1 - 1 / 2.035) * 1000)


def test_days_without_a_session_move_and_what_the_bars_lack_is_counted():
    table = {
        "symbol": ["SH600008", "SZ000001", "SH999999", "SZ000001", "SZ000001", "SH888888"],
        "ex_date": ["2016-05-21", "2016-05-22", "2016-05-20", "2016-05-17", "2016-05-25", "1999-01-04"],
        "dividend": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
        "split": [None] * 6,
    }
    got = actions.read(pl.DataFrame(table), PANEL)
    assert columns(got) == [[3, 3], [0, 1], [0.1, 0.2], [1.0, 1.0]]
    assert got.notes == (
        "2 rows of the table of corporate actions ignored: symbols that the bars lack (SH888888, SH999999).",
        "2 rows of the table of corporate actions ignored: ex-dates before the first session or after the last one.",
        "2 rows of the table of corporate actions moved to the next session: the ex-date is no session of the bars.",
    )


def test_actions_that_meet_on_one_bar_become_one_in_the_order_of_their_dates():
    """Saturday two for one, Sunday 0.1 on each new share, Monday 0.2: in Friday's shares 0 + 2 x 0.1 + 2 x 0.2."""
    table = {
        "symbol": ["SH600008"] * 3,
        "ex_date": ["2016-05-23", "2016-05-21", "2016-05-22"],
        "dividend": [0.2, None, 0.1],
        "split": [1.5, 2.0, None],
    }
    got = actions.read(pl.DataFrame(table), PANEL)
    assert columns(got)[:2] == [[3], [0]]
    assert got.dividend == pytest.approx(0.6)
    assert got.split == pytest.approx(3.0)


def test_an_action_opens_its_session_where_there_are_several_bars_a_day():
    days = [d for d in DAYS[:3] for _ in range(2)]
    panel = panel_of(np.full((6, 2), 9.0), days=days)
    got = actions.read(pl.DataFrame({"symbol": ["SZ000001"], "ex_date": [DAYS[1]], "dividend": [1.0], "split": [None]}),
                       panel)  # fmt: skip
    assert columns(got) == [[2], [1], [1.0], [1.0]]


def test_listings_that_share_a_ticker_are_told_apart_by_date():
    listed = [[1, 0], [1, 0], [0, 0], [0, 1], [0, 1]]
    panel = panel_of(np.full((5, 2), 9.0), names=("FB", "FB#2"), listed=listed)
    table = {"symbol": ["FB", "FB", "FB"], "ex_date": [DAYS[0], DAYS[1], DAYS[4]], "dividend": [1.0, 2.0, 3.0],
             "split": [None] * 3}  # fmt: skip
    assert columns(actions.read(pl.DataFrame(table), panel)) == [[0, 1, 4], [0, 0, 1], [1.0, 2.0, 3.0], [1.0] * 3]


def test_a_suspended_name_is_paid_on_the_day_and_once():
    """The dividend of 1.00 falls into a halt. The factor is known that day, or only when the name is back."""
    close = np.array([[10.0, 5], [10.0, 5], [np.nan, 5], [np.nan, 5], [9.0, 5]])
    table = pl.DataFrame({"symbol": ["SH600008"], "ex_date": [DAYS[2]], "dividend": [1.0], "split": [None]})
    steps = np.array([1, 1, 10 / 9, 10 / 9, 10 / 9])
    gap = np.where(np.isfinite(close[:, 0]), steps, np.nan)
    for factor, bar, note in ((None, 2, 0), (steps, 2, 0), (gap, 4, 1)):
        panel = panel_of(close, None if factor is None else np.column_stack([factor, np.ones(5)]))
        got = actions.read(table, panel)
        assert got.t.tolist() == [bar]
        assert len(got.notes) == note
        book = buy_and_hold(panel, events=got, capital=1000.0)
        assert book.corporate.tolist() == pytest.approx([100.0 if t == bar else 0 for t in range(5)])
        assert book.equity[-1] == pytest.approx(1000.0)
        assert actions.disagreements(panel, got)[0] == 0
    assert got.notes == ("1 row of the table of corporate actions moved to the next bar on which the factor is known.",)
    unmoved = Events(np.array([2]), np.array([0]), np.array([1.0]), np.array([1.0]))
    twice = buy_and_hold(panel, events=unmoved, capital=1000.0)
    assert twice.equity[-1] == pytest.approx(1090.0)  # 100 x 1.00, and 100 x 9.00 x (1 - 9 / 10) when it is back


# Property


@st.composite
def histories(draw):
    """A table of actions, and the panel of a name whose price does nothing else; some days are no sessions."""
    T = draw(st.integers(4, 12))
    start = np.datetime64("2020-01-01", "D")
    offsets = sorted(draw(st.sets(st.integers(2, 30), min_size=T - 2, max_size=T - 2)))
    days = start + np.array([0, 1, *offsets])
    when = draw(st.lists(st.integers(2, 34), min_size=1, max_size=8, unique=True))
    table = {
        "symbol": ["A"] * len(when),
        "ex_date": [(start + k).item() for k in when],
        "dividend": draw(st.lists(st.none() | st.floats(0.001, 0.5), min_size=len(when), max_size=len(when))),
        "split": draw(st.lists(st.floats(0.5, 3.0), min_size=len(when), max_size=len(when))),
    }
    # each price: what the rows since the session before leave of it, in the order of their dates
    price, close = 100.0, []
    rows = sorted(zip(table["ex_date"], table["dividend"], table["split"], strict=True))
    for a, b in zip([days[0], *days[:-1]], days, strict=True):
        for day, money, ratio in rows:
            if a < np.datetime64(day) <= b:
                price = (price - price * (money or 0.0)) / ratio
        close.append(price)
    return table, days, close


@given(histories(), st.randoms(use_true_random=False))
def test_no_action_changes_what_a_holder_is_worth(history, shuffle):
    """Dividends are stated in currency as shares of the price then; the price falls by exactly what is paid."""
    table, days, close = history
    price, seen = 100.0, {}
    for day, money, ratio in sorted(zip(table["ex_date"], table["dividend"], table["split"], strict=True)):
        if np.datetime64(day) <= days[-1]:
            seen[day] = price * (money or 0.0)
            price = (price - seen[day]) / ratio
    table = {**table, "dividend": [seen.get(d, 0.1) for d in table["ex_date"]]}
    panel = panel_of(np.array(close)[:, None], days=days, names=("A",))
    got = actions.read(pl.DataFrame(table), panel)
    book = buy_and_hold(panel, events=got, capital=1000.0)
    assert book.equity == pytest.approx(1000.0, rel=1e-4)  # splits and dividends are booked to 1e-8 of a share
    order = list(range(len(table["symbol"])))
    shuffle.shuffle(order)
    again = actions.read(pl.DataFrame({k: [v[i] for i in order] for k, v in table.items()}), panel)
    assert columns(again) == columns(got)
    factor = np.cumprod(np.r_[1.0, [held_growth(got, t, close) for t in range(1, len(days))]])
    with_factor = panel.replace(fields={**panel.fields, "factor": factor[:, None]}, adjustment="factor")
    assert actions.disagreements(with_factor, got)[0] == 0


def held_growth(got, t, close):
    at = np.flatnonzero(got.t == t)
    return 1.0 if not len(at) else close[t - 1] * got.split[at[0]] / (close[t - 1] - got.dividend[at[0]])


# Messages


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"symbol": ["SZ000001", ""]}, "a.csv line 3, column 'symbol': the symbol is empty; fill it in"),
        ({"ex_date": ["", "2016-05-23"]}, "a.csv line 2, column 'ex_date': the date is missing; write the ex-date"),
        (
            {"ex_date": ["soon", "2016-05-23"]},
            "a.csv line 2, column 'ex_date': 'soon' is no date of the years 1900..2199; write dates as YYYY-MM-DD, or "
            "time stamps as YYYY-MM-DD HH:MM:SS",
        ),
        (
            {"ex_date": ["2016-05-20 10:00:00", "2016-05-23 10:00:00"]},
            "a.csv line 2, column 'ex_date': plain dates are needed; write them as YYYY-MM-DD",
        ),
        (
            {"dividend": ["0.5", "-0.1"]},
            "a.csv line 3, column 'dividend': a dividend is not below 0; write the cash per share, or leave the cell "
            "empty",
        ),
        (
            {"split": ["", "0"]},
            "a.csv line 3, column 'split': a split is above 0; write the new shares per old one (1.3), or leave the "
            "cell empty",
        ),
        (
            {"split": ["", "1000"]},
            "a.csv line 3, column 'split': no split in 0.0001..900; write the new shares per old one (1.3 for 3 bonus "
            "shares on 10)",
        ),
        (
            {"dividend": ["NaN", "1"]},
            "a.csv line 2, column 'dividend': 'NaN' is no number; write it, or leave the cell empty",
        ),
        (
            {"split": ["", "10:3"]},
            "a.csv line 3, column 'split': '10:3' is no plain number; write e.g. 12.5, or leave the cell empty when "
            "the value is missing",
        ),
        (
            {"dividend": ["inf", "1"]},
            "a.csv line 2, column 'dividend': 'inf' is not a finite number; correct it, or leave the cell empty",
        ),
        (
            {"dividend": ["", "1"]},
            "a.csv line 2, column 'dividend': the row has neither dividend nor split, and would undo the factor's step "
            "that day; fill it in, or drop it",
        ),
        (
            {"known_at": ["2016-05-20", "2016-05-24"]},
            "a.csv line 3, column 'known_at': public only after its ex-date, a look-ahead; correct the dates, or drop "
            "the row",
        ),
        (
            {"symbol": ["SH600008"] * 2, "ex_date": ["2016-05-23"] * 2},
            "a.csv line 3: a second row of SH600008 on 2016-05-23 (the first: line 2); make them one: dividends added, "
            "splits multiplied",
        ),
    ],
)
def test_messages(tmp_path, change, message):
    path = tmp_path / "a.csv"
    frame(**change).write_csv(path)
    with pytest.raises(DataError) as e:
        actions.read(path, PANEL)
    assert str(e.value) == message


def test_messages_on_the_whole_table(tmp_path):
    def said(source, panel=PANEL):
        with pytest.raises(DataError) as e:
            actions.read(source, panel)
        return str(e.value)

    assert said(frame().drop("split")) == (
        "the frame: no column 'split'; a table of corporate actions has symbol, ex_date, dividend, split (the last two "
        "may be empty)"
    )
    assert said(tmp_path / "no.csv").endswith("no.csv: no such file; check the path of the table of corporate actions")
    assert said(7) == "the frame: int is no path and no frame; give a path or a pandas, polars or Arrow table"
    (tmp_path / "text.parquet").write_text("symbol")
    assert said(tmp_path / "text.parquet").startswith("text.parquet: not a readable Parquet file")
    assert said(frame(), PANEL.replace(adjustment="restated_total_return")) == (
        "corporate actions: these prices are restated and hold later splits and dividends already, which would be paid "
        "twice; read raw prices, or drop the table"
    )
    assert said(frame(dividend=[float("nan"), 0.15])) == (
        "the frame row 1, column 'dividend': 'nan' is no number; write it, or leave the cell empty"
    )


def test_known_at_on_the_ex_date_or_before_is_lawful_and_a_table_may_be_empty():
    assert len(actions.read(frame(known_at=["2016-05-20", ""]), PANEL).t) == 2
    assert len(actions.read(frame(known_at=[dt.date(2016, 1, 4), None]), PANEL).t) == 2
    none = actions.read(frame().clear(), PANEL)
    assert columns(none) == [[], [], [], []]
    assert buy_and_hold(PANEL, events=none).equity.tolist() == buy_and_hold(PANEL).equity.tolist()
    assert actions.disagreements(PANEL, none) == (0, "")


def test_an_explicit_nothing_undoes_a_wrong_step_of_the_factor():
    panel = panel_of(np.full((5, 2), 10.0), np.array([[1, 1], [1, 1], [1, 1], [2, 1], [2, 1]]))
    nothing = pl.DataFrame({"symbol": ["SH600008"], "ex_date": [DAYS[3]], "dividend": [0.0], "split": [1.0]})
    assert buy_and_hold(panel, events=actions.read(nothing, panel)).equity[-1] == pytest.approx(8120.0)
    assert buy_and_hold(panel).equity[-1] == pytest.approx(8120.0 * 1.5)


# Planted failure


def test_a_wrong_dividend_disagrees_with_the_factor():
    """Last 8.12, 0.15 and two for one: 8.12 x 2 / 7.97 = 2.0376. With 1.50 it is 16.24 / 6.62 = 2.453."""
    factor = np.ones((5, 2))
    factor[2:, 1] = 10 / 9.5
    factor[3:, 0] = 8.12 * 2 / 7.97
    panel = panel_of(CLOSE, factor)
    right = actions.read(frame(), panel)
    agreed = "Where they can be compared (2), corporate actions and steps of the factor agree to 1 %."
    assert actions.disagreements(panel, right) == (0, agreed)
    wrong = actions.read(frame(dividend=["0.5", "1.5"]), panel)
    assert actions.disagreements(panel, wrong) == (
        1,
        "1 of 2 corporate actions differ from the factor's step on their day by more than 1 % (SH600008 on 2016-05-23: "
        "factor x 2.038, action x 2.453). The action is what is booked; a step of the factor on another day would be "
        "paid on top.",
    )
    assert "factor x 1, action x 2.038" in actions.disagreements(panel, actions.read(
        frame(ex_date=["2016-05-20", "2016-05-24"], dividend=["0.5", "0.0751847"]), panel))[1]  # fmt: skip
    assert actions.disagreements(PANEL, right) == (0, "")


# Real bars


@pytest.mark.skipif(not LEAN.is_dir(), reason="the raw US bars are not at hand")
def test_apples_splits_and_dividends_as_they_were_announced():
    """100 shares from June 2014: x 7, x 4 are 2,800; 700 x 0.82 + 2,800 x (0.205 + 0.205) = 1,722.00 in cash.

    The ex-dates of the factor file are the day after the last day of a row, so some fall on Saturdays.
    """
    bars = pl.read_parquet(LEAN / "daily_raw.parquet").filter(
        (pl.col("symbol") == "AAPL") & pl.col("date").is_between(dt.date(2014, 5, 30), dt.date(2021, 3, 1))
    )
    table = pl.DataFrame({
        "symbol": ["AAPL"] * 5,
        "ex_date": ["2014-06-07", "2020-08-07", "2020-08-29", "2020-11-06", "2021-02-05"],
        "dividend": [None, 0.82, None, 0.205, 0.205],
        "split": [7, None, 4, None, None],
    })  # fmt: skip
    panel = ht.read_bars(bars)
    capital = 100 * panel.fields["close"][0, 0] * 1.05
    values, rows = np.full(panel.shape, 1 / 1.05), np.arange(len(panel.times)) == 0
    got = actions.read(table, panel)
    assert [str(panel.sessions[t]) for t in got.t[[0, 2]]] == ["2014-06-09", "2020-08-31"]
    for rules, shares in ((None, 2800.0), (lay("us", panel), 2800.0)):
        weights = Weights("hold", values, rows)
        book = simulate(panel, weights, events=got, rules=rules, capital=capital)
        assert book.shares[-1, 0] == pytest.approx(shares, rel=1e-12)
        assert book.corporate.sum() == pytest.approx(1722.0, abs=1e-6)
        day = np.searchsorted(panel.sessions, np.datetime64("2020-08-31"))
        assert book.equity[day] / book.equity[day - 1] - 1 == pytest.approx(0.0339, abs=2e-3)
        unpaid = simulate(panel, weights, rules=rules, capital=capital).equity
        assert unpaid[day] / unpaid[day - 1] - 1 == pytest.approx(129.04 / 499.23 - 1, abs=5e-2)
    file = pl.read_parquet(LEAN / "factor_files.parquet").filter(pl.col("symbol") == "AAPL").sort("date")
    at = np.searchsorted(file["date"].to_numpy(), panel.sessions.astype("datetime64[D]"))
    factor = (file["price_factor"] * file["split_factor"]).to_numpy()[at]
    with_factor = panel.replace(fields={**panel.fields, "factor": factor[:, None]}, adjustment="factor")
    assert actions.disagreements(with_factor, actions.read(table, with_factor))[0] == 0
    wrong = table.with_columns(pl.col("split").replace(7.0, 2.0))
    count, said = actions.disagreements(with_factor, actions.read(wrong, with_factor))
    assert (count, "AAPL on 2014-06-09: factor x 7, action x 2" in said) == (1, True)


# A study


@pytest.fixture(scope="module")
def traded(tmp_path_factory):
    """A study with actions on 10 days, one of them a dividend that the factor does not know, and the same without."""
    folder = tmp_path_factory.mktemp("study")
    panel = make_panel(T=260, N=12, halts=0.01, factor=True)
    close, factor = panel.fields["close"], panel.fields["factor"]
    t, n = np.nonzero(factor[1:] > factor[:-1])
    pick = np.flatnonzero(t > 150)[:9]
    rows = [(panel.symbols[n[i]], panel.sessions[t[i] + 1].item(), None, 1.1) for i in pick]
    rows += [(panel.symbols[k], panel.sessions[200].item(), float(np.nanmin(close[:, k]) / 2), None) for k in range(12)]
    rows = [*{(r[0], r[1]): r for r in rows}.values(), ("ZZZ", panel.sessions[9].item(), 1.0, None)]
    pl.DataFrame(rows, schema=["symbol", "ex_date", "dividend", "split"], orient="row").write_csv(folder / "acts.csv")
    tables = {
        "features": {"expressions": {"r1": "close / ref(close, 1) - 1", "gap": "close / mean(close, 10) - 1"}},
        "models": [ht.Ridge()], "split": {"train": 120, "valid": 30, "test": 40, "folds": 2},
        "portfolio": [{"k": 3, "drop": 1}], "audit": {"level": "off"}, "report": {"null_books": 20},
    }  # fmt: skip
    on, off = (
        ht.Study(panel, base=folder, exchange={"fee_bps": 5.0, **more}, **tables)
        for more in ({"actions": "acts.csv"}, {})
    )
    return panel, folder, *(s.run(folder / name, progress="off") for name, s in (("on", on), ("off", off)))


def test_a_study_trades_its_actions_as_events_given_by_hand(traded):
    panel, folder, on, off = traded
    table = pl.read_csv(folder / "acts.csv", try_parse_dates=True).filter(pl.col("symbol") != "ZZZ")
    t = np.searchsorted(panel.sessions, table["ex_date"].to_numpy().astype("datetime64[D]"))
    n = np.array([panel.symbols.index(s) for s in table["symbol"]])
    by_hand = Events(t, n, table["dividend"].fill_null(0.0).to_numpy(), table["split"].fill_null(1.0).to_numpy())
    differs = 0
    for name, book in on.books.items():
        again = simulate(
            panel, on.evaluation.weights[name], costs=on.evaluation.floor.costs, events=by_hand, start=book.start,
            stop=book.start + len(book.equity), reinvest=name == "buy and hold",
        )  # fmt: skip
        assert np.array_equal(book.equity, again.equity), name
        assert np.array_equal(book.fills.shares, again.fills.shares), name
        differs += not np.array_equal(book.equity, off.books[name].equity)
    assert differs == len(on.books)


def test_a_studys_report_says_so_and_its_variations_know_the_actions(traded):
    from hitherto.study import content, stress

    _, _, on, off = traded
    said = content.assumptions(on)
    assert "1 row of the table of corporate actions ignored: symbols that the bars lack (ZZZ)." in said
    assert sum("differ from the factor's step on their day" in s for s in said) == 1
    assert not any("orporate actions" in s for s in content.assumptions(off))
    page = (on.run.folder / "report.html").read_text(encoding="utf-8")
    assert "They win over the factor on their day" in page
    assert "no long-only book on the same fills" not in page
    desk = content.desk_of(on)
    row = next(r for r in stress.stress(desk, times=(1.0,), delays=(0,)).rows)
    assert row.net == stress.growth(on.book.equity, 252)
    assert row.net != stress.growth(off.book.equity, 252)
    free = on.evaluation.floor.venue(times=0.0)
    assert free.equity(desk.weights, start=desk.book.start, stop=desk.stop)[-1] > on.book.equity[-1]


def test_a_missing_table_is_named(tmp_path):
    study = ht.Study(
        make_panel(T=260, N=12), base=tmp_path, features={"set": "close_only"}, exchange={"actions": "acts.csv"}
    )
    from hitherto.study.trading import floor

    with pytest.raises(DataError, match=r"acts\.csv: no such file; check the path of the table of corporate actions"):
        floor(study, study.panel)
