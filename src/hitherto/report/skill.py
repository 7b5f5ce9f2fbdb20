"""What the scores are worth by themselves: decay of the IC, returns by quantile, autocorrelation of the ranks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hitherto.evaluate.signals import Autocorrelation, Decay, ICRow, Quantiles
from hitherto.report import look, tables
from hitherto.report.content import Estimate, Language
from hitherto.report.explained import Explanation, absent, basis_line, bps, estimate, verb
from hitherto.report.look import Chart, Key
from hitherto.report.tables import Cell, Row, Table
from hitherto.report.words import interval, number, percent, say

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

PALE = "#C9C6BE"


def charts(x: Explanation, lang: Language) -> list[Chart]:
    """Every chart of the section that there is data for; for the rest a title that says why not."""
    made = []
    if x.decay is not None and x.decay.horizons:
        made.append(decay(x.decay, lang))
    if x.quantiles is not None and x.quantiles.rows:
        made.append(quantiles(x.quantiles, lang))
    if x.autocorrelation is not None and x.autocorrelation.rows:
        made.append(autocorrelation(x.autocorrelation, lang))
    for name in ("decay", "quantiles", "autocorrelation"):
        if getattr(x, name) is None and name in x.not_assessed:
            made.append(absent(name, x.not_assessed[name], lang))
    return made


def bars(n: int, lang: Language) -> str:
    """A number of bars in words."""
    return say(lang, "bar_1") if n == 1 else say(lang, "bar_n", n=n)


def dots(fig: Figure, x: Sequence[float], values: Sequence[Estimate], name: str, colour: str, *, hollow: bool = False,
         joined: bool = True, times: float = 1.0) -> None:  # fmt: skip
    """Dots with their intervals; a value without bounds stands alone."""
    e = np.array([[v.value, v.lo, v.hi] for v in values], float) * times
    known = np.isfinite(e).all(axis=1)
    up, down = (np.where(known, gap, 0.0) for gap in (e[:, 2] - e[:, 0], e[:, 0] - e[:, 1]))
    fig.add_scatter(
        x=list(x), y=look.finite(e[:, 0]), name=name, mode="lines+markers" if joined else "markers",
        line={"color": colour, "width": 1.2, "dash": "dot" if hollow else "solid"}, connectgaps=False,
        marker={"color": look.PAPER if hollow else colour, "size": 8, "line": {"color": colour, "width": 1.6}},
        error_y={"type": "data", "symmetric": False, "array": up, "arrayminus": down, "thickness": 1.4, "width": 0,
                 "color": colour},
    )  # fmt: skip


def decay(part: Decay, lang: Language) -> Chart:
    """RankIC by horizon and by lag, one place for each number of bars."""
    import plotly.graph_objects as go

    title, table, line = decay_title(part, lang), decay_table(part, lang), basis_line(part.basis, lang)
    if all(r.rank_ic is None for r in (*part.horizons, *part.lags)):
        return Chart("decay", title, "", None, (), table, basis=line)
    fig = go.Figure()
    every = sorted({r.bars for r in (*part.horizons, *part.lags)})
    place = {n: i for i, n in enumerate(every)}
    for rows, name, hollow, aside in ((part.horizons, "by_horizon", False, -0.1), (part.lags, "by_lag", True, 0.1)):
        at = [place[r.bars] + aside for r in rows]
        colour = look.MUTED if hollow else look.STRATEGY
        dots(fig, at, [estimate(r.rank_ic) for r in rows], say(lang, name), colour, hollow=hollow)
    key = (
        Key(say(lang, "by_horizon"), look.STRATEGY, "solid", (0,)),
        Key(say(lang, "by_lag"), look.MUTED, "dot", (1,)),
    )
    look.frame(fig, 290, say(lang, "x_decay"), zero=True, hover="closest")
    look.numbers(fig, say(lang, "x_bars"), list(range(len(every))), [str(n) for n in every])
    fig.update_xaxes(range=[-0.4, len(every) - 0.6])
    return Chart("decay", title, say(lang, "c_decay"), fig, key, table, basis=line)


def decay_title(part: Decay, lang: Language) -> str:
    """RankIC at the shortest and the longest horizon, how many intervals leave out 0, and the half-life."""
    known = [(r.bars, r.rank_ic) for r in part.horizons if r.rank_ic is not None]
    if not known:
        return say(lang, "f_decay_none")
    (a, first), (b, last) = known[0], known[-1]
    half = ""
    if part.half_life is not None:
        far = part.half_life == math.inf
        half = say(lang, "f_decay_lasts" if far else "f_decay_half",
                   n=max(r.bars for r in part.lags) if far else number(part.half_life, 1))  # fmt: skip
    return say(
        lang, "f_decay", first=number(first.estimate, 3, True), a=bars(a, lang), last=number(last.estimate, 3, True),
        b=bars(b, lang), k=sum(i.lo > 0 or i.hi < 0 for _, i in known), m=len(known), half=half,
    )  # fmt: skip


def decay_table(part: Decay, lang: Language) -> Table:
    """IC and RankIC of every horizon, then of every lag."""
    rows = [_ic_row(say(lang, "span_horizon", n=r.bars), r) for r in part.horizons]
    rows += [_ic_row(say(lang, "span_lag", n=r.bars), r) for r in part.lags]
    return Table((say(lang, "over"), "IC", "RankIC", say(lang, "dates")), tuple(rows))


def _ic_row(label: str, r: ICRow) -> Row:
    ic, rank = estimate(r.ic), estimate(r.rank_ic)
    each = (Cell(number(e.value, 3, True), interval(e, digits=3)) for e in (ic, rank))
    return Row((Cell(label), *each, Cell(str(r.dates))))


def quantiles(part: Quantiles, lang: Language) -> Chart:
    """Mean return of each quantile before costs (pale) and after (blue), and that of the spread."""
    import plotly.graph_objects as go

    names = [*(str(r.quantile) for r in part.rows), say(lang, "q_spread")]
    title, table, line = quantiles_title(part, lang), quantiles_table(part, names, lang), basis_line(part.basis, lang)
    if part.spread_gross is None:
        return Chart("quantiles", title, "", None, (), table, basis=line)
    fig = go.Figure()
    gross = [*(estimate(r.gross) for r in part.rows), estimate(part.spread_gross)]
    net = [*(estimate(r.net) for r in part.rows), estimate(part.spread_net)]
    for at, (name, values, colour) in enumerate((("gross", gross, PALE), ("net", net, look.STRATEGY))):
        e = 100 * np.array([[v.value, v.lo, v.hi] for v in values])
        known = np.isfinite(e).all(axis=1)
        bounds = {"type": "data", "symmetric": False, "array": np.where(known, e[:, 2] - e[:, 0], 0),
                  "arrayminus": np.where(known, e[:, 0] - e[:, 1], 0), "thickness": 1.3, "width": 0,
                  "color": look.INK}  # fmt: skip
        fig.add_bar(x=list(range(len(names))), y=look.finite(e[:, 0]), name=say(lang, name), error_y=bounds,
                    marker={"color": colour, "line": {"width": 0}}, offsetgroup=str(at))  # fmt: skip
    key = (Key(say(lang, "gross"), PALE, "block", (0,)), Key(say(lang, "net"), look.STRATEGY, "block", (1,)))
    look.frame(fig, 300, say(lang, "x_quantiles"), zero=True, hover="closest")
    look.numbers(fig, say(lang, "x_quantile"), list(range(len(names))), names)
    fig.update_layout(barmode="group", bargap=0.35)
    caption = say(lang, "c_quantiles", q=len(part.rows), h=bars(part.horizon, lang), bps=bps(part.cost))
    return Chart("quantiles", title, caption, fig, key, table, basis=line)


def quantiles_title(part: Quantiles, lang: Language) -> str:
    """The spread between the highest and the lowest quantile, before and after costs."""
    gross, net = estimate(part.spread_gross), estimate(part.spread_net)
    if math.isnan(gross.value) or math.isnan(net.value):
        return say(lang, "f_quantiles_none")
    name = say(lang, f"q_{len(part.rows)}")
    return say(lang, "f_quantiles", name=name, gross=percent(gross.value, 1, True), verb=verb(gross, lang),
               net=percent(net.value, 1, True))  # fmt: skip


def quantiles_table(part: Quantiles, names: list[str], lang: Language) -> Table:
    """One row per quantile, the spread last."""
    rows = []
    for r, name in zip(part.rows, names, strict=False):
        cells = (_mean(e) for e in (r.gross, r.net, r.excess))
        rows.append(Row((Cell(name), *cells, Cell(percent(r.turnover, 0)), Cell(number(r.names, 1)))))
    rows.append(Row((Cell(names[-1]), _mean(part.spread_gross), _mean(part.spread_net), Cell(""), Cell(""), Cell("")),
                    "strategy"))  # fmt: skip
    head = ("quantile", "gross", "net", "above_all", "turned", "names")
    return Table(tuple(say(lang, k) for k in head), tuple(rows))


def _mean(i: object) -> Cell:
    e = estimate(i)  # type: ignore[arg-type]
    value = tables.gain(e.value)
    return Cell(value.text, interval(e, True), value.sign)


def autocorrelation(part: Autocorrelation, lang: Language) -> Chart:
    """Correlation of the ranks with those of some bars before, by lag."""
    import plotly.graph_objects as go

    rows, line = [], basis_line(part.basis, lang)
    for r in part.rows:
        e = estimate(r.value)
        rows.append(Row((Cell(str(r.lag)), Cell(number(e.value, 3), interval(e, digits=3)), Cell(str(r.dates)))))
    table = Table(tuple(say(lang, k) for k in ("lag", "corr", "dates")), tuple(rows))
    known = [(r.lag, r.value) for r in part.rows if r.value is not None]
    if not known:
        return Chart("autocorrelation", say(lang, "f_autocorrelation_none"), "", None, (), table, basis=line)
    fig, at = go.Figure(), list(range(len(part.rows)))
    dots(fig, at, [estimate(r.value) for r in part.rows], say(lang, "corr"), look.STRATEGY)
    look.frame(fig, 250, say(lang, "x_autocorrelation"), zero=True, hover="closest")
    look.numbers(fig, say(lang, "x_lag_bars"), list(at), [str(r.lag) for r in part.rows])
    fig.update_xaxes(range=[-0.4, len(at) - 0.6])
    (_, first), (n, last) = known[0], known[-1]
    title = say(lang, "f_autocorrelation", first=number(first.estimate), last=number(last.estimate), n=n)
    return Chart("autocorrelation", title, say(lang, "c_autocorrelation"), fig, (), table, basis=line)
