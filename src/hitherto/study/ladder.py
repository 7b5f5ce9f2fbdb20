"""The ladder: every rung of a study beside the one below it, beside ridge, and beside random scores under its rules."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hitherto import hindsight
from hitherto.errors import DataError
from hitherto.evaluate.forecast import summarise
from hitherto.evaluate.inference import Interval, paired_difference, ratio_intervals
from hitherto.exchange.account import Book
from hitherto.files import write_atomic
from hitherto.run import plain
from hitherto.seeds import Stream
from hitherto.study.core import KINDS, Fit, forecasts_of
from hitherto.study.evaluate import tested, weigh
from hitherto.study.result import Result

Floats = NDArray[np.float64]
DRAWS = 20  # books of random scores


@dataclass(frozen=True)
class Rung:
    """One model of the ladder; intervals are (estimate, low, high) at 95 %, None where there is nothing to say.

    ic, rank_ic: of the mean forecast over ``seeds``, with intervals; by_seed: (IC, RankIC) of each seed alone.
    over_ridge, over_below: paired daily RankIC difference from ridge, and from the rung below in the list.
    net: compound annual return after costs; over_random: annual net return above the mean of random books, paired;
    capture: share of the way from the worst to the best perfect-foresight book. seconds: of each fit, CPU seconds of a
    net, wall time of others; epochs: of each fit.
    """

    model: str
    seeds: int
    ic: Interval | None
    rank_ic: Interval | None
    icir: Interval | None
    rank_icir: Interval | None
    by_seed: tuple[tuple[float | None, float | None], ...]
    over_ridge: Interval | None
    over_below: Interval | None
    net: float | None
    over_random: Interval | None
    capture: float | None
    seconds: tuple[float, ...]
    epochs: tuple[int, ...]

    @property
    def words(self) -> str:
        """What the paired interval against ridge says."""
        if self.over_ridge is None:
            return "ridge itself" if self.model == "ridge" else "ranks nothing"
        if self.over_ridge.lo > 0:
            return "above ridge"
        return "below ridge" if self.over_ridge.hi < 0 else "indistinguishable from ridge"


@dataclass(frozen=True, eq=False)
class Ladder:
    """The ladder of a finished study, from the simplest kind of model to the most demanding, as in study.core.KINDS."""

    result: Result

    @cached_property
    def rungs(self) -> list[Rung]:
        """Every model's rung."""
        place = {cls: k for k, (_, cls) in enumerate(KINDS.values())}
        height = {m.name: place.get(type(m).__name__, len(place)) for m in self.result.study.models}
        names = sorted(self.result.evaluation.summaries, key=height.__getitem__)  # stable: as listed within a kind
        return [self._rung(name, names[k - 1] if k else None) for k, name in enumerate(names)]

    def _rung(self, name: str, below: str | None) -> Rung:
        r = self.result
        e = r.evaluation
        s = e.summaries[name][e.output]
        fits = [f for f in r.fits if f.model.name == name]
        alone = forecasts_of(fits, r.prepared.panel.shape, r.prepared.label.names)
        singles = [summarise(f, r.prepared.label, e.output, rng=Stream(0), draws=1) for f in alone]
        histories = [getattr(f.fitted, "history", None) for f in fits]
        book = None if name not in e.of_model else e.books[e.of_model[name]]
        return Rung(
            name, len(alone), s.ic.interval, s.rank_ic.interval, self._ratio(s.daily_ic), self._ratio(s.daily_rank_ic),
            tuple((x.ic.mean, x.rank_ic.mean) for x in singles),
            None if name == "ridge" else self._gain(name, "ridge"), None if below is None else self._gain(name, below),
            None if book is None else e.performance[e.of_model[name]].cagr, self._over_random(name, book),
            None if book is None else self._capture(name, book), tuple(_seconds(f) for f in fits),
            tuple(len(h.epochs) for h in histories if h is not None),
        )  # fmt: skip

    def _ratio(self, daily: Floats) -> Interval | None:
        """Return mean over deviation of a daily series with its interval: the ICIR is its Sharpe ratio a day."""
        rng = Stream(self.result.study.settings.seed, "ladder", "icir")
        try:
            return ratio_intervals(daily[np.isfinite(daily)], rng.numpy(), periods_per_year=1.0).get("sharpe")
        except DataError:  # a forecast of nothing has no IC on any date
            return None

    def _gain(self, name: str, rival: str) -> Interval | None:
        e = self.result.evaluation
        if rival not in e.summaries:
            return None
        a, b = (e.summaries[m][e.output].daily_rank_ic for m in (name, rival))
        both = np.isfinite(a) & np.isfinite(b)
        return self._paired(a[both], b[both], "gain", name, rival)

    def _paired(self, a: Floats, b: Floats, *path: str, per_year: float = 1.0) -> Interval | None:
        rng = Stream(self.result.study.settings.seed, "ladder", *path)
        try:
            return paired_difference(a, b, rng.numpy(), periods_per_year=per_year)
        except DataError:  # a forecast of nothing, or too short a test
            return None

    @cached_property
    def random(self) -> Floats:
        """(DRAWS, bars) net returns of books of random scores through the study's own rule, costs and fills."""
        r = self.result
        p, study = r.prepared, r.study
        span = tested(r.evaluation.forecasts[study.models[0].name])
        rng = Stream(study.settings.seed, "ladder", "random").numpy()
        known = np.isfinite(r.scores)
        out = []
        for _ in range(DRAWS):
            drawn = np.where(known, rng.standard_normal(known.shape), np.nan)
            weights = weigh(study.settings.portfolio[0], drawn, p.admitted, p.panel, r.evaluation.floor.proportional)
            out.append(r.evaluation.floor.trade(weights, "random", span).returns)
        return np.stack(out)

    def _over_random(self, name: str, book: Book | None) -> Interval | None:
        if book is None:
            return None
        per = self.result.study.settings.periods_per_year
        return self._paired(book.returns, self.random.mean(axis=0), "random", name, per_year=per)

    def _capture(self, name: str, book: Book) -> float | None:
        r = self.result
        rule = r.study.settings.portfolio[0]
        decided = np.flatnonzero(r.evaluation.weights[r.evaluation.of_model[name]].decided)
        rows = decided[(decided >= book.start) & (decided < book.start + len(book.equity) - 1)]
        if rule.rule != "topk_dropout" or len(rows) < 3:
            return None
        panel = r.prepared.panel
        best, worst = hindsight.best_topk(panel, rule.k, rows), hindsight.worst_topk(panel, rule.k, rows)
        return hindsight.capture(hindsight.rebalance_returns(book, rows), best, worst)

    def to_text(self) -> str:
        """Return the table as Markdown, which a terminal shows as well as a page."""
        per = self.result.study.settings.periods_per_year
        mean = np.mean([_yearly(x, per) for x in self.random])
        head = ("rung", "IC (95 %)", "ICIR (95 %)", "RankIC (95 %)", "RankICIR (95 %)", "RankIC by seed", "over ridge",
                "over the one above", "net a year", "over random (95 %)", "capture", "s a fit", "epochs",
                "verdict")  # fmt: skip
        rows = [head, tuple("---" for _ in head), *(_cells(x) for x in self.rungs)]
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        label = self.result.prepared.label.names[self.result.evaluation.output]
        note = (
            f"IC and RankIC of {label}, mean over seeds of the forecasts; paired daily RankIC differences. "
            f"{DRAWS} books of random scores through the same rule and costs return {100 * mean:.1f} % a year net."
        )
        return "\n".join([*lines, "", note, self._luck()])

    def _luck(self) -> str:
        """Say what the best of all trials on this test data would show by luck alone, by the trial ledger."""
        s, per = self.result.searched, self.result.study.settings.periods_per_year
        if s.luck is None:
            return f"{s.trials} trials have read this test data."
        return (
            f"{s.trials} trials have read this test data: luck alone shows a Sharpe ratio of {s.luck * per**0.5:.2f} a "
            "year as the best of them."
        )

    def to_json(self) -> str:
        """Return every rung as JSON, and the count of trials on this test data."""
        body = [{**asdict(x), "verdict": x.words} for x in self.rungs]
        more = {"random": self.random.mean(axis=1), "searched": self.result.searched}
        return json.dumps(plain({"rungs": body, **more}), ensure_ascii=False)


def _seconds(fit: Fit) -> float:
    history = getattr(fit.fitted, "history", None)  # its time counts what was spent before a resume
    return round(fit.seconds if history is None else history.spent, 1)


def _yearly(returns: Floats, per_year: float) -> float:
    return float(np.prod(1 + returns) ** (per_year / len(returns)) - 1)


def _cells(x: Rung) -> tuple[str, ...]:
    by_seed = " ".join(_short(v[1]) for v in x.by_seed) if x.seeds > 1 else ""
    return (
        x.model, _interval(x.ic), _interval(x.icir, 2), _interval(x.rank_ic), _interval(x.rank_icir, 2), by_seed,
        _interval(x.over_ridge), _interval(x.over_below), "" if x.net is None else f"{100 * x.net:.1f} %",
        _percent(x.over_random), "" if x.capture is None else f"{x.capture:.3f}",
        "" if not x.seconds else f"{np.mean(x.seconds):.0f}", " ".join(map(str, x.epochs)), x.words,
    )  # fmt: skip


def _interval(i: Interval | None, digits: int = 4) -> str:
    return "" if i is None else f"{_short(i[0], digits)} ({_short(i[1], digits)}, {_short(i[2], digits)})"


def _percent(i: Interval | None) -> str:
    return "" if i is None else f"{100 * i.estimate:.1f} % ({100 * i.lo:.1f}, {100 * i.hi:.1f})"


def _short(v: float | None, digits: int = 4) -> str:
    return "" if v is None else re.sub(r"^(-?)0\.", r"\1.", f"{v:.{digits}f}")


def command(
    study: Path, out: Path | None, assignments: list[str], *, resume: bool, quiet: bool, as_json: bool
) -> tuple[str, int]:
    """Run a study file (or take up its run in ``out``); return its ladder as text, and the audit's exit code.

    The table is kept in the run folder as ladder.md.
    """
    from hitherto.study.core import Study

    result = Study.load(study, assignments).run(out, resume=resume, progress="off" if quiet else "auto")
    ladder = Ladder(result)
    write_atomic(result.run.folder / "ladder.md", (ladder.to_text() + "\n").encode())
    text = ladder.to_json() if as_json else f"{ladder.to_text()}\nreport: {result.run.folder / 'report.html'}"
    return text, 0 if result.audit is None else result.audit.exit_code
