"""Hard checks of bars: what they refuse cannot be traded on, and is not repaired in silence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import DataError
from hitherto.market.dates import Clock
from hitherto.market.load import Table

Floats = NDArray[np.float64]
PRICES = ("open", "high", "low", "close", "vwap")


@dataclass(frozen=True, eq=False)
class Long:
    """Rows sorted by (symbol, key): ``source`` (R,) is each row's place in the table it came from."""

    symbols: tuple[str, ...]
    column: NDArray[np.intp]
    key: NDArray[np.int64]
    day: NDArray[np.datetime64]
    values: dict[str, Floats]
    source: NDArray[np.intp]

    def take(self, index: NDArray[np.intp]) -> Long:
        """Return the rows at ``index``; symbols without rows leave."""
        column = self.column[index]
        used, column = np.unique(column, return_inverse=True)
        values = {k: v[index] for k, v in self.values.items()}
        names = tuple(self.symbols[n] for n in used)
        return Long(names, column.astype(np.intp), self.key[index], self.day[index], values, self.source[index])


def in_order(table: Table, clock: Clock, inside: NDArray[np.bool_]) -> Long:
    """Return the ``inside`` rows by symbol; refuse rows that go back in time or come twice within a symbol."""
    import polars as pl

    names = table.frame["symbol"].unique().sort()
    code = table.frame["symbol"].cast(pl.Enum(names)).to_physical().to_numpy().astype(np.intp)
    order = np.argsort(code, kind="stable")
    order = order[inside[order]]
    column, key = code[order], clock.key[order]
    same = column[1:] == column[:-1]
    step = key[1:] - key[:-1]
    for wrong, what in ((same & (step < 0), "unsorted"), (same & (step == 0), "twice")):
        if not wrong.any():
            continue
        # The first in the file, not the first by symbol.
        late = order[1:][wrong]
        k = int(np.flatnonzero(wrong)[np.argmin(late)]) + 1
        symbol, when = names[int(column[k])], _when(clock, order[k])
        place, other = table.cell(int(order[k]), "date"), table.row(int(order[k - 1])).removeprefix(table.name + " ")
        if what == "unsorted":
            raise DataError(f"{place}: {symbol} goes back in time to {when} after {other}; sort the rows by date")
        raise DataError(f"{place}: {symbol} {when} comes twice, first in {other}; keep one of the two rows")
    values = {f: table.frame[f].fill_null(np.nan).to_numpy()[order].astype(np.float64) for f in table.fields}
    used, column = np.unique(column, return_inverse=True)
    symbols = tuple(names[int(n)] for n in used)
    return Long(symbols, column.astype(np.intp), key, clock.day[order], values, order.astype(np.intp))


def _when(clock: Clock, i: np.intp) -> str:
    return str(clock.day[i]) if clock.daily else f"{clock.key[i].astype('datetime64[ns]').astype('datetime64[ms]')} UTC"


def refuse_impossible(long: Long, table: Table) -> None:
    """Raise a DataError at the first zero or negative price, high < low, negative volume, or factor <= 0."""
    v = long.values
    wrong: list[tuple[NDArray[np.bool_], str, str]] = []
    for name in PRICES:
        if name in v:
            wrong.append((v[name] <= 0, name, "a price must be above 0; leave the cell empty if it is not known"))
    if "high" in v and "low" in v:
        wrong.append((v["high"] < v["low"], "high", "high is below low; correct the row, or leave both empty"))
    if "factor" in v:
        wrong.append((v["factor"] <= 0, "factor", "a factor must be above 0; correct it, or leave the cell empty"))
    for name in ("volume", "amount"):
        if name in v:
            wrong.append((v[name] < 0, name, f"{name} cannot be negative; correct it, or leave the cell empty"))
    for flags, name, rule in wrong:
        if flags.any():
            bad = np.flatnonzero(flags)
            i = bad[np.argmin(long.source[bad])]
            low = f", low {v['low'][i]:g}" if rule.startswith("high") else ""
            what = f"{long.symbols[long.column[i]]} {long.day[i]} has {v[name][i]:g}{low}"
            raise DataError(f"{table.cell(int(long.source[i]), name)}: {what}; {rule}")


def refuse_identical(long: Long, table: Table) -> None:
    """Raise a DataError when every symbol has the same bars: one series was copied under many names."""
    count = np.bincount(long.column)
    N, T = len(count), int(count[0])
    if N < 2 or T < 2 or (count != T).any():
        return
    close, key = long.values["close"].reshape(N, T), long.key.reshape(N, T)
    if (close == close[0]).all() and (key == key[0]).all():
        a, b = long.symbols[:2]
        raise DataError(
            f"{table.name}, column 'close': all {N} symbols have identical closes, e.g. {a} and {b}; "
            "one series was copied under each name: export the data again"
        )
