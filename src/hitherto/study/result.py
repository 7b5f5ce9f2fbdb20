"""Result: what a study found, in memory and as a run folder."""

from __future__ import annotations

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
from hitherto.models.base import Context, Forecast
from hitherto.progress import Progress
from hitherto.run import Run, plain
from hitherto.seeds import Stream
from hitherto.study.core import Fit, Prepared, Study, forecasts_of
from hitherto.study.evaluate import EQUAL, Evaluation, evaluate, metrics
from hitherto.study.trading import first_test, floor

if TYPE_CHECKING:
    from hitherto.audit import AuditReport
    from hitherto.report.content import ReportContent


@dataclass(frozen=True, eq=False)
class Result:
    """The outcome of ``Study.run``.

    scores: (T, N) float64 cross-sectional z-scores of the first model, NaN outside the tests. book: its Book under the
    first portfolio; books: all of them by name. forecasts: model -> Forecast (T, N, O). audit: what was tried to catch
    the study using the future. run: the folder.
    """

    study: Study
    run: Run
    prepared: Prepared
    fits: list[Fit]
    evaluation: Evaluation
    verdict: Verdict
    audit: AuditReport | None
    facts: dict[str, Any]

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
        from hitherto.report.html import plain_summary

        return f"{plain_summary(self.content())}\nreport: {self.run.folder / 'report.html'}"

    def to_json(self) -> str:
        """Return metrics, verdict, audit and run folder as JSON."""
        audit = None if self.audit is None else json.loads(self.audit.to_json())
        body = {"run": str(self.run.folder), "verdict": self.verdict.headline, "audit": audit}
        return json.dumps(plain({**body, **metrics(self.study, self.evaluation)}), ensure_ascii=False)

    def __repr__(self) -> str:
        return f"Result({self.evaluation.main}: {self.verdict.headline})"


def run_study(study: Study, folder: Path, *, resume: bool, progress: str) -> Result:
    """Run a study into ``folder``. Nothing is written before the study and its data have proved sound."""
    clock = {"began": time.time()}
    _ = study.place  # a device that is not there is refused before the bars are read
    prepared = study.prepare()
    market = floor(study, prepared.panel, first_test(prepared))
    _ = market.usual  # what the exchange needs is asked before anything is trained
    run = Run.start(folder, study.toml(), resume=resume)
    with Progress(mode=progress, log_path=folder / "events.jsonl") as seen:  # type: ignore[arg-type]
        seen.emit({"event": "prepared", "bars": len(prepared.panel.times), "symbols": len(prepared.panel.symbols),
                   "features": len(prepared.features.names), "folds": len(prepared.folds)})  # fmt: skip
        clock["prepared"] = time.time()
        fits = study.fit_all(prepared, contexts(study, run, seen, resume))
        clock["fitted"] = time.time()
        raw = forecasts_of(fits, prepared.panel.shape, prepared.label.names)
        evaluation = evaluate(study, prepared, raw, market)
        verdict = judge_study(study, evaluation)
        clock["evaluated"] = time.time()
        audit = audit_study(study, prepared, fits, evaluation, seen)
        clock["audited"] = time.time()
        facts = describe(study, prepared, fits, clock) | {"exchange_digest": evaluation.floor.digest()}
        result = Result(study, run, prepared, fits, evaluation, verdict, audit, facts)
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


def judge_study(study: Study, e: Evaluation) -> Verdict:
    """Return the verdict: the strategy against equal weight and against ridge, by the stated rule."""
    primary = study.models[0].name
    rivals = {EQUAL: e.books[EQUAL]}
    if primary != "ridge" and "ridge" in e.of_model:
        rivals["ridge"] = e.books[e.of_model["ridge"]]
    naive = e.summaries["persistence"][e.output] if "persistence" in e.summaries else None
    return judge(
        e.books[e.main], rivals, periods_per_year=study.settings.periods_per_year,
        rng=Stream(study.settings.seed, "verdict"), forecast=e.summaries[primary][e.output], naive=naive,
    )  # fmt: skip


def audit_study(
    study: Study, prepared: Prepared, fits: list[Fit], done: Evaluation, seen: Progress
) -> AuditReport | None:
    """Try to catch the study using the future, unless it was switched off (the report then says so)."""
    if study.settings.audit.level == "off":
        return None
    from hitherto.audit import audit
    from hitherto.study.auditing import plan

    report = audit(plan(study, prepared, fits, done))
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
    run.save_json("metrics.json", {**metrics(result.study, result.evaluation), "verdict": result.verdict})
    run.save_json("audit.json", None if result.audit is None else json.loads(result.audit.to_json()))
    run.save_json("run.json", result.facts)
    result.report()
