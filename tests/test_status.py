"""Boards from codes, the status table, and closes that contradict the limits assumed."""

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitherto.errors import DataError
from hitherto.exchange import terms as col
from hitherto.exchange.records import BOARDS
from hitherto.exchange.rules import lay
from hitherto.exchange.status import Status, board_of, boards_of, contradictions
from hitherto.panel import Panel

ASHARE = Path(__file__).resolve().parents[2] / "shared" / "data" / "ashare" / "csi300_ever_daily.parquet"


@pytest.mark.parametrize(
    ("symbol", "board"),
    [
        ("SH600000", "main_sse"), ("600000.SH", "main_sse"), ("sh.600000", "main_sse"), ("600000", "main_sse"),
        ("XSHG:601318", "main_sse"), ("603375.XSHG", "main_sse"), ("605001.SS", "main_sse"), ("SH600087#2", "main_sse"),
        ("SH688981", "star"), ("689009", "star"), ("SZ000001", "main_szse"), ("000001", "main_szse"),
        ("001979.SZ", "main_szse"), ("002594.XSHE", "main_szse"), ("sz.003816", "main_szse"), ("SZ300750", "chinext"),
        ("301499", "chinext"), ("SZ302132", "chinext"), ("BJ430047", "bse"), ("835185.BJ", "bse"), ("920002", "bse"),
        ("871981.BSE", "bse"), ("SH510300", "etf_sse"), ("588000", "etf_sse"), ("563000.SH", "etf_sse"),
        ("159919.SZ", "etf_szse"), ("150019", "etf_szse"),
    ],
)  # fmt: skip
def test_the_board_follows_from_the_code(symbol, board):
    assert board_of(symbol) == board


@pytest.mark.parametrize(
    ("symbol", "message"),
    [
        ("SH900901", "symbol 'SH900901' is a B share; no rules are recorded for it: drop it, or trade without rules"),
        ("200002.SZ", "symbol '200002.SZ' is a B share; "),
        ("SH000300", "symbol 'SH000300' is an index; "),
        ("399001", "symbol '399001' is an index; "),
        ("899050", "symbol '899050' is an index; "),
        ("SH113050", "symbol 'SH113050' is a bond; "),
        ("SZ128136", "symbol 'SZ128136' is a bond; "),
        ("SZ161725", "symbol 'SZ161725' is a fund of another kind; "),
        (
            "SH700001",
            "symbol 'SH700001': the prefix 700 is not known on SH; name its board in the status table, or drop it",
        ),
        ("700001", "symbol '700001': the prefix 700 is not known; name its board in the status table, or drop it"),
        ("SZ600000", "symbol 'SZ600000': the prefix 600 is not known on SZ; "),
        (
            "AAPL",
            "symbol 'AAPL': no code of a mainland Chinese exchange; write it like SH600000 or 600000.SH, or name its ",
        ),
        ("HK00700", "symbol 'HK00700': no code of a mainland Chinese exchange; "),
        ("HK600000", "symbol 'HK600000': no code of a mainland Chinese exchange; "),
        ("SH600000.SH", "symbol 'SH600000.SH': no code of a mainland Chinese exchange; "),
        ("60000", "symbol '60000': no code of a mainland Chinese exchange; "),
    ],
)
def test_names_without_rules_are_refused(symbol, message):
    with pytest.raises(DataError) as e:
        board_of(symbol)
    assert str(e.value).startswith(message)


@given(st.text(max_size=12) | st.from_regex(r"([A-Za-z]{0,4}[.:]?)[0-9]{5,7}([.:][A-Z]{2,4})?", fullmatch=True))
def test_any_text_has_a_board_or_a_message(symbol):
    said = ""
    try:
        said = board_of(symbol)
    except DataError as e:
        said = str(e)
    assert said in BOARDS["cn"] or (said.startswith("symbol '") and "\n" not in said)


def test_boards_of_a_panel():
    table = Status.read(pl.DataFrame({
        "symbol": ["510880.SH"], "start": ["2010-01-01"], "end": [None], "status": ["normal"], "board": ["etf20_sse"],
    }))  # fmt: skip
    boards, guessed = boards_of("cn", ["SH600000", "510880.SH"], table)
    assert boards.tolist() == ["main_sse", "etf20_sse"]
    assert guessed == 1
    assert boards_of("us", ["AAPL", "MSFT"])[0].tolist() == ["us", "us"]


ROWS = {
    "symbol": ["SH600000", "SZ000001"],
    "start": ["2020-01-06", "2020-02-03"],
    "end": ["2020-03-02", ""],
    "status": ["ST", "delisting"],
}


def test_every_source_gives_the_same_table(tmp_path):
    frame = pl.DataFrame(ROWS)
    csv, parquet = tmp_path / "s.csv", tmp_path / "s.parquet"
    frame.write_csv(csv)
    frame.write_parquet(parquet)
    dated = frame.with_columns(pl.col("start").str.to_date(), pl.col("end").str.to_date(strict=False))
    want = Status.read(csv).table
    assert want["status"].to_list() == ["st", "delisting"]
    assert want["end"].to_list()[1] is None
    for source in (
        str(csv),
        parquet,
        frame,
        dated,
        frame.to_pandas(),
        dated.to_arrow(),
        pd.DataFrame(ROWS),
        pa.table(ROWS),
    ):
        assert Status.read(source).table.equals(want), type(source)
    assert frame.columns == list(ROWS)  # the caller's frame is left alone


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"status": ["st", "PT"]}, "s.csv line 3, column 'status': unknown status; write one of st, delisting, normal"),
        ({"status": ["st", ""]}, "s.csv line 3, column 'status': unknown status; "),
        ({"symbol": ["", "SZ000001"]}, "s.csv line 2, column 'symbol': the symbol is empty; fill it in"),
        (
            {"start": ["2020-01-06", ""]},
            "s.csv line 3, column 'start': the date is missing; write the first day of the span",
        ),
        ({"end": ["2019-01-01", ""]}, "s.csv line 2, column 'end': the end lies before the start; correct the row"),
        ({"start": ["soon", "2020-02-03"]}, "s.csv line 2, column 'start': 'soon' is no date"),
        (
            {"start": ["2020-01-06 10:00:00", "2020-02-03 10:00:00"]},
            "s.csv line 2, column 'start': plain dates are needed",
        ),
        ({"board": ["main", ""]}, "s.csv line 2, column 'board': unknown board; one of main_sse, main_szse, "),
        ({"issue_price": ["7.5", "-1"]}, "s.csv line 3, column 'issue_price': no number > 0; correct it"),
        ({"issue_price": ["x", ""]}, "s.csv line 2, column 'issue_price': no number > 0; correct it"),
        ({"issue_price": ["NaN", ""]}, "s.csv line 2, column 'issue_price': no number > 0; correct it"),
    ],
)
def test_a_bad_table_names_row_column_and_cure(tmp_path, change, message):
    path = tmp_path / "s.csv"
    pl.DataFrame({**ROWS, **change}).write_csv(path)
    with pytest.raises(DataError) as e:
        Status.read(path)
    assert str(e.value).startswith(message)


def test_a_table_without_its_columns_or_file(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text("symbol,start,end\nSH600000,2020-01-01,\n")
    with pytest.raises(DataError) as e:
        Status.read(path)
    assert str(e.value) == "s.csv: no column 'status'; a status table has symbol, start, end (may be empty), status"
    with pytest.raises(DataError, match=r"none\.csv: no such file; check the path of the status table$"):
        Status.read(tmp_path / "none.csv")
    two = pl.DataFrame({**ROWS, "symbol": ["SH600000"] * 2, "board": ["main_sse", "star"]})
    with pytest.raises(DataError, match=r"^the frame, column 'board': two values for SH600000; keep one"):
        Status.read(two)


def test_rows_published_later_are_not_known():
    table = Status.read(pl.DataFrame({**ROWS, "known_at": ["2020-01-03", "2020-01-20"]}))
    assert table.known(np.datetime64("2020-01-10")).table["symbol"].to_list() == ["SH600000"]
    assert table.known(np.datetime64("2020-01-20")).table.height == 2


# ---- closes against limits -----------------------------------------------------------------------------------------


def panel_of(close, factor=None, symbols=("SH600000",), start="2021-03-01", first=0, **more):
    close = np.asarray(close, float).reshape(len(close), -1)
    days = np.arange(np.datetime64(start), np.datetime64(start) + 3 * len(close))
    days = days[np.is_busday(days)][: len(close)]
    listed = np.ones(close.shape, bool)
    listed[:first] = False
    halted = listed & np.isnan(close)
    fields = (
        {"close": close}
        if factor is None
        else {"close": close, "factor": np.asarray(factor, float).reshape(close.shape)}
    )
    fields |= {k: np.asarray(v, float).reshape(close.shape) for k, v in more.items()}
    return Panel(
        times=days.astype("datetime64[ns]").astype(np.int64), sessions=days, symbols=tuple(symbols), fields=fields,
        listed=listed, suspended=halted, missing=~listed & False, universe=listed.copy(),
    )  # fmt: skip


def count(*args, market="cn", **kwargs):
    panel = panel_of(*args, **kwargs)
    return contradictions(panel, lay(market, panel, assume_st="never" if market == "cn" else None))


def test_more_than_one_tick_beyond_the_limit_is_counted():
    # Limits of 10.00 are 11.00 and 9.00; one tick of grace.
    assert count([10.0, 11.00]).table.height == 0
    assert count([10.0, 11.01]).table.height == 0
    up, down = count([10.0, 11.02]), count([10.0, 8.98])
    assert (up.tested, up.table.height, down.table.height) == (1, 1, 1)
    assert count([10.0, 8.99]).table.height == 0
    row = up.table.row(0, named=True)
    assert (row["symbol"], str(row["date"]), row["close"]) == ("SH600000", "2021-03-02", 11.02)
    assert (row["reference"], row["up"], row["down"]) == (10.0, 11.0, 9.0)
    assert row["move"] == pytest.approx(0.102)
    assert str(up) == ("1 of 1 closes lie beyond the limits assumed by more than one tick (1 names; most: SH600000 1).")
    assert str(count([10.0, 11.0])) == "0 of 1 closes lie beyond the limits assumed."
    assert count([10.0, 20.0], symbols=("SZ300001",)).table.height == 1
    assert count([10.0, 12.0], symbols=("SZ300001",)).table.height == 0
    assert count([10.0, 20.0], symbols=("AAPL",), market="us").tested == 0


def test_the_reference_is_adjusted_on_ex_days_and_outlives_halts():
    # Ten for ten: 10.00 becomes 5.00, limits 5.50 and 4.50.
    assert count([10.0, 5.5], [1.0, 2.0]).table.height == 0
    assert count([10.0, 5.53], [1.0, 2.0]).table.height == 1
    assert count([10.0, 5.0]).table.height == 1
    # Halted for two sessions: the last close before them counts, with the factor that moved meanwhile.
    assert count([10.0, np.nan, np.nan, 11.0]).table.height == 0
    assert count([10.0, np.nan, np.nan, 12.0]).table.height == 1
    assert count([10.0, np.nan, 5.5], [1.0, 2.0, 2.0]).table.height == 0
    # A falling factor is a fault of the data in China: the reference stays.
    assert count([10.0, 10.5], [1.0, 0.5]).table.height == 0
    assert count([10.0, 20.0], [1.0, 0.5]).table.height == 1


def test_closes_at_five_per_cent_hint_at_names_under_special_treatment():
    # 10.00 -> 10.50 (5 %, at the high) -> 9.98 (-5 %, half up, at the low) -> 9.60 -> 9.98 (4 %, at the high).
    closes = [10.0, 10.5, 9.98, 9.60, 9.98]
    high, low = [10.2, 10.5, 10.5, 9.99, 9.98], [9.9, 10.1, 9.98, 9.5, 9.6]
    found = count(closes, high=high, low=low)
    assert (found.table.height, found.at_five, found.by_chance) == (0, 2, 0.5)
    assert str(found) == (
        "0 of 4 closes lie beyond the limits assumed; 2 stand at exactly 5 % and at the day's high or low where 10 % "
        "is assumed, about 0 by chance: the rest hints at ST names."
    )
    higher = [v + 0.01 for v in high]
    assert count(closes, high=higher, low=low).at_five == 1  # a close below the high is no limit
    assert count(closes, high=high, low=low, symbols=("SH688001",)).at_five == 0  # 20 % is assumed there
    assert count(closes).at_five is None


def test_intraday_closes_are_held_to_the_session_before():
    daily = panel_of([10.0, 10.9, 11.9])
    close = np.array([[10.0], [10.0], [10.6], [10.9], [11.5], [12.1]])
    on = np.ones((6, 1), bool)
    hourly = Panel(
        times=np.arange(6), sessions=np.repeat(daily.sessions, 2), symbols=daily.symbols, fields={"close": close},
        listed=on, suspended=~on, missing=~on, universe=on.copy(),
    )  # fmt: skip
    found = contradictions(hourly, lay("cn", hourly, assume_st="never"))
    assert found.tested == 4
    assert found.table["close"].to_list() == [12.1]  # 10.90 x 1.1 = 11.99; the bar before it closed at 11.50


def test_first_sessions_have_no_limit():
    rising = [np.nan, np.nan, 10.0, 14.4, 20.0, 30.0, 60.0, 66.0]  # five sessions without a limit, then + 10 %
    assert count(rising, symbols=("SZ300999",), first=2).table.height == 0
    late = count([*rising[:-1], 90.0], symbols=("SZ300999",), first=2)
    assert late.table["close"].to_list() == [90.0]
    # A main board name of 2021: one session at shares of the issue price, then 10 %.
    main = count(rising, symbols=("SH601999",), first=2)
    assert main.table["close"].to_list() == [14.4, 20.0, 30.0, 60.0]


def test_a_tighter_limit_that_nobody_told_us_cannot_be_seen():
    closes = [10.0, 10.5, 11.03]  # an ST name that hits 5 % twice: no contradiction under "never"
    panel = panel_of(closes)
    assert contradictions(panel, lay("cn", panel, assume_st="never")).table.height == 0
    status = Status.read(pl.DataFrame({
        "symbol": ["SH600000"], "start": ["2021-01-01"], "end": [None], "status": ["st"],
    }))  # fmt: skip
    told = lay("cn", panel, status)
    assert (told.terms[told.kind, col.UP] == 500).all()
    assert contradictions(panel, told).table.height == 0
    wrong = panel_of([10.0, 11.0, 12.1])  # and one that is not ST, but said to be
    assert contradictions(wrong, lay("cn", wrong, status)).table.height == 2


@pytest.mark.skipif(not ASHARE.exists(), reason="shared/data/ashare is not here")
def test_fifteen_years_of_real_closes_obey_the_rules():
    # Some 160 names (those whose code ends in 1, 4 or 7), every close from 2010 to 2024. Known contradictions:
    # first sessions after a suspended listing or a share reform, and steps of the factor without a step of the price.
    from hitherto import read_bars

    frame = (
        pl.scan_parquet(ASHARE).filter(pl.col("symbol").cast(pl.String).str.slice(-1).is_in(["1", "4", "7"])).collect()
    )
    panel = read_bars(frame, zone="Asia/Shanghai", close="15:00:00", adjustment="factor")
    found = contradictions(panel, lay("cn", panel, assume_st="never"))
    assert found.tested > 500_000
    assert set(found.table["symbol"]) == {"SZ000831", "SH600654", "SH600871"}
    assert found.table.height == 3
    # Planted: were ChiNext still at 10 %, or the ex-days ignored, the bars would say so loudly.
    rulings = lay("cn", panel, assume_st="never", asof=np.datetime64("2020-01-01"))
    assert contradictions(panel, rulings).table.height > 50
    assert found.at_five is not None
    assert found.at_five > 5 * found.by_chance  # ST names are there, and the bars tell
    flat = panel.replace(fields={k: v for k, v in panel.fields.items() if k != "factor"})
    assert contradictions(flat, lay("cn", flat, assume_st="never")).table.height > 200
