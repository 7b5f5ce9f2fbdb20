"""Changes of a panel that honest numbers can bear: another scale, other listings, names, delays and more rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hitherto.panel import MASKS, PRICES, Mask, Panel

HOUR = 3_600_000_000_000  # ns


def scaled(panel: Panel, half: Mask, down: Iterable[str], up: Iterable[str], by: float) -> Panel:
    """Return the panel with ``down`` times ``by`` and ``up`` over it, for the listings of ``half``."""
    fields = dict(panel.fields)
    for names, k in ((down, by), (up, 1.0 / by)):
        fields |= {name: np.where(half[None, :], fields[name] * k, fields[name]) for name in names}
    return panel.replace(fields=fields)


def forward_based(panel: Panel) -> bool:
    """Return whether the factor ends at 1 for every listing that has steps: then it, not its start, is rebased."""
    factor = panel.fields["factor"]
    stepped = total = 0
    for n in range(factor.shape[1]):
        known = factor[np.isfinite(factor[:, n]), n]
        if len(known) and known.min() < known.max():
            total += 1
            stepped += abs(known[-1] - 1.0) < 1e-6
    return total > 0 and stepped >= 0.9 * total


def joined_by(
    panel: Panel, donor: int, alive: NDArray[np.bool_], name: str, prices: float, bend: int | None = None
) -> Panel:
    """Return the panel with one more listing at its end: the ``donor``'s bars in the rows ``alive`` (T,), else NaN.

    prices: factor on its prices, volumes move the other way. bend: rows up to it tell another story (prices reversed
    in time).
    """
    while name in panel.symbols:
        name += "_"
    fields = {}
    for key, values in panel.fields.items():
        mine = values[:, donor] * (prices if key in PRICES else 1.0)
        if key == "volume":
            mine = np.round(mine / prices)
        if bend is not None and key != "factor":
            mine = np.r_[mine[: bend + 1][::-1], mine[bend + 1 :]]
        fields[key] = np.column_stack([values, np.where(alive, mine, np.nan)])
    masks = {m: np.column_stack([getattr(panel, m), getattr(panel, m)[:, donor] & alive]) for m in MASKS}
    return panel.replace(symbols=(*panel.symbols, name), fields=fields, **masks)


def other_names(symbols: Iterable[str], draw: np.random.Generator) -> tuple[str, ...]:
    """Return fresh distinct names; a code of six digits keeps all but its last three: exchange and board."""
    symbols = tuple(symbols)
    used, out = set(symbols), []
    for symbol in symbols:
        digits = [i for i, c in enumerate(symbol) if c.isdigit()]
        fresh, tries = symbol, 0
        while fresh in used:
            tries += 1
            if len(digits) >= 6 and tries < 100:
                letters = list(symbol)
                for i in digits[-3:]:
                    letters[i] = str(draw.integers(10))
            else:
                letters = [chr(65 + int(draw.integers(26))) for _ in range(6)]
            fresh = "".join(letters)
        used.add(fresh)
        out.append(fresh)
    return tuple(out)


def later_known(panel: Panel, events: Iterable[str], bars: int) -> Panel:
    """Return the panel with the fields ``events`` known ``bars`` rows later; the first rows know nothing."""
    fields = dict(panel.fields)
    for name in events:
        values = np.full(panel.shape, np.nan)
        values[bars:] = fields[name][: len(values) - bars]
        fields[name] = values
    return panel.replace(fields=fields)


def extended(panel: Panel, count: int, times: float = 1.0) -> Panel:
    """Return the panel with ``count`` copies of its last row on the next weekdays, bars multiplied by ``times``."""
    T = panel.shape[0]
    rows = np.r_[np.arange(T), np.full(count, T - 1)]
    sessions = np.r_[panel.sessions, np.busday_offset(panel.sessions[-1], np.arange(1, count + 1), roll="forward")]
    days = (sessions[T:] - panel.sessions[-1]).astype(np.int64)
    fields = {k: v[rows].copy() for k, v in panel.fields.items()}
    for values in fields.values():
        values[T:] *= times
    return panel.replace(
        times=np.r_[panel.times, panel.times[-1] + days * 24 * HOUR], sessions=sessions, fields=fields,
        **{m: getattr(panel, m)[rows].copy() for m in MASKS},
    )  # fmt: skip


def daily_ic(score: NDArray[Any], ahead: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (T,) correlation over the listings of each date; NaN with fewer than five or without spread."""
    ok = np.isfinite(score) & np.isfinite(ahead)
    count = ok.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        a, b = (np.where(ok, v, 0.0) for v in (score.astype(np.float64), ahead))
        a = np.where(ok, a - (a.sum(axis=1) / count)[:, None], 0.0)
        b = np.where(ok, b - (b.sum(axis=1) / count)[:, None], 0.0)
        ic = (a * b).sum(axis=1) / np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return np.where(count >= 5, ic, np.nan)
