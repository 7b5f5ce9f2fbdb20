"""P7 on tables of events: what is published after a decision may not move it; honest joins stay silent."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitherto.audit import audit, from_function, made_up_panel
from hitherto.audit.adapters import EventTarget, instants
from hitherto.audit.probes import events, metamorphic
from hitherto.errors import ConfigError
from hitherto.seeds import Stream

RNG = Stream(3, "events")
PANEL = made_up_panel(150, 6, seed=2)
CLOSE = pd.Timedelta(hours=15)  # the made-up panel decides at 15:00 UTC


def table(count=12, seed=0, symbols=False):
    """Events at any hour of any day, some at the very minute of a decision."""
    g = np.random.default_rng(seed)
    first, last = PANEL.sessions[5], PANEL.sessions[-5]
    days = np.sort(g.choice(np.arange(first, last), count, replace=False)).astype("datetime64[ns]")
    hours = g.integers(0, 24, count)
    hours[::4] = 15
    out = pd.DataFrame({
        "known_at": days + hours * np.timedelta64(3_600_000_000_000, "ns"), "tone": g.standard_normal(count),
        "urgent": g.random(count) < 0.5, "title": [f"story {i}" for i in range(count)],
    })  # fmt: skip
    return out.assign(symbol=g.choice(PANEL.symbols, count)) if symbols else out


NEWS = table()


def in_time(frame, news):
    """As of the decision at 15:00: an event of that very minute is known."""
    rows = pd.DataFrame({"known_at": frame.index + CLOSE})
    return pd.Series(pd.merge_asof(rows, news, on="known_at")["tone"].to_numpy(), frame.index)


def by_date(frame, news):
    """By date alone: the evening's events count for the bar that has closed."""
    rows = pd.DataFrame({"known_at": frame.index + pd.Timedelta(hours=23)})
    return pd.Series(pd.merge_asof(rows, news, on="known_at")["tone"].to_numpy(), frame.index)


def by_date_a_session_later(frame, news):
    return by_date(frame, news).shift(1)


def two_days_early(frame, news):
    rows = pd.DataFrame({"known_at": frame.index + CLOSE + pd.Timedelta(days=2)})
    return pd.Series(pd.merge_asof(rows, news, on="known_at")["tone"].to_numpy(), frame.index)


def against_all_news(frame, news):
    return in_time(frame, news) - news["tone"].mean()


def against_news_so_far(frame, news):
    return in_time(frame, news) - in_time(frame, news.assign(tone=news["tone"].expanding().mean()))


def count_of_all(frame, news):
    return pd.Series(float(len(news)), frame.index)


def urgent_so_far(frame, news):
    return in_time(frame, news.assign(tone=news["urgent"].cumsum().astype(float)))


def urgent_today(frame, news):
    return by_date(frame, news.assign(tone=news["urgent"].astype(float)))


def length_of_title_by_date(frame, news):
    """Other stories have other titles: a text is a content like any other."""
    return by_date(frame, news.assign(tone=news["title"].str[-2:].str.strip().astype(float)))


def look(f, news=NEWS, panel=PANEL, gets="symbol", **options):
    return events.probe(from_function(f, gets, events=news), panel, RNG, **options)


@pytest.mark.parametrize(
    ("f", "leak", "reach"),
    [(by_date, "L30", 1), (two_days_early, "L30", 2), (urgent_today, "L30", 1), (length_of_title_by_date, "L30", 1)],
)
def test_what_is_published_later_must_not_move_a_number(f, leak, reach):
    result = look(f)
    (found,) = result.findings
    assert (result.probe, result.status, found.leak, found.where) == ("P7", "LEAK", leak, f.__name__)
    assert found.reach == reach
    assert result.hits == {f.__name__: (found.hits, 6)}
    assert found.note.startswith("what is published after a decision moves it (")


@pytest.mark.parametrize("f", [against_all_news, count_of_all])
def test_a_statistic_of_the_whole_table_is_told_as_such(f):
    (found,) = look(f).findings
    assert found.leak == "L04"
    last = int(events.first_rows(NEWS, PANEL).max())
    # The earliest number that moves: that of the first row that has one.
    first = int(np.isfinite(from_function(f, events=NEWS).run(PANEL)[f.__name__]).any(axis=1).argmax())
    assert found.reach == last - first


@pytest.mark.parametrize("f", [in_time, by_date_a_session_later, against_news_so_far, urgent_so_far])
def test_honest_joins_stay_silent(f):
    result = look(f, cuts=12)
    assert (result.status, result.findings) == ("ok", ())
    assert result.tried == "12 events, those after a decision told otherwise and dropped"
    assert result.cuts[1] >= 9


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(1, 10))
def test_any_table_joined_in_time_is_honest_and_joined_an_hour_too_late_is_not(seed, count):
    news = table(count, seed)
    assert look(in_time, news, PANEL.assets(np.arange(2)), cuts=3).status == "ok"
    # Every event moves to just after its decision: whoever looks an hour ahead must be caught.
    late = news.assign(known_at=news["known_at"].dt.normalize() + CLOSE + pd.Timedelta(minutes=1))

    def hasty(frame, events):
        rows = pd.DataFrame({"known_at": frame.index + CLOSE + pd.Timedelta(hours=1)})
        return pd.Series(pd.merge_asof(rows, events, on="known_at")["tone"].to_numpy(), frame.index)

    on_sessions = late[late["known_at"].dt.normalize().isin(PANEL.sessions)]
    if len(on_sessions):
        assert look(hasty, on_sessions, PANEL.assets(np.arange(2)), cuts=3).status == "LEAK"


def zero_without_news(frame, news):
    """0 for the names that never make news, NaN before the first of the others: that first one is foreseen."""
    return in_time(frame, news) if len(news) else pd.Series(0.0, frame.index)


def rows_of_all(frame, news):
    """A long frame joined by symbol, by date alone."""
    rows = frame[[]].reset_index().assign(known_at=lambda t: t["date"] + pd.Timedelta(hours=23))
    out = pd.merge_asof(rows.sort_values("known_at"), news, on="known_at", by="symbol")
    return out.set_index(["date", "symbol"])["tone"].reindex(frame.index)


def wide(frame, news):
    tone = by_date(frame["close"].iloc[:, 0].to_frame(), news)
    return frame["close"].mul(0.0).add(tone, axis=0)


def from_panel(panel, news):
    at = np.searchsorted(instants(news), panel.times + 8 * 3_600_000_000_000, side="right") - 1
    tone = np.where(at >= 0, news["tone"].to_numpy()[np.maximum(at, 0)], np.nan)
    return {"tone": np.repeat(tone[:, None], len(panel.symbols), axis=1)}


def test_every_kind_of_function_can_take_events():
    named = table(40, symbols=True)
    assert look(in_time, named).status == "ok"
    assert look(zero_without_news, named).status == "LEAK"
    assert look(rows_of_all, named, gets="long").findings[0].leak == "L30"
    assert look(wide, gets="wide").findings[0].leak == "L30"
    assert look(from_panel, gets="panel").findings[0].leak == "L30"
    seen = []

    def f(frame, news):
        seen.append(set(news["symbol"]))
        return frame.close

    from_function(f, events=named).run(PANEL)
    assert all(len(one) <= 1 for one in seen)
    assert set().union(*seen) == set(named["symbol"])


def test_code_that_writes_into_its_table_changes_a_copy():
    def spoils(frame, news):
        out = in_time(frame, news)
        news["tone"] = 0.0
        return out

    before = NEWS.copy()
    target = from_function(spoils, events=NEWS)
    assert np.array_equal(target.run(PANEL)["spoils"], target.run(PANEL)["spoils"], equal_nan=True)
    pd.testing.assert_frame_equal(NEWS, before)
    assert look(spoils).status == "ok"


def test_other_contents_keep_names_and_times():
    changed = np.arange(len(NEWS)) >= 5
    other = events.told_otherwise(table(symbols=True), changed, RNG)
    old = table(symbols=True)
    for name in ("known_at", "symbol"):
        assert (other[name] == old[name]).all()
    for name in ("tone", "urgent"):
        assert (other[name][changed] != old[name][changed]).all()
        assert (other[name][~changed] == old[name][~changed]).all()
    assert other["tone"].dtype == np.float64
    assert set(other["title"]) <= set(old["title"])
    pd.testing.assert_frame_equal(other, events.told_otherwise(table(symbols=True), changed, RNG))


def test_an_event_at_the_minute_of_a_decision_is_known_to_it():
    when = PANEL.times[[10, 11]].astype("datetime64[ns]")
    news = pd.DataFrame({"known_at": [when[0], when[0] + np.timedelta64(1, "ns"), when[1]], "tone": 1.0})
    assert events.first_rows(news, PANEL).tolist() == [10, 11, 11]
    zoned = news.assign(known_at=news["known_at"].dt.tz_localize("UTC").dt.tz_convert("Asia/Shanghai"))
    assert events.first_rows(zoned, PANEL).tolist() == [10, 11, 11]
    texts = pd.DataFrame({"known_at": ["2018-01-15 15:00", "2018-01-15T23:00:00+08:00"]})
    assert len(set(instants(texts))) == 1


def test_the_audit_of_the_bars_goes_on_and_relations_that_say_nothing_are_named():
    target = from_function(in_time, events=NEWS)
    assert isinstance(target, EventTarget)
    report = audit(target, PANEL)
    assert report.exit_code == 0
    said = metamorphic.outcomes(target, PANEL, RNG)
    assert {o.relation: o.status for o in said}["clock"] == "not assessed"
    named = metamorphic.outcomes(from_function(in_time, events=table(symbols=True)), PANEL, RNG, ["rename", "dead"])
    assert [(o.status, o.note) for o in named] == [("not assessed", "its events are joined by name")] * 2


def test_what_cannot_be_asked_is_said():
    early = NEWS.assign(known_at=PANEL.sessions[0].astype("datetime64[ns]"))
    nothing = look(in_time, early)
    assert (nothing.status, nothing.detail) == (
        "not assessed", "no event was published after a decision of this panel",
    )  # fmt: skip

    def brittle(frame, news):
        if len(news) < len(NEWS):
            raise ValueError("a story is missing")
        return in_time(frame, news)

    said = look(brittle)
    assert said.status == "cannot tell"
    assert said.detail == "dropped: brittle raised ValueError: a story is missing"


@pytest.mark.parametrize(
    ("news", "said"),
    [
        (NEWS.drop(columns="known_at"), "audit: events need a pandas table with a column known_at: when each one was"),
        ({"known_at": [1]}, "audit: events need a pandas table with a column known_at"),
        (NEWS.assign(known_at="soon"), "audit: the events' known_at holds what is no time: "),
        (NEWS.assign(known_at=2018), "audit: the events' known_at holds what is no time: numbers; give dates or ISO"),
        (NEWS.assign(known_at=pd.NaT), "audit: the events' known_at is empty in row 0; an event without a time is not"),
    ],
)
def test_a_table_without_times_is_refused(news, said):
    with pytest.raises(ConfigError) as caught:
        from_function(in_time, events=news)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_same_seed_same_bits():
    first, second = look(by_date), look(by_date)
    assert (first.findings, first.hits, first.cuts) == (second.findings, second.hits, second.cuts)
