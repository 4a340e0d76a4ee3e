"""Bilinear interpolation of a flow, both components at once, as one compiler intrinsic.

Numba's own code for it is scalar. The two components of two neighbouring pixels lie side by side in memory: one load,
one subtraction, one product and one sum of four numbers do the work of four of each.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_FLOAT = ir.FloatType()
_INT = ir.IntType(32)


def _bilinear(typing_context: Any, flow: Any, above: Any, below: Any, part_y: Any, part_x: Any) -> Any:
    """Flow between four pixels; first along y, then along x.

    Args:
        typing_context: numba's.
        flow: float32, flat; the two components of a pixel side by side.
        above, below: index of the first component of the upper and the lower left pixel.
        part_y, part_x: float32, 0 to 1, the way to the lower and to the right pixels.

    Returns:
        float32 (along y, along x).
    """
    signature = types.UniTuple(types.float32, 2)(flow, above, below, part_y, part_x)  # type: ignore[no-untyped-call]
    return signature, _generate


bilinear: Any = intrinsic(_bilinear)


def _generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    flow, above, below, part_y, part_x = arguments
    data = context.make_array(signature.args[0])(context, builder, flow).data

    def pair(index: Any) -> Any:
        address = builder.bitcast(builder.gep(data, [index]), ir.VectorType(_FLOAT, 4).as_pointer())
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

    columns = between(pair(above), pair(below), part_y, 4)
    step = between(shuffled(columns, 0, 1), shuffled(columns, 2, 3), part_x, 2)
    parts = [builder.extract_element(step, _INT(0)), builder.extract_element(step, _INT(1))]
    return cgutils.pack_array(builder, parts)  # type: ignore[no-untyped-call]
