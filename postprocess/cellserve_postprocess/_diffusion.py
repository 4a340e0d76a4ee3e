"""Kernels that compute the flows of given masks by heat diffusion. Plain twins of the same names: `reference`.

An object is computed in its own bounding box, framed and flat: rows lie one behind another with a zero between them, so
that one loop over the box is one loop over numbers, which the processor does sixteen or more at a time.
"""

import numpy as np
from cellserve_preprocess.jit import inlined, kernel
from numpy.typing import NDArray

LONGEST = 256
"""Side of the largest box, in pixels, in which `flow_errors` computes heat pixel by pixel. Larger objects are computed
on blocks: time would grow with the cube of the side, and networks are made for objects of 30 pixels anyway."""
CELLPOSE_ITERATIONS = 12
"""Iterations that Cellpose 3.1 makes beyond the paper's: it counts the sides of a box with a frame of one pixel."""
FAINTEST = 1e-30
"""Heat below this has lost digits in single precision, or is about to: the object is computed in double precision."""


@kernel
def diffuse(labels: NDArray[np.int32], boxes: NDArray[np.int32]) -> NDArray[np.float32]:
    """Unit flows of all objects (paper, "Auxiliary vector flow representation").

    Every object is computed in its own bounding box, where the pixels of all others count as outside. In double
    precision: heat spans hundreds of orders of magnitude.

    Args:
        labels: int32 [Y, X], 0 or 1..N.
        boxes: int32 [N, 4], (y_min, x_min, y_max, x_max) of each object, half open; zeros where a number is not in use.

    Returns:
        float32 [2, Y, X]: flow along y, flow along x; zero outside objects and where the heat is level.
    """
    flow = np.zeros((2, *labels.shape), np.float32)
    largest = _largest(boxes, 0, boxes.shape[0])
    share = np.empty(largest)
    heat = np.empty(largest)
    sums = np.empty(largest)
    lines = np.empty(largest, np.int64)
    go = np.zeros(1, np.uint8)
    for i in range(boxes.shape[0]):
        y_min, x_min, y_max, x_max = boxes[i]
        if y_max == 0:
            continue
        height, stride = _frame(boxes[i], 1)
        _fill_share(labels, i + 1, boxes[i], 1, share, go)
        centre = _centre(share, height, stride, False, lines)
        _diffuse(share, height, stride, centre, _iterations(height, stride), heat, sums, go)
        for y in range(y_min, y_max):
            for x in range(x_min, x_max):
                if labels[y, x] == i + 1:
                    at = (y - y_min + 1) * stride + x - x_min + 1
                    flow[0, y, x], flow[1, y, x] = _direction(heat, stride, at)
    return flow


@kernel
def flow_errors(
    labels: NDArray[np.int32],
    numbers: NDArray[np.int32],
    boxes: NDArray[np.int32],
    maps: NDArray[np.float32],
    scale: np.float32,
    cellpose: bool,
    cancelled: NDArray[np.uint8],
) -> NDArray[np.float32]:
    """Mean squared distance between the flows of some objects and those predicted (paper, "Mask quality threshold").

    Heat is computed in single precision; objects in which it gets fainter than FAINTEST are computed again in double
    precision. Objects longer than LONGEST are computed on square blocks of pixels.

    Args:
        labels: int32 [Y, X].
        numbers: int32 [n], the objects.
        boxes: int32 [n, 4], their bounding boxes, as of `diffuse`.
        maps: float32 [3, Y, X]: predicted flows along y and x times the scale, and logit.
        scale: of the maps.
        cellpose: as Cellpose 3.1 has it, heat comes from the pixel closest to the mean of all pixels, not to their
            median, and for CELLPOSE_ITERATIONS more.
        cancelled: uint8 [1]; once not zero, the work ends early.

    Returns:
        float32 [n].
    """
    errors = np.zeros(numbers.size, np.float32)
    largest = _largest(boxes, LONGEST, numbers.size)
    share = np.empty(largest, np.float32)
    heat = np.empty(largest, np.float32)
    sums = np.empty(largest, np.float32)
    lines = np.empty(largest, np.int64)
    share_64 = np.empty(0)
    heat_64 = np.empty(0)
    sums_64 = np.empty(0)
    for i in range(numbers.size):
        block = _block(boxes[i], LONGEST)
        height, stride = _frame(boxes[i], block)
        _fill_share(labels, numbers[i], boxes[i], block, share, cancelled)
        centre = _centre(share, height, stride, cellpose, lines)
        iterations = _iterations(height, stride) + (CELLPOSE_ITERATIONS if cellpose else 0)
        _diffuse(share, height, stride, centre, iterations, heat, sums, cancelled)
        if cancelled[0] != 0:
            break
        if _is_faint(heat, height * stride):
            if share_64.size == 0:
                share_64 = np.empty(largest)
                heat_64 = np.empty(largest)
                sums_64 = np.empty(largest)
            _fill_share(labels, numbers[i], boxes[i], block, share_64, cancelled)
            _diffuse(share_64, height, stride, centre, iterations, heat_64, sums_64, cancelled)
            errors[i] = _error(labels, numbers[i], boxes[i], block, maps, scale, heat_64, stride, cancelled)
        else:
            errors[i] = _error(labels, numbers[i], boxes[i], block, maps, scale, heat, stride, cancelled)
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
    stride: int,
    cancelled: NDArray[np.uint8],
) -> float:
    y_min, x_min, y_max, x_max = box
    total = 0.0
    area = 0
    for y in range(y_min, y_max):
        if cancelled[0] != 0:
            return 0.0
        for x in range(x_min, x_max):
            if labels[y, x] == number:
                at = ((y - y_min) // block + 1) * stride + (x - x_min) // block + 1
                flow_y, flow_x = _direction(heat, stride, at)
                error_y = flow_y - maps[0, y, x] / scale
                error_x = flow_x - maps[1, y, x] / scale
                total += error_y * error_y + error_x * error_x
                area += 1
    return total / area


@kernel
def _block(box: NDArray[np.int32], longest: int) -> int:
    """Side of the blocks, in pixels, on which an object is computed."""
    return (max(box[2] - box[0], box[3] - box[1]) - 1) // longest + 1 if longest > 0 else 1


@kernel
def _frame(box: NDArray[np.int32], block: int) -> tuple[int, int]:
    """Rows of a framed box, and the distance of one from the next: the last column's frame is the next row's first."""
    return (box[2] - box[0] - 1) // block + 3, (box[3] - box[1] - 1) // block + 2


@kernel
def _iterations(height: int, stride: int) -> int:
    """Twice the rows and columns that lie between the outermost pixels of a framed box."""
    return 2 * (height - 3 + stride - 2)


@kernel
def _largest(boxes: NDArray[np.int32], longest: int, count: int) -> int:
    """Length of the arrays that hold any of the framed boxes."""
    largest = 0
    for i in range(count):
        height, stride = _frame(boxes[i], _block(boxes[i], longest))
        largest = max(largest, height * stride + 1)
    return largest


@kernel
def _fill_share(
    labels: NDArray[np.int32],
    number: int,
    box: NDArray[np.int32],
    block: int,
    share: NDArray[np.floating],
    cancelled: NDArray[np.uint8],
) -> None:
    """One ninth in every block of the framed box that holds pixels of the object, else zero."""
    y_min, x_min, y_max, x_max = box
    height, stride = _frame(box, block)
    share[: height * stride + 1] = 0
    for y in range(y_min, y_max):
        if cancelled[0] != 0:
            return
        row = ((y - y_min) // block + 1) * stride + 1
        for x in range(x_min, x_max):
            if labels[y, x] == number:
                share[row + (x - x_min) // block] = 1 / 9


@kernel
def _diffuse(
    share: NDArray[np.floating],
    height: int,
    stride: int,
    centre: int,
    iterations: int,
    heat: NDArray[np.floating],
    sums: NDArray[np.floating],
    cancelled: NDArray[np.uint8],
) -> None:
    """Let heat come from the centre and spread through the object so many times."""
    size = height * stride + 1
    heat[:size] = 0
    centre_y = centre // stride
    for step in range(1, iterations + 1):
        if cancelled[0] != 0:
            return
        heat[centre] += 1
        # Heat moves one pixel an iteration: beyond these rows all is zero.
        first = max(1, centre_y - step) * stride
        last = (min(height - 2, centre_y + step) + 1) * stride
        # Views that start at zero show the compiler loops without wrapping indices: it vectorises them.
        above = heat[first - stride : last - stride + 1]
        level = heat[first : last + 1]
        below = heat[first + stride : last + stride + 1]
        vertical = sums[first : last + 1]
        # Opposite neighbours first: rounding then keeps symmetric objects symmetric, and their centre level.
        for i in range(vertical.size):
            vertical[i] = above[i] + below[i] + level[i]
        left = sums[first : last - 1]
        middle = sums[first + 1 : last]
        right = sums[first + 2 : last + 1]
        part = share[first + 1 : last]
        target = heat[first + 1 : last]
        for i in range(target.size):
            target[i] = (left[i] + right[i] + middle[i]) * part[i]


@kernel
def _is_faint(heat: NDArray[np.float32], size: int) -> bool:
    """Whether any heat is so faint that it lost digits. Where some has vanished, its neighbour is faint."""
    faint = False
    for i in range(size):
        faint |= 0 < heat[i] < FAINTEST
    return faint


@inlined
def _direction(heat: NDArray[np.floating], stride: int, at: int) -> tuple[float, float]:
    """Direction in which heat rises, of unit length; zero where it is level."""
    slope_y = np.float64(heat[at + stride]) - np.float64(heat[at - stride])
    slope_x = np.float64(heat[at + 1]) - np.float64(heat[at - 1])
    steepest = max(abs(slope_y), abs(slope_x))
    if steepest == 0:
        return 0.0, 0.0
    # Far from the centre slopes may be smaller than 1e-154: their squares would vanish.
    slope_y /= steepest
    slope_x /= steepest
    length = np.sqrt(slope_y * slope_y + slope_x * slope_x)
    return slope_y / length, slope_x / length


@kernel
def _centre(share: NDArray[np.floating], height: int, stride: int, mean: bool, lines: NDArray[np.int64]) -> int:
    """Index of the mask pixel closest to the median (or mean) y and x of all; the first of several.

    Args:
        share: of `_fill_share`.
        height, stride: of `_frame`.
        mean: the mean instead of the median.
        lines: int64, room for the pixels in each row and column.
    """
    rows = lines[:height]
    columns = lines[height : height + stride]
    rows[:] = 0
    columns[:] = 0
    for y in range(1, height - 1):
        for x in range(1, stride):
            if share[y * stride + x] > 0:
                rows[y] += 1
                columns[x] += 1
    middle_y = _mean(rows) if mean else _median(rows)
    middle_x = _mean(columns) if mean else _median(columns)
    centre = 0
    closest = np.inf
    for y in range(1, height - 1):
        for x in range(1, stride):
            if share[y * stride + x] > 0:
                distance = (y - middle_y) ** 2 + (x - middle_x) ** 2
                if distance < closest:
                    closest = distance
                    centre = y * stride + x
    return centre


@kernel
def _mean(counts: NDArray[np.int64]) -> float:
    """Mean of the positions 0, 1, ..., of which there are counts[0], counts[1], ..."""
    total = 0.0
    for position in range(counts.size):
        total += position * counts[position]
    return total / counts.sum()  # type: ignore[no-any-return]


@kernel
def _median(counts: NDArray[np.int64]) -> float:
    """Median of the positions 0, 1, ..., of which there are counts[0], counts[1], ..."""
    total = counts.sum()
    lower = -1
    upper = -1
    seen = 0
    for position in range(counts.size):
        seen += counts[position]
        if lower < 0 and seen > (total - 1) // 2:
            lower = position
        if seen > total // 2:
            upper = position
            break
    return (lower + upper) / 2
