"""Kernels that compute the flows of given masks of a volume by heat diffusion. Plain twins: `reference`.

They do in three axes what `_diffusion` does in two: heat spreads to the mean of 3 x 3 x 3 voxels, twice as often as the
box of the object has steps along its axes. The framed box is flat: rows lie one behind another with a zero between
them, and planes with a row of zeros between them.
"""

import numpy as np
from cellserve_preprocess.jit import inlined, kernel
from numpy.typing import NDArray

from ._diffusion import _is_faint, _median

LONGEST = 64
"""Side of the largest box, in voxels, in which `flow_errors` computes heat voxel by voxel. Larger objects are computed
on blocks: time would grow with the fourth power of the side."""


@kernel
def diffuse(labels: NDArray[np.int32], boxes: NDArray[np.int32]) -> NDArray[np.float32]:
    """Unit flows of all objects, in double precision: heat spans hundreds of orders of magnitude.

    Args:
        labels: int32 [Z, Y, X], 0 or 1..N.
        boxes: int32 [N, 6], (z_min, y_min, x_min, z_max, y_max, x_max) of each object, half open; zeros where a number
            is not in use.

    Returns:
        float32 [3, Z, Y, X]: flow along z, y and x; zero outside objects and where the heat is level.
    """
    flow = np.zeros((3, *labels.shape), np.float32)
    largest = _largest(boxes, 0)
    solid = np.empty(largest, np.float32)
    heat = np.empty((2, largest))
    sums = np.empty((2, largest))
    lines = np.empty(largest, np.int64)
    go = np.zeros(1, np.uint8)
    for i in range(boxes.shape[0]):
        z_min, y_min, x_min, z_max, y_max, x_max = boxes[i]
        if z_max == 0:
            continue
        depth, height, width = _blocks(boxes[i], 1)
        _fill_solid(labels, i + 1, boxes[i], 1, solid, go)
        centre = _centre(solid, depth, height, width, lines)
        final = _diffuse(solid, depth, height, width, centre, heat, sums, go)
        stride = width + 1
        plane = (height + 1) * stride
        for z in range(z_min, z_max):
            for y in range(y_min, y_max):
                for x in range(x_min, x_max):
                    if labels[z, y, x] == i + 1:
                        at = (z - z_min + 1) * plane + (y - y_min + 1) * stride + x - x_min + 1
                        flow[0, z, y, x], flow[1, z, y, x], flow[2, z, y, x] = _direction(final, plane, stride, at)
    return flow


@kernel
def flow_errors(
    labels: NDArray[np.int32],
    numbers: NDArray[np.int32],
    boxes: NDArray[np.int32],
    maps: NDArray[np.float32],
    scale: np.float32,
    cancelled: NDArray[np.uint8],
) -> NDArray[np.float32]:
    """Mean squared distance between the flows of some objects and those predicted (paper, "Mask quality threshold").

    Heat is computed in single precision; objects in which it gets fainter than FAINTEST are computed again in double
    precision. Objects longer than LONGEST are computed on cubic blocks of voxels.

    Args:
        labels: int32 [Z, Y, X].
        numbers: int32 [n], the objects.
        boxes: int32 [n, 6], their bounding boxes, as of `diffuse`.
        maps: float32 [4, Z, Y, X]: predicted flows along z, y and x times the scale, and logit.
        scale: of the maps.
        cancelled: uint8 [1]; once not zero, the work ends early.

    Returns:
        float32 [n].
    """
    errors = np.zeros(numbers.size, np.float32)
    largest = _largest(boxes, LONGEST)
    solid = np.empty(largest, np.float32)
    heat = np.empty((2, largest), np.float32)
    sums = np.empty((2, largest), np.float32)
    lines = np.empty(largest, np.int64)
    heat_64 = np.empty((2, 0))
    sums_64 = np.empty((2, 0))
    for i in range(numbers.size):
        block = _block(boxes[i], LONGEST)
        depth, height, width = _blocks(boxes[i], block)
        _fill_solid(labels, int(numbers[i]), boxes[i], block, solid, cancelled)
        centre = _centre(solid, depth, height, width, lines)
        final = _diffuse(solid, depth, height, width, centre, heat, sums, cancelled)
        if cancelled[0] != 0:
            break
        if _is_faint(final, final.size):
            if heat_64.size == 0:
                heat_64 = np.empty((2, largest))
                sums_64 = np.empty((2, largest))
            final_64 = _diffuse(solid, depth, height, width, centre, heat_64, sums_64, cancelled)
            errors[i] = _error(labels, numbers[i], boxes[i], block, maps, scale, final_64, cancelled)
        else:
            errors[i] = _error(labels, numbers[i], boxes[i], block, maps, scale, final, cancelled)
    return errors


@kernel
def _error(
    labels: NDArray[np.int32],
    number: int,
    box: NDArray[np.int32],
    block: int,
    maps: NDArray[np.float32],
    scale: np.float32,
    heat: NDArray[np.floating],
    cancelled: NDArray[np.uint8],
) -> float:
    z_min, y_min, x_min, z_max, y_max, x_max = box
    _, height, width = _blocks(box, block)
    stride = width + 1
    plane = (height + 1) * stride
    total = 0.0
    volume = 0
    for z in range(z_min, z_max):
        for y in range(y_min, y_max):
            if cancelled[0] != 0:
                return 0.0
            row = ((z - z_min) // block + 1) * plane + ((y - y_min) // block + 1) * stride + 1
            for x in range(x_min, x_max):
                if labels[z, y, x] == number:
                    flow_z, flow_y, flow_x = _direction(heat, plane, stride, row + (x - x_min) // block)
                    error_z = flow_z - maps[0, z, y, x] / scale
                    error_y = flow_y - maps[1, z, y, x] / scale
                    error_x = flow_x - maps[2, z, y, x] / scale
                    total += error_z * error_z + error_y * error_y + error_x * error_x
                    volume += 1
    return total / volume


@kernel
def _block(box: NDArray[np.int32], longest: int) -> int:
    """Side of the blocks, in voxels, on which an object is computed."""
    side = max(box[3] - box[0], max(box[4] - box[1], box[5] - box[2]))
    return (side - 1) // longest + 1 if longest > 0 else 1


@kernel
def _blocks(box: NDArray[np.int32], block: int) -> tuple[int, int, int]:
    """Number of blocks of a box along z, y and x."""
    return (
        (box[3] - box[0] - 1) // block + 1,
        (box[4] - box[1] - 1) // block + 1,
        (box[5] - box[2] - 1) // block + 1,
    )


@kernel
def _size(depth: int, height: int, width: int) -> int:
    """Length of the array that holds a framed box of so many blocks."""
    stride = width + 1
    return (depth + 2) * (height + 1) * stride + stride + 1


@kernel
def _largest(boxes: NDArray[np.int32], longest: int) -> int:
    """Length of the arrays that hold any of the framed boxes."""
    largest = 0
    for i in range(boxes.shape[0]):
        depth, height, width = _blocks(boxes[i], _block(boxes[i], longest))
        largest = max(largest, _size(depth, height, width))
    return largest


@kernel
def _fill_solid(
    labels: NDArray[np.int32],
    number: int,
    box: NDArray[np.int32],
    block: int,
    solid: NDArray[np.float32],
    cancelled: NDArray[np.uint8],
) -> None:
    """One in every block of the framed box that holds voxels of the object, else zero."""
    z_min, y_min, x_min, z_max, y_max, x_max = box
    depth, height, width = _blocks(box, block)
    stride = width + 1
    plane = (height + 1) * stride
    for i in range(_size(depth, height, width)):
        solid[i] = 0
    for z in range(z_min, z_max):
        for y in range(y_min, y_max):
            if cancelled[0] != 0:
                return
            row = ((z - z_min) // block + 1) * plane + ((y - y_min) // block + 1) * stride + 1
            for x in range(x_min, x_max):
                if labels[z, y, x] == number:
                    solid[row + (x - x_min) // block] = 1


@kernel
def _diffuse(
    solid: NDArray[np.float32],
    depth: int,
    height: int,
    width: int,
    centre: int,
    heat: NDArray[np.floating],
    sums: NDArray[np.floating],
    cancelled: NDArray[np.uint8],
) -> NDArray[np.floating]:
    """Let heat come from the centre and spread through the object; return the heat of the framed box."""
    stride = width + 1
    plane = (height + 1) * stride
    size = _size(depth, height, width)
    share = heat.dtype.type(1 / 27)
    now = heat[0, :size]
    later = heat[1, :size]
    for i in range(size):
        now[i] = 0
        later[i] = 0
    for _ in range(2 * (depth + height + width - 3)):
        if cancelled[0] != 0:
            break
        now[centre] += 1
        for z in range(1, depth + 1):
            at = z * plane
            # Views that start at zero show the compiler loops without wrapping indices: it vectorises them.
            before = now[at - plane : at + stride]
            level = now[at : at + plane + stride]
            behind = now[at + plane : at + 2 * plane + stride]
            along_z = sums[0, : plane + stride]
            # Opposite neighbours first: rounding then keeps symmetric objects symmetric, and their centre level.
            for i in range(along_z.size):
                along_z[i] = before[i] + behind[i] + level[i]
            above = along_z[: plane - stride + 1]
            middle = along_z[stride : plane + 1]
            below = along_z[2 * stride : plane + stride]
            along_y = sums[1, : plane - stride + 1]
            for i in range(along_y.size - 1):
                along_y[i] = above[i] + below[i] + middle[i]
            along_y[along_y.size - 1] = 0
            left = along_y[: plane - stride - 1]
            centred = along_y[1 : plane - stride]
            right = along_y[2 : plane - stride + 1]
            part = solid[at + stride + 1 : at + plane]
            target = later[at + stride + 1 : at + plane]
            for i in range(target.size):
                target[i] = (left[i] + right[i] + centred[i]) * part[i] * share
        now, later = later, now
    return now


@inlined
def _direction(heat: NDArray[np.floating], plane: int, stride: int, at: int) -> tuple[float, float, float]:
    """Direction in which heat rises, of unit length; zero where it is level."""
    slope_z = np.float64(heat[at + plane]) - np.float64(heat[at - plane])
    slope_y = np.float64(heat[at + stride]) - np.float64(heat[at - stride])
    slope_x = np.float64(heat[at + 1]) - np.float64(heat[at - 1])
    steepest = max(abs(slope_z), max(abs(slope_y), abs(slope_x)))
    if steepest == 0:
        return 0.0, 0.0, 0.0
    # Far from the centre slopes may be smaller than 1e-154: their squares would vanish.
    slope_z /= steepest
    slope_y /= steepest
    slope_x /= steepest
    length = np.sqrt(slope_z * slope_z + slope_y * slope_y + slope_x * slope_x)
    return slope_z / length, slope_y / length, slope_x / length


@kernel
def _centre(solid: NDArray[np.float32], depth: int, height: int, width: int, lines: NDArray[np.int64]) -> int:
    """Index of the mask block closest to the median z, y and x of all; the first of several.

    Args:
        solid: of `_fill_solid`.
        depth, height, width: of `_blocks`.
        lines: int64, room for the blocks in each plane, row and column.
    """
    stride = width + 1
    plane = (height + 1) * stride
    planes = lines[: depth + 1]
    rows = lines[depth + 1 : depth + height + 2]
    columns = lines[depth + height + 2 : depth + height + width + 3]
    for i in range(depth + height + width + 3):
        lines[i] = 0
    for z in range(1, depth + 1):
        for y in range(1, height + 1):
            for x in range(1, width + 1):
                if solid[z * plane + y * stride + x] > 0:
                    planes[z] += 1
                    rows[y] += 1
                    columns[x] += 1
    middle_z, middle_y, middle_x = _median(planes), _median(rows), _median(columns)
    centre = 0
    closest = np.inf
    for z in range(1, depth + 1):
        for y in range(1, height + 1):
            for x in range(1, width + 1):
                if solid[z * plane + y * stride + x] > 0:
                    distance = (z - middle_z) ** 2 + (y - middle_y) ** 2 + (x - middle_x) ** 2
                    if distance < closest:
                        closest = distance
                        centre = z * plane + y * stride + x
    return centre
