"""The market of a study: which rules and tables its books rest on, every portfolio rule end to end, books on paper."""

import dataclasses
import json

import numpy as np
import polars as pl
import pytest
from toys import make_panel

from hitherto.errors import ConfigError
from hitherto.study import Study
from hitherto.study.trading import floor

BASE = {
    "features": {"set": "close_only"}, "split": {"train": 150, "valid": 40, "test": 60, "folds": 1},
    "models": [{"kind": "ridge"}], "report": {"null_books": 0}, "audit": {"level": "off"},
}  # fmt: skip
CN = {"rules": "cn", "fill": "next_open", "capital": 1e6, "assume": {"st": "never"}}


@pytest.fixture(scope="module")
def panel():
    made = make_panel(T=330, N=12, seed=3, halts=0.02, factor=True)
    fields = {k: v * 10 if k in ("open", "high", "low", "close") else v for k, v in made.fields.items()}
    start = np.datetime64("2020-01-01")
    days = np.busday_offset(start, np.arange(330), roll="forward")
    return made.replace(
        symbols=tuple(f"SH6000{n:02d}" for n in range(12)), fields=fields, sessions=days,
        times=days.astype("datetime64[ns]").astype(np.int64), adjustment="factor",
    )  # fmt: skip


def study(panel, exchange=None, portfolio=None, **more):
    tables = {**BASE, "exchange": exchange or {}, "portfolio": portfolio or [{"k": 3}], **more}
    return Study(panel, **tables)


def test_a_book_under_rules_is_whole_and_names_them(panel, tmp_path):
    result = study(panel, CN).run(tmp_path / "run", progress="off")
    book = result.book
    assert book.rules == result.evaluation.floor.rules.label
    assert book.rules.startswith("cn:")
    assert np.array_equal(book.shares, np.round(book.shares))
    np.testing.assert_allclose(book.cash * 100, np.round(book.cash * 100), atol=1e-6)
    content = result.content()
    assert content.rules.digest == result.evaluation.floor.rules.digest
    assert any("ST" in a for a in content.rules.assumptions)
    fills = pl.read_parquet(tmp_path / "run" / "fills.parquet").filter(pl.col("book") == book.name)
    assert fills["commission"].filter(fills["shares"] != 0).min() >= 5
    assert fills["tax"].filter(fills["shares"] < 0).min() > 0
    assert fills["tax"].filter(fills["shares"] > 0).max() == 0


def test_a_long_short_book_trades_on_paper_and_says_so(panel, tmp_path):
    result = study(panel, CN, [{"k": 3}, {"rule": "long_short", "k": 3}]).run(tmp_path / "run", progress="off")
    name = next(n for n in result.books if "long-short" in n)
    assert any(f.startswith("on paper: the rules of 'cn' know no short sale") for f in result.books[name].flags)
    assert not any(f.startswith("on paper") for f in result.book.flags)


RULES = [
    {"rule": "topk", "k": 3}, {"rule": "quantile", "k": 4}, {"rule": "score_weighted", "long_only": True},
    {"rule": "score_weighted"}, {"rule": "long_short", "k": 2, "every": 5},
]  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=lambda r: "-".join(map(str, r.values())))
def test_every_rule_runs_to_a_report(panel, tmp_path, rule):
    result = study(panel, CN, [rule]).run(tmp_path / "run", progress="off")
    assert len(result.book.fills.t) > 20
    assert (tmp_path / "run" / "report.html").stat().st_size > 1e6


def test_the_optimiser_runs_and_has_no_null_band(panel, tmp_path):
    pytest.importorskip("cvxpy")
    rule = {"rule": "optimise", "every": 20, "optimise": {"cap": 0.3, "window": 60, "factors": 2}}
    result = study(panel, CN, [rule], report={"null_books": 50}).run(tmp_path / "run", progress="off")
    held = result.evaluation.weights[result.evaluation.main].values
    assert held.max() <= 0.3 + 1e-6
    part = result.content().equity
    assert part.null is None
    assert "No band of permuted scores" in part.caption


def test_tables_keep_their_place_when_a_study_is_repeated_elsewhere(panel, tmp_path):
    (tmp_path / "st.csv").write_text("symbol,start,end,status\nSH600001,2020-03-02,2021-12-31,st\n")
    exchange = {**CN, "status": "st.csv", "assume": {}}
    one = Study(panel, base=tmp_path, **{**BASE, "exchange": exchange, "portfolio": [{"k": 3}]})
    one.run(tmp_path / "run", progress="off")
    again = Study.load(tmp_path / "run" / "study.toml", panel=panel)
    assert again.settings.exchange.status == str((tmp_path / "st.csv").resolve())
    assert np.array_equal(floor(one, panel).rules.kind, floor(again, panel).rules.kind)


def test_the_digest_of_the_exchange_knows_the_tables(panel, tmp_path):
    (tmp_path / "st.csv").write_text("symbol,start,end,status\nSH600001,2020-03-02,2021-12-31,st\n")
    never = study(panel, CN)
    some = Study(panel, base=tmp_path, **{**BASE, "exchange": {**CN, "status": "st.csv", "assume": {}}})
    a, b = (floor(s, panel).digest() for s in (never, some))
    assert a != b
    assert a == floor(study(panel, CN), panel).digest()
    never.run(tmp_path / "run", progress="off")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["exchange_digest"] == a


def test_refusals(panel):
    with pytest.raises(ConfigError, match=r"knows lots and taxes by date; leave exchange.lot and"):
        study(panel, {**CN, "lot": 100})
    with pytest.raises(ConfigError, match=r"belong to exchange.rules; name the rules, or drop them"):
        study(panel, {"assume": {"st": "never"}})
    with pytest.raises(ConfigError, match=r'write \[exchange.assume\] st = "never"$'):
        floor(study(panel, {"rules": "cn"}), panel)
    restated = dataclasses.replace(panel, adjustment="restated_total_return")
    with pytest.raises(
        ConfigError, match=r"exchange.rules = 'cn' trades raw prices in lots, but these prices are rest"
    ):
        floor(study(panel, CN), restated)
