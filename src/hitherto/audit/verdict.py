"""What an audit says: findings, what was tried, the smallest leak it would have seen, and what nobody looked at."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from hitherto.audit.classes import CLASSES, LeakClass, compact, standing
from hitherto.panel import Panel

if TYPE_CHECKING:
    from hitherto.audit.effect import Worth

__all__ = ["CLASSES", "AuditReport", "CanaryResult", "Finding", "LeakClass", "ProbeResult", "date", "pair", "place"]

Status = Literal["ok", "LEAK", "not assessed", "cannot tell"]
GUESS = "by reading, not by experiment"


@dataclass(frozen=True)
class Finding:
    """One leak that was shown by experiment.

    leak: class id. where: target and column. reach: bars of future used (None: not a question of bars; 0 is never a
    finding). hits of tried cuts (or units, named by ``of``). first: date of the first changed number. old, new:
    evidence. note: what else was seen (the field that carries it). worth: what the leak earned (``audit.effect``).
    source: "study.py:41", the lines that most likely carry it: a guess by reading (``audit.locate``).
    """

    leak: str
    where: str
    probe: str
    hits: int
    tried: int
    reach: int | None = None
    first: str = ""
    old: float | None = None
    new: float | None = None
    of: str = "cuts"
    note: str = ""
    worth: Worth | None = None
    source: str = ""

    def line(self) -> str:
        """Return ``LEAK L02 at f.z (f.py:41) reach=+5 bars cuts=24/24 first=2019-03-05 evidence 1 -> 2 fix: ...``."""
        parts = [f"LEAK {self.leak} at {self.where}" + (f" ({self.source})" if self.source else "")]
        if self.reach is not None:
            parts.append(f"reach=+{self.reach} {'bar' if self.reach == 1 else 'bars'}")
        parts.append(f"{self.of}={self.hits}/{self.tried}")
        if self.first:
            parts.append(f"first={self.first}")
        if self.old is not None and self.new is not None:
            parts.append("evidence {} -> {}".format(*pair(self.old, self.new)))
        text = " ".join(parts) + f" fix: {CLASSES[self.leak].fix}"
        more = [str(x) for x in (self.note, self.worth) if x]
        return text + (f" ({'; '.join(more)})" if more else "")


@dataclass(frozen=True)
class ProbeResult:
    """What one probe tried on one target, and what came out.

    hits: per column (cuts at which it changed, cuts tried); planted columns are in it too. noise: per column the
    largest difference of two equal runs, in units of the column's scale. dependent: the listings turned out not to be
    independent. looked: the classes that it looked for, where these are fewer than its probe can show.
    """

    probe: str
    target: str
    tried: str
    status: Status
    detail: str = ""
    cuts: tuple[int, int] = (0, 0)
    findings: tuple[Finding, ...] = ()
    hits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    noise: Mapping[str, float] = field(default_factory=dict)
    dependent: bool = False
    seconds: float = 0.0
    looked: tuple[str, ...] = ()


@dataclass(frozen=True)
class CanaryResult:
    """A planted leak, in words, and the probes that caught it. essential: its escape blinds the audit.

    size: (strength in units of a column's scale, share of the cells); None for a leak without a size.
    """

    target: str
    leak: str
    caught: bool
    by: tuple[str, ...]
    essential: bool
    hits: tuple[int, int] = (0, 0)
    size: tuple[float, float] | None = None


@dataclass(frozen=True)
class AuditReport:
    """The outcome of an audit. It says what was tried; that nothing was found is not a proof that nothing is there.

    smallest: one sentence on the smallest leak that was caught when planted. canary_caught: None when none was planted.
    noise_floor: target -> largest relative difference between two equal runs. evaluations: calls of the targets.
    """

    results: tuple[ProbeResult, ...]
    findings: tuple[Finding, ...]
    canaries: tuple[CanaryResult, ...]
    noise_floor: Mapping[str, float]
    not_assessed: tuple[str, ...]
    scope: str
    evaluations: int
    seconds: float

    @property
    def canary_caught(self) -> bool | None:
        """Whether every essential planted leak was caught; None when none was planted."""
        essential = [c for c in self.canaries if c.essential]
        return all(c.caught for c in essential) if essential else None

    @property
    def exit_code(self) -> int:
        """0 nothing was caught, 1 a leak was found, 5 the audit cannot tell."""
        if self.findings:
            return 1
        blind = self.canary_caught is False or any(r.status == "cannot tell" for r in self.results)
        return 5 if blind or not any(r.status == "ok" and r.probe != "P14" for r in self.results) else 0

    @property
    def classes(self) -> dict[str, str]:
        """Leak class -> "found", "looked for by P1 P2" or "not assessed: why", for all 32."""
        return standing(self.results, self.findings, self.not_assessed)

    @property
    def smallest(self) -> str:
        """One sentence on the smallest planted leak that was caught, per target."""
        names = list(dict.fromkeys(c.target for c in self.canaries))
        if not names:
            return "Not measured: there was no clean column to plant a leak beside."
        said = []
        for name in names:
            mine = [c for c in self.canaries if c.target == name]
            best = _rungs([c for c in mine if c.caught], smallest=True)
            lost = _rungs([c for c in mine if not c.caught], smallest=False)
            text = f"{name}: caught " + (" and ".join(best) or "nothing that was planted")
            said.append(text + (f", missed {' and '.join(lost)}" if lost else ""))
        return "; ".join(said) + "."

    @property
    def verdict(self) -> str:
        """One sentence."""
        if self.exit_code == 1:
            n = len(self.findings)
            return f"{n} {'leak was' if n == 1 else 'leaks were'} found."
        if self.exit_code == 5:
            return "The audit cannot tell: " + self._why_blind()
        return (
            "No leak was found by what was tried; leaks smaller than the planted ones and what was not assessed remain."
        )

    def _why_blind(self) -> str:
        lost = [
            f"the planted leak '{c.leak}' in {c.target} was not caught"
            for c in self.canaries
            if c.essential and not c.caught
        ]
        broken = [f"{r.probe} {r.target}: {r.detail}" for r in self.results if r.status == "cannot tell"]
        return "; ".join([*lost, *broken] or ["no probe could be run"]) + "."

    def to_text(self) -> str:
        """Return the report as plain text: findings, probes, planted leaks, what was not assessed, the verdict."""
        lines = [
            f"AUDIT {self.scope}; {self.evaluations} evaluations, {self.seconds:.1f} s",
            *(f.line() for f in self.findings),
        ]
        for r in self.results:
            cuts = f" {r.cuts[0]}/{r.cuts[1]}" if r.cuts[1] else ""
            lines.append(
                f"{r.probe:<4}{r.target:<24} {r.status}{cuts}  {r.tried}" + (f" [{r.detail}]" if r.detail else "")
            )
        noise = ", ".join(f"{k} {v:.1e}" for k, v in self.noise_floor.items())
        lines.append(f"noise floor (two equal runs, of a column's scale): {noise or 'not measured'}")
        lines.append(f"planted leaks: {self.smallest}")
        lines.append("not assessed: " + "; ".join(self.not_assessed))
        lines.append(compact(self.classes))
        return "\n".join([*lines, f"verdict: {self.verdict}"])

    def to_html(self, title: str = "Audit") -> str:
        """Return the report as one HTML page without scripts."""
        from hitherto.audit.page import render

        return render(self, title)

    def to_json(self) -> str:
        """Return the report as JSON (NaN and infinities as text)."""
        body: dict[str, Any] = {
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "findings": [_finding(f) for f in self.findings],
            "results": [_result(r) for r in self.results],
            "canaries": [dataclasses.asdict(c) for c in self.canaries],
            "canary_caught": self.canary_caught,
            "smallest": self.smallest,
            "noise_floor": dict(self.noise_floor),
            "not_assessed": list(self.not_assessed),
            "classes": {k: {"standing": v, "taxonomy": CLASSES[k].taxonomy} for k, v in self.classes.items()},
            "scope": self.scope,
            "evaluations": self.evaluations,
            "seconds": self.seconds,
        }
        return json.dumps(_plain(body), ensure_ascii=False, indent=1, allow_nan=False)


def _rungs(canaries: list[CanaryResult], *, smallest: bool) -> list[str]:
    """Those without a size; the weakest (strongest) that is everywhere; the rarest (commonest) of full strength."""
    out = [c.leak for c in canaries if c.size is None]
    everywhere = [(c.size, c.leak) for c in canaries if c.size is not None and c.size[1] == 1]
    rare = [(c.size, c.leak) for c in canaries if c.size is not None and c.size[1] < 1]
    for rung in (everywhere, rare):
        if rung:
            # Of equal sizes the shortest reach is the hardest: it was planted last.
            sign = 1 if smallest else -1
            out.append(min(reversed(rung), key=lambda one, sign=sign: (sign * one[0][0], sign * one[0][1]))[1])
    return out


def _finding(f: Finding) -> dict[str, Any]:
    return {**dataclasses.asdict(f), "located": GUESS if f.source else None, "what": CLASSES[f.leak].what,
            "taxonomy": CLASSES[f.leak].taxonomy, "line": f.line()}  # fmt: skip


def _result(r: ProbeResult) -> dict[str, Any]:
    keep = ("probe", "target", "tried", "status", "detail", "cuts", "seconds")
    return {**{k: getattr(r, k) for k in keep}, "hits": {k: list(v) for k, v in r.hits.items()}}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and value - value != 0:  # NaN and infinities have no JSON form
        return str(value)
    return value


def pair(old: float, new: float) -> tuple[str, str]:
    """Return both numbers with as few digits (from 4 on) as show that they differ."""
    for digits in (4, 6, 9, 12, 17):
        a, b = f"{old:.{digits}g}", f"{new:.{digits}g}"
        if a != b:
            return a, b
    return repr(old), repr(new)


def place(target: str, column: str) -> str:
    """Return "target.column", or the name once when both are the same."""
    return target if column == target else f"{target}.{column}"


def date(panel: Panel, row: int) -> str:
    """Return the session of a row, with the time where a session holds several decisions."""
    session = panel.sessions[row]
    if int((panel.sessions == session).sum()) > 1:
        return str(panel.times[row].astype("datetime64[ns]").astype("datetime64[m]")) + "Z"
    return str(session)
