"""Splits in time: walk-forward and combinatorial, purged per sample from label intervals.

A sample (t, n) occupies the rows [t - L + 1, end], L its lookback and ``end`` the last row its label reads. A train
or validation sample is dropped when it touches a later stage's rows [first decision, last label end]. Nobody
has to guess a purge length (Lopez de Prado 2018, ch. 7 purges by label overlap; windows are added here). A sample
without a label ends when it is known to have none (``settled``), so that what is kept never depends on what follows.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import ConfigError
from hitherto.labels import Label

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Fold:
    """One train / validation / test split.

    train, valid, test: (T, N) bool sample masks, disjoint, purged. rows: (T,) bool, the rows that fitted transforms
    may use: the train stretch before purging, but behind a later stage only rows whose window does not reach back into
    it, in runs where a train sample is left. purged: number of samples dropped for touching a later stage.
    """

    index: int
    train: Mask
    valid: Mask
    test: Mask
    rows: NDArray[np.bool_]
    purged: int


def settled(label: Label) -> NDArray[np.int32]:
    """Return (T, N) int32: the row at which every label of the sample is known, or known never to be; T when at none.

    A label that is there is known at its ``end``. One that is not there lacks its entry, or its exit has not come:
    only a later price tells. That is the first row, from the bar its horizon names on, at which a label of the listing
    ends: the exit would have been there at the latest. A name that has not traded again by then may do so any day.
    """
    T, N, outputs = label.end.shape
    rows = np.arange(T, dtype=np.int32)[:, None]
    traded = np.full((T + 1, N), T, np.int32)  # traded[r]: the first row >= r at which a label ends
    for o in range(outputs):
        t, n = np.nonzero((label.end[:, :, o] >= 0) & (label.end[:, :, o] < T))
        traded[label.end[t, n, o], n] = label.end[t, n, o]
    traded = np.minimum.accumulate(traded[::-1], axis=0)[::-1]
    out = np.broadcast_to(rows, (T, N)).copy()
    for o, horizon in enumerate(label.horizons):
        due = np.minimum(rows[:, 0] + horizon + (label.entry == "next_close"), T)
        np.maximum(out, np.where(label.end[:, :, o] >= 0, label.end[:, :, o], traded[due]), out=out)
    return out


def overlaps(end: NDArray[np.integer], lookback: int, blocks: list[tuple[int, int]]) -> Mask:
    """Return (T, N) bool: the rows [t - lookback + 1, end] of each sample touch any closed row interval of ``blocks``.

    end: (T, N) last row of each sample, as ``settled`` gives it.
    """
    begin = np.arange(end.shape[0], dtype=np.int32)[:, None] - (lookback - 1)
    hit = np.zeros(end.shape, bool)
    for first, last in blocks:
        hit |= (begin <= last) & (end >= first)
    return hit


def spans(label: Label, rows: NDArray[np.intp], samples: Mask, embargo: int = 0) -> list[tuple[int, int]]:
    """Return the closed row intervals that a stage occupies: decisions and label ends of each run of rows + embargo."""
    if not len(rows):
        return []
    cuts = np.flatnonzero(np.diff(rows) > 1) + 1
    out = []
    for run in np.split(rows, cuts):
        inside = label.known_until()[run][samples[run]]
        last = max(int(run[-1]), int(inside.max(initial=-1)))
        out.append((int(run[0]), last + embargo))
    return out


def make_fold(
    index: int, label: Label, admitted: Mask, lookback: int, *, train: NDArray[np.intp], valid: NDArray[np.intp],
    test: NDArray[np.intp], embargo: int = 0, end: NDArray[np.integer] | None = None,
) -> Fold:  # fmt: skip
    """Return the fold of the given rows (sorted, disjoint), train and valid purged against what comes after them.

    end: what ``settled(label)`` gives, from who makes many folds of one label.
    """
    T = admitted.shape[0]

    def stage(rows: NDArray[np.intp]) -> Mask:
        out = np.zeros_like(admitted)
        out[rows] = admitted[rows]
        return out

    masks = {"train": stage(train), "valid": stage(valid), "test": stage(test)}
    test_spans = spans(label, test, masks["test"], embargo)
    valid_spans = spans(label, valid, masks["valid"], embargo)
    before = int(masks["train"].sum() + masks["valid"].sum())
    # A validation sample may look back into train rows, as a test sample may: its inputs are the past. Its label may
    # not reach the test rows; when it lies after a test block its window may not reach back into them either.
    end = settled(label) if end is None else end
    masks["valid"] &= ~overlaps(end, _reach(lookback, valid, test), test_spans)
    masks["train"] &= ~overlaps(end, _reach(lookback, train, test), test_spans)
    masks["train"] &= ~overlaps(end, _reach(lookback, train, valid), valid_spans)
    rows = np.zeros(T, bool)
    rows[train] = True
    for occupied, reach in ((test_spans, _reach(lookback, train, test)), (valid_spans, _reach(lookback, train, valid))):
        for first, last in occupied:
            rows[first : last + reach] = False
    _keep_trained(rows, masks["train"], min((first for first, _ in [*test_spans, *valid_spans]), default=T))
    after = int(masks["train"].sum() + masks["valid"].sum())
    return Fold(index, masks["train"], masks["valid"], masks["test"], rows, before - after)


def _keep_trained(rows: NDArray[np.bool_], train: Mask, later: int) -> None:
    """Drop from ``rows`` the runs behind row ``later`` in which no train sample is left: nothing is fitted there."""
    kept = np.flatnonzero(rows)
    for run in np.split(kept, np.flatnonzero(np.diff(kept) > 1) + 1):
        if len(run) and run[0] > later and not train[run].any():
            rows[run] = False


def _reach(lookback: int, early: NDArray[np.intp], late: NDArray[np.intp]) -> int:
    """Windows only matter where some row of ``early`` lies after a row of ``late``."""
    return lookback if len(early) and len(late) and early.max() > late.min() else 1


@dataclass(frozen=True)
class WalkForward:
    """Train on the past, validate on what follows, test on the next stretch, move on.

    train, valid, test: lengths in bars; gap: bars left unused before the test. ``train=None`` grows from the first
    row. folds: at most this many, the last ones ("None": as many as fit).
    """

    train: int | None
    valid: int
    test: int
    folds: int | None = None
    gap: int = 0
    mode: Literal["rolling", "expanding"] = "expanding"

    def split(self, label: Label, admitted: Mask, lookback: int, start: int = 0) -> Iterator[Fold]:
        """Yield the folds over the rows from ``start`` on, oldest first."""
        T = admitted.shape[0]
        need = (self.train or 1) + self.valid + self.gap
        if T - start < need + 1:
            raise ConfigError(
                f"split: {T - start} bars cannot hold train {self.train} + valid {self.valid} + gap {self.gap} + one "
                "test bar; shorten train or valid, or read more bars"
            )
        room = T - start - need
        count = -(-room // self.test)
        first = start + need
        if self.folds is not None and self.folds < count:
            first = T - self.folds * self.test
            count = self.folds
        end = settled(label)
        for k in range(count):
            a = first + k * self.test
            test = np.arange(a, min(a + self.test, T))
            until = a - self.gap - self.valid
            begin = until - self.train if self.mode == "rolling" and self.train else start
            train, valid = np.arange(max(start, begin), until), np.arange(until, a - self.gap)
            yield make_fold(k, label, admitted, lookback, train=train, valid=valid, test=test, end=end)


@dataclass(frozen=True)
class Dates:
    """One fold given by rows: closed (first, last) row intervals."""

    train: tuple[int, int]
    valid: tuple[int, int]
    test: tuple[int, int]

    def split(self, label: Label, admitted: Mask, lookback: int, start: int = 0) -> Iterator[Fold]:
        """Yield the single fold; ConfigError when a span leaves the bars."""
        for name in ("train", "valid", "test"):
            a, b = getattr(self, name)
            if not 0 <= a <= b < admitted.shape[0]:
                raise ConfigError(
                    f"split: {name} rows {a}..{b} are not within the bars' rows 0..{admitted.shape[0] - 1}"
                )
        t, v, s = (np.arange(max(a, start), b + 1) for a, b in (self.train, self.valid, self.test))
        yield make_fold(0, label, admitted, lookback, train=t, valid=v, test=s)


@dataclass(frozen=True)
class CombinatorialPurged:
    """Every choice of ``tests`` of ``groups`` equal stretches as the test set, purged and embargoed.

    C(groups, tests) splits (Lopez de Prado 2018, ch. 12). embargo: further bars dropped after each test block.
    valid: the last share of the train rows of each split, used for early stopping.
    """

    groups: int = 6
    tests: int = 2
    embargo: int = 0
    valid: float = 0.1

    def split(self, label: Label, admitted: Mask, lookback: int, start: int = 0) -> Iterator[Fold]:
        """Yield the folds in lexicographic order of their test groups."""
        if not 1 <= self.tests < self.groups:
            raise ConfigError(f"split: tests must lie in 1..{self.groups - 1}, got {self.tests}")
        parts = np.array_split(np.arange(start, admitted.shape[0]), self.groups)
        end = settled(label)
        for k, chosen in enumerate(itertools.combinations(range(self.groups), self.tests)):
            test = np.concatenate([parts[g] for g in chosen])
            rest = np.concatenate([parts[g] for g in range(self.groups) if g not in chosen])
            cut = len(rest) - int(len(rest) * self.valid)
            yield make_fold(k, label, admitted, lookback, train=rest[:cut], valid=rest[cut:], test=test,
                            embargo=self.embargo, end=end)  # fmt: skip
