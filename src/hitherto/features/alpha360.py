"""Qlib's Alpha360: the last 60 days of six fields, each relative to today's close or volume, names and order as there.

Trees and linear models take the 360 columns. Nets take the six fields as a panel and a window of 60 rows instead: the
same numbers, gathered once, as long as the window is divided by its own last close (and volume).
"""

from __future__ import annotations

from hitherto.features.alpha158 import Vwap, price

DAYS = 60


def alpha360(vwap: Vwap | None = None) -> dict[str, str]:
    """Return Qlib's Alpha360 as name -> expression text: CLOSE59 ... CLOSE0, OPEN, HIGH, LOW, VWAP, VOLUME alike.

    360 entries in Qlib's column order, field by field and oldest first. Prices are divided by the close of row t,
    volumes by (volume of row t + 1e-12). ``vwap``: as in ``alpha158``. Source: microsoft/qlib,
    qlib/contrib/data/loader.py (pyqlib 0.9.7).
    """
    prices = {"CLOSE": "close", "OPEN": "open", "HIGH": "high", "LOW": "low", "VWAP": price(vwap)}
    out = {f"{name}{k}": f"{_before(text, k)} / close" for name, text in prices.items() for k in _days()}
    return {**out, **{f"VOLUME{k}": f"{_before('volume', k)} / (volume + 1e-12)" for k in _days()}}


def alpha360_panel(vwap: Vwap | None = None) -> dict[str, str]:
    """Return the six fields of Alpha360 themselves, for a net that reads windows of 60 rows of them.

    CLOSE, OPEN, HIGH, LOW, VWAP and VOLUME of row t, (T, N, 6), in prices and shares, not yet comparable across names:
    a model of lookback 60 sees Alpha360's numbers only if each window is divided by its own last close, and its
    volumes by (last volume + 1e-12), before it reaches the net. ``vwap``: as in ``alpha158``.
    """
    return {"CLOSE": "close", "OPEN": "open", "HIGH": "high", "LOW": "low", "VWAP": price(vwap), "VOLUME": "volume"}


def _days() -> range:
    return range(DAYS - 1, -1, -1)


def _before(text: str, k: int) -> str:
    return f"ref({text}, {k})" if k else text
