"""Charts of the report: one plotly figure each, with the sentence it shows, how it was computed, and its table."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from hitherto.report import conditions, findings, look, robust, skill, source, tables, timing
from hitherto.report.content import (
    Costs,
    Dates,
    Equity,
    Example,
    Gates,
    Hindsight,
    IcSeries,
    Ladder,
    Language,
    NullBand,
    ReportContent,
    WeightsHistory,
)
from hitherto.report.explained import basis_line
from hitherto.report.look import Chart, Key
from hitherto.report.thin import POINTS, thin
from hitherto.report.words import amount, number, percent, say

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from hitherto.evaluate.periods import Compounding

SHOWN_NAMES, SHOWN_COLUMNS, SHOWN_DATES = 25, 400, 252


def charts(content: ReportContent) -> dict[str, Chart]:
    """Every chart that the content has data for, by name, in the order of the page."""
    looks = styles(content)
    made: list[Chart] = []
    if content.equity is not None and len(content.equity.dates):
        made.append(equity(content.equity, looks, content))
        if content.equity.strategy is not None:
            made.append(drawdown(content.equity, content))
    if content.hindsight is not None and len(content.hindsight.dates):
        made.append(hindsight(content.hindsight, content))
    if content.ic is not None and len(content.ic.dates):
        made.append(ic(content.ic, content))
    if content.ladder is not None and content.ladder.rows:
        made.append(ladder(content.ladder, content))
    if content.example is not None and len(content.example.dates):
        made.append(example(content.example, content))
        if content.example.gates is not None and content.example.gates.values:
            made.append(gates(content.example.gates, content))
    if content.weights is not None and np.size(content.weights.weights):
        made.append(weights(content.weights, content))
    if content.costs is not None and len(content.costs.dates):
        made.append(costs(content.costs, content))
        if content.costs.years:
            made.append(cost_years(content.costs, content))
    made += robust.charts(content)
    if content.explained is not None:
        x, lang = content.explained, content.language
        made += [*source.charts(x, content), *skill.charts(x, lang), *timing.charts(x, content)]
        made += conditions.charts(x, lang)
    return {chart.name: _rested(chart, content) for chart in made}


RESTS: dict[str, tuple[Compounding, str]] = {
    "equity": ("compound", ""), "drawdown": ("compound", ""), "hindsight": ("compound", "before costs"),
    "ic": ("none", "before costs"), "ladder": ("simple mean", ""), "weights": ("none", ""),
    "costs": ("compound", "before and after fees and slippage"), "cost_years": ("none", ""),
    "stress": ("compound", "at each multiple of the costs"), "capacity": ("compound", ""), "orders": ("none", ""),
    "periods": ("compound", ""),
}  # fmt: skip


def _rested(chart: Chart, content: ReportContent) -> Chart:
    """The chart with the line that says what its figures rest on; one that brings its own keeps it."""
    if chart.basis or content.basis is None or chart.figure is None or chart.name not in RESTS:
        return chart
    compounding, paid = RESTS[chart.name]
    basis = dataclasses.replace(content.basis, compounding=compounding, costs=paid or content.basis.costs)
    return dataclasses.replace(chart, basis=basis_line(basis, content.language))


def styles(content: ReportContent) -> dict[str, tuple[str, str]]:
    """Colour and dash of every book and model, by name: the colour says the role, the dash tells names apart."""
    roles: dict[str, str] = {}
    if content.equity is not None:
        roles.update(content.equity.roles)
    if content.ladder is not None:
        for row in content.ladder.rows:
            roles.setdefault(row.model, row.role)
    seen: dict[str, int] = {}
    looks = {}
    for name, role in roles.items():
        nth = seen.get(role, 0)
        seen[role] = nth + 1
        looks[name] = (look.ROLE_COLOURS[role], look.DASHES[nth % len(look.DASHES)])
    return looks


def equity(part: Equity, looks: dict[str, tuple[str, str]], content: ReportContent) -> Chart:
    """Net wealth of every book, the strategy drawn last and thickest."""
    import plotly.graph_objects as go

    band = [] if part.null is None else [part.null.low, part.null.high]
    spread = np.concatenate([v[np.isfinite(v) & (v > 0)] for v in (*part.curves.values(), *band)] or [np.ones(1)])
    log = len(spread) > 0 and spread.max() / spread.min() > 5
    fig, key = go.Figure(), []
    order = sorted(part.curves, key=lambda n: part.roles[n] == "strategy")
    if part.null is not None:
        _behind(fig, part.dates, part.null, log, content.language)
    for at, name in enumerate(order, start=0 if part.null is None else 2):
        colour, dash = looks[name]
        width = {"strategy": 2.4, "benchmark": 1.7}.get(part.roles[name], 1.3)
        look.line(fig, part.dates, part.curves[name], name, colour, dash, width, positive=log)
        end = findings.last_finite(part.curves[name])
        key.append((end, Key(name, colour, dash, (at,), "" if np.isnan(end) else amount(end, content.language))))
    look.frame(fig, 380, say(content.language, "x_wealth_log" if log else "x_wealth"), log=log)
    key.sort(key=lambda entry: -np.nan_to_num(entry[0], nan=-np.inf))
    shown = [k for _, k in key]
    title = findings.equity(part, content.language)
    caption = part.caption or say(content.language, "c_equity")
    if part.null is not None:
        shown.append(Key(say(content.language, "null"), look.BASELINE, "band", (0, 1)))
        null = part.null
        said = {"m": null.draws, "n": null.above, "p": number(null.p, 3)}
        caption += (" " if content.language == "en" else "") + say(content.language, "c_null", **said)
    return Chart("equity", title, caption, fig, tuple(shown), tables.equity(part, content.language))


def _behind(fig: Figure, dates: Dates, null: NullBand, log: bool, lang: Language) -> None:
    """The band of permuted scores as a pale area, before anything else is drawn."""
    low, high = (look.above_zero(v) if log else v for v in (null.low, null.high))
    rows = np.union1d(thin(low, POINTS // 2), thin(high, POINTS // 2))
    for values, name, fill in ((low, "null_low", None), (high, "null_high", "tonexty")):
        fig.add_scatter(
            x=look.days(dates[rows]), y=look.finite(values[rows]), name=say(lang, name), mode="lines", fill=fill,
            fillcolor=look.pale(look.BASELINE), line={"color": look.BASELINE, "width": 0.4}, connectgaps=False,
        )  # fmt: skip


def drawdown(part: Equity, content: ReportContent) -> Chart:
    """How far the strategy stood below its earlier high."""
    import plotly.graph_objects as go

    wealth = look.finite(part.curves[part.strategy or ""])
    high = np.fmax.accumulate(wealth)
    fall = 100 * (wealth / np.where(high > 0, high, np.nan) - 1)
    fig = go.Figure()
    look.line(
        fig,
        part.dates,
        fall,
        part.strategy or "",
        look.STRATEGY,
        "solid",
        1.2,
        fill="tozeroy",
        fillcolor=look.pale(look.STRATEGY),
    )
    look.frame(fig, 190, say(content.language, "x_fall"))
    title = findings.drawdown(wealth, content.language)
    table, caption = tables.falls(part.dates, wealth, content.language), say(content.language, "c_fall")
    known = None if content.explained is None else content.explained.drawdowns
    if known is not None:
        table = timing.falls_table(known, content.language)
        caption = say(content.language, "c_fall_under", share=percent(known.under, 0))
    return Chart("drawdown", title, caption, fig, (), table)


def hindsight(part: Hindsight, content: ReportContent) -> Chart:
    """The band between the worst and best books with perfect foresight, in log scale, the strategy inside it."""
    import plotly.graph_objects as go

    lang, own = content.language, None
    fig = go.Figure()
    best, worst = look.above_zero(part.best), look.above_zero(part.worst)
    rows = np.union1d(thin(best, POINTS // 2), thin(worst, POINTS // 2))
    for values, name, fill in ((worst, "worst", None), (best, "best", "tonexty")):
        fig.add_scatter(
            x=look.days(part.dates[rows]), y=values[rows], name=say(lang, name), mode="lines", fill=fill,
            fillcolor=look.pale(look.HINDSIGHT), line={"color": look.HINDSIGHT, "width": 1.2}, connectgaps=False,
        )  # fmt: skip
    key = [Key(say(lang, "band"), look.HINDSIGHT, "band", (0, 1))]
    if content.equity is not None and content.equity.strategy is not None:
        name = content.equity.strategy
        own = content.equity.curves[name]
        look.line(fig, content.equity.dates, own, name, look.STRATEGY, "solid", 2.4, positive=True)
        key.insert(0, Key(name, look.STRATEGY, "solid", (2,)))
        if not np.array_equal(content.equity.dates, part.dates):
            own = None
    look.frame(fig, 320, say(lang, "x_wealth_log"), log=True)
    fig.update_yaxes(exponentformat="power", nticks=8)
    caption = part.caption or (
        say(lang, "c_band_of", label=part.label.rstrip(".")) if part.label else say(lang, "c_band")
    )
    table = tables.hindsight(part, own, lang)
    return Chart("hindsight", findings.hindsight(part, lang), caption, fig, tuple(key), table)


def ic(part: IcSeries, content: ReportContent) -> Chart:
    """Mean of each month as bars, the rolling mean, and the interval of the mean over all dates."""
    import plotly.graph_objects as go

    lang, fig = content.language, go.Figure()
    months = part.dates.astype("datetime64[M]")
    each = np.unique(months)
    means = [look.mean(part.daily[months == month]) for month in each]
    fig.add_bar(
        x=[f"{month}-15" for month in each], y=look.finite(np.array(means)), name=say(lang, "monthly"),
        marker={"color": "#CFCCC4", "line": {"width": 0}}, xperiod="M1", xperiodalignment="middle",
    )  # fmt: skip
    rolling = say(lang, "rolling", window=part.window)
    look.line(fig, part.dates, part.rolling, rolling, look.STRATEGY, "solid", 2.0)
    key = [Key(rolling, look.STRATEGY, "solid", (1,)), Key(say(lang, "monthly"), "#CFCCC4", "block", (0,))]
    if np.isfinite([part.mean.lo, part.mean.hi]).all():
        fig.add_hrect(
            y0=part.mean.lo, y1=part.mean.hi, fillcolor=look.STRATEGY, opacity=0.18, line_width=0, layer="below"
        )
        key.append(Key(say(lang, "mean_band"), look.STRATEGY, "band"))
    look.frame(fig, 300, say(lang, "x_ic", kind=look.label(part.kind)), zero=True)
    fig.update_layout(bargap=0.25)
    caption = part.caption or say(lang, "c_ic", window=part.window)
    return Chart("ic", findings.ic(part, lang), caption, fig, tuple(key), tables.ic(part, lang))


def ladder(part: Ladder, content: ReportContent) -> Chart:
    """Net Sharpe ratio of every model as a dot with its interval."""
    import plotly.graph_objects as go

    lang, fig = content.language, go.Figure()
    rows = part.rows[::-1]
    for at, row in enumerate(rows):
        s, colour = row.sharpe, look.ROLE_COLOURS[row.role]
        bounds = np.isfinite([s.lo, s.hi]).all()
        error = {"type": "data", "symmetric": False, "array": [s.hi - s.value], "arrayminus": [s.value - s.lo]}
        fig.add_scatter(
            x=look.finite(np.array([s.value])), y=[at], mode="markers", name=look.label(row.model), showlegend=False,
            marker={"color": colour, "size": 9}, error_x=error | {"thickness": 1.6, "width": 0} if bounds else None,
        )  # fmt: skip
    look.frame(fig, 70 + 30 * len(rows), "", hover="closest")
    fig.update_xaxes(title={"text": say(lang, "x_sharpe"), "font": {"size": 12}}, showgrid=True, gridcolor=look.RULE)
    fig.update_xaxes(zeroline=True, zerolinecolor=look.INK, zerolinewidth=1, tickformat=None, type="linear")
    names = [look.label(row.model, 22) for row in rows]
    fig.update_yaxes(tickvals=list(range(len(rows))), ticktext=names, showgrid=False, range=[-0.6, len(rows) - 0.4])
    caption = part.caption or say(lang, "c_ladder")
    return Chart("ladder", findings.ladder(part, lang), caption, fig, (), tables.ladder(part, lang), shown=True)


def example(part: Example, content: ReportContent) -> Chart:
    """What followed as bars, the forecast made before it as a line; a score gets an axis of its own below."""
    import plotly.graph_objects as go

    lang, fig = content.language, go.Figure()
    recent = slice(max(0, len(part.dates) - SHOWN_DATES), None)
    actual, forecast = part.actual[recent], part.forecast[recent]
    up, down = look.rise_and_fall(content.rising_red)
    scale = 100.0 if part.same_unit else 1.0
    fig.add_bar(
        x=look.days(part.dates[recent]), y=look.finite(100 * actual), name=say(lang, "actual"),
        marker={"color": [up if a >= 0 else down for a in np.nan_to_num(actual)], "opacity": 0.45, "line_width": 0},
    )  # fmt: skip
    fig.add_scatter(
        x=look.days(part.dates[recent]), y=look.finite(scale * forecast), name=say(lang, "forecast"), mode="lines",
        line={"color": look.STRATEGY, "width": 2}, yaxis="y" if part.same_unit else "y2",
    )  # fmt: skip
    look.frame(fig, 300 if part.same_unit else 380, say(lang, "x_return", horizon=look.label(part.horizon)), zero=True)
    fig.update_layout(bargap=0.15)
    if not part.same_unit:
        own = {
            "domain": [0, 0.36],
            "gridcolor": look.RULE,
            "zerolinecolor": look.MUTED,
            "automargin": True,
            "title": None,
        }
        fig.update_layout(yaxis={"domain": [0.48, 1]}, yaxis2=own, xaxis={"anchor": "y2"})
        look.write_unit(fig, say(lang, "x_score"), 0.36)
    key = (
        Key(say(lang, "forecast"), look.STRATEGY, "solid", (1,)),
        Key(f"{say(lang, 'actual')} +", up, "band", (0,)),
        Key(f"{say(lang, 'actual')} −", down, "band", (0,)),
    )
    caption = part.caption or say(lang, "c_example", n=len(actual), m=len(part.dates))
    title = findings.example(part, part.asset, lang)
    return Chart("example", title, caption, fig, key, tables.example(part, lang))


def gates(part: Gates, content: ReportContent) -> Chart:
    """Every gate as a small picture: hidden units down, bars of the window across."""
    from plotly.subplots import make_subplots

    lang, names = content.language, list(part.values)
    across = min(2, len(names))
    down = -(-len(names) // across)
    fig = make_subplots(
        rows=down, cols=across, subplot_titles=[look.label(n, 24) for n in names], shared_xaxes=True, shared_yaxes=True,
        horizontal_spacing=0.04, vertical_spacing=0.22 / down,
    )  # fmt: skip
    state = max(
        [float(np.nanmax(np.abs(v), initial=0)) for n, v in part.values.items() if not look.is_gate(n)] or [1.0]
    )
    for at, name in enumerate(names):
        values = np.asarray(part.values[name], float)
        lags = np.arange(-len(values) + 1, 1)
        fig.add_heatmap(
            z=look.finite(values.T), x=lags, y=np.arange(1, values.shape[1] + 1),
            row=at // across + 1, col=at % across + 1,
            coloraxis="coloraxis" if look.is_gate(name) else "coloraxis2", name=look.label(name), xgap=0.5, ygap=0,
            hovertemplate="%{x}, %{y}: %{z:.3f}<extra></extra>",
        )  # fmt: skip
    look.frame(fig, 150 * down + 120, "", hover="closest")
    fig.update_xaxes(type="linear", tickformat=None, showline=False, hoverformat=None)
    fig.update_yaxes(showgrid=False)
    fig.update_xaxes(title={"text": say(lang, "x_lag"), "font": {"size": 12}, "standoff": 6}, row=down)
    fig.update_yaxes(title={"text": say(lang, "x_units"), "font": {"size": 12}, "standoff": 4}, col=1)
    fig.update_annotations(font={"size": 13, "color": look.INK})
    fig.update_layout(margin={"t": 26, "b": 110})
    kinds = [look.is_gate(n) for n in names]
    for axis, kind, colours, span, words in (
        ("coloraxis", True, look.BLUES, (0.0, 1.0), "gate_scale"),
        ("coloraxis2", False, look.DIVERGING, (-state, state), "state_scale"),
    ):
        if kind in kinds:
            right = axis == "coloraxis2" and True in kinds
            fig.update_layout({axis: look.colours(colours, span, say(lang, words), 0.52 if right else 0.0)})
    caption = part.caption or say(lang, "c_gates")
    return Chart("gates", findings.gates(part, lang), caption, fig, (), tables.gates(part, lang))


def weights(part: WeightsHistory, content: ReportContent) -> Chart:
    """Weights as a picture: the names with the largest mean size down, decisions across."""
    import plotly.graph_objects as go

    lang = content.language
    w = np.nan_to_num(np.asarray(part.weights, float), nan=0.0, posinf=0.0, neginf=0.0)
    columns = np.argsort(-np.abs(w).mean(axis=0), kind="stable")[:SHOWN_NAMES]
    step = max(1, -(-len(w) // SHOWN_COLUMNS))
    z = 100 * w[::step][:, columns].T
    z = np.where(np.abs(z) > 100 * findings.TINY, z, np.nan)
    most, short = float(np.nanmax(np.abs(z), initial=1e-6)), bool((w < -findings.TINY).any())
    fig = go.Figure()
    fig.add_heatmap(
        z=z, x=look.days(part.dates[::step]), y=np.arange(len(columns)), coloraxis="coloraxis", ygap=1.5,
        hovertemplate="%{x|%Y-%m-%d}: %{z:.2f} %<extra></extra>", hoverongaps=False,
    )  # fmt: skip
    look.frame(fig, 120 + 17 * len(columns), say(lang, "x_weights"), hover="closest")
    short_names = [look.label(part.names[n], 16) for n in columns]
    fig.update_yaxes(tickvals=list(range(len(columns))), ticktext=short_names, showgrid=False, autorange="reversed")
    fig.update_layout(
        margin={"b": 72},
        coloraxis=look.colours(look.DIVERGING if short else look.BLUES, (-most if short else 0.0, most), "", 0.0),
    )
    drawn = say(lang, "c_every") if step == 1 else say(lang, "c_some", step=step)
    every = "c_weights_all" if len(columns) == len(part.names) else "c_weights"
    caption = part.caption or say(lang, every, n=len(columns), m=len(part.names), drawn=drawn)
    return Chart("weights", findings.weights(part, lang), caption, fig, (), tables.weights(part, columns, lang))


def costs(part: Costs, content: ReportContent) -> Chart:
    """The same decisions with and without costs."""
    import plotly.graph_objects as go

    lang, fig = content.language, go.Figure()
    both = np.concatenate([part.gross_curve, part.net_curve])
    both = both[np.isfinite(both) & (both > 0)]
    log = len(both) > 0 and both.max() / both.min() > 5
    look.line(fig, part.dates, part.gross_curve, say(lang, "gross"), look.STRATEGY, "dot", 1.6, positive=log)
    look.line(fig, part.dates, part.net_curve, say(lang, "net"), look.STRATEGY, "solid", 2.4, positive=log)
    look.frame(fig, 300, say(lang, "x_wealth_log" if log else "x_wealth"), log=log)
    key = (Key(say(lang, "gross"), look.STRATEGY, "dot", (0,)), Key(say(lang, "net"), look.STRATEGY, "solid", (1,)))
    gross, net = percent(part.gross, 1, sign=True), percent(part.net, 1, sign=True)
    caption = part.caption or say(lang, "c_costs", basis=part.basis, gross=gross, net=net)
    return Chart("costs", findings.costs(part, lang), caption, fig, key, tables.cost_curves(part, lang))


def cost_years(part: Costs, content: ReportContent) -> Chart:
    """Fees and slippage of each year, stacked."""
    import plotly.graph_objects as go

    lang, fig = content.language, go.Figure()
    key = []
    for at, (name, values, colour) in enumerate(
        (("fees", part.fees, "#6B6963"), ("slippage", part.slippage, "#C9C6BE"))
    ):
        y = look.finite(100 * np.asarray(values, float))
        fig.add_bar(x=list(part.years), y=y, name=say(lang, name), marker={"color": colour, "line": {"width": 0}})
        key.append(Key(say(lang, name), colour, "block", (at,)))
    look.frame(fig, 240, say(lang, "x_years"))
    fig.update_layout(barmode="stack", bargap=0.45)
    look.year_axis(fig, part.years)
    title = findings.cost_years(part, lang)
    return Chart("cost_years", title, say(lang, "c_years"), fig, tuple(key), tables.cost_years(part, lang))
