"""Row operators of a whole plan, run in one compiled pass over cache-sized blocks, and the one cast to float32.

A program is a table of instructions on float64 series of equal length. Each operand is a memory address and a step:
step 1 walks along with the cells, step 0 stays (a constant or a temporary that lives for one block only). Addresses
come from ``stream.py``, which keeps the arrays alive while the program runs. A third operand of an instruction of one
or two inputs is 0 where its result counts and NaN where it is to be unknown; address 0 is none. A result is finite or
NaN, as in the oracle.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic
from numba.np.numpy_support import carray

from hitherto.features.cache import kernel

BLOCK = 256  # cells of one pass: the temporaries of a plan stay in the processor's second cache
COLUMNS = 9  # of an instruction: code, then address and step of a, b, c and the result
LARGEST = float(np.finfo(np.float32).max)
HUGE = float(np.finfo(np.float64).max)
CODES = {name: i for i, name in enumerate((
    "copy", "neg", "abs", "sign", "not", "add", "sub", "mul", "div", "gt", "ge", "lt", "le", "eq", "ne", "and", "or",
    "greater", "less", "mask", "if",
))}  # fmt: skip
COPY, NEG, ABS, SIGN, NOT, ADD, SUB, MUL, DIV, GT, GE, LT, LE, EQ, NE, AND, OR, GREATER, LESS, MASK, IF = range(21)


def _to_pointer(typingctx, address):
    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

    return types.CPointer(types.float64)(types.int64), codegen


_pointer: Any = intrinsic(_to_pointer)


@kernel
def _cell2(code, a, b, out):
    """Run one instruction of two operands on a block."""
    if code == ADD:
        for i in range(len(out)):
            r = a[i] + b[i]
            out[i] = r if abs(r) <= HUGE else np.nan
    elif code == SUB:
        for i in range(len(out)):
            r = a[i] - b[i]
            out[i] = r if abs(r) <= HUGE else np.nan
    elif code == MUL:
        for i in range(len(out)):
            r = a[i] * b[i]
            out[i] = r if abs(r) <= HUGE else np.nan
    elif code == DIV:
        for i in range(len(out)):
            r = a[i] / b[i]
            out[i] = r if abs(r) <= HUGE else np.nan
    elif code <= LE:
        _compare(code, a, b, out)
    elif code <= OR:
        _logic(code, a, b, out)
    else:
        _pick(code, a, b, out)


@kernel
def _pick(code, a, b, out):
    """Run one choice between two operands on a block."""
    if code == GREATER:
        for i in range(len(out)):
            x, y = a[i], b[i]
            r = x if x > y else y
            out[i] = r + 0.0 if (x == x and y == y) else np.nan
    elif code == LESS:
        for i in range(len(out)):
            x, y = a[i], b[i]
            r = x if x < y else y
            out[i] = r + 0.0 if (x == x and y == y) else np.nan
    elif code == MASK:
        for i in range(len(out)):
            out[i] = a[i] if (b[i] == b[i] and b[i] != 0.0) else np.nan


@kernel
def _compare(code, a, b, out):
    """Run one comparison on a block: 1 where it holds, 0 where not or where an operand is unknown."""
    if code == GT:
        for i in range(len(out)):
            out[i] = 1.0 if a[i] > b[i] else 0.0
    elif code == GE:
        for i in range(len(out)):
            out[i] = 1.0 if a[i] >= b[i] else 0.0
    elif code == LT:
        for i in range(len(out)):
            out[i] = 1.0 if a[i] < b[i] else 0.0
    elif code == LE:
        for i in range(len(out)):
            out[i] = 1.0 if a[i] <= b[i] else 0.0


@kernel
def _logic(code, a, b, out):
    """Run one equality or logic on a block; what is unknown equals nothing, differs from nothing and is not true."""
    if code == EQ:
        for i in range(len(out)):
            out[i] = 1.0 if a[i] == b[i] else 0.0
    elif code == NE:
        for i in range(len(out)):
            out[i] = 1.0 if (a[i] < b[i] or a[i] > b[i]) else 0.0
    elif code == AND:
        for i in range(len(out)):
            x, y = abs(a[i]) > 0.0, abs(b[i]) > 0.0
            out[i] = 1.0 if (x and y) else 0.0
    elif code == OR:
        for i in range(len(out)):
            x, y = abs(a[i]) > 0.0, abs(b[i]) > 0.0
            out[i] = 1.0 if (x or y) else 0.0


@kernel
def _cell1(code, a, out):
    """Run one instruction of one operand on a block."""
    if code == COPY:
        for i in range(len(out)):
            out[i] = a[i] if abs(a[i]) <= HUGE else np.nan
    elif code == NEG:
        for i in range(len(out)):
            out[i] = -a[i]
    elif code == ABS:
        for i in range(len(out)):
            out[i] = abs(a[i])
    elif code == SIGN:
        for i in range(len(out)):
            r = 1.0 if a[i] > 0.0 else (-1.0 if a[i] < 0.0 else 0.0)
            out[i] = r if a[i] == a[i] else np.nan
    elif code == NOT:
        for i in range(len(out)):
            out[i] = 1.0 if a[i] == 0.0 else 0.0


@kernel
def _choose(a, b, c, out):
    for i in range(len(out)):
        r = b[i] if a[i] != 0.0 else c[i]
        out[i] = r if a[i] == a[i] else np.nan


@kernel
def _admit(c, out):
    """Make a truth unknown where ``c`` is NaN (it is 0 elsewhere)."""
    for i in range(len(out)):
        out[i] += c[i]


@kernel
def _cast(roots, columns, start, stop, width, out, first, stride, F, narrow):
    """Cast cells start..stop of the roots to float32, then write them cell by cell, all features of a cell at once."""
    for f in range(len(columns)):
        p = carray(_pointer(roots[f, 0] + 8 * start * roots[f, 1]), stop - start)
        q = narrow[f]
        for i in range(stop - start):
            q[i] = np.float32(p[i]) if abs(p[i]) <= LARGEST else np.float32(np.nan)
    for i in range(start, stop):
        base = first + i // width * stride + i % width * F
        for f in range(len(columns)):
            out[base + columns[f]] = narrow[f, i - start]


@kernel
def run(program, cells, roots, columns, width, out, first, stride, F):
    """Run a program on ``cells`` cells and write its roots into a flat (T, N, F) float32 array.

    program: (K, 9) int64. roots: (R, 2) int64, address and step. columns: (R,) places of the roots among the F
    features. width: names of the tile, whose rows lie ``stride`` values apart in ``out``, the first cell at ``first``.
    """
    narrow = np.empty((len(columns), BLOCK + 16), np.float32)  # + 16: the cells of one column lie in different sets
    for start in range(0, cells, BLOCK):
        m = min(BLOCK, cells - start)
        for k in range(len(program)):
            code = program[k, 0]
            a = carray(_pointer(program[k, 1] + 8 * start * program[k, 2]), m)
            b = carray(_pointer(program[k, 3] + 8 * start * program[k, 4]), m)
            r = carray(_pointer(program[k, 7] + 8 * start * program[k, 8]), m)
            if code == IF:
                _choose(a, b, carray(_pointer(program[k, 5] + 8 * start * program[k, 6]), m), r)
            elif code <= NOT:
                _cell1(code, a, r)
            else:
                _cell2(code, a, b, r)
            if code != IF and program[k, 5]:
                _admit(carray(_pointer(program[k, 5] + 8 * start * program[k, 6]), m), r)
        if len(columns):
            _cast(roots, columns, start, start + m, width, out, first, stride, F, narrow)
