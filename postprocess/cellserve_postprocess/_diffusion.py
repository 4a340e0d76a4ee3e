"""Kernels that compute the flows of given masks by heat diffusion. Plain twins of the same names: `reference`."""

import numpy as np
from numpy.typing import NDArray

from ._jit import kernel

LONGEST = 256
"""Side of the largest box, in pixels, in which `flow_errors` computes heat pixel by pixel. Larger objects are computed
on blocks: time would grow with the cube of the side, and networks are made for objects of 30 pixels anyway."""


@kernel
def diffuse(labels: NDArray[np.int32], boxes: NDArray[np.int32]) -> NDArray[np.float32]:
    """Unit flows of all objects (paper, "Auxiliary vector flow representation").

    Every object is computed in its own bounding box, where the pixels of all others count as outside.

    Args:
        labels: int32 [Y, X], 0 or 1..N.
        boxes: int32 [N, 4], (y_min, x_min, y_max, x_max) of each object, half open; zeros where a number is not in use.

    Returns:
        float32 [2, Y, X]: flow along y, flow along x; zero outside objects and where the heat is level.
    """
    flow = np.zeros((2, *labels.shape), np.float32)
    for i in range(boxes.shape[0]):
        y_min, x_min, y_max, x_max = boxes[i]
        if y_max == 0:
            continue
        heat = _heat(_share(labels, i + 1, boxes[i], 1))
        for y in range(y_min, y_max):
            for x in range(x_min, x_max):
                if labels[y, x] == i + 1:
                    flow_y, flow_x = _direction(heat, y - y_min + 1, x - x_min + 1)
                    flow[0, y, x] = flow_y
                    flow[1, y, x] = flow_x
    return flow


@kernel
def flow_errors(
    labels: NDArray[np.int32], boxes: NDArray[np.int32], predicted: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Mean squared distance between the flows of each object and those predicted (paper, "Mask quality threshold").

    Args:
        labels, boxes: as of `diffuse`; every number is in use.
        predicted: float32 [2, Y, X] or larger, flow along y, flow along x, of about unit length.

    Returns:
        float32 [N]. Flows are those of `diffuse`; objects longer than LONGEST are computed on square blocks of pixels.
    """
    errors = np.zeros(boxes.shape[0], np.float32)
    for i in range(boxes.shape[0]):
        y_min, x_min, y_max, x_max = boxes[i]
        block = (max(y_max - y_min, x_max - x_min) - 1) // LONGEST + 1
        heat = _heat(_share(labels, i + 1, boxes[i], block))
        total = 0.0
        area = 0
        for y in range(y_min, y_max):
            for x in range(x_min, x_max):
                if labels[y, x] == i + 1:
                    flow_y, flow_x = _direction(heat, (y - y_min) // block + 1, (x - x_min) // block + 1)
                    error_y = flow_y - predicted[0, y, x]
                    error_x = flow_x - predicted[1, y, x]
                    total += error_y * error_y + error_x * error_x
                    area += 1
        errors[i] = total / area
    return errors


@kernel
def _share(labels: NDArray[np.int32], number: int, box: NDArray[np.int32], block: int) -> NDArray[np.float64]:
    """One ninth in every block of the box that holds pixels of the object, else zero; framed by zeros."""
    y_min, x_min, y_max, x_max = box
    share = np.zeros(((y_max - y_min - 1) // block + 3, (x_max - x_min - 1) // block + 3))
    for y in range(y_min, y_max):
        for x in range(x_min, x_max):
            if labels[y, x] == number:
                share[(y - y_min) // block + 1, (x - x_min) // block + 1] = 1 / 9
    return share


@kernel
def _direction(heat: NDArray[np.float64], y: int, x: int) -> tuple[float, float]:
    """Direction in which heat rises, of unit length; zero where it is level."""
    slope_y = heat[y + 1, x] - heat[y - 1, x]
    slope_x = heat[y, x + 1] - heat[y, x - 1]
    steepest = max(abs(slope_y), abs(slope_x))
    if steepest == 0:
        return 0.0, 0.0
    # Far from the centre slopes may be smaller than 1e-154: their squares would vanish.
    slope_y /= steepest
    slope_x /= steepest
    length = np.sqrt(slope_y * slope_y + slope_x * slope_x)
    return slope_y / length, slope_x / length


@kernel
def _heat(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Heat that comes from the centre of a framed mask. Double precision: it spans hundreds of orders of magnitude."""
    height, width = share.shape
    centre_y, centre_x = _centre(share)
    heat = np.zeros((height, width))
    spread = np.zeros((height, width))
    sums = np.zeros(width)
    for step in range(1, 2 * (height - 3 + width - 3) + 1):
        heat[centre_y, centre_x] += 1
        # Heat moves one pixel an iteration: beyond this window all is zero.
        first = max(1, centre_x - step)
        last = min(width - 2, centre_x + step) + 1
        for y in range(max(1, centre_y - step), min(height - 2, centre_y + step) + 1):
            # Views that start at zero show the compiler loops without wrapping indices: it vectorises them.
            above = heat[y - 1, first - 1 : last + 1]
            level = heat[y, first - 1 : last + 1]
            below = heat[y + 1, first - 1 : last + 1]
            vertical = sums[first - 1 : last + 1]
            # Opposite neighbours first: rounding then keeps symmetric objects symmetric, and their centre level.
            for x in range(vertical.size):
                vertical[x] = above[x] + below[x] + level[x]
            left = sums[first - 1 : last - 1]
            middle = sums[first:last]
            right = sums[first + 1 : last + 1]
            part = share[y, first:last]
            target = spread[y, first:last]
            for x in range(target.size):
                target[x] = (left[x] + right[x] + middle[x]) * part[x]
        heat, spread = spread, heat
    return heat


@kernel
def _centre(share: NDArray[np.float64]) -> tuple[int, int]:
    """The mask pixel closest to the median y and median x of all; the first in row-major order where several are."""
    rows = np.zeros(share.shape[0], np.int64)
    columns = np.zeros(share.shape[1], np.int64)
    for y in range(share.shape[0]):
        for x in range(share.shape[1]):
            if share[y, x] > 0:
                rows[y] += 1
                columns[x] += 1
    median_y = _median(rows)
    median_x = _median(columns)
    centre_y = 0
    centre_x = 0
    closest = np.inf
    for y in range(share.shape[0]):
        for x in range(share.shape[1]):
            if share[y, x] > 0:
                distance = (y - median_y) ** 2 + (x - median_x) ** 2
                if distance < closest:
                    closest = distance
                    centre_y = y
                    centre_x = x
    return centre_y, centre_x


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
