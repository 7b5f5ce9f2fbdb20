"""The page of the lists: log wealth of the best and the worst one, and the lists themselves, in one HTML file.

The file asks for nothing outside itself: plotly's script is inlined, a content security policy names the scripts by
hash, and text from data is escaped in the markup, in the embedded JSON and in chart labels.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from hitherto.hindsight.lists import Period, amount
from hitherto.market.place import show

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# The colours of the reports: hindsight is orange everywhere, whichever way it points.
HINDSIGHT, INK, MUTED, RULE = "#E69F00", "#33322E", "#6B6963", "#E4E1DA"
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "Noto Sans CJK SC", sans-serif'
MARKED = 60  # with more periods the points would hide their own line
DASHES = {"best": "solid", "worst": "dash"}
STYLE = f"""
body {{ font: 16px/1.5 {FONT}; color: {INK}; margin: 0; }}
main {{ max-width: 1100px; margin: 0 auto; padding: 1rem; }}
h1 {{ font-size: 1.4rem; }} p, summary {{ color: {MUTED}; }}
table {{ border-collapse: collapse; }} .scroll {{ overflow-x: auto; }}
th, td {{ text-align: left; padding: .2rem .9rem .2rem 0; border-bottom: 1px solid {RULE}; }}
.n {{ text-align: right; font-variant-numeric: tabular-nums; }}
"""
BOOT = """"use strict";
(() => {
  const { data, layout } = JSON.parse(document.getElementById("figure").textContent);
  Plotly.newPlot("chart", data, layout, { displaylogo: false, responsive: true });
})();"""


def page(title: str, caption: str, lists: Mapping[str, tuple[Period, ...]], capital: float) -> str:
    """Return the page as one string; ``lists`` by name ("best", "worst"), each with at least one period."""
    drawn = json.loads(figure(lists, capital).to_json() or "{}")
    scripts = _plotly(), BOOT
    tables = "".join(
        f"<details open><summary>The {html.escape(name)} list</summary>{_table(periods)}</details>"
        for name, periods in lists.items()
    )
    return "\n".join([
        "<!doctype html>", '<html lang="en">', "<head>", '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(scripts)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{html.escape(title)}</title>", f"<style>{STYLE}</style>", "</head>", "<body><main>",
        f"<h1>{html.escape(title)}</h1>", f"<p>{html.escape(caption)}</p>",
        '<div id="chart" role="img" aria-label="Log wealth of the lists" style="min-height:420px"></div>',
        "<noscript><p>The chart needs JavaScript; the tables below hold its numbers.</p></noscript>", tables,
        f'<script type="application/json" id="figure">{_embed(drawn)}</script>',
        *(f"<script>{script}</script>" for script in scripts), "</main></body>", "</html>", "",
    ])  # fmt: skip


def figure(lists: Mapping[str, tuple[Period, ...]], capital: float) -> Figure:
    """Return the figure: log10 of running wealth at the end of each period."""
    import plotly.graph_objects as go

    fig = go.Figure()
    for name, periods in lists.items():
        texts = ["start"] + [f"{label(', '.join(p.assets) or 'no name')}<br>{p.gain:+.2%}" for p in periods]
        mode = "lines+markers" if len(periods) <= MARKED else "lines"
        fig.add_scatter(
            x=[periods[0].first, *(p.last for p in periods)],
            y=np.log10([capital, *(p.wealth for p in periods)]).tolist(), name=name, mode=mode,
            line={"color": HINDSIGHT, "width": 2, "dash": DASHES.get(name, "dot")}, marker={"size": 5}, text=texts,
            hovertemplate="%{x}<br>10^%{y:.3f}<br>%{text}<extra>%{fullData.name}</extra>",
        )  # fmt: skip
    fig.update_layout(
        template="none", height=420, autosize=True, font={"family": FONT, "size": 12, "color": MUTED},
        margin={"l": 60, "r": 10, "t": 30, "b": 40}, legend={"orientation": "h", "y": 1.08},
    )  # fmt: skip
    fig.update_xaxes(showgrid=False, linecolor="#B9B6AE", ticks="outside", nticks=8, hoverformat="%Y-%m-%d")
    fig.update_yaxes(gridcolor=RULE, zeroline=False, title={"text": "log10 of wealth"})
    return fig


def label(text: str) -> str:
    """Foreign text as plotly must get it: on one line, cut at 60 characters, escaped (its labels read HTML)."""
    return html.escape(show(text, 60), quote=False)


def _table(periods: tuple[Period, ...]) -> str:
    head = "<tr><th>Period</th><th>Names</th><th class=n>Gain</th><th class=n>Wealth</th><th class=n>log10</th></tr>"
    rows = (
        f"<tr><td>{p.first} .. {p.last}</td><td>{html.escape(', '.join(show(a) for a in p.assets) or '–')}</td>"
        f"<td class=n>{p.gain:+.2%}</td><td class=n>{amount(p.wealth)}</td>"
        f"<td class=n>{np.log10(p.wealth):.3f}</td></tr>"
        for p in periods
    )
    return f'<div class="scroll"><table>{head}{"".join(rows)}</table></div>'


def _embed(data: object) -> str:
    """JSON that is safe inside a script element."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _policy(scripts: tuple[str, ...]) -> str:
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _plotly() -> str:
    """Plotly's own script as it will stand in the page: an HTML parser turns CR LF into LF before it hashes."""
    from plotly.offline import get_plotlyjs

    return get_plotlyjs().replace("\r\n", "\n").replace("\r", "\n")
