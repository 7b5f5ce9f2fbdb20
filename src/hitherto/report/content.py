"""What a report says, as plain frozen dataclasses: numbers, arrays and sentences, no library object and no layout.

Every part but the verdict and the audit may be None or empty; its section is then left out of the page. The two that
may not be left out say so when they are empty. Fractions are plain fractions (0.05 is 5 %), NaN means "not known" and
is printed as a dash, dates are ``datetime64[D]``. Letters: T dates, N names, L lookback, H hidden units, Y years.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import ConfigError

if TYPE_CHECKING:
    from hitherto.evaluate.periods import Basis
    from hitherto.report.explained import Explanation, Search
    from hitherto.report.robust import Capacity, Orders, Periods, Stress

Floats = NDArray[np.float64]
Dates = NDArray[np.datetime64]
Role = Literal["strategy", "benchmark", "baseline", "model"]
Language = Literal["en", "zh"]
Result = Literal["ok", "LEAK", "not assessed", "caught", "missed"]
NAN = float("nan")
GATE_LETTERS = {
    "i": "input", "f": "forget", "o": "output", "g": "candidate", "c": "cell", "h": "hidden",
    "r": "reset", "z": "update", "n": "candidate",
}  # fmt: skip


@dataclass(frozen=True)
class Estimate:
    """One number and its interval; NaN bounds mean that no interval was computed."""

    value: float
    lo: float = NAN
    hi: float = NAN


@dataclass(frozen=True)
class VerdictRow:
    """One question of the verdict; ``unit`` "fraction" is printed in per cent, "number" as it is."""

    question: str
    estimate: float
    lo: float
    hi: float
    answer: str
    unit: Literal["fraction", "number"] = "fraction"


@dataclass(frozen=True)
class Verdict:
    """The verdict in one sentence (``headline_zh``: the same in Chinese), the rows behind it and the stated rule."""

    headline: str
    headline_zh: str = ""
    rows: tuple[VerdictRow, ...] = ()
    rule: str = ""


@dataclass(frozen=True)
class KeyFigure:
    """One of the five figures at the top, as text: label, value, interval, and one sentence on how it is computed."""

    label: str
    value: str
    interval: str = ""
    help: str = ""


@dataclass(frozen=True)
class AuditRow:
    """One probe: what was tried, and whether it caught something.

    result: "ok" (looked, found nothing), "LEAK" (the study used the future), "not assessed"; for a leak planted on
    purpose "caught" (as it must be) or "missed" (one that had to be caught: the page says at the top that the audit is
    blind).
    """

    probe: str
    tried: str
    result: Result
    detail: str = ""


@dataclass(frozen=True)
class Audit:
    """What was tried to catch the study using the future.

    smallest: one sentence on the smallest leak the audit would have caught. canary_caught: whether the planted leak
    was found; None when none was planted. not_assessed: what no probe looked at.
    """

    rows: tuple[AuditRow, ...] = ()
    smallest: str = ""
    canary_caught: bool | None = None
    not_assessed: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class NullBand:
    """Wealth (T,) float64 of books of permuted scores: 2.5 %, 50 % and 97.5 % of them on each bar, start = 1.

    above: how many of the ``draws`` books end at or above the strategy.
    """

    low: Floats
    mid: Floats
    high: Floats
    above: int
    draws: int

    @property
    def p(self) -> float:
        """One-sided permutation p-value, (1 + above) / (1 + draws): Phipson & Smyth (2010), never 0."""
        return (1 + self.above) / (1 + self.draws)


@dataclass(frozen=True, eq=False)
class Equity:
    """Net wealth over time: name -> (T,) float64, and the role of each name (it decides the colour).

    undrawn: name -> end wealth of further books, which the title counts and the chart leaves out. null: the band of
    permuted scores behind the strategy, on the same dates.
    """

    dates: Dates
    curves: Mapping[str, Floats]
    roles: Mapping[str, Role]
    caption: str = ""
    undrawn: Mapping[str, float] = field(default_factory=dict)
    null: NullBand | None = None

    def __post_init__(self) -> None:
        _rows(self.dates, "equity", self.curves)
        if self.null is not None:
            _rows(self.dates, "null", {"low": self.null.low, "mid": self.null.mid, "high": self.null.high})
        for name in self.curves:
            if self.roles.get(name) not in ("strategy", "benchmark", "baseline", "model"):
                raise ConfigError(
                    f"report: curve '{name}' has the role {self.roles.get(name)!r}; "
                    "use strategy, benchmark, baseline or model"
                )

    @property
    def strategy(self) -> str | None:
        """Name of the first curve whose role is "strategy"."""
        return next((n for n in self.curves if self.roles[n] == "strategy"), None)


@dataclass(frozen=True, eq=False)
class Hindsight:
    """Perfect-foresight wealth (T,) float64, best and worst, under the same rules; drawn in log scale.

    capture: share of the way from worst to best; random: the same for random books. label: what may be chosen.
    """

    dates: Dates
    best: Floats
    worst: Floats
    label: str = ""
    capture: Estimate | None = None
    random: Estimate | None = None
    caption: str = ""

    def __post_init__(self) -> None:
        _rows(self.dates, "hindsight", {"best": self.best, "worst": self.worst})


@dataclass(frozen=True, eq=False)
class IcSeries:
    """Information coefficient of one model per date: daily and rolling mean over ``window`` dates, (T,) float64."""

    dates: Dates
    daily: Floats
    rolling: Floats
    window: int
    mean: Estimate
    model: str = ""
    kind: str = "RankIC"
    caption: str = ""

    def __post_init__(self) -> None:
        _rows(self.dates, "ic", {"daily": self.daily, "rolling": self.rolling})


@dataclass(frozen=True)
class LadderRow:
    """One model of the ladder. Returns, drawdown, turnover and cost are fractions per year (drawdown: below 0)."""

    model: str
    role: Role
    ic: Estimate = Estimate(NAN)
    rank_ic: Estimate = Estimate(NAN)
    icir: float = NAN
    net_return: float = NAN
    sharpe: Estimate = Estimate(NAN)
    max_drawdown: float = NAN
    turnover: float = NAN
    cost: float = NAN


@dataclass(frozen=True)
class Ladder:
    """Every model of the study beside the naive ones, the strategy included."""

    rows: tuple[LadderRow, ...]
    caption: str = ""


@dataclass(frozen=True, eq=False)
class Gates:
    """What the recurrent cell did in one window: gate name -> (L, H) float64, oldest bar first.

    ``decided``: the date of the window's last row. Names in use: input, forget, output, candidate, cell, hidden
    (LSTM); reset, update, candidate, hidden (GRU); the letters of the equations (i, f, o, g, c, h, r, z, n) are spelt
    out. Gates lie in [0, 1]; the others are drawn about 0.
    """

    decided: np.datetime64
    values: Mapping[str, Floats]
    caption: str = ""

    def __post_init__(self) -> None:
        shapes = {np.shape(v) for v in self.values.values()}
        if len(shapes) > 1 or any(len(s) != 2 for s in shapes):
            raise ConfigError(f"report: gates must share one (L, H) shape, got {sorted(shapes)}")
        object.__setattr__(self, "values", {GATE_LETTERS.get(n, n): v for n, v in self.values.items()})


@dataclass(frozen=True, eq=False)
class Example:
    """One asset's forecasts (T,) beside what happened (T,), both out of sample.

    ``same_unit``: True when the forecast is a return like ``actual`` (one axis), False for a scale-free score.
    """

    asset: str
    dates: Dates
    actual: Floats
    forecast: Floats
    model: str = ""
    horizon: str = ""
    same_unit: bool = True
    gates: Gates | None = None
    caption: str = ""

    def __post_init__(self) -> None:
        _rows(self.dates, "example", {"actual": self.actual, "forecast": self.forecast})


@dataclass(frozen=True, eq=False)
class WeightsHistory:
    """Decided weights (T, N) float64, fractions of capital; negative is short. May be given thinned in time.

    held: mean number of names held long and short; None counts the columns given.
    """

    dates: Dates
    names: tuple[str, ...]
    weights: Floats
    caption: str = ""
    held: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if np.shape(self.weights) != (len(self.dates), len(self.names)):
            raise ConfigError(
                f"report: weights have shape {np.shape(self.weights)}, "
                f"dates and names say {(len(self.dates), len(self.names))}"
            )


@dataclass(frozen=True, eq=False)
class Costs:
    """Wealth before and after costs (T,), and fees and slippage per calendar year (Y,) as fractions of equity.

    gross, net: the edge before and after costs, fractions per year, measured as ``basis`` says; the title is
    computed from these two.
    """

    dates: Dates
    gross_curve: Floats
    net_curve: Floats
    gross: float
    net: float
    basis: str = "annual return"
    years: tuple[int, ...] = ()
    fees: tuple[float, ...] = ()
    slippage: tuple[float, ...] = ()
    caption: str = ""

    def __post_init__(self) -> None:
        _rows(self.dates, "costs", {"gross": self.gross_curve, "net": self.net_curve})
        if not len(self.years) == len(self.fees) == len(self.slippage):
            raise ConfigError(
                f"report: costs name {len(self.years)} years, {len(self.fees)} fees and {len(self.slippage)} slippages"
            )


@dataclass(frozen=True)
class HindsightRow:
    """One period of a hindsight list: which asset, its gain (fraction), and the running wealth."""

    period: str
    asset: str
    gain: float
    wealth: float


@dataclass(frozen=True)
class HindsightList:
    """Best and worst single asset of each period, and the wealth that starts both lists."""

    best: tuple[HindsightRow, ...] = ()
    worst: tuple[HindsightRow, ...] = ()
    best_start: float = 1.0
    worst_start: float = 1.0
    caption: str = ""


@dataclass(frozen=True)
class Rules:
    """The market rules that the books traded under: digest of their records, and what had to be assumed.

    contradictions: closes outside the limits that these rules and assumptions imply, of ``closes`` looked at; None =
    not counted.
    """

    market: str
    digest: str
    assumptions: tuple[str, ...] = ()
    contradictions: int | None = None
    closes: int = 0


@dataclass(frozen=True)
class DataFinding:
    """One thing the data check saw."""

    code: str
    where: str
    text: str
    count: int = 1


@dataclass(frozen=True, eq=False)
class ReportContent:
    """Everything one report shows; see the parts for shapes and units.

    flags: warnings that must be seen at the top and again in the audit section (restated prices, same-bar fills...).
    rising_red: True colours gains red and losses green (Chinese markets), False the reverse.
    basis: what the figures rest on where they bring none of their own. search: how much was tried on this test data.
    explained: why the result is what it is. settings: the resolved study as TOML text. facts: group -> name -> value
    (versions, seeds, digests, threads, timings).
    """

    title: str
    verdict: Verdict
    subtitle: str = ""
    created: str = ""
    language: Language = "en"
    rising_red: bool = False
    flags: tuple[str, ...] = ()
    key_figures: tuple[KeyFigure, ...] = ()
    audit: Audit | None = None
    equity: Equity | None = None
    hindsight: Hindsight | None = None
    ic: IcSeries | None = None
    ladder: Ladder | None = None
    example: Example | None = None
    weights: WeightsHistory | None = None
    costs: Costs | None = None
    hindsight_list: HindsightList | None = None
    stress: Stress | None = None
    capacity: Capacity | None = None
    orders: Orders | None = None
    periods: Periods | None = None
    rules: Rules | None = None
    explained: Explanation | None = None
    search: Search | None = None
    basis: Basis | None = None
    settings: str = ""
    facts: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    findings: tuple[DataFinding, ...] = ()
    data_card: str = ""
    assumptions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.language not in ("en", "zh"):
            raise ConfigError(f"report: language {self.language!r} is not known; use 'en' or 'zh'")


def _rows(dates: Dates, part: str, series: Mapping[str, Floats]) -> None:
    """Refuse a series whose length is not that of the dates."""
    for name, values in series.items():
        if np.shape(values) != (len(dates),):
            raise ConfigError(f"report: {part} '{name}' has shape {np.shape(values)}, its dates have {len(dates)} rows")
