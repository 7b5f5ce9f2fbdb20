"""Error bars and searches: intervals of all ratios, PBO, Hansen's test; how often a t finds what is not there.

3,643 days, 2,000 draws; 1,008 days x 100 trials, 16 blocks; one thread. Each time has its CPU time beside it, which a
busy machine does not stretch. The peer is the definition: each resample built and described, each combination's rows
taken, on a share of the work, scaled up. The rates are measured on worthless factors whose labels overlap.
"""

from __future__ import annotations

from harness import alone, emit, parse_args  # isort: skip  (pins threads first)

import time
from itertools import combinations, islice

import numpy as np
from scipy.signal import lfilter
from scipy.special import stdtrit

from hitherto.evaluate.comparison import diebold_mariano, superior_predictive_ability
from hitherto.evaluate.forecast import daily_ics, ic_summary
from hitherto.evaluate.inference import (
    draw_blocks,
    mean_interval,
    newey_west_t,
    nonoverlapping_t,
    ratio_intervals,
)
from hitherto.evaluate.overfitting import pbo
from hitherto.evaluate.performance import describe

DAYS, DRAWS = 3643, 2000
HORIZON, LENGTH, NAMES = 20, 1480, 50


def both(name, f, n, peer=None):
    """Emit the wall time, beside the peer's if given, then the CPU time of the same call."""
    wall = alone(f, n)
    emit(name, wall, peer, "s", n)
    start = time.process_time()
    f()
    emit(f"{name}, CPU", time.process_time() - start, None, "s", 1)


def plain_ratios(r, draws):
    """Each resample built and described by the definitions."""
    starts, lengths = draw_blocks(len(r), np.random.default_rng(0), draws, 5.0, "stationary")
    for a, k in zip(starts, lengths, strict=True):
        rows = np.concatenate([np.arange(i, i + j) for i, j in zip(a, k, strict=True) if j]) % len(r)
        describe(r[rows], 252)


def plain_pbo(r, blocks, count):
    parts = np.array_split(np.arange(len(r)), blocks)
    for pick in islice(combinations(range(blocks), blocks // 2), count):
        halves = [np.concatenate([parts[k] for k in range(blocks) if (k in pick) == side]) for side in (True, False)]
        first, second = (r[i].mean(axis=0) / r[i].std(axis=0, ddof=1) for i in halves)
        (second <= second[first.argmax()]).sum()


def worthless(seed):
    """Return the daily ICs of a persistent factor (AR(1), .99) with returns that it knows nothing of."""
    rng = np.random.default_rng([0, seed])
    factor = lfilter([1.0], [1.0, -0.99], rng.normal(size=(LENGTH + 200, NAMES)), axis=0)[200:]
    wealth = np.cumsum(rng.normal(0, 0.02, (LENGTH + HORIZON, NAMES)), axis=0)
    return daily_ics(np.ascontiguousarray(factor), wealth[HORIZON:] - wealth[:-HORIZON])[0]


def summed(ic):
    return ic_summary(ic, np.zeros(len(ic), np.int32), np.random.default_rng(0), horizon=HORIZON, draws=500)


def shown(s, side):
    """Whether interval and every 20th day both exclude 0 on the same side; side 1.0: above it, 0.0: either."""
    t = s.nonoverlapping
    agree = t.t * s.interval.estimate > 0 and (side == 0.0 or t.t > 0)
    return agree and s.interval.excludes_zero and abs(t.t) > stdtrit(t.n - 1, 0.975)


def false_positives(sims):
    tests = {
        "plain t": lambda ic: abs(nonoverlapping_t(ic, 1).t) > 1.96,
        "Newey-West, automatic lags": lambda ic: abs(newey_west_t(ic).t) > 1.96,
        f"Newey-West, {HORIZON - 1} lags": lambda ic: abs(newey_west_t(ic, HORIZON - 1).t) > 1.96,
        f"Newey-West, {2 * HORIZON} lags": lambda ic: abs(newey_west_t(ic, 2 * HORIZON).t) > 1.96,
        "every 20th day, Student's t": lambda ic: (
            abs(nonoverlapping_t(ic, HORIZON).t) > stdtrit(nonoverlapping_t(ic, HORIZON).n - 1, 0.975)
        ),
        "block bootstrap": lambda ic: mean_interval(ic, np.random.default_rng(0), draws=500).excludes_zero,
        "Diebold-Mariano, corrected": lambda ic: diebold_mariano(np.zeros_like(ic), ic, HORIZON).p < 0.05,
        "block bootstrap, blocks of 20 days at least": lambda ic: summed(ic).interval.excludes_zero,
        "the verdict: the latter and every 20th day": lambda ic: shown(summed(ic), 0.0),
        "the verdict says yes (at .025)": lambda ic: shown(summed(ic), 1.0),
    }
    found = dict.fromkeys(tests, 0)
    for seed in range(sims):
        ic = worthless(seed)
        for name, test in tests.items():
            found[name] += bool(test(ic))
    for name, hits in found.items():
        emit(f"error bars: false positives at .05, 20-day labels, 1,480 days, {name}", hits / sims, None, "share", sims)


def main() -> None:
    quick = parse_args().quick
    n = 3 if quick else 7
    rng = np.random.default_rng(0)
    r = 0.0004 + 0.01 * rng.standard_t(5, DAYS)
    start = time.perf_counter()
    ratio_intervals(r, rng, periods_per_year=252, draws=2)
    emit("error bars: the first call (numba, and compiling when the cache is empty)", time.perf_counter() - start,
         None, "s", 1)  # fmt: skip
    share = 20
    plain = alone(lambda: plain_ratios(r, DRAWS // share), 1) * share
    both(f"error bars: 11 ratios, {DRAWS:,} draws of {DAYS:,} days, blocks of 5",
         lambda: ratio_intervals(r, np.random.default_rng(0), periods_per_year=252, block=5.0), n, plain)  # fmt: skip
    both("error bars: the same, block length found (near 1: the most blocks)",
         lambda: ratio_intervals(r, np.random.default_rng(0), periods_per_year=252), n)  # fmt: skip
    trials = rng.normal(0, 0.01, (1008, 100))
    plain = alone(lambda: plain_pbo(trials, 16, 12870 // share), 1) * share
    both("error bars: PBO, 1,008 x 100, 16 blocks, 12,870 combinations", lambda: pbo(trials), n, plain)
    both("error bars: PBO, 3,643 x 1,000, 16 blocks", lambda: pbo(rng.normal(0, 0.01, (DAYS, 1000))), 1)
    losses = rng.normal(size=(1008, 20))
    both("error bars: Hansen's test, 20 models, 1,008 days, 1,000 draws (arch)",
         lambda: superior_predictive_ability(losses[:, 0] + 0.01 * trials[:, 0], losses, np.random.default_rng(0)),
         1)  # fmt: skip
    false_positives(100 if quick else 2000)


if __name__ == "__main__":
    main()
