"""Result: what a study found, in memory and as a run folder."""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hitherto import compute
from hitherto.evaluate.verdict import Verdict, judge
from hitherto.exchange.account import Book
from hitherto.models.base import Context, Forecast, Forecaster
from hitherto.progress import Progress
from hitherto.run import Run, plain
from hitherto.seeds import Stream
from hitherto.study.core import Fit, Prepared, Study, forecasts_of
from hitherto.study.evaluate import EQUAL, Evaluation, evaluate, metrics
from hitherto.study.trading import first_test, floor
from hitherto.study.trials import Deflation, ledger_of, pairs_of, settle, trials_of

IN_RETURNS = ("mse", "mae", "huber", "quantile")  # losses whose forecast has the label's own unit

if TYPE_CHECKING:
    from hitherto.audit import AuditReport
    from hitherto.evaluate.trials import Searched
    from hitherto.report.content import ReportContent


@dataclass(frozen=True, eq=False)
class Result:
    """The outcome of ``Study.run``.

    scores: (T, N) float64 cross-sectional z-scores of the first model, NaN outside the tests. book: its Book under the
    first portfolio; books: all of them by name. forecasts: model -> Forecast (T, N, O). audit: what was tried to catch
    the study using the future. run: the folder. deflation: what the search is known to have tried, from the trial
    ledger, and what the strategy's Sharpe ratio is worth after it.
    """

    study: Study
    run: Run
    prepared: Prepared
    fits: list[Fit]
    evaluation: Evaluation
    verdict: Verdict
    audit: AuditReport | None
    facts: dict[str, Any]
    deflation: Deflation

    @property
    def searched(self) -> Searched:
        """How many trials read this test data, and the variance of their Sharpe ratios, as this run counted them."""
        return self.deflation.searched

    @property
    def scores(self) -> NDArray[np.float64]:
        """(T, N) float64: cross-sectional z-scores of the first model's forecasts."""
        return self.evaluation.scores

    @property
    def book(self) -> Book:
        """The book of the first model under the first portfolio."""
        return self.books[self.evaluation.main]

    @property
    def books(self) -> dict[str, Book]:
        """Every book by name, the strategy first."""
        return self.evaluation.books

    @property
    def forecasts(self) -> dict[str, Forecast]:
        """Model name -> out-of-sample Forecast."""
        return self.evaluation.forecasts

    def content(self) -> ReportContent:
        """Return everything the report shows; computed once."""
        return self._content

    @cached_property
    def _content(self) -> ReportContent:
        from hitherto.study.content import content

        return content(self)

    def report(self, path: str | Path | None = None) -> Path:
        """Write the one-file HTML report (default: report.html in the run folder) and return its path."""
        from hitherto.report.html import write

        target = Path(path) if path is not None else self.run.folder / "report.html"
        write(self.content(), target)
        return target

    def summary(self) -> str:
        """Return the result as plain text: verdict, table, audit, and where the report is."""
        from hitherto.report.html import clean, plain_summary

        language = self.study.settings.report.language
        zh = language == "zh"
        rows = [f"{r.question_zh} {r.words_zh}" if zh else f"{r.question} {r.words}" for r in self.verdict.rows]
        tail = [*rows, "", self.deflation.words(language), f"report: {self.run.folder / 'report.html'}"]
        return "\n".join([plain_summary(self.content()), *(clean(line).replace("\n", " ") for line in tail)])

    def to_json(self) -> str:
        """Return metrics, verdict, audit and run folder as JSON."""
        audit = None if self.audit is None else json.loads(self.audit.to_json())
        body = {"run": str(self.run.folder), "verdict": self.verdict, "audit": audit}
        numbers = {**metrics(self.study, self.evaluation), **self.deflation.metrics()}
        return json.dumps(plain({**body, **numbers}), ensure_ascii=False)

    def __repr__(self) -> str:
        return f"Result({self.evaluation.main}: {self.verdict.headline})"


def run_study(study: Study, folder: Path, *, resume: bool, progress: str) -> Result:
    """Run a study into ``folder``. Nothing is written before the study and its data have proved sound.

    Its trials are written into the ledger after the fits and before any test forecast is looked at.
    """
    clock = {"began": time.time()}
    _ = study.place  # a device that is not there is refused before the bars are read
    prepared = study.prepare()
    market = floor(study, prepared.panel, first_test(prepared))
    _ = market.usual  # what the exchange needs is asked before anything is trained
    ledger = ledger_of(study, folder)
    if ledger.path.parent != folder.resolve():
        ledger.ready()  # a reading of the test that cannot be recorded should not happen: better said before the fits
    run = Run.start(folder, study.toml(), resume=resume)
    with Progress(mode=progress, log_path=folder / "events.jsonl") as seen:  # type: ignore[arg-type]
        seen.emit({"event": "prepared", "bars": len(prepared.panel.times), "symbols": len(prepared.panel.symbols),
                   "features": len(prepared.features.names), "folds": len(prepared.folds)})  # fmt: skip
        clock["prepared"] = time.time()
        fits = study.fit_all(prepared, contexts(study, run, seen, resume))
        clock["fitted"] = time.time()
        raw = forecasts_of(fits, prepared.panel.shape, prepared.label.names)
        opened = trials_of(study, prepared, ledger)
        ledger.open(opened)
        evaluation = evaluate(study, prepared, raw, market)
        deflation = settle(study, folder, ledger, opened, evaluation)
        verdict = judge_study(study, evaluation, deflation)
        clock["evaluated"] = time.time()
        audit = audit_study(study, prepared, fits, evaluation, deflation, seen)
        clock["audited"] = time.time()
        facts = describe(study, prepared, fits, clock) | {"exchange_digest": evaluation.floor.digest()}
        facts["searched"] = deflation.facts()
        result = Result(study, run, prepared, fits, evaluation, verdict, audit, facts, deflation)
        save(result, raw)
        seen.emit({"event": "done", "report": "report.html", "seconds": round(time.time() - clock["began"], 1)})
    run.finish()
    return result


def contexts(study: Study, run: Run, seen: Progress, resume: bool) -> Any:
    """Return job name -> Context: a checkpoint folder of its own, the study's device and threads, events by job."""
    place = study.place

    def make(job: str) -> Context:
        def emit(event: dict[str, Any]) -> None:
            seen.emit({"job": job, **event})

        return Context(run.folder / "checkpoints" / job, emit=emit, resume=resume, **place)

    return make


def judge_study(study: Study, e: Evaluation, deflation: Deflation | None = None) -> Verdict:
    """Return the verdict: the strategy against equal weight and ridge, its forecasts, and its luck among all trials.

    deflation: what the trial ledger counts; None leaves the deflated Sharpe ratio out.
    """
    primary = study.models[0]
    rivals = {EQUAL: e.books[EQUAL]}
    if primary.name != "ridge" and "ridge" in e.of_model:
        rivals["ridge"] = e.books[e.of_model["ridge"]]
    naive = e.summaries["persistence"][e.output] if "persistence" in e.summaries else None
    tried = pairs_of(study)
    titles = [f"{m.name}, {r.title}" for m, r in tried]
    return judge(
        e.books[e.main], rivals, periods_per_year=study.settings.periods_per_year,
        rng=Stream(study.settings.seed, "verdict"), forecast=e.summaries[primary.name][e.output],
        naive=None if primary.name == "persistence" else naive, in_returns=in_returns(primary), sharpe=e.sharpe[e.main],
        searched=None if deflation is None else deflation.searched,
        models={m.name: e.summaries[m.name][e.output] for m, _ in tried},
        books={t: e.books[t] for t in titles if t in e.books},  # a forecast of nothing is not traded
    )  # fmt: skip


def in_returns(model: Forecaster) -> bool:
    """Whether a model forecasts returns, so that its squared errors mean something; else standings within a date."""
    inner = getattr(model, "of", model)  # an ensemble forecasts what its members do
    return getattr(inner, "target", "raw") == "raw" and getattr(inner, "loss", "mse") in IN_RETURNS


def audit_study(
    study: Study, prepared: Prepared, fits: list[Fit], done: Evaluation, deflation: Deflation, seen: Progress
) -> AuditReport | None:
    """Try to catch the study using the future, unless it was switched off (the report then says so)."""
    if study.settings.audit.level == "off":
        return None
    from hitherto.audit import audit
    from hitherto.study.auditing import plan, trials_counted

    tried = plan(study, prepared, fits, done)
    tried = dataclasses.replace(tried, checks=(*tried.checks, trials_counted(deflation.searched.trials)))
    report = audit(tried)
    seen.emit({"event": "audit", "exit_code": report.exit_code, "seconds": report.seconds})
    return report


def describe(study: Study, p: Prepared, fits: list[Fit], clock: dict[str, float]) -> dict[str, Any]:
    """Return run.json: digests, seeds, versions, threads, timings."""
    steps = list(clock.items())
    spent = {b[0]: round(b[1] - a[1], 2) for a, b in pairwise(steps)}
    return {
        "study_digest": study.digest(), "data_digest": p.panel.digest(), "seed": study.settings.seed,
        "seeds_per_model": study.settings.seeds, "machine": compute.record(**study.place),
        "seconds": spent,
        "fit_seconds": {f"fold{f.fold}/{f.model.name}/seed{f.seed}": round(f.seconds, 2) for f in fits},
        "samples": {f"fold{k.index}": [int(k.train.sum()), int(k.valid.sum()), int(k.test.sum())] for k in p.folds},
        "purged": {f"fold{k.index}": k.purged for k in p.folds},
    }  # fmt: skip


def save(result: Result, raw: list[Forecast]) -> None:
    """Write the run folder but its manifest."""
    run, panel = result.run, result.prepared.panel
    run.save_forecasts(panel, raw)
    run.save_books(panel, result.books)
    tensors = {
        f"fold{f.fold}/{f.model.name}/seed{f.seed}/{name}": value
        for f in result.fits
        for name, value in f.fitted.tensors().items()
    }
    run.save_tensors(tensors)
    run.save_json("run.json", result.facts)  # first: it keeps the count of trials that the numbers below rest on
    numbers = {**metrics(result.study, result.evaluation), **result.deflation.metrics()}
    run.save_json("metrics.json", {**numbers, "verdict": result.verdict})
    run.save_json("audit.json", None if result.audit is None else json.loads(result.audit.to_json()))
    result.report()
