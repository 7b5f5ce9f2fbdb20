"""P10: interval algebra. Count what statistics cannot see: labels and windows that reach into another stage's rows."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hitherto.audit.probes import since
from hitherto.audit.verdict import Finding, ProbeResult
from hitherto.errors import ConfigError
from hitherto.labels import Label
from hitherto.split import Fold, settled
from hitherto.windows import Windows

Ints = NDArray[Any]
SHUFFLED = 8  # more unbroken runs of test rows than any combinatorial split has


def probe(folds: Iterable[Fold], label: Label, lookback: int, windows: Iterable[Windows] = ()) -> ProbeResult:
    """Check folds of ours sample by sample, and that windows end at their decision.

    Counted per fold: train samples whose label or window (``lookback`` rows) touches the test rows [first decision,
    last label end] of any run of test rows; the same for validation samples; train labels that reach into validation;
    samples without a label that were kept though nobody knew yet whether their name would trade again; samples in two
    stages; fitted rows inside a later stage, or behind one with a window that reaches back into it or with no train
    sample around them; labels that start at or before their decision.
    """
    begun = time.perf_counter()
    folds = list(folds)
    T, N = label.end.shape[:2]
    t = np.repeat(np.arange(T)[:, None], N, axis=1)
    end = np.maximum(label.end.max(axis=2, initial=-1), t)
    known = np.where((label.end < 0).any(axis=2), settled(label), end)
    found: list[Finding] = []
    early = (label.start <= t[:, :, None]) & (label.start >= 0)
    if early.any():
        found.append(_finding("L11", "label", early, label.start >= 0, "labels", "start at or before the decision bar"))
    for fold in folds:
        found += _fold(fold, t, end, known, lookback)
    looked = 0
    for w in windows:
        looked += 1
        found += _windows(w)
    tried = f"{len(folds)} fold{'s' * (len(folds) != 1)}, label spans and windows of {lookback} rows" + (
        f", {looked} window sets" if looked else ""
    )
    status = "LEAK" if found else "ok" if folds else "not assessed"
    return ProbeResult("P10", "split", tried, status, findings=tuple(found), seconds=since(begun),
                       cuts=(sum(f.hits for f in found), sum(int(f.train.sum()) for f in folds)))  # fmt: skip


def splitter(
    splits: Iterable[tuple[Ints, Ints]], start: Ints, end: Ints, begin: Ints | None = None, name: str = "splitter"
) -> ProbeResult:
    """Check anyone's splitter: (train, test) sample indices per split, or boolean masks.

    start, end: (S,) closed span of each sample's label in any ordered unit (rows, ns; datetimes work), start being the
    decision; begin: (S,) first moment of its input window (None: windows are not looked at). A train sample must not
    overlap the span of any test sample.
    """
    begun = time.perf_counter()
    start, end = np.asarray(start), np.asarray(end)
    begin = start if begin is None else np.asarray(begin)
    found: list[Finding] = []
    count = 0
    for k, (train, test) in enumerate(splits):
        train, test = _index(train, len(start)), _index(test, len(start))
        for side, rows in (("train", train), ("test", test)):
            if len(rows) and (rows.max() >= len(start) or rows.min() < -len(start)):
                raise ConfigError(
                    f"audit: {name}.split{k} names {side} sample {int(rows[np.abs(rows).argmax()])} of {len(start)}; "
                    f"give row numbers below {len(start)}"
                )
        count += 1
        if not len(train) or not len(test):
            continue
        both = np.isin(train, test)
        bad = both | touches(begin[train], end[train], start[test], end[test])
        if bad.any():
            runs = _runs(np.isin(np.argsort(start, kind="stable"), test))
            first = start[train][bad]
            leak = "L13" if runs > SHUFFLED else "L14" if (first < start[test].min()).all() else "L15"
            note = f"{int(both.sum())} samples are in both" if both.any() else "their spans overlap test spans"
            found.append(_finding(leak, f"{name}.split{k}", bad, np.ones_like(bad), "samples", note))
    status = "LEAK" if found else "ok" if count else "not assessed"
    return ProbeResult("P10", name, f"{count} splits against label spans", status, findings=tuple(found),
                       cuts=(len(found), count), seconds=since(begun))  # fmt: skip


def touches(begin: Ints, end: Ints, start: Ints, stop: Ints) -> NDArray[np.bool_]:
    """Return for every closed span [begin, end] whether it meets any closed span [start, stop]."""
    order = np.argsort(start, kind="stable")
    furthest = np.maximum.accumulate(stop[order])
    before = np.searchsorted(start[order], end, side="right")  # spans that start no later than our end
    return (before > 0) & (furthest[np.maximum(before - 1, 0)] >= begin)


def _fold(fold: Fold, t: Ints, end: Ints, known: Ints, lookback: int) -> list[Finding]:
    """Every broken promise of one fold."""
    out: list[Finding] = []
    name = f"split.fold{fold.index}"
    both = (fold.train & fold.test) | (fold.valid & fold.test) | (fold.train & fold.valid)
    if both.any():
        out.append(_finding("L13", name, both, fold.train | fold.valid, "samples", "in two stages"))
    for stage, mask in (("train", fold.train), ("valid", fold.valid)):
        later = [("test", fold.test)] + ([("valid", fold.valid)] if stage == "train" else [])
        for other, target in later:
            if not mask.any() or not target.any():
                continue
            first, last = blocks(target, end)
            label_in = touches(t[mask], end[mask], first, last)
            window_in = touches(t[mask] - (lookback - 1), t[mask], first, last)
            runs = len(first)
            if label_in.any():
                leak = "L13" if runs > SHUFFLED else "L14"
                note = f"{stage} labels reach into {other} rows"
                out.append(_finding(leak, name, label_in, np.ones_like(label_in), "samples", note))
            open_ended = touches(t[mask], known[mask], first, last) & ~label_in
            if open_ended.any():
                note = f"{stage} samples without a label, whose names had not traded again by the {other} rows"
                out.append(_finding("L14", name, open_ended, np.ones_like(open_ended), "samples", note))
            # After a test run a window may not reach back into it; before validation nothing can reach.
            if other == "test" and (window_in & ~label_in).any():
                bad = window_in & ~label_in
                out.append(
                    _finding(
                        "L15", name, bad, np.ones_like(bad), "samples", f"{stage} windows reach back into {other} rows"
                    )
                )
    return out + _rows(fold, end, name, lookback)


def _rows(fold: Fold, end: Ints, name: str, lookback: int) -> list[Finding]:
    """Rows that fitted transforms may use: none in a later stage, and behind one only where samples are trained on."""
    T = len(fold.rows)
    taken = np.zeros(T, bool)
    behind = T
    for target in (fold.test, fold.valid):
        if target.any():
            for a, b in zip(*blocks(target, end), strict=True):
                behind = min(behind, int(a))
                # what lies behind the test may not look back into it; before the test every row may look back
                taken[a : b + (lookback if target is fold.test else 1)] = True
    bad = fold.rows & taken
    rows = np.flatnonzero(fold.rows)
    if fold.train.any():
        for run in np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1):
            late = run[run > behind]
            if len(late) and not fold.train[late].any():
                bad[late] = True
    return [_finding("L05", name, bad, fold.rows, "rows", "fitted rows lie in a later stage")] if bad.any() else []


def blocks(mask: NDArray[np.bool_], end: Ints) -> tuple[Ints, Ints]:
    """Return first and last row of every unbroken run of rows with samples, up to its last label end."""
    rows = np.flatnonzero(mask.any(axis=1))
    parts = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
    first = np.array([p[0] for p in parts])
    last = np.array([max(int(p[-1]), int(end[p][mask[p]].max())) for p in parts])
    return first, last


def _windows(windows: Windows, dates: int = 3) -> list[Finding]:
    """Gathered windows must be the rows t - L + 1 .. t of their listing."""
    plain = windows.with_(affine=None, instance=False)
    wrong = total = 0
    count = len(plain.offsets) - 1
    for d in sorted({0, count // 2, count - 1})[:dates] if count > 0 else []:
        batch = plain.gather([d])
        for b in range(len(batch.t)):
            t, n = int(batch.t[b]), int(batch.n[b])
            own = plain.features.values[t - plain.lookback + 1 : t + 1, n]
            seen = batch.x[:, b, : own.shape[1]]
            known = np.isfinite(own)
            wrong += not np.array_equal(seen[known], own[known])
            total += 1
    note = "a window is not made of the rows up to its decision"
    return [Finding("L11", "windows", "P10", wrong, total, of="windows", note=note)] if wrong else []


def _finding(leak: str, where: str, bad: Ints, of: Ints, unit: str, note: str) -> Finding:
    return Finding(leak, where, "P10", int(np.sum(bad)), int(np.sum(of)), of=unit, note=note)


def _index(samples: Ints, size: int) -> Ints:
    samples = np.asarray(samples)
    return np.flatnonzero(samples) if samples.dtype == bool and len(samples) == size else samples.astype(np.intp)


def _runs(inside: NDArray[np.bool_]) -> int:
    return int(np.sum(inside[1:] & ~inside[:-1]) + inside[0])
