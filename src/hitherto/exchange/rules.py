"""Market rules on a trade and on a panel: limits, fees, and the rulings that the kernels read; the data is dated."""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import ConfigError, DataError
from hitherto.exchange import terms as col
from hitherto.exchange.records import NONE, Record, Rules, as_date, load, parse
from hitherto.exchange.status import Status, boards_of
from hitherto.exchange.terms import COLUMNS, FEN, PIPS, Rulings
from hitherto.market.place import show
from hitherto.panel import Panel

__all__ = ["Fees", "Record", "Rules", "Rulings", "fees", "lay", "limit_prices", "limit_ticks", "load", "parse", "ticks"]

Handling = Literal["inside", "beside"]
Side = Literal["buy", "sell"]
Days = NDArray[np.datetime64]
_CN = ("tick", "band", "lot", "settle", "commission", "minimum", "stamp_buy", "stamp_sell", "transfer")
_US = ("tick", "band", "lot", "settle", "commission", "minimum", "stamp_buy", "section31", "transfer", "taf")
_COLUMNS = {
    "limit": (col.UP, col.DOWN), "tick": (col.TICK,), "band": (col.BAND,), "lot": (col.LOT, col.STEP),
    "settle": (col.SETTLE,), "commission": (col.COMMISSION,), "minimum": (col.MINIMUM,), "stamp_buy": (col.TAX_BUY,),
    "stamp_sell": (col.TAX_SELL,), "section31": (col.TAX_SELL,), "taf": (col.SHARE_SELL, col.SHARE_CAP),
    "handling": (col.OTHER,), "levy": (col.OTHER,),
}  # fmt: skip


def ticks(price: float, tick: int) -> int:
    """Return a price in ticks, half up; 1e-6 of a tick forgives the noise of floats. tick: pips of 0.0001."""
    return int(np.floor(float(price) * PIPS / tick + 0.5 + 1e-6))


def limit_ticks(reference: int, up: int, down: int, band: int) -> tuple[int, int]:
    """Return the limits (up, down), all in ticks: half up in integers, and at least ``band`` from the reference."""
    top = (reference * (10_000 + up) + 5_000) // 10_000
    low = (reference * (10_000 - down) + 5_000) // 10_000
    top, low = max(top, reference + band), min(low, reference - band)
    return top, max(low, 1) if band else low


def limit_prices(
    rules: Rules, reference: float, date: dt.date | np.datetime64, board: str, status: str = "normal",
    listing_day: int = 1, listed: dt.date | np.datetime64 | None = None,
) -> tuple[float, float] | None:  # fmt: skip
    """Return (limit up, limit down) in currency, or None where no limit holds.

    reference: the last close, adjusted for the ex-day (the issue price on listing days whose limit is of the issue
    price). listing_day: number of the session since listing, or in the delisting period. Errors: no rule (DataError).
    """
    up, down, _ = rules.at("limit", date, board, status, listing_day, listed).value
    if up == NONE:
        return None
    tick, band = rules.at("tick", date, board).value[0], rules.at("band", date, board).value[0]
    top, low = limit_ticks(ticks(reference, tick), up, down, band)
    return top * tick / PIPS, low * tick / PIPS


class Fees(NamedTuple):
    """The parts of one trade's fee, whole numbers of 0.01 of the currency."""

    commission: int
    tax: int
    transfer: int
    other: int


def _row(
    rules: Rules, date: dt.date, board: str, limit: Record | None, handling: Handling, used: set[Record]
) -> list[float]:
    """One row of terms for a board on a date; every record that it rests on is added to ``used``."""
    row = [0.0] * COLUMNS
    row[col.UP] = row[col.DOWN] = float(NONE)
    row[col.SHARE_CAP] = np.inf
    whats = _CN if rules.market == "cn" else _US
    records = [
        rules.at(what, date, board) for what in (whats if handling == "inside" else (*whats, "handling", "levy"))
    ]
    for record in records if limit is None else (limit, *records):
        used.add(record)
        if record.what == "transfer":
            row[col.TRANSFER if record.value[1] == "value" else col.SHARE_BOTH] = float(record.value[0])
        elif record.what != "limit" or record.value[2] == "close":  # a limit of the issue price has no reference here
            for column, value in zip(_COLUMNS[record.what], record.value, strict=False):
                # handling and levy share a column, every other column has one source and starts at 0
                row[column] = row[column] + value if column == col.OTHER else float(value)
    return row


def fees(
    rules: Rules, side: Side, shares: int, price: float, date: dt.date | np.datetime64, board: str, *,
    fee_bps: float = 0.0, handling: Handling = "inside",
) -> Fees:  # fmt: skip
    """Return the fee parts of one trade of whole ``shares`` at ``price``, each rounded half up by itself.

    fee_bps: the broker's commission in basis points. handling: "inside" the commission, or "beside" it. Errors: no rule
    (DataError), a commission above the largest lawful one (ConfigError).
    """
    row = _row(rules, as_date(date), board, None, handling, set())
    rate = round(fee_bps * 1e4)
    if rate > row[col.COMMISSION]:
        raise ConfigError(
            f"fees: {fee_bps:g} bps are above the largest commission of {row[col.COMMISSION] / 1e4:g} bps"
        )
    tick = int(row[col.TICK])
    value = (shares * ticks(price, tick) * tick + 50) // 100
    sell = side == "sell"

    def part(of: int, column: int) -> int:
        return (of * int(row[column]) + 50_000_000) // 100_000_000

    other = part(value, col.OTHER)
    if sell and row[col.SHARE_SELL]:
        other += int(min(part(shares * FEN, col.SHARE_SELL), row[col.SHARE_CAP]))
    commission = max((value * rate + 50_000_000) // 100_000_000, int(row[col.MINIMUM]))
    tax = part(value, col.TAX_SELL if sell else col.TAX_BUY)
    return Fees(commission, tax, part(value, col.TRANSFER) + part(shares * FEN, col.SHARE_BOTH), other)


# ---- a panel --------------------------------------------------------------------------------------------------------


class _Sheet:
    """The rows of terms needed so far; equal rows are one kind."""

    def __init__(self, rules: Rules, handling: Handling) -> None:
        self.rules = rules
        self.handling: Handling = handling
        self.used: set[Record] = set()
        self._row: dict[tuple[int, str, Record], int] = {}
        self._kind: dict[tuple[float, ...], int] = {}

    def kind(
        self,
        segment: int,
        date: dt.date,
        board: str,
        status: str = "normal",
        day: int = 1,
        listed: dt.date | None = None,
    ) -> int:
        """Return the row of terms that holds for a board on a date of a segment (no rule changes inside a segment)."""
        limit = self.rules.at("limit", date, board, status, day, listed)
        key = (segment, board, limit)
        if key not in self._row:
            row = tuple(_row(self.rules, date, board, limit, self.handling, self.used))
            self._row[key] = self._kind.setdefault(row, len(self._kind))
            if len(self._kind) > 255:
                raise ConfigError("rules: this panel needs more than 255 kinds of terms; cut it into shorter periods")
        return self._row[key]

    def terms(self) -> NDArray[np.float64]:
        return np.array(list(self._kind), np.float64).reshape(-1, COLUMNS)

    def digest(self) -> str:
        lines = sorted(repr((self.handling, *(str(v) for v in vars(r).values()))) for r in self.used)
        return hashlib.sha256("\n".join([self.rules.market, *lines]).encode()).hexdigest()


def lay(
    market: str, panel: Panel, status: Status | None = None, *, assume_st: str | None = None,
    handling: Handling = "inside", asof: dt.date | np.datetime64 | None = None,
) -> Rulings:  # fmt: skip
    """Return the rules in force on every bar and for every listed name of a panel.

    status: who was ST or in a delisting period, when, and optional boards and listing days; without it mainland China
    needs assume_st = "never". handling: whether commissions hold handling fees and levies "inside". asof: rules
    published later are ignored. Errors: a name of no known board, a date or board without a rule (DataError, naming the
    first name that needs it); missing assumption, unknown market (ConfigError).
    """
    rules = load(market) if asof is None else load(market).known(asof)
    if handling not in ("inside", "beside"):
        raise ConfigError(f"rules: handling '{show(handling)}' is unknown; inside or beside the commission")
    if assume_st not in (None, "never"):
        raise ConfigError(f'rules: assume.st = "{show(assume_st)}" is unknown; only "never", or give a status table')
    if market == "cn" and status is None and assume_st is None:
        raise ConfigError(
            "rules 'cn': the bars do not say which names are ST (5 % limits); give a status table, or write "
            '[exchange.assume] st = "never"'
        )
    if status is not None and market != "cn":
        raise ConfigError(f"rules '{market}': a status table has no meaning there; leave it out")
    if status is not None and asof is not None:
        status = status.known(asof)
    boards, guessed = boards_of(market, panel.symbols, status)
    sheet = _Sheet(rules, handling)
    days, session = np.unique(panel.sessions.astype("datetime64[D]"), return_inverse=True)
    kind, segment = _ordinary(sheet, panel, boards, days, session)
    late = _special(sheet, panel, boards, status, days, session, segment, kind) if market == "cn" else 0
    said = _assumptions(sheet, boards, guessed, status, days, late, asof)
    if status is not None:
        strange, listed = status.strangers(panel.symbols)
        said += (f"{strange} of {listed} names of the status table are not among the bars.",) * bool(strange)
    terms = sheet.terms()
    return Rulings(
        market, kind, terms, sheet.digest(), said + _off_the_tick(panel, terms[:, col.TICK], kind),
        shorts=market != "cn", falls=market != "cn",
    )  # fmt: skip


def _off_the_tick(panel: Panel, tick: NDArray[np.float64], kind: NDArray[np.uint8]) -> tuple[str, ...]:
    """A sentence where closes lie off the tick by more than 0.1 % of the price; 500 bars are looked at."""
    rows = np.unique(np.linspace(0, len(kind) - 1, 500).astype(int))
    price, step = panel.fields["close"][rows] * PIPS, tick[kind[rows]]
    known = np.isfinite(price) & (price > 0)
    off = known & (np.abs(price - np.round(price / step) * step) > 1e-3 * price)
    share = off.sum() / max(1, known.sum())
    if share < 1e-3:
        return ()
    return (
        f"About {share:.1%} of the closes lie off the tick by more than 0.1 % of the price, as adjusted or rounded "
        "prices do: they trade at the nearest tick, and rounding alone may make or lose money there.",
    )


def _ordinary(
    sheet: _Sheet, panel: Panel, boards: NDArray[np.str_], days: Days, session: NDArray[np.intp]
) -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
    """Kinds (T, N) of sessions in which nothing is special, and the segment (D,) of every session."""
    cuts = sorted({d for r in sheet.rules.records for d in (r.start, r.end) if d is not None})
    segment = np.searchsorted(np.array(cuts, "datetime64[D]"), days, side="right")
    names, code = np.unique(boards, return_inverse=True)
    table = np.zeros((len(days), len(names)), np.uint8)
    for b, board in enumerate(names):
        columns = np.flatnonzero(code == b)
        traded = np.zeros(len(days), bool)
        traded[session[panel.listed[:, columns].any(1)]] = True
        for s in np.unique(segment[traded]):
            here = segment == s
            first = int((here & traded).argmax())
            try:
                table[here, b] = sheet.kind(int(s), as_date(days[first]), str(board))
            except DataError as e:
                n = columns[panel.listed[session == first][:, columns].any(0).argmax()]
                raise DataError(f"{panel.symbols[n]}: {e}") from None
    return np.take(table[session], code, axis=1), segment


def _special(
    sheet: _Sheet, panel: Panel, boards: NDArray[np.str_], status: Status | None, days: Days, session: NDArray[np.intp],
    segment: NDArray[np.intp], kind: NDArray[np.uint8],
) -> int:  # fmt: skip
    """Write the kinds of ST spans, first sessions and delisting periods; return the number of first windows."""
    row = np.r_[np.searchsorted(session, np.arange(len(days))), len(session)]  # first bar of each session
    first = session[panel.listed.argmax(0)]
    last = session[len(session) - 1 - panel.listed[::-1].argmax(0)] + 1
    alive = np.asarray(panel.listed.any(0))
    dates: list[dt.date] = days.tolist()
    book = sheet.rules

    def write(n: int, a: int, b: int, name: str, day: int = 1, listed: dt.date | None = None) -> None:
        while a < b:
            stop = min(b, int(np.searchsorted(segment, segment[a], side="right")))
            try:
                k = sheet.kind(int(segment[a]), dates[a], str(boards[n]), name, day, listed)
            except DataError as e:
                raise DataError(f"{panel.symbols[n]}: {e}") from None
            kind[row[a] : row[stop], n] = k
            a = stop

    spans = [] if status is None else status.spans(panel.symbols, days)
    for n, name, begin, end in spans:
        if name == "st" and alive[n]:
            write(n, max(begin, int(first[n])), min(end, int(last[n])), "st")
    listings = {} if status is None else status.listings(panel.symbols)
    window = max(r.days[1] for r in book.records if r.days)
    windows = 0
    for n in sorted({*np.flatnonzero(alive & (first > 0)).tolist(), *(n for n in listings if alive[n])}):
        start = dates[first[n]]
        opened = listings.get(n) or start
        if opened > start:
            raise DataError(
                f"{panel.symbols[n]}: bars from {start} on, but the status table lists it on {opened}; correct "
                "listing_date"
            )
        begin, board = _session(opened, days), str(boards[n])
        if begin + window <= 0 or not book.has("limit", board, "ipo", True):
            continue
        windows += 1
        for j in range(max(begin, int(first[n])), min(begin + window, int(last[n]))):
            if book.at("limit", dates[j], board, "ipo", j - begin + 1, opened).status == "ipo":
                write(n, j, j + 1, "ipo", j - begin + 1, opened)
    for n, name, begin, end in spans:
        if name == "delisting" and alive[n]:
            for j in range(max(begin, int(first[n])), min(end, int(last[n]))):
                write(n, j, j + 1, "delisting", j - begin + 1)
    return windows


def _session(day: dt.date, days: Days) -> int:
    """Number of the session on or after ``day``; below 0 before the first one, where weekdays stand for sessions."""
    at = np.datetime64(day)
    return -int(np.busday_count(at, days[0])) if at < days[0] else int(np.searchsorted(days, at))


def _assumptions(
    sheet: _Sheet, boards: NDArray[np.str_], guessed: int, status: Status | None, days: Days, windows: int,
    asof: dt.date | np.datetime64 | None,
) -> tuple[str, ...]:  # fmt: skip
    """What the rulings take for granted, in sentences for the report."""
    said = []
    if sheet.rules.market == "cn":
        names, counts = np.unique(boards, return_counts=True)
        split = ", ".join(f"{name} {count}" for name, count in zip(names, counts, strict=True))
        given = "" if guessed == len(boards) else f" ({len(boards) - guessed} from the status table)"
        said.append(f"The board of a name follows from the prefix of its code{given}: {split}.")
        if status is None:
            said.append('No name is ever ST or in a delisting period (assume.st = "never").')
        else:
            said.append("Names and dates outside the status table are neither ST nor in a delisting period.")
        said.append(
            f"Names with bars on {days[0]} are taken as listed long before; {windows} names have the limits of first "
            "sessions from a later first bar or listing date."
        )
        where = "inside the commission" if sheet.handling == "inside" else "charged beside the commission"
        said.append(f"Handling fees and levies are {where}.")
        if set(names) & {"etf_sse", "etf_szse"}:
            said.append("Funds are ordinary ones (10 % limit, T+1) unless the status table names another board.")
    else:
        said.append("Shares trade in whole numbers and cents, without daily limits; volatility halts are not modelled.")
    used = {(r.what, r.value[-1]) for r in sheet.used}
    if ("transfer", "par") in used:
        said.append("Shanghai's transfer fees before 2015-08-01 were charged on par value, taken as 1 yuan a share.")
    if ("limit", "issue") in used:
        said.append(
            "Limits on listing days were shares of the issue price, which bars do not hold: none is applied then."
        )
    if asof is not None:
        said.append(f"Only rules published by {as_date(asof)} are applied.")
    return tuple(said)
