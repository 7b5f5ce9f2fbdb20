"""Named sets of features as plain dicts name -> expression text, and ``build``, which turns a set into Features.

Every set here is free of scale: multiplying all prices of a listing by a constant leaves it as it is, so that it may be
used on prices whose level knows later splits and dividends. Where a window cannot say (a flat price has no position in
its range), the value is NaN, not zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import ConfigError, FutureError
from hitherto.features.base import Features
from hitherto.features.expression import Expression, parse
from hitherto.panel import Panel

UNBOUNDED = 2**31 - 1
"""Lookback of a recursive feature in ``Features.lookbacks``: every row until t."""

LARGEST = float(np.finfo(np.float32).max)


def close_only() -> dict[str, str]:
    """Return 12 scale-free features of the close alone: returns, moving averages, volatility, rank, range, trend."""
    return {
        **{f"return_{n}": f"close / ref(close, {n}) - 1" for n in (1, 5, 10, 20, 60)},
        **{f"ma_{n}": f"mean(close, {n}) / close - 1" for n in (5, 20)},
        "volatility_20": "std(close / ref(close, 1) - 1, 20)",
        "rank_20": "rank(close, 20)",
        "position_60": "(close - min(close, 60)) / (max(close, 60) - min(close, 60))",
        "slope_20": "slope(close, 20) / close",
        "rsquare_20": "rsquare(close, 20)",
    }


def price_volume() -> dict[str, str]:
    """Return 20 scale-free features of open, high, low, close and volume, in the manner of Qlib's Alpha158.

    Differences from Alpha158 of the same name: no 1e-12 in denominators (0 / 0 is NaN), and comparisons with an
    unknown value are NaN instead of 0. ``log(volume + 1)`` is free of price scale, not quite of volume scale.
    """
    change = "close / ref(close, 1)"
    move = "close - ref(close, 1)"
    return {
        "kmid": "(close - open) / open",
        "klen": "(high - low) / open",
        "kup": "(high - greater(open, close)) / open",
        "klow": "(less(open, close) - low) / open",
        "ksft": "(2 * close - high - low) / open",
        **{f"roc_{n}": f"ref(close, {n}) / close" for n in (5, 20, 60)},
        **{f"ma_{n}": f"mean(close, {n}) / close" for n in (5, 20)},
        "std_20": "std(close, 20) / close",
        "beta_20": "slope(close, 20) / close",
        "resi_10": "resi(close, 10) / close",
        "rsqr_20": "rsquare(close, 20)",
        "rsv_20": "(close - min(low, 20)) / (max(high, 20) - min(low, 20))",
        "sumd_20": f"sum({move}, 20) / sum(abs({move}), 20)",
        "corr_10": "corr(close, log(volume + 1), 10)",
        "cord_20": f"corr({change}, log(volume / ref(volume, 1) + 1), 20)",
        "vma_5": "mean(volume, 5) / volume",
        "wvma_20": f"std(abs({change} - 1) * volume, 20) / mean(abs({change} - 1) * volume, 20)",
    }


def build(
    panel: Panel, features: Mapping[str, str], *, threads: int = 1,
    out: str | Path | NDArray[np.float32] | None = None,
) -> Features:  # fmt: skip
    """Evaluate named expressions on a panel and return Features (T, N, F) float32 in the order of the mapping.

    Subexpressions that several features share are computed once. Unknown values are NaN, and so is what a float32
    cannot hold (above 3.4e38 in size). ``lookbacks`` counts rows, row t included; a recursive feature has
    ``UNBOUNDED`` (2**31 - 1). Rows on which a name is not listed are NaN. threads: how many work at once; the values do
    not depend on it. out: an array to fill, or a path for the values as a memory-mapped .npy file; without it they are
    mapped when above a quarter of the machine's memory.
    Raises ConfigError or FutureError naming the feature whose text is wrong, DataError naming the feature and the
    fields that the panel lacks, before anything is computed.
    """
    from hitherto.features.plan import Plan  # compiles on first use

    if not features:
        raise ConfigError("features: the set is empty; name at least one, e.g. return_5 = 'close / ref(close, 5) - 1'")
    parsed: dict[str, Expression] = {}
    for name, text in features.items():
        try:
            parsed[name] = parse(text)
        except (ConfigError, FutureError) as error:
            raise type(error)(f"feature '{name}': {error}") from None
        panel.need(parsed[name].fields, f"feature '{name}'")
    values = Plan(parsed).run(panel, out, threads)
    if not panel.listed.all():
        values[~panel.listed] = np.nan  # a window reaches back past a listing's last bar; there is nothing to forecast
    lookbacks = tuple(UNBOUNDED if math.isinf(e.lookback) else int(e.lookback) for e in parsed.values())
    fields = tuple(sorted({f for e in parsed.values() for f in e.fields}))
    return Features(values, tuple(parsed), lookbacks, fields)
