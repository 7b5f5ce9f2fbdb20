"""P11: reads of the test stretch. Who looks at the same test data more than once can choose by what was seen there.

A test read is a line in a file beside the study; a search that others ran is judged by the returns of its trials. How
much the best of N trials shows by luck alone: Bailey and Lopez de Prado, "The Deflated Sharpe Ratio", Journal of
Portfolio Management 40(5), 2014, equation 1.
"""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hitherto.audit.probes import since
from hitherto.audit.verdict import Finding, ProbeResult
from hitherto.errors import ConfigError, DataError, HithertoError

EULER = 0.5772156649015329  # Euler and Mascheroni's constant
ENOUGH = 0.95  # deflated Sharpe ratio above which luck among the trials is no explanation
FIELDS = ("study", "data", "first", "last", "opened", "by")


@dataclass(frozen=True)
class TestRead:
    """One opening of a test stretch: digests of study and data, first and last session, UTC time, by whom."""

    __test__ = False  # no test case, whatever its name says

    study: str
    data: str
    first: str
    last: str
    opened: str
    by: str = ""


class TestReads:
    """The reads of test stretches, one JSON object per line of ``path``; lines are only ever added."""

    __test__ = False

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def record(self, study: str, data: str, first: str = "", last: str = "", by: str = "") -> TestRead:
        """Add one line, durably, and return it.

        study, data: digests (a study's after which nothing of it may change, a panel's). Errors: HithertoError when
        the file cannot be written: a read that cannot be recorded should not happen.
        """
        if not study or not data:
            raise ConfigError("test reads: digests of study and data are needed; an empty one says nothing")
        read = TestRead(study, data, str(first), str(last), datetime.now(UTC).isoformat(timespec="seconds"), by)
        line = (json.dumps(asdict(read), ensure_ascii=False) + "\n").encode()
        try:
            torn = self.path.exists() and self.path.read_bytes()[-1:] not in (b"", b"\n")
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(handle, b"\n" * torn + line)  # one write: two processes do not mix their lines
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise HithertoError(
                f"could not write {self.path}: {error.strerror or error}; the test stretch was not opened. Free space "
                "or choose another folder."
            ) from error
        return read

    def entries(self) -> tuple[TestRead, ...]:
        """Return all reads, in order; () without a file.

        A line that a crash cut short is left out; any other that is no record raises DataError with its number.
        """
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise DataError(f"could not read {self.path}: {error.strerror or error}. Check the path.") from error
        out = []
        for i, line in enumerate(lines):
            if not line.strip():
                continue
            try:
                body = json.loads(line)
                out.append(TestRead(**{k: str(body[k]) for k in FIELDS}))
            except (ValueError, KeyError, TypeError):
                if not line.rstrip().endswith(b"}"):
                    continue
                raise DataError(
                    f"{self.path} line {i + 1}: no record of a test read; lines are added, never edited: restore it"
                ) from None
        return tuple(out)

    def studies(self, data: str) -> tuple[str, ...]:
        """Return the distinct studies that read the test stretch of this data, in order of their first read."""
        return tuple(dict.fromkeys(r.study for r in self.entries() if r.data == data))


@dataclass(frozen=True)
class Deflated:
    """The best of N trials: its column, Sharpe per period, what the best of N noise trials shows, and the deflated
    Sharpe ratio: the probability that the true one is above 0 given the search."""

    best: int
    trials: int
    sharpe: float
    luck: float
    ratio: float


def probe(
    reads: TestReads | str | Path | None, trials: ArrayLike | None = None, *, data: str | None = None,
    periods: int = 252, days: int | None = None,
) -> ProbeResult:  # fmt: skip
    """Report how often a test stretch was read, or what a search's best trial is worth after deflation.

    reads: the ledger (or its path); data: the panel's digest, None: the data that was read by most studies. trials:
    (T, N) returns per period of all trials of a search, NaN refused. periods: per year. days: length of the test
    stretch in periods, for the Sharpe that luck would show. Class L19: more than one distinct study read the same test
    data, unless trials are given and the deflated Sharpe ratio of the best reaches 0.95; or it does not reach it.
    "not assessed" without a ledger and trials.
    """
    begun = time.perf_counter()
    name, count = "test reads", 0
    said: list[str] = []
    mine: list[TestRead] = []
    if reads is not None:
        ledger = reads if isinstance(reads, TestReads) else TestReads(reads)
        entries = ledger.entries()
        which = data if data is not None else _most_read(entries)
        mine = [r for r in entries if r.data == which]
        count = len({r.study for r in mine})
        name = ledger.path.name
        said.append(
            f"{count} distinct {'study' if count == 1 else 'studies'} in {len(mine)} reads of the same test data"
        )
    d = None
    if trials is not None:
        d = deflated(trials)
        count = max(count, d.trials)
        said.append(
            f"best of {d.trials} trials: Sharpe {d.sharpe * math.sqrt(periods):.2f}, luck among them shows "
            f"{d.luck * math.sqrt(periods):.2f}, deflated Sharpe ratio {d.ratio:.3f}"
        )
    elif count > 1:
        luck = expected_best(count) * math.sqrt(periods / days) if days else expected_best(count)
        size = f"{luck:.2f} over {days} periods" if days else f"{luck:.2f} divided by the root of the years"
        said.append(f"the best of {count} noise trials would show a Sharpe ratio of {size}")
    found: tuple[Finding, ...] = ()
    if count > 1 and (d is None or not d.ratio >= ENOUGH):
        note = "; ".join(said)
        first = mine[0].opened[:10] if mine else ""
        found = (Finding("L19", name, "P11", count, count, first=first, of="trials" if d else "studies", note=note),)
    nothing = reads is None and trials is None
    if reads is not None and not count:
        nothing, said = True, ["the ledger holds no read of this test data"]
    status = "LEAK" if found else "not assessed" if nothing else "ok"
    detail = "; ".join(said) or "no ledger of test reads and no trials were given"
    return ProbeResult("P11", name, "who read the test stretch, and how many trials chose there", status, detail,
                       (len(found) * count, count), found, {"L19": (len(found) * count, count)},
                       seconds=since(begun))  # fmt: skip


def expected_best(trials: int) -> float:
    """Return E[max] of ``trials`` independent standard normal draws: the Sharpe that luck shows, in units of its
    standard error. 0 for one trial."""
    from scipy.special import ndtri

    if trials < 1:
        raise ConfigError(f"test reads: {trials} trials make no best one; count those that were tried, from 1")
    if trials == 1:
        return 0.0
    return float((1 - EULER) * ndtri(1 - 1 / trials) + EULER * ndtri(1 - 1 / (trials * math.e)))


def deflated_sharpe(
    sharpe: float, length: int, trials: int, variance: float, skew: float = 0.0, kurtosis: float = 3.0
) -> float:
    """Return the deflated Sharpe ratio in [0, 1]: P(true Sharpe > 0) given that the best of ``trials`` was taken.

    sharpe: per period, of the best. length: periods. variance: of the trials' Sharpe ratios per period. kurtosis: not
    in excess (3 for a normal). NaN when the moments leave no variance.
    """
    from scipy.special import ndtr

    spread = 1 - skew * sharpe + (kurtosis - 1) / 4 * sharpe * sharpe
    if spread <= 0 or length < 2:
        return float("nan")
    return float(
        ndtr((sharpe - math.sqrt(variance) * expected_best(trials)) * math.sqrt(length - 1) / math.sqrt(spread))
    )


def deflated(trials: ArrayLike) -> Deflated:
    """Return what the best of N trials is worth. trials: (T, N) returns per period.

    The variance of the trials' Sharpe ratios is at least that of noise, 1 / T. Trials that resemble each other count
    fully, which errs on the strict side. Errors: DataError for another shape, NaN or inf, or a constant trial.
    """
    r = np.asarray(trials, np.float64)
    if r.ndim != 2 or min(r.shape) < 1 or len(r) < 3:
        raise DataError(f"trial returns: shape {r.shape}; give (T, N): one row per period, one column per trial")
    if not np.isfinite(r).all():
        t, n = np.argwhere(~np.isfinite(r))[0]
        raise DataError(f"trial returns: row {t}, trial {n} is {r[t, n]}; give every trial's return in every period")
    spread = r.std(axis=0, ddof=1)
    if (spread <= 1e-15 * np.abs(r).max(axis=0)).any():
        n = int((spread <= 1e-15 * np.abs(r).max(axis=0)).argmax())
        raise DataError(f"trial returns: trial {n} is constant and has no Sharpe ratio; leave it out")
    T, N = r.shape
    ratios = r.mean(axis=0) / spread
    best = int(ratios.argmax())
    z = (r[:, best] - r[:, best].mean()) / r[:, best].std()
    variance = max(float(ratios.var(ddof=1)) if N > 1 else 0.0, 1.0 / T)
    sharpe = float(ratios[best])
    ratio = deflated_sharpe(sharpe, T, N, variance, float((z**3).mean()), float((z**4).mean()))
    return Deflated(best, N, sharpe, math.sqrt(variance) * expected_best(N), ratio)


def _most_read(entries: tuple[TestRead, ...]) -> str | None:
    studies: dict[str, set[Any]] = {}
    for r in entries:
        studies.setdefault(r.data, set()).add(r.study)
    return max(studies, key=lambda k: len(studies[k])) if studies else None
