"""Load the items of the corpus, audit each by its kind, and keep score: probe x item, false alarms, exact reach."""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib.util
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from hitherto.audit import AuditPlan, Target, audit, from_function, made_up_panel
from hitherto.audit.adapters import EventTarget
from hitherto.audit.verdict import Finding, ProbeResult
from hitherto.panel import Panel
from hitherto.seeds import Stream

if TYPE_CHECKING:
    import pandas as pd

ITEMS = Path(__file__).resolve().parent / "items"
MATRIX = Path(__file__).resolve().parent / "matrix.json"
ENTRY = {
    "frame": "signal", "long": "signal", "wide": "signal", "panel": "signal", "module": "module",
    "pipeline": "Pipeline", "splitter": "splits", "fills": "fills", "file": "signal",
    "score": "score", "trials": "trials",
}  # fmt: skip
GETS: dict[str, Any] = {"frame": "symbol", "long": "long", "wide": "wide", "panel": "panel"}
LEVEL: Literal["quick", "full"] = "quick"
TO_END = 0.6  # of the rows: a found reach beyond this share of the sample is "to the end" (cuts and warm-up take some)


class NoAdapterError(Exception):
    """Nothing here can run an item of this kind: the item counts as not run, never as caught."""


@dataclass(frozen=True, eq=False)
class Item:
    """One file of the corpus. leak: class id, None for honest code. reach: bars, "end", or None (not a fixed number).

    vintages: it is also shown older snapshots of its data. events: columns of the table that it takes beside its data.
    """

    name: str
    kind: str
    leak: str | None
    reach: int | Literal["end"] | None
    why: str
    path: Path
    vintages: bool = False
    events: Mapping[str, Sequence[Any]] | None = None

    @cached_property
    def code(self) -> ModuleType:
        """The module, imported by its path when it is first asked for (a "file" item never is)."""
        spec = importlib.util.spec_from_file_location(f"corpus_item_{self.name}", self.path)
        if spec is None or spec.loader is None:
            raise ValueError(f"corpus item {self.name}: cannot be imported")
        code = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = code
        spec.loader.exec_module(code)
        return code

    @property
    def entry(self) -> Any:
        """The thing itself: the function, class or factory under its fixed name, its events given."""
        thing, table = self.bare, self.table
        if table is None:
            return thing

        @functools.wraps(thing)
        def told(data: Any) -> Any:
            return thing(data, table)

        return told

    @property
    def bare(self) -> Any:
        """The same, as it stands in the file: a function of data and events where it declares events."""
        return getattr(self.code, ENTRY[self.kind])

    @property
    def table(self) -> pd.DataFrame | None:
        """Its events as a pandas table with times in known_at, or None."""
        import pandas as pd

        if self.events is None:
            return None
        return pd.DataFrame(self.events).assign(known_at=lambda t: t["known_at"].astype("datetime64[ns]"))


@dataclass(frozen=True)
class Row:
    """What the audit said of one item.

    ran: it could be run at all. caught: at least one finding. probes: probe -> worst status. classes: leak ids named.
    reach: the largest one found ("end": most of the sample), None when none was measured. seconds: of this process on
    the CPU. note: why it did not run, or what a probe could not tell.
    """

    name: str
    kind: str
    leak: str | None
    declared: int | Literal["end"] | None
    ran: bool
    caught: bool
    probes: Mapping[str, str]
    classes: tuple[str, ...]
    reach: int | Literal["end"] | None
    seconds: float
    note: str = ""

    @property
    def by(self) -> tuple[str, ...]:
        """Probes that caught it."""
        return tuple(p for p, status in self.probes.items() if status == "LEAK")

    @property
    def exact(self) -> bool:
        """Whether a declared reach was found as declared."""
        return self.leak is not None and self.declared is not None and self.reach == self.declared


def load(path: Path) -> Item:
    """Read one item's declaration without running it. ValueError when it is not as the README says."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    constants, defined = {}, set()
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            with contextlib.suppress(ValueError):
                constants[node.targets[0].id] = ast.literal_eval(node.value)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            defined.add(node.name)
    said = constants.get("ITEM")
    if not isinstance(said, dict) or set(said) != {"leak", "kind", "reach", "why"}:
        raise ValueError(f"corpus item {path.stem}: ITEM must be a plain dict of leak, kind, reach and why")
    leak, kind, reach, why = said["leak"], said["kind"], said["reach"], said["why"]
    if leak is not None and not re.fullmatch(r"L(0[1-9]|[12]\d|3[0-2])", str(leak)):
        raise ValueError(f"corpus item {path.stem}: leak must be L01 to L32 or None, got {leak!r}")
    if kind not in ENTRY:
        raise ValueError(f"corpus item {path.stem}: kind must be one of {', '.join(ENTRY)}, got {kind!r}")
    if not (reach is None or reach == "end" or (type(reach) is int and reach > 0)):
        raise ValueError(f"corpus item {path.stem}: reach must be a positive number of bars, 'end' or None")
    if leak is None and reach is not None:
        raise ValueError(f"corpus item {path.stem}: honest code has no reach, got {reach!r}")
    if not why or not (ast.get_docstring(tree) or "").strip():
        raise ValueError(f"corpus item {path.stem}: it must say why, in ITEM and in a docstring")
    if ENTRY[kind] not in defined:
        raise ValueError(f"corpus item {path.stem}: a {kind} item needs '{ENTRY[kind]}'")
    events = constants.get("EVENTS")
    if events is not None and (kind not in GETS or not isinstance(events, dict) or "known_at" not in events):
        raise ValueError(
            f"corpus item {path.stem}: EVENTS must be a plain dict of columns with known_at, for a function"
        )
    return Item(path.stem, kind, leak, reach, why, path, constants.get("VINTAGES") is True, events)


def load_all(names: Iterable[str] | None = None, folder: Path = ITEMS) -> list[Item]:
    """Return the items, by name; ValueError for a name that is not there."""
    found = {p.stem: p for p in sorted(folder.glob("*.py")) if not p.stem.startswith("_")}
    wanted = list(found) if names is None else list(names)
    unknown = [n for n in wanted if n not in found]
    if unknown:
        raise ValueError(f"corpus: no item named {', '.join(unknown)}; there are {len(found)} in {folder.name}/")
    return [load(found[n]) for n in wanted]


def run(item: Item, panel: Panel | None = None, level: Literal["quick", "full"] = LEVEL, seed: int = 0) -> Row:
    """Audit one item on ``panel`` (None: the made-up one) and return what was said."""
    begun = time.process_time()
    panel = made_up_panel() if panel is None else panel
    try:
        results = list(AUDITS[item.kind](item, panel, level, seed))
    except NoAdapterError as e:
        return Row(item.name, item.kind, item.leak, item.reach, False, False, {}, (), None, 0.0, str(e))
    findings = named(results)
    notes = dict.fromkeys(f"{r.probe}: {r.detail}" for r in results if r.status == "cannot tell")
    return Row(
        item.name, item.kind, item.leak, item.reach, True, bool(findings), statuses(results),
        tuple(sorted({f.leak for f in findings})), found_reach(findings, panel.shape[0]),
        time.process_time() - begun, "; ".join(notes),
    )  # fmt: skip


def named(results: Iterable[ProbeResult]) -> list[Finding]:
    """Return the findings as a report shows them: what P2 found is not repeated for P1, which knows less about it."""
    found = [f for r in results for f in r.findings]
    known = {f.where for f in found if f.probe == "P2"}
    return [f for f in found if not (f.probe == "P1" and f.where in known)]


def statuses(results: Iterable[ProbeResult]) -> dict[str, str]:
    """Return probe -> its worst status over the targets it looked at."""
    order = ("LEAK", "cannot tell", "ok", "not assessed")
    out: dict[str, str] = {}
    for r in results:
        before = out.get(r.probe)
        out[r.probe] = r.status if before is None else min(before, r.status, key=order.index)
    return dict(sorted(out.items(), key=lambda one: int(one[0][1:])))


def found_reach(findings: Sequence[Finding], rows: int) -> int | Literal["end"] | None:
    """Return the largest reach among findings; "end" beyond TO_END of the rows, None where no finding has one."""
    known = [f.reach for f in findings if f.reach is not None]
    if not known:
        return None
    return "end" if max(known) >= TO_END * rows else max(known)


def _function(item: Item, panel: Panel, level: Literal["quick", "full"], seed: int) -> Iterable[ProbeResult]:
    target = from_function(item.bare, GETS[item.kind], events=item.table)
    if item.vintages:
        return _vintages(target, panel)
    results = list(audit(AuditPlan(panel, (target,), level=level), seed=seed).results)
    noise = {name: size for r in results if r.probe == "P0" for name, size in r.noise.items()}
    rng = Stream(seed, "corpus", item.name)
    p7 = [r.tried for r in results if r.probe == "P7"]
    if not any(tried.startswith("scale") for tried in p7):
        from hitherto.audit.probes import metamorphic

        results.append(metamorphic.probe(target, panel, rng, noise=noise))
    if isinstance(target, EventTarget) and not any("events" in tried for tried in p7):
        from hitherto.audit.probes import events

        results.append(events.probe(target, panel, rng.child("events"), noise=noise))
    return results


def _vintages(target: Target, panel: Panel) -> Iterable[ProbeResult]:
    from corpus.worlds import vintages
    from hitherto.audit.probes import vintages as p6

    known = vintages(panel)
    return [p6.probe(target, known, known[max(known)], sorted(known))]


def _module(item: Item, panel: Panel, level: Literal["quick", "full"], seed: int) -> Iterable[ProbeResult]:
    from hitherto.audit.modules import from_module
    from hitherto.audit.probes import gradients

    plan = from_module(item.entry(), item.code.CHANNELS, name=item.name)
    results = list(audit(plan.plan(panel, level), seed=seed).results)
    if not any(r.probe == "P5" for r in results):
        results.append(gradients.probe(plan, panel, Stream(seed, "corpus", item.name)))
    return results


def _pipeline(item: Item, panel: Panel, level: Literal["quick", "full"], seed: int) -> Iterable[ProbeResult]:
    try:
        from hitherto.audit.pipelines import from_pipeline
    except ImportError as e:
        raise NoAdapterError("no adapter for fit/predict objects") from e
    parts = from_pipeline(item.entry, panel, test=item.code.TEST, level=level, name=item.name)
    results = list(audit(parts.audit_targets(), seed=seed).results)
    if not any(r.probe == "P4" for r in results):
        results.append(parts.order(Stream(seed, "corpus", item.name)))
    if not any(r.probe == "P8" for r in results):
        with contextlib.suppress(ImportError):
            from hitherto.audit.probes import worlds

            rng = Stream(seed, "corpus", item.name, "worlds")
            leak = next((f.leak for r in results if r.probe == "P3" for f in r.findings), None)
            results.append(worlds.probe(parts.refit, panel, rng, refit=True, leak=leak, span=parts.rows))
    return results


def _splitter(item: Item, panel: Panel, level: Literal["quick", "full"], seed: int) -> Iterable[ProbeResult]:
    from hitherto.audit import splitters

    n = panel.shape[0] * item.code.PER_DATE
    return [splitters.from_splitter(item.entry, n, item.code.HORIZON, item.code.PER_DATE, name=item.name)]


def _fills(item: Item, panel: Panel, level: Literal["quick", "full"], seed: int) -> Iterable[ProbeResult]:
    try:
        from hitherto.audit.books import from_book
    except ImportError as e:
        raise NoAdapterError("no adapter for tables of fills") from e
    limits = getattr(item.code, "limits", None)  # (panel) -> highest and lowest price that each bar allows
    book = from_book(item.entry, panel, limits=limits(panel) if limits else None, level=level, name=item.name)
    return audit(book, seed=seed).results


def _file(item: Item, panel: Panel, level: Literal["quick", "full"], seed: int) -> Iterable[ProbeResult]:
    try:
        from hitherto.audit.contained import FileTarget
        from hitherto.audit.probes import guard
    except ImportError as e:
        raise NoAdapterError("no adapter for files") from e
    with FileTarget(item.path, ENTRY[item.kind]) as target:
        results = list(audit(AuditPlan(panel, (target,), level=level), seed=seed).results)
        if not any(r.probe == "P12" for r in results):
            results.append(guard.probe(target, panel, rng=Stream(seed, "corpus", item.name)))
    return results


def _score(item: Item, panel: Panel, level: Literal["quick", "full"], seed: int) -> Iterable[ProbeResult]:
    from hitherto.audit.probes import worlds

    return [worlds.score_probe(item.entry, panel, Stream(seed, "corpus", item.name))]


def _trials(item: Item, panel: Panel, level: Literal["quick", "full"], seed: int) -> Iterable[ProbeResult]:
    from hitherto.audit.probes import reads

    made = item.entry(panel)
    return [reads.probe(made.get("reads"), made.get("returns"))]


def _missing(item: Item, panel: Panel, level: Literal["quick", "full"], seed: int) -> Iterable[ProbeResult]:
    raise NoAdapterError(f"no adapter for kind '{item.kind}' yet")


Audit = Callable[[Item, Panel, Literal["quick", "full"], int], Iterable[ProbeResult]]
AUDITS: dict[str, Audit] = {
    "frame": _function, "long": _function, "wide": _function, "panel": _function, "module": _module,
    "pipeline": _pipeline, "splitter": _splitter, "fills": _fills, "file": _file,
    "score": _score, "trials": _trials,
}  # fmt: skip


def score(rows: Iterable[Row]) -> dict[str, int]:
    """Return the five counts that a detector is judged by."""
    rows = list(rows)
    planted, honest = [r for r in rows if r.leak], [r for r in rows if not r.leak]
    return {
        "planted": len(planted), "caught": sum(r.caught for r in planted), "honest": len(honest),
        "false_alarms": sum(r.caught for r in honest), "reach_exact": sum(r.exact for r in rows),
    }  # fmt: skip


def matrix(rows: Iterable[Row], level: str = LEVEL) -> dict[str, Any]:
    """Return the detection matrix as plain data: it holds no times, so that equal verdicts give equal files."""
    items = {
        r.name: {
            "leak": r.leak, "kind": r.kind, "reach": r.declared, "found": r.reach, "ran": r.ran,
            "classes": list(r.classes), "probes": dict(r.probes),
        }
        for r in sorted(rows, key=lambda r: r.name)
    }  # fmt: skip
    return {"panel": "made up, 320 x 24, seed 0", "level": level, "probes": _probes(items), "items": items}


def write_matrix(rows: Iterable[Row], path: Path = MATRIX, level: str = LEVEL) -> None:
    """Write the detection matrix, one item a line; items that were not run now keep their line while they exist."""
    made = matrix(rows, level)
    kept = json.loads(path.read_text(encoding="utf-8"))["items"] if path.exists() else {}
    items = {k: v for k, v in kept.items() if (ITEMS / f"{k}.py").exists()} | made["items"]
    made["probes"] = _probes(items)
    made.pop("items")
    lines = ",\n".join(f"  {json.dumps(k)}: {json.dumps(items[k])}" for k in sorted(items))
    head = ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in made.items())
    path.write_text(f'{{\n{head},\n "items": {{\n{lines}\n }}\n}}\n', encoding="utf-8")


def _probes(items: Mapping[str, Any]) -> list[str]:
    return sorted({p for one in items.values() for p in one["probes"]}, key=lambda p: int(p[1:]))


def escapes(stored: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return probe -> the planted items of a stored matrix that nothing else catches: they escape without it."""
    out: dict[str, list[str]] = {p: [] for p in stored["probes"]}
    for name, one in stored["items"].items():
        by = [p for p, status in one["probes"].items() if status == "LEAK"]
        if one["leak"] and len(by) == 1:
            out[by[0]].append(name)
    return out
