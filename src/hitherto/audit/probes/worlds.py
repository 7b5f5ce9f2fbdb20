"""P8: null worlds. Where outcomes cannot be predicted, skill must vanish; what is left of it came from the future.

The prices of the panel are replaced by worlds in which every bar's cross-section of returns is symmetric around 0 and
independent of all before it, so that the rank correlation of any number known at t with a later return is 0 on average,
exactly and for any length. A target that still shows skill there reads the outcome, however it does it; and an
evaluation that still reports skill there chose, or counted, with what it is judged by.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hitherto.audit.probes import attempt, since
from hitherto.audit.target import Counted, Target, counted
from hitherto.audit.verdict import CLASSES, Finding, ProbeResult, Status, place
from hitherto.errors import ConfigError, DataError
from hitherto.panel import PRICES, Floats, Mask, Panel
from hitherto.seeds import Stream

World = Literal["resampled", "walk"]
WORLDS: tuple[World, ...] = ("resampled", "walk")
LAGS = (1, 2, 5)  # bars ahead
NAMES = 5  # listings with number and return below which a date says nothing
DATES = 60  # such dates in all worlds below which nothing is said
ERRORS = 4.0  # standard errors from 0 at which skill is a leak; more when many columns are asked
ALARM = 0.005  # chance of a false alarm in one probe, shared among columns and lags
STEP = 0.5  # largest simple return of a bar in a world: a fall mirrors a rise, and no price reaches 0
FEWEST = 5  # scores below which nothing is said of an evaluation


@dataclass(frozen=True)
class Skill:
    """Mean daily rank correlation with the return ``lag`` bars later: on the panel, in the worlds, and its errors.

    z: the worlds' mean in standard errors. limit: the z that is an alarm. p: share of worlds, the panel counted as
    one (Phipson and Smyth 2010), whose skill is at least the panel's. dates: dates in all worlds.
    """

    lag: int
    real: float
    null: float
    z: float
    limit: float
    p: float
    dates: int

    @property
    def alarm(self) -> bool:
        """Whether luck is no explanation of the skill in the null worlds."""
        return abs(self.z) > self.limit


def probe(
    target: Target | Counted, panel: Panel, rng: Stream, *, worlds: int = 6, refit: bool = False,
    leak: str | None = None, span: tuple[int, int] | None = None,
) -> ProbeResult:  # fmt: skip
    """Evaluate ``target`` on the panel and in ``worlds`` null worlds, and compare its skill with 0.

    Costs ``worlds`` + 1 evaluations. Skill: rank correlation across listings, dates with at least 5 of them, averaged
    over all dates of all worlds, with the returns 1, 2 and 5 bars later; LEAK when it is 4 standard errors from 0
    (more with many columns: a false alarm has a chance below 0.5 % in one probe). refit: the target fits anew on the
    panel it is given. leak: the class, where another probe knows it; otherwise L05 for a refit, L01 when only the next
    bar is known, L02 when also later ones. span: first and last row that count.

    "not assessed" with fewer than 5 listings or 60 dates: along time alone the correlation of an honest level with its
    next change is not 0.
    """
    begun = time.perf_counter()
    if worlds < 2:
        raise ConfigError(f"audit: {worlds} null worlds have no spread; take 2 or more")
    target = counted(target)
    kinds: list[World] = [WORLDS[i % len(WORLDS)] for i in range(worlds)]
    what = f"skill in {worlds} null worlds ({', '.join(dict.fromkeys(kinds))}), {worlds + 1} evaluations"
    if not any(p in panel.fields for p in PRICES) or panel.shape[1] < NAMES:
        why = f"needs prices of {NAMES} listings or more, to rank across"
        return ProbeResult("P8", target.name, what, "not assessed", why, seconds=since(begun))
    base = target.run(panel)
    real = {n: daily(v, panel, span) for n, v in base.items()}
    null: dict[str, list[Floats]] = {n: [] for n in base}
    errors: list[str] = []
    for i, kind in enumerate(kinds):
        world = null_world(panel, kind, rng.child("world", i))
        new, error = attempt(target, world)
        if error or any(n not in new for n in base):
            errors.append(f"{kind}: {error or f'{target.name} lost a column'}")
            continue
        for n in base:
            null[n].append(daily(new[n], world, span))
    asked = {n: judge(real[n], null[n], len(base)) for n in base if null[n]}
    asked = {n: s for n, s in asked.items() if s}
    found = tuple(
        _finding(target, n, s, refit, leak)
        for n, s in asked.items()
        if n not in target.planted and any(one.alarm for one in s)
    )
    hits = {n: (sum(one.alarm for one in s), len(s)) for n, s in asked.items()}
    most = max((h for n, h in hits.items() if n not in target.planted), default=(0, 0))
    status = "LEAK" if found else "cannot tell" if errors else "ok" if asked else "not assessed"
    said = [*dict.fromkeys(errors)]
    said += [_words(asked, target)] if asked else [f"fewer than {DATES} dates with {NAMES} numbers and returns"]
    return ProbeResult("P8", target.name, what, status, "; ".join(said), most, found, hits, seconds=since(begun))


def score_probe(
    f: Callable[[Panel], ArrayLike], panel: Panel, rng: Stream, *, worlds: int = 20, leak: str = "L19",
    name: str | None = None,
) -> ProbeResult:  # fmt: skip
    """Run an evaluation in ``worlds`` null worlds, where the skill that it reports must vanish.

    f: a panel in; the score that it claims out, a float, or (D,) scores by date of which the mean of the known ones
    counts. Costs ``worlds`` + 1 evaluations. LEAK, of class ``leak``, when the worlds' mean score is above 0 by what
    corresponds to 4 standard errors (one-sided t test, level 3e-5: room for scores that are not normal, so that a false
    alarm stays below 0.5 %).

    Assumed: an honest score has mean 0 or less in these worlds, and no long left tail. That holds for a rank
    correlation with later returns and for the Sharpe ratio or mean of long-short returns from close to close; costs
    lower it. It does not hold for a hit rate (take 0.5 off) or a number that is never negative. "cannot tell" when the
    evaluation raises or gives no finite score. Errors: ConfigError for fewer than 5 worlds or an unknown class.
    """
    begun = time.perf_counter()
    if worlds < FEWEST:
        raise ConfigError(f"audit: {worlds} null worlds are too few to judge a score by; take {FEWEST} or more")
    if leak not in CLASSES:
        raise ConfigError(f"audit: no class of leaks '{leak}'; it is one of L01 to L32")
    title: str = name or getattr(f, "__name__", type(f).__name__)
    tried = f"the score in {worlds} null worlds ({', '.join(WORLDS)}), {worlds + 1} evaluations"

    def result(status: Status, detail: str, hits: int = 0, found: tuple[Finding, ...] = ()) -> ProbeResult:
        return ProbeResult("P8", title, tried, status, detail, (hits, worlds), found, {title: (hits, worlds)},
                           seconds=since(begun))  # fmt: skip

    if not any(p in panel.fields for p in PRICES):
        return result("not assessed", "needs prices")
    real, error = _score(f, panel)
    if error:
        return result("cannot tell", f"{title} {error} on the unchanged panel")
    scores, errors = [], []
    for i in range(worlds):
        one, error = _score(f, null_world(panel, WORLDS[i % len(WORLDS)], rng.child("score", i)))
        if error:
            errors.append(f"{title} {error} in a null world")
        else:
            scores.append(one)
    if len(scores) < FEWEST:
        return result("cannot tell", "; ".join(dict.fromkeys(errors)))
    null = np.asarray(scores, np.float64)
    mean = float(null.mean())
    error_of = max(float(null.std(ddof=1)), 1e-9 * abs(mean)) / math.sqrt(len(null))
    limit = _limit(len(null) - 1)
    z = mean / error_of if error_of > 0 else 0.0
    hits = int((null > 0).sum())
    p = (int((null >= real).sum()) + 1) / (len(null) + 1)
    said = f"mean {mean:+.4g} in the worlds, {real:+.4g} on the panel (p = {p:.2g})"
    detail = "; ".join([*dict.fromkeys(errors), f"{said}; {limit * error_of:.4g} would have been seen"])
    if z <= limit:
        return result("cannot tell" if errors else "ok", detail, hits)
    note = f"score on the panel -> mean in worlds where nothing can be predicted, {z:.0f} standard errors above 0"
    found = Finding(leak, title, "P8", hits, len(null), None, "", real, mean, of="worlds", note=note)
    return result("LEAK", detail, hits, (found,))


def _score(f: Callable[[Panel], ArrayLike], panel: Panel) -> tuple[float, str]:
    """Return the score, or 0 and what went wrong: foreign code may raise anything."""
    try:
        values = np.asarray(f(panel), np.float64).ravel()
    except Exception as e:  # noqa: BLE001  the evaluation is somebody else's code; what it raised is reported
        return 0.0, f"raised {type(e).__name__}: {e}".split("\n")[0][:200]
    known = values[np.isfinite(values)]
    return (float(known.mean()), "") if len(known) else (0.0, "gave no finite score")


def _limit(df: int) -> float:
    """The t value whose chance is that of a normal number beyond ERRORS."""
    from scipy.special import stdtr, stdtrit

    return float(-stdtrit(df, float(stdtr(1e9, -ERRORS))))


def null_world(panel: Panel, kind: World, rng: Stream) -> Panel:
    """Return the panel with prices of a market that nobody can predict; masks, NaN and all other fields are kept.

    "resampled": each bar takes the returns of a random bar of the panel with one random sign for all listings, which
    keeps volatilities and correlations; intraday shapes come with it, mirrored with the sign. "walk": independent
    normal returns with each listing's volatility. It is the simple returns from close to close that are symmetric (of
    50 % at most), so that long-short books earn 0 on average there, whatever the volatilities. A factor is kept: the
    raw price steps where it does.
    """
    if kind not in WORLDS:
        raise ConfigError(f"audit: a null world is one of {', '.join(WORLDS)}, not {kind!r}")
    prices = [p for p in PRICES if p in panel.fields]
    if not prices:
        raise DataError(f"null worlds need a price; these bars hold only {', '.join(panel.fields)}")
    lead = "close" if "close" in prices else prices[0]
    T, N = panel.shape
    draw = rng.numpy("null", kind)
    returns = np.clip(np.expm1(log_returns(panel.view(lead))), -STEP, STEP)
    known = np.isfinite(returns)
    count = np.maximum(known.sum(axis=0), 1)
    spread = np.sqrt((np.where(known, returns, 0.0) ** 2).sum(axis=0) / count)
    steps = np.clip(spread * draw.standard_normal((T, N)), -STEP, STEP)
    rows = draw.integers(0, T, T)
    sign = np.ones(T)
    if kind == "resampled":
        pool = np.flatnonzero(known.mean(axis=1) > 0.5 * known.mean(axis=1).max(initial=0.0))
        if len(pool):
            rows = pool[draw.integers(0, len(pool), T)]
        sign = np.where(draw.random(T) < 0.5, -1.0, 1.0)
        drawn = returns[rows] * sign[:, None]
        steps = np.where(np.isfinite(drawn), drawn, steps)
    steps[0] = 0.0
    path = _first(panel.view(lead)) * np.cumprod(1.0 + steps, axis=0)
    if "factor" in panel.fields:
        path = path / np.where(np.isfinite(panel.fields["factor"]), panel.fields["factor"], 1.0)
    fields = dict(panel.fields)
    swap = {"high": "low", "low": "high"}
    for name in prices:
        shape = _shape(panel, name, lead)[rows]
        other = _shape(panel, swap.get(name, name), lead)[rows] if swap.get(name, name) in prices else shape
        bent = np.where(sign[:, None] > 0, shape, -other)
        fields[name] = np.where(np.isfinite(panel.fields[name]), path * np.exp(bent), np.nan)
    return panel.replace(fields=fields)


def log_returns(values: Floats) -> Floats:
    """Return (T, N) float64 log returns from the row before; NaN where either price is unknown or not above 0."""
    out = np.full(values.shape, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        out[1:] = np.diff(np.log(values), axis=0)
    out[~np.isfinite(out)] = np.nan
    return out


def daily(numbers: NDArray, panel: Panel, span: tuple[int, int] | None = None) -> Floats:
    """Return (lags, T) rank correlations of row t's numbers with the returns of bar t + lag; NaN below 5 listings.

    Ties get their average rank. Ranks are those among a date's known numbers and known returns.
    """
    lead = "close" if "close" in panel.fields else next(p for p in PRICES if p in panel.fields)
    returns = log_returns(panel.view(lead))
    x = np.asarray(numbers, np.float64)
    x = np.where(np.isfinite(x), x, np.nan)
    if span is not None:
        rows = np.arange(len(x))
        x = np.where(((rows >= span[0]) & (rows <= span[1]))[:, None], x, np.nan)
    own, ranked = _ranks(x), _ranks(returns)
    out = np.full((len(LAGS), len(x)), np.nan)
    for i, lag in enumerate(LAGS):
        if lag < len(x):
            out[i, :-lag] = _correlations(own[:-lag], ranked[lag:])
    return out


def judge(real: Floats, worlds: list[Floats], columns: int = 1) -> list[Skill]:
    """Return the skill at each lag that has at least 60 dates; real, worlds: (lags, T) of ``daily``."""
    from scipy.special import stdtrit

    out = []
    for i, lag in enumerate(LAGS):
        values = [w[i][np.isfinite(w[i])] for w in worlds]
        pooled = np.concatenate(values)
        D = len(pooled)
        if D < DATES:
            continue
        # Given all before it, a date's correlation is 0 on average: dates and worlds are uncorrelated.
        mean, spread = float(pooled.mean()), float(pooled.std(ddof=1))
        error = max(spread, 1e-9) / math.sqrt(D)
        # The level that shares ALARM among all that is asked, and never a laxer one than 4 standard errors.
        strict = float(-stdtrit(D - 1, ALARM / (2 * columns * len(LAGS))))
        limit = max(_limit(D - 1), strict)
        own = real[i][np.isfinite(real[i])]
        skill = float(own.mean()) if len(own) else float("nan")
        least = sum(float(v.mean()) >= skill for v in values if len(v))
        out.append(Skill(lag, skill, mean, mean / error, limit, (least + 1) / (len(values) + 1), D))
    return out


def _finding(target: Counted, name: str, skills: list[Skill], refit: bool, leak: str | None) -> Finding:
    guilty = [s for s in skills if s.alarm]
    worst = max(guilty, key=lambda s: abs(s.null))
    if leak is None or leak not in CLASSES:
        leak = "L05" if refit else "L01" if guilty[-1].lag == 1 else "L02"
    lags = ", ".join(str(s.lag) for s in guilty)
    note = (
        f"skill on the panel -> in worlds without any, {abs(worst.z):.0f} standard errors from 0, "
        f"bars ahead: {lags}; p of the panel's skill {worst.p:.2g}"
    )
    return Finding(leak, place(target.name, name), "P8", len(guilty), len(skills), None, "", worst.real,
                   worst.null, of="lags", note=note)  # fmt: skip


def _words(asked: Mapping[str, list[Skill]], target: Counted) -> str:
    mine = {n: s for n, s in asked.items() if n not in target.planted} or asked
    name, s = max(((n, one) for n, s in mine.items() for one in s), key=lambda pair: abs(pair[1].z) / pair[1].limit)
    error = abs(s.null / s.z) if s.z else 0.0
    return (
        f"largest at {name}, {s.lag} bar{'s' * (s.lag != 1)} ahead: {s.null:+.4f} in the worlds, {s.real:+.4f} on the "
        f"panel (p = {s.p:.2g}); a skill of {s.limit * error:.4f} would have been seen"
    )


def _ranks(values: Floats) -> Floats:
    """Average ranks by row among known numbers, NaN elsewhere."""
    from scipy.stats import rankdata

    known: Mask = np.isfinite(values)
    ranks = rankdata(np.where(known, values, np.inf), axis=1)
    return np.where(known, ranks, np.nan)


def _correlations(a: Floats, b: Floats) -> Floats:
    """Correlation by row over the cells that both know; NaN below ``NAMES`` cells or without spread."""
    both = np.isfinite(a) & np.isfinite(b)
    n = both.sum(axis=1)
    a, b = np.where(both, a, 0.0), np.where(both, b, 0.0)
    some = np.maximum(n, 1)[:, None]
    a = np.where(both, a - a.sum(axis=1, keepdims=True) / some, 0.0)
    b = np.where(both, b - b.sum(axis=1, keepdims=True) / some, 0.0)
    size = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    ok = (n >= NAMES) & (size > 1e-9)
    return np.where(ok, (a * b).sum(axis=1) / np.where(ok, size, 1.0), np.nan)


def _first(values: Floats) -> Floats:
    """(N,) the first known value, 1 where there is none."""
    known = np.isfinite(values)
    first = values[known.argmax(axis=0), np.arange(values.shape[1])]
    return np.where(known.any(axis=0) & (first > 0), first, 1.0)


def _shape(panel: Panel, name: str, lead: str) -> Floats:
    """(T, N) log of a price over the lead price of its bar, 0 where unknown."""
    with np.errstate(divide="ignore", invalid="ignore"):
        out = np.log(panel.fields[name] / panel.fields[lead])
    return np.where(np.isfinite(out), out, 0.0)
