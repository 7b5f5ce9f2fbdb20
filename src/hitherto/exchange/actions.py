"""Announced corporate actions from a table: dividends and splits by ex-date, laid on the rows of a panel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import DataError
from hitherto.exchange import ready
from hitherto.exchange.simulate import LEAST_SPLIT, MOST_SPLIT, Events
from hitherto.market import dates, files, frames, numbers
from hitherto.market.place import Origin, show
from hitherto.panel import Panel

if TYPE_CHECKING:
    import polars as pl

Rows = NDArray[np.int64]
COLUMNS = ("symbol", "ex_date", "dividend", "split")
TOLERANCE = 0.01  # of the growth: vendors round factors and prices
SHOWN = 3


@dataclass(frozen=True, eq=False)
class Actions(Events):
    """Events from a table. notes: sentences on the rows that were ignored or moved to another bar."""

    notes: tuple[str, ...] = ()


def read(source: Any, panel: Panel) -> Actions:
    """Read a table of corporate actions and lay it on a panel.

    source: .csv, .parquet or a frame (pandas, polars, Arrow) with columns symbol, ex_date, dividend (cash per share
    held before, in currency; empty is 0), split (new shares per old one; empty is 1), and perhaps known_at, the day the
    row was public (more columns are ignored). One row per symbol and day. In a pandas frame NaN is empty.

    An action applies on the first bar of its ex-date, also of a suspended name; on the next session where that day is
    none; and on the next bar whose factor is known where the panel has a factor and lacks it that day, for there the
    factor makes up its step. Two actions that meet on one bar become one, in the order of their dates. Symbols that the
    panel lacks and days outside it are ignored and counted in ``notes``. ``FB#2`` also answers to FB, in its time.

    Errors: DataError by file, row and column for a column, symbol or date that lacks, text or NaN among numbers,
    dividend < 0, split not in 0.0001..900, a row that says nothing, known_at after ex_date (a look-ahead), two rows of
    one symbol and day; and for a panel of restated prices, which hold the actions already.
    """
    if panel.adjustment == "restated_total_return":
        raise DataError(
            "corporate actions: these prices are restated and hold later splits and dividends already, which would be "
            "paid twice; read raw prices, or drop the table"
        )
    raw, origin = _raw(source)
    return _laid(_checked(raw, origin), origin, panel)


def disagreements(panel: Panel, events: Events) -> tuple[int, str]:
    """Return how many actions differ from the factor's step on their bar by more than 1 %, and a sentence.

    Across an action the factor should grow by last / ((last - dividend) / split), where last is the last close before,
    taken through the ex-days since. Dividends below 1 % of the price are too small for this to see. (0, "") where
    nothing can be compared: no factor, or no close before.
    """
    if "factor" not in panel.fields:
        return 0, ""
    panel.need(["close"], "the comparison of corporate actions with the factor")
    close, factor = panel.fields["close"], panel.fields["factor"]
    stepped = ready.growth(ready.read_only(factor))
    moved, compared, off = stepped.copy(), 0, []
    for i in np.lexsort((events.n, events.t)):
        t, n = int(events.t[i]), int(events.n[i])
        seen = np.flatnonzero(np.isfinite(close[:t, n]))
        if not len(seen):
            continue
        last = close[seen[-1], n] / np.prod(moved[seen[-1] + 1 : t, n])
        left = last - events.dividend[i]
        moved[t, n] = last * events.split[i] / left if left > 0 else np.inf
        compared += 1
        if not abs(stepped[t, n] / moved[t, n] - 1.0) <= TOLERANCE:
            off.append((panel.symbols[n], panel.sessions[t], stepped[t, n], moved[t, n]))
    if not compared:
        return 0, ""
    if not off:
        return 0, f"Where they can be compared ({compared}), corporate actions and steps of the factor agree to 1 %."
    first = "; ".join(f"{s} on {d}: factor x {f:.4g}, action x {a:.4g}" for s, d, f, a in off[:SHOWN])
    more = "; ..." if len(off) > SHOWN else ""
    return len(off), (
        f"{len(off)} of {compared} corporate actions differ from the factor's step on their day by more than 1 % "
        f"({first}{more}). The action is what is booked; a step of the factor on another day would be paid on top."
    )


def told(panel: Panel, actions: Actions) -> tuple[str, ...]:
    """Return what a report must say of the actions: how many, rows ignored or moved, and how the factor agrees."""
    count = len(actions.t)
    out = [f"Corporate actions from a table: {count} on these bars. They win over the factor on their day."]
    if "factor" not in panel.fields:
        out.append(
            "The bars have no factor: features, labels and hindsight take the fall of the price on an ex-day for a "
            "loss; only the books are paid."
        )
    else:
        out.append("Features, labels and hindsight know the factor only.")
    return (*out, *actions.notes, *filter(None, [disagreements(panel, actions)[1]]))


def _raw(source: Any) -> tuple[pl.DataFrame, Origin]:
    if not isinstance(source, (str, Path)):
        return frames.to_polars(source).clone(), Origin(frames.NAME)
    path = Path(source)
    name = show(path.name, 80)
    if not path.is_file():
        raise DataError(f"{show(path, 200)}: no such file; check the path of the table of corporate actions")
    try:
        if path.suffix.lower() != ".csv":
            return files.parquet(path, name), Origin(name)
        raw, rows = files.csv(path.read_bytes(), name)
    except OSError as e:
        raise DataError(f"{show(path, 200)}: cannot be read ({e.strerror}); check the path and its rights") from None
    return raw, Origin(name, "line", 2, rows=rows)


def _checked(raw: pl.DataFrame, origin: Origin) -> pl.DataFrame:
    """The raw table as symbol, ex_date, dividend, split, checked and typed; row i stays row i."""
    import polars as pl

    frames.lower_columns(raw, origin.name)
    lacking = [c for c in COLUMNS if c not in raw.columns]
    if lacking:
        raise DataError(
            f"{origin.name}: no column '{lacking[0]}'; a table of corporate actions has symbol, ex_date, dividend, "
            "split (the last two may be empty)"
        )
    symbol = _text(raw["symbol"])
    day, known = (_days(raw, c, origin) for c in ("ex_date", "known_at"))
    money, ratio = (_number(raw[c], origin, c) for c in ("dividend", "split"))
    for bad, column, what in (
        (symbol.is_null(), "symbol", "the symbol is empty; fill it in"),
        (day.is_null(), "ex_date", "the date is missing; write the ex-date"),
        (known > day, "known_at", "public only after its ex-date, a look-ahead; correct the dates, or drop the row"),
        (money < 0, "dividend", "a dividend is not below 0; write the cash per share, or leave the cell empty"),
        (ratio <= 0, "split", "a split is above 0; write the new shares per old one (1.3), or leave the cell empty"),
        (
            ~ratio.is_between(LEAST_SPLIT, MOST_SPLIT),
            "split",
            f"no split in {LEAST_SPLIT:g}..{MOST_SPLIT:g}; write the new shares per old one (1.3 for 3 bonus shares "
            "on 10)",
        ),
        (
            money.is_null() & ratio.is_null(),
            "dividend",
            "the row has neither dividend nor split, and would undo the factor's step that day; fill it in, or drop it",
        ),
    ):
        if bad.fill_null(False).any():
            raise DataError(f"{origin.cell(int(bad.fill_null(False).arg_max() or 0), column)}: {what}")
    return pl.DataFrame(
        {"symbol": symbol, "ex_date": day, "dividend": money.fill_null(0.0), "split": ratio.fill_null(1.0)}
    )


def _text(column: pl.Series) -> pl.Series:
    """A column as text without blanks; null where it is empty."""
    import polars as pl

    text = column.cast(pl.String).str.strip_chars()
    return text.set(text == "", None)


def _days(raw: pl.DataFrame, name: str, origin: Origin) -> pl.Series:
    """A column as dates; null where it is empty or absent."""
    import polars as pl

    out = pl.Series(name, [None] * raw.height, dtype=pl.Date)
    if name not in raw.columns:
        return out
    column = _text(raw[name]) if raw[name].dtype in (pl.String, pl.Categorical) else raw[name]
    rows = np.flatnonzero(column.is_not_null().to_numpy())
    if not len(rows):
        return out
    counts = np.array([origin.count(int(i)) - origin.first for i in rows], np.int64)
    place = Origin(origin.name, origin.word, origin.first, {"date": name}, rows=counts)
    stamps = dates.parse(column.gather(rows), place)
    if stamps.kind != "date":
        raise DataError(f"{place.cell(0, 'date')}: plain dates are needed; write them as YYYY-MM-DD")
    return out.scatter(rows, stamps.values)


def _number(column: pl.Series, origin: Origin, name: str) -> pl.Series:
    """A column as finite numbers; null where it is empty. NaN is refused: it may stand for 0 or for not known."""
    import polars as pl

    if column.dtype in (pl.String, pl.Categorical, pl.Enum):
        column = _text(column)
        nan = column.str.to_lowercase().is_in(numbers.MISSING)
    else:
        nan = column.is_nan() if column.dtype.is_float() else column.is_null() & False
    if nan.fill_null(False).any():
        i = int(nan.fill_null(False).arg_max() or 0)
        raise DataError(f"{origin.cell(i, name)}: '{show(column[i])}' is no number; write it, or leave the cell empty")
    out = numbers.number(column, origin, name, needed=True)
    assert out is not None
    return out


def _laid(table: pl.DataFrame, origin: Origin, panel: Panel) -> Actions:
    """The checked table on the rows and columns of the panel."""
    T = panel.shape[0]
    sessions = panel.sessions.astype("datetime64[D]")
    day = table["ex_date"].to_numpy().astype("datetime64[D]")
    t = np.searchsorted(sessions, day).astype(np.int64)
    n = _columns(table["symbol"].to_list(), t, panel)
    inside = (day >= sessions[0]) & (t < T)
    notes = []
    absent = table["symbol"].to_numpy()[n < 0]
    if len(absent):
        first = ", ".join(sorted({show(s) for s in absent})[:SHOWN])
        more = ", ..." if len(set(absent)) > SHOWN else ""
        notes.append(f"{_rows(len(absent))} ignored: symbols that the bars lack ({first}{more}).")
    outside = int(((n >= 0) & ~inside).sum())
    if outside:
        notes.append(f"{_rows(outside)} ignored: ex-dates before the first session or after the last one.")
    used = np.flatnonzero((n >= 0) & inside)
    used = used[np.lexsort((day[used], n[used]))]
    t, n, day = t[used], n[used], day[used]
    twice = np.flatnonzero((n[1:] == n[:-1]) & (day[1:] == day[:-1]))
    if len(twice):
        a, b = sorted(used[twice[0] : twice[0] + 2])
        raise DataError(
            f"{origin.row(int(b))}: a second row of {show(table['symbol'][int(b)])} on {day[twice[0]]} (the first: "
            f"{origin.word} {origin.count(int(a))}); make them one: dividends added, splits multiplied"
        )
    off = int((sessions[t] != day).sum())
    if off:
        notes.append(f"{_rows(off)} moved to the next session: the ex-date is no session of the bars.")
    held = _until_known(t, n, panel)
    if (held != t).any():
        notes.append(f"{_rows(int((held != t).sum()))} moved to the next bar on which the factor is known.")
    money, ratio = (table[c].to_numpy()[used] for c in ("dividend", "split"))
    return Actions(*_joined(held, n, money, ratio), notes=tuple(notes))


def _rows(count: int) -> str:
    return f"{count} row{'s' * (count != 1)} of the table of corporate actions"


def _columns(symbols: Sequence[str], t: Rows, panel: Panel) -> Rows:
    """(E,) the column of each symbol, -1 for none; of listings that share a ticker the one that began last by then."""
    began = panel.listed.argmax(axis=0)
    where: dict[str, list[int]] = {}
    for n, s in enumerate(panel.symbols):
        base, _, number = s.rpartition("#")
        for key in {s, base if number.isdigit() and base else s}:
            where.setdefault(key, []).append(n)
    out = np.full(len(t), -1, np.int64)
    for i, s in enumerate(symbols):
        mine = sorted(where.get(s, ()), key=lambda n: began[n])
        if mine:
            begun = [n for n in mine if began[n] <= t[i]]
            out[i] = begun[-1] if begun else mine[0]
    return out


def _until_known(t: Rows, n: Rows, panel: Panel) -> Rows:
    """(E,) the first bar from t on whose factor is known; t where there is no factor, or none is known later.

    An unknown factor makes up for the whole gap at once when it is back. Only an action on that very bar replaces its
    step: booked earlier, both would be paid.
    """
    out = t.copy()
    if "factor" not in panel.fields:
        return out
    known = np.isfinite(panel.fields["factor"])
    for i in np.flatnonzero(~known[t, n]):
        later = np.flatnonzero(known[t[i] :, n[i]])
        out[i] += later[0] if len(later) else 0
    return out


def _joined(t: Rows, n: Rows, money: NDArray[np.float64], ratio: NDArray[np.float64]) -> tuple[NDArray[Any], ...]:
    """Sort by bar and name; actions of one name that meet on one bar become one (given in the order of their dates)."""
    order = np.lexsort((n, t))  # stable: the order of dates stays within a name and bar
    t, n, money, ratio = t[order], n[order], money[order].copy(), ratio[order].copy()
    keep = np.r_[True, (t[1:] != t[:-1]) | (n[1:] != n[:-1])][: len(t)]
    at = 0
    for i in range(len(t)):
        if keep[i]:
            at = i
            continue
        money[at] += ratio[at] * money[i]  # the later dividend is paid on the shares after the earlier split
        ratio[at] *= ratio[i]
    return t[keep], n[keep], money[keep], ratio[keep]
