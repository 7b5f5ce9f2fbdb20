"""Qlib's Alpha158: 158 features of one day's bar and of windows of 5, 10, 20, 30 and 60 days, names and order as there.

The result is a plain dict name -> expression text: print it, extend it, mix it. Every text is, token for token, what
``Alpha158DL.get_feature_config`` of pyqlib 0.9.7 writes, in our spelling; 1e-12 in denominators included.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from hitherto.errors import ConfigError

Vwap = Literal["field", "amount", "typical"]
WINDOWS = (5, 10, 20, 30, 60)
VWAPS: dict[str, str] = {"field": "vwap", "amount": "(amount / volume)", "typical": "((open + high + low + close) / 4)"}


def alpha158(vwap: Vwap | None = None) -> dict[str, str]:
    """Return Qlib's Alpha158 as name -> expression text, 158 entries in Qlib's column order.

    Fields: open, high, low, close, volume and, for VWAP0, what ``vwap`` says: "field" (and None) the field ``vwap``;
    "amount" amount / volume, in currency and shares; "typical" (open + high + low + close) / 4, for bars without.
    NaN rule: that of the operators; IMAX, IMIN, CORR and WVMA differ from pyqlib where that is wrong (decision 005).
    Raises ConfigError for any other ``vwap``. Source: microsoft/qlib, qlib/contrib/data/loader.py.
    """
    average = price(vwap)
    return {
        "KMID": "(close - open) / open",
        "KLEN": "(high - low) / open",
        "KMID2": "(close - open) / (high - low + 1e-12)",
        "KUP": "(high - greater(open, close)) / open",
        "KUP2": "(high - greater(open, close)) / (high - low + 1e-12)",
        "KLOW": "(less(open, close) - low) / open",
        "KLOW2": "(less(open, close) - low) / (high - low + 1e-12)",
        "KSFT": "(2 * close - high - low) / open",
        "KSFT2": "(2 * close - high - low) / (high - low + 1e-12)",
        "OPEN0": "open / close",
        "HIGH0": "high / close",
        "LOW0": "low / close",
        "VWAP0": f"{average} / close",
        **{f"{name}{d}": text.replace("@", str(d)) for name, text in _families().items() for d in WINDOWS},
    }


def _families() -> dict[str, str]:
    """Return the 29 families of windows; @ stands for the number of days."""
    return {
        "ROC": "ref(close, @) / close",
        "MA": "mean(close, @) / close",
        "STD": "std(close, @) / close",
        "BETA": "slope(close, @) / close",
        "RSQR": "rsquare(close, @)",
        "RESI": "resi(close, @) / close",
        "MAX": "max(high, @) / close",
        "MIN": "min(low, @) / close",
        "QTLU": "quantile(close, @, 0.8) / close",
        "QTLD": "quantile(close, @, 0.2) / close",
        "RANK": "rank(close, @)",
        "RSV": "(close - min(low, @)) / (max(high, @) - min(low, @) + 1e-12)",
        "IMAX": "idxmax(high, @) / @",
        "IMIN": "idxmin(low, @) / @",
        "IMXD": "(idxmax(high, @) - idxmin(low, @)) / @",
        "CORR": "corr(close, log(volume + 1), @)",
        "CORD": "corr(close / ref(close, 1), log(volume / ref(volume, 1) + 1), @)",
        "CNTP": "mean(close > ref(close, 1), @)",
        "CNTN": "mean(close < ref(close, 1), @)",
        "CNTD": "mean(close > ref(close, 1), @) - mean(close < ref(close, 1), @)",
        **_moves("SUM", "close"),
        "VMA": "mean(volume, @) / (volume + 1e-12)",
        "VSTD": "std(volume, @) / (volume + 1e-12)",
        "WVMA": "std(abs(close / ref(close, 1) - 1) * volume, @)"
        " / (mean(abs(close / ref(close, 1) - 1) * volume, @) + 1e-12)",
        **_moves("VSUM", "volume"),
    }


def _moves(name: str, x: str) -> dict[str, str]:
    """Return the shares of rises, of falls, and their difference in all moves of ``x``."""
    rises = f"sum(greater({x} - ref({x}, 1), 0), @)"
    falls = f"sum(greater(ref({x}, 1) - {x}, 0), @)"
    moves = f"(sum(abs({x} - ref({x}, 1)), @) + 1e-12)"
    return {
        f"{name}P": f"{rises} / {moves}",
        f"{name}N": f"{falls} / {moves}",
        f"{name}D": f"({rises} - {falls}) / {moves}",
    }


def price(vwap: Vwap | None) -> str:
    """Return the expression that stands for the volume-weighted average price."""
    text = VWAPS.get("field" if vwap is None else vwap)
    if text is None:
        raise ConfigError(f"vwap must be one of {', '.join(VWAPS)}, got {vwap!r}")
    return text


def choose_vwap(fields: Collection[str], vwap: Vwap | None, what: str) -> Vwap:
    """Return ``vwap`` if given, else "field" if there is such a field; ConfigError that asks for one if there is none.

    fields: the names that the bars hold; without open, high and low no vwap helps, and ``build`` will name those.
    what: who needs it, e.g. "alpha158".
    """
    if vwap is None and "vwap" not in fields and {"open", "high", "low"} <= set(fields):
        amount = "'amount' (amount / volume) or " if "amount" in fields else ""
        raise ConfigError(
            f"{what} needs vwap; these bars hold only {', '.join(fields)}. "
            f"Say vwap = {amount}'typical' ((open + high + low + close) / 4), or read bars that have it"
        )
    price(vwap)
    return "field" if vwap is None else vwap
