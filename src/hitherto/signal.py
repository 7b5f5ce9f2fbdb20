"""Signal: forecasts become cross-sectional scores, and several forecasts one ensemble; row t uses row t only."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import ConfigError, DataError
from hitherto.models.base import Forecast

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def scores(forecast: Forecast, mask: Mask, output: int | str = 0, kind: Literal["zscore", "rank"] = "zscore") -> Floats:
    """Standardise one output of a forecast over the names of each date.

    mask: (T, N) bool, the names that may be held. Returns (T, N) float64, NaN outside the mask and where nothing was
    predicted. ``zscore``: (x - mean) / std, std with ddof 0; all names equal (or a single name) score 0.
    ``rank``: (average rank - 0.5) / count - 0.5, in (-0.5, 0.5), 0 on average.
    Errors: an unknown output (ConfigError), another shape or an infinite prediction (DataError).
    """
    if kind not in ("zscore", "rank"):
        raise ConfigError(f"scores: kind must be 'zscore' or 'rank', got {kind!r}")
    x = forecast.values[..., _output(forecast, output)]
    if mask.shape != x.shape:
        raise DataError(f"scores: the mask has shape {mask.shape}, the forecast {x.shape}; use the same panel for both")
    _refuse_infinite(forecast)
    ok = mask & np.isfinite(x)
    if kind == "rank":
        return _rank_rows(x, ok)
    out = np.full(x.shape, np.nan)
    for t in np.flatnonzero(ok.any(axis=1)):
        row = x[t, ok[t]]
        # Equal forecasts are no opinion; their rounded mean would leave a deviation of 1e-17 and scores of +-1.
        out[t, ok[t]] = 0.0 if row.max() == row.min() else (row - row.mean()) / row.std()
    return out


def ensemble(forecasts: list[Forecast], name: str = "ensemble") -> Forecast:
    """Average the per-date ranks of several forecasts of the same outputs.

    values: (T, N, O) float64 mean of the centred ranks of ``scores(kind="rank")``. A name counts on a date only where
    every member predicted it, so that all ranks are over the same names; NaN elsewhere, and the fold is -1 on dates
    that a member lacks. Errors: no member, differing outputs, shapes, or folds on a common date (ConfigError).
    """
    if not forecasts:
        raise ConfigError("ensemble: got no forecast; give at least one")
    first = forecasts[0]
    for f in forecasts:
        if f.names != first.names or f.values.shape != first.values.shape:
            raise ConfigError(
                f"ensemble: '{f.model}' forecasts {', '.join(f.names)} of shape {f.values.shape}, "
                f"'{first.model}' {', '.join(first.names)} of shape {first.values.shape}; members must agree"
            )
        _refuse_infinite(f)
    folds = np.stack([f.fold for f in forecasts])
    common = np.logical_and.reduce(folds >= 0, axis=0)
    differ = np.flatnonzero(common & (folds != folds[0]).any(axis=0))
    if len(differ):
        found = sorted(set(folds[:, differ[0]].tolist()))
        raise ConfigError(
            f"ensemble: row {differ[0]} comes from different folds {found} of the members; forecast with one split"
        )
    ok = np.logical_and.reduce([np.isfinite(f.values) for f in forecasts]) & common[:, None, None]
    values = np.full(first.values.shape, np.nan)
    for o in range(len(first.names)):
        ranks = [_rank_rows(f.values[..., o], ok[..., o]) for f in forecasts]
        values[..., o] = np.mean(ranks, axis=0)
    return Forecast(name, values, np.where(common, first.fold, -1).astype(np.int32), first.names)


def _output(forecast: Forecast, output: int | str) -> int:
    names = forecast.names
    if isinstance(output, str) and output in names:
        return names.index(output)
    if isinstance(output, int) and 0 <= output < len(names):
        return output
    raise ConfigError(f"scores: output {output!r} is not forecast by '{forecast.model}'; it has {', '.join(names)}")


def _refuse_infinite(forecast: Forecast) -> None:
    bad = np.argwhere(np.isinf(forecast.values))
    if len(bad):
        t, n, o = bad[0]
        raise DataError(
            f"scores: '{forecast.model}' predicts an infinite {forecast.names[o]} at row {t}, column {n} "
            f"({len(bad)} such values); no rank is honest then, check the model's inputs"
        )


def _rank_rows(x: Floats, ok: Mask) -> Floats:
    """Return (T, N): centred average ranks over the ``ok`` names of each row, NaN elsewhere."""
    out = np.full(x.shape, np.nan)
    for t in np.flatnonzero(ok.any(axis=1)):
        row = x[t, ok[t]]
        out[t, ok[t]] = (_average_ranks(row) - 0.5) / len(row) - 0.5
    return out


def _average_ranks(row: Floats) -> Floats:
    """Return ranks 1..n, ties sharing their mean rank."""
    order = np.argsort(row, kind="stable")
    ordered = row[order]
    group = np.r_[0, np.cumsum(ordered[1:] != ordered[:-1])]
    size = np.bincount(group)
    out = np.empty(len(row))
    out[order] = (np.cumsum(size) - (size - 1) / 2)[group]
    return out
