"""Sharpness of a minimum: how far the loss rises in a small box around the weights, and a kind no rescaling changes.

Keskar, Mudigere, Nocedal, Smelyanskiy & Tang 2017 (arXiv 1609.04836), metric 2.1; Kwon, Kim, Park & Choi 2021 (ASAM,
arXiv 2102.11600) for the box that moves with the weights. Functions here take any f(x) -> (value, gradient).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import ConfigError, DataError

Floats = NDArray[np.float64]
Function = Callable[[Floats], tuple[float, Floats]]
FEW = 64  # up to so many coordinates the signs are also tried one by one
SWEEPS = 20


@dataclass(frozen=True)
class Sharpness:
    """One measurement. phi: 100 (worst - loss) / (1 + loss); a lower bound, since the search may miss the maximum.

    loss: f at the weights; worst: the largest value found in the box; epsilon: its relative size; evaluations: of f.
    """

    phi: float
    epsilon: float
    loss: float
    worst: float
    evaluations: int


def keskar(
    f: Function, x: Floats, epsilon: float, *, rng: np.random.Generator, directions: Floats | None = None,
    starts: int = 4, iterations: int = 10,
) -> Sharpness:  # fmt: skip
    """Return Keskar's sharpness: the rise of f within |y_i| <= epsilon (|(A+ x)_i| + 1) of x + A y.

    x: (n,) float64 weights. directions: A (n, p), None for the full space (A = 1). starts, iterations: of the inner
    L-BFGS-B (see ``box_maximum``). Rescaling the layers of a ReLU net, which leaves its function alone, changes this
    number (Dinh et al. 2017). Errors: ConfigError for a bad epsilon, DataError where f is not finite or 1 + f <= 0.
    """
    if directions is None:
        return _measure(f, x, epsilon, epsilon * (np.abs(x) + 1), rng, starts, iterations)
    at = np.linalg.lstsq(directions, x, rcond=None)[0]  # A+ x: the minimum-norm least-squares solution

    def within(y: Floats) -> tuple[float, Floats]:
        value, slope = f(x + directions @ y)
        return value, directions.T @ slope

    radius = epsilon * (np.abs(at) + 1)
    return _measure(within, np.zeros(directions.shape[1]), epsilon, radius, rng, starts, iterations)


def relative(
    f: Function, x: Floats, epsilon: float, *, rng: np.random.Generator, starts: int = 4, iterations: int = 10
) -> Sharpness:
    """Return the rise of f within |z_i| <= epsilon |x_i|: the same for all rescalings of a ReLU net's layers.

    Multiplying weights by a constant multiplies their box by it. Weights that are exactly 0 stay where they are.
    Arguments and errors as in ``keskar``; adaptive sharpness with p = infinity of Kwon et al. 2021, scaled as phi.
    """
    return _measure(f, x, epsilon, epsilon * np.abs(x), rng, starts, iterations)


def _measure(
    f: Function, x: Floats, epsilon: float, radius: Floats, rng: np.random.Generator, starts: int, iterations: int
) -> Sharpness:
    if not 0 < epsilon < 1:
        raise ConfigError(f"sharpness: epsilon must lie in (0, 1), got {epsilon}; Keskar et al. use 0.0005 and 0.001.")
    # the search runs in the box [-1, 1]^n, where every coordinate weighs the same
    loss, worst, count = box_maximum(lambda u: _scaled(f, x, radius, u), len(x), rng, starts, iterations)
    if 1 + loss <= 0:
        raise DataError(f"sharpness: 1 + loss must be above 0, the loss is {loss:g}; this loss has no such scale.")
    return Sharpness(100 * (worst - loss) / (1 + loss), epsilon, loss, worst, count)


def _scaled(f: Function, x: Floats, radius: Floats, u: Floats) -> tuple[float, Floats]:
    value, slope = f(x + radius * u)
    return value, radius * slope


def box_maximum(
    f: Function, n: int, rng: np.random.Generator, starts: int = 4, iterations: int = 10
) -> tuple[float, float, int]:
    """Return (f(0), the largest f found in [-1, 1]^n, evaluations).

    Each start runs L-BFGS-B for ``iterations`` steps from a random point (the first: along the gradient at 0), then
    moves from corner to corner by the signs of the gradient while f rises; up to 64 coordinates, also by single signs.
    The result is a lower bound of the maximum. For convex f the maximum lies in a corner and each move by signs
    raises f; one start finds it when f is a sum over coordinates; in general finding it is NP-hard, and no number of
    starts is a proof. DataError: f or its gradient is not finite somewhere in the box.
    """
    from scipy.optimize import minimize

    count = 0

    def value(u: Floats) -> tuple[float, Floats]:
        nonlocal count
        count += 1
        v, slope = f(u)
        if not (math.isfinite(v) and np.isfinite(slope).all()):
            raise DataError(f"sharpness: the loss is {v:g} near these weights; use a smaller epsilon.")
        return v, slope

    zero, slope = value(np.zeros(n))
    best = zero
    for k in range(starts):
        signs = np.where(rng.random(n) < 0.5, -1.0, 1.0)
        # a start at 0 itself would stay there: at a minimum the gradient is 0
        start = 0.5 * np.where(slope == 0, signs, np.sign(slope)) if k == 0 else signs * rng.random(n)
        first, _ = value(start)
        unit = abs(first - zero) or 1.0  # L-BFGS-B's first step supposes values of order 1

        def down(u: Floats, unit: float = unit) -> tuple[float, Floats]:
            v, g = value(u)
            return (zero - v) / unit, -g / unit

        options = {"maxiter": iterations, "ftol": 0.0, "gtol": 0.0, "maxfun": 3 * iterations}
        found = minimize(down, start, jac=True, method="L-BFGS-B", bounds=[(-1.0, 1.0)] * n, options=options)
        best = max(best, first, zero - float(found.fun) * unit, _corners(value, found.x))
    return zero, best, count


def _corners(value: Function, u: Floats) -> float:
    """Return the largest value met from ``u`` on, from corner to corner while it rises."""
    best, slope = value(u)
    for _ in range(SWEEPS):
        corner = np.where(slope == 0, np.where(u < 0, -1.0, 1.0), np.sign(slope))
        v, g = value(corner)
        if v <= best:
            if len(u) > FEW:
                break
            v, corner, g = _flip(value, corner, v, g)
            if v <= best:
                break
        best, u, slope = v, corner, g
    return best


def _flip(value: Function, corner: Floats, best: float, slope: Floats) -> tuple[float, Floats, Floats]:
    """Return the best of a corner and its neighbours."""
    at = corner
    for i in range(len(corner)):
        other = corner.copy()
        other[i] = -other[i]
        v, g = value(other)
        if v > best:
            best, at, slope = v, other, g
    return best, at, slope
