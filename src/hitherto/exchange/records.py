"""The rule book: dated records of limits, lots, settlement and fees, read from TOML, and which one is in force."""

from __future__ import annotations

import datetime as dt
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np

from hitherto.errors import ConfigError, DataError
from hitherto.exchange.terms import E8, FEN, PIPS
from hitherto.market.place import show

FOLDER = Path(__file__).with_name("rules")
MARKETS = ("cn", "us")
FUNDS = ("etf_sse", "etf_szse", "etf20_sse", "etf20_szse", "etf_t0_sse", "etf_t0_szse")
BOARDS = {"cn": ("main_sse", "main_szse", "chinext", "star", "bse", *FUNDS), "us": ("us",)}
WHATS = (
    "limit", "tick", "band", "lot", "settle", "stamp_buy", "stamp_sell", "transfer", "commission", "minimum",
    "handling", "levy", "section31", "taf",
)  # fmt: skip
STATUSES = ("normal", "st", "ipo", "delisting")
NONE = -1  # no limit
_KEYS = {"what", "boards", "status", "days", "value", "start", "end", "known", "source", "check", "note"}
_CURE = "correct the rule file (docs/rules.md shows the form)"
_FOREVER = dt.date.max


@dataclass(frozen=True)
class Record:
    """One rule of one board, as published.

    value: whole numbers, by ``what``: limit (up, down, "close" or "issue") in bps of that price, -1 for none; tick
    (pips of 0.0001 of the currency,); band (ticks,); lot (least, step) in shares; settle (1 or 0,); rates (1e-8 of the
    value,); transfer (rate, "value" or "par"); minimum (0.01 of the currency,); taf (1e-8 of the currency per share,
    cap in 0.01 of the currency). days: the sessions (a, b) after listing or in the delisting period that it is for.
    start: first day in force; end: first day no longer in force, None where a later record or nothing ends it.
    known_at: the day of publication.
    """

    what: str
    board: str
    status: str
    days: tuple[int, int] | None
    value: tuple[Any, ...]
    start: dt.date
    end: dt.date | None
    known_at: dt.date
    source: str
    check: str

    @property
    def key(self) -> tuple[str, str, str, bool]:
        """Records of one key follow one another: the latest start that has come is in force."""
        return self.what, self.board, self.status, self.days is not None


@dataclass(frozen=True, eq=False)
class Rules:
    """All records of one market; ``at`` answers which one is in force. Immutable; build with ``load`` or ``parse``."""

    market: str
    records: tuple[Record, ...]
    asof: dt.date | None = None
    _chains: Mapping[tuple[str, str, str, bool], tuple[Record, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        chains: dict[tuple[str, str, str, bool], list[Record]] = {}
        for r in sorted(self.records, key=lambda r: r.start):
            chain = chains.setdefault(r.key, [])
            if chain and (chain[-1].start == r.start or (chain[-1].end or r.start) > r.start):
                raise DataError(
                    f"rules '{self.market}': two records of {r.what} for {r.board} ({r.status}) hold on {r.start}; "
                    f"{_CURE}"
                )
            chain.append(r)
        object.__setattr__(self, "_chains", {k: tuple(v) for k, v in chains.items()})

    def known(self, asof: dt.date | np.datetime64) -> Rules:
        """Return the rules that were public on a day: later publications are ignored, what they ended goes on."""
        day = as_date(asof)
        return Rules(self.market, tuple(r for r in self.records if r.known_at <= day), day)

    def has(self, what: str, board: str, status: str, days: bool) -> bool:
        """Whether such a rule is on record for any date."""
        return (what, board, status, days) in self._chains

    def at(
        self, what: str, date: dt.date | np.datetime64, board: str, status: str = "normal", day: int = 1,
        listed: dt.date | np.datetime64 | None = None,
    ) -> Record:  # fmt: skip
        """Return the record of ``what`` in force for a board on a date.

        status (limits only): "normal", "st", "ipo", "delisting". day: number of the session since listing ("ipo") or
        in the delisting period, from 1. listed: the listing day, whose rule holds for the whole first window (None:
        ``date``). Errors: no record in force (DataError); an unknown what, board or status (ConfigError).
        """
        when = as_date(date)
        for name, value, of in (
            ("what", what, WHATS),
            ("board", board, BOARDS[self.market]),
            ("status", status, STATUSES),
        ):
            if value not in of:
                raise ConfigError(f"rules '{self.market}': {name} '{show(value)}' is unknown; one of {', '.join(of)}")
        if what != "limit":
            return self._in_force((what, board, "normal", False), when)
        if status == "ipo":
            if self.has(what, board, status, True):
                first = self._in_force((what, board, status, True), when if listed is None else as_date(listed))
                if first.days is not None and first.days[0] <= day <= first.days[1]:
                    return first
            status = "normal"
        elif status == "delisting" and day == 1:
            first = self._find((what, board, status, True), when)
            if first is not None:
                return first
        return self._in_force((what, board, status, False), when)

    def _find(self, key: tuple[str, str, str, bool], when: dt.date) -> Record | None:
        found = None
        for r in self._chains.get(key, ()):
            if r.start > when:
                break
            found = r
        return found if found is not None and when < (found.end or _FOREVER) else None

    def _in_force(self, key: tuple[str, str, str, bool], when: dt.date) -> Record:
        found = self._find(key, when)
        if found is not None:
            return found
        what, board, status, _ = key
        spans, chain = [], self._chains.get(key, ())
        for r, after in zip(chain, (*chain[1:], None), strict=False):
            end = r.end or (after.start if after is not None else None)
            if spans and spans[-1][1] == r.start:
                spans[-1] = (spans[-1][0], end)
            else:
                spans.append((r.start, end))
        on_record = (
            ", ".join(f"{a} on" if b is None else f"{a} to {b - dt.date.resolution}" for a, b in spans) or "nothing"
        )
        known = f" known by {self.asof}" if self.asof else ""
        raise DataError(
            f"rules '{self.market}': no {what} for board {board} ({status}) on {when}; on record{known}: {on_record}. "
            "Cut the bars to dates with rules, or add the record with its source (docs/rules.md)"
        )


def as_date(day: dt.date | np.datetime64) -> dt.date:
    """Return a day as a plain date."""
    return cast(dt.date, day.astype("datetime64[D]").item()) if isinstance(day, np.datetime64) else day


@lru_cache
def load(market: str) -> Rules:
    """Return the shipped rules of "cn" (mainland China) or "us". Errors: no such market (ConfigError)."""
    if market not in MARKETS:
        raise ConfigError(f"rules: no market '{show(market)}' on record; one of {', '.join(MARKETS)}")
    return parse(market, {p.name: p.read_text(encoding="utf-8") for p in sorted(FOLDER.glob(f"{market}*.toml"))})


def parse(market: str, texts: Mapping[str, str]) -> Rules:
    """Return the rules written in TOML texts, by file name. Errors: DataError by file, number of the rule, and key."""
    records: list[Record] = []
    for name, text in texts.items():
        try:
            # Decimal: 0.00341 % must become exactly 3410 parts in 1e8.
            document = tomllib.loads(text, parse_float=Decimal)
        except tomllib.TOMLDecodeError as e:
            raise DataError(f"{name}: not readable as TOML ({show(e, 80)}); {_CURE}") from None
        if odd := sorted(set(document) - {"sources", "rule"}):
            raise DataError(f"{name}: unknown key '{show(odd[0])}'; a rule file has [sources] and [[rule]]")
        for k, entry in enumerate(document.get("rule", []), 1):
            records += _records(entry, document.get("sources", {}), market, f"{name} rule {k}")
    return Rules(market, tuple(records))


def _records(entry: dict[str, Any], sources: Mapping[str, str], market: str, where: str) -> list[Record]:
    """One [[rule]] as a record per board."""

    def need(ok: bool, what: str) -> None:
        if not ok:
            raise DataError(f"{where}: {what}; {_CURE}")

    if odd := sorted(set(entry) - _KEYS):
        raise DataError(f"{where}: unknown key '{show(odd[0])}'; known are {', '.join(sorted(_KEYS))}")
    for key in ("what", "boards", "value", "start", "known", "source", "check"):
        need(key in entry, f"'{key}' is missing")
    what, status, days = entry["what"], entry.get("status", "normal"), entry.get("days")
    need(what in WHATS, f"what = '{show(what)}' is none of {', '.join(WHATS)}")
    need(status in STATUSES, f"status = '{show(status)}' is none of {', '.join(STATUSES)}")
    need(bool(entry["boards"]), "boards is empty")
    for board in entry["boards"]:
        need(board in BOARDS[market], f"board '{show(board)}' is none of {', '.join(BOARDS[market])}")
    need(what == "limit" or (status == "normal" and days is None), "only a limit depends on status or days")
    need(entry["check"] in ("marina", "source"), "check must be 'marina' or 'source'")
    need(entry["source"] in sources, f"source '{show(entry['source'])}' is not listed under [sources]")
    start, end, known = entry["start"], entry.get("end"), entry["known"]
    for key, value in (("start", start), ("end", end or start), ("known", start if known == "start" else known)):
        need(type(value) is dt.date, f"{key} = {show(value)} is no date")
    need(end is None or end > start, f"end {end} does not lie after start {start}")
    if days is not None:
        need(len(days) == 2 and days[0] == 1 and days[1] >= 1, "days must be [1, b] with b >= 1")
        need(status in ("ipo", "delisting"), "days count from a listing or a delisting period")
        days = (int(days[0]), int(days[1]))
    need(status != "ipo" or days is not None, "a rule for status 'ipo' needs days")
    value = _value(what, entry["value"], where)
    at = start if known == "start" else known
    source = sources[entry["source"]]
    return [Record(what, b, status, days, value, start, end, at, source, entry["check"]) for b in entry["boards"]]


def _value(what: str, raw: Any, where: str) -> tuple[Any, ...]:
    """The value in whole numbers of the units of ``Record``."""

    def whole(x: Any, unit: float) -> int:
        if isinstance(x, bool) or not isinstance(x, (int, Decimal)) or x < 0 or (x * int(unit)) % 1:
            raise DataError(f"{where}: value {show(x)} of {what} is no whole multiple of 1/{unit:.0f}; {_CURE}")
        return int(x * int(unit))

    fields = {
        "limit": {"up", "down", "of"},
        "lot": {"least", "step"},
        "transfer": {"rate", "of"},
        "taf": {"share", "cap"},
    }
    if isinstance(raw, dict) and set(raw) != fields.get(what):
        raise DataError(f"{where}: value of {what} has the keys {', '.join(sorted(raw))}; {_CURE}")
    if what == "limit":
        if raw == "none":
            return NONE, NONE, "close"
        if isinstance(raw, dict):
            return whole(raw["up"], 1e4), whole(raw["down"], 1e4), str(raw["of"])
        return whole(raw, 1e4), whole(raw, 1e4), "close"
    if what in ("lot", "taf"):
        if not isinstance(raw, dict):
            raise DataError(f"{where}: value of {what} must be a table; {_CURE}")
        if what == "lot":
            return whole(raw["least"], 1), whole(raw["step"], 1)
        return whole(raw["share"], E8), whole(raw["cap"], FEN)
    if what == "transfer":
        return (whole(raw["rate"], E8), str(raw["of"])) if isinstance(raw, dict) else (whole(raw, E8), "value")
    if what == "commission" and raw == "none":
        return (np.inf,)
    unit = {"tick": PIPS, "band": 1, "settle": 1, "minimum": FEN}.get(what, E8)
    return (whole(raw, unit),)
