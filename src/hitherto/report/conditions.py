"""What would have to be true: the cost and the delay at which the result is gone."""

from __future__ import annotations

import math

import numpy as np

from hitherto.evaluate.attribution import BreakevenCost, BreakevenDelay
from hitherto.report import look, tables
from hitherto.report.content import Language
from hitherto.report.explained import Explanation, absent, basis_line, bps, estimate, reason, verb
from hitherto.report.look import Chart, Key
from hitherto.report.skill import dots
from hitherto.report.tables import Cell, Row, Table
from hitherto.report.words import DASH, WORDS, interval, number, percent, say


def charts(x: Explanation, lang: Language) -> list[Chart]:
    """Every chart of the two that there is data for; for the rest a title that says why not."""
    made = []
    if x.costs:
        made.append(breakeven(x.costs, lang))
    elif "costs" in x.not_assessed:
        made.append(absent("breakeven", x.not_assessed["costs"], lang))
    if x.delay is not None and x.delay.rows:
        made.append(delay(x.delay, lang))
    elif "delay" in x.not_assessed:
        made.append(absent("delay", x.not_assessed["delay"], lang))
    return made


def _against(part: BreakevenCost, lang: Language) -> str:
    key = f"against_{part.against}"
    return say(lang, key) if key in WORDS else part.against


def _clause(part: BreakevenCost, rival: bool, lang: Language) -> str:
    """What one break-even cost says, as part of a sentence."""
    key = "be_rival" if rival else "be_nothing"
    if part.cost is None:
        return say(lang, f"{key}_not", why=reason(part.reason, lang))
    if part.cost.estimate <= 0:
        return say(lang, f"{key}_never")
    rf = percent(part.basis.rf, 2 if part.basis.rf else 0)
    return say(lang, key, cost=bps(part.cost.estimate), **({} if rival else {"rf": rf}))


def breakeven_title(parts: tuple[BreakevenCost, ...], lang: Language) -> str:
    """What a side cost, and up to what cost it earns anything and beats equal weight."""
    first = parts[0]
    alone = _clause(first, False, lang)
    if math.isnan(first.paid) or first.paid == 0:
        return say(lang, "be_free_of", alone=alone)
    if len(parts) == 1:
        return say(lang, "f_breakeven_alone", paid=bps(first.paid), alone=alone)
    return say(lang, "f_breakeven", paid=bps(first.paid), alone=alone, rival=_clause(parts[1], True, lang))


def breakeven(parts: tuple[BreakevenCost, ...], lang: Language) -> Chart:
    """Each break-even cost as a dot with its interval, and what a side cost as a line."""
    import plotly.graph_objects as go

    title, table = breakeven_title(parts, lang), breakeven_table(parts, lang)
    caption, line = say(lang, "c_breakeven"), basis_line(parts[0].basis, lang)
    again = parts[0].retraded
    if again is not None and math.isfinite(again):
        caption += (" " if lang == "en" else "") + say(lang, "c_retraded", x=number(again, 1))
    known = [(p, p.cost) for p in parts[::-1] if p.cost is not None]
    if not known:
        return Chart("breakeven", title, caption, None, (), table, basis=line)
    fig = go.Figure()
    for at, (part, cost) in enumerate(known):
        bounds = {"type": "data", "symmetric": False, "array": [1e4 * (cost.hi - cost.estimate)],
                  "arrayminus": [1e4 * (cost.estimate - cost.lo)], "thickness": 1.8, "width": 0}  # fmt: skip
        fig.add_scatter(
            x=[1e4 * cost.estimate], y=[at], mode="markers", name=look.label(_against(part, lang)), showlegend=False,
            marker={"color": look.STRATEGY, "size": 10}, error_x=bounds,
        )  # fmt: skip
    key = []
    if math.isfinite(parts[0].paid):
        fig.add_scatter(
            x=[1e4 * parts[0].paid] * 2, y=[-0.6, len(known) - 0.4], mode="lines", name=say(lang, "paid"),
            line={"color": look.INK, "width": 1.6, "dash": "dash"},
        )  # fmt: skip
        key.append(Key(say(lang, "paid"), look.INK, "dash", (len(known),), bps(parts[0].paid)))
    look.frame(fig, 84 + 36 * len(known), "", hover="closest")
    look.numbers(fig, say(lang, "x_breakeven"))
    fig.update_xaxes(showgrid=True, gridcolor=look.RULE, zeroline=True, zerolinecolor=look.INK, zerolinewidth=1)
    names = [look.label(_against(p, lang), 24) for p, _ in known]
    fig.update_yaxes(tickvals=list(range(len(known))), ticktext=names, showgrid=False, range=[-0.6, len(known) - 0.4])
    return Chart("breakeven", title, caption, fig, tuple(key), table, shown=True, basis=line)


def breakeven_table(parts: tuple[BreakevenCost, ...], lang: Language) -> Table:
    """One row per rival."""
    rows = []
    for p in parts:
        e = estimate(p.cost)
        under = "" if math.isnan(e.lo) else f"[{number(1e4 * e.lo, 1)}, {bps(e.hi)}]"
        rows.append(Row((
            Cell(_against(p, lang), reason(p.reason, lang) if p.reason else ""),
            Cell(DASH if p.cost is None else bps(e.value), under), Cell(bps(p.paid)),
            Cell(DASH if p.multiple is None or p.multiple <= 0 else f"× {number(p.multiple, 1)}"),
        )))  # fmt: skip
    head = ("against", "breakeven_cost", "paid", "of_paid")
    return Table(tuple(say(lang, k) for k in head), tuple(rows))


def delay(part: BreakevenDelay, lang: Language) -> Chart:
    """Mean net edge over equal weight by bars of delay."""
    import plotly.graph_objects as go

    rows, title, line = [], delay_title(part, lang), basis_line(part.basis, lang)
    for r in part.rows:
        e = estimate(r.edge)
        rows.append(Row((Cell(str(r.delay)), tables.gain(r.net), Cell(percent(e.value, 1, True), interval(e, True)))))
    table = Table(tuple(say(lang, k) for k in ("delay", "net_return", "edge")), tuple(rows))
    if all(r.edge is None for r in part.rows):
        return Chart("delay", title, "", None, (), table, basis=line)
    fig = go.Figure()
    at = [r.delay for r in part.rows]
    dots(fig, at, [estimate(r.edge) for r in part.rows], say(lang, "edge"), look.STRATEGY, times=100)
    look.frame(fig, 260, say(lang, "x_delay"), zero=True, hover="closest")
    look.numbers(fig, say(lang, "x_delay_bars"), [float(a) for a in at], [str(a) for a in at])
    fig.update_xaxes(range=[-0.4, max(at) + 0.4])
    return Chart("delay", title, say(lang, "c_delay"), fig, (), table, basis=line)


def delay_title(part: BreakevenDelay, lang: Language) -> str:
    """After how many bars of delay the edge is gone; said otherwise when there is none."""
    first = estimate(part.rows[0].edge)
    if np.isnan(first.value):
        return say(lang, "not_assessed", what=say(lang, "p_delay"), why=reason(part.reason, lang))
    edge = percent(first.value, 1, True)
    if part.bars is None:
        return say(lang, "f_delay_none", edge=edge)
    if part.bars == math.inf:
        return say(lang, "f_delay_lasts", edge=edge, verb=verb(first, lang), n=part.rows[-1].delay)
    return say(lang, "f_delay", edge=edge, verb=verb(first, lang), n=number(part.bars, 1))
