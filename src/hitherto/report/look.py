"""The one look of every chart: colours and what they mean, fonts, axes, labels.

Okabe and Ito's palette, told apart by colour-blind readers: the strategy, the benchmark, other models, naive baselines
and the hindsight band each have one colour everywhere; vermilion and green only say gain and loss.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hitherto.report.content import Dates, Floats
from hitherto.report.tables import Table
from hitherto.report.thin import thin
from hitherto.report.words import clean

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

STRATEGY, BENCHMARK, MODEL, BASELINE, HINDSIGHT = "#0072B2", "#1A1A1A", "#CC79A7", "#8A8A86", "#E69F00"
RED, GREEN = "#D55E00", "#009E73"
ROLE_COLOURS = {"strategy": STRATEGY, "benchmark": BENCHMARK, "model": MODEL, "baseline": BASELINE}
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
INK, MUTED, RULE, PAPER = "#33322E", "#6B6963", "#E4E1DA", "#FFFFFF"
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", sans-serif'  # noqa: E501
BLUES = [[0, "#FFFFFF"], [0.5, "#7FB8D8"], [1, "#00507D"]]
DIVERGING = [[0, "#8E3B6E"], [0.25, "#CC9CB9"], [0.5, "#FAFAF8"], [0.75, "#7FB8D8"], [1, "#00507D"]]


@dataclass(frozen=True)
class Key:
    """One entry of a chart's key; ``traces``: the lines that it shows and hides; ``note``: where it ended."""

    name: str
    colour: str
    style: str = "solid"
    traces: tuple[int, ...] = ()
    note: str = ""


@dataclass(frozen=True, eq=False)
class Chart:
    """A figure with everything around it: ``title`` states the finding, ``caption`` how it was computed.

    figure: None when there is nothing to draw, only a finding and a table. shown: the table stands open below it.
    basis: bars a year, risk-free rate, compounding and costs of its figures, as one line.
    """

    name: str
    title: str
    caption: str
    figure: Figure | None
    key: tuple[Key, ...]
    table: Table
    shown: bool = False
    basis: str = ""


def label(text: str, most: int = 0) -> str:
    """Foreign text as plotly must get it: escaped (its labels read HTML), cleaned, cut to ``most`` characters."""
    plain = clean(text).replace("\n", " ")
    if most and len(plain) > most:
        plain = plain[: most - 1] + "…"
    return html.escape(plain, quote=False)


def rise_and_fall(rising_red: bool) -> tuple[str, str]:
    """Colours of a gain and of a loss."""
    return (RED, GREEN) if rising_red else (GREEN, RED)


def line(fig: Figure, dates: Dates, values: Floats, name: str, colour: str, dash: str, width: float,
          positive: bool = False, **more: Any) -> None:  # fmt: skip
    """One thinned line; what a log axis cannot show is a gap."""
    values = above_zero(values) if positive else values
    rows = thin(values)
    fig.add_scatter(
        x=days(dates[rows]), y=finite(values[rows]), name=label(name, 40), mode="lines", connectgaps=False,
        line={"color": colour, "width": width, "dash": dash, "simplify": False}, **more,
    )  # fmt: skip


def frame(fig: Figure, height: int, unit: str, log: bool = False, zero: bool = False, hover: Any = "x unified") -> None:
    """The one look of every chart: no box, faint horizontal rules, the unit above the value axis."""
    fig.update_layout(
        template="none", height=height, autosize=True, showlegend=False, hovermode=hover, dragmode="zoom",
        font={"family": FONT, "size": 12, "color": MUTED}, paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 10, "r": 10, "t": 30, "b": 30}, separators=".,",
        hoverlabel={"bgcolor": PAPER, "bordercolor": RULE, "font": {"color": INK, "family": FONT}, "namelength": -1},
    )  # fmt: skip
    fig.update_xaxes(
        showgrid=False, zeroline=False, showline=True, linecolor="#B9B6AE", ticks="outside", ticklen=4,
        tickcolor="#B9B6AE", automargin=True, nticks=8, tickangle=0, hoverformat="%Y-%m-%d",
    )  # fmt: skip
    fig.update_yaxes(
        gridcolor=RULE, zeroline=zero, zerolinecolor=MUTED, zerolinewidth=1, automargin=True, nticks=6,
        type="log" if log else "linear",
    )  # fmt: skip
    if unit:
        write_unit(fig, unit, 1.0)


def write_unit(fig: Figure, text: str, y: float) -> None:
    """Write the unit of a value axis above it, where it is read without turning the head."""
    fig.add_annotation(
        text=text, x=0, y=y, xref="paper", yref="paper", xanchor="left", yanchor="bottom", yshift=8, showarrow=False,
        align="left", font={"size": 12, "color": MUTED},
    )  # fmt: skip


def colours(scale: list[list[Any]], span: tuple[float, float], title: str, x: float) -> dict[str, Any]:
    """A colour scale with a short bar below the chart."""
    bar = {
        "orientation": "h", "len": 0.44, "x": x, "xanchor": "left", "y": 0, "yref": "container", "yanchor": "bottom",
        "thickness": 8, "outlinewidth": 0, "nticks": 4, "title": {"text": title, "side": "top", "font": {"size": 12}},
        "ypad": 2,
    }  # fmt: skip
    return {"colorscale": scale, "cmin": span[0], "cmax": span[1], "colorbar": bar}


def numbers(fig: Figure, title: str, values: list[float] | None = None, text: list[str] | None = None,
            log: bool = False) -> None:  # fmt: skip
    """Make the x axis one of numbers, marked at ``values``."""
    fig.update_xaxes(title={"text": title, "font": {"size": 12}}, tickformat=None, hoverformat=None)
    fig.update_xaxes(type="log" if log else "linear")
    if values is not None:
        fig.update_xaxes(tickvals=values, ticktext=text)


def year_axis(fig: Figure, years: Sequence[int]) -> None:
    """Make the x axis one of calendar years; one or two of them do not fill the chart with their bars."""
    aside = 0.6 + max(0, 4 - len(years)) / 2
    ticks = list(years)[:: max(1, -(-len(years) // 10))]
    fig.update_xaxes(
        type="linear", tickvals=ticks, tickformat="d", hoverformat="d", range=[min(years) - aside, max(years) + aside]
    )


def is_gate(name: str) -> bool:
    """Whether the name is that of a gate (0 to 1) rather than a state."""
    return name.lower().removesuffix("_gate").removesuffix(" gate") in ("input", "forget", "output", "reset", "update")


def days(dates: Dates) -> list[str]:
    """Dates as plotly reads them; with the time of day where they have one."""
    return [str(d) for d in np.asarray(dates, "datetime64[D]" if dates.dtype == "datetime64[D]" else "datetime64[m]")]


def mean(values: Floats) -> float:
    """Mean of the finite entries; NaN when there is none."""
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")


def finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Infinities become gaps, as NaN is."""
    return np.where(np.isfinite(values), values, np.nan)


def above_zero(values: Floats) -> Floats:
    """What a log axis can show; the rest is a gap."""
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)


def pale(colour: str) -> str:
    """The colour as a tint for areas."""
    r, g, b = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({r},{g},{b},0.16)"


def blend(colour: str, share: float) -> str:
    """The colour mixed with white, ``share`` of it kept."""
    return "#" + "".join(f"{round(255 + share * (int(colour[i : i + 2], 16) - 255)):02X}" for i in (1, 3, 5))
