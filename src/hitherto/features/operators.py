"""The operator table: slow, obvious float64 definitions on (T, N), the oracle of every faster twin.

Rules, for all operators:

* A value is finite or NaN (unknown). Where a result would be infinite or undefined it is NaN (overflow, x / 0,
  log of 0 or less); an infinite input counts as unknown.
* A row operator (abs, log, +, if ...) is NaN where an input that it reads is NaN. Comparisons and logic give 1 or 0,
  never NaN (as in NumPy and Qlib): a comparison with an unknown operand is 0, ``!=`` included; unknown counts as false
  in ``and``, ``or`` and the condition of ``mask``; ``not`` of unknown is 0. ``if`` with an unknown condition is NaN.
  In an expression they are NaN on rows where the name is not listed (``Operator.truth``), as if those did not exist.
* A window is the last n rows of one listing, row t included. Unknown values in it are skipped, as are the rows before
  the panel begins (pandas ``rolling(n, min_periods=1)``); the result is NaN when nothing in the window is known.
  Positions (idxmax, idxmin) and the weights of wma count from 1 at the window's first known row, by rows.
* n = 0 reads every row until t (expanding); 0 < n < 1 is the exponential form with alpha = n (mean, var, std, ema).
  Both are recursive: where history starts matters.
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

from hitherto.features import cross_section, elementwise
from hitherto.features.cross_section import ranks, zscores
from hitherto.features.elementwise import Floats, finite
from hitherto.features.exponential import ema_weights, ew_mean, ew_std, ew_var

__all__ = ["OPERATORS", "Floats", "Operator", "ema_weights", "finite", "ranks", "zscores"]

CELLS = 1 << 15  # cells of one column block: its working arrays stay in the processor's cache
SORT_CELLS = 1 << 21  # cells sorted at once by the operators that sort their windows
FLAT = 1e-12  # corr and rsquare: a series that moves less than this share of its own size is rounding noise


# Windows: lag by lag, in blocks of columns.


def _by_block(
    f: Callable[..., Floats], series: int = 1, decay: Callable[..., Floats] | None = None
) -> Callable[..., Floats]:
    """Run a window operator on contiguous blocks of columns; its first ``series`` arguments are (T, N).

    A window of 0 rows stands for all rows until t; ``decay`` takes over for one between 0 and 1.
    """

    def compute(*arguments: Any) -> Floats:
        inputs, (n, *more) = arguments[:series], arguments[series:]
        T, N = inputs[0].shape
        if 0 < n < 1 and decay is not None:
            with np.errstate(all="ignore"):
                return finite(decay(finite(inputs[0]), n))
        numbers = (n or max(T, 1), *more)
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


def _age(known: NDArray[np.bool_], n: int) -> Floats:
    """Return how many rows before row t the window's first known row lies, 0 where none is known."""
    out = np.zeros(known.shape)
    for k in _lags(out, n):
        out[k:][known[:-k]] = k
    return out


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


def _moments(x: Floats, n: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Known values, and the means of the squared, cubed and fourth powers of their deviations; NaN where flat."""
    w = _Window(x, n)
    cubes, fourths = np.zeros_like(x), np.zeros_like(x)
    for k in w.lags():
        d = w.deviation(k)
        square = d * d
        cubes[k:] += square * d
        fourths[k:] += square * square
    squares = w.squares()
    count = np.where(w.flat(squares), np.nan, w.count)
    return count, squares / count, cubes / count, fourths / count


def _skew(x: Floats, n: int) -> Floats:
    """Bias-corrected skewness (pandas): three known values at least."""
    m, m2, m3, _ = _moments(x, n)
    return np.where(m > 2, np.sqrt(m * (m - 1)) / (m - 2) * (m3 / (m2 * np.sqrt(m2))), np.nan)


def _kurt(x: Floats, n: int) -> Floats:
    """Bias-corrected excess kurtosis (pandas): four known values at least."""
    m, m2, _, m4 = _moments(x, n)
    share = (m - 1) / ((m - 2) * (m - 3))
    return np.where(m > 3, share * ((m + 1) * (m4 / (m2 * m2)) - 3 * (m - 1)), np.nan)


def _mad(x: Floats, n: int) -> Floats:
    w = _Window(x, n)
    total = np.zeros_like(x)
    for k in w.lags():
        d = w.deviation(k)
        total[k:] += np.abs(d, out=d)
    return np.where(w.count > 0, total / w.count, np.nan)


def _extreme(x: Floats, n: int) -> Floats:
    """Position of the window's largest value, the window's first known row being 1; of equal ones the earliest."""
    known = np.isfinite(x)
    filled = np.where(known, x, -np.inf)
    best, lag = filled.copy(), np.zeros(x.shape)
    for k in _lags(x, n):
        older = filled[:-k] >= best[k:]
        np.copyto(best[k:], filled[:-k], where=older)
        lag[k:][older] = k
    return np.where(np.isinf(best), np.nan, _age(known, n) - lag + 1)


def _max(x: Floats, n: int) -> Floats:
    filled = np.where(np.isfinite(x), x, -np.inf)
    out = filled.copy()
    for k in _lags(x, n):
        np.maximum(out[k:], filled[:-k], out=out[k:])
    return out + 0.0  # one zero only: which of 0 and -0 wins is the processor's choice


def _min(x: Floats, n: int) -> Floats:
    return -_max(-x, n) + 0.0


def _idxmax(x: Floats, n: int) -> Floats:
    return _extreme(x, n)


def _idxmin(x: Floats, n: int) -> Floats:
    return _extreme(-x, n)


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
    """Mean with weights 1, 2, ... from the window's first known row on, over the known values."""
    known = np.isfinite(x)
    pivot, age = _latest(x, known), _age(known, n)
    filled, counts = np.where(known, x, 0.0), known.astype(np.float64)
    total, weights = np.zeros_like(x), np.zeros_like(x)
    for k in range(min(n, len(x))):
        stop = len(x) - k
        weight = (age[k:] - k + 1) * counts[:stop]
        total[k:] += weight * (filled[:stop] - pivot[k:])
        weights[k:] += weight
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


def _ema(x: Floats, n: float) -> Floats:
    """Exponential mean: alpha = 2 / (n + 1) for n >= 1, n itself below; n = 0: a span that grows with the rows seen."""
    with np.errstate(all="ignore"):
        x = finite(x)
        return finite(_growing_ema(x) if n == 0 else ema_weights(x, n if n < 1 else 2.0 / (n + 1))[0])


def _growing_ema(x: Floats) -> Floats:
    """Exponential mean at row t with alpha = 2 / (m + 1), m the rows from the first known one to t."""
    known = np.isfinite(x)
    keep = 1 - 2 / (_age(known, len(x)) + 2)
    pivot, filled, counts = _latest(x, known), np.where(known, x, 0.0), known.astype(np.float64)
    weight, total, weights = np.ones_like(x), np.zeros_like(x), np.zeros_like(x)
    for k in range(len(x)):
        stop = len(x) - k
        here = weight[k:] * counts[:stop]
        total[k:] += here * (filled[:stop] - pivot[k:])
        weights[k:] += here
        weight *= keep
    return np.where(weights > 0, pivot + total / weights, np.nan)


# The table.

Reads = Literal["row", "shift", "window", "past", "date"]
Form = Literal["expanding", "exponential"]


@dataclass(frozen=True)
class Operator:
    """One entry of the table.

    compute(*series, *numbers): (T, N) float64 in and out; those that read "date" take a (T, N) bool mask last.
    reads: "row" the same cell; "shift" the row n before; "window" the last n rows; "past" all rows until t (recursive);
    "date" the names of row t. least: the smallest n >= 1 that makes sense. symbol: how it stands between its inputs.
    forms: what else n may be: "expanding" (n = 0), "exponential" (0 < n < 1); both are recursive.
    variadic: the last input may be repeated. truth: 1 or 0, also where an input is unknown; an expression makes it NaN
    on rows where the name is not listed, so that a window at the head of a late listing does not count them.
    """

    name: str
    compute: Callable[..., Floats]
    inputs: tuple[str, ...]
    numbers: tuple[str, ...] = ()
    reads: Reads = "row"
    least: int = 1
    symbol: str = ""
    forms: tuple[Form, ...] = ()
    variadic: bool = False
    truth: bool = False

    @property
    def signature(self) -> str:
        """How it is called, e.g. ``mean(x, n)``."""
        return f"{self.name}({', '.join((*self.inputs, *('...',) * self.variadic, *self.numbers))})"


def _windows() -> list[Operator]:
    x, n = ("x",), ("n",)
    expanding: tuple[Form, ...] = ("expanding",)
    both: tuple[Form, ...] = ("expanding", "exponential")
    slow = {"sum": (_sum, 1), "max": (_max, 1), "min": (_min, 1), "idxmax": (_idxmax, 1), "idxmin": (_idxmin, 1),
            "med": (_med, 1), "mad": (_mad, 1), "rank": (_rank, 1), "count": (_count, 1), "wma": (_wma, 1),
            "slope": (_slope, 2), "rsquare": (_rsquare, 2), "resi": (_resi, 2),
            "skew": (_skew, 3), "kurt": (_kurt, 4)}  # fmt: skip
    decaying = {"mean": (_mean, ew_mean, 1), "std": (_std, ew_std, 2), "var": (_var, ew_var, 2)}
    rows = [Operator(k, _by_block(f, 1, d), x, n, "window", low, forms=both) for k, (f, d, low) in decaying.items()]
    rows += [Operator(k, _by_block(f), x, n, "window", low, forms=expanding) for k, (f, low) in slow.items()]
    rows += [Operator(k, _by_block(f, 2), ("x", "y"), n, "window", 2, forms=expanding)
             for k, f in (("corr", _corr), ("cov", _cov))]  # fmt: skip
    rows += [Operator("quantile", _by_block(_quantile), x, ("n", "q"), "window", forms=expanding)]
    return [*rows, Operator("ema", _ema, x, n, "past", forms=both)]


def _dates() -> list[Operator]:
    c, x, group = cross_section, ("x",), ("x", "group")
    one = {"cs_rank": c.cs_rank, "cs_zscore": c.cs_zscore, "cs_demean": c.cs_demean}
    two = {"cs_group_mean": c.cs_group_mean, "cs_group_neutralize": c.cs_group_neutralize}
    rows = [Operator(k, f, x, (), "date") for k, f in one.items()]
    rows += [Operator(k, f, group, (), "date") for k, f in two.items()]
    rows += [Operator("cs_winsorize", c.cs_winsorize, x, ("limit",), "date")]
    return [*rows, Operator("cs_neutralize", c.cs_neutralize, ("x", "factor"), (), "date", variadic=True)]


def _table() -> dict[str, Operator]:
    x, n = ("x",), ("n",)
    truths = elementwise.TRUTHS
    rows = [Operator(k, f, ("x", "y"), symbol=s, truth=k in truths) for k, (f, s) in elementwise.BINARY.items()]
    rows += [Operator(k, f, x, symbol=s, truth=k in truths) for k, (f, s) in elementwise.UNARY.items()]
    rows += [Operator("if", elementwise.IF, ("condition", "x", "y"))]
    rows += [Operator("mask", elementwise.MASK, ("x", "condition"))]
    rows += [Operator(k, _by_block(f), x, n, "shift") for k, f in (("ref", _ref), ("delta", _delta))]
    rows += [*_windows(), *_dates()]
    return {o.name: o for o in rows}


OPERATORS: dict[str, Operator] = _table()
