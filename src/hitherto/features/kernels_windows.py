"""Compiled twin of the NumPy gather in ``windows.py``: one pass from the panel to the batch, the same bits.

Neighbouring listings of one date are worked on as one long row. Random windows are ``lookback`` scattered rows each, so
what costs is waiting for memory: a row asks for the row of a later sample first, which makes them three times as fast.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np.numpy_support import carray

from hitherto.features.cache import kernel

CELLS = 256  # of a run of neighbouring listings: enough for the vector units, and its constants stay in the cache
AHEAD = 16  # runs between asking for a row and using it
LINE = 64  # bytes that memory gives at once

U = np.uintp  # unsigned: numba guards signed indices against being negative, which spoils the vector loads


def _to_pointer(typingctx, address):
    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

    return types.CPointer(types.float32)(types.int64), codegen


def _to_prefetch(typingctx, address):
    def codegen(context, builder, signature, args):
        byte, int32 = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, int32, int32, int32])
        call = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        builder.call(call, [builder.inttoptr(args[0], byte), int32(0), int32(3), int32(1)])  # to read, keep, data
        return context.get_dummy_value()

    return types.void(types.int64), codegen


_pointer: Any = intrinsic(_to_pointer)
_prefetch: Any = intrinsic(_to_prefetch)


@kernel
def _runs(t, n, longest):
    """Cut 0..B where a sample is not the next listing of the same date, and after ``longest`` samples."""
    cuts = np.zeros(len(t) + 1, np.int64)
    count = 0
    for b in range(1, len(t) + 1):
        if b == len(t) or t[b] != t[b - 1] or n[b] != n[b - 1] + 1 or b - cuts[count] == longest:
            count += 1
            cuts[count] = b
    return cuts[: count + 1]


@kernel
def gather(address, size, shape, lookback, t, n, divisor, shift, scale, limit, fill, channel, out):
    """Write the windows (t, n) of a float32 panel to flat ``out`` (L, B, F), or (L, B, F + 1) with the mask channel.

    address, size, shape: where the (T, N, F) panel begins, its number of values and (N, F); read-only memory will do.
    t, n: (B,) int32, every t >= lookback - 1. divisor: flat (B, F) float32 or empty, then nothing is divided.
    shift, scale: (F,) float32; 0 and 1 change no bit. limit: inf for none. fill: what NaN becomes after all that.
    """
    values = carray(_pointer(address), (size,), np.float32)
    N, F = shape
    longest = max(1, CELLS // F)
    cuts = _runs(t, n, longest)
    runs, B, width = len(cuts) - 1, len(t), F + channel
    shifts, scales = np.empty(longest * F, np.float32), np.empty(longest * F, np.float32)
    places = np.empty(runs, np.int64)  # of the first value of each run at its last row
    for r in range(runs):
        places[r] = (t[cuts[r]] * N + n[cuts[r]]) * F
    for k in range(longest * F):
        shifts[k], scales[k] = shift[k % F], scale[k % F]
    for step in range(lookback):
        back = (lookback - 1 - step) * N * F
        for r in range(runs):
            later = min(r + AHEAD, runs - 1)
            at, stop = address + (places[later] - back) * 4, (cuts[later + 1] - cuts[later]) * F * 4
            _prefetch(at)
            _prefetch(at + stop - 4)
            for offset in range(LINE, stop - LINE, LINE):
                _prefetch(at + offset)
            b, rows = cuts[r], cuts[r + 1] - cuts[r]
            pieces, cells = (rows, U(F)) if channel else (1, U(rows * F))
            source, to, per = U(places[r] - back), U((step * B + b) * width), U(b * F)
            for _ in range(pieces):
                gaps = np.uint32(0)
                if len(divisor) > 0:
                    for k in range(cells):
                        v = (values[source + k] / divisor[per + k] - shifts[k]) * scales[k]
                        v = -limit if v < -limit else v  # NaN passes both
                        v = limit if v > limit else v
                        gaps += np.uint32(v != v)
                        out[to + k] = v if v == v else fill
                elif channel:
                    for k in range(cells):
                        v = (values[source + k] - shifts[k]) * scales[k]
                        v = -limit if v < -limit else v
                        v = limit if v > limit else v
                        gaps += np.uint32(v != v)
                        out[to + k] = v if v == v else fill
                else:
                    for k in range(cells):
                        v = (values[source + k] - shifts[k]) * scales[k]
                        v = -limit if v < -limit else v
                        v = limit if v > limit else v
                        out[to + k] = v if v == v else fill
                if channel:
                    out[to + cells] = np.float32(gaps) / np.float32(F)
                source, to, per = source + cells, to + cells + U(1), per + cells
