"""Splits against a slow, separately written definition: sets of rows as bits of integers, one sample at a time."""

import numpy as np
import pytest

from hitherto.errors import ConfigError
from hitherto.labels import Label
from hitherto.split import CombinatorialPurged, Dates, WalkForward

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
    out = []
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
                occupied = bits(t - lookback + 1, label_end(label, t, n))
                keep = t in inside and admitted[t, n] and not occupied & forbidden
                expected[name] += bool(keep)
                if mask[t, n] and not keep:
                    out.append(f"{name} sample ({t}, {n}) touches a later stage or is not its own")
                if keep and not mask[t, n]:
                    out.append(f"{name} sample ({t}, {n}) was dropped without a reason")
    for t in np.flatnonzero(fold.rows):
        if t not in set(train_rows) or (test | valid) >> int(t) & 1:
            out.append(f"fitted row {t} is not a train row")
    before = int(admitted[train_rows].sum() + admitted[valid_rows].sum()) if train_rows or valid_rows else 0
    if fold.purged != before - expected["train"] - expected["valid"]:
        out.append(f"purged says {fold.purged}")
    return out


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
