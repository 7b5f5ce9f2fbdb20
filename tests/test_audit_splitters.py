"""Splitters against label spans: exact counts for scikit-learn's, skfolio's manner, and ours; properties on random
spans."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import GroupKFold, KFold, TimeSeriesSplit

from hitherto.audit import audit_splitter
from hitherto.audit.splitters import from_splitter
from hitherto.errors import ConfigError
from hitherto.split import CombinatorialPurged, Dates, WalkForward

N, H = 240, 5


def seen(result):
    """(class, overlapping samples, train samples) of every split with a finding."""
    return [(f.leak, f.hits, f.tried) for f in result.findings]


# ---- scikit-learn ----
@pytest.mark.parametrize(("gap", "overlapping"), [(0, 5), (1, 4), (4, 1), (5, 0), (9, 0)])
def test_time_series_split_is_counted_exactly(gap, overlapping):
    result = from_splitter(TimeSeriesSplit(5, gap=gap), N, H)
    # 240 samples in six parts of 40: train k holds 40 k - gap, of which the last 5 - gap labels reach the test rows.
    assert seen(result) == ([("L14", overlapping, 40 * k - gap) for k in range(1, 6)] if overlapping else [])
    assert result.status == ("LEAK" if overlapping else "ok")
    assert result.tried == "5 splits against label spans"
    assert result.target == "TimeSeriesSplit"


def test_a_gap_in_rows_is_too_short_for_many_rows_per_date():
    per = 20
    result = from_splitter(TimeSeriesSplit(3, gap=5), 1200, 1, per)
    # Part = 300 rows = 15 dates. Train ends 5 rows early: the last date keeps 15 of 20 rows, whose labels end at the
    # first test date.
    assert seen(result) == [("L14", 15, 300 * k - 5) for k in (1, 2, 3)]
    assert from_splitter(TimeSeriesSplit(3, gap=per), 1200, 1, per).status == "ok"


def test_shuffled_folds_are_l13_and_plain_folds_overlap_on_both_sides():
    result = from_splitter(KFold(5, shuffle=True, random_state=0), N, H)
    assert [f.leak for f in result.findings] == ["L13"] * 5
    line = result.findings[0].line()
    assert line.startswith("LEAK L13 at KFold.split0 samples=")
    assert line.endswith("fix: split in time, never shuffle overlapping samples (their spans overlap test spans)")
    plain = from_splitter(KFold(4), N, H)
    # Blocks of 60: five train labels reach into a test block from below, five test labels reach out of it above.
    assert seen(plain) == [("L15", 5, 180), ("L15", 10, 180), ("L15", 10, 180), ("L14", 5, 180)]


def test_folds_by_group_keep_dates_whole_but_mix_time():
    result = from_splitter(GroupKFold(4), N, H, 10)
    assert {f.leak for f in result.findings} <= {"L13", "L15"}
    assert len(result.findings) == 4


# ---- skfolio's manner: a test part may be a list, purging counts samples ----
class CombinatorialLike:
    """Two of six blocks are tested; ``purged_size`` samples before and after each test block are dropped."""

    def __init__(self, purged_size=0, embargo_size=0):
        self.purged_size, self.embargo_size = purged_size, embargo_size

    def split(self, X, y=None):
        parts = np.array_split(np.arange(len(X)), 6)
        for chosen in itertools.combinations(parts, 2):
            drop = set()
            for part in chosen:
                drop |= set(range(part[0] - self.purged_size, part[-1] + self.purged_size + self.embargo_size + 1))
            yield np.array([i for i in range(len(X)) if i not in drop]), list(chosen)


@pytest.mark.parametrize(("size", "bad"), [(0, 15), (H - 1, 15), (H, 0)])
def test_purging_by_count_is_right_from_the_horizon_on(size, bad):
    result = from_splitter(CombinatorialLike(size), N, H)
    assert len(result.findings) == bad
    assert result.cuts == (bad, 15)


def test_an_embargo_is_counted_with_windows_only():
    assert from_splitter(CombinatorialLike(H), N, H).status == "ok"
    windows = from_splitter(CombinatorialLike(H), N, H, lookback=9)
    # 15 choices: all but the three whose blocks leave nothing after the last one test at least one block that train
    # rows follow; the first of these rows look back over H dropped rows into the block's labels.
    assert windows.status == "LEAK"
    assert {f.leak for f in windows.findings} <= {"L14", "L15"}
    assert from_splitter(CombinatorialLike(H, embargo_size=8), N, H, lookback=9).status == "ok"


# ---- ours ----
@pytest.mark.parametrize("per_date", [1, 7])
@pytest.mark.parametrize("splitter", [
    WalkForward(80, 20, 30), WalkForward(None, 10, 25, folds=3, gap=2), WalkForward(60, 20, 40, mode="rolling"),
    CombinatorialPurged(6, 2), CombinatorialPurged(5, 1, embargo=3), Dates((0, 90), (91, 120), (121, 200)),
], ids=lambda s: type(s).__name__)  # fmt: skip
def test_our_splitters_do_not_overlap(splitter, per_date):
    result = from_splitter(splitter, N * per_date, H, per_date, lookback=9)
    assert (result.status, seen(result)) == ("ok", [])
    assert result.cuts[1] > 0


def test_functions_pairs_and_masks_are_taken():
    train, test = np.arange(100), np.arange(100, 120)
    mask = np.zeros(N, bool)
    mask[:100] = True
    for splitter, name in (
        (lambda n: [(train, test)], "<lambda>"), ([(train, test)], "splits"), ([(mask, test)], "splits"),
    ):  # fmt: skip
        result = from_splitter(splitter, N, H)
        assert seen(result) == [("L14", H, 100)]
        assert result.target == name
    assert from_splitter([(np.arange(95), test)], N, H, name="mine").target == "mine"
    both = from_splitter([(np.arange(101), test)], N, H)
    assert (both.findings[0].hits, both.findings[0].note) == (H + 1, "1 samples are in both")


@pytest.mark.parametrize(("call", "message"), [
    (lambda: from_splitter(KFold(2), 1, 1),
     "audit: n=1, horizon=1, per_date=1, lookback=None; use n >= 2, horizon >= 0, the others >= 1"),
    (lambda: from_splitter([3], N, H), "audit: splits gave int; give pairs (train, test)"),
])  # fmt: skip
def test_wrong_splitters_are_refused_in_one_line(call, message):
    with pytest.raises(ConfigError) as e:
        call()
    assert str(e.value) == message


# ---- properties ----
spans = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)), min_size=4, max_size=60)


def overlapping(start, end, train, test):
    """The slow definition: every train span against every test span."""
    return [i for i in train if any(start[i] <= end[j] and end[i] >= start[j] for j in test)]


@given(spans, st.integers(0, 59), st.integers(1, 20))
def test_a_correct_purge_of_random_label_spans_leaves_nothing(drawn, at, width):
    start = np.array(sorted(s for s, _ in drawn))
    end = start + np.array([h for _, h in drawn])
    at = at % len(start)
    test = np.arange(at, min(at + width, len(start)))
    train = np.setdiff1d(np.arange(len(start)), test)
    bad = overlapping(start, end, train, test)
    raw = audit_splitter([(train, test)], start, end)
    assert sum(f.hits for f in raw.findings) == len(bad)  # the exact count
    clean = np.setdiff1d(train, bad)
    assert audit_splitter([(clean, test)], start, end).findings == ()
    for one in bad:  # any single one that a purge forgets is found
        forgot = audit_splitter([(np.append(clean, one), test)], start, end)
        assert [f.hits for f in forgot.findings] == [1]


@given(st.integers(1, 12), st.integers(1, 6), st.integers(30, 120), st.integers(0, 3))
def test_a_purge_that_is_one_bar_short_is_found(horizon, per_date, dates, folds):
    n, first = dates * per_date, dates // 2
    test = np.arange(first * per_date, min(n, (first + 5 + folds) * per_date))

    def purged(bars):
        return [(np.arange(max(0, first - bars) * per_date), test)]

    assert from_splitter(purged(horizon), n, horizon, per_date).status == "ok"
    short = from_splitter(purged(horizon - 1), n, horizon, per_date)
    assert seen(short) == [("L14", per_date, max(0, first - horizon + 1) * per_date)]


@given(st.integers(1, 8), st.integers(1, 4), st.integers(1, 10), st.integers(5, 40), st.booleans())
def test_our_walk_forward_never_overlaps(horizon, per_date, lookback, test, rolling):
    mode = "rolling" if rolling else "expanding"
    splitter = WalkForward(40, 12, test, mode=mode)
    result = from_splitter(splitter, 120 * per_date, horizon, per_date, lookback)
    assert (result.status, seen(result)) == ("ok", [])
