"""Published leaks, rebuilt: the audit names each by its class and line, and lets its repaired twin pass."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import published as p
import pytest

import hitherto
from hitherto.audit import AuditPlan, audit, from_function, from_handler, from_module, from_splitter, made_up_panel
from hitherto.audit.probes import data, intervals, metamorphic
from hitherto.errors import HithertoError
from hitherto.labels import Label, forward_return
from hitherto.panel import PRICES
from hitherto.split import Fold, WalkForward

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
DOC = ROOT / "docs" / "published_leaks.md"
SAMPLES = 600  # of every splitter


@dataclass(frozen=True)
class Case:
    """A leak, its twin, how it is looked at, and what must be said: line up to its evidence, fix, all classes."""

    leaky: Any
    repaired: Any
    kind: str
    line: str
    fix: str
    classes: tuple[str, ...]
    probe: str = "P2"
    also: bool = False  # P7 is needed for the class
    horizon: int = 0
    per_date: int = 1


CASES = [
    Case(p.scaled_over_the_series, p.scaled_as_time_passes, "symbol",
         "LEAK L04 at scaled_over_the_series reach=+199 bars cuts=32/32", "use a rolling or expanding statistic",
         ("L04",)),
    Case(p.ScaledOverAllDates, p.ScaledOverTrainDates, "pipeline",
         "LEAK L05 at refit of ScaledOverAllDates.prediction reach=+78 bars cuts=1/1",
         "seen by refitting; first moved: mean", ("L05",), "P3"),
    Case(p.window_with_its_target, p.window_without_its_target, "symbol",
         "LEAK L02 at window_with_its_target reach=+5 bars cuts=32/32", "use a trailing window", ("L02",)),
    Case(p.norm_of_the_batch, p.norm_frozen, "module", "LEAK L06 at norm_of_the_batch.norm reach=+199 bars cuts=48/48",
         "the future enters at BatchNorm1d; to the end; in train mode, as given", ("L06", "L07"), "P5"),
    Case(p.CoinsOfTheLastMonth, p.CoinsBeforeTheTest, "pipeline",
         "LEAK L18 at refit of CoinsOfTheLastMonth.prediction reach=+79 bars cuts=1/1", "first moved: coins", ("L18",),
         "P3"),
    Case(p.set_as_trained_on, p.set_as_known, "handler",
         "LEAK L02 at set_as_trained_on.move reach=+5 bars cuts=6/6", "reads the future of close", ("L02",)),
    Case(p.min_max_over_the_series, p.min_max_so_far, "symbol",
         "LEAK L04 at min_max_over_the_series reach=+199 bars cuts=29/32", "use a rolling or expanding statistic",
         ("L04",)),
    Case(p.windows_shuffled, p.windows_in_order, "splitter", "LEAK L13 at windows_shuffled.split0 samples=480/480",
         "never shuffle overlapping samples", ("L13",), "P10", horizon=p.STEPS),
    Case(p.tomorrows_close, p.yesterdays_close, "symbol", "LEAK L01 at tomorrows_close reach=+1 bar cuts=32/32",
         "drop the negative shift", ("L01",)),
    Case(p.segments_that_touch, p.segments_apart, "splitter",
         "LEAK L14 at segments_that_touch.split0 samples=6/300", "purge train samples by the end of their labels",
         ("L14",), "P10", horizon=p.QLIB_LABEL, per_date=p.NAMES),
    Case(p.adjusted_to_the_last_day, p.adjusted_from_the_first_day, "symbol",
         "LEAK L28 at adjusted_to_the_last_day numbers=753/1616", "a split after 2018-05-21 moves what came before it",
         ("L28",), "P7", also=True),
    Case(p.names_that_lived_on, p.names_of_the_day, "long", "LEAK L24 at names_that_lived_on numbers=96/96",
         "gives no number to a listing that ends later, while it lives", ("L04", "L24"), "P7", also=True),
]  # fmt: skip


def plan(thing, kind, panel, also=False):
    """What is audited: functions with P7 on top where it is asked for."""
    if kind == "pipeline":
        return thing
    if kind == "module":
        return from_module(thing(), ("close", "volume"), name=thing.__name__)
    target = from_handler(thing) if kind == "handler" else from_function(thing, kind)
    checks = (lambda rng: metamorphic.probe(target, panel, rng),) if also else ()
    return AuditPlan(panel, (target,), checks=checks)


def found(thing, case, panel, also):
    """(findings, whether anything could not tell, whether every planted leak was caught)."""
    if case.kind == "splitter":
        result = from_splitter(thing, SAMPLES, case.horizon, case.per_date)
        return list(result.findings), result.status == "cannot tell", True
    report = audit(plan(thing, case.kind, panel, also), panel)
    cannot = any(r.status == "cannot tell" for r in report.results)
    return list(report.findings), cannot, report.canary_caught is not False


@pytest.fixture(scope="module")
def panel():
    return made_up_panel(rows=200, listings=16)


def plain(finding):
    """Its line without the place in the source, which moves with this file."""
    return dataclasses.replace(finding, source="").line()


def said_in_the_doc(line):
    """The document prints the line as it was measured, up to the evidence."""
    assert line in DOC.read_text(encoding="utf-8"), line


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.leaky.__name__)
def test_the_leak_is_caught_by_its_class_and_line(case, panel):
    findings, cannot, _ = found(case.leaky, case, panel, case.also)
    assert not cannot
    assert tuple(sorted({f.leak for f in findings})) == case.classes
    (told,) = [f for f in findings if plain(f).startswith(case.line)]
    assert told.probe == case.probe
    assert case.fix in plain(told)
    said_in_the_doc(case.line)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.repaired.__name__)
def test_the_repaired_twin_passes(case, panel):
    functions = case.kind in ("symbol", "long", "handler")
    findings, cannot, canaries = found(case.repaired, case, panel, also=functions)
    assert [f.line() for f in findings] == []
    assert not cannot
    assert canaries, "a leak planted in the twin itself must be caught"


def test_every_twin_gives_numbers(panel):
    """A function that gave NaN everywhere would pass too."""
    for case in CASES:
        if case.kind in ("symbol", "long"):
            for f in (case.leaky, case.repaired):
                (values,) = from_function(f, case.kind).run(panel).values()
                assert np.isfinite(values).mean() > 0.5, f.__name__


def test_our_expressions_refuse_a_negative_ref(panel):
    with pytest.raises(HithertoError, match="Ref"):
        hitherto.build_features(panel, {"x": "Ref($close, -1)/$close"})


def test_our_splits_purge_what_qlibs_segments_leave(panel):
    """The same label and the same three stretches: our walk-forward drops two dates before each border."""
    label = forward_return(panel)
    admitted = np.isfinite(label.values[:, :, 0])
    (fold,) = WalkForward(train=None, valid=50, test=50, folds=1).split(label, admitted, 1)
    assert intervals.probe([fold], label, 1).status == "ok"
    touching = Fold(0, stretch(admitted, 0, 100), stretch(admitted, 100, 150), stretch(admitted, 150, 200),
                    np.arange(len(admitted)) < 100, 0)  # fmt: skip
    result = intervals.probe([touching], label, 1)
    assert {f.leak for f in result.findings} == {"L14"}
    assert {f.note for f in result.findings} == {
        "train labels reach into valid rows", "valid labels reach into test rows",
    }  # fmt: skip


def stretch(admitted, first, last):
    out = np.zeros_like(admitted)
    out[first:last] = admitted[first:last]
    return out


# ---- the same leaks when they lie in the data, where no code can betray them ----
def adjusted_before_it_was_read(panel, adjustment):
    """Prices multiplied by the factor over its last value, the factor gone."""
    fields = dict(panel.fields)
    ratio = fields.pop("factor")
    ratio = ratio / ratio[-1]
    fields |= {k: fields[k] * ratio for k in ("open", "high", "low", "close")}
    return panel.replace(fields=fields, adjustment=adjustment)


def test_a_panel_that_says_it_was_adjusted_later_gives_levels_away(panel):
    told = adjusted_before_it_was_read(panel, "restated_total_return")
    (found,) = audit(plan(p.price_level, "symbol", told, also=True)).findings
    assert (found.leak, found.probe) == ("L28", "P7")
    assert audit(plan(p.price_change, "symbol", told, also=True)).findings == ()
    said_in_the_doc(plain(found).split(" first=")[0])


def in_cents(panel):
    """The same market quoted as an exchange quotes it."""
    return panel.replace(fields={k: np.round(v, 2) if k in PRICES else v for k, v in panel.fields.items()})


def test_prices_in_cents_adjusted_before_they_were_read_and_called_raw(panel):
    """No code betrays it and no vintage is at hand: the cents of the last bars, missing from the first, do."""
    untold, raw = adjusted_before_it_was_read(in_cents(panel), "raw"), in_cents(panel)
    (told,) = audit(AuditPlan(untold, (from_function(p.price_level, "symbol"),))).findings
    line = "LEAK L28 at prices listings="
    assert plain(told).startswith(line)
    assert data.probe(raw).findings == ()
    said_in_the_doc(plain(told).split(" first=")[0])


UNSEEN = "nothing to compare with: no vintage, no dated list, and the code is innocent"


@pytest.mark.xfail(strict=True, reason=UNSEEN + "; prices without a tick show no cents")
def test_prices_without_a_tick_adjusted_before_they_were_read_and_called_raw(panel):
    untold = adjusted_before_it_was_read(panel, "raw")
    found = audit(plan(p.price_level, "symbol", untold, also=True)).findings
    assert [*found, *data.probe(untold).findings]


@pytest.mark.xfail(strict=True, reason=UNSEEN)
def test_a_file_that_holds_survivors_only(panel):
    rose = panel.fields["close"][-1] > np.nanmedian(panel.fields["close"], axis=0)
    survivors = panel.assets(np.flatnonzero(rose))
    found = audit(plan(p.names_of_the_day, "long", survivors, also=True)).findings
    assert [*found, *data.probe(survivors).findings]


def test_a_file_that_nobody_leaves_for_years_is_told():
    """What can be said without a list of the dead; on real data: 62 A-shares in 15 years, in test_audit_data."""
    long = made_up_panel(rows=900, listings=40)
    said = "L24: none of 40 listings ends in 3.4 years; a file of survivors looks so"
    assert data.probe(long).detail.endswith(said)
    listed = long.listed.copy()
    listed[700:, 5] = False
    assert "L24" not in data.probe(long.replace(listed=listed)).detail


def test_what_is_not_seen_is_called_not_assessed(panel):
    report = audit(plan(p.names_of_the_day, "long", panel, also=True))
    said = "; ".join(report.not_assessed)
    assert "P6 vintages (the data was given as known on one day)" in said
    assert "survivorship of the listings given" in said


@pytest.mark.xfail(strict=True, reason="a daily IC of 0.06 is below its limit of 0.1; P10 and known_at need no skill")
def test_a_faint_tone_joined_to_the_bar_that_trades_its_label(panel):
    assert audit(plan(p.tone, "symbol", p.news_read_as_of(panel, 1, strength=0.02), also=True)).findings


# ---- headlines labelled by the same day's return ----
def test_news_joined_to_the_bar_that_trades_its_label(panel):
    line = "LEAK L30 at tone dates="
    early, honest = p.news_read_as_of(panel, 1), p.news_read_as_of(panel, 0)
    report = audit(plan(p.tone, "symbol", early, also=True))
    (told,) = report.findings
    assert plain(told).startswith(line)
    assert told.probe == "P7"
    assert told.note.startswith("profit only if delay <= 0: IC ")
    assert audit(plan(p.tone, "symbol", honest, also=True)).findings == ()
    said_in_the_doc(plain(told).split(" first=")[0])


@pytest.fixture(scope="module")
def news():
    path = DATA / "news" / "zh_headlines_spy.parquet"
    if not path.exists():
        pytest.skip("no news/zh_headlines_spy.parquet beside the repository")
    return pd.read_parquet(path, columns=["date", "spy_return_same_day", "label"])


def spans(dates, later):
    """A label of one name: the return of the date itself (0) or of the next one (1), on rows of dates."""
    T = len(dates)
    row = np.arange(T, dtype=np.int32)[:, None, None] + np.int32(later)
    known = row < T
    returns = dates.to_numpy(np.float64)
    values = np.where(known[:, 0, 0], returns[np.minimum(row[:, 0, 0], T - 1)], np.nan)[:, None, None]
    rows = np.where(known, row, -1).astype(np.int32)
    return Label(values, rows, rows, ("spy",), (later,))


def test_real_news_label_of_the_same_day_starts_at_its_decision(news):
    dates = news.groupby("date")["spy_return_same_day"].first().sort_index()
    label, repaired = spans(dates, 0), spans(dates, 1)
    folds = {}
    for one in (label, repaired):
        admitted = np.isfinite(one.values[:, :, 0])
        folds[one.horizons[0]] = list(WalkForward(train=None, valid=100, test=200, folds=2).split(one, admitted, 1))
    result = intervals.probe(folds[0], label, 1)
    (told,) = result.findings
    T = len(dates)
    line = f"LEAK L11 at label labels={T}/{T}"
    assert plain(told) == (f"{line} fix: enter the label after the decision bar (start at or before the decision bar)")
    assert intervals.probe(folds[1], repaired, 1).status == "ok"
    said_in_the_doc(line)


def test_real_news_known_before_the_close_that_labels_it(news):
    early, late = p.tables_of_news(news)
    panel = made_up_panel(rows=60, listings=2)
    report = audit(AuditPlan(panel, tables={"headlines": early}))
    (told,) = report.findings
    line = f"LEAK L27 at headlines rows={len(news)}/{len(news)}"
    assert plain(told).startswith(line)
    assert told.note == f"known_at {early['known_at'][0]} lies before event_time {early['event_time'][0]}"
    assert audit(AuditPlan(panel, tables={"headlines": late})).findings == ()
    said_in_the_doc(line)


# ---- the same history as published on several dates ----
def restated(panel):
    """A snapshot after two of the names were split 2 for 1, as vendors print it, and the one before."""
    fields = {k: v for k, v in panel.fields.items() if k != "factor"}
    before = panel.replace(fields=fields, adjustment="raw")
    k = np.where(np.arange(panel.shape[1]) < 2, 0.5, 1.0)
    after = {n: fields[n] * k for n in ("open", "high", "low", "close")} | {"volume": fields["volume"] / k}
    return before.rows(150), before.replace(fields=after)


def test_restated_snapshots_levels_are_caught_and_changes_pass(panel):
    then, latest = restated(panel)
    vintages = {then.sessions[-1]: then}
    (told,) = audit(AuditPlan(latest, (from_function(p.price_level),), vintages=vintages)).findings
    line = plain(told).split(" first=")[0]
    assert (told.leak, told.probe, told.where) == ("L28", "P6", "price_level")
    assert told.old - told.new == pytest.approx(np.log(2))
    report = audit(AuditPlan(latest, (from_function(p.price_change),), vintages=vintages))
    assert report.findings == ()
    assert [r.status for r in report.results if r.probe == "P6"] == ["ok"]
    said_in_the_doc(line)


@pytest.fixture(scope="module")
def snapshots():
    import polars as pl

    folder = DATA / "us_sp500_vintages"
    if not folder.exists():
        pytest.skip("no us_sp500_vintages beside the repository")

    def table(name):
        columns = ["date", "symbol", "open", "close", "volume"]
        made = pl.read_parquet(folder / f"sp500_daily_vintage_{name}.parquet", columns=columns)
        made = made.with_columns(pl.col("symbol").cast(pl.String)).drop_nulls("close")
        return made.unique(["date", "symbol"], keep="last", maintain_order=True)

    tables = [table("2017-08"), table("2018-02")]
    names = sorted(set(tables[0]["symbol"]) | set(tables[1]["symbol"]))
    kept = {*names[::12], "HSIC", "ISRG", "LEN"}  # three whose past was rescaled between the snapshots
    return [hitherto.read_bars(t.filter(pl.col("symbol").is_in(kept))) for t in tables]


def test_real_snapshots_levels_are_caught_and_changes_pass(snapshots):
    older, latest = snapshots
    vintages = {"2017-08-11": older}
    (told,) = audit(AuditPlan(latest, (from_function(p.price_level, "wide"),), vintages=vintages)).findings
    line = plain(told).split(" evidence")[0]
    assert (told.leak, told.probe, told.hits, told.first) == ("L28", "P6", 3 * 1136, "2013-02-08")
    report = audit(AuditPlan(latest, (from_function(p.price_change, "wide"),), vintages=vintages))
    assert report.findings == ()
    assert [r.status for r in report.results if r.probe == "P6"] == ["ok"]
    said_in_the_doc(line)


def test_real_snapshots_members_known_later_move_a_rank(snapshots):
    """FinRL#433 on real lists: ranks among the members of 2018-02 are not those of 2017-08."""
    older, latest = snapshots
    plan = AuditPlan(latest, (from_function(p.rank_of_the_move, "wide"),), vintages={"2017-08-11": older})
    (told,) = [f for f in audit(plan).findings if f.leak == "L25"]
    assert told.probe == "P6"
    assert told.note.startswith("membership as known later: ")
    said_in_the_doc(plain(told).split(" evidence")[0])
