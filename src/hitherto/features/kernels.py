"""The fast twins of operators.py: one scan over a series serves all its nested windows.

Every function takes (R, N) float64 series, rows in time order, one column per listing; NaN and infinity are unknown.
Rows before ``start`` are warm-up: they are read, never computed, and a result is that of the whole history if they
number at least the longest window less one. ``windows`` ascend. Results are (R - start, N) float64 arrays by
(operator, window), finite or NaN, by the rules of operators.py; a finite-window value depends on the rows of its
window only, bit for bit, wherever history starts and however rows and columns are cut. All kernels release the GIL.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import ConfigError
from hitherto.features import kernels_moments, kernels_orders, kernels_pairs, kernels_past

Floats = NDArray[np.float64]
Results = dict[tuple[str, int], Floats]
State = dict[str, Floats]

MOMENTS = kernels_moments.OPS
PAIRS = kernels_pairs.OPS
ORDERS = ("max", "idxmax", "min", "idxmin", "rank")
DECAYS = kernels_past.DECAYS
EXPANDING = kernels_past.EXPANDING
LONGEST = 200_000  # rows of a window: its sum of squared ages stays a whole number below 2**53


def moments(x: Floats, start: int, windows: Sequence[int], ops: Sequence[str]) -> Results:
    """Return sums over windows: ops among sum, count, mean, var, std, slope, resi, rsquare, wma, skew, kurt."""
    return _windowed(kernels_moments.moments, (x,), start, windows, ops, MOMENTS)


def pairs(x: Floats, y: Floats, start: int, windows: Sequence[int], ops: Sequence[str]) -> Results:
    """Return cov and corr over windows, over the rows where both series are known."""
    return _windowed(kernels_pairs.pairs, (x, y), start, windows, ops, PAIRS)


def orders(x: Floats, start: int, windows: Sequence[int], ops: Sequence[str]) -> Results:
    """Return max, idxmax, min, idxmin (earliest of equals, 1 = the first known row) and rank (share, ties averaged)."""
    _check(ops, ORDERS)
    out: Results = {}
    for sign, names in ((1.0, ("max", "idxmax")), (-1.0, ("min", "idxmin"))):
        wanted = [name for name in names if name in ops]

        def extremes(*a: Any, sign: float = sign) -> None:
            kernels_orders.extremes(*a[:4], sign, *a[4:])

        out |= _windowed(extremes, (x,), start, windows, wanted, names) if wanted else {}
    if "rank" in ops:

        def ranks(x: Floats, shape: tuple[int, int], start: int, spans: Any, _o: Any, out: Floats) -> None:
            kernels_orders.ranks(x, shape, start, spans, out)

        out |= _windowed(ranks, (x,), start, windows, ("rank",), ORDERS)
    return out


def quantiles(
    x: Floats, start: int, windows: Sequence[int], levels: Sequence[float]
) -> dict[tuple[str, int, float], Floats]:
    """Return {("quantile", window, level)}: linear interpolation between the known values; the median is level .5."""
    levels = tuple(dict.fromkeys(float(q) for q in levels))
    if not all(0 <= q <= 1 for q in levels):
        raise ConfigError(f"quantiles: levels are between 0 and 1, got {levels}; e.g. (0.2, 0.8)")
    names = tuple(map(str, levels))

    def run(x: Floats, shape: tuple[int, int], start: int, spans: Any, _o: Any, out: Floats) -> None:
        kernels_orders.quantiles(x, shape, start, spans, np.asarray(levels, np.float64), out)

    got = _windowed(run, (x,), start, windows, names, names)
    return {("quantile", w, q): got[str(q), w] for q in levels for w in windows}


def mads(x: Floats, start: int, windows: Sequence[int]) -> Results:
    """Return {("mad", window)}: the mean absolute deviation from the window's mean."""

    def run(x: Floats, shape: tuple[int, int], start: int, spans: Any, _o: Any, out: Floats) -> None:
        kernels_moments.mads(x, shape, start, spans, out)

    return _windowed(run, (x,), start, windows, ("mad",), ("mad",))


def ema(x: Floats, alpha: float, state: State | None = None) -> tuple[Floats, State]:
    """Return the exponential mean of every row, (R, N), and the state after the last (see ``decays``)."""
    out, state = decays(x, alpha, ("mean",), state)
    return out["mean"], state


def decays(
    x: Floats, alpha: float, ops: Sequence[str] = DECAYS, state: State | None = None
) -> tuple[dict[str, Floats], State]:
    """Return exponential mean, var, std of every row, each (R, N), by operator, and the state after the last row.

    The value of row t - k weighs (1 - alpha)^k, 0 < alpha <= 1; unknown values are skipped while ages count. A state
    is a dict of (N,) float64 arrays; None starts anew. Rows fed in any number of calls give the same bits as in one;
    the state passed in is not changed.
    """
    if not 0 < alpha <= 1:
        raise ConfigError(
            f"decays: alpha is above 0 and at most 1, got {alpha}; a span of n rows is alpha = 2 / (n + 1)"
        )
    start = {"mean": np.nan, "square": 0.0, "weight": 0.0, "weight2": 0.0, "count": 0.0}
    return _recursive(
        lambda x, s, o, out: kernels_past.decays(x, float(alpha), *s, o, out), x, ops, DECAYS, state, start
    )


def expanding(x: Floats, ops: Sequence[str] = EXPANDING, state: State | None = None) -> tuple[dict[str, Floats], State]:
    """Return sum, count, mean, var, std, max, min of all rows until t, each (R, N), and the state after the last row.

    Recursive (Welford 1962): equal to the operators with n = 0 up to rounding. States as in ``decays``.
    """
    start = {"count": 0.0, "total": 0.0, "mean": 0.0, "square": 0.0, "high": -np.inf, "low": np.inf}
    return _recursive(lambda x, s, o, out: kernels_past.expanding(x, *s, o, out), x, ops, EXPANDING, state, start)


def _check(ops: Sequence[str], known: Sequence[str]) -> None:
    strange = [op for op in ops if op not in known]
    if strange:
        raise ConfigError(f"kernels: unknown operator {strange[0]!r}; one of {', '.join(known)}")


def _ready(x: Floats) -> Floats:
    return np.require(x, np.float64, ["C", "W"])  # one signature: a read-only array would be compiled for again


def _codes(ops: Sequence[str], known: Sequence[str]) -> NDArray[np.int64]:
    _check(ops, known)
    return np.array([known.index(op) for op in ops], np.int64)


def _windowed(
    f: Callable[..., Any],
    series: tuple[Floats, ...],
    start: int,
    windows: Sequence[int],
    ops: Sequence[str],
    known: Sequence[str],
) -> Results:
    """Run f(*series, start, spans, codes, out) and name its output (ops, windows, rows, columns)."""
    if not windows or list(windows) != sorted({*windows}) or windows[0] < 1 or windows[-1] > LONGEST:
        raise ConfigError(f"kernels: windows ascend from 1 to at most {LONGEST:,} rows, got {tuple(windows)}")
    rows, columns = series[0].shape
    if any(x.shape != (rows, columns) for x in series) or not 0 <= start <= rows:
        raise ConfigError(
            f"kernels: series of {[x.shape for x in series]} from row {start}; want equal (R, N), start <= R"
        )
    ops = tuple(dict.fromkeys(ops))
    codes = _codes(ops, known)
    out = np.empty((len(ops), len(windows), rows - start, columns))
    if out.size:
        spans = np.minimum(np.array(windows, np.int64), rows)  # no window reaches before the first row
        f(*(_ready(x).ravel() for x in series), (rows, columns), start, spans, codes, out.ravel())
    return {(op, w): out[s, q] for s, op in enumerate(ops) for q, w in enumerate(windows)}


def _recursive(
    f: Callable[..., Any],
    x: Floats,
    ops: Sequence[str],
    known: Sequence[str],
    state: State | None,
    fresh: dict[str, float],
) -> tuple[dict[str, Floats], State]:
    columns = x.shape[1]
    if state is None:
        state = {name: np.full(columns, value) for name, value in fresh.items()}
    if {*state} != {*fresh} or any(a.shape != (columns,) for a in state.values()):
        raise ConfigError(f"kernels: a state holds {', '.join(fresh)}, each ({columns},); got "
                          + ", ".join(f"{k} {a.shape}" for k, a in state.items()))  # fmt: skip
    ops = tuple(dict.fromkeys(ops))
    codes = _codes(ops, known)
    state = {name: np.array(state[name], np.float64) for name in fresh}
    out = np.empty((len(ops), *x.shape))
    f(_ready(x), tuple(state.values()), codes, out)
    return {op: out[s] for s, op in enumerate(ops)}, state
