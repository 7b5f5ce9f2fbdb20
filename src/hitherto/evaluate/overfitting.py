"""Probability of backtest overfitting by combinatorially symmetric cross-validation (CSCV).

The rows are cut into blocks; for every choice of half of them the best trial on that half is looked up on the other
half. A search that finds something keeps its winner above the median there; one that fits noise does not. The Sharpe
ratio of any union of blocks needs only sums of first and second powers by block, so all combinations are two matrix
products. Source: Bailey, Borwein, Lopez de Prado and Zhu, "The Probability of Backtest Overfitting", Journal of
Computational Finance 20(4), 2017, section 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hitherto.errors import ConfigError, DataError
from hitherto.evaluate.performance import ROUNDING

Floats = NDArray[np.float64]
MOST_BLOCKS = 20  # 184,756 combinations
CELLS = 1 << 19  # Sharpe ratios held at once for one half (4 MB), whatever the number of trials
TIE = 1e-12  # Sharpe ratios closer than this are equal: sums in another order differ by less


@dataclass(frozen=True, eq=False)
class Overfitting:
    """What became of the winners of a search on data that did not choose them.

    pbo: share of combinations whose winner ended in the lower half, logit <= 0. loss: share whose winner's Sharpe ratio
    was below 0 there. slope, intercept: least squares of the winner's out-of-sample on its in-sample Sharpe ratio;
    NaN when the latter never varies. logits, in_sample, out_sample: (C,) float64, one per combination, in the order
    of ``itertools.combinations``; Sharpe ratios per period. winner: (C,) its column. trials, blocks: how many.
    """

    pbo: float
    loss: float
    slope: float
    intercept: float
    logits: Floats
    in_sample: Floats
    out_sample: Floats
    winner: NDArray[np.int64]
    trials: int
    blocks: int


def pbo(returns: ArrayLike, blocks: int = 16) -> Overfitting:
    """Return the probability of backtest overfitting of a search from the returns (T, N) of its N trials.

    returns: simple, per period, above the risk-free rate if that matters, one column per trial, losers included.
    blocks: even, 2..20, their sizes differ by one row at most; C(blocks, blocks / 2) combinations. The rank of the
    winner among N is averaged over ties, the first of equal winners wins, and its logit is ln(w / (1 - w)) with
    w = rank / (N + 1). Even worthless trials give .5 only on average over many searches: one search lies anywhere
    from .2 to .8. Errors: ConfigError for the blocks; DataError for NaN or inf, fewer than two trials, fewer than
    two rows a block, or a trial that does not move on some half.
    """
    r = _checked(returns, blocks)
    T, N = r.shape
    edges = np.arange(blocks + 1) * T // blocks
    still = np.ptp(r, axis=0) <= ROUNDING
    if still.any():
        raise DataError(f"overfitting: trial {int(still.argmax())} is constant and has no Sharpe ratio; leave it out")
    centre, spread = r.mean(axis=0), r.std(axis=0)
    z = (r - centre) / spread  # second moments of standardised returns lose no digits
    sums = np.concatenate([np.add.reduceat(z, edges[:-1]), np.add.reduceat(z * z, edges[:-1])], axis=1)
    size, lift = np.diff(edges).astype(np.float64), centre / spread
    chosen = _halves(blocks)
    count = len(chosen)
    best, inside, outside = np.empty(count, np.int64), np.empty(count), np.empty(count)
    rank = np.empty(count)
    step = max(1, CELLS // N)
    for a in range(0, count // 2, step):
        b = min(a + step, count // 2)
        half = chosen[a:b]
        one = _ratios(half @ sums, half @ size, lift)
        other = _ratios(sums.sum(axis=0) - half @ sums, T - half @ size, lift)
        # the complement of combination k is combination count - 1 - k: one product serves both directions
        mirror = slice(count - b, count - a)
        _judge(one, other, slice(a, b), best, inside, outside, rank)
        _judge(other[::-1], one[::-1], mirror, best, inside, outside, rank)
    share = rank / (N + 1)
    logits = np.log(share / (1 - share))
    slope, intercept = _line(inside, outside)
    return Overfitting(
        float((logits <= 0).mean()), float((outside < 0).mean()), slope, intercept, logits, inside, outside, best, N,
        blocks,
    )  # fmt: skip


def _checked(returns: ArrayLike, blocks: int) -> Floats:
    r = np.asarray(returns, np.float64)
    if not (2 <= blocks <= MOST_BLOCKS and blocks % 2 == 0):
        raise ConfigError(f"overfitting: blocks must be even and lie in 2..{MOST_BLOCKS}, got {blocks}")
    if r.ndim != 2:
        raise DataError(f"overfitting: expected (T, N), one row per period and one column per trial, got {r.shape}")
    if r.shape[1] < 2:
        raise DataError("overfitting: one trial is no search; give the returns of every trial, losers included")
    if len(r) < 2 * blocks:
        raise DataError(f"overfitting: {len(r)} rows for {blocks} blocks; two rows a block are needed: use fewer")
    if not np.isfinite(r).all():
        t, n = np.argwhere(~np.isfinite(r))[0]
        raise DataError(f"overfitting: row {t}, trial {n} is {r[t, n]}; give every trial's return in every period")
    return r


def _halves(blocks: int) -> Floats:
    """Return (C, blocks) of 0 and 1: every choice of half of the blocks, in lexicographic order."""
    picks = np.array(list(combinations(range(blocks), blocks // 2)), np.int64)
    out = np.zeros((len(picks), blocks))
    np.put_along_axis(out, picks, 1.0, axis=1)
    return out


def _ratios(sums: Floats, size: Floats, lift: Floats) -> Floats:
    """Return Sharpe ratios (C, N), ddof 1, from sums (C, 2 N) of standardised returns and their squares."""
    N, n = len(lift), size[:, None]
    mean = sums[:, :N] / n
    variance = (sums[:, N:] / n - mean * mean) * (n / (n - 1))
    still = variance <= TIE
    if still.any():
        k = int(still.any(axis=0).argmax())
        raise DataError(
            f"overfitting: trial {k} does not move on some half of the blocks; leave it out or use fewer blocks"
        )
    return (mean + lift) / np.sqrt(variance)


def _judge(
    chosen: Floats, judged: Floats, where: slice, best: NDArray[np.int64], inside: Floats, outside: Floats, rank: Floats
) -> None:
    """Write winner, its two Sharpe ratios and its out-of-sample rank 1..N for the combinations ``where``."""
    top = chosen.max(axis=1, keepdims=True)
    k = (chosen >= top - TIE).argmax(axis=1)
    rows = np.arange(len(k))
    got = judged[rows, k]
    below = (judged < got[:, None] - TIE).sum(axis=1)
    above = (judged > got[:, None] + TIE).sum(axis=1)
    best[where], inside[where], outside[where] = k, chosen[rows, k], got
    rank[where] = (below + judged.shape[1] - above + 1) / 2


def _line(x: Floats, y: Floats) -> tuple[float, float]:
    d = x - x.mean()
    if np.ptp(x) <= TIE:
        return float("nan"), float("nan")
    slope = float(d @ y / (d @ d))
    return slope, float(y.mean() - slope * x.mean())
