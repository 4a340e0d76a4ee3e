"""Trilinear interpolation of a flow, its three components at once, as one compiler intrinsic.

The three components of two neighbouring voxels lie side by side in memory: one load of eight numbers holds both. Two
of the eight are not used.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_FLOAT = ir.FloatType()
_INT = ir.IntType(32)


def _trilinear(
    typing_context: Any, flow: Any, at: Any, row: Any, plane: Any, part_z: Any, part_y: Any, part_x: Any
) -> Any:
    """Flow between eight voxels; first along z, then along y, then along x.

    Args:
        typing_context: numba's.
        flow: float32, flat; the three components of a voxel side by side. Eight numbers are read from each corner.
        at: index of the first component of the voxel with the lowest z, y and x.
        row, plane: distance of the next voxel along y and along z, in numbers.
        part_z, part_y, part_x: float32, 0 to 1, the way to the next voxels.

    Returns:
        float32 (along z, along y, along x).
    """
    signature = types.UniTuple(types.float32, 3)(  # type: ignore[no-untyped-call]
        flow, at, row, plane, part_z, part_y, part_x
    )
    return signature, _generate


trilinear: Any = intrinsic(_trilinear)


def _generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    flow, at, row, plane, part_z, part_y, part_x = arguments
    data = context.make_array(signature.args[0])(context, builder, flow).data

    def voxels(index: Any) -> Any:
        address = builder.bitcast(builder.gep(data, [index]), ir.VectorType(_FLOAT, 8).as_pointer())
        return builder.load(address, align=np.dtype(np.float32).itemsize)

    def shuffled(vector: Any, *order: int) -> Any:
        return builder.shuffle_vector(
            vector, ir.Constant(vector.type, ir.Undefined), ir.Constant(ir.VectorType(_INT, len(order)), order)
        )

    def spread(value: Any, count: int) -> Any:
        empty = ir.Constant(ir.VectorType(_FLOAT, count), ir.Undefined)
        return shuffled(builder.insert_element(empty, value, _INT(0)), *(0,) * count)

    def between(first: Any, second: Any, part: Any, count: int) -> Any:
        return builder.fadd(first, builder.fmul(spread(part, count), builder.fsub(second, first)))

    below = builder.add(at, plane)
    near = between(voxels(at), voxels(below), part_z, 8)
    far = between(voxels(builder.add(at, row)), voxels(builder.add(below, row)), part_z, 8)
    line = between(near, far, part_y, 8)
    step = between(shuffled(line, 0, 1, 2, 3), shuffled(line, 3, 4, 5, 6), part_x, 4)
    parts = [builder.extract_element(step, _INT(i)) for i in range(3)]
    return cgutils.pack_array(builder, parts)  # type: ignore[no-untyped-call]
