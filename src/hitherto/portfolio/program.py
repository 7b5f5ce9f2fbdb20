"""The convex programme of one rebalance, compiled once and solved row after row with new numbers (cvxpy, Clarabel)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hitherto.errors import ConfigError, DataError, MissingExtraError
from hitherto.portfolio.risk import Risk

Floats = NDArray[np.float64]
SLOTS = 32  # the programme grows by this many names at a time, so that it is compiled a few times at most
SOLVED = ("optimal", "optimal_inaccurate")  # the second: as near as Clarabel's own default asks, if not as ours
TOLERANCE = {"tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-10} | {
    f"reduced_{name}": 1e-8 for name in ("tol_gap_abs", "tol_gap_rel", "tol_feas")
}
DUST = 1e-6  # a smaller weight is what the solver's tolerance leaves of zero


@dataclass(frozen=True)
class Limits:
    """What a portfolio may be; None = no such limit. Weights and limits are fractions of capital.

    long_only: no weight below 0 and sum w <= 1 (= 1 with ``fully_invested``). Otherwise sum w = 0 and
    sum |w| <= ``gross``. cap: |w| of a name. turnover: one-way (half of what is bought and sold) per rebalance, beside
    what no choice could avoid: the first purchase from cash, names that may not be held any more, weights that drifted
    above their cap or out of their band, and the trades that replace those. band: |w - benchmark| of a name.
    active_risk: standard deviation of one bar's return of w - benchmark (of w, without a benchmark): 5 % a year is
    0.05 / sqrt(252). group_cap: |sum of w - benchmark| over the names of a group (of w, without a benchmark).
    """

    long_only: bool = True
    fully_invested: bool = False
    gross: float = 2.0
    cap: float | None = None
    turnover: float | None = None
    band: float | None = None
    active_risk: float | None = None
    group_cap: float | None = None

    def __post_init__(self) -> None:
        for name in ("gross", "cap", "turnover", "band", "active_risk", "group_cap"):
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value > 0):
                raise ConfigError(f"optimise: {name} must be a positive number, got {value:g}")
        if self.fully_invested and not self.long_only:
            raise ConfigError("optimise: fully_invested is for long-only books; a long-short book sums to 0")


@dataclass(frozen=True, eq=False)
class Row:
    """The numbers of one rebalance over its n names; ``groups`` (n,) holds 0..G-1, ``day`` goes into errors.

    score: (n,) expected return until the next rebalance. before, benchmark: (n,) weights.
    left: sum of |w before| of the names that may not be held any more. first: from cash, turnover is not limited.
    """

    score: Floats
    before: Floats
    benchmark: Floats
    risk: Risk
    groups: NDArray[np.int64]
    day: str
    left: float = 0.0
    first: bool = False


def need_cvxpy() -> ModuleType:
    """Return cvxpy; MissingExtraError where it is not installed."""
    try:
        import cvxpy  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise MissingExtraError("the portfolio optimiser", "portfolio") from None
    return cvxpy


class Program:
    """maximise score . w - aversion (w - b)'S(w - b) - costs sum |w - w before|, within limits, for rows of <= M names.

    b is the benchmark, 0 without one. All that changes between rows is a parameter, so cvxpy compiles once. A row of
    fewer names leaves slots empty: an empty slot has no score, no risk and no group, and counts in no sum.
    """

    def __init__(self, slots: int, factors: int, groups: int, limits: Limits, aversion: float, costs: float) -> None:
        self.cp = need_cvxpy()
        self.shape, self.limits, self.aversion, self.costs = (slots, factors, groups), limits, aversion, costs
        self.w = self.cp.Variable(slots)
        self.values = _parameters(self.cp, slots, factors, groups)
        self.problem, self.named = self._compile()

    def _compile(self) -> tuple[Any, dict[str, list[Any]]]:
        """Return the problem and its constraints by the name of the limit they belong to."""
        cp, w, p, limits = self.cp, self.w, self.values, self.limits
        # Variables of their own: a product of two parameters would have to be compiled anew for each row.
        along, apart, trade = cp.Variable(self.shape[1]), cp.Variable(self.shape[0]), cp.Variable(self.shape[0])
        fixed = [
            along == p["exposures"].T @ w - p["exposures_b"],
            apart == cp.multiply(p["deviation"], w) - p["deviation_b"],
            trade == w - p["before"],
        ]
        named: dict[str, list[Any]] = {"bounds": [w <= p["high"], w >= p["low"]]}
        total = p["live"] @ w
        if not limits.long_only:
            named["bounds"] += [total == 0]
            named["gross"] = [cp.norm1(w) <= limits.gross]
        elif limits.fully_invested:
            named["fully_invested"] = [total == 1]
        else:
            named["bounds"] += [total <= 1]
        if limits.turnover is not None:
            named["turnover"] = [cp.norm1(trade) <= p["turnover"]]
        if limits.band is not None:
            named["band"] = [w <= p["most"], w >= p["least"]]
        if limits.active_risk is not None:
            named["active_risk"] = [cp.norm(cp.hstack([along, apart])) <= p["active_risk"]]
        if limits.group_cap is not None:
            named["group_cap"] = [cp.abs(p["groups"] @ w - p["groups_b"]) <= limits.group_cap]
        goal = p["score"] @ w
        if self.aversion > 0:
            goal -= p["aversion"] * (cp.sum_squares(along) + cp.sum_squares(apart))
        if self.costs > 0:
            goal -= p["costs"] * cp.norm1(trade)
        problem = cp.Problem(cp.Maximize(goal), fixed + [c for group in named.values() for c in group])
        return problem, {"fixed": fixed, **named}

    def solve(self, row: Row) -> Floats:
        """Return the (n,) weights of one row; DataError with its date and the limit that cannot be met."""
        n = len(row.score)
        self._set(row)
        status = _run(self.cp, self.problem)
        if status not in SOLVED:
            raise DataError(self._why(row, status))
        p, w = self.values, np.asarray(self.w.value, np.float64)[:n]
        w = np.clip(w, p["low"].value[:n], p["high"].value[:n])
        return np.where(np.abs(w) < DUST, 0.0, w)

    def _set(self, row: Row) -> None:
        """Fill the parameters with a row, in units that leave the solver numbers near 1."""
        limits, n, p = self.limits, len(row.score), self.values
        slots, factors, groups = self.shape
        B, d = _compact(row.risk.exposures, factors), np.sqrt(row.risk.specific)
        size = float(np.sqrt(((B**2).sum(axis=1) + d**2).mean())) or 1.0  # the typical deviation of a name
        unit = max(np.abs(row.score).max(initial=0.0), self.costs, self.aversion * size**2) or 1.0
        cap = 1.0 if limits.long_only else limits.gross
        cap = cap if limits.cap is None else min(cap, limits.cap)
        member = (np.arange(groups)[:, None] == row.groups).astype(float)
        b, loadings = row.benchmark, np.zeros((n, factors))
        loadings[:, : B.shape[1]] = B / size
        high, low = np.full(slots, cap), np.full(slots, 0.0 if limits.long_only else -cap)
        most, least = (_padded(b, (slots,)) + sign * (limits.band or 0.0) for sign in (1.0, -1.0))
        numbers: dict[str, object] = {
            "score": row.score / unit, "before": row.before, "live": np.ones(n), "high": high, "low": low, "most": most,
            "least": least, "deviation": d / size, "deviation_b": d / size * b, "exposures": loadings,
            "exposures_b": loadings.T @ b, "groups": member, "groups_b": member @ b,
            "aversion": self.aversion * size**2 / unit, "costs": self.costs / unit,
            "turnover": self._allowed(row, (high, low, most, least)), "active_risk": (limits.active_risk or 0.0) / size,
        }  # fmt: skip
        for name, value in numbers.items():
            p[name].value = _padded(np.asarray(value, np.float64), p[name].shape)

    def _allowed(self, row: Row, bounds: tuple[Floats, ...]) -> float:
        """Return what sum |w - w before| may be: twice the limit, and what has to be traded, there and back."""
        n, limits = len(row.score), self.limits
        high, low, most, least = (bound[:n] for bound in bounds)
        if limits.band is not None:
            high, low = np.minimum(high, most), np.maximum(low, least)
        if row.first or limits.turnover is None:
            return 2.0 * float(np.abs(row.before).sum() + np.maximum(np.abs(high), np.abs(low)).sum())
        outside = np.maximum(row.before - high, 0.0) + np.maximum(low - row.before, 0.0)
        return 2.0 * limits.turnover + row.left + 2.0 * float(outside.sum())

    def _why(self, row: Row, status: str) -> str:
        """Return the error of a row without a solution: the first limit without which there is one."""
        if not status.startswith("infeasible"):
            return f"optimise: on {row.day} the solver ended with '{status}'; check that date's scores, costs and risk"
        told = f"optimise: on {row.day} no portfolio of {len(row.score)} names meets every limit"
        for name in _blamed(self.named):
            rest = [c for other, group in self.named.items() if other != name for c in group]
            if _run(self.cp, self.cp.Problem(self.cp.Minimize(0), rest)) in SOLVED:
                return f"{told}; without {_phrase(name, self.limits)} one would: loosen it"
        return f"{told}, nor would leaving out a single one help; loosen several"


def grown(slots: int, needed: int, most: int) -> int:
    """Return the number of slots for ``needed`` names: never fewer than before, in steps, at most ``most``."""
    return max(slots, min(most, -(-needed // SLOTS) * SLOTS))


def _parameters(cp: ModuleType, slots: int, factors: int, groups: int) -> dict[str, Any]:
    """Return the parameters of the programme by name."""
    of_slots = ("score", "before", "live", "high", "low", "deviation", "deviation_b", "most", "least")
    out = {name: cp.Parameter(slots) for name in of_slots}
    out |= {"exposures": cp.Parameter((slots, factors)), "exposures_b": cp.Parameter(factors)}
    out |= {"groups": cp.Parameter((groups, slots)), "groups_b": cp.Parameter(groups)}
    return out | {name: cp.Parameter(nonneg=True) for name in ("aversion", "costs", "turnover", "active_risk")}


def _compact(exposures: Floats, factors: int) -> Floats:
    """Return (n, <= factors) exposures with the same B B': n names need no more than n factors."""
    if exposures.shape[1] <= factors:
        return exposures
    return np.asarray(np.linalg.qr(exposures.T, mode="r")).T


def _padded(value: Floats, shape: Sequence[int]) -> Floats:
    out = np.zeros(shape)
    out[tuple(slice(n) for n in value.shape)] = value
    return out


def _run(cp: ModuleType, problem: Any) -> str:
    """Solve and return the status; a solver that raises has failed."""
    try:
        with warnings.catch_warnings():  # cvxpy warns of "optimal_inaccurate"
            warnings.simplefilter("ignore", UserWarning)
            problem.solve(solver=cp.CLARABEL, warm_start=False, **TOLERANCE)
    except cp.SolverError:
        return "solver error"
    return str(problem.status)


def _blamed(named: dict[str, list[Any]]) -> list[str]:
    """Return the limits in the order in which they are suspected: the user's extras first."""
    order = ("turnover", "active_risk", "band", "group_cap", "fully_invested", "gross", "bounds")
    return [name for name in order if name in named]


def _phrase(name: str, limits: Limits) -> str:
    if name == "bounds":
        return f"the bounds of a name (cap {limits.cap})" if limits.cap else "the bounds of a name"
    value = getattr(limits, name)
    return name if value is True else f"{name} = {value:g}"
