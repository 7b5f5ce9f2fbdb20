"""Why a study's result is what it is: attribution, periods and signal of a Result, as plain data for the report.

Everything is about the strategy: the first model's scores, and its book under the first portfolio.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import DataError
from hitherto.evaluate import attribution, periods, signals
from hitherto.evaluate.attribution import Attribution, BreakevenCost, BreakevenDelay, DelayRow, Linked
from hitherto.evaluate.inference import Interval, paired_difference
from hitherto.evaluate.periods import Basis, Drawdowns, Exposure, Heatmap, Regimes, Rolling
from hitherto.evaluate.signals import Autocorrelation, Decay, Quantiles
from hitherto.labels import Label, forward_return
from hitherto.panel import Panel
from hitherto.seeds import Stream
from hitherto.study.stress import Desk, growth

if TYPE_CHECKING:
    from hitherto.study.result import Result

Floats = NDArray[np.float64]
DELAYS = (0, 1, 2, 3, 4, 5)
DRAWS = 1000  # of every interval here: its bounds then move by less than a tenth of its standard error
ROLLING = 252
SIZE_SPAN = 20
MOST = 1000.0  # largest multiple of the costs that is tried
NET = "net of fees and slippage"


@dataclass(frozen=True, eq=False)
class Explained:
    """Everything beyond the verdict, of the strategy's book and scores. None: see ``not_assessed`` under its name.

    by_year, by_month, by_regime: the attribution linked over those bars, in time order (labels "2019", "2019-03",
    "volatility: calm", "trend: rising"). size_of: what stands for size ("" = not given). costs: breakeven cost against
    nothing and against equal weight. not_assessed: field -> why in one line.
    """

    attribution: Attribution | None = None
    by_year: tuple[Linked, ...] = ()
    by_month: tuple[Linked, ...] = ()
    by_regime: tuple[Linked, ...] = ()
    size_of: str = ""
    heatmap: Heatmap | None = None
    exposure: Exposure | None = None
    regimes: Regimes | None = None
    drawdowns: Drawdowns | None = None
    rolling: Rolling | None = None
    costs: tuple[BreakevenCost, ...] = ()
    delay: BreakevenDelay | None = None
    decay: Decay | None = None
    quantiles: Quantiles | None = None
    autocorrelation: Autocorrelation | None = None
    not_assessed: dict[str, str] = field(default_factory=dict)


def explain(r: Result, *, desk: Desk | None = None, rf: float = 0.0) -> Explained:
    """Return everything beyond the verdict of a Result; the same seed gives the same intervals.

    desk: the strategy's, where it is at hand. rf: yearly risk-free rate, a fraction, taken off the Sharpe ratios and
    the breakeven cost (a part's ``basis`` says so). A part that cannot be had is None (or empty) and has its reason in
    ``not_assessed``.
    """
    from hitherto.study.content import desk_of

    e, s, p = r.evaluation, r.study.settings, r.prepared
    desk = desk or desk_of(r)
    return explain_desk(
        desk, p.admitted, rf=rf, index=r.study.benchmark, groups=sectors_of_names(desk.panel), entry=s.label.entry,
        quantiles=quantiles_of(p.admitted), horizon=p.label.horizons[e.output], cost=e.floor.proportional,
    )  # fmt: skip


def quantiles_of(admitted: NDArray[np.bool_]) -> int:
    """Return 5 quantiles, or fewer where five would hold fewer than two names on the median date; at least 2."""
    counts = admitted.sum(axis=1)
    usual = float(np.median(counts[counts > 0])) if (counts > 0).any() else 0.0
    return int(max(2, min(5, usual // 2)))


def explain_desk(
    d: Desk, admitted: NDArray[np.bool_], *, rf: float, index: Floats | None = None,
    groups: NDArray[np.int64] | None = None, entry: Any = "next_close", quantiles: int = 5, horizon: int = 1,
    cost: float = 0.0,
) -> Explained:  # fmt: skip
    """Return the same of a strategy at its desk.

    admitted: (T, N) names that may be held; their equal weight is the market. index: (T,) closes of a benchmark, used
    as the market of the attribution where it has a close on every bar of the book. groups: (T, N) sector codes known
    at t, -1 = none. entry, horizon: of the forward returns; cost: of a side, a fraction of the value.
    """
    why: dict[str, str] = {}
    rng, made = Stream(d.seed, "explain"), {}

    def add(name: str, build: Callable[[np.random.Generator], Any]) -> Any:
        try:
            made[name] = build(rng.numpy(name))
        except DataError as error:
            why[name] = str(error)
        return made.get(name)

    names = name_returns(d)
    dates = d.panel.sessions[d.book.start : d.stop]
    basis = Basis(d.per, rf, "compound", NET)
    simple = Basis(d.per, rf, "simple mean", NET)
    market, given = market_returns(names, admitted), _index_returns(d, index)
    if index is not None and given is None:
        missing = int((~np.isfinite(index[d.book.start : d.stop])).sum())
        why["universe"] = f"the benchmark has no close on {missing} of {len(dates)} bars; the market is equal weight"
    size, size_of = size_of_names(d.panel)
    a = add("attribution", lambda g: attribution.of_book(
        d.book, names, admitted, g, periods_per_year=d.per, rf=rf, market=given, size=size,
        groups=groups, draws=DRAWS,
    ))  # fmt: skip
    add("heatmap", lambda _: periods.heatmap(d.book.returns, dates[1:], basis))
    add("exposure", lambda _: periods.exposure(d.book, dates, Basis(d.per, rf, "none", NET)))
    regimes = add("regimes", lambda g: periods.regimes(d.book.returns, market, d.book.start + 1, g, basis, draws=DRAWS))
    add("drawdowns", lambda _: periods.falls(d.book.returns, dates, basis))
    window = min(ROLLING, max(20, (len(dates) - 1) // 3))
    add("rolling", lambda _: periods.rolling_sharpe(d.book.returns, dates[1:], simple, window))
    add("costs", lambda g: breakeven_costs(d, g, rf))
    add("delay", lambda _: delays(d, rng.child("delay"), rf))
    if d.scores is None:
        why |= dict.fromkeys(("decay", "quantiles", "autocorrelation"), "there are no scores")
    else:
        _signal(d, add, entry, quantiles, horizon, cost)
    if a is not None:
        made |= linked(a, dates[1:], regimes)
    return Explained(**made, size_of=size_of, not_assessed=why)


def _signal(d: Desk, add: Callable[..., Any], entry: Any, quantiles: int, horizon: int, cost: float) -> None:
    """Add the parts about the scores, on the rows that have any and what follows of their returns."""
    panel, scores = scored(d)
    add("decay", lambda g: signals.decay(
        scores, (forward(panel, h, entry) for h in signals.HORIZONS), forward(panel, 1, "next_close"), g,
        periods_per_year=d.per, draws=DRAWS,
    ))  # fmt: skip
    add("quantiles", lambda g: signals.quantile_returns(
        scores, forward(panel, horizon, entry), g, cost=cost, periods_per_year=d.per, quantiles=quantiles,
        draws=DRAWS,
    ))  # fmt: skip
    add("autocorrelation", lambda g: signals.autocorrelation(scores, g, periods_per_year=d.per, draws=DRAWS))


def forward(panel: Panel, horizon: int, entry: Any) -> Label:
    """Return the forward return of one horizon, entered as the study's label is."""
    return forward_return(panel, (horizon,), entry)


def scored(d: Desk) -> tuple[Panel, Floats]:
    """Return panel and scores from the first row that has a score on."""
    assert d.scores is not None
    rows = np.flatnonzero(np.isfinite(d.scores).any(axis=1))
    first = int(rows[0]) if len(rows) else 0
    return d.panel.since(first), np.ascontiguousarray(d.scores[first:])


def name_returns(d: Desk) -> Floats:
    """Return (T, N) total returns of the names over each bar since their last known close, as known at its end.

    NaN where the bar has no close, or none before it is known. Dividends and splits as the book had them: by factor,
    or by the table of actions on its days.
    """
    close = np.asarray(d.panel.view("close"), np.float64)
    before = _last(close)
    with np.errstate(divide="ignore", invalid="ignore"):
        out = np.where(before > 0, close / before - 1.0, np.nan)
    if d.events is not None:
        raw = _last(np.asarray(d.panel.fields["close"], np.float64))
        t, n = np.asarray(d.events.t, np.int64), np.asarray(d.events.n, np.int64)
        now = d.panel.fields["close"][t, n]
        with np.errstate(divide="ignore", invalid="ignore"):
            out[t, n] = (now * np.asarray(d.events.split) + np.asarray(d.events.dividend)) / raw[t, n] - 1.0
    return out


def _last(close: Floats) -> Floats:
    """The last known value of rows before each row (T, N), NaN where there is none."""
    row = np.where(np.isfinite(close), np.arange(len(close))[:, None], 0)
    held = np.take_along_axis(close, np.maximum.accumulate(row, axis=0), axis=0)
    return np.concatenate([np.full((1, close.shape[1]), np.nan), held[:-1]])


def market_returns(names: Floats, admitted: NDArray[np.bool_]) -> Floats:
    """Return (T,) the equal-weighted return of the names admitted at the bar before; NaN where none has one."""
    known = np.zeros(names.shape, bool)
    known[1:] = admitted[:-1] & np.isfinite(names[1:])
    count = known.sum(axis=1)
    total = np.where(known, names, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _index_returns(d: Desk, index: Floats | None) -> Floats | None:
    """(T,) returns of the benchmark over the book's bars, NaN elsewhere; None if it misses one of them."""
    if index is None or not np.isfinite(index[d.book.start : d.stop]).all():
        return None
    out = np.full(len(index), np.nan)
    out[d.book.start + 1 : d.stop] = index[d.book.start + 1 : d.stop] / index[d.book.start : d.stop - 1] - 1.0
    return out


def sectors_of_names(panel: Panel) -> NDArray[np.int64] | None:
    """Return sector codes (T, N) as known at each row from the field ``sector`` (whole numbers from 0), -1 = none.

    Carried over gaps; None without the field. DataError for a code that is no whole number from 0.
    """
    if "sector" not in panel.fields:
        return None
    codes = _carried(panel.fields["sector"])
    known = np.isfinite(codes)
    bad = known & ((codes < 0) | (codes % 1 != 0))
    if bad.any():
        t, n = np.argwhere(bad)[0]
        raise DataError(f"sector: {codes[t, n]:g} for {panel.symbols[n]} is no code; number the sectors from 0")
    return np.where(known, codes, -1).astype(np.int64)


def _carried(values: NDArray[Any]) -> Floats:
    """(T, N): the last known value of each name, NaN before the first."""
    known = np.asarray(values, np.float64)
    row = np.where(np.isfinite(known), np.arange(len(known))[:, None], 0)
    return np.take_along_axis(known, np.maximum.accumulate(row, axis=0), axis=0)


def size_of_names(panel: Panel) -> tuple[Floats | None, str]:
    """Return what stands for size, (T, N) as known at each row, and its name; (None, "") where nothing does.

    The field ``market_cap``, carried over gaps; else the value traded, mean over the last 20 bars with any.
    """
    if "market_cap" in panel.fields:
        return _carried(panel.fields["market_cap"]), "market_cap"
    if "amount" in panel.fields:
        traded = np.asarray(panel.fields["amount"], np.float64)
    elif "volume" in panel.fields:
        traded = panel.fields["volume"] * panel.fields["close"]
    else:
        return None, ""
    if not (np.nan_to_num(traded) > 0).any():
        return None, ""
    known = np.isfinite(traded)
    total, count = (np.cumsum(x, axis=0) for x in (np.where(known, traded, 0.0), known.astype(np.float64)))
    total[SIZE_SPAN:], count[SIZE_SPAN:] = (
        total[SIZE_SPAN:] - total[:-SIZE_SPAN],
        count[SIZE_SPAN:] - count[:-SIZE_SPAN],
    )
    size = np.where(count > 0, total / np.maximum(count, 1.0), np.nan)
    return size, f"value traded, mean of {SIZE_SPAN} bars"


def linked(a: Attribution, dates: NDArray[np.datetime64], regimes: Regimes | None) -> dict[str, tuple[Linked, ...]]:
    """Return the attribution by year, by month and by regime; dates (B,) of its bars."""
    out = {"by_year": attribution.link_by(a, dates.astype("datetime64[Y]").astype(str)),
           "by_month": attribution.link_by(a, dates.astype("datetime64[M]").astype(str))}  # fmt: skip
    if regimes is not None:
        rows: list[Linked] = []
        for kind, codes in (("volatility", regimes.volatility), ("trend", regimes.trend)):
            for k, name in enumerate(periods.REGIMES[kind]):
                at = codes == k
                if at.any():
                    rows.append(attribution.link(f"{kind}: {name}", a.values[at], a.returns[at], a.parts))
        out["by_regime"] = tuple(rows)
    return out


def breakeven_costs(d: Desk, rng: np.random.Generator, rf: float) -> tuple[BreakevenCost, ...]:
    """Return the breakeven cost of the book against nothing and, where there is one, against equal weight."""
    alone = attribution.breakeven_cost(d.book, rng, periods_per_year=d.per, rf=rf, draws=DRAWS)
    out = [dataclasses.replace(alone, retraded=retraded(d, rf, alone.multiple))]
    if d.rival is not None:
        out.append(attribution.breakeven_cost(d.book, rng, periods_per_year=d.per, rival=d.rival, draws=DRAWS))
    return tuple(out)


def retraded(d: Desk, rf: float, guess: float | None, steps: int = 12) -> float | None:
    """Return the multiple of all the study's costs at which the re-traded book's mean net return is rf, to 1 %.

    The decisions are traded again at other multiples, by false position (Illinois) from ``guess``, what the trades as
    they were would say. None: the book costs nothing, or earns no more than rf even free of costs. inf: more than
    ``MOST`` times the costs.
    """
    if guess is None:
        return None

    def mean(times: float) -> float:
        equity = d.venue(times).equity(d.weights, capital=d.capital, start=d.book.start, stop=d.stop)
        return _mean_return(equity) - rf / d.per

    low, above, high = 0.0, mean(0.0), max(guess, 0.01)
    if above <= 0:
        return None
    below, side = mean(high), 0
    while below > 0 and high < MOST:
        low, above, high = high, below, min(MOST, 1.1 * high if low == 0 else 3 * high)
        below = mean(high)
    if below > 0:
        return math.inf
    for _ in range(steps):
        at = (low * below - high * above) / (below - above)
        value = mean(at)
        if abs(value) * d.per < 1e-5 or high - low <= 0.01 * high:
            return at
        if value > 0:
            low, above, below = at, value, below / 2 if side > 0 else below
            side = 1
        else:
            high, below, above = at, value, above / 2 if side < 0 else above
            side = -1
    return (low + high) / 2


def _mean_return(equity: Floats) -> float:
    """Mean simple return; -1 a bar for a ruined book, so that it counts as below anything."""
    return float((equity[1:] / equity[:-1] - 1.0).mean()) if (equity > 0).all() else -1.0


def delays(d: Desk, rng: Stream, rf: float) -> BreakevenDelay:
    """Return the same decisions filled later and later, beside equal weight as traded; DataError without the latter."""
    if d.rival is None:
        raise DataError("breakeven delay: there is no book of equal weight to compare with")
    rows = []
    for k in DELAYS:
        equity = d.book.equity
        if k:
            equity = d.usual.equity(d.weights, capital=d.capital, start=d.book.start, stop=d.stop, delay=1 + k)
        rows.append(DelayRow(k, growth(equity, d.per), _edge(equity, d, rng.child(k))))
    return attribution.breakeven_delay(tuple(rows), d.per, rf)


def _edge(equity: Floats, d: Desk, rng: Stream) -> Interval | None:
    if d.rival is None or not (equity > 0).all():
        return None
    try:
        return paired_difference(
            equity[1:] / equity[:-1] - 1.0, d.rival.returns, rng.numpy("edge"), periods_per_year=d.per, draws=DRAWS
        )
    except DataError:  # too few bars
        return None
