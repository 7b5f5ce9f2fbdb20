"""When it worked: returns by month, the rolling Sharpe ratio, and the states of the market."""

from __future__ import annotations

import dataclasses

import numpy as np

from hitherto.evaluate.attribution import Linked
from hitherto.evaluate.inference import Interval
from hitherto.evaluate.periods import UNKNOWN, Drawdowns, Heatmap, RegimeRow, Regimes, Rolling
from hitherto.report import look, tables
from hitherto.report.content import Estimate, Language, ReportContent
from hitherto.report.explained import Explanation, absent, basis_line, estimate
from hitherto.report.look import Chart, Key
from hitherto.report.tables import Cell, Row, Table
from hitherto.report.thin import POINTS, thin
from hitherto.report.words import DASH, interval, number, percent, say


def charts(x: Explanation, content: ReportContent) -> list[Chart]:
    """Every chart of the section that there is data for; for the rest a title that says why not."""
    lang, made = content.language, []
    if x.heatmap is not None:
        made.append(heatmap(x.heatmap, content))
    if x.rolling is not None:
        made.append(rolling(x.rolling, lang))
    if x.regimes is not None:
        made.append(regimes(x.regimes, x.by_regime, lang))
    for name in ("heatmap", "rolling", "regimes"):
        if getattr(x, name) is None and name in x.not_assessed:
            made.append(absent(name, x.not_assessed[name], lang))
    return made


def heatmap(part: Heatmap, content: ReportContent) -> Chart:
    """Months across, years down, gains and losses in the colours of both."""
    import plotly.graph_objects as go

    lang = content.language
    up, down = look.rise_and_fall(content.rising_red)
    months = 100 * part.months
    sizes = np.abs(months[np.isfinite(months)])
    most = float(max(np.quantile(sizes, 0.95), 0.1)) if len(sizes) else 1.0  # one wild month must not pale the rest
    text = [["" if np.isnan(v) else number(v, 1) for v in row] for row in months]
    names, years = [say(lang, f"m_{m}") for m in range(1, 13)], [str(y) for y in part.years]
    fig = go.Figure()
    fig.add_heatmap(
        z=months, x=list(range(12)), y=list(range(len(years))), coloraxis="coloraxis", text=text,
        texttemplate="%{text}", textfont={"size": 11, "color": look.INK}, xgap=1.5, ygap=1.5, hoverongaps=False,
        customdata=[[f"{y} {m}" for m in names] for y in years],
        hovertemplate="%{customdata}: %{text} %<extra></extra>",
    )  # fmt: skip
    look.frame(fig, 150 + 27 * len(years), "", hover="closest")
    fig.update_xaxes(type="linear", tickvals=list(range(12)), ticktext=names, side="top", showline=False, ticks="")
    fig.update_xaxes(tickfont={"size": 10.5}, tickformat=None, hoverformat=None)
    fig.update_yaxes(tickvals=list(range(len(years))), ticktext=years, showgrid=False, autorange="reversed")
    fig.update_xaxes(title={"text": say(lang, "x_heatmap"), "font": {"size": 12}, "standoff": 6})
    scale = [[0, look.blend(down, 0.75)], [0.5, "#FAFAF8"], [1, look.blend(up, 0.75)]]
    bar = look.colours(scale, (-most, most), "", 0.0)
    fig.update_layout(margin={"t": 54, "b": 72}, coloraxis=bar)
    rows = tuple(
        Row((Cell(y), *(tables.gain(v) if np.isfinite(v) else Cell(DASH) for v in (*row, total))))
        for y, row, total in zip(years, part.months, part.total, strict=True)
    )
    table = Table((say(lang, "year"), *names, say(lang, "whole_year")), rows)
    line = basis_line(part.basis, lang)
    return Chart("heatmap", heatmap_title(part, lang), say(lang, "c_heatmap"), fig, (), table, basis=line)


def heatmap_title(part: Heatmap, lang: Language) -> str:
    """How many months gained, the best and the worst."""
    values, at = part.months.ravel(), np.flatnonzero(np.isfinite(part.months.ravel()))
    top, low = (int(at[pick(values[at])]) for pick in (np.argmax, np.argmin))
    months = [say(lang, "month_of", year=part.years[i // 12], month=say(lang, f"m_{i % 12 + 1}")) for i in (top, low)]
    if len(at) == 1:
        return say(lang, "f_heatmap_one", top=months[0], high=percent(values[top], 1, True))
    said = {"top": months[0], "high": percent(values[top], 1, True), "bottom": months[1],
            "low": percent(values[low], 1, True)}  # fmt: skip
    return say(lang, "f_heatmap", k=int((values[at] > 0).sum()), m=len(at), **said)


def rolling(part: Rolling, lang: Language) -> Chart:
    """The Sharpe ratio of the last window with its band, beside that of the whole test."""
    import plotly.graph_objects as go

    title, line = rolling_title(part, lang), basis_line(part.basis, lang)
    if not np.isfinite(part.value).any():
        return Chart("rolling", title, "", None, (), Table((), ()), basis=line)
    fig = go.Figure()
    rows = np.union1d(thin(part.lo, POINTS // 2), thin(part.hi, POINTS // 2))
    for values, name, fill in ((part.lo, "range_low", None), (part.hi, "range_high", "tonexty")):
        fig.add_scatter(
            x=look.days(part.dates[rows]), y=look.finite(values[rows]), name=say(lang, name), mode="lines",
            fill=fill, fillcolor=look.pale(look.STRATEGY), line={"color": look.STRATEGY, "width": 0.4},
            connectgaps=False,
        )  # fmt: skip
    name, band = say(lang, "rolling_line", n=part.window), say(lang, "rolling_band")
    look.line(fig, part.dates, part.value, name, look.STRATEGY, "solid", 2.0)
    key = [Key(name, look.STRATEGY, "solid", (2,)), Key(band, look.STRATEGY, "band", (0, 1))]
    if part.whole is not None:
        ends = [str(part.dates[0].astype("datetime64[D]")), str(part.dates[-1].astype("datetime64[D]"))]
        whole = say(lang, "whole_test")
        fig.add_scatter(x=ends, y=[part.whole] * 2, name=whole, mode="lines",
                        line={"color": look.INK, "width": 1.3, "dash": "dash"})  # fmt: skip
        key.append(Key(whole, look.INK, "dash", (3,), number(part.whole)))
    look.frame(fig, 300, say(lang, "x_rolling"), zero=True)
    caption = say(lang, "c_rolling", n=part.window, whole=DASH if part.whole is None else number(part.whole))
    return Chart("rolling", title, caption, fig, tuple(key), rolling_table(part, lang), basis=line)


def rolling_title(part: Rolling, lang: Language) -> str:
    """The range of the rolling ratio, and how often its band leaves out 0."""
    known = np.isfinite(part.value)
    if not known.any():
        return say(lang, "f_rolling_none")
    outside = float(((part.lo > 0) | (part.hi < 0))[known].mean())
    low, high = (number(f(part.value[known]), 2, True) for f in (np.min, np.max))
    return say(lang, "f_rolling", n=part.window, low=low, high=high, share=percent(outside, 0))


def rolling_table(part: Rolling, lang: Language) -> Table:
    """Lowest, highest and last ratio of the windows that end in each year, the last one with its band."""
    years, rows = part.dates.astype("datetime64[Y]").astype(int) + 1970, []
    for year in np.unique(years):
        at = np.flatnonzero((years == year) & np.isfinite(part.value))
        if len(at):
            v, k = part.value[at], int(at[-1])
            end = Estimate(float(part.value[k]), float(part.lo[k]), float(part.hi[k]))
            rows.append(Row((Cell(str(year)), Cell(number(v.min(), 2, True)), Cell(number(v.max(), 2, True)),
                             Cell(number(end.value, 2, True), interval(end)))))  # fmt: skip
    return Table(tuple(say(lang, k) for k in ("year", "range_low", "range_high", "at_end")), tuple(rows))


def state(row: RegimeRow, lang: Language) -> str:
    """Name of a state of the market."""
    return say(lang, f"k_{row.kind}", name=say(lang, f"r_{row.name}"))


def regimes(part: Regimes, linked: tuple[Linked, ...], lang: Language) -> Chart:
    """Mean net return of each state of the market as a dot with its interval."""
    import plotly.graph_objects as go

    title, table = regimes_title(part, lang), regimes_table(part, linked, lang)
    caption = say(lang, "c_regimes", window=part.window, trend=part.trend_window)
    line = basis_line(dataclasses.replace(part.basis, compounding="simple mean"), lang)  # the table's net says its own
    if len(_known(part)) < 2:
        return Chart("regimes", title, caption, None, (), table, basis=line)
    fig = go.Figure()
    rows = part.rows[::-1]
    for at, row in enumerate(rows):
        e = estimate(row.mean)
        bounds = {"type": "data", "symmetric": False, "array": [100 * (e.hi - e.value)],
                  "arrayminus": [100 * (e.value - e.lo)], "thickness": 1.8, "width": 0}  # fmt: skip
        fig.add_scatter(
            x=look.finite(np.array([100 * e.value])), y=[at], mode="markers", name=state(row, lang), showlegend=False,
            marker={"color": look.STRATEGY if row.name != UNKNOWN else look.MUTED, "size": 9},
            error_x=bounds if np.isfinite([e.lo, e.hi]).all() else None,
        )  # fmt: skip
    look.frame(fig, 74 + 30 * len(rows), "", hover="closest")
    look.numbers(fig, say(lang, "x_regimes"))
    fig.update_xaxes(showgrid=True, gridcolor=look.RULE, zeroline=True, zerolinecolor=look.INK, zerolinewidth=1)
    fig.update_yaxes(tickvals=list(range(len(rows))), ticktext=[state(r, lang) for r in rows], showgrid=False,
                     range=[-0.6, len(rows) - 0.4])  # fmt: skip
    return Chart("regimes", title, caption, fig, (), table, basis=line)


def regimes_title(part: Regimes, lang: Language) -> str:
    """The states in which it earned most and least, and how many intervals leave out 0."""
    known = _known(part)
    if len(known) < 2:
        return say(lang, "f_regimes_none")
    best, worst = (pick(known, key=lambda p: p[1].estimate) for pick in (max, min))
    return say(
        lang, "f_regimes", best=state(best[0], lang), high=percent(best[1].estimate, 1, True),
        worst=state(worst[0], lang), low=percent(worst[1].estimate, 1, True),
        k=sum(m.lo > 0 or m.hi < 0 for _, m in known), m=len(known),
    )  # fmt: skip


def _known(part: Regimes) -> list[tuple[RegimeRow, Interval]]:
    """The states that have an interval, with it."""
    return [(r, r.mean) for r in part.rows if r.mean is not None and r.name != UNKNOWN]


def regimes_table(part: Regimes, linked: tuple[Linked, ...], lang: Language) -> Table:
    """One row per state: its bars, what was earned on them, and the parts of it."""
    parts = {r.label: r.parts for r in linked}
    shown = [p for p in ("selection", "cost") if linked and p in linked[0].parts]
    rows = []
    for r in part.rows:
        mean, ratio = estimate(r.mean), estimate(r.sharpe)
        own = parts.get(f"{r.kind}: {r.name}", {})
        rows.append(Row((
            Cell(state(r, lang)), Cell(str(r.bars)), Cell(percent(r.share, 0)), tables.gain(r.net),
            tables.gain(r.market), *(Cell(percent(own.get(p, float("nan")), 1, True)) for p in shown),
            Cell(percent(mean.value, 1, True), interval(mean, True)),
            Cell(number(ratio.value, 2, True), interval(ratio)), Cell(percent(r.max_drawdown)),
        )))  # fmt: skip
    head = [say(lang, k) for k in ("regime", "bars", "share_bars", "regime_net", "regime_market")]
    head += [say(lang, f"part_{p}") for p in shown]
    return Table((*head, *(say(lang, k) for k in ("mean_year", "sharpe", "drawdown"))), tuple(rows))


def falls_table(part: Drawdowns, lang: Language) -> Table:
    """The deepest falls with the dates and bars of their way down and back."""
    rows = []
    for f in part.rows:
        back = say(lang, "not_yet") if f.recovery is None else str(f.recovery.astype("datetime64[D]"))
        rows.append(Row((
            Cell(str(f.peak.astype("datetime64[D]"))), Cell(str(f.trough.astype("datetime64[D]"))), Cell(back),
            tables.gain(f.depth), Cell(str(f.down)), Cell(DASH if f.up is None else str(f.up)), Cell(str(f.bars)),
        )))  # fmt: skip
    head = ("high", "low", "end", "depth", "down", "up", "sessions")
    return Table(tuple(say(lang, k) for k in head), tuple(rows), words=3)
