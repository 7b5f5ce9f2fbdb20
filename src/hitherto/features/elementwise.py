"""Operators on single cells, in float64: arithmetic, comparisons, logic, choice; part of the table in operators.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def finite(x: Any) -> Floats:
    """Return ``x`` as float64 with infinities replaced by NaN."""
    x = np.asarray(x, np.float64)
    return np.where(np.isinf(x), np.nan, x) if np.isinf(x).any() else x


def row(f: Callable[..., Any]) -> Callable[..., Floats]:
    """Make an operator of the table out of a function of cells; infinities, in and out, are unknown."""

    def compute(*inputs: Any) -> Floats:
        with np.errstate(all="ignore"):
            return finite(f(*(finite(x) for x in inputs)))

    return compute


def compare(f: Callable[..., Any]) -> Callable[..., Floats]:
    """Make a comparison: 1 where it holds, 0 where it does not or where an operand is unknown."""
    return row(lambda x, y: np.where(np.isnan(x) | np.isnan(y), 0.0, f(x, y)))


def true(x: Floats) -> NDArray[np.bool_]:
    """Return where ``x`` is known and not zero."""
    return (x != 0) & ~np.isnan(x)


def _greater(x: Floats, y: Floats) -> Floats:
    return np.maximum(x, y) + 0.0


def _less(x: Floats, y: Floats) -> Floats:
    return np.minimum(x, y) + 0.0


def _power(x: Floats, y: Floats) -> Floats:
    return np.where(np.isnan(x) | np.isnan(y), np.nan, np.power(x, y))  # NaN ** 0 and 1 ** NaN are 1 in C


def _if(condition: Floats, a: Floats, b: Floats) -> Floats:
    return np.where(np.isnan(condition), np.nan, np.where(condition != 0, a, b))


def _mask(x: Floats, condition: Floats) -> Floats:
    return np.where(true(condition), x, np.nan)


BINARY: dict[str, tuple[Callable[..., Floats], str]] = {
    "add": (row(np.add), "+"), "sub": (row(np.subtract), "-"), "mul": (row(np.multiply), "*"),
    "div": (row(np.true_divide), "/"), "power": (row(_power), "**"), "greater": (row(_greater), ""),
    "less": (row(_less), ""), "gt": (compare(np.greater), ">"), "ge": (compare(np.greater_equal), ">="),
    "lt": (compare(np.less), "<"), "le": (compare(np.less_equal), "<="), "eq": (compare(np.equal), "=="),
    "ne": (compare(np.not_equal), "!="), "and": (row(lambda x, y: true(x) & true(y)), "and"),
    "or": (row(lambda x, y: true(x) | true(y)), "or"),
}  # fmt: skip
UNARY: dict[str, tuple[Callable[..., Floats], str]] = {
    "neg": (row(np.negative), "-"), "not": (row(lambda x: x == 0), "not "), "abs": (row(np.abs), ""),
    "sign": (row(np.sign), ""), "log": (row(np.log), ""),
}  # fmt: skip
TRUTHS = frozenset(("gt", "ge", "lt", "le", "eq", "ne", "and", "or", "not"))
"""Operators that give 1 or 0 and never NaN."""
IF, MASK = row(_if), row(_mask)
