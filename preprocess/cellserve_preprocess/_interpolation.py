"""Kernel of bilinear interpolation.

Numba's own code for interpolation along X is scalar: the compiler does not know that the two pixels of each
interpolation are neighbours. A compiler intrinsic loads them as one number, and interpolates eight pixels at a time.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from .jit import kernel

_LANES = 8
_FLOAT = ir.FloatType()
_INT = ir.IntType(32)
_PAIR = ir.IntType(64)


def _interpolate_lanes(typing_context: Any, line: Any, near: Any, parts: Any, result: Any, index: Any) -> Any:
    """Interpolates `_LANES` neighbouring pixels of a line.

    Args:
        typing_context: numba's.
        line: float32, flat.
        near: intp, flat; index of the left pixel of each interpolation. Its right neighbour is in the line, too.
        parts: float32, flat; the way from the left to the right pixel, 0 to 1.
        result: float32, flat; written to.
        index: the first of the pixels.
    """
    return types.void(line, near, parts, result, index), _generate


_lanes: Any = intrinsic(_interpolate_lanes)


def _generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    line, near, parts, result = (
        context.make_array(kind)(context, builder, array).data
        for kind, array in zip(signature.args[:4], arguments[:4], strict=True)
    )
    index, vector, alignment = arguments[4], ir.VectorType(_FLOAT, _LANES), np.dtype(np.float32).itemsize
    loaded = ir.Constant(ir.VectorType(_PAIR, _LANES), ir.Undefined)
    for lane in range(_LANES):
        left = builder.load(builder.gep(near, [builder.add(index, ir.Constant(index.type, lane))]))
        address = builder.bitcast(builder.gep(line, [left]), _PAIR.as_pointer())
        loaded = builder.insert_element(loaded, builder.load(address, align=alignment), _INT(lane))
    pairs = builder.bitcast(loaded, ir.VectorType(_FLOAT, 2 * _LANES))

    def every_second(first: int) -> Any:
        order = ir.Constant(ir.VectorType(_INT, _LANES), list(range(first, 2 * _LANES, 2)))
        return builder.shuffle_vector(pairs, ir.Constant(pairs.type, ir.Undefined), order)

    def place(array: Any) -> Any:
        return builder.bitcast(builder.gep(array, [index]), vector.as_pointer())

    left, right = every_second(0), every_second(1)
    part = builder.load(place(parts), align=alignment)
    between = builder.fadd(left, builder.fmul(part, builder.fsub(right, left)))
    builder.store(between, place(result), align=alignment)
    return context.get_dummy_value()


@kernel
def _across(
    line: NDArray[np.float32], near: NDArray[np.intp], parts: NDArray[np.float32], result: NDArray[np.float32]
) -> None:
    """Interpolates along X. Pixels beyond those of `near` get the last value of the line."""
    vectors = near.size // _LANES * _LANES
    for i in range(0, vectors, _LANES):
        _lanes(line, near, parts, result, i)
    for i in range(vectors, near.size):
        left = line[near[i]]
        result[i] = left + parts[i] * (line[near[i] + 1] - left)
    result[near.size :] = line[-1]


@kernel
def interpolate(
    source: NDArray[np.float32],
    near_y: NDArray[np.intp],
    parts_y: NDArray[np.float32],
    near_x: NDArray[np.intp],
    parts_x: NDArray[np.float32],
    straight: bool,
    first: int,
    last: int,
    result: NDArray[np.float32],
) -> None:
    """Computes the rows `first` to `last` (exclusive) of a rescaled plane. First along X, then along Y.

    Each line of the source is interpolated along X once, as long as the next row needs it.

    Args:
        source: float32 [Y, X].
        near_y: intp [Y'], row of the source above each row of the result. The last row may be such a row: its lower
            neighbour is the row itself.
        parts_y: float32 [Y'], the way to the lower row, 0 to 1.
        near_x, parts_x: the same for the columns. Columns of the result beyond those of `near_x` get the values of the
            last column of the source.
        straight: columns of the source and of the result are the same.
        first, last: rows of the result.
        result: float32 [Y', X'], written to.
    """
    lines = np.empty((2, 1 if straight else result.shape[1]), np.float32)
    end = source.shape[0] - 1
    held, upper = -2, 0  # the row above, and which of the lines has it
    for row in range(first, last):
        above = near_y[row]
        below = min(above + 1, end)
        part = parts_y[row]
        if straight:
            for x in range(result.shape[1]):
                result[row, x] = source[above, x] + part * (source[below, x] - source[above, x])
            continue
        if above != held:
            if above == held + 1:
                upper = 1 - upper
            else:
                _across(source[above], near_x, parts_x, lines[upper])
            _across(source[below], near_x, parts_x, lines[1 - upper])
            held = above
        lower = 1 - upper
        for x in range(result.shape[1]):
            result[row, x] = lines[upper, x] + part * (lines[lower, x] - lines[upper, x])
