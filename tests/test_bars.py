"""Reading bars: one table from every source, checked against slow definitions; calendars and membership."""

import csv
import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitherto.errors import ConfigError, DataError
from hitherto.market import calendar, membership
from hitherto.market.bars import read
from hitherto.panel import from_bars

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="shared/data with the real prices is absent")
FIELDS = ["open", "high", "low", "close", "volume", "factor"]


def same(a, b, findings=True):
    """Two Bars are equal to the bit."""
    assert a.symbols == b.symbols
    assert a.lifetimes == b.lifetimes
    assert (a.zone, a.adjustment) == (b.zone, b.adjustment)
    assert list(a.values) == list(b.values)
    for name in ("times", "sessions", "row", "column", "suspended"):
        assert np.array_equal(getattr(a, name), getattr(b, name)), name
    for name in a.values:
        assert np.array_equal(a.values[name], b.values[name], equal_nan=True), name
    if findings:
        assert a.findings == b.findings


def codes(bars):
    return {f.code: f for f in bars.findings}


@st.composite
def markets(draw):
    """A long polars table: random listings on a common clock, halts, missing cells, an extra field."""
    T, N = draw(st.integers(2, 12)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    days = dt.date(2020, 1, 1) + np.cumsum(rng.integers(1, 4, T)) * dt.timedelta(days=1)
    rows = []
    for n in range(N):
        first, last = sorted(rng.integers(0, T, 2))
        close = 10.0 * (n + 1)
        for t in range(first, last + 1):
            if rng.random() < 0.1 and first < t < last:
                continue
            halt = rng.random() < 0.15
            close = close if halt else round(close * (1 + 0.03 * rng.standard_normal()), 2)
            spread = 0.0 if halt else round(abs(rng.standard_normal()), 2)
            gone = rng.random() < 0.05
            rows.append({
                "date": days[t], "symbol": f"s{n}", "open": close, "high": close + spread, "low": close - spread / 10,
                "close": None if gone else close, "volume": 0 if halt else int(rng.integers(1, 1000)),
                "factor": 1.0 + t // 5, "pe": None if rng.random() < 0.3 else float(rng.integers(1, 50)), "beta": n / 8,
            })  # fmt: skip
    rows[-1]["close"] = rows[-1]["open"]
    return pl.DataFrame(rows, schema_overrides={"close": pl.Float64, "pe": pl.Float64})


@given(markets(), st.randoms(use_true_random=False))
def test_any_source_and_any_order_of_columns_give_the_same_bars(tmp_path_factory, frame, random):
    folder = tmp_path_factory.mktemp("bars")
    expected = read(frame)
    order = list(frame.columns)
    random.shuffle(order)
    shuffled = frame.select(order)
    headers = {c: random.choice([c.upper(), c.title(), f" {c} ", c]) for c in order}
    shuffled.rename(headers).write_csv(folder / "a.csv")
    shuffled.write_parquet(folder / "a.parquet")
    shuffled.with_columns(pl.col("symbol").cast(pl.Categorical)).write_parquet(folder / "b.parquet")
    per_symbol = folder / "per_symbol"
    per_symbol.mkdir()
    for (symbol,), part in shuffled.group_by("symbol"):
        part.drop("symbol").write_csv(per_symbol / f"{symbol}.csv")
    by_date = frame.sort("date", "symbol")
    pandas = pd.DataFrame({c: shuffled[c].to_list() for c in order}).assign(date=lambda f: pd.to_datetime(f["date"]))
    for source in (
        folder / "a.csv", str(folder / "a.parquet"), folder / "b.parquet", per_symbol, shuffled, shuffled.lazy(),
        by_date, shuffled.to_arrow(), Stream(shuffled.to_arrow()), pandas, pandas.set_index(["date", "symbol"]),
    ):  # fmt: skip
        same(read(source), expected)


class Stream:
    """A foreign table that knows nothing but the Arrow C stream."""

    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


@given(markets())
def test_wide_closes_give_the_bars_of_long_closes(tmp_path_factory, frame):
    folder = tmp_path_factory.mktemp("wide")
    long = frame.select("date", "symbol", "close")
    wide = long.pivot("symbol", index="date", values="close").sort("date")
    wide.write_csv(folder / "w.csv")
    wide.write_parquet(folder / "w.parquet")
    pandas = pd.DataFrame(wide.drop("date").to_dict(as_series=False), index=pd.DatetimeIndex(wide["date"].to_list()))
    pandas.to_csv(folder / "p.csv")
    expected = read(long)
    lost = {"no_prices"}  # worded alike, but a symbol may come first in another order
    for source in (folder / "w.csv", folder / "w.parquet", folder / "p.csv", wide, pandas):
        got = read(source)
        same(got, expected, findings=False)
        assert {f for f in got.findings if f.code not in lost} == {f for f in expected.findings if f.code not in lost}


@given(markets())
def test_bars_equal_a_slow_reader(tmp_path_factory, frame):
    """The oracle: a dictionary of (symbol, date) filled line by line."""
    path = tmp_path_factory.mktemp("slow") / "a.csv"
    frame.write_csv(path)
    with path.open() as f:
        rows = [r for r in csv.DictReader(f) if r["close"]]
    bars = read(path)
    panel = from_bars(bars)
    dates = sorted({r["date"] for r in rows})
    symbols = sorted({r["symbol"] for r in rows})
    assert [str(d) for d in bars.sessions] == dates
    assert list(bars.symbols) == symbols
    assert len(bars.row) == len(rows)
    for n, s in enumerate(symbols):
        own = [r for r in rows if r["symbol"] == s]
        where = [dates.index(r["date"]) for r in own]
        assert bars.lifetimes[n] == (min(where), max(where))
        assert np.array_equal(
            np.flatnonzero(panel.missing[:, n]), sorted(set(range(min(where), max(where))) - set(where))
        )
        for r, t in zip(own, where, strict=True):
            halted = float(r["volume"]) == 0
            assert panel.suspended[t, n] == halted
            for name in FIELDS:
                if halted and name != "factor":
                    assert np.isnan(panel.fields[name][t, n])
                else:
                    assert panel.fields[name][t, n] == float(r[name])


def table(rows, columns="date symbol close"):
    return pl.DataFrame(rows, schema=columns.split(), orient="row")


def test_a_date_is_decided_at_the_local_close():
    rows = [("2020-03-06", "A", 1.0), ("2020-03-09", "A", 1.1)]
    assert list(read(table(rows)).times) == [at("2020-03-06T15:00"), at("2020-03-09T15:00")]
    shanghai = read(table(rows), zone="Asia/Shanghai")
    assert list(shanghai.times) == [at("2020-03-06T07:00"), at("2020-03-09T07:00")]
    # Daylight saving began on 2020-03-08.
    york = read(table(rows), zone="America/New_York", close="16:00")
    assert list(york.times) == [at("2020-03-06T21:00"), at("2020-03-09T20:00")]


def at(text):
    return int(np.datetime64(text, "ns").astype(np.int64))


@pytest.mark.parametrize(
    "text", ["2020-03-06", "2020/3/6", "20200306", "2020-03-06 00:00:00", "2020-03-06T00:00:00-05:00"]
)
def test_spellings_of_a_date(text):
    bars = read(table([(text, "A", 1.0)]))
    assert str(bars.sessions[0]) == "2020-03-06"
    assert bars.times[0] == at("2020-03-06T15:00")


def test_whole_numbers_are_dates():
    assert str(read(table([(20200306, "A", 1.0)])).sessions[0]) == "2020-03-06"


def test_instants_keep_their_time_and_get_local_sessions():
    rows = [("2020-01-02T20:59:00-05:00", "A", 1.0), ("2020-01-02T21:00:00-05:00", "A", 1.1)]
    bars = read(table(rows), zone="America/New_York")
    assert list(bars.times) == [at("2020-01-03T01:59"), at("2020-01-03T02:00")]
    assert [str(d) for d in bars.sessions] == ["2020-01-02"] * 2
    naive = read(table([(r[0][:19], *r[1:]) for r in rows]), zone="America/New_York")
    same(naive, bars)
    aware = table(rows).with_columns(pl.col("date").str.to_datetime(time_zone="America/New_York"))
    same(read(aware), bars)
    assert bars.notes["close"] == "as stamped"


def test_daily_stamps_at_local_midnight_are_dates_not_instants():
    """yfinance writes 2020-07-01 00:00:00-04:00: read as an instant the bar would be known before it traded."""
    rows = [("2020-01-02 00:00:00-05:00", "A", 1.0), ("2020-07-01 00:00:00-04:00", "A", 1.1)]
    bars = read(table(rows), zone="America/New_York", close="16:00:00")
    assert list(bars.times) == [at("2020-01-02T21:00"), at("2020-07-01T20:00")]
    utc = table(rows).with_columns(pl.col("date").str.to_datetime(time_zone="UTC"))
    same(read(utc, zone="America/New_York", close="16:00:00"), bars)
    with pytest.raises(
        DataError, match=r"^the frame row 1, column 'date': every stamp is midnight .* dates or instants\?"
    ):
        read(table(rows[:1]), zone="Asia/Shanghai")


def test_a_time_inside_a_clock_change_is_refused():
    for when in ("2020-03-08 02:30:00", "2020-11-01 01:30:00"):
        with pytest.raises(DataError, match="occurs twice or never in America/New_York"):
            read(table([(when, "A", 1.0)]), zone="America/New_York")


def test_suspended_bars():
    columns = "date symbol open high low close volume"
    rows = [
        ("2020-01-01", "A", 10.0, 11.0, 9.0, 10.5, 100), ("2020-01-02", "A", 10.5, 10.5, 10.5, 10.5, 0),
        ("2020-01-03", "A", 10.5, 10.6, 10.5, 10.5, 0), ("2020-01-04", "A", 10.6, 10.6, 10.6, 10.6, 0),
        ("2020-01-05", "A", 10.6, 10.6, 10.6, 10.6, 5), ("2020-01-06", "A", None, None, None, 10.6, 0),
    ]  # fmt: skip
    bars = read(table(rows, columns))
    assert list(bars.suspended) == [False, True, False, True, False, True]
    assert codes(bars)["zero_volume"].where == "A 2020-01-03"
    closes = read(table([(r[0], r[1], r[5], r[6]) for r in rows], "date symbol close volume"))
    assert list(closes.suspended) == [False, True, True, False, False, True]
    assert not read(table([r[:2] + r[5:6] for r in rows])).suspended.any()


def test_a_ticker_that_comes_back_is_another_listing():
    days = [str(d) for d in np.arange("2018-01-01", "2019-12-31", dtype="M8[D]")]
    rows = [(d, "Z", 50 + i % 7) for i, d in enumerate(days)]
    rows += [(d, "A", 10 + i % 3) for i, d in enumerate(days) if i < 20 or i >= 271]  # 251 sessions without a bar
    rows += [(d, "B", 20 + i % 3) for i, d in enumerate(days) if i < 20 or i >= 270]  # 250
    rows += [(days[0], "A#2", 5.0)]
    bars = read(table(rows))
    assert bars.symbols == ("A", "A#2", "A#3", "B", "Z")
    assert bars.lifetimes == ((0, 19), (0, 0), (271, 728), (0, 728), (0, 728))
    assert (bars.column == 2).sum() == 458
    found = codes(bars)["reused_ticker"]
    assert (found.where, found.count) == ("A 2018-09-29", 1)
    panel = from_bars(bars)
    assert panel.missing[:, 3].sum() == 250
    assert not panel.listed[20:271, 0].any()
    assert panel.fields["close"][271, 2] == 10 + 271 % 3


def test_findings_name_what_was_planted():
    days = [str(d) for d in np.arange("2020-01-01", "2020-02-10", dtype="M8[D]")]
    rng = np.random.default_rng(0)
    rows = []
    for n, s in enumerate("ABC"):
        close = 100 * (n + 1) * np.exp(np.cumsum(0.001 * rng.standard_normal(40)))
        for i, d in enumerate(days):
            rows.append([d, s, close[i] * 1.01, close[i] * 0.99, close[i], 1.0])
    clean = read(table(rows, "date symbol high low close factor"))
    assert codes(clean).keys() == {"survivorship"}
    rows[5][5:] = [0.9]  # A: the factor falls, and rises again
    rows[50][4] *= 1.02  # B: close above high
    rows[60][2:5] = [v * 2 for v in rows[60][2:5]]  # B: doubles for one bar, so two jumps
    for i in range(90, 102):  # C: twelve equal closes
        rows[i][2:5] = [310.123456, 309.0, 310.0]
    del rows[110]  # C: one bar is absent
    bars = read(table(rows, "date symbol high low close factor"))
    got = {f.code: (f.where, f.count) for f in bars.findings}
    assert got == {
        "survivorship": ("A 2020-02-09", 3), "factor_falls": ("A 2020-01-06", 1), "gaps": ("C 2020-02-01", 1),
        "outside_high_low": ("B 2020-01-11", 1), "jump": ("B 2020-01-21", 2), "flat_runs": ("C 2020-01-12", 1),
    }  # fmt: skip
    assert all(f.text and f.text.isprintable() for f in bars.findings)


def test_quantised_prices_are_found_and_fine_ones_are_not():
    days = [str(d) for d in np.arange("2020-01-01", "2020-01-31", dtype="M8[D]")]
    rng = np.random.default_rng(1)
    price = 2 * np.exp(np.cumsum(0.02 * rng.standard_normal(30)))
    coarse = [(d, "A", round(float(p), 2)) for d, p in zip(days, price, strict=True)]
    fine = [(d, "B", float(p)) for d, p in zip(days, price, strict=True)]
    dear = [(d, "C", round(float(100 * p), 2)) for d, p in zip(days, price, strict=True)]
    assert codes(read(table(coarse)))["quantised_prices"].count == 30
    assert not codes(read(table(fine + dear))).keys() & {"quantised_prices"}
    as_float32 = table(coarse).with_columns(pl.col("close").cast(pl.Float32))
    assert codes(read(as_float32))["quantised_prices"].count == 30


def test_twin_symbols_are_a_finding_until_all_are_twins():
    rows = [(d, s, p + 10 * (s == "C")) for s in "ABC" for d, p in (("2020-01-01", 1.0), ("2020-01-02", 2.0))]
    found = codes(read(table(rows)))["identical_symbols"]
    assert (found.where, found.count) == ("B", 1)
    with pytest.raises(DataError, match=r"all 2 symbols have identical closes, e\.g\. A and B"):
        read(table(rows[:4]))


def test_names_of_columns(tmp_path):
    frame = table([("2020-01-01", "A", 1.0, 5, 2.0, "x", 3.0)], "Trade_Date Ticker PRICE Vol Adj-Factor note PE")
    bars = read(frame)
    assert list(bars.values) == ["close", "volume", "factor", "pe"]
    assert bars.adjustment == "factor"
    assert codes(bars)["ignored_column"].where == "note"
    chinese = table([("2020-01-01", "平安", 1.0)], "日期 名称 收盘")
    assert read(chinese, columns={"日期": "date", "名称": "symbol", "收盘": "close"}).symbols == ("平安",)
    with pytest.raises(
        DataError, match=r"^the frame: columns names 'Close', the file has '日期', '名称', '收盘'; correct it$"
    ):
        read(chinese, columns={"Close": "close"})
    # LOW is a ticker in a wide table.
    assert read(table([("2020-01-01", 1.0, 2.0)], "date LOW AAPL")).symbols == ("AAPL", "LOW")
    path = tmp_path / "SH600000.csv"
    path.write_text("date,close,adj close\n2020-01-01,10,3\n")
    bars = read(path)
    assert bars.symbols == ("SH600000",)
    assert codes(bars)["restated_column"].where == "adj close"
    assert bars.notes["source"] == "SH600000.csv"
    with pytest.raises(DataError, match=r"^the frame: no symbol column among 'date', 'close'; add one named 'symbol'$"):
        read(table([("2020-01-01", 1.0)], "date close"))


def test_leading_zeros_of_symbols():
    assert read(table([("2020-01-01", "000001", 1.0)])).symbols == ("000001",)
    bars = read(table([("2020-01-01", 1, 1.0)]))
    assert bars.symbols == ("1",)
    assert "leading zeros" in codes(bars)["numeric_symbols"].text


def test_adjustment():
    frame = table([("2020-01-01", "A", 1.0, 2.0)], "date symbol close factor")
    assert read(frame).adjustment == "factor"
    for said in ("raw", "restated_total_return"):
        bars = read(frame, adjustment=said)
        assert bars.adjustment == said
        assert list(bars.values) == ["close"]
    assert read(frame.drop("factor")).adjustment == "raw"
    with pytest.raises(DataError, match="adjustment 'factor' needs a factor column"):
        read(frame.drop("factor"), adjustment="factor")
    with pytest.raises(ConfigError, match=r"^adjustment: 'total' is none of auto, raw, factor, restated_total_return$"):
        read(frame, adjustment="total")  # type: ignore[arg-type]


def test_the_first_error_in_the_file_is_named():
    rows = [(d, s, p) for s in "BA" for d, p in (("2020-01-02", 1.0), ("2020-01-01", 1.0))]
    with pytest.raises(DataError, match=r"^the frame row 2, column 'date': B goes back in time to 2020-01-01"):
        read(table(rows))
    rows = [("2020-01-01", "B", 0.0), ("2020-01-01", "A", -1.0)]
    with pytest.raises(DataError, match=r"^the frame row 1, column 'close': B 2020-01-01 has 0;"):
        read(table(rows))


def test_start_and_end_are_both_kept():
    rows = [(f"2020-01-0{d}", s, float(d)) for s, last in (("A", 3), ("B", 9)) for d in range(1, last + 1)]
    rows[0] = ("2020-01-01", "A", -5.0)  # outside: not looked at
    bars = read(table(rows), start="2020-01-04", end=dt.date(2020, 1, 6))
    assert bars.symbols == ("B",)
    assert list(bars.values["close"]) == [4, 5, 6]
    with pytest.raises(DataError, match=r"no bars between 2021-01-01 and None; it holds 2020-01-01\.\.2020-01-09"):
        read(table(rows), start="2021-01-01")
    with pytest.raises(ConfigError, match=r"^start: '1/4/2020' is no date; write it as YYYY-MM-DD$"):
        read(table(rows), start="1/4/2020")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"zone": "Peking"}, "zone: 'Peking' is no IANA time zone; write e.g. Asia/Shanghai"),
        ({"close": "3 pm"}, "close: '3 pm' is no time of day; write it as HH:MM:SS"),
        ({"calendar": "XSHQ"}, "calendar: 'XSHQ' is not known; did you mean XSH"),
    ],
)
def test_wrong_options(option, said):
    with pytest.raises(ConfigError) as caught:
        read(table([("2020-01-01", "A", 1.0)]), **option)
    assert said in str(caught.value)


def test_other_things_are_no_frames():
    with pytest.raises(DataError, match=r"^the frame: dict is no path and no frame; give a path"):
        read({"date": []})
    twice = pa.table([pa.array([1]), pa.array([2])], names=["close", "close"])
    with pytest.raises(DataError, match="column 'close' occurs twice"):
        read(twice)
    with pytest.raises(DataError, match="flatten the columns"):
        read(pd.DataFrame({("close", "A"): [1.0]}))


def test_shanghai_sessions():
    days = calendar.sessions("SZSE", "2020-01-20", "2020-02-05")
    # The new year's holiday of 2020 was prolonged to 2 February.
    assert [str(d)[5:] for d in days] == ["01-20", "01-21", "01-22", "01-23", "02-03", "02-04", "02-05"]
    assert len(calendar.sessions("XSHG", "1995-01-01", "1995-12-31")) > 240
    assert calendar.close_time("xshe") == ("15:00:00", "Asia/Shanghai")
    assert calendar.close_time("NYSE") == ("16:00:00", "America/New_York")
    with pytest.raises(
        DataError, match=r'^calendar SZSE: 2020-01-01\.\.2099-01-01 was asked, it knows .*calendar="from_data"$'
    ):
        calendar.sessions("SZSE", "2020-01-01", "2099-01-01")
    with pytest.raises(ConfigError, match="start 2021-01-01 is after end 2020-01-01"):
        calendar.sessions("XSHG", "2021-01-01", "2020-01-01")


def test_a_calendar_checks_the_dates_and_fills_the_clock():
    rows = [("2020-01-23", "A", 1.0), ("2020-02-04", "A", 1.1)]
    bars = read(table(rows), calendar="XSHG")
    assert [str(d) for d in bars.sessions] == ["2020-01-23", "2020-02-03", "2020-02-04"]
    assert bars.times[0] == at("2020-01-23T07:00")
    assert bars.zone == "Asia/Shanghai"
    assert codes(bars)["gaps"].count == 1
    rows.insert(1, ("2020-01-24", "A", 1.0))
    with pytest.raises(DataError, match=r"^the frame row 2, column 'date': 2020-01-24 is no session of XSHG; remove"):
        read(table(rows), calendar="XSHG")


def test_membership_mask(tmp_path):
    path = tmp_path / "members.csv"
    path.write_text(
        "symbol,start,end,note\nA,2020-01-02,2020-01-03,x\nFB,2020-01-01,,y\nGONE,2020-01-01,2020-01-02,z\n"
    )
    sessions = np.arange("2020-01-01", "2020-01-05", dtype="M8[D]")
    mask, report = membership.mask(membership.read(path), sessions, ("A", "B", "FB", "FB#2"))
    assert mask.T.astype(int).tolist() == [[0, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert (report.names, report.lacking, report.lacking_names) == (3, 1, ("GONE",))
    assert report.members.tolist() == [2, 3, 2, 1]
    assert report.priced.tolist() == [1, 2, 2, 1]
    assert str(report) == (
        "3 names were members, 1 of them have no prices (GONE); on a mean session 1.5 of 2.0 members have prices"
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("symbol,start\nA,2020-01-01\n", "members.csv: no column 'end'"),
        (
            "symbol,start,end\nA,2020-01-03,2020-01-01\n",
            "members.csv line 2, column 'end': the end lies before the start",
        ),
        ("symbol,start,end\nA,,2020-01-01\n", "members.csv line 2, column 'start': the date is missing"),
        ("symbol,start,end\n,2020-01-01,\n", "members.csv line 2, column 'symbol': the symbol is empty"),
        (
            "symbol,start,end\n\nA,2020-01-01,\nA,2020-01-01,soon\n",
            "members.csv line 4, column 'end': 'soon' is no date",
        ),
        ("symbol,start,end\n", "members.csv: no rows"),
    ],
)
def test_bad_membership(content, said, tmp_path):
    path = tmp_path / "members.csv"
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        membership.read(path)
    assert str(caught.value).startswith(said)


@needs_data
def test_real_a_shares():
    bars = read(DATA / "ashare" / "csi300_ever_daily.parquet", zone="Asia/Shanghai")
    assert (len(bars.times), len(bars.symbols), len(bars.row)) == (3643, 741, 2_323_742)
    assert bars.adjustment == "factor"
    assert 60_000 < bars.suspended.sum() < 62_500  # "about 61,000" says the data's own description
    found = codes(bars)
    assert found["survivorship"].count == 741
    assert found["factor_falls"].count == 8
    assert bars.times[0] == at("2010-01-04T07:00")
    table = membership.read(DATA / "ashare" / "csi300_membership.parquet")
    mask, report = membership.mask(table, bars.sessions, bars.symbols)
    assert report.lacking == 38
    first, later = 0, int(np.flatnonzero(bars.sessions == np.datetime64("2016-01-04"))[0])
    assert (report.members[first], report.priced[first]) == (300, 282)
    assert (report.members[later], report.priced[later]) == (275, 261)
    assert np.array_equal(mask.sum(1), report.priced)


@needs_data
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("us_sp500_vintages/sp500_daily_vintage_2018-02", "AOS 2014-05-19 has 23.595, low 23.85; high is below low"),
        ("us_sp500_vintages/sp500_daily_vintage_2017-12", "comes twice"),
        ("us_sp500_daily/daily", "CBS 2019-12-04 comes twice"),
        ("intraday/fx_minute_lean", "has no time zone"),
    ],
)
def test_real_vendor_errors_are_named(name, said):
    with pytest.raises(DataError) as caught:
        read(DATA / f"{name}.parquet")
    assert said in str(caught.value)


@needs_data
def test_the_ticker_fb_was_another_firm():
    bars = read(DATA / "us_lean" / "daily_raw.parquet", zone="America/New_York", close="16:00")
    n = bars.symbols.index("FB#2")
    assert str(bars.sessions[bars.lifetimes[n][0]]) == "2012-05-18"
    assert str(bars.sessions[bars.lifetimes[bars.symbols.index("FB")][1]]) < "2004"
    assert codes(bars)["reused_ticker"].count == 5
