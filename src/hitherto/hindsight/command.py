"""``hitherto hindsight``: the best and the worst names of every period of a bar file, as text, CSV and a chart."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hitherto.errors import ConfigError, DataError
from hitherto.files import write_atomic
from hitherto.hindsight.lists import UNITS, Every, Period, amount, best_single, power_of_time, worst_single
from hitherto.market.dates import day
from hitherto.market.place import show
from hitherto.panel import Panel, read_bars

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet runs a cell that begins so
NOBODY = "Chosen after the fact, close to close, no costs: nobody could have known."
COLUMNS = ("list", "first", "last", "rank", "symbol", "gain", "period_gain", "wealth", "log10_wealth")


def run(
    bars: str, year: int | None = None, every: str = "month", *, first: str | None = None, last: str | None = None,
    membership: str | None = None, worst: bool = False, top: int = 1, capital: float = 1.0, out: Path | None = None,
    zone: str | None = None,
) -> str:  # fmt: skip
    """Return the lists of perfect foresight as text; with ``out`` also write lists.csv and lists.html into that folder.

    bars: file, folder or "sample:NAME". year, or first and last (ISO dates, both inclusive): the stretch, default all;
    its first period runs from the close before it, where there is one. every: week, month, quarter, year, or a number
    of bars. membership: dated universe, as ``read_bars`` takes it. worst: only the worst list. top: names a period, in
    equal parts. Errors: ConfigError and DataError, in one line.
    """
    unit = _every(every)
    panel = read_bars(bars, membership=membership, zone=zone)
    start, stop = stretch(panel, year, first, last)
    made = {"worst": worst_single(panel, start, stop, unit, capital, top=top)}
    if not worst:
        made = {"best": best_single(panel, start, stop, unit, capital, top=top), **made}
    said = {name: power(name, panel, periods, capital) for name, periods in made.items()}
    parts = [NOBODY]
    for name, periods in made.items():
        parts += ["", _text(name, periods, unit, capital), said[name]]
    if out is not None:
        parts += ["", _write(out, made, " ".join([NOBODY, *said.values()]), capital)]
    return "\n".join(parts)


def stretch(panel: Panel, year: int | None, first: str | None, last: str | None) -> tuple[int, int]:
    """Return rows (start, stop) of the stretch: the row before its first session, where there is one, to its last.

    Errors: a year and dates together, dates that are none or the wrong way round (ConfigError), no session in it
    (DataError, naming what there is).
    """
    if year is not None and (first is not None or last is not None):
        raise ConfigError("hindsight: give either --year or --from and --to, not both")
    days = panel.sessions.astype("datetime64[D]")
    if not len(days):
        raise DataError("hindsight: these bars hold no session; read bars with dates and closes")
    if year is not None:
        inside = days.astype("datetime64[Y]").astype(int) + 1970 == year
        if not inside.any():
            years = sorted({int(str(d)[:4]) for d in days[[0, -1]]})
            raise DataError(f"hindsight: no session in {year}; the bars hold {' to '.join(map(str, years))}")
    else:
        a = days[0] if first is None else day(first, "--from")
        b = days[-1] if last is None else day(last, "--to")
        if a > b:
            raise ConfigError(f"hindsight: --from {a} is after --to {b}")
        inside = (days >= a) & (days <= b)
        if not inside.any():
            raise DataError(f"hindsight: no session from {a} to {b}; the bars run from {days[0]} to {days[-1]}")
    rows = np.flatnonzero(inside)
    start, stop = max(int(rows[0]) - 1, 0), int(rows[-1]) + 1
    if stop - start < 2:
        raise DataError(f"hindsight: the stretch holds one close only ({days[start]}); a gain needs two")
    return start, stop


def power(name: str, panel: Panel, periods: tuple[Period, ...], capital: float) -> str:
    """Return the sentence that says which constant daily gain would have done the same."""
    rows = slice(periods[0].start, periods[-1].end + 1)
    bars = periods[-1].end - periods[0].start
    daily = len(np.unique(panel.sessions[rows])) == bars + 1
    unit = "trading day" if daily else "bar"
    total = periods[-1].wealth / capital
    edge = power_of_time(total, bars)
    return (
        f"The {name} list ends at {amount(total)} times the start: the same as {edge:+.3%} a {unit}, every {unit}, "
        f"{bars} times."
    )


def table(lists: Mapping[str, tuple[Period, ...]]) -> str:
    """Return the lists as CSV, one line per list, period and name; a name that a spreadsheet would run is quoted."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for name, periods in lists.items():
        for p in periods:
            for rank, (symbol, gain) in enumerate(zip(p.assets or ("",), p.gains or (0.0,), strict=True), 1):
                money = (p.gain, p.wealth, float(np.log10(p.wealth)))
                writer.writerow((name, p.first, p.last, rank, cell(symbol), repr(gain), *map(repr, money)))
    return file.getvalue()


def cell(text: str) -> str:
    """Return text as a spreadsheet must get it: on one line, and with an apostrophe before what would be a formula."""
    return f"'{show(text, 100)}" if text.startswith(FORMULA) else show(text, 100)


def _every(text: str) -> Every:
    if text.isascii() and text.isdigit() and int(text) >= 1:
        return int(text)
    for unit in UNITS:
        if text == unit:
            return unit  # type: ignore[return-value]
    raise ConfigError(f"--every must be {', '.join(UNITS)}, or a whole number of bars >= 1; got '{show(text)}'")


def _text(name: str, periods: tuple[Period, ...], every: Every, capital: float) -> str:
    rows = [("period", "name", "gain", "wealth"), (periods[0].first, "start", "", amount(capital))]
    for p in periods:
        names = ", ".join(show(a) for a in p.assets) or "none eligible"
        rows.append((f"{p.first} .. {p.last}", names, f"{p.gain:+.2%}", amount(p.wealth)))
    widths = [max(_width(row[i]) for row in rows) for i in range(4)]
    lines = [
        "  ".join(_pad(c, w, right=i > 1) for i, (c, w) in enumerate(zip(row, widths, strict=True))) for row in rows
    ]
    return "\n".join([title(name, periods, every), *lines])


def title(name: str, periods: tuple[Period, ...], every: Every) -> str:
    """Return the headline of a list."""
    count = max(len(p.assets) for p in periods)
    names = "name" if count <= 1 else f"{count} names"
    span = f"{every} bars" if isinstance(every, int) else every
    return f"The {name} {names} of every {span}, {periods[0].first} .. {periods[-1].last}"


def _write(out: Path, lists: Mapping[str, tuple[Period, ...]], caption: str, capital: float) -> str:
    from hitherto.hindsight import chart

    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out: '{out}' is a file; name a folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out: could not make the folder '{out}': {error.strerror or error}") from error
    one = next(iter(lists.values()))
    head = f"Perfect foresight, {one[0].first} .. {one[-1].last}: from {amount(capital)} to " + " or ".join(
        amount(periods[-1].wealth) for periods in lists.values()
    )
    page = chart.page(head, caption, lists, capital)
    write_atomic(out / "lists.csv", table(lists).encode())
    write_atomic(out / "lists.html", page.encode())
    return f"{out / 'lists.csv'} and {out / 'lists.html'} hold the lists and their chart."


def _width(text: str) -> int:
    """Columns that a terminal gives to the text."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _pad(text: str, width: int, *, right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if right else text + space
