"""One HTML file from a ReportContent: no request leaves it, nothing in it moves, and text from data stays text."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hitherto.errors import ConfigError
from hitherto.files import write_atomic
from hitherto.report import figures, findings, look, tables
from hitherto.report.content import Language, ReportContent, Rules
from hitherto.report.explained import basis_line, search_line
from hitherto.report.words import clean, say, typeset

if TYPE_CHECKING:
    from hitherto.report.look import Chart

LARGEST = 7_000_000  # bytes; what a mail server and a phone still take
SECTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("equity", ("equity", "drawdown", "hindsight")),
    ("source", ("attribution", "attribution_years", "attribution_path")),
    ("signal", ("ic", "decay", "quantiles", "autocorrelation")),
    ("ladder", ("ladder",)),
    ("example", ("example", "gates")),
    ("held", ("weights", "exposure", "costs", "cost_years")),
    ("when", ("heatmap", "periods", "rolling", "regimes")),
    ("firm", ("breakeven", "stress", "delay", "capacity", "orders")),
)


def render(content: ReportContent) -> str:
    """Return the whole page as one string of HTML.

    The page asks for nothing outside itself: plotly's script, the style and the data are inside, and a content
    security policy that names the scripts by hash refuses everything else. Text from data is escaped in the markup, in
    the embedded JSON and in chart labels. The same content gives the same string. Raises ConfigError when the page
    exceeds 7 MB.
    """
    charts = figures.charts(content)
    scripts = (_plotly(), _own("boot.js"))
    page = _template().render(
        content=content,
        t=lambda key, **values: say(content.language, key, **values),
        typeset=typeset,
        policy=_policy(scripts),
        style=_safe(_own("style.css")),
        scripts=[_safe(s) for s in scripts],
        data=_safe(embed({name: _specification(chart) for name, chart in charts.items() if chart.figure})),
        charts=charts,
        **_parts(content, charts),
    )  # fmt: skip
    size = len(page.encode())
    if size > LARGEST:
        raise ConfigError(
            f"report: the page is {size / 1e6:.1f} MB, the limit is {LARGEST / 1e6:.0f} MB; "
            "shorten the settings, the data card or the finding lists"
        )
    return page


def write(content: ReportContent, path: str | os.PathLike[str]) -> Path:
    """Write the page to ``path`` whole or not at all and return the path; folders are made. Raises HithertoError."""
    page, target = render(content).encode(), Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(target, page)
    return target


def embed(data: object) -> str:
    """JSON that is safe inside a script element: <, >, & and the two line separators are written as escapes."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def plain_summary(content: ReportContent) -> str:
    """The top of the report as plain text for a terminal: verdict, warnings, five figures, what was tried, the ladder.

    Columns line up with wide Chinese characters; control characters of foreign text are replaced, so that no name can
    move the cursor or colour the screen.
    """
    lang = content.language
    sentence, stop = findings.audit(content.audit, lang)
    headline = (lang == "zh" and content.verdict.headline_zh) or content.verdict.headline
    lines = [content.title, "", *([f"! {sentence}", ""] if stop else []), headline]
    lines += [f"! {flag}" for flag in content.flags]
    if content.key_figures:
        lines += [
            "",
            *_columns([(k.label, typeset(k.value), typeset(k.interval)) for k in content.key_figures], words=1),
            *([basis_line(content.basis, lang, "b_figures")] if content.basis else []),
        ]
    lines += ["", sentence] if not stop else []
    if content.audit is not None:
        rows = [(r.probe, say(lang, f"r_{r.result}"), r.detail or r.tried) for r in content.audit.rows]
        lines += _columns(rows, words=3)
        if content.audit.smallest:
            lines.append(f"{say(lang, 'a_smallest')}: {content.audit.smallest}")
        if content.audit.not_assessed:
            lines.append(f"{say(lang, 'a_not')}: {', '.join(content.audit.not_assessed)}")
    if content.ladder is not None and content.ladder.rows:
        table = tables.ladder(content.ladder, lang)
        body = [tuple(f"{c.text} {c.under}".strip() for c in row.cells) for row in table.rows]
        lines += ["", *_columns([table.head, *body], words=1)]
    return "\n".join(clean(line).replace("\n", " ").replace("\t", " ").rstrip() for line in lines) + "\n"


def _columns(rows: list[tuple[str, ...]], words: int) -> list[str]:
    """Rows padded to common widths; the first ``words`` columns set left, the others right."""
    if not rows:
        return []
    rows = [tuple(clean(c).replace("\n", " ") for c in row) for row in rows]
    widths = [max(_width(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        pads = [" " * (w - _width(c)) for c, w in zip(row, widths, strict=True)]
        lines.append("  ".join(c + p if i < words else p + c for i, (c, p) in enumerate(zip(row, pads, strict=True))))
    return lines


def _width(text: str) -> int:
    """Columns that a terminal gives to the text."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )  # fmt: skip


def _parts(content: ReportContent, charts: Mapping[str, Chart]) -> dict[str, Any]:
    """Everything the template shows that is computed rather than copied."""
    lang, lists = content.language, content.hindsight_list
    sentence, stop = findings.audit(content.audit, lang)
    second = content.verdict.headline_zh if lang == "en" else content.verdict.headline
    first = content.verdict.headline if lang == "en" else content.verdict.headline_zh or content.verdict.headline
    up, down = look.rise_and_fall(content.rising_red)
    shown = [(name, [charts[c] for c in members if c in charts]) for name, members in SECTIONS]
    probes = Counter((r.probe, r.result) for r in content.audit.rows) if content.audit else Counter()
    return {
        "probes": [(probe, result, times) for (probe, result), times in probes.items()],
        "audit_sentence": sentence,
        "audit_stop": stop,
        "search": search_line(content.search, lang) if content.search else "",
        "basis": basis_line(content.basis, lang, "b_figures") if content.key_figures else "",
        "headline": first,
        "headline_second": second if second != first else "",
        "verdict_table": tables.verdict(content.verdict, lang) if content.verdict.rows else None,
        "sections": [(name, members) for name, members in shown if members],
        "colours": {"up": up, "down": down, **look.ROLE_COLOURS},
        "list_title": findings.hindsight_list(lists, lang) if lists and (lists.best or lists.worst) else "",
        "best_table": tables.hindsight_rows(lists.best, lists.best_start, lang) if lists and lists.best else None,
        "worst_table": tables.hindsight_rows(lists.worst, lists.worst_start, lang) if lists and lists.worst else None,
        "card": _card(content.data_card),
        "assumed": (*content.assumptions, *(content.rules.assumptions if content.rules else ())),
        "rules": _rules(content.rules, lang) if content.rules else {},
    }


def _rules(rules: Rules, lang: Language) -> dict[str, str]:
    """The rules in force as name -> value."""
    against = say(lang, "rules_uncounted")
    if rules.contradictions is not None:
        against = f"{rules.contradictions:,}"
        if rules.closes:
            against = say(lang, "rules_of", n=against, m=f"{rules.closes:,}")
    values = (("rules_market", rules.market), ("rules_digest", rules.digest), ("rules_against", against))
    return {say(lang, key): value for key, value in values}


def _specification(chart: Chart) -> dict[str, Any]:
    """What plotly.js needs to draw the chart, as plain JSON values."""
    made = json.loads(chart.figure.to_json(engine="json") or "{}") if chart.figure is not None else {}
    return {"data": made["data"], "layout": made["layout"]}


def _card(text: str) -> list[tuple[str, list[Any]]]:
    """Blocks of a data card as (kind, lines): the little Markdown that cards use, its marks of emphasis taken off."""
    blocks: list[tuple[str, list[Any]]] = []
    before = ""  # the kind that the next line may continue
    for line in text.replace("\r\n", "\n").split("\n"):
        bare = line.strip()
        if before == "code":
            before = "" if bare.startswith("```") else "code"
            if before:
                blocks[-1][1].append(line)
            continue
        if bare.startswith("```"):
            before = "code"
            blocks.append((before, []))
        elif not bare:
            before = ""
        elif bare.startswith("#"):
            before = ""
            blocks.append(("heading", [_plain(bare.lstrip("#").strip())]))
        elif bare.startswith("|") and bare.endswith("|"):
            cells = [_plain(cell.strip()) for cell in bare.strip("|").split("|")]
            before = _extend(blocks, before, "table", cells if set("".join(cells)) - set("-:") else None)
        elif bare.startswith(("- ", "* ")):
            before = _extend(blocks, before, "list", _plain(bare[2:]))
        elif before in ("list", "paragraph"):
            blocks[-1][1][-1] += f" {_plain(bare)}"
        else:
            before = _extend(blocks, "", "paragraph", _plain(bare))
    return blocks


def _extend(blocks: list[tuple[str, list[Any]]], before: str, kind: str, item: Any) -> str:
    """Add an item to the open block of this kind, or open one; None is a line that says nothing (a table's rule)."""
    if before != kind:
        blocks.append((kind, []))
    if item is not None:
        blocks[-1][1].append(item)
    return kind


def _plain(text: str) -> str:
    """Markdown text without its marks for bold, italics and code."""
    return re.sub(r"(\*\*|`)(.+?)\1", r"\2", re.sub(r"(?<![\w*])\*([^*\s][^*]*)\*(?![\w*])", r"\1", text))


def _policy(scripts: tuple[str, ...]) -> str:
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts
    )  # fmt: skip
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


@lru_cache(maxsize=1)
def _template() -> Any:
    """The page's template, in which every value is escaped and cleaned on its way out."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    def out(value: object) -> object:
        return value if isinstance(value, Markup) else clean(value)

    made = Environment(autoescape=True, undefined=StrictUndefined, finalize=out, trim_blocks=True, lstrip_blocks=True)
    return made.from_string(_own("template.html.j2"))


def _safe(text: str) -> Any:
    """Mark our own files and the escaped JSON as markup; nothing else may pass here."""
    from markupsafe import Markup

    return Markup(text)


@lru_cache(maxsize=1)
def _plotly() -> str:
    """Plotly's own script, as it will stand in the page (an HTML parser turns CR LF into LF before it hashes)."""
    from plotly.offline import get_plotlyjs

    return get_plotlyjs().replace("\r\n", "\n").replace("\r", "\n")


def _own(name: str) -> str:
    return resources.files("hitherto.report").joinpath(name).read_text(encoding="utf-8")
