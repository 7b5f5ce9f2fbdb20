"""The schedule of a set of expressions: what is shared, what one scan serves, what must be kept for later windows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hitherto.features import kernels
from hitherto.features import kernels_cells as fused
from hitherto.features.expression import Node
from hitherto.features.operators import OPERATORS

Floats = NDArray[np.float64]
FAMILIES = {
    **dict.fromkeys(("sum", "mean", "count", "std", "var", "skew", "kurt"), "moments"),
    **dict.fromkeys(("slope", "rsquare", "resi", "wma"), "moments"),
    **dict.fromkeys(("corr", "cov"), "pairs"),
    **dict.fromkeys(("max", "min", "idxmax", "idxmin", "rank"), "orders"),
    "quantile": "quantiles", "med": "quantiles", "mad": "mads",
}  # fmt: skip


def is_recursive(node: Node) -> bool:
    """Return whether the node itself (not only its inputs) reads every row until t."""
    reads = OPERATORS[node.op].reads if node.op in OPERATORS else "row"
    return reads == "past" or (reads in ("window", "shift") and node.numbers[0] < 1)


def walk(roots: Iterable[Node]) -> list[Node]:
    """Return every distinct node (by canonical text) below ``roots``, inputs first."""
    done: dict[str, Node] = {}

    def visit(node: Node) -> None:
        if node.text not in done:
            for i in node.inputs:
                visit(i)
            done[node.text] = node

    for root in roots:
        visit(root)
    return list(done.values())


@dataclass(frozen=True, eq=False)
class Scan:
    """One call: a compiled scan that serves ``nodes``, or the table's own definition of a single node."""

    nodes: tuple[Node, ...]
    inputs: tuple[Node, ...]
    call: Callable[..., Any] | None  # f(*inputs, start) -> values in the order of nodes; None: the table
    reach: float  # rows before t that it reads


class Pass:
    """The schedule of some expressions that are computed together.

    stages[k]: the row operators, then the scans that need them; the last stage has no scans. columns: which of the F
    features each root is. whole: needs all rows at once (a recursive operator that has no state to carry).
    """

    def __init__(self, roots: list[tuple[int, Node]]) -> None:
        self.columns = np.array([f for f, _ in roots], np.int64)
        self.roots = [n for _, n in roots]
        self.nodes = walk(self.roots)
        self.is_dated = any(n.op in OPERATORS and OPERATORS[n.op].reads == "date" for n in self.nodes)
        self.is_recursive = any(math.isinf(n.lookback) for n in self.nodes)
        self.whole = any(is_scan(n) and is_recursive(n) and not carries(n) for n in self.nodes)
        self.fields = sorted({f for n in self.roots for f in n.fields})
        self.lookback = max(n.lookback for n in self.roots)
        levels = self._levels()
        self.stages = self._stages(levels)
        self.tails = self._tails()
        self.kept = self._kept()

    def _levels(self) -> dict[str, int]:
        """Return the stage of each node: scans as early, row operators as late as they can be."""
        early: dict[str, int] = {}
        for n in self.nodes:
            early[n.text] = max((early[i.text] for i in n.inputs), default=0) + is_scan(n)
        last = max(early.values())
        stage = {n.text: early[n.text] if is_scan(n) or not n.inputs else last for n in self.nodes}
        for n in reversed(self.nodes):
            for i in n.inputs:
                if i.inputs and not is_scan(i):
                    stage[i.text] = min(stage[i.text], stage[n.text] - is_scan(n))
        self.last = last
        return stage

    def _stages(self, stage: dict[str, int]) -> list[tuple[list[Node], list[Scan]]]:
        out: list[tuple[list[Node], list[Scan]]] = []
        for k in range(self.last + 1):
            rows = [n for n in self.nodes if n.inputs and not is_scan(n) and n.op != "ref" and stage[n.text] == k]
            out.append((rows, _scans([n for n in self.nodes if is_scan(n) and stage[n.text] == k + 1])))
        return out

    def _tails(self) -> dict[str, float]:
        """Return how many rows before the chunk each series must keep."""
        tails: dict[str, float] = {n.text: 0 for n in self.nodes}
        for _, scans in self.stages:
            for s in scans:
                for i in s.inputs:
                    tails[i.text] = max(tails[i.text], s.reach)
        for n in reversed(self.nodes):
            if n.op in ("ref", "delta") and not is_scan(n):
                own = tails[n.text] if n.op == "ref" else 0
                tails[n.inputs[0].text] = max(tails[n.inputs[0].text], own + n.numbers[0])
        return tails

    def _kept(self) -> set[str]:
        """Return the row operators whose values must outlive a block: another stage or a scan reads them."""
        place = {n.text: k for k, (rows, _) in enumerate(self.stages) for n in rows}
        kept = {i.text for _, scans in self.stages for s in scans for i in s.inputs}
        for n in self.nodes:
            kept |= {i.text for i in n.inputs if n.op == "ref" or place.get(i.text) != place.get(n.text)}
        kept |= {n.text for n in self.roots if place.get(n.text) != self.last}
        return kept | {t for t, rows in self.tails.items() if rows > 0}


def is_scan(node: Node) -> bool:
    """Return whether the node is computed by a call of its own, not by the fused pass."""
    if node.op in ("field", "constant") or node.op in fused.CODES:
        return False
    return not (OPERATORS[node.op].reads == "shift" and node.op in ("ref", "delta") and node.numbers[0] >= 1)


def carries(node: Node) -> Callable[..., Any] | None:
    """Return f(x, state) -> (values, state) of a recursive node that can go on from a saved state, else None."""
    n = node.numbers[0] if node.numbers else 1
    if node.op in ("ema", "mean", "std", "var") and (0 < n < 1 or (node.op == "ema" and n >= 1)):
        op = "mean" if node.op == "ema" else node.op
        call: Callable[..., Any] = partial(kernels.decays, alpha=n if n < 1 else 2.0 / (n + 1), ops=(op,))
    elif n == 0 and node.op in kernels.EXPANDING:
        call = partial(kernels.expanding, ops=(node.op,))
    else:
        return None

    def step(x: Floats, state: Any) -> tuple[Floats, Any]:
        found, state = call(x, state=state)
        return next(iter(found.values())), state

    return step


def _scans(nodes: list[Node]) -> list[Scan]:
    """Group the scans of one stage: one call for all windows and operators of a family over the same series."""
    groups: dict[tuple[str, ...], list[Node]] = {}
    out: list[Scan] = []
    for n in nodes:
        family = FAMILIES.get(n.op, "")
        if family and 1 <= n.numbers[0] <= kernels.LONGEST:
            groups.setdefault((family, *(i.text for i in n.inputs)), []).append(n)
        else:
            windowed = OPERATORS[n.op].reads in ("window", "shift") and not is_recursive(n)
            out.append(Scan((n,), n.inputs, None, n.numbers[0] - (n.op not in ("ref", "delta")) if windowed else 0))
    for (family, *_), group in groups.items():
        windows = tuple(sorted({int(n.numbers[0]) for n in group}))
        out.append(Scan(tuple(group), group[0].inputs, _call(family, windows, group), windows[-1] - 1))
    return out


def _call(family: str, windows: tuple[int, ...], nodes: list[Node]) -> Callable[..., list[Floats]]:
    """Bind a kernel to its windows and operators; it returns the nodes' values in their order."""
    kernel = getattr(kernels, family)
    extra: tuple[Any, ...] = ()
    keys: list[tuple[Any, ...]] = [(n.op, int(n.numbers[0])) for n in nodes]
    if family in ("moments", "pairs", "orders"):
        extra = (tuple(sorted({n.op for n in nodes})),)
    elif family == "quantiles":
        levels = [n.numbers[1] if n.op == "quantile" else 0.5 for n in nodes]
        extra = (tuple(sorted(set(levels))),)
        keys = [("quantile", int(n.numbers[0]), q) for n, q in zip(nodes, levels, strict=True)]

    def call(*arguments: Any) -> list[Floats]:
        found = kernel(*arguments, windows, *extra)
        return [found[key] for key in keys]

    return call
