"""Splits against a slow, separately written definition: sets of rows as bits of integers, one sample at a time."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitherto.audit import made_up_panel
from hitherto.errors import ConfigError
from hitherto.labels import Label, forward_return
from hitherto.split import CombinatorialPurged, Dates, WalkForward, make_fold, settled
from hitherto.study.core import admitted

CASES = 10_000
CHUNKS = 10


def random_label(rng, T, N, outputs):
    """Labels with random spans: some missing, some moved far by suspensions."""
    t = np.arange(T)[:, None, None]
    start = np.minimum(t + 1 + rng.integers(0, 2, (T, N, outputs)), T)
    end = (
        start
        + rng.integers(0, 4, (T, N, outputs))
        + np.where(rng.random((T, N, outputs)) < 0.1, rng.integers(0, 9, (T, N, outputs)), 0)
    )
    none = (end >= T) | (rng.random((T, N, outputs)) < 0.1)
    start, end = np.where(none, -1, start).astype(np.int32), np.where(none, -1, end).astype(np.int32)
    values = np.where(none, np.nan, 0.0)
    return Label(values, start, end, tuple(f"y{o}" for o in range(outputs)), (1,) * outputs)


def random_case(seed):
    """(splitter, label, admitted, lookback, start) of one random case; small, so that edges are common."""
    rng = np.random.default_rng(seed)
    N, outputs, lookback = int(rng.integers(1, 4)), int(rng.integers(1, 3)), int(rng.integers(1, 7))
    start = int(rng.integers(0, 3))
    if seed % 2:
        train, valid, test, gap = (
            int(x) for x in (rng.integers(3, 9), rng.integers(1, 5), rng.integers(1, 8), rng.integers(0, 4))
        )
        T = start + train + valid + gap + int(rng.integers(1, 16))
        splitter = WalkForward(
            train if rng.random() < 0.7 else None, valid, test,
            folds=int(rng.integers(1, 4)) if rng.random() < 0.5 else None, gap=gap,
            mode="rolling" if rng.random() < 0.5 else "expanding",
        )  # fmt: skip
    else:
        T = start + int(rng.integers(8, 30))
        groups = int(rng.integers(2, 5))
        splitter = CombinatorialPurged(
            groups,
            int(rng.integers(1, groups)),
            embargo=int(rng.integers(0, 4)),
            valid=float(rng.choice([0.0, 0.1, 0.3])),
        )
    label = random_label(rng, T, N, outputs)
    return splitter, label, rng.random((T, N)) < 0.85, lookback, start


def bits(first, last):
    """The closed row interval as a set of bits; empty when last < first, rows below 0 do not exist."""
    first = max(first, 0)
    return (1 << (last + 1)) - (1 << first) if last >= first else 0


def label_end(label, t, n):
    """The last row that a sample reads: its own, or where its longest label ends."""
    return max([t, *(int(e) for e in label.end[t, n])])


def sample_ends(label):
    """Rows from which on each sample's labels are known, or known to be none, one at a time; T: nobody ever knows."""
    T, N, outputs = label.end.shape
    out = [[t] * N for t in range(T)]
    for n in range(N):
        traded = sorted({int(e) for e in label.end[:, n].ravel() if 0 <= e < T})
        for t in range(T):
            for o in range(outputs):
                end = int(label.end[t, n, o])
                if end < 0:
                    due = t + label.horizons[o] + (1 if label.entry == "next_close" else 0)
                    end = next((e for e in traded if e >= due), T)
                out[t][n] = max(out[t][n], end)
    return out


def stage_bits(label, rows, admitted, embargo):
    """Rows occupied by a stage: each unbroken run from its first decision to its last label end, and the embargo."""
    taken, run = 0, []
    for i, t in enumerate(rows):
        run.append(t)
        if i + 1 == len(rows) or rows[i + 1] != t + 1:
            last = max(
                [run[-1], *(label_end(label, r, n) for r in run for n in range(admitted.shape[1]) if admitted[r, n])]
            )
            taken |= bits(run[0], last + embargo)
            run = []
    return taken


def rows_of(splitter, T, start):
    """(train, valid, test) row lists of every fold, written from the docstrings of the splitters."""
    if isinstance(splitter, CombinatorialPurged):
        yield from combinatorial_rows(splitter, T, start)
        return
    s = splitter
    before = (s.train or 1) + s.valid + s.gap
    tests = []
    if s.folds is not None and start + before + s.folds * s.test <= T - 1:
        first = T - s.folds * s.test
    else:
        first = start + before
    while first < T and (s.folds is None or len(tests) < s.folds):
        tests.append(first)
        first += s.test
    for a in tests:
        valid_from = a - s.gap - s.valid
        train_from = max(start, valid_from - s.train) if s.mode == "rolling" and s.train else start
        yield (
            list(range(train_from, valid_from)),
            list(range(valid_from, a - s.gap)),
            list(range(a, min(a + s.test, T))),
        )


def combinatorial_rows(s, T, start):
    size, extra = divmod(T - start, s.groups)
    edges = [start]
    for g in range(s.groups):
        edges.append(edges[-1] + size + (g < extra))
    for code in sorted(
        (c for c in range(1 << s.groups) if bin(c).count("1") == s.tests), key=lambda c: chosen(c, s.groups)
    ):
        mine = chosen(code, s.groups)
        test = [t for g in mine for t in range(edges[g], edges[g + 1])]
        rest = [t for t in range(start, T) if t not in test]
        keep = len(rest) - int(len(rest) * s.valid)
        yield rest[:keep], rest[keep:], test


def chosen(code, groups):
    return tuple(g for g in range(groups) if code >> g & 1)


def violations(fold, label, admitted, lookback, rows, embargo):
    """Every broken promise of one fold, in words; and the masks that a sample-by-sample purge would keep."""
    train_rows, valid_rows, test_rows = rows
    N = admitted.shape[1]
    test = stage_bits(label, test_rows, admitted, embargo)
    valid = stage_bits(label, valid_rows, admitted, embargo)
    out, ends = [], sample_ends(label)
    expected = {"train": 0, "valid": 0, "test": 0}
    for name, stage, forbidden in (
        ("train", train_rows, test | valid),
        ("valid", valid_rows, test),
        ("test", test_rows, 0),
    ):
        mask = getattr(fold, name)
        inside = set(stage)
        for t in range(len(mask)):
            for n in range(N):
                occupied = bits(t - lookback + 1, label_end(label, t, n) if name == "test" else ends[t][n])
                keep = t in inside and admitted[t, n] and not occupied & forbidden
                expected[name] += bool(keep)
                if mask[t, n] and not keep:
                    out.append(f"{name} sample ({t}, {n}) touches a later stage or is not its own")
                if keep and not mask[t, n]:
                    out.append(f"{name} sample ({t}, {n}) was dropped without a reason")
    fitted = fitted_rows(fold.train, train_rows, test | valid, lookback)
    for t in np.flatnonzero(fold.rows != np.isin(np.arange(len(fold.rows)), fitted)):
        out.append(f"fitted row {t} is {'not ' * (not fold.rows[t])}used")
    before = int(admitted[train_rows].sum() + admitted[valid_rows].sum()) if train_rows or valid_rows else 0
    if fold.purged != before - expected["train"] - expected["valid"]:
        out.append(f"purged says {fold.purged}")
    return out


def fitted_rows(train, train_rows, taken, lookback):
    """Train rows whose window is free of later stages; behind one, only in runs with a train sample."""
    free = [t for t in train_rows if not bits(t - lookback + 1, t) & taken]
    first = (taken & -taken).bit_length() - 1 if taken else len(train)
    kept, run = [], []
    for i, t in enumerate(free):
        run.append(t)
        if i + 1 == len(free) or free[i + 1] != t + 1:
            kept += run if run[0] < first or train[run].any() else []
            run = []
    return kept


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_no_sample_touches_a_test_interval_in_ten_thousand_random_cases(chunk):
    purged = touched = 0
    for seed in range(chunk, CASES, CHUNKS):
        splitter, label, admitted, lookback, start = random_case(seed)
        folds = list(splitter.split(label, admitted, lookback, start))
        rows = list(rows_of(splitter, len(admitted), start))
        assert len(folds) == len(rows), (seed, splitter)
        for fold, own in zip(folds, rows, strict=True):
            wrong = violations(fold, label, admitted, lookback, own, getattr(splitter, "embargo", 0))
            assert not wrong, (seed, splitter, fold.index, wrong[:3])
            assert not (fold.train & fold.test).any()
            assert not (fold.train & fold.valid).any()
            assert not (fold.valid & fold.test).any()
            purged += fold.purged
            touched += int(fold.train.sum())
    # The cases are not empty: samples were both kept and dropped (thousands of each per chunk).
    assert purged > 1000
    assert touched > 1000


def test_the_property_sees_a_splitter_that_does_not_purge():
    splitter, label, admitted, lookback, start = random_case(1)
    caught = 0
    for seed in range(50):
        splitter, label, admitted, lookback, start = random_case(seed)
        for fold, (train, valid, test) in zip(
            splitter.split(label, admitted, lookback, start), rows_of(splitter, len(admitted), start), strict=True
        ):
            raw = np.zeros_like(admitted)
            raw[train] = admitted[train]
            object.__setattr__(fold, "train", raw)
            caught += bool(
                violations(fold, label, admitted, lookback, (train, valid, test), getattr(splitter, "embargo", 0))
            )
    assert caught > 50


def test_one_fold_given_by_dates():
    rng = np.random.default_rng(0)
    for _ in range(200):
        T, lookback = 30, int(rng.integers(1, 6))
        label = random_label(rng, T, 2, 1)
        admitted = rng.random((T, 2)) < 0.9
        spans = [(0, 9), (10, 16), (17, 29)]
        if rng.random() < 0.3:  # a test stretch before the train rows: windows may not reach back into it
            spans = [(12, 20), (21, 29), (0, 9)]
        fold = next(Dates(*spans).split(label, admitted, lookback))
        rows = tuple(list(range(a, b + 1)) for a, b in spans)
        assert not violations(fold, label, admitted, lookback, rows, 0)


def test_too_few_bars_is_a_plain_message():
    label = random_label(np.random.default_rng(0), 10, 1, 1)
    with pytest.raises(ConfigError, match=r"split: 10 bars cannot hold train 8 \+ valid 3 \+ gap 0 \+ one test bar"):
        list(WalkForward(8, 3, 5).split(label, np.ones((10, 1), bool), 1))
    with pytest.raises(ConfigError, match=r"tests must lie in 1\.\.3, got 4"):
        list(CombinatorialPurged(4, 4).split(label, np.ones((10, 1), bool), 1))


# ---- what is kept depends on what is known ----
def market(seed, T, N, share):
    """A random walk in which a name halts for long at times, and may not be listed at both ends."""
    rng = np.random.default_rng(seed)
    panel = made_up_panel(T, N, seed)
    halt = np.zeros((T, N), bool)
    listed = np.ones((T, N), bool)
    for n in range(N):
        for _ in range(int(rng.integers(0, 4))):
            a = int(rng.integers(0, T))
            halt[a : a + int(rng.integers(1, 25)), n] = True
        halt[:, n] |= rng.random(T) < share
        listed[: int(rng.integers(0, 8)), n] = False
        if rng.random() < 0.3:
            listed[int(rng.integers(T // 2, T)) :, n] = False
    return with_halts(panel, halt, listed)


def with_halts(panel, halt, listed):
    fields = {k: v if k == "factor" else np.where(halt | ~listed, np.nan, v) for k, v in panel.fields.items()}
    return panel.replace(fields=fields, suspended=halt & listed, listed=listed, universe=listed)


def other_future(panel, row, seed):
    """Another market from ``row`` on: other prices, other halts, other names that end."""
    rng = np.random.default_rng(seed)
    later = np.broadcast_to(np.arange(len(panel.times))[:, None] >= row, panel.shape)
    new = market(seed, *panel.shape, float(rng.choice([0.0, 0.1, 0.5])))
    stopped = later & (rng.random(panel.shape[1]) < 0.3)
    new = with_halts(new, new.suspended | stopped, new.listed)

    def joined(old, other):
        return np.where(later, other, old)

    masks = {m: joined(getattr(panel, m), getattr(new, m)) for m in ("listed", "suspended", "universe")}
    return panel.replace(fields={k: joined(v, new.fields[k]) for k, v in panel.fields.items()}, **masks)


def folds_on(splitter, panel, horizons, entry, lookback, start):
    return list(splitter.split(forward_return(panel, horizons, entry), admitted(panel), lookback, start))


def moved_by_the_future(splitter, panel, spans, entry, lookback, start, first_rows, seed):
    """(fold, stage, future) of every mask before a fold's row of ``first_rows`` that another future changes."""
    out = []
    for fold, at in zip(folds_on(splitter, panel, spans, entry, lookback, start), first_rows, strict=True):
        cases = {"goes on otherwise": other_future(panel, at, seed + 1)}
        if isinstance(splitter, WalkForward):
            cases["ends"] = panel.rows(at + 1)
        for said, other in cases.items():
            again = folds_on(splitter, other, spans, entry, lookback, start)[fold.index]
            for stage in ("train", "valid", "rows"):
                if not np.array_equal(getattr(fold, stage)[:at], getattr(again, stage)[:at]):
                    out.append((fold.index, stage, said))
    return out


def walk_rows(splitter, T, start):
    """The first test row of every fold of a walk."""
    return range(start + (splitter.train or 1) + splitter.valid + splitter.gap, T, splitter.test)


horizons = st.sampled_from([(1,), (5,), (1, 5), (3, 12)])
entries = st.sampled_from(["next_close", "next_open"])
shares = st.sampled_from([0.0, 0.1, 0.4])
walks = st.builds(
    lambda train, valid, gap: WalkForward(train, valid, 13, gap=gap, mode="rolling" if train else "expanding"),
    st.sampled_from([None, 25]), st.integers(0, 12), st.integers(0, 3),
)  # fmt: skip


@settings(max_examples=40)
@given(walks, st.integers(0, 10_000), horizons, entries, st.integers(1, 6), st.integers(0, 3), shares)
def test_what_follows_the_first_test_row_never_changes_a_walk(splitter, seed, spans, entry, lookback, start, share):
    panel = market(seed, 80, 3, share)
    first = walk_rows(splitter, 80, start)
    assert moved_by_the_future(splitter, panel, spans, entry, lookback, start, first, seed) == []
    for fold, at in zip(folds_on(splitter, panel, spans, entry, lookback, start), first, strict=True):
        assert not (fold.train | fold.valid)[at:].any()
        assert not fold.rows[at:].any()
        if not splitter.valid:
            continue
        # The train samples do not know the validation rows either.
        other = other_future(panel, at - splitter.gap - splitter.valid, seed + 2)
        assert np.array_equal(fold.train, folds_on(splitter, other, spans, entry, lookback, start)[fold.index].train)


@settings(max_examples=25)
@given(st.integers(0, 10_000), horizons, entries, st.integers(1, 6), st.integers(0, 5), shares)
def test_samples_before_all_tested_groups_do_not_know_them(seed, spans, entry, lookback, embargo, share):
    panel, starts = market(seed, 80, 3, share), [p[0] for p in np.array_split(np.arange(2, 80), 4)]
    groups, dates = CombinatorialPurged(4, 2, embargo, valid=0.2), Dates((5, 30), (31, 45), (46, 79))
    tested = [starts[a] for a in range(4) for _ in range(a + 1, 4)]
    assert moved_by_the_future(groups, panel, spans, entry, lookback, 2, tested, seed) == []
    assert moved_by_the_future(dates, panel, spans, entry, lookback, 2, [46], seed) == []


def own_row(label):
    """The rule as it was: a sample without a label ends at its own row."""
    return np.maximum(label.known_until(), np.arange(label.end.shape[0], dtype=np.int32)[:, None])


def test_the_property_sees_samples_kept_by_whether_their_name_trades_again(monkeypatch):
    monkeypatch.setattr("hitherto.split.settled", own_row)
    splitter, seen = WalkForward(25, 8, 13), set()
    for seed in range(10):  # fixed seeds: nothing left to luck
        panel = market(seed, 80, 3, 0.1)
        moved = moved_by_the_future(splitter, panel, (1, 5), "next_close", 3, 0, walk_rows(splitter, 80, 0), seed)
        seen |= {(stage, said) for _, stage, said in moved}
    assert seen >= {("valid", "goes on otherwise"), ("valid", "ends")}
    assert "rows" not in {stage for stage, _ in seen}


def test_when_a_sample_without_a_label_is_settled():
    """Name 0 halts on rows 4 and 5, name 1 from row 6 for good, name 2 trades on, name 3 on its first three rows."""
    T = 10
    trades = np.ones((T, 4), bool)
    trades[4:6, 0] = trades[6:, 1] = trades[3:, 3] = False
    panel = made_up_panel(T, 4)
    fields = {
        k: np.where(trades, np.broadcast_to(np.arange(1.0, T + 1)[:, None], (T, 4)), np.nan) for k in panel.fields
    }
    label = forward_return(panel.replace(fields=fields, suspended=~trades), (1,))
    assert settled(label)[:, :3].T.tolist() == [
        # exits at t + 2; rows 2 and 3 exit at 6 where it trades again, 3 and 4 cannot enter, the last two never end
        [2, 3, 6, 6, 6, 7, 8, 9, T, T],
        [2, 3, 4, 5, T, T, T, T, T, T],  # row 4 entered at 5, row 5 cannot: it may trade again, nobody knows
        [2, 3, 4, 5, 6, 7, 8, 9, T, T],
    ]
    assert settled(label)[:, 3].tolist() == [2] + [T] * 9
    due_later = dataclasses.replace(label, horizons=(3,))
    assert settled(due_later)[3, 0] == 7  # due at row 7, where a label of its name ends
    fold = make_fold(0, label, np.ones((T, 4), bool), 1, train=np.arange(5), valid=np.arange(0), test=np.arange(6, 9))
    kept = [np.flatnonzero(fold.train[:, n]).tolist() for n in range(4)]
    assert kept == [[0, 1], [0, 1, 2, 3], [0, 1, 2, 3], [0]]
    assert fold.purged == 20 - 11
