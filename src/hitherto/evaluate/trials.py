"""The trial ledger: which trials have read a test stretch, written down before their results were known.

One SQLite file beside the study file, one record a line, each hashed with the hash of the one before it, so that a
record that was changed, dropped or put in later breaks the chain. Triggers refuse UPDATE and DELETE: a fence against
accidents. Who rewrites the whole chain, or cuts its end off, is found out only by a head that a run folder kept.
"""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from hitherto.errors import ConfigError, DataError, HithertoError
from hitherto.evaluate.performance import ROUNDING, clean
from hitherto.sharpe import expected_best

NAME = "trials.sqlite"
APPLICATION = 0x68747274  # of the SQLite header: tells a ledger from other SQLite files
LAYOUT = 1
START = "0" * 64  # stands before the first record
WAIT = 60.0  # seconds that a writer waits for the others
TABLE = (
    "CREATE TABLE record (seq INTEGER PRIMARY KEY, at TEXT NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL, "
    "prev TEXT NOT NULL, hash TEXT NOT NULL)",
    "CREATE TRIGGER no_update BEFORE UPDATE ON record BEGIN SELECT RAISE(ABORT, 'records are only added'); END",
    "CREATE TRIGGER no_delete BEFORE DELETE ON record BEGIN SELECT RAISE(ABORT, 'records are only added'); END",
)


Key = tuple[str, str, int | None]


@dataclass(frozen=True)
class Trial:
    """One model under one portfolio rule that reads a test stretch.

    trial: digest of its settings, without seeds, names, paths, device and report. data: digest of the panel. counted:
    data under which it was first counted: ``data`` itself, or earlier bars that ``data`` only lengthens. seed: of the
    study; None for a model that draws no random number. seeds: how many were averaged. study, model, rule: names;
    version: digest of the whole study and its seed. role: "main" is what the study puts forward, "rival" what it is
    compared with. bars, symbols: name of the bars ("" in memory) and digest of the symbols, which tell the market;
    length: its bars. first, last: test sessions. per_year: periods a year.
    """

    trial: str
    data: str
    counted: str
    seed: int | None
    seeds: int
    study: str
    version: str
    model: str
    rule: str
    role: str
    bars: str
    symbols: str
    length: int
    first: str
    last: str
    per_year: int

    @property
    def key(self) -> tuple[str, str, int | None]:
        """What makes a trial a new one: another seed that was looked at is a choice too, an average of seeds is one."""
        return self.trial, self.counted, self.seed

    @property
    def title(self) -> str:
        """Model and rule."""
        return f"{self.model}, {self.rule}"

    def meets(self, other: Trial) -> bool:
        """Whether both read the same market on some common session."""
        same = self.symbols == other.symbols or (self.bars != "" and self.bars == other.bars)
        return same and self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Outcome:
    """Sharpe ratio per period of net returns (None: they are constant), their number, skew, kurtosis (normal: 3)."""

    sharpe: float | None
    bars: int
    skew: float | None
    kurtosis: float | None

    @classmethod
    def of(cls, returns: ArrayLike) -> Outcome:
        """Return the outcome of (K,) simple returns; deviation with ddof 1. NaN, inf: DataError."""
        r = clean(returns)
        if len(r) < 2 or np.ptp(r) <= ROUNDING:
            return cls(None, len(r), None, None)
        z = (r - r.mean()) / r.std()
        return cls(float(r.mean() / r.std(ddof=1)), len(r), float((z**3).mean()), float((z**4).mean()))


@dataclass(frozen=True)
class Record:
    """One line of the ledger: number from 1, UTC time, "opened" or "result", its content, its hash."""

    seq: int
    at: str
    kind: str
    body: dict[str, Any]
    hash: str


class Read(NamedTuple):
    """A reading of a test stretch, as the audit's P11 asks for it: digests of study and data, sessions, UTC time."""

    study: str
    data: str
    first: str
    last: str
    opened: str


@dataclass(frozen=True)
class Searched:
    """How much searching the data has seen.

    trials: distinct ones that opened it, with or without a result. variance: of the per-period Sharpe ratios of those
    with one (ddof 1), at least that of noise, the mean of 1 / bars; None without any. first, last: sessions read.
    """

    trials: int
    variance: float | None
    with_result: int
    first: str
    last: str

    @property
    def luck(self) -> float | None:
        """The Sharpe ratio per period that the best of so many trials without any skill is expected to show."""
        if self.variance is None:
            return None
        return math.sqrt(self.variance) * expected_best(self.trials) if self.trials else 0.0


class Chain(NamedTuple):
    """A check of the chain: number of records that hold, the last one's hash, and why it breaks after them."""

    records: int
    head: str
    broken: str | None

    def __str__(self) -> str:
        count = f"{self.records} {'record' if self.records == 1 else 'records'}"
        return f"chain: intact, {count}" if self.broken is None else f"chain: broken, {self.broken}"


@dataclass(frozen=True)
class Account:
    """What a ledger held when it was read. outcomes: the first result of every trial that has one, by ``Trial.key``."""

    trials: tuple[Trial, ...]
    outcomes: dict[Key, Outcome]

    def near(self, data: str | None = None) -> list[Trial]:
        """Return the opened trials that count together with those on the data of this digest; None: all.

        Together count: the same data, whatever stretch of it was tested; and other data of the same market (equal
        symbols, or bars of the same name) where test stretches share a session.
        """
        if data is None:
            return list(self.trials)
        here = {(t.data, t.bars, t.symbols, t.first, t.last): t for t in self.trials if t.data == data}
        return [t for t in self.trials if any(t.meets(h) for h in here.values())]

    def count(self, data: str | None = None) -> Searched:
        """Return how many distinct trials read the test stretch of this data (see ``near``), and how they spread.

        Sharpe ratios per bar of other lengths (hourly beside daily) are brought to the bars of this data by the root
        of time.
        """
        near = self.near(data)
        keys = {t.key: t.per_year for t in near}
        clock = bars_a_year(near, data)
        known = [(self.outcomes[k], per / clock) for k, per in keys.items() if k in self.outcomes]
        # sorted: writers come in any order
        ratios = sorted(o.sharpe * math.sqrt(f) for o, f in known if o.sharpe is not None)
        variance = None
        if ratios:
            noise = math.fsum(sorted(f / o.bars for o, f in known)) / len(known)
            variance = max(noise, float(np.var(ratios, ddof=1)) if len(ratios) > 1 else 0.0)
        first, last = (min((t.first for t in near), default=""), max((t.last for t in near), default=""))
        return Searched(len(keys), variance, len(ratios), first, last)


def bars_a_year(near: list[Trial], data: str | None) -> int:
    """Return the bars a year of the trials on ``data``, else of the last one; 1 without any."""
    return next((t.per_year for t in near if t.data == data), near[-1].per_year if near else 1)


class TrialLedger:
    """The ledger in the file ``path``; it is made by the first trial that is opened."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"TrialLedger({self.path})"

    def ready(self) -> None:
        """Raise ConfigError unless a trial could be written now, DataError for a foreign file or a broken chain."""
        with self._write() as db:
            self._sound(db)
            db.execute("INSERT INTO record VALUES (NULL, '', '', '', '', '')")  # taken back: it only tries the disk
            db.execute("ROLLBACK")
            db.execute("BEGIN")

    def open(self, trials: Iterable[Trial]) -> int:
        """Write that these trials are about to read a test stretch, durably; return how many of them are new.

        A repeat (same settings, data and seed) is not written again. All or none are written. Errors: as ``ready``;
        a reading that cannot be recorded should not happen.
        """
        given = {(*t.key, t.data): t for t in trials}
        for t in given.values():
            if not t.trial or not t.data or not t.counted:
                raise ConfigError("trial ledger: a trial needs digests of its settings and its data; one is empty")
        with self._write() as db:
            had = {(*t.key, t.data) for t in _opened(self._sound(db))}
            new = [asdict(t) for k, t in given.items() if k not in had]
            self._append(db, "opened", new)
        return len(new)

    def result(self, results: Iterable[tuple[Trial, Outcome]]) -> int:
        """Write what trials earned; return how many were new: the first result of a trial stands.

        Errors: ConfigError for a trial that was not opened before.
        """
        given = list(results)
        with self._write("the trial is on record, its result is not") as db:
            records = self._sound(db)
            opened = {(*t.key, t.data) for t in _opened(records)}
            had = {_key(r.body) for r in records if r.kind == "result"}
            new = []
            for t, outcome in given:
                if (*t.key, t.data) not in opened:
                    raise ConfigError(f"trial ledger: {t.title} has a result but was never opened; open it first")
                if (*t.key, t.data) not in had:
                    new.append(_names(t) | asdict(outcome))
            self._append(db, "result", new)
        return len(new)

    def records(self) -> tuple[Record, ...]:
        """Return all records in order, () without a file; DataError when the chain is broken."""
        sound, broken = _check(self._rows())
        if broken is not None:
            raise DataError(f"{self.path}: {broken}; {CURE}")
        return tuple(sound)

    def read(self) -> Account:
        """Return the trials and their results as they stand now, read and checked once."""
        records = self.records()
        names = [f.name for f in fields(Outcome)]
        results: dict[Key, Outcome] = {}
        for r in records:
            if r.kind == "result" and r.body["sharpe"] is not None:
                results.setdefault(_key(r.body)[:3], Outcome(**{n: r.body[n] for n in names}))
        return Account(tuple(_opened(records)), results)

    def trials(self) -> tuple[Trial, ...]:
        """Return every opened trial in order, repeats on longer bars included."""
        return self.read().trials

    def entries(self) -> tuple[Read, ...]:
        """Return the readings of test stretches by whole studies, in order: what the audit's P11 counts."""
        out = []
        for r in self.records():
            if r.kind == "opened":
                t = _trial(r.body)
                out.append(Read(t.version, t.counted, t.first, t.last, r.at))
        return tuple(out)

    def outcomes(self) -> dict[Key, Outcome]:
        """Return the first result of every trial that has one, by ``Trial.key``."""
        return self.read().outcomes

    def near(self, data: str | None = None) -> list[Trial]:
        """Return what ``Account.near`` does, as the ledger stands now."""
        return self.read().near(data)

    def count(self, data: str | None = None) -> Searched:
        """Return what ``Account.count`` does, as the ledger stands now."""
        return self.read().count(data)

    def verify(self, head: tuple[int, str] | None = None) -> Chain:
        """Check the chain. head: number and hash of the last record that a run knew, which shows a cut end."""
        sound, broken = _check(self._rows())
        if broken is None and head is not None and head[0]:
            seq, mark = head
            if seq > len(sound):
                broken = f"its end was cut off: the run knew {seq} records, {len(sound)} are left"
            elif sound[seq - 1].hash != mark:
                broken = f"record {seq} is not the one that the run knew: the records up to it were rewritten"
        return Chain(len(sound), sound[-1].hash if sound else START, broken)

    def _rows(self) -> list[tuple[Any, ...]]:
        if not self.path.is_file():
            return []
        try:
            # "rw", not "ro": what a killed writer left half done is rolled back; a read-only file is read all the same.
            db = sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=rw", uri=True, timeout=WAIT)
            with closing(db):
                return _select(db) if self._shape(db) else []
        except sqlite3.OperationalError as e:
            if "locked" in str(e):
                raise HithertoError(
                    f"{self.path}: another program held the ledger for {WAIT:.0f} s; try again when it is done"
                ) from e
            raise self._unreadable(e) from e
        except sqlite3.DatabaseError as e:
            raise self._unreadable(e) from e

    @contextmanager
    def _write(self, so: str = "the test stretch was not opened") -> Iterator[sqlite3.Connection]:
        """Hold the ledger alone; what is written is durable at the end, or not there at all. so: said of a failure."""
        try:
            db = sqlite3.connect(self.path, timeout=WAIT, isolation_level=None)
            with closing(db):  # closing without a commit takes everything back
                db.execute("PRAGMA synchronous = FULL")
                db.execute("BEGIN IMMEDIATE")
                if not self._shape(db):
                    for line in TABLE:
                        db.execute(line)
                    db.execute(f"PRAGMA application_id = {APPLICATION}")
                    db.execute(f"PRAGMA user_version = {LAYOUT}")
                yield db
                db.execute("COMMIT")
        except sqlite3.OperationalError as e:
            if "no such" in str(e):  # a ledger by its header, but not by what it holds
                raise self._unreadable(e) from e
            if "locked" in str(e):
                raise HithertoError(
                    f"{self.path}: other writers held the ledger for {WAIT:.0f} s; {so}. Try again when they are done"
                ) from e
            raise ConfigError(
                f"{self.path}: the trial ledger cannot be written ({e}); {so}. Free "
                "space, make the folder writable, or copy the study file to one that is"
            ) from e
        except sqlite3.DatabaseError as e:
            raise self._unreadable(e) from e

    def _shape(self, db: sqlite3.Connection) -> bool:
        """Whether the file holds a ledger already (False: it is empty); DataError when it holds something else."""
        mark, layout = (db.execute(f"PRAGMA {p}").fetchone()[0] for p in ("application_id", "user_version"))
        if mark == APPLICATION and layout <= LAYOUT:
            return True
        if mark == 0 and not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return False
        if mark == APPLICATION:
            raise DataError(f"{self.path}: a ledger of layout {layout}, this hitherto knows {LAYOUT}; update it")
        raise DataError(f"{self.path}: an SQLite file, but no trial ledger; move it away")

    def _unreadable(self, e: sqlite3.Error) -> DataError:
        return DataError(f"{self.path}: no readable trial ledger ({e}); {CURE}")

    def _sound(self, db: sqlite3.Connection) -> list[Record]:
        sound, broken = _check(_select(db))
        if broken is not None:
            raise DataError(f"{self.path}: {broken}; {CURE}")
        return sound

    def _append(self, db: sqlite3.Connection, kind: str, bodies: list[dict[str, Any]]) -> None:
        last = db.execute("SELECT seq, hash FROM record ORDER BY seq DESC LIMIT 1").fetchone()
        seq, prev = last or (0, START)
        for body in bodies:
            seq, text = seq + 1, _canonical(body)
            at = datetime.now(UTC).isoformat(timespec="seconds")
            mark = _hash(prev, seq, at, kind, text)
            db.execute("INSERT INTO record VALUES (?, ?, ?, ?, ?, ?)", (seq, at, kind, text, prev, mark))
            prev = mark


CURE = "restore the file from a copy, or move it away, which starts the count of trials anew"


def _select(db: sqlite3.Connection) -> list[tuple[Any, ...]]:
    db.text_factory = _text
    return db.execute("SELECT seq, at, kind, body, prev, hash FROM record ORDER BY seq").fetchall()


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")  # bytes that are no text are a broken record, not a crash


def _check(rows: list[tuple[Any, ...]]) -> tuple[list[Record], str | None]:
    """Return the records that hold, and what is wrong with the next one."""
    out: list[Record] = []
    prev = START
    for k, (seq, at, kind, body, before, mark) in enumerate(rows, 1):
        if seq != k:
            return out, f"record {k} is missing"
        if not all(isinstance(x, str) for x in (at, kind, body, before, mark)):
            return out, f"record {k} was changed after it was written"
        if mark != _hash(before, seq, at, kind, body):
            return out, f"record {k} was changed after it was written"
        if before != prev:
            return out, f"record {k} does not follow the one before it, which was changed or put in later"
        out.append(Record(seq, at, kind, json.loads(body), mark))
        prev = mark
    return out, None


def _hash(prev: str, seq: int, at: str, kind: str, body: str) -> str:
    return hashlib.sha256((prev + _canonical([seq, at, kind, body])).encode()).hexdigest()


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _opened(records: Iterable[Record]) -> list[Trial]:
    return [_trial(r.body) for r in records if r.kind == "opened"]


def _trial(body: dict[str, Any]) -> Trial:
    return Trial(**{f.name: body[f.name] for f in fields(Trial)})


def _names(t: Trial) -> dict[str, Any]:
    return {"trial": t.trial, "counted": t.counted, "seed": t.seed, "data": t.data}


def _key(body: dict[str, Any]) -> tuple[str, str, int | None, str]:
    return body["trial"], body["counted"], body["seed"], body["data"]
