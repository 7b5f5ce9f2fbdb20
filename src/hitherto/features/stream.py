"""One pass of a plan walking down the rows of a panel, chunk by chunk, in one block of columns."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hitherto.features import kernels_cells as fused
from hitherto.features.expression import Node
from hitherto.features.operators import OPERATORS, finite
from hitherto.features.schedule import Pass, Scan, carries, is_scan
from hitherto.panel import MASKS, Panel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
NONE = np.zeros((0, 2), np.int64)


class Stream:
    """One pass over one block of columns, walking down the rows of a panel chunk by chunk."""

    def __init__(self, schedule: Pass, panel: Panel, names: slice, begin: int, rows: int) -> None:
        self.schedule, self.panel, self.names, self.begin = schedule, panel, names, begin
        self.width = names.stop - names.start
        self.span = len(panel.times) - begin
        self.series: dict[str, tuple[Floats, int]] = {}  # buffer, and the row in it at which the chunk begins
        self.values: dict[str, Floats] = {}  # what scans leave behind for this chunk only
        self.addresses: dict[str, int] = {}
        self.states: dict[str, Any] = {}
        self.scratch = np.empty(0)
        for n in schedule.nodes:
            if n.op != "ref" and (n.op == "field" or n.text in schedule.kept) and n.op != "constant":
                before = int(min(schedule.tails[n.text], 2 * self.span))  # twice: a window of shifted rows
                if before or not is_scan(n):
                    self.series[n.text] = np.full((before + rows, self.width), np.nan), before
        self._temporaries()
        self._programs()

    def _temporaries(self) -> None:
        """Give each constant and each value that lives for one block only its own cells; reuse those that died."""
        self.places: dict[str, int] = {}
        constants = [n for n in self.schedule.nodes if n.op == "constant"]
        count = len(constants)
        for k, n in enumerate(constants):
            self.places[n.text] = k
        roots = {n.text for n in self.schedule.roots}
        for rows, _ in self.schedule.stages:
            uses: dict[str, int] = {}
            for n in rows:
                for i in {i.text for i in n.inputs}:
                    uses[i] = uses.get(i, 0) + 1
            free: list[int] = []
            for n in rows:
                if n.text not in self.schedule.kept:
                    if not free:
                        free.append(count)
                        count += 1
                    self.places[n.text] = free.pop()
                for i in {i.text: i for i in n.inputs}.values():
                    uses[i.text] -= 1
                    if uses[i.text] == 0 and i.text in self.places and i.op != "constant" and i.text not in roots:
                        free.append(self.places[i.text])
        self.scratch = np.zeros((max(count, 1), fused.BLOCK + 8))  # + 8: lines of equal place do not share a set
        for k, n in enumerate(constants):
            self.scratch[k] = n.numbers[0]

    def past(self, node: Node, rows: int, reach: int) -> Floats:
        """Return the last ``reach`` known rows before the chunk and its ``rows`` rows of a series."""
        node, shift = self._source(node, 0)
        if node.text not in self.series:
            return self.values[node.text]
        buffer, start = self.series[node.text]
        start -= shift
        return buffer[start - reach : start + rows]

    def _source(self, node: Node, shift: int) -> tuple[Node, int]:
        """Return the series that a shifted one looks at, and by how many rows (all of them unknown if too many)."""
        while node.op == "ref" and not is_scan(node):
            shift += int(node.numbers[0])
            node = node.inputs[0]
        return node, min(shift, self.span)

    def _operand(self, node: Node, shift: int = 0) -> tuple[int, int]:
        """Return the address and the step of a node's chunk, (0, 1) while the address is not known yet."""
        if node.text in self.places:
            return self.scratch.ctypes.data + self.places[node.text] * self.scratch.strides[0], 0
        node, shift = self._source(node, shift)
        if node.text not in self.series:
            return 0, 1
        buffer, start = self.series[node.text]
        return buffer.ctypes.data + (start - shift) * buffer.strides[0], 1

    def _programs(self) -> None:
        """Write the program of each stage; what scans leave behind moves, so that those addresses come later."""
        self.programs: list[Ints] = []
        self.moving: list[list[tuple[str, int, int]]] = []
        self.truths: list[list[int]] = []  # comparisons and logic: unknown where the name is not listed
        for nodes, _ in self.schedule.stages:
            program = np.zeros((len(nodes), fused.COLUMNS), np.int64)
            moving = []
            for k, n in enumerate(nodes):
                operands = [(i, 0) for i in n.inputs]
                if n.op == "delta":
                    operands.append((n.inputs[0], int(n.numbers[0])))
                program[k, 0] = fused.CODES["sub" if n.op == "delta" else n.op]
                for j, (node, shift) in enumerate(operands):
                    program[k, 1 + 2 * j : 3 + 2 * j] = self._operand(node, shift)
                    if not program[k, 1 + 2 * j]:
                        moving.append((node.text, k, 1 + 2 * j))
                program[k, 7:9] = self._operand(n)
            self.truths.append([k for k, n in enumerate(nodes) if n.op != "delta" and OPERATORS[n.op].truth])
            program[self.truths[-1], 6] = 1
            self.programs.append(program)
            self.moving.append(moving)
        self.roots = np.array([self._operand(n) for n in self.schedule.roots], np.int64)
        self.moving_roots = [(n.text, k) for k, n in enumerate(self.schedule.roots) if not self.roots[k, 0]]

    def advance(self, a: int, b: int, out: NDArray[np.float32] | None) -> None:
        """Compute rows a..b - 1; write them into ``out`` (T, N, F) unless they are only a warm-up."""
        rows = b - a
        self._load(a, b)
        for k, (cells, scans) in enumerate(self.schedule.stages):
            final = k == self.schedule.last and out is not None
            if cells or final:
                self._fuse(k, rows, a, out if final else None)
            for scan in scans:
                self._scan(scan, a, rows)
        self._turn(rows)

    def _load(self, a: int, b: int) -> None:
        """Put the chunk's rows of the market fields in place."""
        schedule, panel = self.schedule, self.panel
        have = {k: v[a:b, self.names] for k, v in panel.fields.items() if k in schedule.fields or k == "factor"}
        masks = {m: getattr(panel, m)[a:b, self.names] for m in MASKS}
        tile = dataclasses.replace(
            panel, times=panel.times[a:b], sessions=panel.sessions[a:b], symbols=panel.symbols[self.names],
            fields=have, **masks,
        )  # fmt: skip
        self.mask = tile.listed & tile.universe & ~tile.suspended if schedule.is_dated else None
        self.unlisted = None if tile.listed.all() else np.where(tile.listed, 0.0, np.nan)
        for n in schedule.nodes:
            if n.op == "field":
                buffer, start = self.series[n.text]
                buffer[start : start + b - a] = finite(tile.view(next(iter(n.fields))))

    def _fuse(self, k: int, rows: int, a: int, out: NDArray[np.float32] | None) -> None:
        """Run the row operators of stage ``k``; with ``out``, of the last stage, whose roots are cast and written."""
        program, address = self.programs[k], self.addresses
        for text, line, place in self.moving[k]:
            program[line, place] = address[text]
        if self.truths[k]:
            program[self.truths[k], 5] = 0 if self.unlisted is None else self.unlisted.ctypes.data
        if out is None:
            fused.run(program, rows * self.width, NONE, NONE[:, 0], self.width, np.empty(0, np.float32), 0, 0, 0)
            return
        for text, line in self.moving_roots:
            self.roots[line, 0] = address[text]
        _, N, F = out.shape
        first = (a * N + self.names.start) * F
        columns = self.schedule.columns
        fused.run(program, rows * self.width, self.roots, columns, self.width, out.reshape(-1), first, N * F, F)

    def _scan(self, scan: Scan, a: int, rows: int) -> None:
        reach = int(min(scan.reach, a - self.begin))
        inputs = [self.past(i, rows, reach) if i.op != "constant" else i.numbers[0] for i in scan.inputs]
        found = scan.call(*inputs, reach) if scan.call else [self._table(scan.nodes[0], inputs)[reach:]]
        for n, x in zip(scan.nodes, found, strict=True):
            if n.text in self.series:
                buffer, start = self.series[n.text]
                buffer[start : start + rows] = x
            else:
                self.values[n.text] = x = np.ascontiguousarray(x, np.float64)
                self.addresses[n.text] = x.__array_interface__["data"][0]

    def _table(self, node: Node, inputs: list[Any]) -> Floats:
        """Compute a node by the table's own definition, or carry a recursive one on from its state."""
        step = carries(node)
        if step is not None:
            x, self.states[node.text] = step(inputs[0], self.states.get(node.text))
            return x
        operator = OPERATORS[node.op]
        last = (self.mask,) if operator.reads == "date" else ()
        return operator.compute(*inputs, *node.numbers, *last)

    def _turn(self, rows: int) -> None:
        """Move the rows that the next chunk will look back on to the front."""
        self.values.clear()
        for buffer, before in self.series.values():
            if before:
                buffer[:before] = buffer[rows : rows + before]
