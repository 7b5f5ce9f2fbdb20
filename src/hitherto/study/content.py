"""What the report of a study shows: a Result laid out as ReportContent."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hitherto import hindsight
from hitherto.evaluate.inference import MIN_POINTS, mean_interval
from hitherto.evaluate.periods import Basis
from hitherto.exchange.actions import told
from hitherto.exchange.terms import Costs
from hitherto.market import sample
from hitherto.models.glassbox import LSTMCell
from hitherto.panel import Panel
from hitherto.report import content as c
from hitherto.report import words
from hitherto.report.explained import Explanation, Search
from hitherto.seeds import Stream
from hitherto.study import stress, top
from hitherto.study.core import Fit
from hitherto.study.evaluate import EQUAL, HOLD
from hitherto.study.explaining import NET, explain
from hitherto.study.result import Result
from hitherto.study.trials import ENOUGH

Floats = NDArray[np.float64]
ROLLING = 60
MOST_LINES = 6  # models drawn beside the strategy, equal weight, buy and hold and the benchmark


def content(r: Result) -> c.ReportContent:
    """Return everything the report of ``r`` shows."""
    s, panel = r.study.settings, r.prepared.panel
    seen, desk = hindsight_of(r), desk_of(r)
    return c.ReportContent(
        title=s.report.title or say(r, "y_title", study=s.name, book=r.evaluation.main),
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
        ladder=c.Ladder(ladder(r), say(r, "y_ladder", label=r.prepared.label.names[r.evaluation.output])),
        example=example(r),
        weights=weights(r),
        costs=costs(r),
        hindsight_list=hindsight_list(r),
        rules=rules(r),
        **stress.parts(desk),
        explained=explained(r),
        search=search(r),
        basis=Basis(s.periods_per_year, 0.0, "compound", NET),
        settings=r.study.toml(),
        facts=facts(r),
        findings=tuple(c.DataFinding(f.code, f.where, f.text, f.count) for f in panel.findings),
        data_card=card(r),
        assumptions=assumptions(r),
    )


def say(r: Result, key: str, **values: object) -> str:
    """Return a phrase of the report in its language."""
    return words.say(r.study.settings.report.language, key, **values)


def shown(r: Result, name: str) -> str:
    """Return the name of a book or model as the report writes it: the fixed ones in its language."""
    return say(r, f"y_{name}") if name in (EQUAL, HOLD, "benchmark", *_NAIVE) else name


def moments(panel: Panel) -> NDArray[np.datetime64]:
    """Return (T,) the sessions, or the local minute of each bar where a session has more than one."""
    if len(np.unique(panel.sessions)) == len(panel.sessions):
        return panel.sessions
    import polars as pl

    local = pl.Series(panel.times).cast(pl.Datetime("ns", "UTC")).dt.convert_time_zone(panel.zone)
    return local.dt.replace_time_zone(None).to_numpy().astype("datetime64[m]")


def desk_of(r: Result) -> stress.Desk:
    """Return the strategy on its market, for everything that is varied about it."""
    market = r.evaluation.floor
    short = bool((r.evaluation.weights[r.evaluation.main].values < 0).any())
    return stress.desk(r.study, r.prepared, r.evaluation, market.costs, market.laid(short=short), market.events)


def explained(r: Result) -> Explanation:
    """Return why the result is what it is, as the report takes it."""
    x = explain(r)
    out = {f.name: getattr(x, f.name) for f in dataclasses.fields(Explanation)}
    first, last = top.span(r)
    dates = moments(r.prepared.panel)[first : last + 1]
    if x.exposure is not None:
        out["exposure"] = dataclasses.replace(x.exposure, dates=dates)
    if x.rolling is not None:
        out["rolling"] = dataclasses.replace(x.rolling, dates=dates[x.rolling.window :])
    return Explanation(**out)


def search(r: Result) -> Search:
    """Return how much was searched on this test data, as this run counted it; Sharpe ratios a year."""
    d, per = r.deflation, r.study.settings.periods_per_year
    luck = top.known(d.searched.luck) * per**0.5
    return Search(d.searched.trials, top.known(r.evaluation.performance[r.evaluation.main].sharpe), luck,
                  top.known(d.deflated), ENOUGH)  # fmt: skip


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
    hint = say(r, "y_hint", n=f"{five:,}", m=f"{chance:,.0f}")
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
    caption = say(r, "y_equity", fill=say(r, f"fill_{r.study.settings.exchange.fill}"))
    if left_out:
        caption += say(r, "y_equity_more", n=len(left_out))
    undrawn = {n: float(e.books[n].equity[-1] / e.books[n].equity[0]) for n in left_out}
    draws = r.study.settings.report.null_books
    null = stress.null_band(desk, draws) if draws else None
    if draws and null is None:
        caption += say(r, "y_equity_no_null")
    curves, roles = {shown(r, n): v for n, v in curves.items()}, {shown(r, n): v for n, v in roles.items()}
    return c.Equity(moments(panel)[first : last + 1], curves, roles, caption, undrawn, null)


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
        moments(panel)[rows + 1], np.cumprod(np.r_[1.0, 1.0 + best]), np.cumprod(np.r_[1.0, 1.0 + worst]),
        say(r, "y_hindsight", k=p.k),
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
    return c.IcSeries(moments(r.prepared.panel)[first : last + 1], daily, rolling, window, mean, model)


def ladder(r: Result) -> tuple[c.LadderRow, ...]:
    """Return one row per model, then the naive books and the other portfolios of the first model."""
    e = r.evaluation
    rows = []
    for model, summaries in e.summaries.items():
        s, name = summaries[e.output], e.of_model.get(model)
        role: c.Role = "strategy" if name == e.main else "baseline" if model in _NAIVE else "model"
        ic, rank = (top.estimate(x.interval, x.mean) for x in (s.ic, s.rank_ic))
        rows.append(c.LadderRow(shown(r, model), role, ic, rank, top.known(s.ic.icir), **_traded(r, name)))
    others = [n for n in e.books if n in (EQUAL, HOLD) or n not in e.of_model.values()]
    for n in others:
        rows.append(c.LadderRow(shown(r, n), "baseline" if n in (EQUAL, HOLD) else "model", **_traded(r, n)))
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
    target, h = getattr(r.study.models[0], "target", "raw"), label.horizons[o]
    return c.Example(
        panel.symbols[n], moments(panel)[rows], label.values[rows, n, o], forecast.values[rows, n, o], model,
        say(r, "y_horizon_1" if h == 1 else "y_horizon_n", n=h), target == "raw", _gates(r, fits[-1], n),
        say(r, "y_example", n=len(rows), name=panel.symbols[n], h=h),
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
    return c.Gates(r.prepared.panel.sessions[t], values, say(r, "y_gates"))


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
    return c.WeightsHistory(moments(panel)[rows], names, w.values[np.ix_(rows, top)],
                            say(r, "y_weights", n=len(top)), (long, short))  # fmt: skip


def costs(r: Result) -> c.Costs:
    """Return the same weights traded free of costs beside the net book, and what was paid per year."""
    e, panel, book = r.evaluation, r.prepared.panel, r.book
    short = bool((e.weights[e.main].values < 0).any())
    free = e.floor.venue(times=0.0, short=short).book(
        e.weights[e.main], capital=r.study.settings.exchange.capital, start=book.start,
        stop=book.start + len(book.equity),
    )  # fmt: skip
    first, last = top.span(r)
    dates = moments(panel)[first : last + 1]
    years = dates.astype("datetime64[Y]").astype(int) + 1970
    before = np.r_[book.equity[:1], book.equity[:-1]]
    each = sorted(set(years.tolist()))
    per = r.study.settings.periods_per_year
    growth = [float((b.equity[-1] / b.equity[0]) ** (per / max(1, len(b.equity) - 1)) - 1) for b in (free, book)]
    return c.Costs(
        dates, free.equity / free.equity[0], book.equity / book.equity[0], growth[0], growth[1],
        say(r, "y_basis"), tuple(each), tuple(float((book.fees / before)[years == y].sum()) for y in each),
        tuple(float((book.slippage / before)[years == y].sum()) for y in each),
        say(r, "y_costs"),
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
    caption = say(
        r, "y_list", every=say(r, f"y_{every}"), fill=say(r, f"fill_{fill}"), bps=f"{e.fee_bps + e.slippage_bps:g}",
        low=f"10^{down:.1f}", high=f"10^{up:.1f}",
    )  # fmt: skip
    # the search pays by factor; a book paid by announced actions may get more
    caption += say(r, "y_list_bound" if r.evaluation.floor.events is None else "y_list_actions")
    return c.HindsightList(best, worst, caption=caption)


def facts(r: Result) -> dict[str, dict[str, object]]:
    """Return run facts by group."""
    f = r.facts
    groups: dict[str, dict[str, object]] = {
        "digests": {"study": f["study_digest"], "data": f["data_digest"], "exchange": f["exchange_digest"]},
        "seeds": {"seed": f["seed"], "seeds per model": f["seeds_per_model"]},
        "versions": f["machine"]["versions"],
        "machine": {k: str(v) for k, v in f["machine"].items() if k != "versions"},
        "seconds": f["seconds"],
        "samples": {k: ", ".join(map(str, v)) for k, v in f["samples"].items()},
        "purged": f["purged"],
        "trials": f["searched"],
        "folds": per_fold(r),
    }
    return {say(r, f"g_{name}"): values for name, values in groups.items()}


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
    shares = "y_shares_rules" if laid else "y_shares_lots" if e.lot else "y_shares_fraction"
    tax = say(r, "y_tax_rules") if laid else say(r, "y_tax", n=f"{e.sell_tax_bps:g}")
    out = [
        say(r, "y_decisions", fill=say(r, f"fill_{e.fill}"), shares=say(r, shares, n=e.lot), fee=f"{e.fee_bps:g}",
            slip=f"{e.slippage_bps:g}", tax=tax, capital=f"{e.capital:,.0f}"),
        say(r, "y_suspended"), say(r, "y_prices"), say(r, "y_rf"),
    ]  # fmt: skip
    if e.volume_cap or e.impact:
        out.append(say(r, "y_impact", cap=f"{e.volume_cap:.0%}", impact=f"{e.impact:g}"))
    if laid is None:
        out.append(say(r, "y_no_rules"))
    if r.evaluation.floor.events is not None:
        out += told(panel, r.evaluation.floor.events)
    if "membership" in panel.notes:
        out.append(say(r, "y_member", of=panel.notes["membership"]))
    return tuple(out)
