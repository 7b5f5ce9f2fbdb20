"""Splitters under audit: scikit-learn, skfolio and house splitters against the label spans of n dated samples."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from hitherto.audit.probes.intervals import splitter as count_overlaps
from hitherto.audit.verdict import ProbeResult
from hitherto.errors import ConfigError
from hitherto.labels import Label

Ints = NDArray[Any]


def from_splitter(
    splitter: Any, n: int, horizon: int, per_date: int = 1, lookback: int | None = None, name: str | None = None
) -> ProbeResult:
    """Count the train samples whose label spans overlap the test samples' spans, split by split (P10).

    splitter: an object with ``split(X)`` (its test part may be a list of parts, as skfolio's combinatorial one gives),
    a splitter of ours, a function of n, or pairs (train, test) of sample numbers or masks. n: samples, in the order of
    their dates, ``per_date`` of them on each. horizon: bars from a decision to the end of its label: sample i of date
    d = i // per_date occupies the closed rows [d, d + horizon]. lookback: rows of the input windows, then counted too
    (None: not looked at).

    Classes: L13 shuffled, L14 labels straddle the test's beginning, L15 overlap on other sides. Errors: ConfigError
    when it cannot be split so.
    """
    if n < 2 or horizon < 0 or per_date < 1 or (lookback is not None and lookback < 1):
        raise ConfigError(
            f"audit: n={n}, horizon={horizon}, per_date={per_date}, lookback={lookback}; use n >= 2, horizon >= 0, the "
            "others >= 1"
        )
    dates = np.arange(n) // per_date
    begin = None if lookback is None else dates - (lookback - 1)
    pairs = list(_pairs(splitter, n, horizon, per_date, lookback or 1))
    return count_overlaps(pairs, dates, dates + horizon, begin, name or _name(splitter))


def _name(splitter: Any) -> str:
    if isinstance(splitter, (list, tuple)):
        return "splits"
    return getattr(splitter, "__name__", None) or type(splitter).__name__


def _pairs(splitter: Any, n: int, horizon: int, per_date: int, lookback: int) -> Iterator[tuple[Ints, Ints]]:
    """Every (train, test) of a splitter; validation samples are trained on as far as test samples are concerned."""
    if hasattr(splitter, "split"):
        if {"label", "admitted"} <= set(inspect.signature(splitter.split).parameters):
            made: Iterable[Any] = _ours(splitter, n, horizon, per_date, lookback)
        else:
            made = _foreign(splitter, n, per_date)
    elif callable(splitter):
        made = cast("Iterable[Any]", splitter(n))
    else:
        made = splitter
    for pair in made:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise ConfigError(f"audit: {_name(splitter)} gave {type(pair).__name__}; give pairs (train, test)")
        train, test = pair
        whole = isinstance(test, (list, tuple)) and len(test) and np.ndim(test[0]) == 1
        yield np.asarray(train), np.concatenate([np.asarray(part) for part in test]) if whole else np.asarray(test)


def _foreign(splitter: Any, n: int, per_date: int) -> Iterable[Any]:
    """Splits of rows; one that insists on labels and groups gets the dates as groups."""
    x = np.zeros((n, 1))
    try:
        return list(splitter.split(x))
    except (ValueError, TypeError):
        return list(splitter.split(x, np.zeros(n), np.arange(n) // per_date))


def _ours(splitter: Any, n: int, horizon: int, per_date: int, lookback: int) -> Iterator[tuple[Ints, Ints]]:
    """Folds of ours over (dates, per_date) samples whose labels end ``horizon`` rows later."""
    dates = -(-n // per_date)
    shape = (dates, per_date)
    admitted = np.zeros(dates * per_date, bool)
    admitted[:n] = True
    rows = np.repeat(np.arange(dates, dtype=np.int32)[:, None], per_date, axis=1)[:, :, None]
    start, end = rows + np.int32(min(1, horizon)), rows + np.int32(horizon)
    # Every sample is taken to have a label, the last ones beyond the rows, as for anyone's splitter.
    label = Label(np.zeros(start.shape), start, end, ("made up",), (horizon,))
    for fold in splitter.split(label, admitted.reshape(shape), lookback):
        learned = (fold.train | fold.valid).ravel()[:n]
        yield np.flatnonzero(learned), np.flatnonzero(fold.test.ravel()[:n])
