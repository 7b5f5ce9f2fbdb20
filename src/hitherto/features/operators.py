"""The operator table: slow, obvious float64 definitions on (T, N), the oracle of every faster twin.

Rules, for all operators:

* A value is finite or NaN (unknown). Where a result would be infinite or undefined it is NaN (overflow, x / 0,
  log of 0 or less); an infinite input counts as unknown.
* A row operator (abs, log, +, >, if ...) is NaN where an input that it reads is NaN; comparisons and logic give 1, 0.
* A window is the last n rows of one listing, row t included. Unknown values in it are skipped, as are the rows before
  the panel begins (pandas ``rolling(n, min_periods=1)``); the result is NaN when nothing in the window is known.
  Positions count from the window's oldest row (1) to row t (n), whether or not those rows are known.
* A window's result depends on the rows of that window only, bit for bit: sums run lag by lag in one fixed order,
  and deviations are taken from a value inside the window, so that a constant window has mean = the constant and
  exactly zero deviation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Floats = NDArray[np.float64]
CELLS = 1 << 15  # cells of one column block: its working arrays stay in the processor's cache
SORT_CELLS = 1 << 21  # cells sorted at once by the operators that sort their windows
FLAT = 1e-12  # corr and rsquare: a series that moves less than this share of its own size is rounding noise


def finite(x: Any) -> Floats:
    """Return ``x`` as float64 with infinities replaced by NaN."""
    x = np.asarray(x, np.float64)
    return np.where(np.isinf(x), np.nan, x) if np.isinf(x).any() else x


# Row operators: one value per cell.


def _row(f: Callable[..., Any]) -> Callable[..., Floats]:
    def compute(*inputs: Any) -> Floats:
        with np.errstate(all="ignore"):
            return finite(f(*(finite(x) for x in inputs)))

    return compute


def _logic(f: Callable[..., Any]) -> Callable[..., Floats]:
    def compute(*inputs: Floats) -> Floats:
        unknown = np.isnan(inputs[0])
        for x in inputs[1:]:
            unknown = unknown | np.isnan(x)
        return np.where(unknown, np.nan, f(*inputs))

    return _row(compute)


def _greater(x: Floats, y: Floats) -> Floats:
    return np.maximum(x, y) + 0.0


def _less(x: Floats, y: Floats) -> Floats:
    return np.minimum(x, y) + 0.0


def _power(x: Floats, y: Floats) -> Floats:
    return np.where(np.isnan(x) | np.isnan(y), np.nan, np.power(x, y))  # NaN ** 0 and 1 ** NaN are 1 in C


def _if(condition: Floats, a: Floats, b: Floats) -> Floats:
    return np.where(np.isnan(condition), np.nan, np.where(condition != 0, a, b))


# Windows: lag by lag, in blocks of columns.


def _by_block(f: Callable[..., Floats], series: int = 1) -> Callable[..., Floats]:
    """Run a window operator on contiguous blocks of columns; its first ``series`` arguments are (T, N)."""

    def compute(*arguments: Any) -> Floats:
        inputs, numbers = arguments[:series], arguments[series:]
        T, N = inputs[0].shape
        out = np.empty((T, N))
        width = max(1, CELLS // max(T, 1))
        with np.errstate(all="ignore"):
            for a in range(0, N, width):
                block = [finite(np.ascontiguousarray(x[:, a : a + width], np.float64)) for x in inputs]
                out[:, a : a + width] = f(*block, *numbers)
        return finite(out)

    return compute


def _lags(x: Floats, n: int) -> range:
    return range(1, min(n, len(x)))


def _total(x: Floats, n: int) -> Floats:
    """Sum over the window of an array without NaN, newest row first."""
    out = x.copy()
    for k in _lags(x, n):
        out[k:] += x[:-k]
    return out


def _latest(x: Floats, known: NDArray[np.bool_]) -> Floats:
    """Return the latest known value, 0 before the first: a value of the window wherever the window knows one."""
    t = np.arange(len(x))[:, None]
    last = np.maximum.accumulate(np.where(known, t, -1), axis=0)
    return np.where(last >= 0, np.take_along_axis(x, np.maximum(last, 0), axis=0), 0.0)


class _Window:
    """Deviations of each window's values from that window's mean; 0 where unknown.

    count: known values. pivot + offset: the mean, as a value of the window and the mean distance from it.
    """

    def __init__(self, x: Floats, n: int, known: NDArray[np.bool_] | None = None) -> None:
        known = np.isfinite(x) if known is None else known
        self.n = n
        self.known = known.astype(np.float64)
        self.x = np.where(known, x, 0.0)
        self.count = _total(self.known, n)
        self.pivot = _latest(x, known)
        self._buffer = np.empty_like(self.x)
        self.offset = np.zeros_like(self.x)
        total = self.deviation(0).copy()
        for k in _lags(self.x, n):
            total[k:] += self.deviation(k)
        self.offset = total / np.maximum(self.count, 1)

    def deviation(self, k: int) -> Floats:
        """Return what row t - k adds to the window of row t, for rows k and later; overwritten by the next call."""
        out = self._buffer[k:]
        np.subtract(self.x[: len(self.x) - k], self.pivot[k:], out=out)
        out -= self.offset[k:]
        out *= self.known[: len(self.x) - k]
        return out

    def lags(self) -> range:
        return range(min(self.n, len(self.x)))

    def squares(self) -> Floats:
        total = np.zeros_like(self.x)
        for k in self.lags():
            d = self.deviation(k)
            d *= d
            total[k:] += d
        return total

    def flat(self, squares: Floats) -> NDArray[np.bool_]:
        """True where the window's values differ by no more than rounding noise, or are fewer than two."""
        size = np.abs(self.pivot) + np.abs(self.offset)
        return (self.count < 2) | (squares <= self.count * (FLAT * size) ** 2)


def _ref(x: Floats, n: int) -> Floats:
    out = np.full(x.shape, np.nan)
    if n < len(x):
        out[n:] = x[:-n]
    return out


def _delta(x: Floats, n: int) -> Floats:
    return x - _ref(x, n)


def _count(x: Floats, n: int) -> Floats:
    return _total(np.isfinite(x).astype(np.float64), n)


def _sum(x: Floats, n: int) -> Floats:
    known = np.isfinite(x)
    return np.where(_count(x, n) > 0, _total(np.where(known, x, 0.0), n), np.nan)


def _mean(x: Floats, n: int) -> Floats:
    w = _Window(x, n)
    return np.where(w.count > 0, w.pivot + w.offset, np.nan)


def _var(x: Floats, n: int) -> Floats:
    w = _Window(x, n)
    return np.where(w.count > 1, w.squares() / (w.count - 1), np.nan)


def _std(x: Floats, n: int) -> Floats:
    return np.sqrt(_var(x, n))


def _mad(x: Floats, n: int) -> Floats:
    w = _Window(x, n)
    total = np.zeros_like(x)
    for k in w.lags():
        d = w.deviation(k)
        total[k:] += np.abs(d, out=d)
    return np.where(w.count > 0, total / w.count, np.nan)


def _extreme(x: Floats, n: int) -> tuple[Floats, Floats]:
    """Largest value of the window and its position; of equal ones the earliest."""
    filled = np.where(np.isfinite(x), x, -np.inf)
    best, where = filled.copy(), np.full(x.shape, float(n))
    for k in _lags(x, n):
        older = filled[:-k] >= best[k:]
        np.copyto(best[k:], filled[:-k], where=older)
        where[k:][older] = n - k
    none = np.isinf(best)
    best[none], where[none] = np.nan, np.nan
    return best, where


def _max(x: Floats, n: int) -> Floats:
    filled = np.where(np.isfinite(x), x, -np.inf)
    out = filled.copy()
    for k in _lags(x, n):
        np.maximum(out[k:], filled[:-k], out=out[k:])
    return out + 0.0  # one zero only: which of 0 and -0 wins is the processor's choice


def _min(x: Floats, n: int) -> Floats:
    return -_max(-x, n) + 0.0


def _idxmax(x: Floats, n: int) -> Floats:
    return _extreme(x, n)[1]


def _idxmin(x: Floats, n: int) -> Floats:
    return _extreme(-x, n)[1]


def _rank(x: Floats, n: int) -> Floats:
    """Share of the window's known values that row t's value is not below, ties counting half: (0, 1]."""
    below, equal = np.zeros_like(x), np.ones_like(x)
    for k in _lags(x, n):
        below[k:] += x[:-k] < x[k:]
        equal[k:] += x[:-k] == x[k:]
    return np.where(np.isfinite(x), (below + (equal + 1) / 2) / _count(x, n), np.nan)


def _quantile(x: Floats, n: int, q: float) -> Floats:
    n = min(n, len(x))
    if n == 0:
        return x
    padded = np.concatenate([np.full((n - 1, x.shape[1]), np.nan), x])
    windows = sliding_window_view(padded, n, axis=0)
    out = np.empty_like(x)
    step = max(1, SORT_CELLS // (n * max(x.shape[1], 1)))
    for a in range(0, len(x), step):
        ordered = np.sort(windows[a : a + step], axis=-1)  # NaN last
        place = q * np.maximum(np.isfinite(ordered).sum(axis=-1) - 1, 0)
        low = np.floor(place).astype(np.intp)
        below = np.take_along_axis(ordered, low[..., None], axis=-1)[..., 0]
        above = np.take_along_axis(ordered, np.ceil(place).astype(np.intp)[..., None], axis=-1)[..., 0]
        out[a : a + step] = below + (above - below) * (place - low)
    return out + 0.0


def _med(x: Floats, n: int) -> Floats:
    return _quantile(x, n, 0.5)


def _wma(x: Floats, n: int) -> Floats:
    known = np.isfinite(x)
    pivot = _latest(x, known)
    filled, weight = np.where(known, x, 0.0), known.astype(np.float64)
    total, weights = np.zeros_like(x), np.zeros_like(x)
    for k in range(min(n, len(x))):
        stop = len(x) - k
        total[k:] += (n - k) * weight[:stop] * (filled[:stop] - pivot[k:])
        weights[k:] += (n - k) * weight[:stop]
    return np.where(weights > 0, pivot + total / weights, np.nan)


def _line(x: Floats, n: int) -> tuple[Floats, Floats, Floats]:
    """Least squares of the known values on their positions: slope, residual of row t, R squared."""
    w = _Window(x, n)
    age, age2, along, squares = (np.zeros_like(x) for _ in range(4))
    for k in w.lags():
        here = w.known[: len(x) - k]
        age[k:] += k * here
        age2[k:] += k * k * here
    mean_age = age / np.maximum(w.count, 1)
    for k in w.lags():
        d = w.deviation(k)
        along[k:] += (mean_age[k:] - k) * d
        d *= d
        squares[k:] += d
    spread = (w.count * age2 - age * age) / np.maximum(w.count, 1)  # of whole numbers: exact before the division
    slope = np.where(w.count > 1, along / spread, np.nan)
    resi = (x - w.pivot) - w.offset - slope * mean_age
    rsquare = np.where(w.flat(squares), np.nan, np.minimum(along * along / (spread * squares), 1.0))
    return slope, resi, rsquare


def _slope(x: Floats, n: int) -> Floats:
    return _line(x, n)[0]


def _resi(x: Floats, n: int) -> Floats:
    return _line(x, n)[1]


def _rsquare(x: Floats, n: int) -> Floats:
    return _line(x, n)[2]


def _pair(x: Floats, y: Floats, n: int) -> tuple[_Window, _Window, Floats]:
    both = np.isfinite(x) & np.isfinite(y)
    a, b = _Window(x, n, both), _Window(y, n, both)
    total = np.zeros_like(x)
    for k in a.lags():
        total[k:] += a.deviation(k) * b.deviation(k)
    return a, b, total


def _cov(x: Floats, y: Floats, n: int) -> Floats:
    a, _, total = _pair(x, y, n)
    return np.where(a.count > 1, total / (a.count - 1), np.nan)


def _corr(x: Floats, y: Floats, n: int) -> Floats:
    a, b, total = _pair(x, y, n)
    xx, yy = a.squares(), b.squares()
    out = np.clip(total / (np.sqrt(xx) * np.sqrt(yy)), -1.0, 1.0)
    return np.where(a.flat(xx) | b.flat(yy), np.nan, out)


def ema_weights(x: Floats, alpha: float) -> tuple[Floats, Floats]:
    """Return the exponential mean and variance of each column at each row, (T, N) float64.

    The value of row t - k weighs (1 - alpha)^k; unknown values are skipped while their age still counts; weights
    are divided by their sum (pandas ``ewm(alpha=alpha)``, ``var(bias=True)``). Rows that are unknown keep the last
    result; NaN before the first known value. Recursive: West (1979), one pass.
    """
    mean, square = np.full(x.shape[1], np.nan), np.zeros(x.shape[1])
    weight = np.zeros(x.shape[1])
    means, variances = np.empty(x.shape), np.empty(x.shape)
    for t, now in enumerate(x):
        known = np.isfinite(now)
        weight = (1 - alpha) * weight + known
        distance = np.where(weight > 1, now - mean, 0.0)
        new = np.where(weight > 1, mean + distance / np.where(known, weight, 1.0), now)
        square = (1 - alpha) * square + np.where(known, distance * (now - new), 0.0)
        mean = np.where(known, new, mean)
        means[t] = mean
        variances[t] = square / np.where(weight > 0, weight, np.nan)
    return means, variances


def _ema(x: Floats, n: int) -> Floats:
    """Exponential mean with alpha = 2 / (n + 1); recursive."""
    with np.errstate(all="ignore"):
        return finite(ema_weights(finite(x), 2.0 / (n + 1))[0])


# Dates: across the names of one row.


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
    known = np.isfinite(x)
    count = known.sum(axis=1, keepdims=True)
    if x.shape[1] == 0:
        return x
    d = x - np.min(x, axis=1, keepdims=True, where=known, initial=np.inf)  # equal values give exact zeros
    d = d - np.sum(d, axis=1, keepdims=True, where=known) / np.maximum(count, 1)
    std = np.sqrt(np.sum(d * d, axis=1, keepdims=True, where=known) / np.maximum(count - 1, 1))
    return np.where(std > 0, d / std, np.where(known, 0.0, np.nan))


def _cs_rank(x: Floats, mask: NDArray[np.bool_]) -> Floats:
    """Rank of each name in its date as a share of the names known: (0, 1], ties averaged."""
    rank, count = ranks(np.where(mask, finite(x), np.nan))
    return (rank + 1) / np.maximum(count, 1)


def _cs_zscore(x: Floats, mask: NDArray[np.bool_]) -> Floats:
    with np.errstate(all="ignore"):
        return finite(zscores(np.where(mask, finite(x), np.nan)))


# The table.

Reads = Literal["row", "shift", "window", "past", "date"]


@dataclass(frozen=True)
class Operator:
    """One entry of the table.

    compute(*series, *numbers): (T, N) float64 in and out; those that read "date" take a (T, N) bool mask last.
    reads: "row" the same cell; "shift" the row n before; "window" the last n rows; "past" all rows until t (recursive);
    "date" the names of row t. least: the smallest n that makes sense. symbol: how it is written between its inputs.
    """

    name: str
    compute: Callable[..., Floats]
    inputs: tuple[str, ...]
    numbers: tuple[str, ...] = ()
    reads: Reads = "row"
    least: int = 1
    symbol: str = ""

    @property
    def signature(self) -> str:
        """How it is called, e.g. ``mean(x, n)``."""
        return f"{self.name}({', '.join(self.inputs + self.numbers)})"


def _table() -> dict[str, Operator]:
    x, xy, n = ("x",), ("x", "y"), ("n",)
    binary = {
        "add": (np.add, "+"), "sub": (np.subtract, "-"), "mul": (np.multiply, "*"), "div": (np.true_divide, "/"),
        "power": (_power, "**"), "greater": (_greater, ""), "less": (_less, ""),
    }  # fmt: skip
    logic = {
        "gt": (np.greater, ">"), "ge": (np.greater_equal, ">="), "lt": (np.less, "<"), "le": (np.less_equal, "<="),
        "eq": (np.equal, "=="), "ne": (np.not_equal, "!="), "and": (np.logical_and, "and"), "or": (np.logical_or, "or"),
    }  # fmt: skip
    rows = [Operator(k, _row(f), xy, symbol=s) for k, (f, s) in binary.items()]
    rows += [Operator(k, _logic(f), xy, symbol=s) for k, (f, s) in logic.items()]
    rows += [
        Operator("neg", _row(np.negative), x, symbol="-"),
        Operator("not", _logic(np.logical_not), x, symbol="not "),
    ]
    rows += [Operator("abs", _row(np.abs), x), Operator("sign", _row(np.sign), x), Operator("log", _row(np.log), x)]
    rows += [Operator("if", _row(_if), ("condition", "x", "y"))]
    shifts = [Operator(k, _by_block(f), x, n, "shift") for k, f in (("ref", _ref), ("delta", _delta))]
    single = {"mean": _mean, "sum": _sum, "max": _max, "min": _min, "idxmax": _idxmax, "idxmin": _idxmin, "med": _med,
              "mad": _mad, "rank": _rank, "count": _count, "wma": _wma}  # fmt: skip
    double = {"std": _std, "var": _var, "slope": _slope, "rsquare": _rsquare, "resi": _resi}
    windows = [Operator(k, _by_block(f), x, n, "window") for k, f in single.items()]
    windows += [Operator(k, _by_block(f), x, n, "window", 2) for k, f in double.items()]
    windows += [Operator(k, _by_block(f, 2), xy, n, "window", 2) for k, f in (("corr", _corr), ("cov", _cov))]
    windows += [Operator("quantile", _by_block(_quantile), x, ("n", "q"), "window")]
    rest = [Operator("ema", _ema, x, n, "past")]
    rest += [Operator(k, f, x, (), "date") for k, f in (("cs_rank", _cs_rank), ("cs_zscore", _cs_zscore))]
    return {o.name: o for o in [*rows, *shifts, *windows, *rest]}


OPERATORS: dict[str, Operator] = _table()
