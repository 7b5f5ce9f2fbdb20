"""Null and truth worlds through the whole pipeline: how often a study finds what is not there, and misses what is.

A world is a made-up market (market/synthetic.py); a study of it goes from the bars to the report, as ``Study.run`` does
it, with the audit off and no null books. Seeds are 0..n-1 of each table, fixed before anything was looked at.
1. Random walks traded without costs, so that every true edge is 0: how often does a 95 % interval exclude 0?
2. The same forecasts at 5 bp a side, where the true edge is below 0: how often does the verdict say "beats"?
3. The best of 100 trials in one trial ledger: how often is its deflated Sharpe ratio above .95? The trials are 98
   worthless forecasts (drawn, or ridges on random picks of 20 inputs), ridge and LightGBM, each fitted and traded by
   the exchange; no intervals and no page. The last table plants a reversal, which ridge and LightGBM can learn.
4. Planted reversals: how often does the printed interval cover the true net edge? The truth is the mean, over other
   worlds of the same recipe, of what the book earns given all that was known (holdings x planted mean - costs).
The last line says whether all that must hold holds; the exit code is 1 if not.
"""

from __future__ import annotations

if __name__ == "__main__":
    from harness import parser  # isort: skip  (pins threads before anything loads; the worker processes inherit it)

import dataclasses
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from hitherto.evaluate.forecast import daily_ics
from hitherto.evaluate.inference import ratio_intervals
from hitherto.evaluate.trials import Outcome
from hitherto.evaluate.verdict import Verdict, judge
from hitherto.exchange.account import Book
from hitherto.market.synthetic import Toy, linear, noise
from hitherto.models.base import Context, Forecast, Unit
from hitherto.models.linear import Moments, Ridge, moments, rows
from hitherto.panel import from_bars
from hitherto.portfolio.construct import equal_weight
from hitherto.seeds import Stream, generator
from hitherto.sharpe import deflated_sharpe, probabilistic_sharpe
from hitherto.signal import scores
from hitherto.study import Study, forecasts_of
from hitherto.study.core import BASELINES, Prepared
from hitherto.study.evaluate import EQUAL, Evaluation, evaluate, tested, weigh
from hitherto.study.result import judge_study
from hitherto.study.trading import Floor, first_test, floor
from hitherto.study.trials import Deflation, ledger_of, settle, trials_of
from hitherto.windows import Windows

SYMBOLS, YEAR = 30, 252
BARS = {years: 40 + (3 + years) * YEAR for years in (1, 2)}  # warm-up, 2 years to fit, 1 to choose, and of test
STRENGTH = 0.05  # IC of the planted truth: the default of ``linear``
FEE, ENOUGH = 5.0, 0.95
SEARCHES, WIDE = 1_000_000, 2_000_000  # where the seeds of the searches and of the worlds that measure the truth begin
RATIOS = ("sharpe", "cagr", "annual_volatility")  # of ``ratio_intervals``, those whose truth is measured
INPUTS = (
    "close / ref(close, 1) - 1", "close / ref(close, 5) - 1", "close / ref(close, 20) - 1",
    "close / mean(close, 20) - 1", "std(close / ref(close, 1), 20)", "volume / mean(volume, 20)", "high / low - 1",
    "close / open - 1",
)  # fmt: skip
MANY = (
    *(f"close / ref(close, {k}) - 1" for k in (1, 2, 3, 5, 8, 10, 15, 20, 30, 40)),
    *(f"std(close / ref(close, 1), {k})" for k in (5, 10, 20, 40)),
    *(f"volume / mean(volume, {k})" for k in (5, 20, 40)), "high / low - 1", "close / open - 1", "open / ref(close, 1)",
)  # fmt: skip
TRIALS, PICKED = 100, 5
RIDGE = [{"kind": "ridge"}]  # zero, persistence and LightGBM come with every study
LIGHT = [{"kind": "lightgbm", "rounds": 20}]


def study_of(
    toy: Toy, base: Path, *, fee: float, horizons: tuple[int, ...] = (1,), models: list[Any] | None = None,
    inputs: tuple[str, ...] = INPUTS, normalise: str = "robust_zscore", light: bool = False,
) -> Study:  # fmt: skip
    """Return the study that all worlds are put through: ridge (or ``models``) traded long-short, 5 names a side."""
    return Study(
        from_bars(toy.bars), base=base, seed=0, periods_per_year=YEAR, label={"horizons": list(horizons)},
        features={"expressions": {f"x{k:02d}": text for k, text in enumerate(inputs)}, "normalise": normalise},
        split={"train": "2y", "valid": "1y", "test": "1y", "folds": 1 if light else 2, "mode": "rolling"},
        models=[*(models or RIDGE), *(LIGHT if light else [])], portfolio=[{"rule": "long_short", "k": 5}],
        exchange={"fee_bps": fee}, audit={"level": "off"}, report={"null_books": 0}, compute={"threads": 1},
    )  # fmt: skip


def whole(study: Study, folder: Path) -> Analysed:
    """Run a study as a user does, report and all."""
    r = study.run(folder / "run", progress="off")
    return Analysed(r.prepared, r.evaluation, r.verdict, r.deflation)


def short(study: Study, folder: Path) -> Analysed:
    """Take the same steps but audit, report and run folder: equal numbers in less time."""
    p = study.prepare()
    fits = study.fit_all(p, lambda job: Context())
    ledger = ledger_of(study, folder)
    opened = trials_of(study, p, ledger)
    ledger.open(opened)
    e = evaluate(study, p, forecasts_of(fits, p.panel.shape, p.label.names), floor(study, p.panel, first_test(p)))
    deflation = settle(study, folder, ledger, opened, e)
    return Analysed(p, e, judge_study(study, e, deflation), deflation)


@dataclass(frozen=True)
class Analysed:
    """What a study found."""

    prepared: Prepared
    evaluation: Evaluation
    verdict: Verdict
    deflation: Deflation

    def claims(self) -> dict[str, Any]:
        """Return every interval with which the report could claim something, by name, and what the verdict says."""
        e, d = self.evaluation, self.deflation
        out: dict[str, Any] = {"net difference": tuple(e.against[EQUAL]), "Sharpe": tuple(e.sharpe[e.main])}
        for model in (m for m in e.summaries if m != "zero"):
            for s in e.summaries[model]:
                out[f"RankIC {model} {s.horizon}"] = tuple(s.rank_ic.interval)
        own = e.summaries[e.main.split(",")[0]][0]
        out |= {"IC ridge 1": tuple(own.ic.interval), "squared error ridge 1": tuple(own.skill)}
        said = {f"{r.key}: {r.question}": r.answer == "yes" for r in self.verdict.rows}
        out["verdict"] = {**said, "headline: wins": self.verdict.headline.startswith("In this test")}
        return {**out, "psr": d.probabilistic, "dsr": d.deflated}


# 1, 2: nothing to find


def null_world(seed: int, folder: Path, *, light: bool = False) -> dict[str, Any]:
    """Return what a study of random walks claims without costs, and its verdict when the same weights pay them.

    light: no page, one test year, labels of one bar only, and LightGBM grows 20 trees at most.
    """
    years = 1 if light else 2
    toy, horizons = noise(seed, BARS[years], SYMBOLS), (1,) if light else (1, 5)
    free = (short if light else whole)(study_of(toy, folder, fee=0.0, horizons=horizons, light=light), folder)
    p, e = free.prepared, free.evaluation
    market = floor(study_of(toy, folder, fee=FEE, light=light), p.panel, first_test(p))
    span = tested(e.forecasts["ridge"])
    main, equal = (market.trade(e.weights[name], name, span) for name in (e.main, EQUAL))
    after = judge(main, {EQUAL: equal}, periods_per_year=YEAR, rng=Stream(0, "verdict")).rows[0]
    return {"seed": seed, **free.claims(), "after costs": (after.estimate, after.lo, after.hi)}


# 3: the best of 100 trials


@dataclass(frozen=True)
class Drawn:
    """A model, and its own fit, whose forecasts are standard normal numbers; one name, one draw."""

    name: str
    unit: Unit = "asset"
    lookback: int = 1
    rng: Stream | None = field(default=None, repr=False)

    def fit(self, train: Windows, valid: Windows, *, rng: Stream, context: Context) -> Drawn:
        """Return forecasts to be drawn from this fold's own stream."""
        return dataclasses.replace(self, rng=rng)

    def predict(self, windows: Windows) -> np.ndarray:
        """Return (S, O) float64."""
        assert self.rng is not None
        return self.rng.numpy("guess").standard_normal((len(windows.index), windows.outputs))

    def tensors(self) -> dict[str, np.ndarray]:
        """Return nothing: there is nothing to keep."""
        return {}


@dataclass(frozen=True)
class Picked:
    """Ridge on some of the inputs, as who tries one subset after the other would have it.

    kept: what all picks share of a fold: the moments of all inputs, and the rows to predict.
    """

    name: str
    columns: tuple[int, ...]
    unit: Unit = "asset"
    lookback: int = 1
    stochastic: ClassVar[bool] = False
    kept: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def fit(self, train: Windows, valid: Windows, *, rng: Stream, context: Context) -> PickedFit:
        """Return ridge's own line through the moments of the picked columns."""
        fold = int(np.argmax(train.mask.any(axis=1)))
        if fold not in self.kept:
            seen = moments(Ridge(), train)
            assert seen is not None
            self.kept[fold] = seen, moments(Ridge(), valid, seen.shift)
        seen, held = (part(m, self.columns) for m in self.kept[fold])
        coef = Ridge().line(seen, held).coef
        return PickedFit(self.columns, coef, seen.y - (seen.x + seen.shift) @ coef, self.kept)


@dataclass(frozen=True)
class PickedFit:
    """Fitted: coef (P, O) and intercept (O,) of the picked columns."""

    columns: tuple[int, ...]
    coef: np.ndarray
    intercept: np.ndarray
    kept: dict[Any, Any]

    def predict(self, windows: Windows) -> np.ndarray:
        """Return (S, O) float64."""
        key = "test", int(np.argmax(windows.mask.any(axis=1)))
        if key not in self.kept:
            self.kept[key] = np.concatenate([rows("picked", batch, 1) for batch in windows.batches(8192)])
        return self.kept[key][:, self.columns] @ self.coef + self.intercept

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the line."""
        return {"coef": self.coef, "intercept": self.intercept}


def part(m: Moments, columns: tuple[int, ...]) -> Moments:
    """Return the moments of some of the inputs."""
    c = list(columns)
    return dataclasses.replace(m, shift=m.shift[c], x=m.x[c], xx=m.xx[np.ix_(c, c)], xy=m.xy[c])


def trials(kind: str, seed: int) -> list[Any]:
    """Return the 98 worthless models of a search; ridge and LightGBM, which every study fits, make it 100."""
    if kind == "drawn":
        return [Drawn(f"drawn {k}") for k in range(TRIALS - 2)]
    rng, kept = generator(SEARCHES + seed, "picks"), {}
    picks = [tuple(sorted(rng.choice(len(MANY), PICKED, replace=False).tolist())) for _ in range(TRIALS - 2)]
    return [Picked(f"picked {k}", columns, kept=kept) for k, columns in enumerate(picks)]


def search(kind: str, planted: bool, seed: int, folder: Path, *, light: bool = False) -> dict[str, Any]:
    """Return what the best of 100 trials on one market shows, and what deflation leaves of it.

    The steps are those of ``Study.run`` short of intervals, audit and report; every book is traded without costs.
    """
    world, length = SEARCHES + seed, BARS[1 if light else 2]
    toy = linear(world, length, SYMBOLS, STRENGTH) if planted else noise(world, length, SYMBOLS)
    study = study_of(
        toy, folder, fee=0.0, models=trials(kind, seed), inputs=MANY if kind == "picked" else INPUTS,
        normalise="cs_zscore", light=light,
    )  # fmt: skip
    p = study.prepare()
    ledger = ledger_of(study, folder)
    opened = trials_of(study, p, ledger)
    fits = [study.fit(p, f, m, 0, Context()) for m in study.models if m.name not in BASELINES[:2] for f in p.folds]
    ledger.open(opened)
    market = floor(study, p.panel, first_test(p))
    books = [trade(study, p, f, market) for f in forecasts_of(fits, p.panel.shape, p.label.names)]
    outcomes = {b.name: Outcome.of(b.returns) for b in books}
    ledger.result([(t, outcomes[t.title]) for t in opened])
    searched = ledger.count(p.panel.digest())
    name, best = max(outcomes.items(), key=lambda item: item[1].sharpe or 0.0)
    shape = (best.skew, best.kurtosis)
    return {
        "seed": seed, "trials": searched.trials, "best": name, "sharpe": best.sharpe * YEAR**0.5,
        "luck": (searched.luck or 0.0) * YEAR**0.5, "psr": probabilistic_sharpe(best.sharpe, best.bars, 0.0, *shape),
        "dsr": deflated_sharpe(best.sharpe, best.bars, searched.trials, searched.variance, *shape),
    }  # fmt: skip


def trade(study: Study, p: Prepared, forecast: Forecast, market: Floor) -> Book:
    """Return the book of one forecast under the study's rule, named as the ledger names its trial."""
    rule = study.settings.portfolio[0]
    weights = weigh(rule, scores(forecast, p.admitted, rule.output), p.admitted, p.panel)
    return market.trade(weights, f"{forecast.model}, {rule.title}", tested(forecast))


# 4: a known edge


def truth_world(seed: int, folder: Path, *, light: bool = False) -> dict[str, Any]:
    """Return the intervals that a study of a planted reversal printed, and what its book could expect to earn."""
    toy = linear(seed, BARS[1 if light else 2], SYMBOLS, STRENGTH)
    done = (short if light else whole)(study_of(toy, folder, fee=FEE, light=light), folder)
    books = done.evaluation.books
    main, equal = books[done.evaluation.main], books[EQUAL]
    ratios = ratio_intervals(main.returns, Stream(0, "ratios").numpy(), periods_per_year=YEAR)
    return {
        "seed": seed, **done.claims(), **{f"all ratios: {k}": tuple(ratios[k]) for k in RATIOS},
        "own": YEAR * float((expected(main, toy.truth) - expected(equal, toy.truth)).mean()),
    }  # fmt: skip


def wide_world(seed: int, folder: Path, *, light: bool = False) -> dict[str, Any]:
    """Return the same of another world of the recipe, by ridge alone, without intervals: it measures the truth."""
    toy = linear(WIDE + seed, BARS[1 if light else 2], SYMBOLS, STRENGTH)
    study = study_of(toy, folder, fee=FEE, light=light)
    p = study.prepare()
    fits = [study.fit(p, f, study.models[0], 0, Context()) for f in p.folds]
    (forecast,) = forecasts_of(fits, p.panel.shape, p.label.names)
    market = floor(study, p.panel, first_test(p))
    main = trade(study, p, forecast, market)
    equal = market.trade(equal_weight(p.admitted, 1, main.start), EQUAL, tested(forecast))
    ic, rank = daily_ics(forecast.values[..., 0], p.label.values[..., 0])
    mean = expected(main, toy.truth)
    means = {
        "net": mean - expected(equal, toy.truth), "realised": main.returns - equal.returns, "alone": mean,
        "gross": expected(main, toy.truth, 0.0) - expected(equal, toy.truth, 0.0),
        "log": np.log1p(main.returns) - (main.returns - mean),  # what was luck is known, and taken off
        "square": main.returns**2, "IC": ic[~np.isnan(ic)], "RankIC": rank[~np.isnan(rank)],
    }  # fmt: skip
    return {"seed": seed, **{name: float(v.mean()) for name, v in means.items()}}


def expected(book: Book, truth: np.ndarray, costs: float = 1.0) -> np.ndarray:
    """Return (K - 1,) the mean of each net return of a book given all that was known when it was earned.

    Holdings after the fills of bar s earn close(s) -> close(s + 1), whose conditional mean is ``truth`` of row s - 1;
    what was paid on s + 1 is taken off (its share due to unknown prices is far below a basis point).
    """
    held = (book.shares * book.price / book.equity[:, None])[:-1]
    first = book.start - 1
    paid = (book.fees + book.slippage)[1:] / book.equity[:-1]
    return (held * truth[first : first + len(held)]).sum(axis=1) - costs * paid


def truths(wide: list[dict[str, Any]]) -> dict[str, tuple[float, float]]:
    """Return statement -> (truth, its standard error) from the worlds that measure it."""
    at = {k: np.array([w[k] for w in wide]) for k in wide[0] if k != "seed"}

    def mean(x: np.ndarray, times: float = 1.0) -> tuple[float, float]:
        return times * float(x.mean()), times * float(x.std(ddof=1) / np.sqrt(len(x)))

    spread = float(np.sqrt(at["square"].mean() - at["alone"].mean() ** 2))
    sharpe = mean(at["alone"], YEAR**0.5 / spread)
    growth, its_error = mean(at["log"], YEAR)
    return {
        "net difference": mean(at["net"], YEAR), "Sharpe": sharpe, "all ratios: sharpe": sharpe,
        "all ratios: cagr": (float(np.expm1(growth)), its_error * float(np.exp(growth))),
        "all ratios: annual_volatility": (spread * YEAR**0.5, mean(at["square"], YEAR**0.5 / 2 / spread)[1]),
        "IC ridge 1": mean(at["IC"]), "RankIC ridge 1": mean(at["RankIC"]), "gross difference": mean(at["gross"], YEAR),
        "net difference, as realised": mean(at["realised"], YEAR),
    }  # fmt: skip


# The command


def in_folder(world: Callable[[int, Path], dict[str, Any]], seed: int) -> dict[str, Any]:
    """Run one world in a folder of its own (a ledger of its own), which is dropped afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        out = world(seed, Path(folder))
        return {**out, "cpu": time.process_time() - start}


def rate(hits: int, of: int) -> dict[str, float]:
    """Return a share with its exact binomial 95 % interval (Clopper and Pearson)."""
    from scipy.stats import binomtest

    lo, hi = binomtest(hits, of).proportion_ci(0.95)
    return {"hits": hits, "of": of, "share": hits / of, "lo": float(lo), "hi": float(hi)}


def covered(worlds: list[dict[str, Any]], what: str, truth: float | str) -> dict[str, float]:
    """Return how often the interval of ``what`` covers the truth: one number, or the name of each world's own."""
    hits = sum(w[what][1] <= (w[truth] if isinstance(truth, str) else truth) <= w[what][2] for w in worlds)
    return rate(hits, len(worlds))


def null_table(worlds: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return statement -> how often it was made of random walks."""
    names = [k for k, v in worlds[0].items() if isinstance(v, tuple) and k != "after costs"]
    claimed = {n: [w[n][1] > 0 or w[n][2] < 0 for w in worlds] for n in names}
    out = {f"excludes 0: {n}": rate(sum(hits), len(worlds)) for n, hits in claimed.items()}
    some = np.any([claimed[n] for n in ("net difference", "Sharpe", "RankIC ridge 1")], axis=0)
    out["excludes 0: any of net difference, Sharpe, RankIC ridge 1"] = rate(int(some.sum()), len(worlds))
    out["after costs: beats equal weight"] = rate(sum(w["after costs"][1] > 0 for w in worlds), len(worlds))
    return out | verdicts(worlds)


def verdicts(worlds: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return row of the verdict -> how often it says yes."""
    said = [w["verdict"] for w in worlds]
    return {f"verdict says yes: {row}": rate(sum(v[row] for v in said), len(said)) for row in said[0]}


def search_table(best: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return how often the best of 100 looks like skill, before and after deflation, and which one it is."""
    out = {f"best of 100: {k} above .95": rate(sum(w[k] > ENOUGH for w in best), len(best)) for k in ("psr", "dsr")}
    fitted = sum(w["best"].split(",")[0] in ("ridge", "lightgbm") for w in best)
    return {**out, "best of 100: is ridge or LightGBM": rate(fitted, len(best))}


def truth_table(worlds: list[dict[str, Any]], true: dict[str, tuple[float, float]]) -> dict[str, dict[str, float]]:
    """Return statement -> how often the printed interval covers the truth."""
    names = ("net difference", "Sharpe", "IC ridge 1", "RankIC ridge 1", *(f"all ratios: {k}" for k in RATIOS))
    out = {f"covers the truth: {n}": covered(worlds, n, true[n][0]) | {"truth": true[n][0]} for n in names}
    out["covers the world's own truth: net difference"] = covered(worlds, "net difference", "own")
    gross = true["gross difference"][0]
    out["covers the edge before costs: net difference"] = covered(worlds, "net difference", gross) | {"truth": gross}
    return out | verdicts(worlds)


def main() -> None:
    options = parser()
    options.add_argument("--processes", type=int, default=2)
    args = options.parse_args()
    n = (10, 20, 10, 10) if args.quick else (200, 1000, 100, 100)  # null, measuring, truth, searches
    broken = []
    with ProcessPoolExecutor(args.processes, multiprocessing.get_context("spawn")) as pool:

        def ran(name: str, world: Callable[[int, Path], dict[str, Any]], count: int) -> list[dict[str, Any]]:
            start = time.perf_counter()
            out = list(pool.map(partial(in_folder, world), range(count)))
            spent = {"seconds": time.perf_counter() - start, "CPU seconds a world": np.mean([w["cpu"] for w in out])}
            say(name, "time", {**spent, "worlds": count})
            return out

        def told(name: str, table: dict[str, dict[str, float]], must: dict[str, tuple[float, float]]) -> None:
            for what, row in table.items():
                low, high = must.get(what, (0.0, 1.0))
                if not low <= row["share"] <= high:
                    broken.append(f"{name}: {what} {row['share']:.3f}, must lie in {low}..{high}")
                say(name, what, row)

        claims = [f"excludes 0: {what}" for what in ("net difference", "Sharpe", "RankIC ridge 1", "IC ridge 1")]
        told("null", null_table(ran("null", null_world, n[0])), dict.fromkeys(claims, (0.01, 0.10)))
        for kind, planted in (("drawn", False), ("picked", False), ("drawn", True)):
            name = f"search, {kind}{', an edge planted' if planted else ''}"
            best = ran(name, partial(search, kind, planted), n[3])
            told(name, search_table(best), {} if planted else {"best of 100: dsr above .95": (0.0, 0.05)})
            say(name, "means", {k: float(np.mean([w[k] for w in best])) for k in ("sharpe", "luck", "psr", "dsr")})
        true = truths(ran("measuring the truth", wide_world, n[1]))
        say("measuring the truth", "truth, standard error", true)
        worlds = ran("truth", truth_world, n[2])
        must = {f"covers the truth: {what}": (0.90, 1.0) for what in ("net difference", "Sharpe")}
        told("truth", truth_table(worlds, true), must)
    if args.quick:
        return print("--quick: too few worlds to say whether what must hold holds")
    print("\n".join(broken) or "all that must hold holds")
    sys.exit(1 if broken else 0)


def say(name: str, what: str, row: dict[str, Any]) -> None:
    """Print one JSON line."""
    short = {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in row.items()}
    print(json.dumps({"name": f"worlds: {name}: {what}", **short}, default=float), flush=True)


if __name__ == "__main__":
    main()
