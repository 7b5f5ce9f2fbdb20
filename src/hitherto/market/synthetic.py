"""Toy markets with planted truth: what a model can learn there is known exactly, so that learning can be tested.

Every market is a pure function of its seed. Returns feed on themselves: bar t+2 is drawn from its conditional mean,
which is a function of bars up to t, plus noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import ConfigError
from hitherto.market.bars import Bars, read
from hitherto.seeds import generator

Floats = NDArray[np.float64]
SIGMA = 0.02  # standard deviation of a bar's close-to-close return
FIRST = np.datetime64("2010-01-04", "D")


@dataclass(frozen=True, eq=False)
class Toy:
    """A market and its truth.

    bars: OHLCV, N symbols. truth: (T, N) float64, what is knowable at t about the return close(t+1) -> close(t+2):
    the conditional mean of ``forward_return(panel, (1,), "next_close")`` given rows 0..t, NaN where nothing is listed.
    inputs: feature expressions from which the truth can be learnt. marks: what was planted, by name.
    """

    bars: Bars
    truth: Floats
    description: str
    inputs: tuple[str, ...] = ("close / ref(close, 1) - 1",)
    marks: Mapping[str, object] = field(default_factory=dict)


def noise(seed: int, bars: int = 1500, symbols: int = 30) -> Toy:
    """Return a pure random walk: truth 0 everywhere; whatever is found there is luck or a leak."""
    g = generator(seed, "toy", "noise")
    r = SIGMA * g.standard_normal((bars, symbols))
    return Toy(_market(g, r), np.zeros((bars, symbols)), "random walks: nothing can be forecast")


def linear(seed: int, bars: int = 1500, symbols: int = 30, strength: float = 0.05) -> Toy:
    """Return a market with one linear factor, five-bar reversal: truth = -c (close / ref(close, 5) - 1).

    strength: standard deviation of the truth over that of returns, so about the IC of the truth (0 < strength <= 0.4).
    """
    _check(bars, 10, strength)
    g = generator(seed, "toy", "linear")
    c = strength / np.sqrt(5)

    def truth(close: Floats, t: int) -> Floats:
        return -c * (close[t] / close[t - 5] - 1.0)

    r, planted = _grow(g, bars, symbols, truth, lookback=6, spread=np.sqrt(1 - strength**2))
    text = f"linear: truth = -{c:.4g} x (close / ref(close, 5) - 1), a reversal; IC of the truth about {strength:g}"
    return Toy(_market(g, r), planted, text, ("close / ref(close, 5) - 1", "close / ref(close, 1) - 1"))


def nonlinear(seed: int, bars: int = 1500, symbols: int = 30, strength: float = 0.4) -> Toy:
    """Return a market whose truth is a product over the last 20 bars, which no linear or short-sighted model sees.

    truth = strength x sigma x h(old) x h(new): old and new are the standardised sums of the overnight returns of bars
    t-19..t-5 and t-4..t, h(u) = tanh(u) scaled to unit variance. The overnight returns are independent and symmetric,
    so given bars t-4..t alone (a last row and four lags), or in any linear model, the truth has mean 0 exactly.
    strength: standard deviation of the truth over that of returns = IC of the truth (0 < strength <= 0.6).
    """
    _check(bars, 25, strength, most=0.6)
    g = generator(seed, "toy", "nonlinear")
    share = 0.3  # of the variance that comes overnight
    z = g.standard_normal((bars, symbols))
    total = np.vstack([np.zeros((1, symbols)), np.cumsum(z, axis=0)])
    planted = np.zeros((bars, symbols))
    t = np.arange(19, bars)
    old = (total[t - 4] - total[t - 19]) / np.sqrt(15)
    new = (total[t + 1] - total[t - 4]) / np.sqrt(5)
    planted[t] = strength * SIGMA * np.tanh(old) * np.tanh(new) / _tanh_variance()
    day = SIGMA * np.sqrt(1 - share - strength**2) * g.standard_normal((bars, symbols))
    day[2:] += planted[:-2]
    night = SIGMA * np.sqrt(share) * z
    text = (
        "non-linear: tanh(sum of overnight returns of bars t-19..t-5) x tanh(the same of t-4..t); "
        f"IC of the truth about {strength:g}, of any linear model or of the last five bars 0"
    )
    return Toy(_market(g, (1 + night) * (1 + day) - 1, night), planted, text, ("open / ref(close, 1) - 1",))


def cross_stock(seed: int, bars: int = 1500, symbols: int = 30, strength: float = 0.4) -> Toy:
    """Return a market in which a stock's truth lies in the *other* stocks of its date: follow the volume of your likes.

    truth = strength x sigma x a_n x c_n. a_n = h(overnight return of bar t), h as in ``nonlinear``; c_n = the sum over
    the others j != n of (a_j - mean a)(v_j - mean v) / sqrt(N - 2), v = (log(volume) - 13) / 0.5, the means also over
    the others: do the stocks that opened like n trade more than those that opened the other way? It is dot-product
    attention over one date. Both inputs are drawn independently of each other and from stock to stock and bar to bar.
    Hence the conditional mean of the truth is 0 exactly (a) given all bars 0..t of stock n; (b) given also each
    input's values on the date without the stocks they belong to, so given every cross-sectional rank, z-score or mean
    of one input: which a goes with which v is a random pairing, and over pairings a covariance has mean 0.
    A model must read two inputs of several stocks of one date. strength: standard deviation of the truth over that of
    returns = IC of the truth over all samples (0 < strength <= 0.6); the mean of its daily ICs is about 0.8 of it,
    since c_n is nearly one number per date.
    """
    _check(bars, 25, strength, most=0.6)
    if symbols < 5:
        raise ConfigError(f"cross_stock: symbols >= 5 are needed, got {symbols}")
    g = generator(seed, "toy", "cross_stock")
    share = 0.3  # of the variance that comes overnight
    z = g.standard_normal((bars, symbols))
    volume = np.ceil(np.exp(13.0 + 0.5 * g.standard_normal((bars, symbols))))
    a = np.tanh(z) / np.sqrt(_tanh_variance())
    planted = strength * SIGMA * a * _covariance_of_others(a, (np.log(volume) - 13.0) / 0.5)
    planted[0] = 0.0  # the first bar has no overnight return to see
    day = SIGMA * np.sqrt(1 - share - strength**2) * g.standard_normal((bars, symbols))
    day[2:] += planted[:-2]
    night = SIGMA * np.sqrt(share) * z
    text = (
        "cross-stock: tanh(overnight return) x covariance of tanh(overnight return) and log(volume) over the others; "
        f"IC of the truth about {strength:g}, of any model that reads one stock at a time 0"
    )
    made = _market(g, (1 + night) * (1 + day) - 1, night, volume)
    return Toy(made, planted, text, ("open / ref(close, 1) - 1", "log(volume)"))


def events(seed: int, bars: int = 600, symbols: int = 12) -> Toy:
    """Return a market with halts, +-10 % limits, a delisting, a split, a late listing and late-published reports.

    Truth is 0 (random walks, returns cut at the limits). Prices have 2 decimals, ``factor`` is the cumulative split
    factor. S000 never halts. Field ``report``: the value of a quarter enters the row on which it was published, 20 bars
    after the quarter's end, and moves the price on that very bar: whoever dates it at the quarter's end sees the
    future. ``marks``: halts (symbol, first, last), delisted, listed, split (symbol, row), reports (symbol, quarter's
    end, published, value), limits (T, N) int8 +1/-1 where the close is at its limit (some at one price).
    """
    if bars < 200 or symbols < 6:
        raise ConfigError(f"events: bars >= 200 and symbols >= 6 are needed, got {bars} and {symbols}")
    g = generator(seed, "toy", "events")
    T, N = bars, symbols
    r = 1.2 * SIGMA * g.standard_t(4, (T, N))
    halted = np.zeros((T, N), bool)
    for n in range(1, N):
        for first in g.choice(np.arange(20, T - 40, 40), size=2, replace=False):
            first = int(first) + int(g.integers(0, 10))
            halted[first : first + int(g.integers(5, 20)), n] = True
    reports, report = [], np.full((T, N), np.nan)
    for n in range(N):
        for end in range(30 + int(g.integers(0, 10)), T - 21, 60):
            value = float(g.standard_normal())
            r[end + 20, n] += 0.03 * value
            report[end + 20 :, n] = value
            halted[end + 20, n] = False
            reports.append((f"S{n:03d}", end, end + 20, value))
    split, born, gone = T // 2 + 50, 3 * T // 10, 3 * T // 5
    halted[split - 1 : split + 1, 2] = False
    close, factor, limits = np.zeros((T, N)), np.ones((T, N)), np.zeros((T, N), np.int8)
    factor[split:, 2] = 2.0
    before = np.round(10 + 20 * g.random(N), 2)
    for t in range(T):
        reference = np.round(before * (factor[t - 1] / factor[t] if t else 1.0), 2)
        high, low = np.round(reference * 1.1, 2), np.round(reference * 0.9, 2)
        close[t] = np.where(halted[t], reference, np.clip(np.round(reference * (1 + r[t]), 2), low, high))
        limits[t] = np.where(halted[t], 0, (close[t] == high).astype(np.int8) - (close[t] == low))
        before = close[t]
    live = np.ones((T, N), bool)
    live[:born, 3] = False
    live[gone + 1 :, 1] = False
    halted &= live
    limits[~live] = 0
    reference = np.round(np.vstack([close[:1], close[:-1]]) * np.vstack([factor[:1], factor[:-1]]) / factor, 2)
    fields = _shape(g, close, reference)
    one_price = halted | ((limits != 0) & (g.random((T, N)) < 0.3))
    for name in ("open", "high", "low"):
        clipped = np.clip(np.round(fields[name], 2), np.round(reference * 0.9, 2), np.round(reference * 1.1, 2))
        fields[name] = np.where(one_price, close, clipped)
    fields["high"] = np.maximum(fields["high"], np.maximum(fields["open"], close))
    fields["low"] = np.minimum(fields["low"], np.minimum(fields["open"], close))
    fields["volume"] = np.where(halted, 0.0, fields["volume"])
    for values in fields.values():
        values[~live] = np.nan
    made = _bars({**fields, "factor": factor, "report": report})
    marks = {
        "halts": _runs(halted),
        "delisted": ("S001", gone), "listed": ("S003", born), "split": ("S002", split), "reports": tuple(reports),
        "limits": limits,
    }  # fmt: skip
    text = "events: halts, limits, a delisting, a split, a late listing, reports published 20 bars late; truth 0"
    return Toy(made, np.where(live, 0.0, np.nan), text, marks=marks)


def _tanh_variance() -> float:
    """E[tanh(u)^2] of a standard normal u."""
    x, w = np.polynomial.hermite_e.hermegauss(80)
    return float((w * np.tanh(x) ** 2).sum() / w.sum())


def _covariance_of_others(a: Floats, v: Floats) -> Floats:
    """(T, N): sum over j != n of (a_j - mean)(v_j - mean), means over j != n too, in units of variance 1."""
    others = a.shape[1] - 1
    sum_a, sum_v, sum_av = (x.sum(axis=1, keepdims=True) - x for x in (a, v, a * v))
    return (sum_av - sum_a * sum_v / others) / np.sqrt(others - 1)


def _runs(flags: NDArray[np.bool_]) -> tuple[tuple[str, int, int], ...]:
    """(symbol, first row, last row) of each run of True."""
    edge = np.diff(np.pad(flags.astype(np.int8), ((1, 1), (0, 0))), axis=0).T
    (n, first), (_, stop) = np.nonzero(edge == 1), np.nonzero(edge == -1)
    return tuple((f"S{k:03d}", int(a), int(b) - 1) for k, a, b in zip(n, first, stop, strict=True))


def _check(bars: int, least: int, strength: float, most: float = 0.4) -> None:
    if bars < least or not 0 < strength <= most:
        raise ConfigError(
            f"toy market: bars >= {least} and 0 < strength <= {most} are needed, got {bars} and {strength}"
        )


def _grow(
    g: np.random.Generator, bars: int, symbols: int, truth: Callable[[Floats, int], Floats], lookback: int,
    spread: float,
) -> tuple[Floats, Floats]:  # fmt: skip
    """Draw returns one bar at a time: r[t + 2] = truth(close[..t]) + noise. Returns (r, truth), both (T, N)."""
    r = SIGMA * spread * g.standard_normal((bars, symbols))
    planted, close = np.zeros((bars, symbols)), np.ones((bars, symbols))
    for t in range(bars):
        if t:
            close[t] = close[t - 1] * (1 + r[t])
        if t >= lookback - 1:
            planted[t] = truth(close, t)
            if t + 2 < bars:
                r[t + 2] += planted[t]
    return r, planted


def _market(g: np.random.Generator, r: Floats, night: Floats | None = None, volume: Floats | None = None) -> Bars:
    """Bars from close-to-close returns (T, N), the part before the open given or drawn; prices are not rounded."""
    close = np.cumprod(1 + r, axis=0, dtype=np.float64) * 100
    before = np.vstack([np.full((1, r.shape[1]), 100.0), close[:-1]])
    fields = _shape(g, close, before, night)
    return _bars(fields if volume is None else {**fields, "volume": volume})


def _shape(g: np.random.Generator, close: Floats, before: Floats, night: Floats | None = None) -> dict[str, Floats]:
    """Open, high, low and volume around given closes and reference prices."""
    if night is None:
        night = 0.3 * SIGMA * g.standard_normal(close.shape)
    open_ = before * (1 + night)
    reach = 1 + 0.3 * SIGMA * np.abs(g.standard_normal((2, *close.shape)))
    return {
        "open": open_,
        "high": np.maximum(open_, close) * reach[0],
        "low": np.minimum(open_, close) / reach[1],
        "close": close.copy(),
        "volume": np.ceil(np.exp(g.normal(13.0, 0.5, close.shape))),
    }


def _bars(fields: dict[str, Floats]) -> Bars:
    """Dense (T, N) fields to validated bars on weekdays from FIRST, closing at 15:00 UTC."""
    import polars as pl

    T, N = fields["close"].shape
    days = np.busday_offset(FIRST, np.arange(T))
    columns = {name: pl.Series(values.ravel(order="F")) for name, values in fields.items()}
    symbols = pl.Series([f"S{n:03d}" for n in range(N)]).gather(np.repeat(np.arange(N), T))
    return read(pl.DataFrame({"date": pl.Series(np.tile(days, N)), "symbol": symbols, **columns}))
