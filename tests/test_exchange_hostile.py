"""Studies, tables and panels as users really bring them to the exchange: what must hold, and what must be told."""

import dataclasses
import itertools
import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hitherto.config import PortfolioSettings
from hitherto.errors import ConfigError, DataError, HithertoError
from hitherto.exchange import actions
from hitherto.exchange.rules import lay
from hitherto.exchange.simulate import Events, Venue, simulate
from hitherto.exchange.status import Status
from hitherto.exchange.terms import Costs
from hitherto.hindsight import command, upper_bound
from hitherto.panel import Panel
from hitherto.portfolio.base import Weights
from hitherto.report import findings
from hitherto.study import Study
from hitherto.study.result import Result
from hitherto.study.trading import floor

STUDY = """
name = "mine"
[market]
bars = "BARS"
[features]
expressions = { r1 = "close / ref(close, 1) - 1", gap = "close / mean(close, 5) - 1" }
normalise = "cs_rank"
[split]
train = 100
valid = 30
test = 60
folds = 1
[[models]]
kind = "ridge"
[[portfolio]]
rule = "topk_dropout"
k = 3
drop = 1
[exchange]
rules = "cn"
fee_bps = 2.5
slippage_bps = 5
[exchange.assume]
st = "never"
[audit]
level = "off"
[report]
null_books = 0
"""
NONE = ['exchange.rules="none"', "exchange.assume={}"]
US = ['exchange.rules="us"', "exchange.assume={}"]
CODES = tuple(f"SH60000{i}" for i in range(8))
HOSTILE = ("<script>alert(1)</script>", "=cmd()", "贵州茅台", "{{7*7}}", "]]>", "A&B", "'\"x", "</td><b>")


def bars(symbols=CODES, T=200, seed=0, columns=("open", "high", "low", "close", "volume", "factor")):
    """Raw prices on ticks, moves inside 10 %, one ex-day of three for two for all."""
    rng, N = np.random.default_rng(seed), len(symbols)
    days = np.busday_offset("2019-01-02", np.arange(T), roll="forward")
    close = 10 * np.exp(np.cumsum(np.clip(rng.normal(0.0003, 0.02, (T, N)), -0.099, 0.099), axis=0))
    factor = np.ones((T, N))
    factor[160:], close[160:] = 1.5, close[160:] / 1.5
    close = np.round(close, 2)
    open_ = np.round(close * np.exp(rng.normal(0, 0.004, (T, N))), 2)
    data = {
        "open": open_, "high": np.round(np.maximum(open_, close) * 1.005, 2),
        "low": np.round(np.minimum(open_, close) * 0.995, 2), "close": close,
        "volume": np.round(np.exp(rng.normal(13, 1, (T, N)))), "factor": factor,
    }  # fmt: skip
    frame = pl.DataFrame({"date": np.repeat(days, N), "symbol": list(symbols) * T})
    return frame.with_columns(pl.Series(c, data[c].ravel()) for c in columns)


def run(folder: Path, frame=None, *sets: str, text=STUDY, name="run") -> Result:
    """Run the study on bars in ``folder``; its results lie in folder / name."""
    (bars() if frame is None else frame).write_parquet(folder / "bars.parquet")
    (folder / "study.toml").write_text(text.replace("BARS", "bars.parquet"), encoding="utf-8")
    return Study.load(folder / "study.toml", list(sets)).run(folder / name, progress="off")


def panel(close, symbols=None, **fields) -> Panel:
    """A daily panel of raw closes from 2019-01-02 on."""
    close = np.asarray(close, float)
    T, N = close.shape
    days = np.busday_offset(np.datetime64("2019-01-02"), np.arange(T), roll="forward")
    on = np.ones((T, N), bool)
    return Panel(
        times=days.astype("datetime64[ns]").astype(np.int64), sessions=days, symbols=tuple(symbols or CODES[:N]),
        fields={"close": close, **fields}, listed=on, suspended=~on, missing=~np.isfinite(close), universe=on,
        adjustment="raw",
    )  # fmt: skip


def always(values) -> Weights:
    values = np.asarray(values, float)
    return Weights("w", values, np.ones(len(values), bool))


@pytest.fixture(scope="module")
def china(tmp_path_factory):
    """One study under Chinese rules, with a short book beside it: (folder, result)."""
    folder = tmp_path_factory.mktemp("china")
    two = STUDY.replace("[exchange]\n", '[[portfolio]]\nrule = "long_short"\nk = 2\n[exchange]\n')
    return folder, run(folder, text=two)


# ---- what a finished run must add up to --------------------------------------------------------------------------


def test_fills_and_books_of_a_run_add_up_to_the_fen(china):
    folder, _ = china
    fills, books = (pl.read_parquet(folder / "run" / f"{n}.parquet") for n in ("fills", "books"))
    tape = pl.read_parquet(folder / "bars.parquet").with_columns(pl.col("date").cast(pl.Date))
    done = fills.filter(pl.col("shares") != 0).join(tape, on=["date", "symbol"], how="left", validate="m:1")
    assert done.height > 200
    assert done["close"].null_count() == 0
    assert done.filter((pl.col("price") > pl.col("high") + 1e-9) | (pl.col("price") < pl.col("low") - 1e-9)).is_empty()
    assert (fills["shares"] == fills["shares"].round()).all()
    assert (fills["shares"].abs() <= fills["ordered"].abs()).all()
    assert fills.filter((pl.col("shares") > 0) & (pl.col("tax") > 0)).is_empty()  # stamp duty is the seller's
    assert fills.filter((pl.col("shares") == 0) & pl.col("price").is_finite()).is_empty()
    long_only = fills.filter(~pl.col("book").str.contains("long-short"))
    assert (long_only.filter(pl.col("shares") > 0)["shares"] % 100 == 0).all()
    paid = pl.col("commission") + pl.col("tax") + pl.col("transfer") + pl.col("other")
    day = fills.group_by("book", "date").agg(
        paid.sum().alias("paid"), pl.col("slippage").sum().alias("slipped"),
        (pl.col("shares") * pl.col("price").fill_nan(0.0)).sum().alias("spent"),
    )  # fmt: skip
    all_ = books.join(day, on=["book", "date"], how="left", maintain_order="left").fill_null(0.0)
    assert (all_["fees"] - all_["paid"]).abs().max() < 1e-6
    assert (all_["slippage"] - all_["slipped"]).abs().max() < 1e-6
    before = all_.with_columns(pl.col("cash").shift(1).over("book").alias("before")).drop_nulls("before")
    before = before.filter(pl.col("book") != "buy and hold")  # its ex-days come in shares
    left = before["before"] + before["corporate"] - before["spent"] - before["fees"] - before["slippage"]
    assert (left - before["cash"]).abs().max() < 1e-6
    for column in ("equity", "cash", "fees", "slippage", "corporate"):
        fen = books[column].to_numpy() * 100
        np.testing.assert_allclose(fen, np.round(fen), rtol=0, atol=1e-5)


def test_a_book_that_sells_short_under_chinese_rules_says_that_it_is_on_paper(china):
    _, result = china
    flags = {name: " ".join(book.flags) for name, book in result.books.items()}
    assert {name for name, text in flags.items() if "on paper" in text} == {"ridge, long-short 2"}


def test_the_run_folder_repeats_itself_to_the_bit(china):
    folder, _ = china
    Study.load(folder / "run" / "study.toml").run(folder / "again", progress="off")
    for name in ("fills.parquet", "books.parquet", "forecasts.parquet", "metrics.json", "study.toml"):
        assert (folder / "run" / name).read_bytes() == (folder / "again" / name).read_bytes(), name


def test_us_sellers_pay_section_31_and_taf_and_hostile_names_stay_text(tmp_path):
    run(tmp_path, bars(HOSTILE), *US)
    fills = pl.read_parquet(tmp_path / "run" / "fills.parquet")
    sells = fills.filter(pl.col("shares") < 0)
    assert sells["tax"].sum() > 0
    assert sells["other"].sum() > 0
    assert fills.filter(pl.col("shares") > 0)["tax"].sum() == 0
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in page
    assert "</td><b>" not in page


def test_bars_of_closes_alone_trade_under_chinese_rules_and_capacity_says_why_not(tmp_path):
    result = run(tmp_path, bars(columns=("close",)))
    assert result.book.fills.reason.max() < 7  # no reason that closes alone cannot know
    assert result.content().capacity.not_assessed == "no volume"


def test_a_name_delisted_while_held_is_frozen_and_flagged(tmp_path):
    frame = bars().with_columns(pl.col("date").cast(pl.Date))
    last = frame["date"].unique().sort()[170]
    result = run(tmp_path, frame.filter((pl.col("symbol") != "SH600002") | (pl.col("date") <= last)),
                 "portfolio.0.k=7")  # fmt: skip
    assert any("delisted: 1 positions are frozen" in flag and "SH600002" in flag for flag in result.book.flags)


# ---- status tables -----------------------------------------------------------------------------------------------

HEAD = "symbol,start,end,status\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "the file is empty"),
        ("symbol,start\nSH600000,2019-01-02\n", "no column 'end'"),
        (HEAD + "SH60\x000000,2019-01-02,,st\n", "NUL byte"),
        (HEAD + "SH600000,2019-06-01,2019-01-02,st\n", "line 2, column 'end': the end lies before the start"),
        (HEAD + "SH600000,2019-01-02,,*ST\n", "unknown status; write one of st, delisting, normal"),
        (HEAD + ",2019-01-02,,st\n", "the symbol is empty"),
        (HEAD + "SH600000,,,st\n", "line 2, column 'start': the date is missing"),
        (HEAD + "SH600000,43467,,st\n", "'43467' is no date"),
        (HEAD + "SH600000,2019-02-30,,st\n", "'2019-02-30' is no date"),
        (HEAD + "SH600000,2019-01-02,NaN,st\n", "'NaN' is no date"),
        (HEAD + "SH600000,2019-01-02 09:30:00,,st\n", "plain dates are needed"),
        (HEAD + "SH600000,2019-01-02,,st,more\n", "5 cells, the header has 4"),
        (HEAD.replace(",", ";") + "SH600000;2019-01-02;;st\n", "separated by ';'"),
        ("symbol,start,end,status,board\nSH600000,2019-01-02,,st,moon\n", "unknown board"),
        ("symbol,start,end,status,status\nSH600000,2019-01-02,,st,st\n", "occurs twice"),
    ],
)  # fmt: skip
def test_a_broken_status_table_is_refused_in_one_line(tmp_path, text, told):
    path = tmp_path / "st.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(told)) as e:
        Status.read(path)
    assert "\n" not in str(e.value)
    assert "st.csv" in str(e.value)


@pytest.mark.parametrize(
    "told",
    [("status", "symbol,Symbol,start,end,status", "SH600000,SH600001,2019-01-02,,st"),
     ("actions", "symbol,Symbol,ex_date,dividend,split", "SH600000,SH600001,2019-01-03,1,1")],
    ids=["status", "actions"],
)  # fmt: skip
def test_a_column_given_twice_in_other_letters_is_refused(tmp_path, told):
    kind, *lines = told
    path = tmp_path / "table.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(DataError):
        Status.read(path) if kind == "status" else actions.read(path, panel(np.full((10, 2), 10.0)))


@pytest.mark.parametrize("symbol", ["600000.SH", "sh600000", "600000", "SH.600000"])
def test_a_status_table_finds_its_names_in_any_spelling_or_says_that_it_does_not(symbol):
    """board_of reads all these spellings as one share; a table in another spelling must not mean 'never ST'."""
    market = panel(np.full((30, 2), 10.0))
    rows = {"symbol": [symbol], "start": ["2019-01-02"], "end": [""], "status": ["st"]}
    try:
        laid = lay("cn", market, Status.read(pl.DataFrame(rows)))
    except HithertoError:
        return
    never = lay("cn", market, assume_st="never")
    applied = not np.array_equal(laid.terms[laid.kind], never.terms[never.kind])
    assert applied or any(symbol in text for text in laid.assumptions)


def test_a_run_with_a_status_table_repeats_from_its_folder(tmp_path):
    (tmp_path / "st.csv").write_text(HEAD + "SH600000,2019-01-02,,st\n")
    run(tmp_path, None, 'exchange.status="st.csv"', "exchange.assume={}")
    Study.load(tmp_path / "run" / "study.toml").run(tmp_path / "again", progress="off")
    books = [(tmp_path / n / "books.parquet").read_bytes() for n in ("run", "again")]
    assert books[0] == books[1]


def test_run_json_knows_which_rules_and_which_status_table_were_used(tmp_path):
    kept = []
    for end in ("", "2019-05-01"):
        (tmp_path / "st.csv").write_text(HEAD + f"SH600000,2019-01-02,{end},st\n")
        run(tmp_path, None, 'exchange.status="st.csv"', "exchange.assume={}", name=f"to{end}")
        facts = json.loads((tmp_path / f"to{end}" / "run.json").read_text())
        kept.append([v for k, v in facts.items() if k.endswith("digest")])
    assert kept[0] != kept[1]


# ---- settings that cannot work are refused before anything is trained -----------------------------------------------


@pytest.mark.parametrize(
    ("sets", "symbols"),
    [
        (["exchange.assume={}"], CODES),
        ([], tuple(f"X{i}" for i in range(8))),
        (["exchange.fee_bps=31"], CODES),
        (['exchange.status="none.csv"'], CODES),
        (['market.adjustment="restated_total_return"', "market.allow_restated=true"], CODES),
        (['portfolio.0.rule="quantile"', "portfolio.0.k=1"], CODES),
        (["portfolio.0.drop=9"], CODES),
    ],
    ids=["assume", "symbols", "commission", "no table", "restated", "quantile", "drop"],
)  # fmt: skip
def test_what_the_market_needs_is_checked_before_the_first_fit(tmp_path, monkeypatch, sets, symbols):
    def trained(*_, **__):
        raise AssertionError("trained before the market was checked")

    monkeypatch.setattr(Study, "fit_all", trained)
    with pytest.raises(HithertoError):
        run(tmp_path, bars(symbols), *sets)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("second", ["drop = 3", "drop = 1\nevery = 5"])
def test_two_portfolios_of_one_title_are_two_books_or_an_error(tmp_path, second):
    two = STUDY.replace("[exchange]\n", f'[[portfolio]]\nrule = "topk_dropout"\nk = 3\n{second}\n[exchange]\n')
    alone = run(tmp_path, name="alone").book.equity
    try:
        both = run(tmp_path, text=two, name="both")
    except ConfigError:
        return
    np.testing.assert_array_equal(both.book.equity, alone)
    assert sum(name.startswith("ridge, ") for name in both.books) == 2


# ---- results that mislead -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sets", [["exchange.capital=50"], ['portfolio.0.rule="quantile"', "portfolio.0.k=9"]])
def test_a_book_that_never_traded_says_so(tmp_path, sets):
    """50 yuan buy no lot; nine quantiles of eight names decide nothing: neither is 'ahead of all 4 others'."""
    result = run(tmp_path, None, *sets)
    assert not (result.book.fills.shares != 0).any()
    assert result.book.flags


def test_the_report_counts_all_names_held(tmp_path):
    names = tuple(f"SH600{i:03d}" for i in range(40))
    result = run(tmp_path, bars(names), "portfolio.0.k=20", "portfolio.0.drop=10")
    said = findings.weights(result.content().weights, "en")
    assert said.startswith("20.0 names")


def test_the_optimiser_counts_the_stamp_duty_of_the_rules(tmp_path):
    bars().write_parquet(tmp_path / "bars.parquet")
    (tmp_path / "study.toml").write_text(STUDY.replace("BARS", "bars.parquet"))
    study = Study.load(tmp_path / "study.toml")
    assert floor(study, study.panel).proportional > (2.5 + 5 + 10 / 2 - 0.01) / 1e4  # 0.1 % on sales in 2019


def test_intraday_books_keep_the_time_of_their_bars(tmp_path):
    at = bars().with_columns(pl.col("date").cast(pl.Datetime("ms")))
    two = pl.concat([
        at.with_columns(pl.col("date") + pl.duration(hours=11), pl.col("open").alias("close")),
        at.with_columns(pl.col("date") + pl.duration(hours=15)),
    ])  # fmt: skip
    run(tmp_path, two.sort("date", "symbol"), 'market.zone="Asia/Shanghai"', "periods_per_year=504")
    books = pl.read_parquet(tmp_path / "run" / "books.parquet")
    where = [c for c in books.columns if c in ("book", "date", "time")]
    assert not books.select(where).is_duplicated().any()


# ---- runs that must not die at the report ---------------------------------------------------------------------------


def test_a_study_of_as_many_names_as_it_holds_still_gets_its_report(tmp_path):
    run(tmp_path, bars(CODES[:5]), "portfolio.0.k=5")  # five names and the default k
    assert (tmp_path / "run" / "manifest.json").is_file()


def test_a_large_capital_still_gets_its_report(tmp_path):
    run(tmp_path, None, "exchange.capital=1e12")
    assert (tmp_path / "run" / "manifest.json").is_file()


# ---- prices below the tick, and events ------------------------------------------------------------------------------


def test_a_price_below_half_a_tick_is_no_division_by_zero():
    close = np.array([[1.0], [1.0], [0.004], [0.02], [0.02], [0.004], [0.004], [1.0]])
    market = panel(close, ["AAA"])
    book = simulate(market, always(np.full((8, 1), 0.5)), rules=lay("us", market), capital=1000)
    assert np.isfinite(book.equity).all()
    assert (book.cash >= 0).all()


def test_closes_far_off_the_tick_are_told():
    """Adjusted prices under rules: 0.1249 and 0.1251 trade at 0.12 and 0.13, and a book earns 300 % from rounding."""
    close = np.tile([[0.1249], [0.1251]], (20, 1))
    market = panel(close, ["AAA"])
    laid = lay("us", market)
    weights = np.zeros(close.shape)
    weights[1::2] = 1.0
    book = simulate(market, always(weights), rules=laid)
    assert book.equity[-1] < 1.1 * book.equity[0] or any("tick" in text for text in (*laid.assumptions, *book.flags))


def test_the_upper_bound_holds_on_prices_off_the_tick_too():
    for symbols, pair, market in ((["AAA"], (0.1249, 0.1251), "us"), (None, (2.0049, 2.0051), "cn")):
        bars_ = panel(np.tile(np.array(pair)[:, None], (20, 1)), symbols)
        laid = lay(market, bars_, assume_st="never" if market == "cn" else None)
        weights = np.zeros(bars_.shape)
        weights[1::2] = 1.0
        book = simulate(bars_, always(weights), rules=laid)
        # 39 fills may each win half a fen to rounding: nothing beside a capital of 1e8 fen
        assert np.log(book.equity[-1] / book.equity[0]) <= upper_bound(bars_, Costs(), rules=laid)[-1] + 1e-6


@pytest.mark.parametrize("split", [1e-9, 1e9])
def test_a_split_that_cannot_be_is_refused(split):
    market = panel(np.full((10, 1), 10.0))
    event = Events(np.array([5]), np.array([0]), np.array([0.0]), np.array([split]))
    with pytest.raises(DataError, match="split"):
        simulate(market, always(np.full((10, 1), 0.5)), rules=lay("cn", market, assume_st="never"), events=event)


def test_a_market_at_a_thousandfold_and_at_no_cost_neither_borrows_nor_breaks():
    market = panel(10 + 0.1 * np.sin(np.arange(30))[:, None] * np.ones((1, 3)))
    laid, weights = lay("cn", market, assume_st="never"), always(np.full((30, 3), 1 / 3))
    for times, capital in itertools.product((0.0, 1.0, 1e3, 1e6), (0.01, 1.0, 1234.56, 1e6, 1e12)):
        book = Venue(market, costs=Costs(3, 5, 5), rules=laid, times=times).book(weights, capital=capital)
        assert min(book.cash.min(), book.shares.min()) >= 0
        assert np.isfinite(book.equity).all()
        fen = book.equity * 100
        np.testing.assert_allclose(fen, np.round(fen), rtol=1e-15, atol=1e-5)


def test_unknown_codes_early_dates_and_late_dates_are_refused_by_name():
    for symbol, told in (("AAPL", "no code of a mainland"), ("SH000300", "an index"), ("SZ200011", "a B share"),
                         ("HK00700", "no code of a mainland"), ("113001", "a bond")):  # fmt: skip
        with pytest.raises(DataError, match=told):
            lay("cn", panel(np.ones((3, 1)), [symbol]), assume_st="never")
    early = panel(np.ones((3, 1)))
    early = dataclasses.replace(early, sessions=early.sessions - 5000)
    with pytest.raises(DataError, match=r"SH600000: rules 'cn': no .* on record: .* on\. Cut the bars"):
        lay("cn", early, assume_st="never")


# ---- the rule of every portfolio, whole ------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["topk", "quantile", "score_weighted", "long_short"])
def test_every_rule_runs_whole_under_rules_and_without(tmp_path, rule):
    assert rule in str(PortfolioSettings.model_fields["rule"].annotation)
    for name, sets in (("cn", []), ("none", NONE)):
        result = run(tmp_path, None, f'portfolio.0.rule="{rule}"', *sets, name=name)
        assert (result.book.fills.shares != 0).sum() > 20
        whole = np.all(result.book.shares == np.round(result.book.shares))
        assert whole == (name == "cn")


# ---- hindsight -------------------------------------------------------------------------------------------------------


def test_hindsight_lists_hostile_names_as_text_and_more_names_than_there_are(tmp_path):
    file = tmp_path / "bars.csv"
    rows = [("2020-01-02", "=cmd()", 1), ("2020-01-03", "=cmd()", 2), ("2020-01-02", "贵州茅台", 1),
            ("2020-01-03", "贵州茅台", 0.5)]  # fmt: skip
    file.write_text("date,symbol,close\n" + "".join(f"{d},{s},{c}\n" for d, s, c in rows), encoding="utf-8")
    text = command.run(str(file), every="1", top=50, out=tmp_path / "lists")
    assert "=cmd(), 贵州茅台" in text
    cells = (tmp_path / "lists" / "lists.csv").read_text(encoding="utf-8")
    assert ",'=cmd()," in cells
    assert ",=cmd()," not in cells


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"year": 1066}, "no session in 1066"), ({"year": 99999}, "no session in 99999"), ({"top": 0}, "top"),
        ({"every": "fortnight"}, "--every"), ({"every": "0"}, "--every"), ({"capital": float("nan")}, "capital"),
        ({"first": "2019-13-01"}, "no date"), ({"year": 2019, "first": "2019-01-01"}, "not both"),
    ],
)  # fmt: skip
def test_hindsight_refuses_what_it_cannot_list(tmp_path, options, told):
    bars(T=30).write_parquet(tmp_path / "bars.parquet")
    with pytest.raises(HithertoError, match=told):
        command.run(str(tmp_path / "bars.parquet"), **options)
