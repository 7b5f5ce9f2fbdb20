"""``hitherto features``: the table it writes, the trees it prints, and one line for whatever is wrong."""

import os

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from hitherto import cli
from hitherto.features import command, library
from hitherto.features.alpha158 import alpha158
from hitherto.panel import read_bars


def call(monkeypatch, capsys, *args):
    """Run the command line as the console script does; return (exit code, stdout, stderr)."""
    monkeypatch.setattr("sys.argv", ["hitherto", "features", *map(str, args)])
    with pytest.raises(SystemExit) as e:
        cli.main()
    out = capsys.readouterr()
    return e.value.code, out.out, out.err


@pytest.fixture
def bars(tmp_path):
    """Six names over 90 days, one listed late, one with a day missing."""
    rng = np.random.default_rng(0)
    days = np.datetime64("2015-01-05") + np.arange(90)
    rows = []
    for n in range(6):
        close = 20 * np.exp(np.cumsum(rng.normal(0, 0.02, 90)))
        for t, day in enumerate(days):
            if (n == 2 and t < 30) or (n == 4 and t == 50):
                continue
            c = round(close[t], 2)
            rows.append((day.item(), f"S{n}", c, round(c * 1.02, 2), round(c * 0.98, 2), c, 1000 + t))
    names = ("date", "symbol", "open", "high", "low", "close", "volume")
    path = tmp_path / "bars.parquet"
    pl.DataFrame(rows, schema=names, orient="row").write_parquet(path)
    return path


def test_the_table_holds_every_listed_row_and_the_values_of_build(bars, tmp_path, monkeypatch, capsys):
    out = tmp_path / "f.parquet"
    monkeypatch.setattr(command, "CELLS", 60)  # ten dates a row group
    args = (bars, "--set", "alpha158", "--vwap", "typical", "--expr", "turn=cs_rank(volume / ref(volume, 5))")
    code, said, err = call(monkeypatch, capsys, *args, "--out", out)
    assert (code, err) == (0, "")
    assert said == f"{out}: 510 rows, 159 features, 2015-01-05..2015-04-04\n"
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
    panel = read_bars(bars)
    texts = {**alpha158("typical"), "turn": "cs_rank(volume / ref(volume, 5))"}
    want = library.build(panel, texts)
    table = pl.read_parquet(out)
    assert table.columns == ["date", "symbol", *texts]
    assert table.schema["date"] == pl.Date
    assert set(table.dtypes[2:]) == {pl.Float32}
    assert pq.ParquetFile(out).metadata.num_row_groups == 9
    t, n = np.nonzero(panel.listed)
    assert table["date"].to_list() == panel.sessions[t].tolist()
    assert table["symbol"].cast(pl.String).to_list() == [panel.symbols[i] for i in n]
    np.testing.assert_array_equal(table.drop("date", "symbol").to_numpy(), want.values[t, n])
    assert table["ROC60"].null_count() == int(np.isnan(want.values[t, n, want.names.index("ROC60")]).sum()) > 300
    assert not table["MA5"].is_nan().any()
    before = out.read_bytes()
    assert call(monkeypatch, capsys, *args, "--out", out)[0] == 0
    assert out.read_bytes() == before


def test_a_failed_write_leaves_the_old_table(bars, tmp_path, monkeypatch, capsys):
    out = tmp_path / "f.parquet"
    out.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    code, said, err = call(monkeypatch, capsys, bars, "--set", "close_only", "--out", out)
    assert (code, said) == (4, "")
    assert err == (f"hitherto: could not write {out}: No space left on device; free space or choose another folder\n")
    assert out.read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bars.parquet", "f.parquet"]


def test_explain_prints_tree_lookback_fields_and_first_bar(bars, monkeypatch, capsys):
    text = "Mean($close, 20)/$close - Corr(Ref($high, 2), Log($volume), 5)"
    code, said, _ = call(monkeypatch, capsys, "--explain", text)
    assert code == 0
    assert said == (
        "((mean(close, 20) / close) - corr(ref(high, 2), log(volume), 5))\n"
        "  sub            20 rows\n"
        "    div          20 rows\n"
        "      mean 20    20 rows\n"
        "        close    1 row\n"
        "      close      1 row\n"
        "    corr 5       7 rows\n"
        "      ref 2      3 rows\n"
        "        high     1 row\n"
        "      log        1 row\n"
        "        volume   1 row\n"
        "lookback         20 rows\n"
        "fields           close, high, volume\n"
        "first valid bar  row 19, counted from 0 (earlier rows see a shorter window)\n"
    )
    code, said, _ = call(monkeypatch, capsys, bars, "--explain", "mean(close, 20)")
    assert code == 0
    assert said.endswith("first valid bar  2015-01-24, row 19 (earlier rows see a shorter window)\n")
    assert command.explain("mean(close, 91)", str(bars)).endswith("none: the bars hold 90 rows, it reads 91")
    recursive = command.explain("ema(close, 5) - 0.5", str(bars))
    assert "lookback         all rows until t\n" in recursive
    assert recursive.endswith("first valid bar  row 0, unsettled: it reads every row until t")
    assert "    0.5       constant\n" in recursive


def test_a_set_without_bars_is_listed(monkeypatch, capsys):
    code, said, _ = call(monkeypatch, capsys, "--set", "close_only", "--expr", "mine = close / open")
    assert code == 0
    lines = said.splitlines()
    assert len(lines) == 13
    assert lines[0] == "return_1      = close / ref(close, 1) - 1"
    assert lines[-1] == "mine          =  close / open"
    assert len(call(monkeypatch, capsys, "--set", "alpha360")[1].splitlines()) == 360


WRONG = {
    ("--set", "alpha185"): "no feature set 'alpha185'; there are alpha158, alpha360, alpha360_panel, close_only, "
    "price_volume",
    (): "features: nothing to compute; give --set NAME, --expr name=TEXT, or --explain EXPR",
    ("--set", "close_only", "--vwap", "typical"): "--vwap: the set close_only does not read vwap; leave it out",
    ("--set", "alpha158", "--vwap", "mean"): "vwap must be one of field, amount, typical, got 'mean'",
    ("--expr", "close / open"): "--expr must read name=TEXT with a plain name, as in ma_5='mean(close, 5) / close'; "
    "got 'close / open'",
    ("--expr", "close == open"): "--expr must read name=TEXT with a plain name, as in ma_5='mean(close, 5) / close'; "
    "got 'close == open'",
    ("--set", "alpha158", "--expr", "MA5=close"): "--expr: there is already a feature 'MA5'; give each its own name",
    ("--expr", "date=close"): "--expr: 'date' is a column of the table already; name the feature otherwise",
    ("--explain", "close", "--set", "alpha158"): "--explain stands alone: it takes one expression and, if you like, "
    "BARS",
    ("--explain", "ref(close, -1)"): "expression 'ref(close, -1)', column 12: ref asks for the value 1 row after t, at "
    "t only rows up to t are known; use n >= 1. labels.py is the only place that may read ahead: "
    "forward_return(panel, horizons)",
    ("--set", "alpha158", "--out", "x.parquet"): "features needs BARS, the bars to read; without both it only lists "
    "the expressions",
}  # fmt: skip


@pytest.mark.parametrize("args", WRONG, ids=range(len(WRONG)))
def test_wrong_arguments_end_in_one_line(args, monkeypatch, capsys):
    code, said, err = call(monkeypatch, capsys, *args)
    assert (code, said, err) == (2, "", f"hitherto: {WRONG[args]}\n")


def test_wrong_places_and_fields_end_in_one_line(bars, tmp_path, monkeypatch, capsys):
    out = tmp_path / "f.parquet"
    cases = {
        (bars, "--set", "alpha158"): (
            2,
            "features needs --out FILE.parquet, where to write; without both it only lists ",
        ),
        (bars, "--set", "alpha158", "--out", out): (2, "alpha158 needs vwap; these bars hold only open, high, "),
        (bars, "--set", "alpha158", "--out", tmp_path / "f.csv"): (2, "--out must end in .parquet, got "),
        (bars, "--set", "close_only", "--out", tmp_path / "no" / "f.parquet"): (2, "--out: '"),
        (bars, "--set", "close_only", "--out", bars): (2, f"--out '{bars}' would write into the bars"),
        (tmp_path, "--set", "close_only", "--out", out): (2, f"--out '{out}' would write into the bars"),
        (tmp_path / "none.csv", "--set", "close_only", "--out", out): (3, ""),
        (bars, "--expr", "a=industry + 1", "--out", out): (3, "feature 'a' needs industry; these bars hold only "),
        (bars, "--expr", "a=close +", "--out", out): (2, "feature 'a': expression 'close +', column 7: a value is "),
        (bars, "--explain", "industry"): (3, "'industry' needs industry; these bars hold only "),
    }
    held = bars.read_bytes()
    for args, (code, start) in cases.items():
        got, said, err = call(monkeypatch, capsys, *args)
        assert (got, said) == (code, ""), err
        assert err.startswith(f"hitherto: {start}")
        assert err.count("\n") == 1
        assert not out.exists()
    assert bars.read_bytes() == held


def test_restated_bars_say_so(tmp_path, monkeypatch, capsys):
    out = tmp_path / "f.parquet"
    code, said, _ = call(monkeypatch, capsys, "sample:us20", "--set", "close_only", "--out", out)
    restated = read_bars("sample:us20").adjustment == "restated_total_return"
    assert code == 0
    assert said.endswith(f"; note: {command.RESTATED}\n") == restated
