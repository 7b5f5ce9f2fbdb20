"""Gradient noise scale: how many dates (or samples) a batch must hold before its gradient is more signal than noise.

B_simple = tr(Sigma) / |G|^2 of McCandlish, Kaplan, Amodei et al. 2018 (arXiv 1812.06162, appendix A): G the mean
gradient, Sigma the covariance of the gradient of one unit. Batches are whole dates and the samples of a date are not
independent, so the unit is a date. Counting samples as if they were independent errs both ways: a shock that all names
of a date share makes the figure too small, and targets standardised within each date, whose errors cancel over the
date, make it far too large.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BLOCKS = 10
T95 = 2.262  # Student's t, 9 degrees of freedom, two-sided 95 %
DECAY = 0.95


@dataclass(frozen=True)
class Scale:
    """One estimate. signal: |G|^2; noise: tr(Sigma) of one unit; value = noise / signal, in units.

    low, high: 95 % interval by Fieller's method over ten blocks of rounds (NaN with fewer than ten rounds). high is
    infinite where the signal cannot be told from 0: then only ``low`` means something.
    """

    value: float
    low: float
    high: float
    signal: float
    noise: float


def two_batch(small: float, big: float, units_small: int, units_big: int) -> tuple[float, float]:
    """Return unbiased (|G|^2, tr(Sigma)) from the squared gradient norms of a small and of a big batch.

    small: mean of |G_s|^2 over batches of ``units_small`` independent units; big: |G_b|^2 of ``units_big``. Either
    may come out negative. McCandlish et al. 2018, appendix A.
    """
    signal = (units_big * big - units_small * small) / (units_big - units_small)
    return signal, (small - big) / (1 / units_small - 1 / units_big)


def squared_norms(groups: Sequence[Sequence[Tensor]]) -> tuple[float, float]:
    """Return (mean of |g|^2 over the groups, |mean of g|^2), sums in float64; each group is one gradient, by tensor."""
    each = sum(float(g.double().square().sum()) for group in groups for g in group) / len(groups)
    tensors = zip(*groups, strict=True)
    whole = sum(float(torch.stack([g.double() for g in parts]).mean(0).square().sum()) for parts in tensors)
    return each, whole


class Meter:
    """Collects rounds of (|G|^2, tr(Sigma)) while a net trains; averages the two separately, never their ratio.

    decay: of the exponential moving averages behind ``smooth`` (the paper's habit: a mean of ratios is biased).
    """

    def __init__(self, decay: float = DECAY) -> None:
        self.decay = decay
        self.signals: list[float] = []
        self.noises: list[float] = []
        self.smooth: list[float] = []
        self._signal, self._noise = 0.0, 0.0

    def add(self, signal: float, noise: float) -> None:
        """Add one round."""
        self.signals.append(signal)
        self.noises.append(noise)
        keep = self.decay
        self._signal = keep * self._signal + (1 - keep) * signal
        self._noise = keep * self._noise + (1 - keep) * noise
        # both start from 0 and lack the same share of weight, which the ratio does not see
        self.smooth.append(self._noise / self._signal if self._signal > 0 else math.inf)

    def scale(self, last: float = 1.0) -> Scale:
        """Return the estimate over the last share ``last`` of the rounds."""
        first = len(self.signals) - max(round(len(self.signals) * last), 1)
        return ratio(np.array(self.noises[first:]), np.array(self.signals[first:]))


def ratio(noise: NDArray[np.float64], signal: NDArray[np.float64]) -> Scale:
    """Return mean(noise) / mean(signal) with its interval (Fieller 1954); rounds in time order, cut into ten blocks.

    A signal whose mean is not positive gives an infinite value.
    """
    a, b = float(noise.mean()), float(signal.mean())
    value = a / b if b > 0 else math.inf
    if len(noise) < BLOCKS:
        return Scale(value, math.nan, math.nan, b, a)
    parts = np.array([[x.mean() for x in np.array_split(v, BLOCKS)] for v in (noise, signal)])
    cov = np.cov(parts) / BLOCKS * T95**2
    lead = b * b - cov[1, 1]
    if b <= 0 or lead <= 0:
        low = max(a - math.sqrt(cov[0, 0]), 0.0) / (max(b, 0.0) + math.sqrt(cov[1, 1]) or math.inf)
        return Scale(value, float(low), math.inf, b, a)
    middle = a * b - cov[0, 1]
    root = math.sqrt(max(middle * middle - lead * (a * a - cov[0, 0]), 0.0))
    return Scale(value, float(max((middle - root) / lead, 0.0)), float((middle + root) / lead), b, a)
