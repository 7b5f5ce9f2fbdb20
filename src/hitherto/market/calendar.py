"""Exchange calendars: sessions, closing time and zone, from the exchange_calendars package."""

from __future__ import annotations

import difflib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import ConfigError, DataError
from hitherto.market.dates import day
from hitherto.market.place import show

# Shenzhen and Beijing trade on Shanghai's days. XBSE is Bucharest, so it is no alias for Beijing.
SHANGHAI = ("SSE", "SHSE", "SZSE", "XSHE", "BJSE", "BSE-BEIJING", "BSE_BEIJING", "BEIJING")
FROM_DATA = 'take the trading days from the data: calendar="from_data"'


def sessions(name: str, start: str, end: str) -> NDArray[np.datetime64]:
    """Return the sessions of exchange ``name`` in start..end (both included), datetime64[D].

    name: an ISO code of exchange_calendars (XSHG, XNYS, ...) or an alias. Errors: ConfigError for an unknown name,
    DataError where the calendar does not reach (Shanghai's ends each New Year).
    """
    first, last = day(start, "start"), day(end, "end")
    if first > last:
        raise ConfigError(f"calendar: start {first} is after end {last}; swap them")
    calendar = _calendar(name)
    if first < _day(calendar.first_session) or last > _day(calendar.last_session):
        calendar = _wider(name, calendar, first, last)
    known = calendar.sessions.to_numpy().astype("datetime64[D]")
    return known[(known >= first) & (known <= last)]


def close_time(name: str) -> tuple[str, str]:
    """Return the usual local close ("HH:MM:SS") and IANA zone of an exchange; early closes are not told apart."""
    calendar = _calendar(name)
    close = calendar.close_times[-1][1]
    # A market that never closes ends its session at midnight: the last second keeps the decision on its own date.
    return ("23:59:59" if close.isoformat() == "00:00:00" else close.isoformat()), str(calendar.tz)


def _canonical(name: str) -> str:
    return "XSHG" if name.upper() in SHANGHAI else name.upper() if name.islower() else name


def _calendar(name: str) -> Any:
    import exchange_calendars as xc
    from exchange_calendars.errors import InvalidCalendarName

    try:
        return xc.get_calendar(_canonical(name))
    except InvalidCalendarName:
        near = difflib.get_close_matches(name.upper(), [*xc.get_calendar_names(), *SHANGHAI], 1)
        hint = f"did you mean {near[0]}? Or " if near else ""
        raise ConfigError(f"calendar: '{show(name)}' is not known; {hint}{FROM_DATA}") from None


def _wider(name: str, calendar: Any, first: np.datetime64, last: np.datetime64) -> Any:
    """The calendar over a longer span than its default twenty years, if it reaches."""
    import exchange_calendars as xc

    low, high = type(calendar).bound_min(), type(calendar).bound_max()
    below = low is not None and first < _day(low)
    above = high is not None and last > _day(high)
    if below or above:
        reach = f"{'-' if low is None else _day(low)}..{'-' if high is None else _day(high)}"
        raise DataError(f"calendar {name}: {first}..{last} was asked, it knows {reach}; {FROM_DATA}")
    start = min(first, _day(calendar.first_session))
    end = max(last, _day(calendar.last_session))
    return xc.get_calendar(_canonical(name), start=str(start), end=str(end))


def _day(stamp: Any) -> np.datetime64:
    return np.datetime64(stamp.strftime("%Y-%m-%d"), "D")
