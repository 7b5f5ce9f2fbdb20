"""Every bad price file is refused in one line that names the file, the place and the cure."""

import pytest
from badfiles import BAD_FILES, GOOD, text

from hitherto.errors import DataError
from hitherto.market.bars import read

SAYS = {
    "missing": ("nowhere.csv", "no such file", "check the path"),
    "empty": ("prices.csv", "is empty", "give it"),
    "blank_lines_only": ("prices.csv", "is empty", "give it"),
    "header_only": ("prices.csv", "a header but no rows", "give it bars"),
    "unknown_extension": ("prices.xls", "'.xls' is no known file type", "save it as .csv"),
    "no_extension": ("prices", "no known file type", "save it as .csv"),
    "empty_folder": ("prices", "holds no .csv or .parquet", "name another folder"),
    "mixed_folder": ("BBB.csv", "mixed zones", "AAA.csv", "write all files alike"),
    "doubled_folder": ("AAA.parquet row 1", "AAA 2020-01-02 comes twice", "AAA.csv line 2", "keep one"),
    "no_date_column": ("prices.csv", "no date column among 'symbol', 'close'", "name one 'date'"),
    "no_close_column": ("prices.csv", "no close column among", "name one 'close'"),
    "no_close_in_one_symbol_file": ("prices.csv", "no close column", "name one 'close'"),
    "only_a_date_column": ("prices.csv", "no cell holds a price", "one column of closes per symbol"),
    "no_header": ("prices.csv", "no date column among '2020-01-02'", "name one 'date'"),
    "duplicate_header": ("prices.csv", "'close' occurs twice", "rename or remove"),
    "header_twice_by_case": ("prices.csv", "'close' and 'Close' are both 'close'", "rename one"),
    "two_symbol_columns": (
        "prices.csv",
        "'ticker' and 'code' could both be the symbol",
        'columns={"ticker": "symbol"}',
    ),
    "nameless_column": ("prices.csv", "column 3 has no name", "name or remove it"),
    "semicolons": ("prices.csv line 1", "separated by ';'", "with commas"),
    "day_month_year": ("prices.csv line 2, column 'date'", "'02/01/2020' is no date", "YYYY-MM-DD"),
    "impossible_date": ("prices.csv line 3, column 'date'", "'2020-02-30' is no date", "YYYY-MM-DD"),
    "date_of_another_age": ("prices.csv line 3, column 'date'", "1900..2199", "YYYY-MM-DD"),
    "date_in_words": ("prices.csv line 3, column 'date'", "'yesterday' is no date", "YYYY-MM-DD"),
    "full_width_date": ("prices.csv line 3, column 'date'", "is no date", "YYYY-MM-DD"),
    "missing_date": ("prices.csv line 3, column 'date'", "the date is missing", "YYYY-MM-DD"),
    "epoch_seconds": ("prices.csv line 3, column 'date'", "'1577977200' is no date", "YYYY-MM-DD"),
    "full_width_digits": ("prices.csv line 3, column 'close'", "is no plain number", "ASCII digits: 10.6"),
    "thousands_separator": ("prices.csv line 3, column 'close'", "'1,010.6' is no", "without thousands separators"),
    "number_in_words": ("prices.csv line 3, column 'close'", "'ten' is no plain number", "leave the cell empty"),
    "too_large": ("prices.csv line 3, column 'close'", "'1e999' is not a finite number", "correct it"),
    "infinite_volume": ("prices.csv line 3, column 'volume'", "'inf' is not a finite number", "correct it"),
    "duplicate_row": ("prices.csv line 6", "BBB 2020-01-03 comes twice, first in line 5", "keep one"),
    "duplicate_date_other_price": ("prices.csv line 6", "comes twice, first in line 5", "keep one"),
    "unsorted": ("prices.csv line 6", "BBB goes back in time to 2020-01-01 after line 5", "sort the rows by date"),
    "newest_first": ("prices.csv line 3", "AAA goes back in time", "sort the rows by date"),
    "mixed_offsets": ("prices.csv line 3", "mixed zones", 'zone="America/New_York"'),
    "zone_and_no_zone": ("prices.csv line 3", "of different kinds", "write all of them alike"),
    "time_without_zone": ("prices.csv line 2", "has no time zone", 'zone="Asia/Shanghai"'),
    "high_below_low": ("prices.csv line 3, column 'high'", "has 9, low 11; high is below low", "correct the row"),
    "zero_price": ("prices.csv line 3, column 'close'", "AAA 2020-01-03 has 0", "leave the cell empty"),
    "negative_price": ("prices.csv line 3, column 'close'", "has -10.6", "above 0"),
    "negative_volume": ("prices.csv line 3, column 'volume'", "has -100; volume cannot be negative", "correct it"),
    "zero_factor": ("prices.csv line 3, column 'factor'", "a factor must be above 0", "correct it"),
    "empty_symbol": ("prices.csv line 3, column 'symbol'", "the symbol is empty", "fill it in"),
    "control_character_in_symbol": ("prices.csv line 3, column 'symbol'", r"'A\x1b[31mA'", "correct the symbol"),
    "all_symbols_identical": ("prices.csv", "all 2 symbols have identical closes, e.g. AAA and BBB", "export the data"),
    "no_price_at_all": ("prices.csv, column 'close'", "no row has a price", "fill the column in"),
    "wide_with_words": ("prices.csv line 3, column 'BBB'", "'n.a.' is no plain number", "leave the cell empty"),
    "wide_zero_price": ("prices.csv line 3, column 'BBB'", "BBB 2020-01-03 has 0", "leave the cell empty"),
    "wide_symbol_twice": ("prices.csv", "'AAA' is no usable symbol", "rename it"),
    "nul_bytes": ("prices.csv line 3", "NUL byte", "export it again"),
    "gb18030": ("prices.csv line 2", "is not UTF-8", "iconv -f GB18030 -t UTF-8"),
    "utf16": ("prices.csv", "UTF-16", "save it as UTF-8"),
    "binary_junk": ("prices.csv line 1", "byte 0x80 is not UTF-8", "convert the file"),
    "cut_short": ("prices.csv line 5", "5 cells, the header has 7", "cut short"),
    "too_many_cells": ("prices.csv line 3", "8 cells, the header has 7", "stray comma"),
    "open_quote": ("prices.csv line 5", "2 cells, the header has 7", "cut short"),
    "parquet_called_csv": ("prices.csv", "a Parquet file", "rename it"),
    "zip_called_csv": ("prices.csv", "a zip or Excel file", "save it as CSV"),
    "csv_called_parquet": ("prices.parquet", "not a readable Parquet file", "write it again"),
    "empty_parquet": ("prices.parquet", "is empty", "write it again"),
    "cut_parquet": ("prices.parquet", "not a readable Parquet file", "write it again"),
    "parquet_without_rows": ("prices.parquet", "no rows", "give it bars"),
    "parquet_infinite": ("prices.parquet row 1, column 'close'", "not a finite number", "correct it"),
    "parquet_nested_price": ("prices.parquet row 1, column 'close'", "List(Float64)", "store them as numbers"),
    "parquet_float_symbols": ("prices.parquet row 1, column 'symbol'", "are no symbols", "store them as text"),
    "parquet_dates_as_floats": ("prices.parquet, column 'date'", "are no dates", "YYYY-MM-DD"),
}


def test_every_bad_file_has_its_words():
    assert SAYS.keys() == BAD_FILES.keys()
    assert len(BAD_FILES) >= 35


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_refused_in_one_line(name, tmp_path):
    path = BAD_FILES[name](tmp_path)
    with pytest.raises(DataError) as caught:
        read(path)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message.replace(str(tmp_path), "")) < 220
    for part in SAYS[name]:
        assert part in message


def test_the_good_file_that_the_bad_ones_vary_is_read(tmp_path):
    assert read(text(GOOD)(tmp_path)).symbols == ("AAA", "BBB")


def test_lines_are_counted_over_blank_ones(tmp_path):
    content = "date,symbol,close\n\n2020-01-02,AAA,1\r\n\n,,\n2020-01-03,AAA,x\n"
    with pytest.raises(DataError, match=r"^prices\.csv line 6, column 'close': 'x' is no plain number"):
        read(text(content)(tmp_path))


def test_lines_are_counted_with_quotes_too(tmp_path):
    content = 'date,symbol,close\n"2020-01-02","AAA",1\n"2020-01-03","AAA",1,5\n'
    with pytest.raises(DataError, match=r"^prices\.csv line 3: 4 cells, the header has 3"):
        read(text(content)(tmp_path))


def attempt(path):
    """(message, None) when the file is refused, ("", bars) when it is read."""
    try:
        return "", read(path)
    except DataError as e:
        return str(e), None


@pytest.mark.parametrize("cut", range(1, len(GOOD) - 1, 7))
def test_a_file_cut_anywhere_is_refused_or_read_as_what_is_left(cut, tmp_path):
    """A cut inside a last number cannot be seen; every other one must not end in a traceback."""
    message, bars = attempt(text(GOOD[:cut])(tmp_path))
    if bars is None:
        assert "prices.csv" in message
    else:
        assert len(bars.row) == GOOD[:cut].strip().count("\n")


@pytest.mark.parametrize("seed", range(40))
def test_flipped_bytes_never_crash(seed, tmp_path):
    """Random damage to a CSV and a Parquet file: bars or a DataError in one line, nothing else."""
    import numpy as np
    import polars as pl

    rng = np.random.default_rng(seed)
    whole = pl.read_csv(GOOD.encode())
    whole.write_parquet(tmp_path / "x.parquet")
    for name, data in (("prices.csv", GOOD.encode()), ("prices.parquet", (tmp_path / "x.parquet").read_bytes())):
        damaged = bytearray(data)
        for i in rng.integers(0, len(data), 3):
            damaged[i] = rng.integers(0, 256)
        message, bars = attempt(text(bytes(damaged), name)(tmp_path))
        if bars is None:
            assert name in message
            assert message.isprintable()
        else:
            assert np.isfinite(bars.values["close"]).all()
