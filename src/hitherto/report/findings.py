"""The sentence above each chart, computed from the numbers that the chart draws. No plotly, no layout."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hitherto.report.content import (
    Audit,
    Costs,
    Equity,
    Estimate,
    Example,
    Floats,
    Gates,
    Hindsight,
    HindsightList,
    IcSeries,
    Ladder,
    Language,
    WeightsHistory,
)
from hitherto.report.words import amount, interval, number, percent, say

TINY = 1e-9  # a weight below this is not a holding


def audit(part: Audit | None, language: Language) -> tuple[str, bool]:
    """One sentence on what the audit saw, and whether it must stop the reader (leak, blind audit, no audit)."""
    if part is None or not part.rows:
        return say(language, "a_none_run"), True
    leaks = [row.probe for row in part.rows if row.result == "LEAK"]
    ran = sum(row.result == "ok" for row in part.rows)
    if leaks:
        return say(language, "a_leak", probes=", ".join(leaks)), True
    if part.canary_caught is False or any(row.result == "missed" for row in part.rows):
        return say(language, "a_blind"), True
    if not ran:
        return say(language, "a_unassessed"), True
    return say(language, "a_clean_1" if ran == 1 else "a_clean", n=ran), False


def equity(part: Equity, language: Language) -> str:
    """Where the strategy ended, where it ranks among the other books, and among books of permuted scores."""
    title = _rank(part, language)
    if part.null is None or part.strategy is None:
        return title
    return say(language, "f_null", title=title, n=part.null.above, m=part.null.draws)


def _rank(part: Equity, language: Language) -> str:
    name = part.strategy
    ends = {**{n: last_finite(v) for n, v in part.curves.items()}, **part.undrawn}
    if name is None or math.isnan(ends[name]):
        return say(language, "f_equity_none")
    mine = ends.pop(name)
    others = {n: v for n, v in ends.items() if not math.isnan(v)}
    if not others:
        return say(language, "f_equity_alone", name=name, end=amount(mine, language))
    best = max(others, key=lambda n: others[n])
    ahead = sum(v > mine for v in others.values())
    said = {"name": name, "end": amount(mine, language), "m": len(others), "next": best}
    return say(
        language,
        "f_equity_behind" if ahead else "f_equity_first",
        k=ahead,
        value=amount(others[best], language),
        **said,
    )


@dataclass(frozen=True)
class Fall:
    """A fall in wealth: rows of the earlier high, the low and the recovery (None when still under water)."""

    top: int
    low: int
    end: int | None
    depth: float


def falls(wealth: Floats) -> list[Fall]:
    """Every fall below an earlier high, deepest first; NaN rows are passed over."""
    rows = np.flatnonzero(np.isfinite(wealth))
    found: list[Fall] = []
    top, low = -1, -1
    for row in rows:
        if top < 0 or wealth[row] >= wealth[top]:
            if low >= 0:
                found.append(Fall(top, low, int(row), float(wealth[low] / wealth[top] - 1)))
            top, low = int(row), -1
        elif low < 0 or wealth[row] < wealth[low]:
            low = int(row)
    if low >= 0:
        found.append(Fall(top, low, None, float(wealth[low] / wealth[top] - 1)))
    return sorted(found, key=lambda f: f.depth)


def drawdown(wealth: Floats, language: Language) -> str:
    """How deep the deepest fall was and whether it was made good."""
    found = falls(wealth)
    if not found:
        return say(language, "f_fall_none")
    deepest = found[0]
    end = len(wealth) - 1 if deepest.end is None else deepest.end
    key = "f_fall_open" if deepest.end is None else "f_fall"
    return say(language, key, depth=percent(-deepest.depth), n=end - deepest.top)


def hindsight(part: Hindsight, language: Language) -> str:
    """Capture beside that of random books when known, else the two bounds."""
    if part.capture is None or math.isnan(part.capture.value):
        best, worst = (amount(last_finite(v), language) for v in (part.best, part.worst))
        return say(language, "f_band", best=best, worst=worst)
    mine = percent(part.capture.value)
    if part.random is None or math.isnan(part.random.value):
        return say(language, "f_capture", capture=mine)
    return say(language, _against(part.capture, part.random), capture=mine, random=percent(part.random.value))


def _against(capture: Estimate, random: Estimate) -> str:
    """Two estimates are told apart only when neither interval holds the other's value."""
    low = max(x for x in (random.value, random.hi) if not math.isnan(x))
    high = min(x for x in (random.value, random.lo) if not math.isnan(x))
    own_lo = capture.value if math.isnan(capture.lo) else capture.lo
    own_hi = capture.value if math.isnan(capture.hi) else capture.hi
    if own_lo > random.value and capture.value > low:
        return "f_capture_more"
    if own_hi < random.value and capture.value < high:
        return "f_capture_less"
    return "f_capture_same"


def ic(part: IcSeries, language: Language) -> str:
    """Whether the interval of the mean IC holds 0."""
    mean = number(part.mean.value, 3, sign=True)
    bounds = interval(part.mean, digits=3)
    if not bounds:
        return say(language, "f_ic_bare", kind=part.kind, mean=mean)
    key = "f_ic_plus" if part.mean.lo > 0 else "f_ic_minus" if part.mean.hi < 0 else "f_ic_zero"
    return say(language, key, kind=part.kind, mean=mean, interval=bounds)


def ladder(part: Ladder, language: Language) -> str:
    """Rank of the strategy by net Sharpe ratio, and whether its interval holds 0."""
    ranked = [row for row in part.rows if not math.isnan(row.sharpe.value)]
    mine = next((row for row in ranked if row.role == "strategy"), None)
    if mine is None:
        return say(language, "f_ladder_none", m=len(part.rows))
    rank = 1 + sum(row.sharpe.value > mine.sharpe.value for row in ranked)
    said = {"name": mine.model, "k": rank, "m": len(ranked)}
    if not interval(mine.sharpe):
        return say(language, "f_ladder_bare", **said)
    key = "v_above" if mine.sharpe.lo > 0 else "v_below" if mine.sharpe.hi < 0 else "v_contains"
    return say(language, "f_ladder", verb=say(language, key), **said)


def agreement(forecast: Floats, actual: Floats) -> tuple[float, float, float]:
    """Correlation of forecast and outcome, share of right directions, share of rises (zeros left out of both)."""
    both = np.isfinite(forecast) & np.isfinite(actual)
    f, a = forecast[both], actual[both]
    signed = (f != 0) & (a != 0)
    hit = float(np.mean(np.sign(f[signed]) == np.sign(a[signed]))) if signed.any() else math.nan
    up = float(np.mean(a[signed] > 0)) if signed.any() else math.nan
    if len(f) < 3 or np.ptp(f) == 0 or np.ptp(a) == 0:
        return math.nan, hit, up
    return float(np.corrcoef(f, a)[0, 1]), hit, up


def example(part: Example, asset: str, language: Language) -> str:
    """How well the forecasts of one asset agree with what followed; ``asset`` is its name as shown."""
    corr, hit, up = agreement(part.forecast, part.actual)
    if math.isnan(corr):
        return say(language, "f_example_flat", asset=asset)
    key = "f_example" if part.same_unit else "f_example_score"
    return say(language, key, asset=asset, corr=number(corr, 2, sign=True), hit=percent(hit, 0), up=percent(up, 0))


def gates(part: Gates, language: Language) -> str:
    """How long the cell remembers, by its mean forget gate."""
    forget = part.values.get("forget")
    mean = math.nan if forget is None or not np.isfinite(forget).any() else float(np.nanmean(forget))
    if not 0 <= mean < 1:
        return say(language, "f_gates_other", date=part.decided)
    return say(language, "f_gates", date=part.decided, mean=number(mean), bars=number(1 / (1 - mean), 1))


def weights(part: WeightsHistory, language: Language) -> str:
    """How many names are held, and the largest weight."""
    w = np.nan_to_num(part.weights, nan=0.0, posinf=0.0, neginf=0.0)
    size = np.abs(w)
    if size.size == 0 or size.max() <= TINY:
        return say(language, "f_weights_none")
    column = int(np.argmax(size.max(axis=0)))
    row = int(np.argmax(size[:, column]))
    counted = tuple(float((side * w > TINY).sum(axis=1).mean()) for side in (1, -1))
    long, short = part.held or counted
    said = {
        "held": number(long + short, 1),
        "largest": percent(float(w[row, column])),
        "name": part.names[column],
    }
    if short == 0:
        return say(language, "f_weights", **said)
    return say(language, "f_weights_short", short=number(short, 1), **said)


def costs(part: Costs, language: Language) -> str:
    """Share of the gross edge that costs take; said otherwise when there was no edge or costs exceed it."""
    if math.isnan(part.gross) or math.isnan(part.net):
        return say(language, "f_costs_unknown")
    said = {"gross": percent(part.gross, 1, sign=True), "net": percent(part.net, 1, sign=True)}
    if part.net > part.gross + TINY:
        return say(language, "f_costs_odd", **said)
    if part.gross <= 0:
        return say(language, "f_costs_no_edge", **said)
    share = (part.gross - part.net) / part.gross
    if share > 1:
        return say(language, "f_costs_all", **said)
    return say(language, "f_costs", share=percent(share, 0))


def cost_years(part: Costs, language: Language) -> str:
    """Whether fees or slippage weigh more, and the dearest year."""
    fees, slips = np.nan_to_num(np.array(part.fees, float)), np.nan_to_num(np.array(part.slippage, float))
    total = fees + slips
    if not total.sum() > 0:
        return say(language, "f_years_none")
    larger = "fees" if fees.sum() >= slips.sum() else "slippage"
    share = max(fees.sum(), slips.sum()) / total.sum()
    year = int(np.argmax(total))
    return say(
        language,
        f"f_years_{larger}",
        share=percent(float(share), 0),
        year=part.years[year],
        most=percent(float(total[year]), 2),
    )


def hindsight_list(part: HindsightList, language: Language) -> str:
    """Where both lists end."""
    best = amount(part.best[-1].wealth, language) if part.best else ""
    worst = amount(part.worst[-1].wealth, language) if part.worst else ""
    key = "f_list" if best and worst else "f_list_best" if best else "f_list_worst"
    start, other = amount(part.best_start, language), amount(part.worst_start, language)
    return say(language, key, start=start, best=best, other=other, worst=worst)


def last_finite(values: Floats) -> float:
    """Last finite entry; NaN when there is none."""
    finite: NDArray[np.intp] = np.flatnonzero(np.isfinite(values))
    return float(values[finite[-1]]) if len(finite) else math.nan
