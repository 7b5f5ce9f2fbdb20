"""Where the return came from: its parts, by year and summed over time, and what was held for it."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
from numpy.typing import NDArray

from hitherto.evaluate.attribution import Attribution, Linked
from hitherto.evaluate.periods import Dates, Exposure
from hitherto.report import look, tables
from hitherto.report.content import Estimate, Language, ReportContent
from hitherto.report.explained import Explanation, absent, basis_line, estimate, reason, verb
from hitherto.report.look import Chart, Key
from hitherto.report.tables import Cell, Row, Table
from hitherto.report.words import DASH, interval, number, percent, say

SHORT = 20  # bars: the titles do not count a shorter year
TINY = 1e-6  # an interval below this is that of a part which never moves
SEEN = 5e-4  # a part that nowhere reaches this is left out of a chart; the tables have it
COLOURS = {
    "market": look.BASELINE, "universe": "#BDBBB4", "size": "#56B4E9", "sector": "#7E6BA8", "selection": look.STRATEGY,
    "trading": "#C9A66B", "cost": "#4A4843", "rest": "#D9D6CE",
}  # fmt: skip


def charts(x: Explanation, content: ReportContent) -> list[Chart]:
    """Every chart of the two sections that there is data for; for the rest a title that says why not."""
    lang, made = content.language, []
    if x.attribution is not None:
        made.append(attribution(x, x.attribution, lang))
        if x.by_year:
            made.append(attribution_years(x, x.attribution, lang))
        if x.by_month and content.equity is not None and _months(x.attribution, content.equity.dates):
            made.append(attribution_path(x, x.attribution, content.equity.dates[1:], lang))
    elif "attribution" in x.not_assessed:
        made.append(absent("attribution", x.not_assessed["attribution"], lang))
    if x.exposure is not None:
        made.append(exposure(x.exposure, lang))
    elif "exposure" in x.not_assessed:
        made.append(absent("exposure", x.not_assessed["exposure"], lang))
    return made


def _months(a: Attribution, dates: Dates) -> bool:
    """Whether the dates of the equity chart are those of the attribution."""
    return len(dates) == len(a.returns) + 1


def attribution_title(a: Attribution, lang: Language) -> str:
    """What market, selection and costs gave, and whether selection is told from 0."""
    means = [estimate(m) for m in a.means.values()]
    if any(np.isnan(m.value) for m in means):
        said = {k: percent(a.total.parts[k], 1, True) for k in ("market", "selection", "cost")}
        return say(lang, "f_attribution_bare", n=a.total.bars, **said)
    each = dict(zip(a.parts, means, strict=True))
    said = {k: percent(each[k].value, 1, True) for k in ("market", "selection", "cost")}
    net = percent(sum(m.value for m in means), 1, True)
    return say(lang, "f_attribution", net=net, verb=verb(each["selection"], lang), **said)


def attribution_table(x: Explanation, a: Attribution, lang: Language) -> Table:
    """One row per part, how it is computed, its mean a year and its linked share; parts that lack data say so."""
    rows = []
    for name in COLOURS:
        label, why = say(lang, f"part_{name}"), x.not_assessed.get(name)
        if name in a.parts:
            mean = estimate(a.means[name])
            value, under = tables.gain(mean.value, 2), interval(mean, fraction=True)
            rows.append(Row((
                Cell(label, say(lang, f"note_{name}")),
                Cell(value.text, under if mean.hi - mean.lo > TINY else "", value.sign),
                tables.gain(a.total.parts[name]),
            )))  # fmt: skip
        elif name != "universe" or why:
            lacks = reason(why, lang) if why else say(lang, "not_given")
            rows.append(Row((Cell(label, lacks), Cell(DASH), Cell(DASH))))
    net = float(sum(estimate(m).value for m in a.means.values()))
    rows.append(Row((Cell(say(lang, "part_net")), tables.gain(net, 2), tables.gain(a.total.net)), "strategy"))
    return Table(tuple(say(lang, k) for k in ("part", "mean_year", "linked")), tuple(rows))


def attribution(x: Explanation, a: Attribution, lang: Language) -> Chart:
    """Every part as a dot with its interval, the net return last; linked totals where there are no intervals."""
    import plotly.graph_objects as go

    fig = go.Figure()
    means = {k: estimate(m) for k, m in a.means.items()}
    bare = any(np.isnan(m.value) for m in means.values())
    if bare:
        means = {k: Estimate(v) for k, v in a.total.parts.items()}
    net = a.total.net if bare else sum(m.value for m in means.values())
    rows = [("net", Estimate(net), look.INK), *((k, means[k], COLOURS[k]) for k in reversed(a.parts))]
    for at, (name, e, colour) in enumerate(rows):
        known = np.isfinite([e.lo, e.hi]).all() and e.hi - e.lo > TINY
        bounds = {"type": "data", "symmetric": False, "array": [100 * (e.hi - e.value)],
                  "arrayminus": [100 * (e.value - e.lo)], "thickness": 1.8, "width": 0}  # fmt: skip
        fig.add_scatter(
            x=[100 * e.value], y=[at], mode="markers", name=say(lang, f"part_{name}"), showlegend=False,
            marker={"color": colour, "size": 10, "symbol": "diamond" if name == "net" else "circle"},
            error_x=bounds if known else None,
        )  # fmt: skip
    look.frame(fig, 84 + 30 * len(rows), "", hover="closest")
    look.numbers(fig, say(lang, "x_attribution_bare" if bare else "x_attribution"))
    fig.update_xaxes(showgrid=True, gridcolor=look.RULE, zeroline=True, zerolinecolor=look.INK, zerolinewidth=1)
    names = [say(lang, f"part_{name}") for name, *_ in rows]
    fig.update_yaxes(tickvals=list(range(len(rows))), ticktext=names, showgrid=False, range=[-0.6, len(rows) - 0.4])
    caption = say(lang, "c_attribution")
    if "size" in a.parts and x.size_of:
        caption += (" " if lang == "en" else "") + say(lang, "c_attribution_size", of=_size(x.size_of, lang))
    line = basis_line(dataclasses.replace(a.basis, compounding="linked in logs" if bare else "simple mean"), lang)
    title, table = attribution_title(a, lang), attribution_table(x, a, lang)
    return Chart("attribution", title, caption, fig, (), table, shown=True, basis=line)


def _size(text: str, lang: Language) -> str:
    if text == "market_cap":
        return say(lang, "size_market_cap")
    mean = re.fullmatch(r"value traded, mean of (\d+) bars", text)
    return say(lang, "size_traded", n=mean[1]) if mean else text


def linked_table(rows: tuple[Linked, ...], parts: tuple[str, ...], first: str, lang: Language) -> Table:
    """Parts and net return of every stretch of bars."""
    head = (say(lang, first), say(lang, "bars"), *(say(lang, f"part_{p}") for p in parts), say(lang, "part_net"))
    body = [
        Row((Cell(r.label), Cell(str(r.bars)), *(Cell(percent(r.parts[p], 1, True)) for p in parts),
             tables.gain(r.net)))
        for r in rows
    ]  # fmt: skip
    return Table(head, tuple(body))


def attribution_years(x: Explanation, a: Attribution, lang: Language) -> Chart:
    """The parts of every calendar year, stacked, and the year's net return as a mark."""
    import plotly.graph_objects as go

    fig, key = go.Figure(), []
    years = [int(r.label) for r in x.by_year]
    shown = [p for p in a.parts if max(abs(r.parts[p]) for r in x.by_year) >= SEEN] or list(a.parts[:1])
    for at, part in enumerate(shown):
        y = look.finite(np.array([100 * r.parts[part] for r in x.by_year]))
        name = say(lang, f"part_{part}")
        fig.add_bar(x=years, y=y, name=name, marker={"color": COLOURS[part], "line": {"width": 0}})
        key.append(Key(name, COLOURS[part], "block", (at,)))
    name = say(lang, "part_net")
    fig.add_scatter(
        x=years, y=look.finite(np.array([100 * r.net for r in x.by_year])), name=name, mode="markers",
        marker={"color": look.INK, "size": 9, "symbol": "diamond", "line": {"color": look.PAPER, "width": 1.5}},
    )  # fmt: skip
    key.append(Key(name, look.INK, "mark", (len(shown),)))
    look.frame(fig, 280, say(lang, "x_attribution_years"), zero=True)
    fig.update_layout(barmode="relative", bargap=0.45)
    look.year_axis(fig, years)
    table = linked_table(x.by_year, a.parts, "year", lang)
    title, caption = years_title(x.by_year, lang), say(lang, "c_attribution_years")
    return Chart("attribution_years", title, caption, fig, tuple(key), table, basis=basis_line(a.basis, lang))


def years_title(rows: tuple[Linked, ...], lang: Language) -> str:
    """In how many years selection added, its best and its worst."""
    long = [r for r in rows if r.bars >= SHORT] or list(rows)
    if len(long) == 1:
        value = percent(long[0].parts["selection"], 1, True)
        return say(lang, "f_attribution_years_one", year=long[0].label, value=value)
    best, worst = (pick(long, key=lambda r: r.parts["selection"]) for pick in (max, min))
    return say(
        lang, "f_attribution_years", k=sum(r.parts["selection"] > 0 for r in long), m=len(long), best=best.label,
        high=percent(best.parts["selection"], 1, True), worst=worst.label,
        low=percent(worst.parts["selection"], 1, True),
    )  # fmt: skip


def attribution_path(x: Explanation, a: Attribution, dates: Dates, lang: Language) -> Chart:
    """The parts but the market summed over time; dates (B,) of the bars."""
    import plotly.graph_objects as go

    sums = dict(zip(a.parts, np.cumsum(a.values, axis=0).T, strict=True))
    shown = [p for p in a.parts if p not in ("market", "universe") and np.abs(sums[p]).max() >= SEEN]
    fig, key = go.Figure(), []
    for at, part in enumerate(sorted(shown or ["selection"], key=lambda p: p == "selection")):
        name, mine = say(lang, f"part_{part}"), part == "selection"
        dash = {"cost": "dash", "size": "dot", "sector": "dashdot", "trading": "longdash"}.get(part, "solid")
        look.line(fig, dates, 100 * sums[part], name, COLOURS[part], dash, 2.2 if mine else 1.5)
        key.append(Key(name, COLOURS[part], dash, (at,)))
    look.frame(fig, 260, say(lang, "x_attribution_path"), zero=True)
    path: NDArray[np.float64] = sums["selection"]
    top, bottom = int(path.argmax()), int(path.argmin())
    said = {"end": percent(path[-1], 1, True), "high": percent(path[top], 1, True), "top": dates[top],
            "low": percent(path[bottom], 1, True), "bottom": dates[bottom]}  # fmt: skip
    title, table = say(lang, "f_attribution_path", **said), linked_table(x.by_month, a.parts, "month", lang)
    caption = say(lang, "c_attribution_path")
    line = basis_line(dataclasses.replace(a.basis, compounding="none"), lang)
    return Chart("attribution_path", title, caption, fig, tuple(key), table, basis=line)


def exposure(part: Exposure, lang: Language) -> Chart:
    """Gross and net exposure above, the number of names below."""
    import plotly.graph_objects as go

    fig = go.Figure()
    short = bool((np.abs(part.gross - part.net) > 1e-9).any())
    lines = [("net_exposure", part.net, look.STRATEGY, "solid")]
    if short:
        lines.insert(0, ("gross_exposure", part.gross, look.MUTED, "dot"))
    key = []
    held = slice(1 if len(part.dates) > 1 else 0, None)  # on its first bar a book only trades
    for at, (name, values, colour, dash) in enumerate(lines):
        look.line(fig, part.dates[held], 100 * values[held], say(lang, name), colour, dash, 1.6)
        key.append(Key(say(lang, name), colour, dash, (at,)))
    names = part.names[held].astype(np.float64)
    look.line(fig, part.dates[held], names, say(lang, "names"), look.INK, "solid", 1.3, yaxis="y2")
    key.append(Key(say(lang, "names"), look.INK, "solid", (len(lines),)))
    look.frame(fig, 300, say(lang, "x_exposure"), zero=True)
    lower = {"domain": [0, 0.3], "gridcolor": look.RULE, "automargin": True, "title": None, "rangemode": "tozero",
             "nticks": 4}  # fmt: skip
    fig.update_layout(yaxis={"domain": [0.46, 1], "rangemode": "tozero"}, yaxis2=lower, xaxis={"anchor": "y2"})
    look.write_unit(fig, say(lang, "x_names"), 0.3)
    rows = []
    for r in part.rows:
        rows.append(Row((
            Cell(str(r.year) if r.year else say(lang, "all_years")), Cell(str(r.bars)), Cell(percent(r.gross)),
            Cell(percent(r.net)), Cell(number(r.names, 1)), Cell(number(r.turnover, 1)), Cell(percent(r.cost, 2)),
        ), "" if r.year else "strategy"))  # fmt: skip
    head = ("year", "bars", "gross_exposure", "net_exposure", "names", "turnover", "cost")
    table, whole = Table(tuple(say(lang, k) for k in head), tuple(rows)), part.rows[-1]
    said = {"net": percent(whole.net, 0), "gross": percent(whole.gross, 0), "names": number(whole.names, 1),
            "turnover": number(whole.turnover, 1), "cost": percent(whole.cost, 1)}  # fmt: skip
    title = say(lang, "f_exposure_short" if short else "f_exposure", **said)
    if not whole.gross > 0:
        title = say(lang, "f_exposure_none")
    return Chart("exposure", title, say(lang, "c_exposure"), fig, tuple(key), table, basis=basis_line(part.basis, lang))
