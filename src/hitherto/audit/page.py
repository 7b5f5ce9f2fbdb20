"""An audit as one HTML page: verdict, findings, what was tried, what was planted, what nobody looked at."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterable

from hitherto.audit.classes import CLASSES
from hitherto.audit.verdict import AuditReport, Finding

STYLE = """
body{font:16px/1.5 system-ui,"Noto Sans CJK SC",sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}
h1{font-size:1.6em}h2{font-size:1.15em;margin-top:2em;border-top:1px solid #ccc;padding-top:.8em}
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.35em .8em .35em 0;
border-bottom:1px solid #ddd}.leak{color:#b3261e;font-weight:600}.small{color:#666;font-size:.9em}
code{overflow-wrap:anywhere}
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
MARK = {"ok": "nothing found", "LEAK": "LEAK", "not assessed": "not assessed", "cannot tell": "cannot tell"}


def render(report: AuditReport, title: str = "Audit") -> str:
    """Return the page; it asks for nothing outside itself, runs no script, and text of the audited code stays text."""
    leaks = [
        (_class(f.leak), _where(f), _reach(f.reach), f"{f.hits}/{f.tried} {f.of}", f.first, f.line())
        for f in report.findings
    ]
    order = sorted(report.results, key=lambda r: int(r.probe[1:]))
    tried = [(r.probe, r.target, MARK[r.status], r.tried, r.detail) for r in order]
    planted = [(c.target, c.leak, "caught" if c.caught else "missed", ", ".join(c.by)) for c in report.canaries]
    classes = [(k, CLASSES[k].what, _kind(k), v) for k, v in report.classes.items()]
    noise = ", ".join(f"{k} {v:.1e}" for k, v in report.noise_floor.items()) or "not measured"
    parts = [
        f"<h1>{_text(title)}</h1>",
        f'<p class="{"leak" if report.findings else ""}">{_text(report.verdict)}</p>',
        f'<p class="small">{_text(report.scope)}; {report.evaluations} evaluations, {report.seconds:.1f} s</p>',
        _table("Leaks", ("what", "where", "reach", "seen at", "first", "line and cure"), leaks),
        _table("What was tried", ("probe", "on", "result", "how", "detail"), tried),
        f"<h2>Planted leaks</h2><p>{_text(report.smallest)}</p>",
        _table("", ("in", "leak", "result", "by"), planted),
        f"<h2>Noise floor</h2><p>Two equal runs, of a column's scale: {_text(noise)}</p>",
        f"<h2>Not assessed</h2><ul>{''.join(f'<li>{_text(x)}</li>' for x in report.not_assessed)}</ul>",
        _table("All classes of leaks", ("class", "what", "Kapoor & Narayanan 2023", "in this audit"), classes),
        '<p class="small">That nothing was found is not a proof that nothing is there.</p>',
    ]
    head = f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    view = '<meta name="viewport" content="width=device-width">'
    body = "\n".join(p for p in parts if p)
    top = f"<head>{head}{view}<title>{_text(title)}</title><style>{STYLE}</style></head>"
    return f"<!doctype html><html>{top}<body>{body}</body></html>"


def _class(leak: str) -> str:
    return f"{leak}: {CLASSES[leak].what} (Kapoor & Narayanan {_kind(leak)})"


def _kind(leak: str) -> str:
    return CLASSES[leak].taxonomy


def _where(f: Finding) -> str:
    return f.where + (f", likely {f.source} (by reading, not by experiment)" if f.source else "")


def _reach(reach: int | None) -> str:
    return "" if reach is None else f"+{reach} {'bar' if reach == 1 else 'bars'}"


def _table(title: str, head: Iterable[str], rows: list[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    top = "".join(f"<th>{_text(h)}</th>" for h in head)
    body = "".join(
        "<tr>" + "".join(f'<td class="{"leak" if c == "LEAK" else ""}">{_text(c)}</td>' for c in row) + "</tr>"
        for row in rows
    )
    heading = f"<h2>{_text(title)}</h2>" if title else ""
    return f"{heading}<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _text(value: object) -> str:
    """Escaped text; control characters and those that reorder their neighbours become U+FFFD."""
    return html.escape("".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cf", "Cs") else c for c in str(value)))
