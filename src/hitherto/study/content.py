"""What the report of a study shows: a Result laid out as ReportContent."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hitherto import hindsight
from hitherto.evaluate.inference import MIN_POINTS, mean_interval
from hitherto.exchange.actions import told
from hitherto.exchange.terms import Costs
from hitherto.market import sample
from hitherto.models.glassbox import LSTMCell
from hitherto.report import content as c
from hitherto.report import words
from hitherto.seeds import Stream
from hitherto.study import stress, top
from hitherto.study.core import Fit
from hitherto.study.evaluate import EQUAL, HOLD
from hitherto.study.result import Result

Floats = NDArray[np.float64]
ROLLING = 60
MOST_LINES = 6  # models drawn beside the strategy, equal weight, buy and hold and the benchmark
LADDER = (
    "IC and RankIC: mean over dates of the cross-sectional correlation with the realised {}; 95 % block-bootstrap "
    "intervals. Every book trades under the same rule and costs."
)


def content(r: Result) -> c.ReportContent:
    """Return everything the report of ``r`` shows."""
    s, panel = r.study.settings, r.prepared.panel
    seen, desk = hindsight_of(r), desk_of(r)
    return c.ReportContent(
        title=s.report.title or f"{s.name}: {r.evaluation.main}",
        subtitle=top.subtitle(r),
        created=dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        language=s.report.language,
        rising_red=s.market.colours == "chinese",
        flags=top.flags(r),
        verdict=top.verdict(r),
        key_figures=top.key_figures(r, seen),
        audit=top.audit(r),
        equity=equity(r, desk),
        hindsight=seen,
        ic=ic_series(r),
        ladder=c.Ladder(ladder(r), LADDER.format(r.prepared.label.names[r.evaluation.output])),
        example=example(r),
        weights=weights(r),
        costs=costs(r),
        hindsight_list=hindsight_list(r),
        rules=rules(r),
        **stress.parts(desk),
        settings=r.study.toml(),
        facts=facts(r),
        findings=tuple(c.DataFinding(f.code, f.where, f.text, f.count) for f in panel.findings),
        data_card=card(r),
        assumptions=assumptions(r),
    )


def desk_of(r: Result) -> stress.Desk:
    """Return the strategy on its market, for everything that is varied about it."""
    market = r.evaluation.floor
    short = bool((r.evaluation.weights[r.evaluation.main].values < 0).any())
    return stress.desk(r.study, r.prepared, r.evaluation, market.costs, market.laid(short=short), market.events)


def rules(r: Result) -> c.Rules | None:
    """Return the dated rules in force, and how often the bars contradict what had to be assumed."""
    laid = r.evaluation.floor.rules
    if laid is None:
        return None
    from hitherto.exchange.status import contradictions

    first = r.evaluation.floor.first
    seen = contradictions(r.prepared.panel.since(first), dataclasses.replace(laid, kind=laid.kind[first:]))
    told = stress.rules(laid, seen.table.height, seen.tested)
    five, chance = seen.at_five or 0, seen.by_chance or 0.0
    if told is None or five <= 2 * chance:
        return told
    hint = (
        f"{five:,} closes stand exactly 5 % from the one before and at the day's high or low, where chance would put "
        f"{chance:,.0f}: some names were ST, and their limit is taken too wide."
    )
    return dataclasses.replace(told, assumptions=(*told.assumptions, hint))


def equity(r: Result, desk: stress.Desk) -> c.Equity:
    """Return the net wealth of the strategy, its rivals and the benchmark, all starting at 1."""
    e, panel = r.evaluation, r.prepared.panel
    first, last = top.span(r)
    curves: dict[str, Floats] = {}
    roles: dict[str, c.Role] = {}
    models = [n for n in e.books if n not in (EQUAL, HOLD, e.main)]
    # more lines than that cannot be told apart; ridge stays, the others as the study lists them, never by their result
    models.sort(key=lambda n: n != e.of_model.get("ridge"))
    left_out = models[MOST_LINES:]
    for name, book in e.books.items():
        if name in left_out:
            continue
        curves[name] = book.equity / book.equity[0]
        roles[name] = "strategy" if name == e.main else "baseline" if name in (EQUAL, HOLD) else "model"
    if e.of_model.get("persistence") in roles and e.of_model["persistence"] != e.main:
        roles[e.of_model["persistence"]] = "baseline"
    if e.benchmark is not None and np.isfinite(e.benchmark).any():
        known = np.flatnonzero(np.isfinite(e.benchmark))
        base = e.benchmark[known[0]] / curves[EQUAL][known[0]]
        curves["benchmark"], roles["benchmark"] = e.benchmark / base, "benchmark"
    caption = (
        f"Net of costs, fills at the {r.study.settings.exchange.fill.replace('_', ' ')}, wealth 1 at the start. "
        "An end point is one draw of many: the intervals say how firm it is."
    )
    if left_out:
        caption += f" {len(left_out)} further books are in the ladder only."
    undrawn = {n: float(e.books[n].equity[-1] / e.books[n].equity[0]) for n in left_out}
    draws = r.study.settings.report.null_books
    null = stress.null_band(desk, draws) if draws else None
    if draws and null is None:
        caption += " No band of permuted scores: hundreds of books of the convex optimiser would take hours."
    return c.Equity(panel.sessions[first : last + 1], curves, roles, caption, undrawn, null)


def hindsight_of(r: Result) -> c.Hindsight | None:
    """Return the best and worst top-k books of perfect foresight at the strategy's own k and rebalances, and capture.

    Returns run from the close of one fill bar to the next for all of them, so that they can be laid side by side.
    """
    p, e = r.study.settings.portfolio[0], r.evaluation
    first, last = top.span(r)
    panel = r.prepared.panel
    rows = np.flatnonzero(e.weights[e.main].decided)
    rows = rows[(rows >= first) & (rows < last)]
    if p.rule != "topk_dropout" or len(rows) < 3:
        return None
    best, worst = hindsight.best_topk(panel, p.k, rows), hindsight.worst_topk(panel, p.k, rows)
    if not (best > worst).any():  # as many names as the book holds: there is no choice
        return None
    mine = hindsight.rebalance_returns(r.book, rows)
    rng = Stream(r.study.settings.seed, "hindsight")
    random = hindsight.random_capture(panel, p.k, rows, rng=rng.numpy("random"))
    return c.Hindsight(
        panel.sessions[rows + 1], np.cumprod(np.r_[1.0, 1.0 + best]), np.cumprod(np.r_[1.0, 1.0 + worst]),
        f"the best and the worst {p.k} names of every rebalance, chosen with perfect foresight, before costs",
        _captured(mine, best, worst, rng.numpy("capture")), c.Estimate(random.mean, random.low, random.high),
    )  # fmt: skip


def _captured(mine: Floats, best: Floats, worst: Floats, rng: np.random.Generator) -> c.Estimate:
    value = hindsight.capture(mine, best, worst)
    choice = best > worst
    share = (mine[choice] - worst[choice]) / (best[choice] - worst[choice])
    if len(share) < MIN_POINTS:
        return c.Estimate(value)
    interval = mean_interval(share, rng)
    return c.Estimate(value, interval.lo, interval.hi)


def ic_series(r: Result) -> c.IcSeries | None:
    """Return the daily RankIC of the first model and its rolling mean."""
    model = r.study.models[0].name
    s = r.evaluation.summaries[model][r.evaluation.output]
    first, last = top.span(r)
    daily = s.daily_rank_ic[first : last + 1]
    known = np.isfinite(daily)
    if known.sum() < 2:
        return None
    total, count = np.cumsum(np.where(known, daily, 0.0)), np.cumsum(known)
    rolling = np.full(len(daily), np.nan)
    window = min(ROLLING, max(2, len(daily) // 4))
    sums = np.r_[total[window - 1], total[window:] - total[:-window]]
    counts = np.r_[count[window - 1], count[window:] - count[:-window]]
    rolling[window - 1 :] = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    mean = top.estimate(s.rank_ic.interval, s.rank_ic.mean)
    return c.IcSeries(r.prepared.panel.sessions[first : last + 1], daily, rolling, window, mean, model)


def ladder(r: Result) -> tuple[c.LadderRow, ...]:
    """Return one row per model, then the naive books and the other portfolios of the first model."""
    e = r.evaluation
    rows = []
    for model, summaries in e.summaries.items():
        s, name = summaries[e.output], e.of_model.get(model)
        role: c.Role = "strategy" if name == e.main else "baseline" if model in _NAIVE else "model"
        rows.append(c.LadderRow(
            model, role, top.estimate(s.ic.interval, s.ic.mean), top.estimate(s.rank_ic.interval, s.rank_ic.mean),
            top.known(s.ic.icir), **_traded(r, name),
        ))  # fmt: skip
    others = [n for n in e.books if n in (EQUAL, HOLD) or n not in e.of_model.values()]
    rows += [c.LadderRow(n, "baseline" if n in (EQUAL, HOLD) else "model", **_traded(r, n)) for n in others]
    return tuple(rows)


_NAIVE = ("zero", "persistence", "momentum")


def _traded(r: Result, name: str | None) -> dict[str, Any]:
    if name is None:
        return {}
    perf, ratio = r.evaluation.performance[name], r.evaluation.sharpe[name]
    return {
        "net_return": perf.cagr, "sharpe": top.estimate(ratio, perf.sharpe), "max_drawdown": perf.max_drawdown,
        "turnover": top.known(perf.turnover), "cost": top.known(perf.cost),
    }  # fmt: skip


def example(r: Result) -> c.Example | None:
    """Return one asset's forecasts beside what happened, and the gates of its last window when the model has gates."""
    model, o = r.study.models[0].name, r.evaluation.output
    forecast, label, panel = r.forecasts[model], r.prepared.label, r.prepared.panel
    known = np.isfinite(forecast.values[:, :, o]) & np.isfinite(label.values[:, :, o])
    n = int(known.sum(axis=0).argmax())
    rows = np.flatnonzero(known[:, n])[-250:]
    if not len(rows):
        return None
    fits = [f for f in r.fits if f.model.name == model]
    target = getattr(r.study.models[0], "target", "raw")
    return c.Example(
        panel.symbols[n], panel.sessions[rows], label.values[rows, n, o], forecast.values[rows, n, o], model,
        f"{label.horizons[o]} bar{'s' * (label.horizons[o] > 1)}", target == "raw", _gates(r, fits[-1], n),
        f"The last {len(rows)} forecasts of {panel.symbols[n]}, out of sample, and the {label.horizons[o]}-bar return "
        "realised after each.",
    )  # fmt: skip


def _gates(r: Result, fit: Fit, n: int) -> c.Gates | None:
    """Return every gate of the first LSTM layer in the last window of listing ``n``, recomputed in NumPy."""
    tensors, index = fit.fitted.tensors(), fit.windows.index
    mine = np.flatnonzero(index[:, 1] == n)
    if "lstm.weight_ih_l0" not in tensors or not len(mine):
        return None
    t = int(index[mine[-1], 0])
    only = np.zeros_like(fit.windows.mask)
    only[t, n] = True
    batch = next(fit.windows.with_(mask=only).batches(1))
    trace = LSTMCell.from_torch_state(tensors, prefix="lstm.").run(batch.x)
    names = {"input": trace.i, "forget": trace.f, "output": trace.o, "candidate": trace.g, "cell": trace.c,
             "hidden": trace.h}  # fmt: skip
    values = {k: np.asarray(v[:, 0, :], np.float64) for k, v in names.items()}
    return c.Gates(r.prepared.panel.sessions[t], values, "First layer, recomputed in NumPy from the saved weights.")


def weights(r: Result) -> c.WeightsHistory:
    """Return the decided weights of the strategy, the names it held most."""
    w = r.evaluation.weights[r.evaluation.main]
    rows = np.flatnonzero(w.decided)
    rows = rows[:: max(1, len(rows) // 250)]
    mean = np.abs(w.values[rows]).mean(axis=0) if len(rows) else np.zeros(w.values.shape[1])
    top = np.argsort(-mean, kind="stable")[: min(20, int((mean > 0).sum()))]
    panel = r.prepared.panel
    names = tuple(panel.symbols[i] for i in top)
    long, short = (float((side * w.values[rows] > 0).sum() / max(1, len(rows))) for side in (1, -1))
    return c.WeightsHistory(panel.sessions[rows], names, w.values[np.ix_(rows, top)],
                            f"Weights as decided; the {len(top)} names held most.", (long, short))  # fmt: skip


def costs(r: Result) -> c.Costs:
    """Return the same weights traded free of costs beside the net book, and what was paid per year."""
    e, panel, book = r.evaluation, r.prepared.panel, r.book
    short = bool((e.weights[e.main].values < 0).any())
    free = e.floor.venue(times=0.0, short=short).book(
        e.weights[e.main], capital=r.study.settings.exchange.capital, start=book.start,
        stop=book.start + len(book.equity),
    )  # fmt: skip
    first, last = top.span(r)
    dates = panel.sessions[first : last + 1]
    years = dates.astype("datetime64[Y]").astype(int) + 1970
    before = np.r_[book.equity[:1], book.equity[:-1]]
    each = sorted(set(years.tolist()))
    per = r.study.settings.periods_per_year
    growth = [float((b.equity[-1] / b.equity[0]) ** (per / max(1, len(b.equity) - 1)) - 1) for b in (free, book)]
    return c.Costs(
        dates, free.equity / free.equity[0], book.equity / book.equity[0], growth[0], growth[1],
        "compound annual return", tuple(each), tuple(float((book.fees / before)[years == y].sum()) for y in each),
        tuple(float((book.slippage / before)[years == y].sum()) for y in each),
        "Gross: the same decisions traded at the same prices without fees or slippage.",
    )  # fmt: skip


def hindsight_list(r: Result) -> c.HindsightList:
    """Return the best and the worst single asset of every month or year of the test, with running wealth."""
    first, last = top.span(r)
    panel = r.prepared.panel
    every = "month" if last - first < 3 * 252 else "year"
    best = hindsight.best_single(panel, first, last + 1, every)
    worst = hindsight.worst_single(panel, first, last + 1, every)
    best, worst = (
        tuple(c.HindsightRow(f"{p.first} .. {p.last}", p.asset, p.gain, p.wealth) for p in part)
        for part in (best, worst)
    )
    e, laid = r.study.settings.exchange, r.evaluation.floor.rules
    fill = "next_open" if e.fill == "next_open" else "next_close"
    costs = Costs(e.fee_bps, e.slippage_bps, sell_tax_bps=e.sell_tax_bps)  # the search knows proportional costs only
    up, down = (
        float(f(panel, costs, first, last + 1, fill=fill, rules=laid).log_wealth[-1]) / np.log(10)
        for f in (hindsight.best_path, hindsight.worst_path)
    )
    caption = (
        f"One asset per {every}, chosen after the fact, no costs. Nobody could have known. One holding a bar, fills "
        f"at the {fill.replace('_', ' ')}, {e.fee_bps + e.slippage_bps:g} bps a side and the duties of the rules "
        f"(fractional shares, exact search) takes 1 to between 10^{down:.1f} and 10^{up:.1f}"
    )
    # the search pays by factor; a book paid by announced actions may get more
    bound = ": no long-only book on the same fills and costs can end above that."
    caption += bound if r.evaluation.floor.events is None else "; it pays by the factor, not by the table of actions."
    return c.HindsightList(best, worst, caption=caption)


def facts(r: Result) -> dict[str, dict[str, object]]:
    """Return run facts by group."""
    f = r.facts
    return {
        "digests": {"study": f["study_digest"], "data": f["data_digest"], "exchange": f["exchange_digest"]},
        "seeds": {"seed": f["seed"], "seeds per model": f["seeds_per_model"]},
        "versions": f["machine"]["versions"],
        "machine": {k: str(v) for k, v in f["machine"].items() if k != "versions"},
        "seconds": f["seconds"],
        "samples (train, valid, test)": {k: ", ".join(map(str, v)) for k, v in f["samples"].items()},
        "purged samples": f["purged"],
        "RankIC per fold": per_fold(r),
    }


def per_fold(r: Result) -> dict[str, object]:
    """Return model, fold -> RankIC with its interval, and ICIR, as text."""
    out: dict[str, object] = {}
    for model, summaries in r.evaluation.summaries.items():
        for k, f in summaries[r.evaluation.output].rank_ic.folds.items():
            if f.mean is not None:
                bounds = words.interval(top.estimate(f.interval, f.mean), digits=3)
                out[f"{model}, fold {k}"] = (
                    f"{words.number(f.mean, 3)} {bounds}, ICIR {words.number(top.known(f.icir), 2)}"
                )
    return out


def card(r: Result) -> str:
    """Return the data card: of the embedded sample, or what is known of the user's bars."""
    source = r.study.settings.market.bars
    if source.startswith("sample:"):
        return sample.card()
    notes = r.prepared.panel.notes
    return "\n".join([repr(r.prepared.panel), *(f"{k}: {v}" for k, v in notes.items())])


def assumptions(r: Result) -> tuple[str, ...]:
    """Return what the simulation takes for granted."""
    e, panel, laid = r.study.settings.exchange, r.prepared.panel, r.evaluation.floor.rules
    shares = (
        "whole shares in lots, money to 0.01" if laid else f"lots of {e.lot} shares" if e.lot else "fractional shares"
    )
    tax = "duties and fees by date" if laid else f"{e.sell_tax_bps:g} bps tax on sales"
    out = [
        f"Decisions at the close, fills at the {e.fill.replace('_', ' ')}; {shares}; {e.fee_bps:g} bps fee and "
        f"{e.slippage_bps:g} bps slippage a side, {tax}; capital {e.capital:,.0f}.",
        "Suspended names do not trade. Orders that cannot fill are dropped until the next decision.",
        "Features read prices x factor and volume / factor; the exchange trades raw prices.",
    ]
    if e.volume_cap or e.impact:
        out.append(
            f"An order takes at most {e.volume_cap:.0%} of a bar's volume (0: any) and pays {e.impact:g} x sigma x "
            "sqrt(shares / mean volume of 20 bars) for its impact."
        )
    if laid is None:
        out.append(
            "No market rules: price limits, T+1 and the lots of a board are not enforced; shorts borrow for free."
        )
    if r.evaluation.floor.events is not None:
        out += told(panel, r.evaluation.floor.events)
    if "membership" in panel.notes:
        out.append(f"Universe by dated membership: {panel.notes['membership']}")
    return tuple(out)
