"""How firm the result is: costs and delay, capacity, refused orders, calendar years; parts, findings, tables, charts.

The parts are plain frozen dataclasses like those of ``content``: fractions are plain fractions, NaN means "not known".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hitherto.report import look, tables
from hitherto.report.content import NAN, Estimate, Language, ReportContent
from hitherto.report.look import Chart, Key
from hitherto.report.tables import Cell, Row, Table
from hitherto.report.words import WORDS, amount, interval, number, percent, say

UNKNOWN = Estimate(NAN)
IN_PART = "filled in part"
SHORT = 20  # sessions: the title does not count a shorter year


@dataclass(frozen=True)
class StressRow:
    """The strategy at ``times`` the costs, filled ``delay`` bars later than it was.

    net: compound annual net return. sharpe: annual, net. difference: to the book as traded, fraction a year.
    """

    times: float
    delay: int
    net: float
    sharpe: Estimate = UNKNOWN
    max_drawdown: float = NAN
    difference: Estimate = UNKNOWN


@dataclass(frozen=True)
class Stress:
    """The same decisions under other costs and delays; times 1 with delay 0 is the book as traded.

    breakeven: the multiple of the costs at which the net return is 0; inf = beyond the largest one tried, NaN = it
    loses even free of costs.
    """

    rows: tuple[StressRow, ...]
    breakeven: float = NAN
    caption: str = ""

    def net(self, times: float, delay: int = 0) -> float:
        """Net return of one row; NaN when it was not tried."""
        return next((r.net for r in self.rows if (r.times, r.delay) == (times, delay)), NAN)


@dataclass(frozen=True)
class CapacityRow:
    """The strategy at one capital (currency): compound annual net return, and the share of orders that the cap cut."""

    capital: float
    net: float
    cut: float


@dataclass(frozen=True)
class Capacity:
    """Net return against capital under a volume cap (share of a bar's volume) and square-root impact.

    base: net return as traded, without either. half: capital at which half of it is gone; inf = beyond the largest
    tried, 0 = below the least, NaN = there was nothing to halve. not_assessed: why there are no rows, such as
    "no volume".
    """

    rows: tuple[CapacityRow, ...] = ()
    half: float = NAN
    base: float = NAN
    cap: float = NAN
    impact: float = NAN
    not_assessed: str = ""
    caption: str = ""


@dataclass(frozen=True)
class OrderRow:
    """What became of some orders: "filled", "filled in part" or a reason of refusal.

    buys, sells: counts. buy_value, sell_value: shares ordered x last price at the decision, in currency. buy_undone,
    sell_undone: the part of it that was not traded.
    """

    reason: str
    buys: int
    sells: int
    buy_value: float
    sell_value: float
    buy_undone: float = 0.0
    sell_undone: float = 0.0


@dataclass(frozen=True)
class Orders:
    """All orders of the strategy by outcome; turnover (one-way, times a year) and cost (fraction a year)."""

    rows: tuple[OrderRow, ...]
    turnover: float = NAN
    cost: float = NAN
    caption: str = ""


@dataclass(frozen=True)
class PeriodRow:
    """One calendar year: fractions of that year, not annualised; the Sharpe ratio is."""

    year: int
    sessions: int
    net: float
    excess: float = NAN
    sharpe: Estimate = UNKNOWN
    max_drawdown: float = NAN
    turnover: float = NAN
    cost: float = NAN


@dataclass(frozen=True)
class Periods:
    """The strategy by calendar year; excess is its net return less that of equal weight."""

    rows: tuple[PeriodRow, ...]
    caption: str = ""


def charts(content: ReportContent) -> list[Chart]:
    """Every chart of the section that the content has data for."""
    made: list[Chart] = []
    if content.stress is not None and content.stress.rows:
        made.append(stress(content.stress, content.language))
    if content.capacity is not None and (content.capacity.rows or content.capacity.not_assessed):
        made.append(capacity(content.capacity, content.language))
    if content.orders is not None and content.orders.rows:
        made.append(orders(content.orders, content.language))
    if content.periods is not None and content.periods.rows:
        made.append(periods(content.periods, content))
    return made


def _bars(delay: int, lang: Language) -> str:
    return say(lang, "delay_0") if delay == 0 else say(lang, "delay_1" if delay == 1 else "delay_n", n=delay)


def stress_title(part: Stress, lang: Language) -> str:
    """Where the costs eat the whole return, and what the longest delay leaves of it."""
    net, free = part.net(1.0), part.net(0.0)
    if math.isnan(net):
        return say(lang, "f_stress_unknown")
    said = {"net": percent(net, 1, sign=True), "x": _multiple(part.breakeven)}
    if math.isnan(part.breakeven):
        return say(lang, "f_stress_never", free=percent(free, 1, sign=True), **said)
    longest, most = max(r.delay for r in part.rows), max(r.times for r in part.rows)
    late = percent(part.net(1.0, longest), 1, sign=True)
    key = "f_stress_beyond" if part.breakeven == math.inf else "f_stress_under" if net < 0 else "f_stress"
    dear = percent(part.net(most), 1, sign=True)
    return say(lang, key, late=late, bars=_bars(longest, lang).lstrip("+"), dear=dear, most=f"{most:g}", **said)


def stress_table(part: Stress, lang: Language) -> Table:
    """One row per multiple and delay, the book as traded marked."""
    rows = []
    for r in part.rows:
        mine = r.times == 1 and r.delay == 0
        gap = Cell("") if mine else Cell(percent(r.difference.value, 1, sign=True), interval(r.difference, True))
        rows.append(Row((
            Cell(f"× {r.times:g}"), Cell(_bars(r.delay, lang)), tables.gain(r.net),
            Cell(number(r.sharpe.value, 2, sign=True), interval(r.sharpe)), Cell(percent(r.max_drawdown)), gap,
        ), "strategy" if mine else ""))  # fmt: skip
    head = ("times", "delay", "net_return", "sharpe", "drawdown", "difference")
    return Table(tuple(say(lang, k) for k in head), tuple(rows), words=2)


def stress(part: Stress, lang: Language) -> Chart:
    """Net return against the multiple of the costs, one line per delay."""
    import plotly.graph_objects as go

    fig, key = go.Figure(), []
    for at, delay in enumerate(sorted({r.delay for r in part.rows})):
        mine = sorted((r.times, r.net) for r in part.rows if r.delay == delay)
        x, y = (np.array(column, float) for column in zip(*mine, strict=True))
        dash, name = look.DASHES[at % len(look.DASHES)], _bars(delay, lang)
        fig.add_scatter(
            x=x, y=look.finite(100 * y), name=name, mode="lines+markers", connectgaps=False,
            line={"color": look.STRATEGY, "width": 1.4 if delay else 2.4, "dash": dash},
            marker={"color": look.STRATEGY, "size": 5 if delay else 8},
        )  # fmt: skip
        key.append(Key(name, look.STRATEGY, dash, (at,)))
    look.frame(fig, 260, say(lang, "x_stress"), zero=True)
    times = sorted({r.times for r in part.rows})
    look.numbers(fig, say(lang, "x_times"), times, [f"× {t:g}" for t in times])
    if 0 < part.breakeven < math.inf:
        fig.add_scatter(
            x=[part.breakeven], y=[0.0], mode="markers+text", name=say(lang, "breakeven"), showlegend=False,
            text=[f"× {_multiple(part.breakeven)}"],
            textposition=_beside_the_lines(part, times[-1]),
            marker={"color": look.INK, "size": 8, "symbol": "x-thin", "line": {"color": look.INK, "width": 2}},
        )  # fmt: skip
    title, caption = stress_title(part, lang), part.caption or say(lang, "c_stress")
    if 0 < part.breakeven < math.inf:
        caption = say(lang, "c_cross", caption=caption)
    return Chart("stress", title, caption, fig, tuple(key), stress_table(part, lang))


def _beside_the_lines(part: Stress, most: float) -> str:
    """Where the break-even is written: away from the lines of the delays and the edge of the chart."""
    late = max((r.delay for r in part.rows), default=0)
    if part.net(1.0, late) > part.net(1.0):
        return "bottom left"
    return "top left" if part.breakeven > 0.85 * most else "top right"


def capacity_title(part: Capacity, lang: Language) -> str:
    """The capital at which half of the net return is gone."""
    if part.not_assessed:
        return say(lang, "f_capacity_not", why=_known(part.not_assessed.replace(" ", "_"), part.not_assessed, lang))
    if math.isnan(part.half):
        return say(lang, "f_capacity_none", net=percent(part.base, 1, sign=True))
    if part.half == math.inf:
        return say(lang, "f_capacity_beyond", most=amount(part.rows[-1].capital, lang))
    if part.half <= 0:
        return say(lang, "f_capacity_below", least=amount(part.rows[0].capital, lang))
    return say(lang, "f_capacity", half=amount(part.half, lang))


def capacity(part: Capacity, lang: Language) -> Chart:
    """Net return against capital, beside the return without cap and impact; only a sentence when not assessed."""
    import plotly.graph_objects as go

    head = tuple(say(lang, k) for k in ("capital", "net_return", "cut"))
    rows = [Row((Cell(amount(r.capital, lang)), tables.gain(r.net), Cell(percent(r.cut)))) for r in part.rows]
    table = Table(head, tuple(rows))
    title = capacity_title(part, lang)
    if not part.rows:
        return Chart("capacity", title, part.caption, None, (), table)
    fig = go.Figure()
    ends = [part.rows[0].capital, part.rows[-1].capital]
    fig.add_scatter(
        x=[r.capital for r in part.rows], y=look.finite(np.array([100 * r.net for r in part.rows])),
        name=say(lang, "strategy"), mode="lines+markers", line={"color": look.STRATEGY, "width": 2.4},
        marker={"size": 8},
    )  # fmt: skip
    key = [Key(say(lang, "strategy"), look.STRATEGY, "solid", (0,))]
    levels = (("as_traded", part.base, look.MUTED, "dot"), ("half_line", part.base / 2, look.MUTED, "dash"))
    for at, (name, level, colour, dash) in enumerate(levels[: 2 if part.base > 0 else 1], start=1):
        key.append(Key(say(lang, name), colour, dash, (at,)))
        fig.add_scatter(
            x=ends, y=look.finite(np.full(2, 100 * level)), name=say(lang, name), mode="lines",
            line={"color": colour, "width": 1.3, "dash": dash},
        )  # fmt: skip
    look.frame(fig, 240, say(lang, "x_stress"), zero=True)
    capitals = [r.capital for r in part.rows]
    look.numbers(fig, say(lang, "x_capital"), capitals, [amount(c, lang) for c in capitals], log=True)
    caption = part.caption or say(
        lang, "c_capacity", cap=percent(part.cap, 0), impact=number(part.impact, 1), net=percent(part.base, 1, True)
    )
    return Chart("capacity", title, caption, fig, tuple(key), table)


def orders_title(part: Orders, lang: Language) -> str:
    """Share of the ordered value that was not traded, and the reason behind most of it."""
    total, undone = _total(part), sum(r.buy_undone + r.sell_undone for r in part.rows)
    if total <= 0:
        return say(lang, "f_orders_none")
    if undone <= 0:
        return say(lang, "f_orders_all")
    worst = max(part.rows, key=lambda r: r.buy_undone + r.sell_undone)
    most = (worst.buy_undone + worst.sell_undone) / total
    if worst.reason == IN_PART:
        return say(lang, "f_orders_part", share=_share(undone / total), most=_share(most))
    reason = _known(f"o_{worst.reason}", worst.reason, lang)
    return say(lang, "f_orders", share=_share(undone / total), reason=reason, most=_share(most))


def orders_table(part: Orders, lang: Language) -> Table:
    """One row per outcome: counts, shares of all orders and of their value, and what was not traded."""
    count, total = sum(r.buys + r.sells for r in part.rows), _total(part)
    rows = []
    for r in part.rows:
        value, undone = r.buy_value + r.sell_value, r.buy_undone + r.sell_undone
        rows.append(Row(tuple(Cell(text) for text in (
            _known(f"o_{r.reason}", r.reason, lang), f"{r.buys:,}", f"{r.sells:,}",
            percent((r.buys + r.sells) / count if count else NAN, 2), percent(value / total if total else NAN, 2),
            percent(undone / total if total else NAN, 2),
        ))))  # fmt: skip
    head = ("reason", "buys", "sells", "of_orders", "of_value", "undone")
    return Table(tuple(say(lang, k) for k in head), tuple(rows))


def orders(part: Orders, lang: Language) -> Chart:
    """Value that was not traded, by reason and side; no picture when every order was filled whole."""
    import plotly.graph_objects as go

    count, total = sum(r.buys + r.sells for r in part.rows), _total(part)
    said = {"n": f"{count:,}", "turnover": number(part.turnover, 1), "cost": percent(part.cost, 2)}
    caption = part.caption or say(lang, "c_orders", **said)
    title, table = orders_title(part, lang), orders_table(part, lang)
    lacking = [r for r in part.rows if r.buy_undone + r.sell_undone > 0][::-1]
    if not lacking:
        return Chart("orders", title, caption, None, (), table, shown=True)
    fig, key = go.Figure(), []
    for at, (name, colour) in enumerate((("buys", "#6B6963"), ("sells", "#C9C6BE"))):
        part_of = [r.buy_undone if name == "buys" else r.sell_undone for r in lacking]
        fig.add_bar(
            x=[100 * v / total for v in part_of], y=list(range(len(lacking))), orientation="h", name=say(lang, name),
            marker={"color": colour, "line": {"width": 0}},
        )  # fmt: skip
        key.append(Key(say(lang, name), colour, "block", (at,)))
    look.frame(fig, 84 + 28 * len(lacking), "", hover="closest")
    fig.update_layout(barmode="stack", bargap=0.35)
    look.numbers(fig, say(lang, "x_orders"))
    fig.update_xaxes(showgrid=True, gridcolor=look.RULE)
    names = [look.label(_known(f"o_{r.reason}", r.reason, lang), 24) for r in lacking]
    fig.update_yaxes(tickvals=list(range(len(lacking))), ticktext=names, showgrid=False, ticklabelstandoff=6)
    return Chart("orders", title, caption, fig, tuple(key), table, shown=True)


def periods_title(part: Periods, lang: Language) -> str:
    """In how many years the strategy was ahead, and its worst."""
    long = [r for r in part.rows if r.sessions >= SHORT] or list(part.rows)
    beside = _beside(part)
    values = [(r.year, r.excess if beside else r.net) for r in long]
    year, worst = min(values, key=lambda pair: pair[1])
    said = {"year": year, "worst": percent(worst, 1, sign=True)}
    if beside and len(values) == 1:
        return say(lang, "f_periods_one", **said)
    key = "f_periods" if beside else "f_periods_alone"
    return say(lang, key, k=sum(v > 0 for _, v in values), m=len(values), **said)


def periods_table(part: Periods, lang: Language) -> Table:
    """One row per calendar year."""
    rows = [
        Row((
            Cell(str(r.year)), Cell(str(r.sessions)), tables.gain(r.net), tables.gain(r.excess),
            Cell(number(r.sharpe.value, 2, sign=True), interval(r.sharpe)), Cell(percent(r.max_drawdown)),
            Cell(number(r.turnover, 1)), Cell(percent(r.cost, 2)),
        ))
        for r in part.rows
    ]  # fmt: skip
    head = ("year", "days", "year_return", "excess", "sharpe", "drawdown", "turnover_year", "cost_year")
    return Table(tuple(say(lang, k) for k in head), tuple(rows))


def periods(part: Periods, content: ReportContent) -> Chart:
    """Each year's net return above equal weight, coloured as gain or loss; the net return itself without a rival."""
    import plotly.graph_objects as go

    lang, beside = content.language, _beside(part)
    up, down = look.rise_and_fall(content.rising_red)
    values = np.array([r.excess if beside else r.net for r in part.rows])
    fig = go.Figure()
    name = say(lang, "excess" if beside else "year_return")
    fig.add_bar(
        x=[r.year for r in part.rows], y=look.finite(100 * values), name=name,
        marker={"color": [up if v >= 0 else down for v in np.nan_to_num(values)], "line": {"width": 0}},
    )  # fmt: skip
    look.frame(fig, 230, say(lang, "x_excess" if beside else "x_gain"), zero=True)
    fig.update_layout(bargap=0.45)
    look.year_axis(fig, [r.year for r in part.rows])
    own = say(lang, "c_periods", n=max(r.sessions for r in part.rows), short=SHORT) if beside else ""
    own = own or say(lang, "c_periods_alone", short=SHORT)
    title, table = periods_title(part, lang), periods_table(part, lang)
    return Chart("periods", title, part.caption or own, fig, (), table, shown=True)


def _multiple(x: float) -> str:
    """A multiple of the costs; one below 1 is never rounded up to 1."""
    return number(x, 1) if x >= 1 or math.isnan(x) else number(math.floor(100 * x) / 100)


def _beside(part: Periods) -> bool:
    """Whether every year has a rival to be measured against."""
    return not any(math.isnan(r.excess) for r in part.rows)


def _total(part: Orders) -> float:
    return sum(r.buy_value + r.sell_value for r in part.rows)


def _share(value: float) -> str:
    """A share with one digit, two when it is small: 0.04 % is not nothing."""
    return percent(value, 1 if value >= 0.001 else 3)


def _known(key: str, text: str, lang: Language) -> str:
    """The fixed phrase when there is one, else the text as it is."""
    return say(lang, key) if key in WORDS else text
