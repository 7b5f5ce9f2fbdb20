"""The lists as a command: which stretch, which text, what lands in the files, and what a bad question is told."""

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hitherto.errors import ConfigError, DataError
from hitherto.hindsight import chart
from hitherto.hindsight.command import cell, run, stretch, table
from hitherto.hindsight.lists import Period, amount, best_single
from hitherto.panel import read_bars

CHROMIUM = Path("/usr/bin/chromium")
HOSTILE = '=HYPERLINK("http://x","y")', "<script>alert(1)</script>", "+1", "@sum", "-2"


def bars(symbols=("AAA", "BBB"), closes=None):
    """Business days of 2018-12 .. 2019-03 with one symbol per column; the second loses what the first gains."""
    days = np.busday_offset("2018-12-03", np.arange(80), roll="forward")
    up = 10 * np.exp(0.01 * np.arange(80))
    closes = closes or {s: up if i % 2 == 0 else 100 / up for i, s in enumerate(symbols)}
    frame = pl.DataFrame({"date": np.tile(days, len(symbols)), "symbol": np.repeat(symbols, 80)})
    return frame.with_columns(
        pl.col("date").cast(pl.Date), pl.Series("close", np.concatenate([closes[s] for s in symbols]))
    )


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "prices.parquet"
    bars().write_parquet(path)
    return str(path)


def test_a_year_starts_at_the_close_before_it(file):
    text = run(file, 2019)
    lines = text.splitlines()
    assert lines[0] == "Chosen after the fact, close to close, no costs: nobody could have known."
    assert lines[2] == "The best name of every month, 2018-12-31 .. 2019-03-22"
    assert lines[3].split() == ["period", "name", "gain", "wealth"]
    assert lines[4].split() == ["2018-12-31", "start", "1"]
    # January 2019 has 23 business days, each + 1 % in logs.
    assert lines[5].split() == [
        "2018-12-31",
        "..",
        "2019-01-31",
        "AAA",
        f"+{np.expm1(0.23):.2%}",
        f"{np.exp(0.23):.4g}",
    ]
    assert lines[8] == (
        f"The best list ends at {np.exp(0.59):.4g} times the start: the same as +1.005% a trading day, "
        "every trading day, 59 times."
    )
    assert lines[10] == "The worst name of every month, 2018-12-31 .. 2019-03-22"
    assert "BBB" in lines[13]
    assert lines[-1].startswith(f"The worst list ends at {np.exp(-0.59):.4g} times the start: the same as -0.995%")
    assert "best" not in run(file, 2019, worst=True)


@pytest.mark.parametrize(
    ("given", "first", "last"),
    [
        ({"year": 2018}, "2018-12-03", "2018-12-31"),  # nothing before it: the first close is the entry
        ({"first": "2019-02-01", "last": "2019-02-28"}, "2019-01-31", "2019-02-28"),
        ({"first": "2019-02-02", "last": "2019-02-03"}, None, None),  # a weekend
        ({"last": "2018-12-10"}, "2018-12-03", "2018-12-10"),
        ({"first": "2019-03-20"}, "2019-03-19", "2019-03-22"),
    ],
)
def test_stretches(file, given, first, last):
    panel = read_bars(file)
    chosen = given.get("year"), given.get("first"), given.get("last")
    if first is None:
        with pytest.raises(
            DataError, match=r"no session from 2019-02-02 to 2019-02-03; the bars run from 2018-12-03 to"
        ):
            stretch(panel, *chosen)
        return
    start, stop = stretch(panel, *chosen)
    assert (str(panel.sessions[start]), str(panel.sessions[stop - 1])) == (first, last)


def test_every_and_top_and_capital(file):
    text = run(file, 2019, "quarter", capital=10_000, top=2)
    assert "The best 2 names of every quarter" in text
    assert "AAA, BBB" in text
    assert "10,000" in text
    assert "of every 5 bars" in run(file, 2019, "5")
    assert len(run(file, 2019, "week", worst=True).splitlines()) > len(run(file, 2019, worst=True).splitlines())


def test_membership_limits_the_names(file, tmp_path):
    members = tmp_path / "members.csv"
    members.write_text("symbol,start,end\nBBB,2018-01-01,2030-01-01\n", encoding="utf-8")
    text = run(file, 2019, membership=str(members))
    assert "AAA" not in text
    nobody = tmp_path / "nobody.csv"
    nobody.write_text("symbol,start,end\nBBB,2018-01-01,2018-12-10\n", encoding="utf-8")
    assert "none eligible" in run(file, 2019, membership=str(nobody))


def test_the_files(file, tmp_path):
    out = tmp_path / "new" / "lists"
    text = run(file, 2019, out=out)
    assert text.splitlines()[-1] == f"{out / 'lists.csv'} and {out / 'lists.html'} hold the lists and their chart."
    rows = list(csv.DictReader(io.StringIO((out / "lists.csv").read_text(encoding="utf-8"))))
    assert [r["list"] for r in rows] == ["best"] * 3 + ["worst"] * 3
    assert float(rows[2]["wealth"]) == pytest.approx(np.exp(0.59))
    assert float(rows[2]["log10_wealth"]) == pytest.approx(0.59 / np.log(10))
    assert float(rows[5]["gain"]) == float(rows[5]["period_gain"]) < 0
    page = (out / "lists.html").read_text(encoding="utf-8")
    assert "http-equiv" in page
    assert len(page) < 7_000_000
    outside = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert not re.search(r'(src|href)="', outside)
    drawn = json.loads(re.search(r'id="figure">(.*?)</script>', page, re.S).group(1))
    assert [t["name"] for t in drawn["data"]] == ["best", "worst"]
    assert drawn["data"][0]["y"] == pytest.approx(np.log10([1, *(float(r["wealth"]) for r in rows[:3])]))
    first = (out / "lists.csv").read_bytes(), (out / "lists.html").read_bytes()
    run(file, 2019, out=out)  # written again, the same bytes
    assert ((out / "lists.csv").read_bytes(), (out / "lists.html").read_bytes()) == first


def test_hostile_names_stay_text(tmp_path):
    path, out = tmp_path / "hostile.parquet", tmp_path / "out"
    bars(HOSTILE).write_parquet(path)
    text = run(str(path), 2019, top=5, out=out)
    assert "<script>alert(1)</script>" in text  # a terminal runs no HTML
    rows = list(csv.DictReader(io.StringIO((out / "lists.csv").read_text(encoding="utf-8"))))
    assert {r["symbol"] for r in rows} == {"<script>alert(1)</script>", *("'" + s for s in HOSTILE if s[0] != "<")}
    assert not any(v.startswith(("=", "@", "+", "\t")) for r in rows for v in r.values())
    page = (out / "lists.html").read_text(encoding="utf-8")
    assert "alert(1)</script>" not in page
    assert "<script>alert" not in page


def test_the_page_in_a_real_browser(tmp_path):
    """No request, no error, the chart drawn under its own policy, and a name that is a script does nothing."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}")
    path = tmp_path / "hostile.parquet"
    bars(("<script>window.pwned = 1</script>", "<img src=x onerror='window.pwned = 2'>")).write_parquet(path)
    run(str(path), 2019, out=tmp_path)
    with api.sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"])
        page, said, asked = chromium.new_page(), [], []
        page.on("console", lambda m: said.append(m.text))
        page.on("pageerror", lambda e: said.append(str(e)))
        page.on("request", lambda r: asked.append(r.url))
        page.goto((tmp_path / "lists.html").as_uri())
        page.wait_for_selector("#chart .scatterlayer .trace", timeout=20_000)
        drawn, pwned = page.locator("#chart .scatterlayer .trace").count(), page.evaluate("window.pwned")
        chromium.close()
    assert (drawn, pwned, said) == (2, None, [])
    assert asked == [(tmp_path / "lists.html").as_uri()]


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "\t=1", "\r=1"])
def test_a_cell_that_a_spreadsheet_would_run_gets_an_apostrophe(text):
    assert cell(text).startswith("'")
    assert "\t" not in cell(text)
    assert cell("A" + text).startswith("A")


def test_table_of_a_period_without_names():
    text = table({"best": (Period(0, 1, "2020-01-01", "2020-01-02", "", 0.0, 1.0),)})
    assert text.splitlines()[1] == "best,2020-01-01,2020-01-02,1,,0.0,0.0,1.0,0.0"


def test_amounts():
    assert [amount(x) for x in (1, 0.02548, 37.78343, 1234.5, 214.68e6, 6.82e25, 1e-7)] == [
        "1", "0.02548", "37.78", "1,234", "214,680,000", "6.820e+25", "1.000e-07",
    ]  # fmt: skip


def test_the_chart_labels_are_escaped_and_cut(file):
    periods = best_single(read_bars(file))
    assert chart.label("<b>&\nx") == "&lt;b&gt;&amp;\\nx"
    assert len(chart.label("y" * 99)) == 63
    assert chart.figure({"best": periods}, 1.0).layout.yaxis.title.text == "log10 of wealth"


def test_intraday_bars_speak_of_bars(tmp_path):
    path = tmp_path / "minutes.csv"
    lines = [f"2020-01-0{2 + d}T{h}:00:00+00:00,X,{10 + d + h}" for d in range(2) for h in range(10, 15)]
    path.write_text("date,symbol,close\n" + "\n".join(lines), encoding="utf-8")
    assert "a bar, every bar, 9 times." in run(str(path), every="3", worst=True)


def test_bad_questions(file, tmp_path):
    with pytest.raises(DataError, match=r"^hindsight: no session in 2031; the bars hold 2018 to 2019$"):
        run(file, 2031)
    with pytest.raises(ConfigError, match=r"^hindsight: give either --year or --from and --to, not both$"):
        run(file, 2019, first="2019-01-01")
    with pytest.raises(ConfigError, match=r"^--from: 'January' is no date; write it as YYYY-MM-DD$"):
        run(file, first="January")
    with pytest.raises(ConfigError, match=r"^hindsight: --from 2019-02-01 is after --to 2019-01-01$"):
        run(file, first="2019-02-01", last="2019-01-01")
    with pytest.raises(
        ConfigError, match=r"^--every must be week, month, quarter, year, or a whole number of bars >= 1; got 'day'$"
    ):
        run(file, 2019, "day")
    with pytest.raises(ConfigError, match="got '0'"):
        run(file, 2019, "0")
    with pytest.raises(
        DataError, match=r"^hindsight: the stretch holds one close only \(2018-12-03\); a gain needs two$"
    ):
        run(file, last="2018-12-03")
    with pytest.raises(ConfigError, match=r"^--out: '.*prices.parquet' is a file; name a folder$"):
        run(file, 2019, out=tmp_path / "prices.parquet")
    with pytest.raises(ConfigError, match=r"^--out: could not make the folder '.*': .+$"):
        run(file, 2019, out=tmp_path / "prices.parquet" / "deeper")
    with pytest.raises(ConfigError, match=r"top must be a whole number of names >= 1, got 0$"):
        run(file, 2019, top=0)
    with pytest.raises(DataError, match=r"nothing\.parquet"):
        run(str(tmp_path / "nothing.parquet"), 2019)
