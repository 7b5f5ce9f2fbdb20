"""From forecasts to numbers: scores, weights, books, information coefficients, performance, verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hitherto.config import PortfolioSettings
from hitherto.errors import DataError
from hitherto.evaluate.forecast import ForecastSummary, summarise
from hitherto.evaluate.inference import NEWEY_WEST_WARNING, Interval, paired_difference, ratio_intervals
from hitherto.evaluate.performance import Performance, summary
from hitherto.exchange.account import Book
from hitherto.models.base import Forecast
from hitherto.panel import Panel
from hitherto.portfolio.base import Weights
from hitherto.portfolio.construct import (
    buy_and_hold,
    equal_weight,
    long_short,
    quantiles,
    score_weighted,
    topk,
    topk_dropout,
)
from hitherto.seeds import Stream
from hitherto.signal import scores
from hitherto.study.core import Prepared, Study
from hitherto.study.trading import Floor, first_test, floor

Floats = NDArray[np.float64]
EQUAL, HOLD = "equal weight", "buy and hold"
METHODS = {
    "intervals": "95 % percentile intervals of 2,000 resamples of the net returns by stationary block bootstrap, the "
    "same for all ratios of a book; mean block length by Politis and White, the longer of those of the returns and of "
    "their squared deviations; risk-free rate 0",
    "annual_net_difference": "estimate, lower and upper bound of the mean difference of net returns times the periods "
    "a year; 95 % percentile interval of 2,000 resamples of paired bars by circular block bootstrap, block length by "
    "Politis and White",
    "forecasts": "IC and RankIC: 95 % percentile interval of 2,000 circular block resamples of the dates, blocks no "
    "shorter than the label; newey_west: t-statistic with horizon - 1 lags; nonoverlapping: of every horizon-th date. "
    + NEWEY_WEST_WARNING,
}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What came of a study.

    forecasts: one per model (seeds averaged), in ladder order. summaries: model -> one ForecastSummary per output.
    weights, books: by book name; the first is the strategy. of_model: model -> its book under the first portfolio.
    floor: the market they were traded on. performance: per book. intervals: book -> ratio -> its interval, for those of
    ``inference.RATIOS`` that it has. against: rival -> annualised paired difference of net returns, strategy minus
    rival.
    """

    forecasts: dict[str, Forecast]
    summaries: dict[str, list[ForecastSummary]]
    scores: Floats
    weights: dict[str, Weights]
    books: dict[str, Book]
    of_model: dict[str, str]
    performance: dict[str, Performance]
    intervals: dict[str, dict[str, Interval]]
    against: dict[str, Interval | None]
    benchmark: Floats | None
    output: int
    floor: Floor

    @property
    def main(self) -> str:
        """Name of the strategy: the first model under the first portfolio."""
        return next(iter(self.books))

    @property
    def sharpe(self) -> dict[str, Interval | None]:
        """Book -> interval of its yearly Sharpe ratio."""
        return {name: ratios.get("sharpe") for name, ratios in self.intervals.items()}


def average_seeds(forecasts: list[Forecast]) -> dict[str, Forecast]:
    """Return one Forecast per model: the mean over its seeds."""
    out: dict[str, Forecast] = {}
    for name in dict.fromkeys(f.model for f in forecasts):
        members = [f for f in forecasts if f.model == name]
        values = members[0].values if len(members) == 1 else np.mean([m.values for m in members], axis=0)
        out[name] = Forecast(name, values, members[0].fold, members[0].names, members[0].seed)
    return out


def weigh(p: PortfolioSettings, s: Floats, mask: NDArray[np.bool_], panel: Panel, costs: float = 0.0) -> Weights:
    """Return the weights that one portfolio rule makes of scores (T, N); costs: fraction of the traded value."""
    if p.rule == "long_short":
        return long_short(s, mask, k=p.k, every=p.every)
    if p.rule == "topk":
        return topk(s, mask, p.k, p.every)
    if p.rule == "quantile":
        return quantiles(s, mask, p.k, p.every)[-1]
    if p.rule == "score_weighted":
        return score_weighted(s, mask, long_only=p.long_only, kind="rank", every=p.every)
    if p.rule == "optimise":
        return _optimised(p, s, mask, panel, costs)
    return topk_dropout(s, mask, p.k, p.drop if p.drop is not None else max(1, p.k // 5), p.every)


def _optimised(p: PortfolioSettings, s: Floats, mask: NDArray[np.bool_], panel: Panel, costs: float) -> Weights:
    from hitherto.portfolio.optimise import Limits, expected_returns, optimise
    from hitherto.portfolio.risk import one_bar_returns

    o = p.optimise
    limits = Limits(cap=o.cap, turnover=o.turnover, band=o.band, active_risk=o.active_risk)
    expected = expected_returns(s, one_bar_returns(panel), o.ic, every=p.every, window=o.window)
    return optimise(
        panel, expected, mask, limits, risk_aversion=o.risk_aversion, costs=costs, model=o.model, factors=o.factors,
        window=o.window, every=p.every, benchmark=equal_weight(mask).values if o.relative else None,
    )  # fmt: skip


def tested(forecast: Forecast) -> tuple[int, int]:
    """Return the rows of the books: from the first forecast to the bar that fills the last one (one past it)."""
    rows = np.flatnonzero(forecast.fold >= 0)
    return int(rows[0]), min(len(forecast.fold), int(rows[-1]) + 2)


def all_weights(
    study: Study, p: Prepared, forecasts: dict[str, Forecast], spent: float
) -> tuple[dict[str, Weights], dict[str, str]]:
    """Return book name -> weights (the strategy first) and model -> its book under the first portfolio.

    spent: what trading costs a side, a fraction of the value, as the optimiser counts it.
    """
    first = study.settings.portfolio[0]
    out: dict[str, Weights] = {}
    of_model: dict[str, str] = {}
    primary = study.models[0].name
    for model, f in forecasts.items():
        if np.nanmax(np.abs(f.values), initial=0.0) == 0.0:
            continue  # a forecast of nothing ranks nothing
        for rule in study.settings.portfolio if model == primary else [first]:
            name = f"{model}, {rule.title}"
            out[name] = weigh(rule, scores(f, p.admitted, rule.output), p.admitted, p.panel, spent)
            of_model.setdefault(model, name)
    start = int(np.argmax(forecasts[primary].fold >= 0))
    out[EQUAL] = equal_weight(p.admitted, first.every, start)
    out[HOLD] = buy_and_hold(p.admitted, start)
    return out, of_model


def evaluate(study: Study, p: Prepared, raw: list[Forecast], market: Floor | None = None) -> Evaluation:
    """Evaluate the forecasts of a study; the same seed gives the same intervals. market: None opens the study's own."""
    market = market or floor(study, p.panel, first_test(p))
    forecasts = average_seeds(raw)
    primary, first = study.models[0].name, study.settings.portfolio[0]
    rng = Stream(study.settings.seed, "evaluate")
    summaries = {
        name: [summarise(f, p.label, o, rng=rng.child(name, o)) for o in range(len(f.names))]
        for name, f in forecasts.items()
    }
    weights, of_model = all_weights(study, p, forecasts, market.proportional)
    if primary not in of_model:
        raise DataError(f"{primary}: every forecast is 0, there is nothing to trade; check features and label")
    start, stop = tested(forecasts[primary])
    # Buy and hold takes splits and dividends in shares: cash would pile up that it never invests again.
    books = {name: market.trade(w, name, (start, stop), reinvest=name == HOLD) for name, w in weights.items()}
    years = float((p.panel.sessions[stop - 1] - p.panel.sessions[start]).astype(int) / 365.25)
    per = study.settings.periods_per_year
    performance = {name: summary(b, per, years=years) for name, b in books.items()}
    ratios = {name: _ratios(b, rng.child("ratios", name), per) for name, b in books.items()}
    main = books[of_model[primary]]
    rivals = {EQUAL: books[EQUAL].returns, HOLD: books[HOLD].returns}
    rivals |= {m: books[b].returns for m, b in of_model.items() if m != primary}
    against = {n: _paired(main.returns, r, rng.child("against", n), per) for n, r in rivals.items()}
    index = None if study.benchmark is None else study.benchmark[start:stop]
    if index is not None:
        r = index[1:] / index[:-1] - 1.0
        both = np.isfinite(r)
        against["benchmark"] = _paired(main.returns[both], r[both], rng.child("against", "benchmark"), per)
    signal = scores(forecasts[primary], p.admitted, first.output)
    return Evaluation(forecasts, summaries, signal, weights, books, of_model, performance, ratios, against, index,
                      first.output, market)  # fmt: skip


def _ratios(book: Book, rng: Stream, per: int) -> dict[str, Interval]:
    try:
        return ratio_intervals(book.returns, rng.numpy("bootstrap"), periods_per_year=per)
    except DataError:  # too short: the report prints a dash, the performance table says why
        return {}


def _paired(a: Floats, b: Floats, rng: Stream, per: int) -> Interval | None:
    try:
        return paired_difference(a, b, rng.numpy("bootstrap"), periods_per_year=per)
    except DataError:
        return None


def metrics(study: Study, e: Evaluation) -> dict[str, Any]:
    """Return every number of the evaluation as plain types: metrics.json."""
    return {
        "strategy": e.main,
        "forecasts": {m: [s.to_dict() for s in rows] for m, rows in e.summaries.items()},
        "books": {name: perf.to_dict() for name, perf in e.performance.items()},
        "intervals": {n: {k: i._asdict() for k, i in ratios.items()} for n, ratios in e.intervals.items()},
        "annual_net_difference": {n: None if i is None else list(i) for n, i in e.against.items()},
        "methods": METHODS,
        "periods_per_year": study.settings.periods_per_year,
    }
