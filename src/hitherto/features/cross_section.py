"""Operators across the names of one date, in float64; part of the table in operators.py.

They see the names of row t that the mask admits (listed, in the universe, not suspended); a name outside is NaN and
counts for nobody. Groups are numbers, such as an industry code; equal numbers are one group.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hitherto.features.elementwise import Floats, finite

Mask = NDArray[np.bool_]
MAD_TO_STD = 1.4826  # 1 / Phi^-1(3/4): the MAD of a normal distribution times this is its standard deviation
SPANNED = 1e-10  # a factor of which the others leave less than this share is theirs


def ranks(x: NDArray[np.floating]) -> tuple[Floats, NDArray[np.int64]]:
    """Return for (R, N) the rank of each value in its row, 0 = smallest, ties averaged, and the (R, 1) known counts."""
    order = np.argsort(x, axis=1)  # NaN last
    ordered = np.take_along_axis(x, order, axis=1)
    new = np.ones(x.shape, np.bool_)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    place = np.arange(x.shape[1], dtype=np.int32)
    first = np.maximum.accumulate(np.where(new, place, 0), axis=1)
    ends = np.ones(x.shape, np.bool_)
    ends[:, :-1] = new[:, 1:]
    last = np.minimum.accumulate(np.where(ends, place, x.shape[1])[:, ::-1], axis=1)[:, ::-1]
    out = np.empty(x.shape)
    np.put_along_axis(out, order, (first + last) / 2, axis=1)
    out[np.isnan(x)] = np.nan
    return out, np.asarray(np.isfinite(x).sum(axis=1, keepdims=True), np.int64)


def zscores(x: Floats) -> Floats:
    """Return (x - mean) / std (ddof 1) of each row's known values, 0 where they do not differ or there is only one."""
    d = centred(x)
    known = np.isfinite(d)
    count = known.sum(axis=1, keepdims=True)
    std = np.sqrt(np.sum(d * d, axis=1, keepdims=True, where=known) / np.maximum(count - 1, 1))
    return np.where(std > 0, d / std, np.where(known, 0.0, np.nan))


def seen(x: Floats, mask: Mask) -> Floats:
    """Return ``x`` with infinities and the names outside the mask as NaN."""
    return np.where(mask, finite(x), np.nan)


def centred(x: Floats) -> Floats:
    """Return x minus the mean of its row's known values; exactly 0 where those do not differ."""
    if x.shape[1] == 0:
        return x
    known = np.isfinite(x)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    d = x - np.min(x, axis=1, keepdims=True, where=known, initial=np.inf)  # equal values give exact zeros
    return d - np.sum(d, axis=1, keepdims=True, where=known) / count


def quantiles(x: Floats, q: float) -> Floats:
    """Return the (R, 1) quantiles of each row's known values, interpolated; NaN for a row without any."""
    if x.shape[1] == 0:
        return np.full((len(x), 1), np.nan)
    ordered = np.sort(x, axis=1)  # NaN last
    place = q * np.maximum(np.isfinite(x).sum(axis=1, keepdims=True) - 1, 0)
    low = np.take_along_axis(ordered, np.floor(place).astype(np.intp), axis=1)
    high = np.take_along_axis(ordered, np.ceil(place).astype(np.intp), axis=1)
    return low + (high - low) * (place - np.floor(place))


def cs_rank(x: Floats, mask: Mask) -> Floats:
    """Rank of each name in its date as a share of the names known: (0, 1], ties averaged."""
    rank, count = ranks(seen(x, mask))
    return (rank + 1) / np.maximum(count, 1)


def cs_zscore(x: Floats, mask: Mask) -> Floats:
    """(x - mean) / std, ddof 1; 0 where the names do not differ or there is only one."""
    with np.errstate(all="ignore"):
        return finite(zscores(seen(x, mask)))


def cs_demean(x: Floats, mask: Mask) -> Floats:
    """x minus the mean of its date."""
    with np.errstate(all="ignore"):
        return finite(centred(seen(x, mask)))


def cs_winsorize(x: Floats, limit: float, mask: Mask) -> Floats:
    """x pulled in to limits of its date, which ``limit`` gives as a quantile (below 0.5) or in MADs (1 or more).

    Below 0.5: to the quantiles limit and 1 - limit. From 1 on: to median +- limit x 1.4826 MAD; where the MAD is zero,
    the standard deviation around the median takes its place.
    """
    with np.errstate(all="ignore"):
        x = seen(x, mask)
        if limit < 0.5:
            return finite(np.clip(x, quantiles(x, limit), quantiles(x, 1 - limit)))
        median = quantiles(x, 0.5)
        d = x - median
        known = np.isfinite(d)
        std = np.sqrt(np.sum(d * d, axis=1, keepdims=True, where=known) / np.maximum(known.sum(1, keepdims=True), 1))
        mad = quantiles(np.abs(d), 0.5) * MAD_TO_STD
        reach = limit * np.where(mad > 0, mad, std)
        return finite(np.clip(x, median - reach, median + reach))


def cs_group_mean(x: Floats, group: Floats, mask: Mask) -> Floats:
    """Mean of x over the names of the date whose ``group`` number is the same; NaN where x's group knows no value.

    A name with an unknown x gets its group's mean; one with an unknown group gets NaN.
    """
    with np.errstate(all="ignore"):
        x, group = seen(x, mask), seen(group, mask)
        out = np.full(x.shape, np.nan)
        for t in range(len(x)):
            out[t] = _means_of_groups(x[t], group[t])
        return finite(out)


def _means_of_groups(x: Floats, group: Floats) -> Floats:
    out = np.full(len(x), np.nan)
    for number in np.unique(group[~np.isnan(group)]):
        here = group == number
        known = x[here & ~np.isnan(x)]
        if len(known):
            low = known.min()
            out[here] = low + (known - low).sum() / len(known)  # a constant group's mean is the constant
    return out


def cs_group_neutralize(x: Floats, group: Floats, mask: Mask) -> Floats:
    """x minus its group's mean of the date; 0 for a name that is alone in its group."""
    with np.errstate(all="ignore"):
        return finite(seen(x, mask) - cs_group_mean(x, group, mask))


def cs_neutralize(x: Floats, *factors_and_mask: Any) -> Floats:
    """Residual of the least squares fit, per date, of x on an intercept and the given factors.

    Over the names where x and every factor are known; the others are NaN, and so is a date with fewer such names than
    factors + 2. A factor that the others already span (a constant one, a repeated one) adds nothing.
    Modified Gram-Schmidt with one repetition (Bjoerck 1967).
    """
    *factors, mask = factors_and_mask
    with np.errstate(all="ignore"):
        known = mask & np.isfinite(finite(x))
        for f in factors:
            known = known & np.isfinite(finite(f))
        enough = known.sum(axis=1, keepdims=True) >= len(factors) + 2
        basis: list[Floats] = []
        for f in factors:
            along = centred(np.where(known, f, np.nan))
            size = _length(along, known)
            rest = _without(along, basis, known)
            length = _length(rest, known)
            basis.append(np.where(length > SPANNED * size, rest / length, 0.0))
        residual = _without(centred(np.where(known, x, np.nan)), basis, known)
        return finite(np.where(known & enough, residual, np.nan))


def _length(x: Floats, known: Mask) -> Floats:
    """Return the (R, 1) Euclidean lengths of the rows; of a row scaled by its largest value, so that none overflows."""
    if x.shape[1] == 0:
        return np.zeros((len(x), 1))
    top = np.max(np.abs(x), axis=1, keepdims=True, where=known, initial=0.0)
    return np.where(top > 0, top * np.sqrt(np.sum((x / top) ** 2, axis=1, keepdims=True, where=known)), 0.0)


def _without(x: Floats, basis: list[Floats], known: Mask) -> Floats:
    """Return x less its projections on orthonormal rows; twice, since the first pass leaves rounding errors."""
    for unit in basis * 2:
        x = x - np.sum(x * unit, axis=1, keepdims=True, where=known) * unit
    return x
