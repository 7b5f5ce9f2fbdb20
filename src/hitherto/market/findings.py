"""Findings: what looks odd in bars but is no error. Each is counted, with its first example, and printed in reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from hitherto.market.bars import Bars

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
JUMP = 0.5  # adjusted close-to-close move called a jump
STEP = 0.002  # price step, as a fraction of the price, from which small returns are mostly rounding
FLAT = 10  # bars in a row at one price called a flat run
FALL = 1e-3  # fall of the factor, as a fraction: smaller ones are rounding of the vendor's factor


@dataclass(frozen=True)
class Finding:
    """One thing a data check saw: ``code`` is stable, ``where`` names symbol and date, ``text`` is a sentence."""

    code: str
    where: str
    text: str
    count: int = 1


def find(bars: Bars) -> tuple[Finding, ...]:
    """Return the findings of validated bars, most consequential first."""
    return tuple(f for check in CHECKS for f in check(bars))


def _where(bars: Bars, i: int) -> str:
    return f"{bars.symbols[bars.column[i]]} {bars.sessions[bars.row[i]]}"


def _one(bars: Bars, code: str, rows: NDArray[np.intp], text: Callable[[int, int, int], str]) -> Iterator[Finding]:
    """Yield one finding for the given bar rows: ``text(count, symbols, first)``."""
    if len(rows):
        first = int(rows[0])
        yield Finding(code, _where(bars, first), text(len(rows), len(np.unique(bars.column[rows])), first), len(rows))


def _follows(bars: Bars) -> Flags:
    """(R,) bool: the bar has an earlier bar of the same listing just before it in the table."""
    out = np.zeros(len(bars.row), bool)
    out[1:] = bars.column[1:] == bars.column[:-1]
    return out


def survivorship(bars: Bars) -> Iterator[Finding]:
    """Every symbol is alive on the last date."""
    last = len(bars.times) - 1
    N = len(bars.symbols)
    if N > 1 and all(b == last for _, b in bars.lifetimes):
        text = f"all {N} symbols live to the last date: those that failed earlier are not here (survivorship)"
        yield Finding("survivorship", f"{bars.symbols[0]} {bars.sessions[-1]}", text, N)


def factor_falls(bars: Bars) -> Iterator[Finding]:
    """A cumulative adjustment factor falls, which dividends and splits hardly ever do."""
    factor = bars.values.get("factor")
    if factor is None:
        return
    fall = np.flatnonzero(_follows(bars)[1:] & (factor[1:] < factor[:-1] * (1 - FALL))) + 1

    def text(count: int, symbols: int, i: int) -> str:
        drop = 100 * (1 - factor[i] / factor[i - 1])
        return f"the factor falls on {count} bars of {symbols} symbols, first by {drop:.1f} %: often a vendor's error"

    yield from _one(bars, "factor_falls", fall, text)


def factor_missing(bars: Bars) -> Iterator[Finding]:
    """A bar has a price and no factor: its adjusted price is unknown."""
    factor = bars.values.get("factor")
    if factor is not None:
        lacking = np.flatnonzero(np.isnan(factor))
        yield from _one(
            bars, "factor_missing", lacking, lambda c, s, _: f"{c} bars of {s} symbols have a price but no factor"
        )


def jumps(bars: Bars) -> Iterator[Finding]:
    """Adjusted closes that move by more than half between neighbouring bars."""
    close = bars.values["close"] * bars.values.get("factor", 1.0)
    with np.errstate(invalid="ignore"):
        move = close[1:] / close[:-1] - 1
    far = np.flatnonzero(_follows(bars)[1:] & (np.abs(move) > JUMP)) + 1

    def text(count: int, symbols: int, i: int) -> str:
        kind = "adjusted close" if "factor" in bars.values else "close"
        first = f"{100 * move[i - 1]:+.0f} %"
        return f"the {kind} moves by more than 50 % on {count} bars of {symbols} symbols, first by {first}"

    yield from _one(bars, "jump", far, text)


def outside_range(bars: Bars) -> Iterator[Finding]:
    """Open or close lie outside [low, high]."""
    v = bars.values
    out = np.zeros(len(bars.row), bool)
    for name in ("open", "close"):
        if name in v:
            for bound, sign in (("high", 1), ("low", -1)):
                if bound in v:
                    out |= sign * v[name] > sign * v[bound]
    odd = np.flatnonzero(out)
    yield from _one(
        bars, "outside_high_low", odd, lambda c, s, _: f"open or close lie outside low..high on {c} bars of {s} symbols"
    )


def zero_volume(bars: Bars) -> Iterator[Finding]:
    """Volume 0 although the price moved: not taken for a suspension."""
    volume = bars.values.get("volume")
    if volume is not None:
        odd = np.flatnonzero((volume == 0) & ~bars.suspended)
        yield from _one(
            bars, "zero_volume", odd, lambda c, s, _: f"volume is 0 although the price moved on {c} bars of {s} symbols"
        )


def gaps(bars: Bars) -> Iterator[Finding]:
    """Bars that are absent inside a listing's life."""
    step = np.where(_follows(bars), np.diff(bars.row, prepend=0), 1)
    after = np.flatnonzero(step > 1)
    if len(after):
        count = int((step[after] - 1).sum())
        symbols = len(np.unique(bars.column[after]))
        text = f"{count} bars are missing inside the lives of {symbols} symbols, first before this date"
        yield Finding("gaps", _where(bars, int(after[0])), text, count)


def quantised(bars: Bars) -> Iterator[Finding]:
    """Closes on a grid so coarse that small returns are rounding."""
    close = bars.values["close"]
    starts = np.flatnonzero(~_follows(bars))
    coarse = np.zeros(len(close), bool)
    todo = np.ones(len(bars.symbols), bool)
    # The grid of a listing is 10^-d, d the fewest decimals that write all of its closes (to float32 precision).
    for d in range(6):
        scaled = close * 10.0**d
        off = np.abs(scaled - np.rint(scaled)) > 1e-9 + 2e-7 * scaled
        on = todo & (np.add.reduceat(off, starts, dtype=np.int64) == 0)
        # Beyond 1e6 steps float32 cannot tell a grid from none, and no step is coarse there anyway.
        coarse |= on[bars.column] & (10.0**-d > STEP * close) & ~bars.suspended
        todo &= ~on

    def text(count: int, symbols: int, i: int) -> str:
        size = f"{100 * STEP:g} % of the price"
        return f"{count} closes of {symbols} symbols are rounded to steps above {size} (first: {close[i]:g})"

    yield from _one(bars, "quantised_prices", np.flatnonzero(coarse), text)


def flat_runs(bars: Bars) -> Iterator[Finding]:
    """Many bars in a row at exactly one close, though not suspended."""
    close = bars.values["close"]
    same = _follows(bars) & ~bars.suspended
    same[1:] &= close[1:] == close[:-1]
    # A run of k equal steps is k + 1 bars at one price.
    edge = np.flatnonzero(np.diff(np.r_[False, same, False].astype(np.int8)))
    begin, end = edge[::2], edge[1::2]
    long = begin[end - begin >= FLAT - 1]
    yield from _one(
        bars, "flat_runs", long, lambda c, s, _: f"{c} runs of {FLAT} or more bars at one close, in {s} symbols"
    )


def twins(bars: Bars) -> Iterator[Finding]:
    """Two symbols with the very same closes."""
    close, starts = bars.values["close"], np.flatnonzero(~_follows(bars))
    seen: dict[bytes, int] = {}
    pairs = []
    for n, (a, b) in enumerate(zip(starts, [*starts[1:], len(close)], strict=True)):
        key = bars.row[a:b].tobytes() + close[a:b].tobytes()
        if b - a > 1 and (other := seen.setdefault(key, n)) != n:
            pairs.append((other, n))
    if pairs:
        a, b = (bars.symbols[k] for k in pairs[0])
        text = f"{len(pairs)} symbols repeat another one's closes, first {b} those of {a}"
        yield Finding("identical_symbols", b, text, len(pairs))


CHECKS = (
    survivorship, factor_falls, factor_missing, jumps, outside_range, zero_volume, gaps, quantised, flat_runs, twins,
)  # fmt: skip
