"""P12: what a contained file does besides computing, and whether its numbers depend on it.

Reading a data file, or reaching for the network, is a leak by itself: it is information that is not in the panel. The
clock, the environment and the state left by earlier evaluations are tried: the numbers must stay when they change.
Merely reading the clock (to log, to time) is a note.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hitherto.audit.contained import ContainedError, FileTarget, Seen
from hitherto.audit.probes import differs, earliest, scale, since
from hitherto.audit.rewrite import rewrite
from hitherto.audit.target import NET_RTOL, columns
from hitherto.audit.verdict import Finding, ProbeResult, date, place
from hitherto.panel import Panel
from hitherto.seeds import Stream

DATA = (".csv", ".tsv", ".txt", ".parquet", ".pq", ".feather", ".arrow", ".ipc", ".orc", ".npz", ".npy", ".json",
        ".jsonl", ".ndjson", ".sqlite", ".sqlite3", ".db", ".duckdb", ".h5", ".hdf5", ".hdf", ".pkl", ".pickle",
        ".joblib", ".xls", ".xlsx", ".mat", ".bin", ".dat", ".zarr")  # fmt: skip
PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip", ".lz4")
WEIGHTS = (".pt", ".pth", ".ckpt", ".safetensors", ".onnx")
KEPT_NAMES = ("HOME", "PATH", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH")  # a child cannot start well without them
SHIFT_DAYS = 400.0
WORDS = {
    "bind": "network: {} was refused",
    "write": "a write to {} was refused",
    "process": "it started a process ({}), which was not seen into",
    "library": "it loaded {}",
}

Columns = Mapping[str, NDArray[Any]]


@dataclass
class _Case:
    """One P12 under way."""

    target: FileTarget
    panel: Panel
    evaluations: int = 0
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def run(self, target: FileTarget, panel: Panel, what: str) -> Columns | None:
        """Evaluate; an error of the file is kept as what cannot be told."""
        self.evaluations += 1
        try:
            return columns(target.run(panel), panel, target.name)
        except ContainedError as e:
            self.errors.append(f"{what}: {e}")
            return None

    def keep(self, target: FileTarget) -> None:
        """Take over what ``target`` saw."""
        self.seen += [s for s in target.seen if s not in self.seen]
        self.left += [x for x in target.left if x not in self.left]

    def leak(self, note: str, at: str, moved: tuple[str, Any] | None = None) -> None:
        """Add a finding of class L32; ``moved``: the column that changed and its evidence."""
        name = self.target.name
        if moved is None:
            where = at or self.target.path.name
            self.findings.append(Finding("L32", where, "P12", 1, 1, of="files", note=note))
            return
        column, e = moved
        note = f"{note}{f' ({at})' if at else ''}"
        self.findings.append(
            Finding("L32", place(name, column), "P12", 1, 1, first=date(self.panel, e.row), old=e.old, new=e.new,
                    of="runs", note=note)
        )  # fmt: skip


def probe(target: FileTarget, panel: Panel, *, rng: Stream | None = None) -> ProbeResult:
    """Evaluate the file in several children and report what it read, asked for, and let its numbers depend on.

    One child: the panel, another market, the panel again (state). A fresh one: the other market, then the panel (what
    earlier evaluations leave behind). When the file asks for the clock: a child 400 days later. When it asks for
    variables of the environment: a child in which those are another way. Data files read outside the interpreter's and
    the scratch folder, and connections tried (they are refused), are leaks of class L32.

    Status "LEAK"; "cannot tell" when the file gave no numbers, or not in one of the children; else "ok", with notes in
    ``detail``. Up to 8 evaluations. ``target`` itself stays as it is: variants of it are run.
    """
    begun = time.perf_counter()
    case = _Case(target, panel)
    other = _another(panel, rng or Stream(0, "guard"))
    with target.variant() as first:
        base = case.run(first, panel, "first run")
        market = case.run(first, other, "another market") if base is not None else None
        again = case.run(first, panel, "the panel again") if market is not None else None
    case.keep(first)
    if base is not None and again is not None and market is not None:
        moved = _moved(base, again, target.exact)
        if moved:
            case.leak("the same panel gives other numbers after another one", "", moved)
        else:
            _fresh(case, base, other, market)
    if base is not None:
        _clock(case, base)
        _environment(case, base)
    _files(case)
    status = "LEAK" if case.findings else "cannot tell" if case.errors or base is None else "ok"
    tried = "state, files, network, clock and environment, in children of their own"
    return ProbeResult(
        "P12", target.name, tried, status, "; ".join([*case.errors, *case.notes][:12]), findings=tuple(case.findings),
        seconds=since(begun),
    )  # fmt: skip


def _another(panel: Panel, rng: Stream) -> Panel:
    """Return another market: new after the first row, at twice the prices and volumes, so that any statistic moves."""
    fresh = rewrite(panel, np.zeros(panel.shape[1], np.intp), "walk", rng)
    return fresh.replace(fields={k: v if k == "factor" else 2.0 * v for k, v in fresh.fields.items()})


def _moved(old: Columns, new: Columns, exact: bool, rtol: float = 0.0) -> tuple[str, Any] | None:
    """Return the first column that changed beyond ``rtol`` scales (nets: 1e-5), and its earliest changed number."""
    for name, values in old.items():
        if name not in new:
            continue
        share = rtol if exact else max(rtol, NET_RTOL)
        changed = differs(values, new[name], share * scale(values) if share else 0.0)
        if changed.any():
            return name, earliest(changed, values, new[name])
    return None


def _fresh(case: _Case, base: Columns, other: Panel, market: Columns) -> None:
    """Evaluate the other market first in a fresh child: what was evaluated before must not matter.

    The fresh child hashes strings in another order, too, so that the order of a set shows.
    """
    t = case.target
    with t.variant(environment={"PYTHONHASHSEED": "1"}) as fresh:
        alone = case.run(fresh, other, "a fresh process")
        then = case.run(fresh, case.panel, "a fresh process") if alone is not None else None
    case.keep(fresh)
    if alone is None or then is None:
        return
    cached = _moved(market, alone, t.exact, t.shape_rtol)
    drift = _moved(base, then, t.exact, t.shape_rtol)
    if cached is None and drift is None:
        return
    with t.variant(environment={"PYTHONHASHSEED": "2"}) as third:
        control = case.run(third, other, "a fresh process")
    case.keep(third)
    if control is not None and _moved(alone, control, t.exact, t.shape_rtol):
        case.leak("two fresh processes differ: a draw without seed, or the order of a set", "", cached or drift)
    else:
        case.leak("numbers depend on what was evaluated before: a cache or other state", "", cached or drift)


def _clock(case: _Case, base: Columns) -> None:
    """Evaluate with the wall clock shifted, when the file asked for it."""
    asked = [s for s in case.seen if s.kind == "clock"]
    if not asked:
        return
    with case.target.variant(shift_days=SHIFT_DAYS) as later:
        new = case.run(later, case.panel, f"the clock {SHIFT_DAYS:g} days later")
    case.keep(later)
    told = ", ".join(f"{s.what} at {s.at}" for s in asked[:3])
    moved = _moved(base, new, case.target.exact, case.target.shape_rtol) if new is not None else None
    if moved:
        case.leak(f"clock: {told}; the numbers change when it is {SHIFT_DAYS:g} days later", "", moved)
    elif new is not None:
        case.notes.append(f"clock: {told}; the numbers stay when it is {SHIFT_DAYS:g} days later")


def _environment(case: _Case, base: Columns) -> None:
    """Evaluate with the variables that the file asked for taken away, or set where they were not."""
    asked = [s for s in case.seen if s.kind == "environment" and s.what not in KEPT_NAMES]
    if not asked:
        return
    has = case.target.variables()
    # What the child has is taken away; what only the caller has is given to it; else any value.
    turned = {s.what: None if s.what in has else os.environ.get(s.what, "1") for s in asked}
    told = ", ".join(f"{s.what} at {s.at}" for s in asked[:3])
    before = len(case.errors)
    with case.target.variant(environment=turned) as changed:
        new = case.run(changed, case.panel, "other variables")
    case.keep(changed)
    if new is None:
        # Foreign values may stop it; that is its right, and says nothing about its numbers.
        del case.errors[before:]
        case.notes.append(f"environment: {told}; it does not run with other values")
        return
    moved = _moved(base, new, case.target.exact, case.target.shape_rtol)
    if moved:
        case.leak(f"environment: {told}; the numbers change with it", "", moved)
    else:
        case.notes.append(f"environment: {told}; the numbers stay when it changes")


def _files(case: _Case) -> None:
    """Turn what was seen into findings and notes."""
    for s in case.seen:
        if s.kind == "read":
            _read(case, s)
        elif s.kind == "missing":
            _lacking(case, s)
        elif s.kind == "network":
            if s.at:
                case.leak(f"network: {s.what} was tried and refused", s.at)
            else:
                case.notes.append(f"network: {s.what} was refused; no line of the file asked for it")
        elif s.kind in ("bind", "write", "process", "library"):
            words = WORDS[s.kind]
            what = _short(case, s.what) if s.kind in ("write", "library") else s.what
            case.notes.append(words.format(what) + (f" at {s.at}" if s.at else ""))
    if case.left:
        case.notes.append(f"it left processes behind, which were ended: {', '.join(case.left[:4])}")


def _lacking(case: _Case, s: Seen) -> None:
    """A relative path: it means a file where the user works, be it beside the code or in the present folder."""
    there = any((folder / s.what).exists() for folder in (case.target.path.parent, Path.cwd()))
    if _kind(s.what) == "data" and (there or case.errors):
        case.leak(f"read of {s.what} outside the panel was tried", s.at)
    else:
        case.notes.append(f"it looked for {s.what}, which is not there" + (f", at {s.at}" if s.at else ""))


def _read(case: _Case, s: Seen) -> None:
    name, kind = _short(case, s.what), _kind(s.what)
    if kind == "data":
        case.leak(f"read of {name} outside the panel", s.at)
    elif kind == "weights":
        case.notes.append(f"read of the weights {name}: what they were fitted on is not assessed")
    elif s.at:
        case.notes.append(f"read of {name} at {s.at}")


def _kind(path: str) -> str:
    """Return "data", "weights" or "other" by the end of a file's name."""
    p = Path(path.lower())
    inner = p.with_suffix("").suffix if p.suffix in PACKED else p.suffix
    return "weights" if inner in WEIGHTS else "data" if p.suffix in (*DATA, *PACKED) else "other"


def _short(case: _Case, path: str) -> str:
    """Return a path as seen from the file's folder."""
    with contextlib.suppress(ValueError):
        return str(Path(path).relative_to(case.target.path.resolve().parent))
    return path
