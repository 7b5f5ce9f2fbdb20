"""P6: what a later vintage rewrote must be caught, by its cause, and an honest ratio must pass."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hitherto.audit import FunctionTarget, from_function, made_up_panel
from hitherto.audit.probes import vintages as p6
from hitherto.errors import ConfigError, DataError

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "us_sp500_vintages"


@pytest.fixture(scope="module")
def whole():
    """A market without a factor, with a joined field of fundamentals that steps every 20 bars."""
    panel = made_up_panel(rows=120, listings=10, seed=4)
    steps = np.random.default_rng(0).uniform(1, 5, (6, 10))
    fields = {k: v for k, v in panel.fields.items() if k != "factor"}
    return panel.replace(fields={**fields, "earnings": np.repeat(steps, 20, axis=0)}, adjustment="raw")


def published(panel, rows):
    """The panel as published after ``rows`` bars, keyed by the day."""
    return {panel.sessions[rows - 1]: panel.rows(rows)}


def rewritten(panel, **fields):
    return panel.replace(fields={**panel.fields, **fields})


def split_applied(panel, listings, by=0.5):
    """The latest vintage after a split: all prices before it are multiplied, volumes divided."""
    k = np.ones(panel.shape[1])
    k[listings] = by
    out = {name: panel.fields[name] * k for name in ("open", "high", "low", "close")}
    return rewritten(panel, **out, volume=panel.fields["volume"] / k)


def level(df):
    return np.log(df.close)


def cheap(df):
    return (df.close < 15).astype(float)


def change(df):
    return df.close / df.close.shift(5) - 1


def log_change(df):
    return np.log(df.close).diff()


def body(df):
    return (df.close - df.open) / (df.high - df.low)


def value(df):
    return df.earnings / 3


def rank(frame):
    return frame["close"].pct_change(5, fill_method=None).rank(axis=1, pct=True)


def zscore(frame):
    r = frame["close"].pct_change(fill_method=None)
    return r.sub(r.mean(axis=1), axis=0).div(r.std(axis=1), axis=0)


WIDE = (rank, zscore)


def target(f):
    return from_function(f, "wide" if f in WIDE else "symbol")


def ask(f, vintages, latest, **options):
    return p6.probe(target(f), vintages, latest, **options)


@pytest.mark.parametrize("f", [level, cheap, change, log_change, body, value, rank, zscore], ids=lambda f: f.__name__)
def test_nothing_was_rewritten_nothing_is_found(whole, f):
    result = ask(f, {**published(whole, 60), **published(whole, 90)}, whole)
    assert (result.status, result.findings, result.detail) == ("ok", (), "")
    assert result.tried == "2 vintages against the latest"


@pytest.mark.parametrize("f", [level, cheap], ids=lambda f: f.__name__)
def test_levels_that_know_a_later_split_are_caught(whole, f):
    latest = split_applied(whole, [2, 5])
    result = ask(f, published(whole, 80), latest)
    (found,) = result.findings
    assert (result.status, found.leak, found.where, found.probe, found.of) == (
        "LEAK", "L28", f.__name__, "P6", "numbers",
    )  # fmt: skip
    bars = np.isfinite(whole.fields["close"][:80])
    assert found.tried == bars.sum()
    if f is level:
        assert found.hits == bars[:, [2, 5]].sum()
        assert found.old is not None
        assert found.old - found.new == pytest.approx(np.log(2))
        assert found.first == str(whole.sessions[0])
        share = bars[:, [2, 5]].sum() / bars.sum()
        assert found.note == f"histories rescaled by later splits or dividends: {share:.1%} of the numbers"
    assert result.detail == "restated fields: open, high, low, close, volume"


@pytest.mark.parametrize("f", [change, log_change, body, value, rank, zscore], ids=lambda f: f.__name__)
@pytest.mark.parametrize("by", [0.5, 1 / 3, 0.9731])
def test_ratios_pass_a_later_split(whole, f, by):
    result = ask(f, {**published(whole, 60), **published(whole, 100)}, split_applied(whole, [0, 7], by))
    assert (result.status, result.findings) == ("ok", ()), result


def test_restated_values_are_caught_with_their_field(whole):
    other = whole.fields["earnings"].copy()
    other[20:60, 3:8] *= 1.5
    latest = rewritten(whole, earnings=other)
    result = ask(value, published(whole, 100), latest)
    (found,) = result.findings
    bars = np.isfinite(whole.fields["close"][:100])
    hits = int(bars[20:60, 3:8].sum())
    assert (found.leak, found.hits, found.tried) == ("L27", hits, bars.sum())
    n = 3 + int(bars[20, 3:8].argmax())
    assert (found.first, found.old, found.new) == (
        str(whole.sessions[20]), whole.fields["earnings"][20, n] / 3, other[20, n] / 3,
    )  # fmt: skip
    assert found.note == f"restated values: {hits / bars.sum():.1%} of the numbers, through earnings"
    assert ask(change, published(whole, 100), latest).status == "ok"


def test_a_value_that_was_not_there_yet_is_a_restatement(whole):
    """The report date used as the known date: the latest vintage fills what nobody knew then."""
    then = whole.fields["earnings"].copy()
    then[40:48] = np.nan
    result = ask(value, {whole.sessions[99]: rewritten(whole, earnings=then).rows(100)}, whole)
    (found,) = result.findings
    assert (found.leak, found.hits, found.first) == (
        "L27",
        np.isfinite(whole.fields["close"][40:48]).sum(),
        str(whole.sessions[40]),
    )
    assert found.old is not None
    assert np.isnan(found.old)
    assert np.isfinite(found.new)


def test_corrections_of_single_prints_are_told_but_are_no_leak(whole):
    """0.6 % of the closes are corrected: below 2 % it is the vendor, and said."""
    close = whole.fields["close"].copy()
    known = np.argwhere(np.isfinite(close[:100]))
    for row, n in known[::170]:
        close[row, n] *= 1.3
    result = ask(level, published(whole, 100), rewritten(whole, close=close))
    moved = len(known[::170]) / len(known)
    assert result.status == "ok"
    assert result.detail == (
        f"restated values moved {moved:.2%} of the numbers of level by over 5% of its scale and no other column more "
        "(a finding above 2%); restated fields: close"
    )
    strict = ask(level, published(whole, 100), rewritten(whole, close=close), least=0.0)
    assert [(f.leak, f.hits) for f in strict.findings] == [("L27", len(known[::170]))]


@pytest.mark.parametrize(("f", "names"), [(level, 4), (change, 1)], ids=["level", "change"])
def test_a_vendors_rounding_and_bars_added_later_pass(whole, f, names):
    """Prices to two decimals, as another vendor prints them, and ten bars that the vintage lacked in some names."""
    rounded = {k: np.round(whole.fields[k], 2) for k in ("open", "high", "low", "close")}
    then = {k: v.copy() for k, v in whole.fields.items()}
    for values in then.values():
        values[30:40, :names] = np.nan
    vintage = whole.replace(fields=then).rows(100)
    for values in rounded.values():
        values[97:, 9] = np.nan  # and the latest lacks what the vintage had
    result = ask(f, {vintage.sessions[-1]: vintage}, rewritten(whole, **rounded))
    assert (result.status, result.findings) == ("ok", ())
    both = np.isfinite(vintage.fields["close"]) & np.isfinite(rounded["close"][:100])
    assert result.cuts[1] == both.sum()


@pytest.mark.parametrize("f", [rank, zscore], ids=lambda f: f.__name__)
def test_members_as_known_later_move_ranks(whole, f):
    """Six names were members; the latest file holds ten, with their history."""
    then = whole.assets(np.arange(6))
    result = ask(f, published(then, 100), whole)
    (found,) = result.findings
    assert (found.leak, found.note) == (
        "L25", f"membership as known later: {found.hits / found.tried:.1%} of the numbers",
    )  # fmt: skip
    assert found.hits > 0.6 * found.tried
    assert found.tried == np.isfinite(then.fields["close"][:100]).sum()
    assert ask(change, published(then, 100), whole).status == "ok"
    # Who left since is as much of a difference as who came.
    less = ask(f, published(whole, 100), then)
    assert [x.leak for x in less.findings] == ["L25"]


def test_a_universe_as_known_later_moves_what_reads_it(whole):
    later = whole.universe.copy()
    later[:, :4] = False

    def in_universe(panel):
        close = np.where(panel.universe, panel.fields["close"], np.nan)
        return {"share": np.where(panel.universe, close / np.nansum(close, axis=1, keepdims=True), np.nan)}

    result = p6.probe(FunctionTarget("weights", in_universe), published(whole, 100), whole.replace(universe=later))
    assert [(x.leak, x.where) for x in result.findings] == [("L25", "weights.share")]
    assert ask(rank, published(whole, 100), whole.replace(universe=later)).status == "ok"


def test_causes_are_told_apart(whole):
    """Members, a split and a restatement at once: each column is blamed for what it reads, once each."""
    other = whole.fields["earnings"].copy()
    other[:60] *= np.linspace(1.3, 2.0, 10)
    latest = split_applied(rewritten(whole, earnings=other), [1])
    then = whole.assets(np.arange(8)).rows(100)

    def several(frame):
        return pd.concat({"level": frame["close"], "rank": rank(frame), "value": frame["earnings"]}, axis=1)

    columns = {"level": level, "change": change, "value": value}
    got = {n: [x.leak for x in ask(f, {then.sessions[-1]: then}, latest).findings] for n, f in columns.items()}
    assert got == {"level": ["L28"], "change": [], "value": ["L27"]}
    assert [x.leak for x in ask(rank, {then.sessions[-1]: then}, latest).findings] == ["L25"]


def test_rows_are_judged_in_the_first_vintage_that_holds_them(whole):
    """The rows 60..99 were first seen after the split: only rows 0..59 know too much."""
    latest = split_applied(whole, [2])
    vintages = {**published(whole, 60), **published(latest, 100)}
    (found,) = ask(level, vintages, latest).findings
    bars = np.isfinite(whole.fields["close"])
    assert (found.hits, found.tried) == (bars[:60, 2].sum(), bars[:100].sum())


def test_symbols_and_sessions_are_aligned(whole):
    """Other orders, missing sessions, a longer past: what is shared is compared, and equal there."""
    latest = whole.assets(np.array([7, 3, 9, 0, 1, 2, 4, 5, 6, 8])).since(10)
    assert ask(change, published(whole, 100), latest).status == "ok"
    assert ask(zscore, published(whole, 100), latest).status == "ok"
    elsewhere = whole.replace(symbols=tuple(f"X{i}" for i in range(10)))
    result = ask(change, published(whole, 100), elsewhere)
    assert (result.status, result.detail) == ("not assessed", "no vintage shares a bar with the latest panel")


def test_a_function_of_the_date_is_asked_on_the_dates(whole):
    latest = split_applied(whole, [2])
    asked = []

    def asof(day):
        asked.append(day)
        return whole.rows(int(np.searchsorted(whole.sessions, np.datetime64(day), side="right")))

    days = [dt.date(2018, 3, 30), dt.date(2018, 5, 1)]
    (found,) = ask(level, asof, latest, dates=days).findings
    assert found.leak == "L28"
    assert asked == days
    with pytest.raises(ConfigError) as e:
        ask(level, asof, latest)
    assert str(e.value) == "vintages: asof(date) was given without dates; say on which dates to ask it"


def test_misuse_is_told_in_one_line(whole):
    with pytest.raises(DataError) as e:
        ask(level, {"2018-03-30": whole}, whole.rows(100))
    last = whole.sessions[-1]
    assert str(e.value) == f"vintage 2018-03-30: it holds bars to {last}; give the panel as it was known on 2018-03-30"
    with pytest.raises(ConfigError) as e:
        ask(level, {"August": whole}, whole)
    assert str(e.value) == "vintages: 'August' is no date; key them by the day of publication, 2018-02-07"

    def broken(df):
        raise ValueError("no luck")

    result = ask(broken, published(whole, 60), split_applied(whole, [1]))
    assert result.status == "cannot tell"
    assert result.detail.startswith("broken raised ValueError: no luck; restated fields: open")


def test_restatements_count_cells(whole):
    close, volume = whole.fields["close"].copy(), whole.fields["volume"].copy()
    known = np.isfinite(close)
    close[5:10, 2] *= 1.01
    close[50, 4] = np.nan
    volume[:, 1] *= 1.0005
    newer = rewritten(whole, close=close, volume=volume).assets(np.arange(10)[::-1])
    got = {r.field: r for r in p6.restatements(whole, newer)}
    gone = int(known[50, 4])
    hit = int(known[5:10, 2].sum())
    c = got["close"]
    assert (c.cells, c.rewritten, c.symbols, c.added, c.removed) == (known.sum() - gone, hit, 1, 0, gone)
    assert c.first == str(whole.sessions[5 + int(known[5:10, 2].argmax())])
    assert c.share == hit / (known.sum() - gone)
    assert got["volume"].rewritten == 0
    assert {r.field: r for r in p6.restatements(whole, newer, rtol=1e-4)}["volume"].rewritten == known[:, 1].sum()
    assert (got["earnings"].rewritten, got["earnings"].first) == (0, "")


# ---- known_at ----
def events(**columns):
    base = {"symbol": ["A", "B", "C"], "event_time": ["2020-03-31", "2020-03-31", "2020-06-30"],
            "known_at": ["2020-04-20 16:00:00", "2020-04-28 08:30:00", "2020-07-30 16:05:00"]}  # fmt: skip
    return pd.DataFrame({**base, **columns})


def test_a_table_that_says_when_it_was_known_passes():
    for frame in (events(), events(event_time=pd.to_datetime(events().event_time), known_at=pd.to_datetime(
            events().known_at)), events(known_at=pd.to_datetime(events().known_at, utc=True))):  # fmt: skip
        result = p6.known_at_check(frame)
        assert (result.status, result.findings, result.detail) == ("ok", (), "")
        assert result.tried == "3 rows: every one has known_at, none before event_time"
    dates = p6.known_at_check(events(known_at=["2020-04-20", "2020-04-28", "2020-07-30"]))
    assert (dates.status, dates.detail) == ("ok", "known_at holds dates only: join it with a lag of a day")
    announced = p6.known_at_check(events().drop(columns="event_time"))
    assert announced.status == "ok"
    assert announced.detail == "no column event_time: whether something was known before it happened was not looked at"


@pytest.mark.parametrize(
    ("frame", "hits", "note"),
    [
        (events().drop(columns="known_at"), 3, "known_at missing: nobody can say when these were public"),
        (events(known_at=["2020-04-20", None, ""]), 2, "known_at missing in 2 of 3 rows: an empty date is no date"),
        (events(known_at=[20200420, 20200428, 20200730]), 3,
         "known_at missing in 3 of 3 rows: an empty date is no date"),
        (events(known_at=["2020-03-31", "2020-03-30", "2020-07-01"]), 1,
         "known_at 2020-03-30 lies before event_time 2020-03-31"),
    ],
)  # fmt: skip
def test_a_table_without_it_is_refused(frame, hits, note):
    result = p6.known_at_check(frame, name="fundamentals")
    (found,) = result.findings
    assert (result.status, result.cuts) == ("LEAK", (hits, 3))
    assert (found.leak, found.where, found.hits, found.tried, found.of, found.note) == (
        "L27", "fundamentals", hits, 3, "rows", note,
    )  # fmt: skip


def test_an_empty_table_is_not_assessed():
    assert p6.known_at_check(events().iloc[:0]).status == "not assessed"


# ---- the same market as published in 2017 and 2018 ----
@pytest.fixture(scope="module")
def snapshots():
    import polars as pl

    from hitherto.panel import read_bars

    if not DATA.exists():
        pytest.skip(f"no {DATA.name} beside the repository")

    def read(name):
        table = pl.read_parquet(
            DATA / f"sp500_daily_vintage_{name}.parquet", columns=["date", "symbol", "open", "close", "volume"]
        )
        table = table.with_columns(pl.col("symbol").cast(pl.String)).drop_nulls("close")
        return read_bars(table.unique(["date", "symbol"], keep="last", maintain_order=True))

    return {name: read(name) for name in ("2017-08", "2017-12", "2018-02")}


def numbers(panel):
    close = panel.fields["close"]
    change, five = np.full((2, *panel.shape), np.nan)
    with np.errstate(all="ignore"):
        change[1:] = close[1:] / close[:-1] - 1
        five[5:] = np.log(close[5:]) - np.log(close[:-5])
        order = np.argsort(np.argsort(change, axis=1), axis=1) / np.isfinite(change).sum(axis=1, keepdims=True)
    return {
        "level": np.log(close), "under_50": np.where(np.isfinite(close), close < 50, np.nan), "change": change,
        "five_days": five, "overnight": close / panel.fields["open"] - 1,
        "rank": np.where(np.isfinite(change), order, np.nan),
    }  # fmt: skip


def test_real_vintages_price_levels_are_caught_and_ratios_pass(snapshots):
    vintages = {"2017-08-11": snapshots["2017-08"], "2017-12-06": snapshots["2017-12"]}
    result = p6.probe(FunctionTarget("features", numbers), vintages, snapshots["2018-02"])
    got = {(f.where, f.leak) for f in result.findings}
    assert got == {("features.level", "L28"), ("features.under_50", "L28"), ("features.rank", "L25")}
    first = next(f for f in result.findings if f.where == "features.level")
    # HSIC, ISRG and LEN: 1,136 shared sessions each; HSIC was split 2 for 1 in September 2017.
    assert (first.hits, first.first) == (3 * 1136, "2013-02-08")
    assert first.old is not None
    assert first.old - first.new == pytest.approx(np.log(2), abs=1e-3)
    assert "restated fields: open, close, volume" in result.detail


def test_real_vintages_were_rewritten_as_counted(snapshots):
    """The count of the data's own description: 8,670 closes in 373 names by over 0.1 %, 18,267 volumes by over 1 %."""
    older, newer = snapshots["2017-08"], snapshots["2018-02"]
    close = {r.field: r for r in p6.restatements(older, newer)}["close"]
    assert (close.rewritten, close.symbols) == (8670, 373)
    volume = {r.field: r for r in p6.restatements(older, newer, rtol=1e-2)}["volume"]
    assert abs(volume.rewritten - 18_267) < 10
    assert abs(close.cells - 535_326) < 10
