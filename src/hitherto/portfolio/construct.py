"""Construct: scores (T, N) become target weights. Row t reads rows 0..t only; the exchange decides what gets filled.

A scheduled row is every ``every``-th bar from the first bar on which anything is known. A scheduled row without a
usable score decides nothing: the shares are kept. Equal scores are ordered by column, so that results repeat exactly.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import ConfigError, DataError
from hitherto.portfolio.base import Weights

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def topk(scores: Floats, mask: Mask, k: int, every: int = 1) -> Weights:
    """Hold the ``k`` best names at 1/k each.

    scores: (T, N) float64, NaN = no opinion; mask: (T, N) bool, names that may be held. With fewer than k candidates
    each still gets 1/k and the rest stays in cash.
    """
    from hitherto.portfolio import kernels

    scores, mask, known = usable(scores, mask, every)
    _check_k(k)
    values = np.zeros(scores.shape)
    decided = scheduled(known > 0, every)
    kernels.top(scores, mask, decided, k, values)
    return Weights(f"top-{k}", values, decided)


def topk_dropout(scores: Floats, mask: Mask, k: int, drop: int, every: int = 1) -> Weights:
    """Hold ``k`` names at 1/k each and replace at most the ``drop`` worst of them per rebalance (Qlib's TopkDropout).

    With H the names held, today = the best (drop + k - |H|) candidates outside H; sell = names of H among the ``drop``
    worst of H and today together; buy = the best (|sell| + k - |H|) of today. The first rebalance is the top k.
    A held name without a score, or outside the mask, at row t ranks below all others and leaves through the same
    quota: that it has no score is known at t. It is a target: a suspended name stays in the book until the exchange
    can sell it. With no candidate the worst are sold all the same, as in Qlib.
    Differs from Qlib in one thing: all names are brought back to 1/k at each rebalance, not only the bought ones.
    Source: Qlib, ``TopkDropoutStrategy``.
    """
    from hitherto.portfolio import kernels

    scores, mask, known = usable(scores, mask, every)
    _check_k(k)
    if not 0 <= drop <= k:
        raise ConfigError(f"topk_dropout: drop must lie in 0..k = 0..{k}, got {drop}")
    values = np.zeros(scores.shape)
    decided = scheduled(known > 0, every)
    kernels.top_dropout(scores, mask, decided, k, drop, values)
    return Weights(f"top-{k}-drop-{drop}", values, decided)


def long_short(
    scores: Floats, mask: Mask, *, k: int | None = None, quantile: float | None = None, every: int = 1,
    gross: float = 2.0,
) -> Weights:  # fmt: skip
    """Buy the best and sell short the worst names in equal amounts: net 0, gross ``gross`` (2.0 = +100 % and -100 %).

    Give ``k`` names a side, or ``quantile`` in (0, 0.5]: floor(quantile x candidates), at least one. A side never takes
    more than half of the candidates; each of its m names gets gross / 2 / m. A date with fewer than two candidates
    decides nothing.
    """
    if (k is None) == (quantile is None):
        raise ConfigError("long_short: give either k (names a side) or quantile (a share of the names), not both")
    if quantile is not None and not 0 < quantile <= 0.5:
        raise ConfigError(f"long_short: quantile must lie in (0, 0.5], got {quantile:g}")
    if not (np.isfinite(gross) and gross > 0):
        raise ConfigError(f"long_short: gross must be a positive fraction of capital, got {gross:g}")
    if k is not None:
        _check_k(k)
    from hitherto.portfolio import kernels

    scores, mask, known = usable(scores, mask, every)
    values = np.zeros(scores.shape)
    decided = scheduled(known >= 2, every)
    kernels.both_ends(scores, mask, decided, known, k or 0, quantile or 0.0, float(gross), values)
    side = f"{k}" if k is not None else f"{100 * (quantile or 0.0):g}%"
    return Weights(f"long-short-{side}", values, decided)


def quantiles(scores: Floats, mask: Mask, q: int = 5, every: int = 1) -> list[Weights]:
    """Cut the names of each date into ``q`` quantiles of the score and hold each one at equal weights.

    Returns q Weights, quantile 1 (the lowest scores) first, q last, as alphalens counts them; each sums to 1. Sizes are
    those of ``pandas.qcut`` on the ranks r = 0..m-1: quantile b holds (b - 1)(m - 1)/q < r <= b(m - 1)/q, and 1 rank 0.
    Ties are cut by column (the lower column counts as better), so that no quantile is ever empty.
    A date with fewer than q candidates decides nothing. scores: (T, N) float64, NaN = no opinion; mask: (T, N) bool.
    """
    if q < 2:
        raise ConfigError(f"quantiles: q must be a whole number of quantiles >= 2, got {q}")
    from hitherto.portfolio import kernels

    scores, mask, known = usable(scores, mask, every)
    decided = scheduled(known >= q, every)
    of = np.full(scores.shape, -1, np.int16)
    kernels.bins(scores, mask, decided, q, of)
    out = []
    for b in range(q):
        values = np.zeros(scores.shape)
        kernels.alike(of, b, decided, values)
        out.append(Weights(f"quantile {b + 1} of {q}", values, decided.copy()))
    return out


def score_weighted(
    scores: Floats, mask: Mask, *, long_only: bool = False, kind: Literal["score", "rank"] = "score", every: int = 1,
    gross: float = 1.0,
) -> Weights:  # fmt: skip
    """Weigh every name in proportion to its demeaned score: w = gross x (s - mean) / sum |s - mean|.

    Net 0 and gross ``gross``: at 1.0 these are the ``factor_weights`` of alphalens (demeaned, divided by the sum of
    absolute values). ``long_only`` keeps the names above the mean alone: w = gross x max(s - mean, 0) / their sum.
    ``kind`` "rank" takes average ranks in place of scores, so that no outlier rules the book. scores: (T, N) float64,
    NaN = no opinion; mask: (T, N) bool. A date without two different scores decides nothing.
    """
    if kind not in ("score", "rank"):
        raise ConfigError(f"score_weighted: kind must be 'score' or 'rank', got {kind!r}")
    if not (np.isfinite(gross) and gross > 0):
        raise ConfigError(f"score_weighted: gross must be a positive fraction of capital, got {gross:g}")
    from hitherto.portfolio import kernels

    scores, mask, _ = usable(scores, mask, every)
    ok = mask & np.isfinite(scores)
    highest = np.where(ok, scores, -np.inf).max(axis=1, initial=-np.inf)
    lowest = np.where(ok, scores, np.inf).min(axis=1, initial=np.inf)
    decided = scheduled(highest > lowest, every)
    values = np.zeros(scores.shape)
    kernels.proportional(scores, mask, decided, kind == "rank", long_only, float(gross), values)
    return Weights(f"{kind} weighted{', long only' if long_only else ''}", values, decided)


def equal_weight(mask: Mask, every: int = 1, start: int = 0) -> Weights:
    """Hold all names of the mask (T, N) in equal parts, from row ``start`` on."""
    decided = scheduled(_from(_any(mask), start), every)
    count = np.maximum(mask.sum(axis=1, keepdims=True), 1)
    return Weights("equal weight", np.where(decided[:, None] & mask, 1.0 / count, 0.0), decided)


def buy_and_hold(mask: Mask, start: int = 0) -> Weights:
    """Buy all names of the first row of the mask (T, N) at or after ``start`` in equal parts and never trade again."""
    some = _from(_any(mask), start)
    decided = np.zeros(len(some), bool)
    if some.any():
        decided[int(np.argmax(some))] = True
    count = np.maximum(mask.sum(axis=1, keepdims=True), 1)
    return Weights("buy and hold", np.where(decided[:, None] & mask, 1.0 / count, 0.0), decided)


def usable(scores: Floats, mask: Mask, every: int) -> tuple[Floats, Mask, NDArray[np.int64]]:
    """Return scores and mask as the kernels take them, and (T,) the number of names with a score that may be held."""
    from hitherto.portfolio import kernels

    if scores.shape != mask.shape:
        raise DataError(f"portfolio: scores have shape {scores.shape}, the mask {mask.shape}; use one panel for both")
    scores, mask = np.ascontiguousarray(scores, np.float64), np.ascontiguousarray(mask, np.bool_)
    known = kernels.count(scores, mask)
    if (known < 0).any():
        t, n = np.argwhere(np.isinf(scores))[0]
        raise DataError(f"portfolio: the score of column {n} at row {t} is infinite; give a number, or NaN for none")
    _check_every(every)
    return scores, mask, known


def _any(mask: Mask) -> Mask:
    """Return (T,) bool: the row has a name."""
    return np.any(mask, axis=1, keepdims=True)[:, 0]


def _check_k(k: int) -> None:
    if k < 1:
        raise ConfigError(f"portfolio: k must be a whole number of names >= 1, got {k}")


def _check_every(every: int) -> None:
    if every < 1:
        raise ConfigError(f"portfolio: every must be a whole number of bars >= 1, got {every}")


def _from(known: Mask, start: int) -> Mask:
    if not 0 <= start < max(len(known), 1):
        raise ConfigError(f"portfolio: start is row {start}; the mask has rows 0..{len(known) - 1}")
    return known & (np.arange(len(known)) >= start)


def scheduled(known: Mask, every: int) -> Mask:
    """Return (T,) bool: every ``every``-th bar from the first known one, where something is known."""
    _check_every(every)
    if not known.any():
        return known.copy()
    return known & ((np.arange(len(known)) - int(np.argmax(known))) % every == 0)
