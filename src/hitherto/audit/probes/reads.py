"""P11: reads of the test stretch. Who looks at the same test data more than once can choose by what was seen there.

Test reads are kept by a ledger (``hitherto.evaluate.trials.TrialLedger``), or given as pairs of digests; a search that
others ran is judged by the returns of its trials. How much the best of N trials shows by luck alone: hitherto.sharpe.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import ArrayLike

from hitherto.audit.probes import since
from hitherto.audit.verdict import Finding, ProbeResult
from hitherto.errors import ConfigError, DataError
from hitherto.sharpe import deflated_sharpe, expected_best

ENOUGH = 0.95  # deflated Sharpe ratio above which luck among the trials is no explanation


class TestReads(Protocol):
    """A ledger of test reads: ``entries`` in order, each with ``study``, ``data`` (digests) and ``opened`` (time)."""

    __test__ = False  # no test case, whatever its name says

    def entries(self) -> Iterable[Any]:
        """Return the reads."""
        ...


class _Read(NamedTuple):
    study: str
    data: str
    opened: str


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
    reads: TestReads | Sequence[tuple[str, str]] | None, trials: ArrayLike | None = None, *, data: str | None = None,
    periods: int = 252, days: int | None = None,
) -> ProbeResult:  # fmt: skip
    """Report how often a test stretch was read, or what a search's best trial is worth after deflation.

    reads: a ledger, or (study digest, data digest) of each read. data: the panel's digest, None: the data that was
    read by most studies. trials: (T, N) returns per period of all trials of a search, NaN refused. periods: per year.
    days: length of the test stretch in periods, for the Sharpe that luck would show. Class L19: more than one distinct
    study read the same test data, unless trials are given and the deflated Sharpe ratio of the best reaches 0.95; or it
    does not reach it. "not assessed" without reads and trials. Errors: ConfigError for a read without digests.
    """
    begun = time.perf_counter()
    name, count = "test reads", 0
    said: list[str] = []
    mine: list[_Read] = []
    if reads is not None:
        entries = _entries(reads)
        which = data if data is not None else _most_read(entries)
        mine = [r for r in entries if r.data == which]
        count = len({r.study for r in mine})
        name = getattr(getattr(reads, "path", None), "name", name)
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


def _entries(reads: TestReads | Sequence[tuple[str, str]]) -> list[_Read]:
    if hasattr(reads, "entries"):
        return [_Read(r.study, r.data, r.opened) for r in cast("TestReads", reads).entries()]
    out = []
    for i, pair in enumerate(cast("Sequence[tuple[str, str]]", reads)):
        if isinstance(pair, str) or len(pair) != 2 or not all(pair):
            raise ConfigError(f"test reads: read {i} is {pair!r}; give the digests of study and data, both not empty")
        out.append(_Read(*pair, ""))
    return out


def _most_read(entries: list[_Read]) -> str | None:
    studies: dict[str, set[str]] = {}
    for r in entries:
        studies.setdefault(r.data, set()).add(r.study)
    return max(studies, key=lambda k: len(studies[k])) if studies else None
