"""Search of settings by Optuna under a wall-clock budget, pruned over folds, resumable, with every trial on record.

The module knows nothing of markets: it is given a function that scores settings on one fold. Optuna's own sampler has
one random state for a whole search; here each trial gets a fresh one from its number, so that the settings of a trial
are a function of seed, number and the trials before it, whatever was killed in between.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hitherto.errors import ConfigError, HithertoError, MissingExtraError
from hitherto.seeds import Stream
from hitherto.train.trials import Search, Trial, mean

UNITS = {"s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0}
JOURNAL, LOG, LOCK = "journal.log", "trials.jsonl", "search.lock"
FAILURES = 20  # so many failed trials in a row end a search: the space is wrong, and they cost no time


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included; ``log``: uniform in the logarithm; ``whole``: integers only.

    Errors: ConfigError for an empty or infinite range, a log range that reaches 0, or ends of a whole one that are not.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __post_init__(self) -> None:
        shown = f"Range({self.low!r}, {self.high!r})"
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ConfigError(f"search: {shown} must have finite ends with low < high")
        if self.log and self.low <= 0:
            raise ConfigError(f"search: {shown} with log=True must have low > 0")
        if self.whole and (self.low != int(self.low) or self.high != int(self.high)):
            raise ConfigError(f"search: {shown} with whole=True must have whole ends")

    def holds(self, value: Any) -> bool:
        """Return whether ``value`` lies in the range."""
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and self.low <= value <= self.high and not (self.whole and value != int(value))


@dataclass(frozen=True)
class Choice:
    """One of ``values`` (a non-empty tuple of settings that TOML can hold), without an order among them."""

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.values, tuple) or not self.values:
            raise ConfigError(f"search: Choice needs a tuple of at least one value, got {self.values!r}")

    def holds(self, value: Any) -> bool:
        """Return whether ``value`` is one of the values."""
        return any(type(v) is type(value) and v == value for v in self.values)


Space = Mapping[str, "Range | Choice"]


def parse_budget(budget: str | float) -> float:
    """Return the seconds of a budget: a number of seconds, or text such as "90 s", "10 min", "1.5 h".

    Errors: ConfigError for anything else, and for a budget that is not above 0. ("10 m" is refused: m is a month.)
    """
    number, unit = budget, "s"
    if isinstance(budget, str):
        found = re.fullmatch(r"(\d+(?:\.\d+)?) *(s|sec|min|h)?", budget.strip())
        number, unit = (float(found[1]), found[2] or "s") if found else (math.nan, "s")
    seconds = math.nan if isinstance(number, str | bool) else number * UNITS[unit]
    if not 0 < seconds < math.inf:
        raise ConfigError(
            f"budget {budget!r} is not a time above 0; give seconds, or text such as '90 s', '10 min', '48 h'"
        )
    return float(seconds)


def search(
    score: Callable[[dict[str, Any], int, Stream], float], start: Mapping[str, Any], space: Space, *, folds: int,
    budget: str | float, folder: Path, rng: Stream, digest: str = "", prune: float = 0.2, trials: int | None = None,
    emit: Callable[[dict[str, Any]], None] = lambda event: None, clock: Callable[[], float] = time.monotonic,
) -> Search:  # fmt: skip
    """Look for the settings with the highest mean score over the folds until the budget is spent.

    score(settings, fold, rng): the score of settings on a fold in 0..folds-1, higher is better; called one fold at a
    time. Its ``rng`` depends on the fold alone: equal settings get equal scores, and trials are paired. start: the
    settings as given, tried first (also where they lie outside ``space``), so that a search never ends below them.
    budget: seconds or text, see ``parse_budget``, of the whole search, earlier runs included; no fold starts after
    it. trials: at most this many, None: as many as fit. digest: of whatever else the scores depend on.
    folder: holds Optuna's journal, and trials.jsonl with a line per start and end of a trial, on the disk before the
    next one starts (number, state, settings, scores, seconds, error, digest). A folder that holds this search goes on
    where it stood: folds already scored are not scored again.

    Settings are drawn by TPE (Bergstra et al. 2011; independent per setting, the first 10 at random). A trial is pruned
    when Wilcoxon's signed-rank test of its fold scores against those of the best trial gives p < ``prune``; since k
    folds give p >= 2^-k, 0.2 needs 3 folds, all of them worse. Folds come in a random order, another one per trial.
    A score that is not finite, or a HithertoError, makes the trial "failed" and the search goes on.

    The same seed gives the same trials bit by bit (settings, order of folds, scores, pruning), interrupted or not,
    under one version of Optuna. How many there are under a time budget depends on the machine; ``trials`` fixes that.
    Errors: ConfigError for bad arguments, a folder of another search, or one at work; HithertoError when the settings
    as given fail or the budget ends before they are scored; MissingExtraError without optuna.
    """
    seconds = parse_budget(budget)
    check(start, space, folds, prune, trials)
    folder.mkdir(parents=True, exist_ok=True)
    told = {"digest": digest, "start": repr(dict(start)), "space": repr(dict(space)), "folds": folds, "prune": prune}
    identity = hashlib.sha256(json.dumps({**told, "rng": repr(rng)}).encode()).hexdigest()
    with quiet(), locked(folder):
        job = _Job(score, dict(start), space, folds, seconds, folder, rng, prune, identity, emit, clock)
        while job.goes_on(trials):
            job.run_trial()
        return job.end()


def check(start: Mapping[str, Any], space: Space, folds: int, prune: float, trials: int | None) -> None:
    """Raise a ConfigError for arguments that no search can use."""
    if not space:
        raise ConfigError("search: the space is empty; name at least one setting to vary")
    for name in space:
        if name not in start:
            raise ConfigError(f"search: the space varies '{name}', which the settings do not have: {', '.join(start)}")
    if folds < 1 or (trials is not None and trials < 1):
        raise ConfigError(f"search: folds and trials must be at least 1, got {folds} and {trials}")
    if not 0 <= prune < 1:
        raise ConfigError(f"search: prune is a p-value in [0, 1), got {prune}")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna from writing to the terminal; its settings are put back."""
    try:
        import optuna  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise MissingExtraError("a search of settings", "tune") from None
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder: the kernel frees it when this process ends, however it ends. (Not on Windows.)"""
    with open(folder / LOCK, "ab") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # a process killed while it wrote leaves Optuna's own lock, which would be waited for; now it is stale
            (folder / f"{JOURNAL}.lock").unlink(missing_ok=True)
        except ImportError:
            pass
        except OSError:
            raise ConfigError(f"search: another process searches in {folder.name}; use another folder") from None
        yield


def mend(path: Path) -> None:
    """Cut half a line off the end of a file, which a killed process may have left."""
    if path.is_file():
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.truncate(path, whole)


class _Job:
    """The moving parts of one search. The journal is the truth; trials.jsonl follows it."""

    def __init__(
        self, score: Callable[[dict[str, Any], int, Stream], float], start: dict[str, Any], space: Space, folds: int,
        budget: float, folder: Path, rng: Stream, prune: float, identity: str, emit: Callable[[dict[str, Any]], None],
        clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self.score, self.start, self.space, self.folds, self.budget = score, start, space, folds, budget
        self.rng, self.identity, self.emit, self.clock = rng, identity, emit, clock
        self.log = folder / LOG
        self.study = self._open(folder / JOURNAL, prune)
        self.done: list[Trial] = []
        self.carried: Trial | None = None  # the unfinished trial to take up again
        self._restore()
        self.began = clock() - sum(t.seconds for t in [*self.done, *([self.carried] if self.carried else [])])

    def _open(self, journal: Path, prune: float) -> Any:
        import optuna  # pyright: ignore[reportMissingImports]
        from optuna.storages.journal import JournalFileBackend, JournalStorage  # pyright: ignore[reportMissingImports]

        mend(journal)
        mend(self.log)
        study = optuna.create_study(
            study_name="search", storage=JournalStorage(JournalFileBackend(str(journal))), direction="maximize",
            pruner=optuna.pruners.WilcoxonPruner(p_threshold=prune), load_if_exists=True,
        )  # fmt: skip
        kept = study.user_attrs.get("identity", self.identity)
        if kept != self.identity:
            raise ConfigError(
                f"search: {journal.parent.name} holds a search of other data, settings, space, folds or seed; go on "
                "with those, or use another folder"
            )
        study.set_user_attr("identity", self.identity)
        return study

    def _restore(self) -> None:
        """Read the finished trials from the journal, close what was running, and complete trials.jsonl."""
        from optuna.trial import TrialState  # pyright: ignore[reportMissingImports]

        lines = self.log.read_text(encoding="utf-8").splitlines() if self.log.is_file() else []
        known = {(line["number"], line["state"]) for line in map(json.loads, lines)}
        for kept in self.study.get_trials(deepcopy=False):
            record = kept.user_attrs.get("record")
            number = kept.user_attrs.get("number")
            if kept.state == TrialState.RUNNING:
                self.study.tell(kept.number, state=TrialState.FAIL)
            if number is None:  # killed before it was drawn
                continue
            ended = kept.state == TrialState.COMPLETE or (record is not None and record["state"] == "failed")
            state = record["state"] if record is not None and (ended or record["state"] == "stopped") else "killed"
            trial = Trial(
                number, self._settings(kept.params, number), {int(k): v for k, v in kept.intermediate_values.items()},
                state, kept.user_attrs.get("seconds", 0.0), record["error"] if record is not None else None,
            )  # fmt: skip
            if ended:
                self.done.append(trial)
            if kept.state == TrialState.RUNNING or (number, state) not in known:
                self._write(trial)
            if ended:
                self.carried = None
            elif self.carried is None or len(trial.scores) >= len(self.carried.scores):
                self.carried = trial  # killed twice in one trial: the attempt that came further

    # -- when to stop ---------------------------------------------------------------------------------------------

    def spent(self) -> float:
        """Seconds since the search began, without the pauses between runs."""
        return self.clock() - self.began

    def goes_on(self, trials: int | None) -> bool:
        """Return whether another trial may start, or raise when there is no point in one."""
        if self.done and self.done[0].state == "failed":
            raise HithertoError(f"search: the settings as given fail: {self.done[0].error}")
        if len(self.done) >= FAILURES and all(t.state == "failed" for t in self.done[-FAILURES:]):
            raise HithertoError(
                f"search: {FAILURES} trials in a row failed, the last one: {self.done[-1].error}; narrow the space"
            )
        return self.spent() < self.budget and (trials is None or len(self.done) < trials)

    def end(self) -> Search:
        """Return what was found; HithertoError when not even the settings as given were scored."""
        if not self.done:
            came = len(self.carried.scores) if self.carried else 0
            pace = f" ({self.carried.seconds / came:.3g} s each)" if self.carried and came else ""
            raise HithertoError(
                f"search: the budget of {self.budget:g} s ended after {came} of {self.folds} folds of the first trial"
                f"{pace}; go on in the same folder with a longer one"
            )
        trials = [*self.done, *([self.carried] if self.carried else [])]
        return Search(tuple(trials), self.folds, sum(t.seconds for t in trials))

    # -- one trial ------------------------------------------------------------------------------------------------

    def run_trial(self) -> None:
        """Draw settings, score them fold by fold, and book the outcome."""
        number = len(self.done)
        trial, settings = self._draw(number)
        self._write(Trial(number, settings, {}, "running", 0.0))
        carried, self.carried = self.carried, None
        old = dict(carried.scores) if carried is not None else {}
        scores: dict[int, float] = {}
        seconds = carried.seconds if carried is not None else 0.0
        trial.set_user_attr("seconds", seconds)
        state, error = "complete", None
        for fold in map(int, self.rng.numpy("order", number).permutation(self.folds)):
            if scores and len(scores) < self.folds and trial.should_prune():
                state = "pruned"
                break
            if fold not in old:
                if self.spent() >= self.budget:
                    state = "stopped"
                    break
                began = self.clock()
                old[fold], error = self._score(settings, fold)
                seconds += self.clock() - began
                trial.set_user_attr("seconds", seconds)
            if error is not None:
                state = "failed"
                break
            scores[fold] = old[fold]
            trial.report(scores[fold], fold)
        self._book(trial, Trial(number, settings, scores, state, seconds, error))

    def _score(self, settings: dict[str, Any], fold: int) -> tuple[float, str | None]:
        """Return the score and why there is none."""
        try:
            value = float(self.score(dict(settings), fold, self.rng.child("fold", fold)))
        except HithertoError as e:
            return math.nan, f"fold {fold}: {e}"
        return value, None if math.isfinite(value) else f"fold {fold}: the score is {value}"

    def _draw(self, number: int) -> tuple[Any, dict[str, Any]]:
        from optuna.samplers import TPESampler  # pyright: ignore[reportMissingImports]
        from optuna.trial import TrialState  # pyright: ignore[reportMissingImports]

        # Stated although some are defaults: they differ between versions. A lie about trials that run would make the
        # draw depend on what was killed.
        self.study.sampler = TPESampler(
            seed=self.rng.number("sampler", number), n_startup_trials=10, multivariate=False, constant_liar=False
        )
        space = distributions(self.space)
        if number == 0:  # what of the given settings lies in the space teaches the sampler something
            space = {k: v for k, v in space.items() if self.space[k].holds(self.start[k])}
            if not self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):  # not even a killed attempt's
                self.study.enqueue_trial({k: self._coded(k) for k in space})
        trial = self.study.ask(space)
        trial.set_user_attr("number", number)
        return trial, self._settings(trial.params, number)

    def _coded(self, name: str) -> Any:
        inside, value = self.space[name], self.start[name]
        return inside.values.index(value) if isinstance(inside, Choice) else value

    def _settings(self, params: Mapping[str, Any], number: int) -> dict[str, Any]:
        """Return the settings of a trial: those given, changed by what was drawn."""
        if number == 0:
            return dict(self.start)
        drawn = {k: v.values[params[k]] if isinstance(v, Choice) else params[k] for k, v in self.space.items()}
        return {**self.start, **drawn}

    def _book(self, trial: Any, outcome: Trial) -> None:
        from optuna.trial import TrialState  # pyright: ignore[reportMissingImports]

        ended = outcome.state in ("complete", "pruned")
        value = None
        if ended:
            value = outcome.score if outcome.state == "complete" else self._estimate(outcome.scores)
        trial.set_user_attr("record", {"state": outcome.state, "error": outcome.error})
        self.study.tell(trial, value, state=TrialState.COMPLETE if ended else TrialState.FAIL)
        self._write(outcome)
        if outcome.state == "stopped":
            self.carried = outcome
        else:
            self.done.append(outcome)
        best = max((t.score for t in self.done if t.state == "complete"), default=None)
        self.emit({"event": "trial", "number": outcome.number, "state": outcome.state, "best": best,
                   "score": outcome.score, "seconds": outcome.seconds})  # fmt: skip

    def _estimate(self, scores: Mapping[int, float]) -> float:
        """Return what a pruned trial would have scored, from its distance to the best trial on the folds it had.

        Optuna learns nothing from the score of a pruned trial otherwise; it is kept below the best.
        """
        best = self.study.best_trial
        behind = mean({k: v - best.intermediate_values[k] for k, v in scores.items()})
        return min(best.value + behind, math.nextafter(best.value, -math.inf))

    def _write(self, t: Trial) -> None:
        line = {"number": t.number, "state": t.state, "settings": dict(t.settings), "scores": dict(t.scores),
                "score": mean(t.scores) if t.scores else None, "seconds": round(t.seconds, 3), "error": t.error,
                "digest": self.identity}  # fmt: skip
        with open(self.log, "ab") as file:
            file.write((json.dumps(line, ensure_ascii=False) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())


def distributions(space: Space) -> dict[str, Any]:
    """Return the space in Optuna's words; a Choice becomes the position among its values."""
    from optuna import distributions as of  # pyright: ignore[reportMissingImports]

    out: dict[str, Any] = {}
    for name, inside in space.items():
        if isinstance(inside, Choice):
            out[name] = of.CategoricalDistribution(tuple(range(len(inside.values))))
        elif inside.whole:
            out[name] = of.IntDistribution(int(inside.low), int(inside.high), log=inside.log)
        else:
            out[name] = of.FloatDistribution(inside.low, inside.high, log=inside.log)
    return out
