"""Path forecasts of one series, point by point, as one full sequence, or re-seeded every few steps.

A window is divided by its own first row, which is past at every step; as a path slides on its own forecasts, the
window is divided anew by its new first row, and the whole forecast vector is fed back, each column into its own place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hitherto.compute import Workers
from hitherto.errors import ConfigError, DataError
from hitherto.features.base import Features
from hitherto.labels import Label
from hitherto.models.base import Context, Fitted, Forecaster
from hitherto.seeds import Stream
from hitherto.windows import Windows

Floats = NDArray[np.float64]
Mode = Literal["point by point", "full sequence", "multi-sequence"]
Scale = Literal["relative", "difference", "plain"]
CHUNK = 512  # windows that a bare net reads at once


@dataclass(frozen=True, eq=False)
class PathWindows:
    """One stretch of a series as windows: ``lookback`` rows in, the next row out, both scaled by the first row.

    series: (T, C) float64 in its own units. columns: C names, all of them inputs. outputs: the columns that are
    forecast. first, last: the target rows are first..last-1; their windows start ``lookback`` rows earlier.
    scale: "relative" n = p / p0 - 1 per column, p0 the first row of the window (prices); "difference" n = p - p0, for
    quantities without a level that may be 0 or change sign (spreads, log prices); "plain" n = p, for bounded ones whose
    level means something. Errors: ConfigError for outputs that are no inputs, DataError for NaN, inf, and bases <= 0.
    """

    series: Floats
    columns: tuple[str, ...]
    lookback: int
    outputs: tuple[str, ...]
    first: int
    last: int
    scale: Scale = "relative"

    def __post_init__(self) -> None:
        unknown = [name for name in self.outputs if name not in self.columns]
        if unknown or not self.outputs or len(set(self.outputs)) < len(self.outputs):
            raise ConfigError(
                f"paths: outputs must be distinct input columns, got {list(self.outputs)}; the inputs are "
                f"{', '.join(self.columns)}."
            )
        if self.scale not in get_args(Scale):
            raise ConfigError(f"paths: scale must be one of {', '.join(get_args(Scale))}, got {self.scale!r}.")
        if self.lookback < 2:
            raise ConfigError(f"paths: lookback must be >= 2 (the first row is the base), got {self.lookback}.")
        if not self.lookback <= self.first < self.last <= len(self.series):
            raise DataError(
                f"paths: target rows {self.first}..{self.last - 1} with lookback {self.lookback} do not fit a series "
                f"of {len(self.series)} rows; shorten the lookback or move the split."
            )
        begin = self.first - self.lookback
        bad = np.argwhere(~np.isfinite(self.series[begin : self.last]))
        if len(bad):
            row, column = bad[0]
            raise DataError(f"paths: row {begin + row} of '{self.columns[column]}' is not finite; fill or drop it.")
        check_base(self.series[begin : self.last - self.lookback], self, lambda i: f"row {begin + i} of")

    def __len__(self) -> int:
        return self.last - self.first

    @property
    def picked(self) -> list[int]:
        """Positions of the outputs among the columns."""
        return [self.columns.index(name) for name in self.outputs]

    def past(self, starts: NDArray[np.int64]) -> Floats:
        """Return (L, P, C) float64 rows before the target rows ``starts``, oldest first, in the series' units."""
        return self.series[starts[None, :] + np.arange(-self.lookback, 0)[:, None]]

    def inputs(self) -> NDArray[np.float32]:
        """Return (L, S, C) float32 normalised windows, one per target row."""
        past = self.past(np.arange(self.first, self.last))
        return _single(past, past[0], self)

    def targets(self) -> Floats:
        """Return (S, O) float64: the next row in the units of its window."""
        rows, base = self.series[self.first : self.last], self.series[self.first - self.lookback :][: len(self)]
        _single(rows, base, self)  # a target that overflows is refused, not dropped
        return scaled(rows, base, self.scale)[:, self.picked]

    def windows(self, *, shuffle: bool = True) -> Windows:
        """Return labelled windows for any forecaster: one sample per "date", so that a batch is cut anywhere.

        The windows lie end to end, which costs ``lookback`` times the series. shuffle False: every epoch runs in time
        order.
        """
        return _laid_out(self.inputs(), self, self.targets(), Windows if shuffle else InTimeOrder)


@dataclass(frozen=True, eq=False)
class InTimeOrder(Windows):
    """Windows whose batches come in time order, also in training."""

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Any:
        """Yield batches in time order, whatever ``rng``."""
        return super().batches(size, None)


def path_windows(
    series: Floats, columns: Sequence[str], *, lookback: int, train_share: float, outputs: Sequence[str] | None = None,
    scale: Scale = "relative", drop_last: bool = False,
) -> tuple[PathWindows, PathWindows]:  # fmt: skip
    """Cut ``series`` (T, C) at row int(T x train_share), then lay windows in each part: (train, test).

    A test window reads no train row, neither as input nor as target. outputs: all columns when None.
    drop_last: leave out the newest window of each part, as a well-known tutorial does (R rows then give
    R - lookback - 1 windows instead of R - lookback). Errors: ConfigError, DataError; see PathWindows.
    """
    series, columns = np.asarray(series, np.float64), tuple(columns)
    if series.ndim != 2 or series.shape[1] != len(columns) or len(set(columns)) < len(columns):
        raise ConfigError(
            f"paths: the series has shape {series.shape} and the columns are {list(columns)}; give (T, C) values and "
            "C distinct names."
        )
    if not 0 < train_share < 1:
        raise ConfigError(f"paths: train_share must lie between 0 and 1, got {train_share}.")
    cut = int(len(series) * train_share)
    out = columns if outputs is None else tuple(outputs)
    train, test = (
        PathWindows(series, columns, lookback, out, begin + lookback, end - drop_last, scale)
        for begin, end in ((0, cut), (cut, len(series)))
    )
    return train, test


def fit_path(
    model: Forecaster, train: PathWindows, *, rng: Stream, context: Context | None = None,
    valid: PathWindows | None = None, shuffle: bool = True,
) -> Fitted:  # fmt: skip
    """Fit any forecaster of unit "asset" on ``train`` (and stop by ``valid``); see PathWindows.windows for ``shuffle``.

    The model must forecast the label itself: one series has no neighbours to be standardised among. ConfigError else.
    """
    if getattr(model, "target", "raw") != "raw" or model.unit != "asset":
        raise ConfigError(
            f'{model.name}: a path is one series; use target = "raw" and a model of unit "asset", got target '
            f'"{getattr(model, "target", "raw")}" and unit "{model.unit}".'
        )
    held = train.windows().with_(mask=np.zeros((len(train) * train.lookback, 1), bool))
    samples = train.windows(shuffle=shuffle)
    return model.fit(samples, held if valid is None else valid.windows(), rng=rng, context=context or Context())


@dataclass(frozen=True, eq=False)
class PathForecast:
    """P paths of H steps beside what happened, in the series' units.

    start: (P,) target row of each path's first step. predicted, true: (P, H, O) float64. base, last: (P, O) first and
    last known row of the window that seeds the path.
    """

    mode: Mode
    outputs: tuple[str, ...]
    start: NDArray[np.int64]
    predicted: Floats
    true: Floats
    base: Floats
    last: Floats
    scale: Scale

    def errors(self, output: str | None = None) -> Floats:
        """Return (P, H) float64 predicted - true in normalised units (of the seed window's first row)."""
        o = self._place(output)
        return self._norm(self.predicted, o) - self._norm(self.true, o)

    def score(self, output: str | None = None) -> PathScore:
        """Return the score of one output (the first when None)."""
        o = self._place(output)
        predicted, true = self._norm(self.predicted, o), self._norm(self.true, o)
        flat = np.broadcast_to(self._norm(self.last[:, None], o), true.shape)
        loss, naive = (predicted - true) ** 2, (flat - true) ** 2
        spread = float(true.var())
        end, seen = self.true[:, -1, o], self.last[:, o]
        hit = np.sign(self.predicted[:, -1, o] - seen) == np.sign(end - seen)
        mse = float(loss.mean())
        paths, length = true.shape
        return PathScore(
            self.mode, self.outputs[o], paths, length, mse, float(naive.mean()),
            1 - mse / spread if spread > 0 else math.nan, _correlation(predicted, true),
            int(hit.sum()), int((end > seen).sum()), _paired_t((loss - naive).mean(axis=1)),
        )  # fmt: skip

    def _place(self, output: str | None) -> int:
        if output is not None and output not in self.outputs:
            raise ConfigError(f"paths: '{output}' was not forecast; the outputs are {', '.join(self.outputs)}.")
        return 0 if output is None else self.outputs.index(output)

    def _norm(self, values: Floats, o: int) -> Floats:
        return scaled(values[:, :, o], self.base[:, None, o], self.scale)


@dataclass(frozen=True)
class PathScore:
    """How ``paths`` paths of ``length`` steps did on one output; errors in normalised units, pooled over all points.

    mse_persistence: of the last known value, held flat. r2: 1 - MSE / variance of the truth. hits: paths that ended on
    the right side of their last known value (equal is a side of its own); rises: paths whose truth ended above it, what
    "always up" gets. t: paired statistic of the squared errors of model less persistence over the paths, which do not
    overlap (Diebold and Mariano 1995); negative where the model is better.
    NaN rule: r2 and correlation are NaN for a constant truth or forecast, t for fewer than 8 paths.
    """

    mode: Mode
    output: str
    paths: int
    length: int
    mse: float
    mse_persistence: float
    r2: float
    correlation: float
    hits: int
    rises: int
    t: float

    @property
    def ratio(self) -> float:
        """MSE over persistence's; NaN for 0 / 0, inf where only persistence is exact."""
        if self.mse_persistence == 0:
            return math.inf if self.mse > 0 else math.nan
        return self.mse / self.mse_persistence

    @property
    def direction(self) -> float:
        """Share of paths that ended on the right side."""
        return self.hits / self.paths

    @property
    def up_rate(self) -> float:
        """Share of paths that "always up" gets right."""
        return self.rises / self.paths


def point_by_point(model: nn.Module | Fitted, windows: PathWindows) -> PathForecast:
    """Forecast every target row from its true window: S paths of one step. See multi_sequence for ``model``."""
    return _slide(model, windows, _starts(windows, 1), 1, "point by point")


def full_sequence(model: nn.Module | Fitted, windows: PathWindows) -> PathForecast:
    """Forecast the whole stretch from its first window: one path of S steps. See multi_sequence for ``model``."""
    return _slide(model, windows, np.array([windows.first]), len(windows), "full sequence")


def multi_sequence(model: nn.Module | Fitted, windows: PathWindows, length: int = 50) -> PathForecast:
    """Forecast paths of ``length`` steps, each from its true window, end to end; an unfinished last one is left out.

    model: a net called as ``net(x, None)``, x (L, P, C) float32 -> (P, O) in normalised units, or anything fitted with
    ``predict(windows)`` (slower: it fills up its batches at every step). Every input must be an output, since a path
    is fed back whole: ConfigError names those that are missing. DataError when a path leaves the numbers that a window
    can be divided by, or is not finite. Draws nothing and changes no state.
    """
    return _slide(model, windows, _starts(windows, length), length, "multi-sequence")


def persistence(windows: PathWindows, length: int = 1) -> PathForecast:
    """Hold the last known row flat for ``length`` steps: what every path is measured against. 1: point by point."""
    mode: Mode = "point by point" if length == 1 else "multi-sequence"
    starts = _starts(windows, length)
    last = windows.series[starts - 1][:, windows.picked]
    return _booked(mode, windows, starts, np.repeat(last[:, None], length, axis=1))


def zero(windows: PathWindows) -> PathForecast:
    """Forecast 0 in normalised units, point by point: back to the first row of the window (or 0, where "plain")."""
    starts = _starts(windows, 1)
    base = windows.series[starts - windows.lookback][:, None, windows.picked]
    return _booked("point by point", windows, starts, unscaled(np.zeros_like(base), base, windows.scale))


def verdict_text(forecast: PathForecast | PathScore, name: str = "the model") -> str:
    """Return one sentence: whether ``name`` beats persistence, by what factor, and direction beside "always up"."""
    s = forecast.score() if isinstance(forecast, PathForecast) else forecast
    what = f"{s.paths:,} forecasts" if s.length == 1 else f"{s.paths:,} path{'s' * (s.paths > 1)} of {s.length:,} steps"
    beaten = s.ratio < 1 and not math.isnan(s.t) and s.t < -_critical(s.paths - 1)
    verdict = "beats persistence" if beaten else "does not beat persistence"
    by = ""
    if s.ratio < 1:
        verdict += "" if beaten else " beyond luck"
        by = " (too few paths to tell)" if math.isnan(s.t) else f" (paired t {s.t:.1f})"
    factor = "no number of" if math.isnan(s.ratio) else f"{s.ratio:.3g}"
    return (
        f"{name}, {s.mode}, {s.output}: {verdict}; its MSE {s.mse:.3g} is {factor} times the {s.mse_persistence:.3g} "
        f"of the last known value held flat{by}, over {what}; direction {s.direction:.1%}, always up {s.up_rate:.1%}."
    )


def scaled(values: Floats, base: Floats, scale: Scale) -> Floats:
    """Return ``values`` in the units of a window whose first row is ``base`` (broadcast); see PathWindows."""
    if scale == "plain":
        return values
    return values / base - 1.0 if scale == "relative" else values - base


def unscaled(values: Floats, base: Floats, scale: Scale) -> Floats:
    """Return the inverse of ``scaled``: p0 (n + 1), p0 + n, or n."""
    if scale == "plain":
        return values
    return base * (values + 1.0) if scale == "relative" else base + values


def check_base(base: Floats, windows: PathWindows, place: Any) -> None:
    """Raise DataError unless every base (B, C) can be divided by; ``place(i)`` says in words where row i is."""
    if windows.scale != "relative":
        return
    bad = np.argwhere(~(base > 0))
    if len(bad):
        i, c = bad[0]
        raise DataError(
            f"paths: {place(int(i))} '{windows.columns[c]}' is {base[i, c]:g}, and a window is divided by its first "
            'row, which must be above 0. Use scale="difference" or "plain", or leave the column out.'
        )


def _starts(windows: PathWindows, length: int) -> NDArray[np.int64]:
    """First target rows of paths that lie end to end."""
    if not 1 <= length <= len(windows):
        raise ConfigError(f"multi-sequence: length must lie between 1 and {len(windows)} target rows, got {length}.")
    return np.arange(windows.first, windows.last - length + 1, length)


def _slide(
    model: nn.Module | Fitted, windows: PathWindows, starts: NDArray[np.int64], length: int, mode: Mode
) -> PathForecast:
    missing = [name for name in windows.columns if name not in windows.outputs]
    if missing and length > 1:
        raise ConfigError(
            f"{mode}: a path feeds its own forecasts back, so that every input must be an output; not forecast: "
            f"{', '.join(missing)}. Forecast them too, drop them, or use point_by_point."
        )
    order = [windows.outputs.index(name) for name in windows.columns] if not missing else []
    past = windows.past(starts)
    predicted = np.empty((len(starts), length, len(windows.outputs)))
    with Workers(1):
        for h in range(length):
            check_base(past[0], windows, lambda i, h=h: f"after {h} steps from row {starts[i]} the first row of")
            x = _single(past, past[0], windows)
            n = _outputs(model, x, windows)
            step = unscaled(n, past[0][:, windows.picked], windows.scale)
            if not np.isfinite(step).all():
                row = int(starts[np.argwhere(~np.isfinite(step))[0, 0]])
                raise DataError(f"{mode}: step {h + 1} of the path from row {row} is not finite; check the weights.")
            predicted[:, h] = step
            if h + 1 < length:
                past = np.concatenate([past[1:], step[None][:, :, order]])
    return _booked(mode, windows, starts, predicted)


def _booked(mode: Mode, windows: PathWindows, starts: NDArray[np.int64], predicted: Floats) -> PathForecast:
    past = windows.past(starts)[:, :, windows.picked]
    true = windows.series[starts[:, None] + np.arange(predicted.shape[1])][:, :, windows.picked]
    return PathForecast(mode, windows.outputs, starts, predicted, true, past[0], past[-1], windows.scale)


def _outputs(model: nn.Module | Fitted, x: NDArray[np.float32], windows: PathWindows) -> Floats:
    """Return (P, O) float64 normalised outputs of a bare net or of anything fitted."""
    if not isinstance(model, nn.Module):
        out = model.predict(_laid_out(x, windows))
    else:
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
        training = model.training
        model.eval()
        with torch.no_grad():
            parts = torch.from_numpy(x).to(device).split(CHUNK, dim=1)
            out = torch.cat([model(part.contiguous(), None) for part in parts]).cpu().numpy().astype(np.float64)
        model.train(training)
    if out.shape != (x.shape[1], len(windows.outputs)):
        raise ConfigError(
            f"paths: the model gave {out.shape[-1]} columns for the outputs {', '.join(windows.outputs)}; its head "
            "must hold one column for each."
        )
    return out


def _laid_out(
    x: NDArray[np.float32], windows: PathWindows, y: Floats | None = None, kind: type[Windows] = Windows
) -> Windows:
    """Windows (L, S, C) end to end on one time axis; sample i is the window that ends at row (i + 1) L - 1."""
    L, S, C = x.shape
    values = np.ascontiguousarray(x.transpose(1, 0, 2)).reshape(S * L, 1, C)
    mask = np.zeros((S * L, 1), bool)
    mask[L - 1 :: L] = True
    label = None
    if y is not None:
        wide = np.full((S * L, 1, y.shape[1]), np.nan)
        wide[L - 1 :: L, 0] = y
        end = np.where(np.isfinite(wide), np.arange(S * L)[:, None, None], -1).astype(np.int32)
        label = Label(wide, end, end, windows.outputs, (1,) * y.shape[1])
    features = Features(values, windows.columns, (1,) * C)
    return kind(features, label, mask, L, labelled=y is not None)


def _single(values: Floats, base: Floats, windows: PathWindows) -> NDArray[np.float32]:
    """``values`` (..., C) scaled and cast to float32; a base so near 0 that this overflows is refused."""
    with np.errstate(over="ignore"):
        out = scaled(values, base, windows.scale).astype(np.float32)
    bad = np.argwhere(~np.isfinite(out))
    if len(bad):
        raise DataError(
            f"paths: '{windows.columns[bad[0, -1]]}' in the units of its window passes float32: the window's first row "
            "is too near 0, or the values are too large. Use another scale, or other units."
        )
    return out


def _correlation(a: Floats, b: Floats) -> float:
    a, b = a.ravel() - a.mean(), b.ravel() - b.mean()
    size = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / size if size > 0 else math.nan


def _critical(freedom: int) -> float:
    """The 97.5 % point of Student's t, within 0.01 from 7 degrees of freedom on."""
    return 1.96 + 2.37 / freedom + 2.8 / freedom**2


def _paired_t(difference: Floats) -> float:
    """Mean over its standard error, over P paths."""
    if len(difference) < 8:
        return math.nan
    error = float(difference.std(ddof=1)) / math.sqrt(len(difference))
    return float(difference.mean()) / error if error > 0 else math.nan
