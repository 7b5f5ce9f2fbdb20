"""Dates and time stamps of bars: parsed strictly, never guessed; the decision time of a date is the session's close."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import ConfigError, DataError
from hitherto.market.place import Origin, show

if TYPE_CHECKING:
    import polars as pl

Kind = Literal["date", "naive", "aware"]
DAY = 86_400_000_000_000
_DAY = r"([0-9]{4})(?:([-/])([0-9]{1,2})\2([0-9]{1,2})|([0-9]{2})([0-9]{2}))"
_TIME = r"(?:[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?) ?(Z|[+-][0-9]{2}:?[0-9]{2})?)?"
_STAMP = re.compile(_DAY + _TIME)
_CURE = "write dates as YYYY-MM-DD, or time stamps as YYYY-MM-DD HH:MM:SS"


@dataclass(frozen=True, eq=False)
class Stamps:
    """The date column of one source.

    values: polars Date, Datetime (naive) or Datetime in UTC, by ``kind``. zone: the zone the source names, if any.
    days: the dates as written when every aware stamp is midnight on its own clock (a daily bar, not an instant).
    mixed: the rows of two stamps with different UTC offsets, if there are such.
    """

    values: pl.Series
    kind: Kind
    zone: str | None = None
    days: pl.Series | None = None
    mixed: tuple[int, int] | None = None


def parse(column: pl.Series, origin: Origin) -> Stamps:
    """Return the stamps of a date column (polars Date, Datetime, text, or whole numbers like 20200131)."""
    import polars as pl

    if column.dtype == pl.Date:
        out = Stamps(column, "date")
    elif isinstance(column.dtype, pl.Datetime):
        out = _typed(column, column.dtype.time_zone)
    elif column.dtype.is_integer() or column.dtype in (pl.String, pl.Categorical, pl.Enum):
        out = _text(column.cast(pl.String), origin)
    elif column.dtype == pl.Null:
        out = Stamps(column.cast(pl.Date), "date")
    else:
        raise DataError(f"{origin.name}, column '{_header(origin)}': {column.dtype} values are no dates; {_CURE}")
    empty = out.values.is_null()
    if empty.any():
        raise DataError(f"{_cell(origin, _first(empty))}: the date is missing; {_CURE}")
    day = out.values.dt.year()
    odd = (day < 1900) | (day > 2199)
    if odd.any():
        i = _first(odd)
        raise DataError(f"{_cell(origin, i)}: the year of '{out.values[i]}' is outside 1900..2199; {_CURE}")
    return out


def _typed(column: pl.Series, zone: str | None) -> Stamps:
    """Stamps of a Datetime column; midnight on every row means dates."""
    midnight = bool(((column.dt.time() == dt.time()) | column.is_null()).all())
    if zone is None:
        return Stamps(column.dt.date(), "date") if midnight else Stamps(column.dt.cast_time_unit("ns"), "naive")
    days = column.dt.date() if midnight else None
    return Stamps(column.dt.convert_time_zone("UTC").dt.cast_time_unit("ns"), "aware", zone, days)


def _text(column: pl.Series, origin: Origin) -> Stamps:
    """Stamps of a text column: each distinct text is parsed once."""
    import polars as pl

    clean = column.str.strip_chars()
    unique = clean.unique(maintain_order=True).drop_nulls()
    unique = unique.filter(unique != "")
    stamps, offsets, shapes = [], [], {}
    for text in unique:
        got = _stamp(text)
        if got is None:
            i = _first(clean == text)
            raise DataError(f"{_cell(origin, i)}: '{show(text)}' is no date of the years 1900..2199; {_CURE}")
        stamps.append(got[0])
        offsets.append(got[1])
        shapes.setdefault(got[2], text)
    if len(shapes) > 1:
        a, b = list(shapes.values())[:2]
        i, j = _first(clean == a), _first(clean == b)
        raise DataError(
            f"{_cell(origin, max(i, j))}: '{show(a)}' and '{show(b)}' are of different kinds (date, local time, time "
            "with zone); write all of them alike"
        )
    kind: Kind = next(iter(shapes), "date")
    if kind == "aware":
        return _aware(clean, unique, stamps, offsets)
    local = clean.replace_strict(unique, pl.Series(stamps, dtype=pl.Datetime("us")), default=None)
    return Stamps(local.dt.date(), "date") if kind == "date" else _typed(local, None)


def _aware(clean: pl.Series, unique: pl.Series, stamps: list[dt.datetime], offsets: list[int]) -> Stamps:
    """Stamps with a UTC offset written behind each."""
    import polars as pl

    instants = [s - dt.timedelta(minutes=o) for s, o in zip(stamps, offsets, strict=True)]
    utc = pl.Series(instants, dtype=pl.Datetime("us"))
    values = clean.replace_strict(unique, utc, default=None).dt.replace_time_zone("UTC").dt.cast_time_unit("ns")
    days = None
    if all(s.time() == dt.time() for s in stamps):
        local = pl.Series([s.date() for s in stamps], dtype=pl.Date)
        days = clean.replace_strict(unique, local, default=None)
    mixed = None
    if len(set(offsets)) > 1:
        other = next(k for k, o in enumerate(offsets) if o != offsets[0])
        mixed = (_first(clean == unique[0]), _first(clean == unique[other]))
    return Stamps(values, "aware", "UTC" if set(offsets) == {0} else None, days, mixed)


def _stamp(text: str) -> tuple[dt.datetime, int, Kind] | None:
    """Return (local time, UTC offset in minutes, kind), or None when ``text`` is no date."""
    m = _STAMP.fullmatch(text)
    if m is None:
        return None
    year, month, day = int(m[1]), int(m[3] or m[5]), int(m[4] or m[6])
    clock, zone = m[7], m[8]
    if not 1900 <= year <= 2199:
        return None
    try:
        stamp = dt.datetime.combine(dt.date(year, month, day), dt.time.fromisoformat(clock) if clock else dt.time())
    except ValueError:
        return None
    if not zone:
        return stamp, 0, "naive" if clock else "date"
    minutes = 0 if zone == "Z" else int(zone[0] + "1") * (int(zone[1:3]) * 60 + int(zone[-2:]))
    return stamp, minutes, "aware"


@dataclass(frozen=True, eq=False)
class Clock:
    """When each row is known: ``key`` (R,) int64 orders the rows (days or UTC ns), ``day`` (R,) datetime64[D] local.

    daily: one bar per session, decided at its close; otherwise ``key`` is the decision time itself.
    """

    key: NDArray[np.int64]
    day: NDArray[np.datetime64]
    zone: str
    daily: bool


def resolve(stamps: Stamps, origin: Origin, zone: str | None) -> Clock:
    """Turn stamps into a clock in ``zone`` (None: the zone of the source, else UTC)."""
    if zone is not None:
        check_zone(zone)
    if stamps.kind == "date":
        return _daily(stamps.values, zone or "UTC")
    if stamps.kind == "naive":
        if zone is None:
            i = _first(stamps.values.dt.time() != dt.time())
            raise DataError(
                f"{_cell(origin, i)}: '{stamps.values[i]}' has no time zone; say which, e.g. zone=\"Asia/Shanghai\""
            )
        return _instants(_localise(stamps.values, origin, zone), zone)
    if stamps.mixed is not None and zone is None:
        i, j = stamps.mixed
        raise DataError(
            f"{_cell(origin, j)}: its UTC offset differs from that of {origin.word} {origin.count(i)} (mixed zones); "
            'say in which zone the sessions are, e.g. zone="America/New_York"'
        )
    target = zone or stamps.zone or "UTC"
    local = stamps.values.dt.convert_time_zone(target)
    if (local.dt.time() == dt.time()).all():
        return _daily(local.dt.date(), target)
    if stamps.days is None:
        return _instants(stamps.values, target)
    if zone is None:
        return _daily(stamps.days, target)
    raise DataError(
        f"{_cell(origin, 0)}: every stamp is midnight on its own clock but not in {target}: dates or instants? "
        "Store plain dates (YYYY-MM-DD), or give the zone in which they are midnight"
    )


def _daily(days: pl.Series, zone: str) -> Clock:
    number = days.to_physical().to_numpy().astype(np.int64)
    return Clock(number, number.astype("datetime64[D]"), zone, True)


def _instants(utc: pl.Series, zone: str) -> Clock:
    local = utc.dt.convert_time_zone(zone).dt.date().to_physical().to_numpy()
    return Clock(utc.to_physical().to_numpy().astype(np.int64), local.astype("datetime64[D]"), zone, False)


def _localise(naive: pl.Series, origin: Origin, zone: str) -> pl.Series:
    """Naive local times as UTC; a time that the clock change repeats or skips is refused."""
    utc = naive.dt.replace_time_zone(zone, ambiguous="null", non_existent="null")
    bad = utc.is_null()
    if bad.any():
        i = _first(bad)
        raise DataError(
            f"{_cell(origin, i)}: local time '{naive[i]}' occurs twice or never in {zone} (clock change); "
            "write time stamps with their UTC offset"
        )
    return utc.dt.convert_time_zone("UTC")


def closes(sessions: NDArray[np.datetime64], zone: str, close: str) -> NDArray[np.int64]:
    """Return (T,) int64 UTC ns: the local ``close`` ("HH:MM:SS") of each session date in ``zone``."""
    import polars as pl

    check_zone(zone)
    try:
        at = dt.time.fromisoformat(close)
    except ValueError:
        raise ConfigError(f"close: '{show(close)}' is no time of day; write it as HH:MM:SS, e.g. 15:00:00") from None
    after = ((at.hour * 60 + at.minute) * 60 + at.second) * 1_000_000_000 + at.microsecond * 1000
    local = sessions.astype("datetime64[D]").astype(np.int64) * DAY + after
    stamps = pl.Series(local).cast(pl.Datetime("ns"))
    # A close inside a clock change: the later of two readings is the one at which the bar is surely known.
    known = stamps.dt.replace_time_zone(zone, ambiguous="latest", non_existent="null")
    if known.is_null().any():
        day = sessions[_first(known.is_null())]
        raise ConfigError(f"close: {close} does not exist in {zone} on {day} (clock change); choose another close")
    return known.dt.convert_time_zone("UTC").to_physical().to_numpy().astype(np.int64)


def check_zone(zone: str) -> None:
    """Raise a ConfigError when ``zone`` is no IANA time zone."""
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        raise ConfigError(
            f"zone: '{show(zone)}' is no IANA time zone; write e.g. Asia/Shanghai, America/New_York or UTC"
        ) from None


def day(text: str | dt.date, what: str) -> np.datetime64:
    """Return a date given as text or date as datetime64[D]."""
    if isinstance(text, str):
        got = _stamp(text)
        if got is None or got[2] != "date":
            raise ConfigError(f"{what}: '{show(text)}' is no date; write it as YYYY-MM-DD")
        return np.datetime64(got[0].date(), "D")
    return np.datetime64(text, "D")


def _first(flags: pl.Series) -> int:
    return int(flags.fill_null(False).arg_max() or 0)


def _header(origin: Origin) -> str:
    return show(origin.headers.get("date", "date"))


def _cell(origin: Origin, i: int) -> str:
    return origin.cell(i, "date")
