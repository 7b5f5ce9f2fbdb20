"""The embedded real data: 20 US stocks and the S&P 500, small, dated, with their card and licences."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import TYPE_CHECKING, Literal

from hitherto.errors import DataError
from hitherto.market.place import show

if TYPE_CHECKING:
    from hitherto.market.bars import Bars

_ADJUSTMENT: Mapping[str, Literal["raw", "restated_total_return"]] = {"us20": "restated_total_return", "sp500": "raw"}


def names() -> tuple[str, ...]:
    """Return the names of the embedded data sets."""
    return tuple(_ADJUSTMENT)


def load(name: str) -> Bars:
    """Return an embedded data set as Bars, decided at 16:00 New York time.

    "us20": 20 stocks, closes only, 2000-01-03..2022-12-28, adjusted by the vendor with later splits and dividends
    (``adjustment="restated_total_return"``: use scale-free features only). "sp500": the index, OHLCV, 1999-2018.
    Errors: DataError for an unknown name.
    """
    from hitherto.market.bars import read

    if name not in _ADJUSTMENT:
        raise DataError(f"sample '{show(name)}' is not embedded; there are {', '.join(names())}")
    with resources.as_file(resources.files(__name__) / f"{name}.parquet") as path:
        return read(path, zone="America/New_York", close="16:00:00", adjustment=_ADJUSTMENT[name])


def card() -> str:
    """Return the data card (Markdown): provenance, licences, how it was made, what is wrong with it."""
    return (resources.files(__name__) / "CARD.md").read_text(encoding="utf-8")


def licences() -> str:
    """Return the licence notices of the packages from which the data were taken."""
    return (resources.files(__name__) / "LICENSES.txt").read_text(encoding="utf-8")
