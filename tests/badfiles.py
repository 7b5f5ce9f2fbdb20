"""Bad price files, by name: each builder writes one into a folder and returns its path. Reading it is a DataError."""

from pathlib import Path

import polars as pl

HEAD = "date,symbol,open,high,low,close,volume\n"
GOOD = (
    HEAD
    + "2020-01-02,AAA,10,11,9,10.5,100\n"
    + "2020-01-03,AAA,10,11,9,10.6,100\n"
    + "2020-01-02,BBB,20,21,19,20.5,100\n"
    + "2020-01-03,BBB,20,21,19,20.7,100\n"
)


def text(content, name="prices.csv"):
    """A builder that writes ``content`` (text or bytes)."""

    def build(folder):
        path = Path(folder) / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return build


def swap(old, new):
    """The good file with one spot changed."""
    assert old in GOOD
    return text(GOOD.replace(old, new, 1))


def frame(columns, name="prices.parquet"):
    """A builder of a Parquet file."""

    def build(folder):
        path = Path(folder) / name
        pl.DataFrame(columns).write_parquet(path)
        return path

    return build


def cut_parquet(folder):
    path = frame({"date": ["2020-01-02"], "symbol": ["AAA"], "close": [1.0]})(folder)
    path.write_bytes(path.read_bytes()[:-40])
    return path


def empty_folder(folder):
    path = Path(folder) / "prices"
    path.mkdir()
    (path / "README.txt").write_text("nothing here")
    return path


def mixed_folder(folder):
    path = Path(folder) / "prices"
    path.mkdir()
    (path / "AAA.csv").write_text("date,close\n2020-01-02,1\n")
    (path / "BBB.csv").write_text("date,close\n2020-01-02T15:00:00+08:00,1\n")
    return path


def doubled_folder(folder):
    path = Path(folder) / "prices"
    path.mkdir()
    (path / "AAA.csv").write_text("date,close\n2020-01-02,1\n")
    pl.DataFrame({"date": ["2020-01-02"], "close": [1.0]}).write_parquet(path / "AAA.parquet")
    return path


LAST = "2020-01-03,BBB,20,21,19,20.7,100\n"
WIDE = "date,AAA,BBB\n2020-01-02,1,2\n2020-01-03,1.5,2.5\n"
BAD_FILES = {
    "missing": lambda folder: Path(folder) / "nowhere.csv",
    "empty": text(""),
    "blank_lines_only": text("\n\n  \n"),
    "header_only": text(HEAD),
    "unknown_extension": text(GOOD, "prices.xls"),
    "no_extension": text(GOOD, "prices"),
    "empty_folder": empty_folder,
    "mixed_folder": mixed_folder,
    "doubled_folder": doubled_folder,
    "no_date_column": text("symbol,close\nAAA,1\n"),
    "no_close_column": text("date,symbol,open,high\n2020-01-02,AAA,1,2\n"),
    "no_close_in_one_symbol_file": text("date,open,volume\n2020-01-02,1,2\n"),
    "only_a_date_column": text("date,x\n2020-01-02,\n2020-01-03,\n"),
    "no_header": text("2020-01-02,AAA,10\n2020-01-03,AAA,11\n"),
    "duplicate_header": text("date,symbol,close,close\n2020-01-02,AAA,1,2\n"),
    "header_twice_by_case": text("date,symbol,close,Close\n2020-01-02,AAA,1,2\n"),
    "two_symbol_columns": text("date,ticker,code,close\n2020-01-02,AAA,1,2\n"),
    "nameless_column": text("date,symbol,,close\n2020-01-02,AAA,1,2\n"),
    "semicolons": text(GOOD.replace(",", ";")),
    "day_month_year": swap("2020-01-02", "02/01/2020"),
    "impossible_date": swap("2020-01-03", "2020-02-30"),
    "date_of_another_age": swap("2020-01-03", "0202-01-03"),
    "date_in_words": swap("2020-01-03", "yesterday"),
    "full_width_date": swap("2020-01-03", "２０２０-01-03"),
    "missing_date": swap("2020-01-03", ""),
    "epoch_seconds": swap("2020-01-03", "1577977200"),
    "full_width_digits": swap("10.6", "１０.６"),
    "thousands_separator": swap(",10.6,", ',"1,010.6",'),
    "number_in_words": swap("10.6", "ten"),
    "too_large": swap("10.6", "1e999"),
    "infinite_volume": swap("10.6,100", "10.6,inf"),
    "duplicate_row": text(GOOD + LAST),
    "duplicate_date_other_price": text(GOOD + LAST.replace("20.7", "20.1")),
    "unsorted": text(GOOD + "2020-01-01,BBB,20,21,19,20,1\n"),
    "newest_first": text("date,symbol,close\n2020-01-03,AAA,1\n2020-01-02,AAA,2\n"),
    "mixed_offsets": text("date,symbol,close\n2020-01-02T15:00:00+08:00,AAA,1\n2020-01-03T15:00:00-05:00,AAA,2\n"),
    "zone_and_no_zone": text("date,symbol,close\n2020-01-02T15:00:00+08:00,AAA,1\n2020-01-03T15:00:00,AAA,2\n"),
    "time_without_zone": text("date,symbol,close\n2020-01-02 09:31:00,AAA,1\n2020-01-02 09:32:00,AAA,2\n"),
    "high_below_low": swap("10,11,9,10.6", "10,9,11,10.6"),
    "zero_price": swap("10.6", "0"),
    "negative_price": swap("10.6", "-10.6"),
    "negative_volume": swap("10.6,100", "10.6,-100"),
    "zero_factor": text("date,symbol,close,factor\n2020-01-02,AAA,1,1\n2020-01-03,AAA,1,0\n"),
    "empty_symbol": swap("2020-01-03,AAA", "2020-01-03,"),
    "control_character_in_symbol": swap("2020-01-03,AAA", "2020-01-03,A\x1b[31mA"),
    "all_symbols_identical": text(WIDE.replace("1,2", "1,1").replace("1.5,2.5", "1.5,1.5")),
    "no_price_at_all": text("date,symbol,close\n2020-01-02,AAA,\n2020-01-03,AAA,NaN\n"),
    "wide_with_words": text(WIDE.replace("2.5", "n.a.")),
    "wide_zero_price": text(WIDE.replace("2.5", "0")),
    "wide_symbol_twice": text(WIDE.replace("BBB", "AAA ")),
    "nul_bytes": text(GOOD.replace("10.6", "10\0.6")),
    "gb18030": text(GOOD.replace("AAA", "平安").encode("gb18030")),
    "utf16": text(GOOD.encode("utf-16")),
    "binary_junk": text(bytes(range(128, 256)) * 8),
    "cut_short": text(GOOD[:-12]),
    "too_many_cells": swap("10.6,100", "10.6,100,7"),
    "open_quote": swap("AAA", '"AAA'),
    "parquet_called_csv": frame({"date": ["2020-01-02"], "close": [1.0]}, "prices.csv"),
    "zip_called_csv": text(b"PK\x03\x04junk"),
    "csv_called_parquet": text(GOOD, "prices.parquet"),
    "empty_parquet": text("", "prices.parquet"),
    "cut_parquet": cut_parquet,
    "parquet_without_rows": frame({"date": [], "symbol": [], "close": []}),
    "parquet_infinite": frame({"date": ["2020-01-02"], "symbol": ["AAA"], "close": [float("inf")]}),
    "parquet_nested_price": frame({"date": ["2020-01-02"], "symbol": ["AAA"], "close": [[1.0]]}),
    "parquet_float_symbols": frame({"date": ["2020-01-02"], "symbol": [1.5], "close": [1.0]}),
    "parquet_dates_as_floats": frame({"date": [20200102.0], "symbol": ["AAA"], "close": [1.0]}),
}
