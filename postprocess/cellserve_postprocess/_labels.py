"""Kernels on label images. Plain twins of the same names: `reference`.

An image is a volume of one plane.
"""

import numpy as np
from cellserve_preprocess.jit import kernel
from numpy.typing import NDArray


@kernel
def extents(
    labels: NDArray[np.int32], count: int, first: int, last: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Areas (volumes) and bounding boxes of the objects 1..count in the rows `first` to `last` (exclusive).

    Args:
        labels: int32 [Z, Y, X].
        count: highest number.
        first, last: rows; row r is row r % Y of plane r // Y.

    Returns:
        int64 [N] pixels; int32 [N, 6] (z_min, y_min, x_min, z_max, y_max, x_max), half open, zeros where a number is
        not in use.
    """
    height, width = labels.shape[1:]
    areas = np.zeros(count, np.int64)
    boxes = np.zeros((count, 6), np.int32)
    for row in range(first, last):
        z, y = divmod(row, height)
        for x in range(width):
            if labels[z, y, x] > 0:
                i = labels[z, y, x] - 1
                if areas[i] == 0:
                    boxes[i, 0] = z
                    boxes[i, 1] = y
                    boxes[i, 2] = x
                areas[i] += 1
                boxes[i, 1] = min(boxes[i, 1], y)
                boxes[i, 2] = min(boxes[i, 2], x)
                boxes[i, 3] = z + 1
                boxes[i, 4] = max(boxes[i, 4], y + 1)
                boxes[i, 5] = max(boxes[i, 5], x + 1)
    return areas, boxes


@kernel
def moments(
    labels: NDArray[np.int32], logit: NDArray[np.float32], count: int, first: int, last: int
) -> NDArray[np.float64]:
    """Sums over the pixels of each object in some rows, float64 [N, 4]: z, y, x, cell probability.

    Args:
        labels: int32 [Z, Y, X].
        logit: float32 [Z, Y, X].
        count: highest number.
        first, last: as of `extents`.
    """
    height, width = labels.shape[1:]
    sums = np.zeros((count, 4))
    for row in range(first, last):
        z, y = divmod(row, height)
        for x in range(width):
            if labels[z, y, x] > 0:
                i = labels[z, y, x] - 1
                sums[i, 0] += z
                sums[i, 1] += y
                sums[i, 2] += x
                sums[i, 3] += 1 / (1 + np.exp(-np.float64(logit[z, y, x])))
    return sums


@kernel
def renumber(labels: NDArray[np.int32], numbers: NDArray[np.int32], first: int, last: int) -> None:
    """Give the objects in the rows `first` to `last` (exclusive) other numbers, in place.

    Args:
        labels: int32 [rows, X], 0..N.
        numbers: int32 [N + 1], the new number of each; 0 drops an object.
        first, last: rows.
    """
    for y in range(first, last):
        for x in range(labels.shape[1]):
            labels[y, x] = numbers[labels[y, x]]


@kernel
def may_have_holes(
    labels: NDArray[np.int32], boxes: NDArray[np.int32], first: int, last: int, cancelled: NDArray[np.uint8]
) -> NDArray[np.bool_]:
    """Which of the objects `first` to `last` (exclusive) have background between two of their pixels in some row.

    Around a hole an object has pixels on both sides of it in each of its rows, so the others have none.

    Args:
        labels: int32 [Z, Y, X], 0 or 1..N.
        boxes: int32 [N, 6] as `extents` returns them.
        first, last: indices of objects.
        cancelled: uint8 [1]; once not zero, the work ends early.
    """
    found = np.zeros(last - first, np.bool_)
    for i in range(first, last):
        z_min, y_min, x_min, z_max, y_max, x_max = boxes[i]
        for z in range(z_min, z_max):
            for y in range(y_min, y_max):
                if cancelled[0] != 0:
                    return found
                inside = False
                gap = False
                for x in range(x_min, x_max):
                    own = labels[z, y, x] == i + 1
                    found[i - first] |= own and gap
                    inside |= own
                    gap |= inside and labels[z, y, x] == 0
    return found


@kernel
def fill_holes(
    labels: NDArray[np.int32],
    boxes: NDArray[np.int32],
    order: NDArray[np.int64],
    cancelled: NDArray[np.uint8],
) -> None:
    """Give background that an object encloses to that object, in place.

    Enclosed is what no path of steps along the axes connects with the outside of the object's bounding box: in an image
    a hole, in a volume a cavity. Other objects inside a hole stay; of nested objects each gets the background just
    inside it, given that `order` sorts by the size of the box.

    Args:
        labels: int32 [Z, Y, X], 0 or 1..N.
        boxes: int32 [N, 6] as `extents` returns them.
        order: int64, indices of the objects to fill, smallest box first.
        cancelled: uint8 [1]; once not zero, the work ends early.
    """
    # A frame of one pixel around the box is outside and connected: one flood from its corner is enough. An image has no
    # outside in front of its plane and behind.
    frame = 0 if labels.shape[0] == 1 else 1
    largest = 0
    for i in order:
        z_min, y_min, x_min, z_max, y_max, x_max = boxes[i]
        largest = max(largest, (z_max - z_min + 2 * frame) * (y_max - y_min + 2) * (x_max - x_min + 2))
    outside = np.empty(largest, np.bool_)
    stack = np.empty(largest, np.int32)
    for i in order:
        z_min, y_min, x_min, z_max, y_max, x_max = boxes[i]
        depth = z_max - z_min + 2 * frame
        height = y_max - y_min + 2
        width = x_max - x_min + 2
        outside[: depth * height * width] = False
        outside[0] = True
        stack[0] = 0
        top = 1
        while top > 0:
            if cancelled[0] != 0:
                return
            top -= 1
            row, x = divmod(stack[top], width)
            z, y = divmod(row, height)
            for next_z, next_y, next_x in (
                (z - 1, y, x),
                (z + 1, y, x),
                (z, y - 1, x),
                (z, y + 1, x),
                (z, y, x - 1),
                (z, y, x + 1),
            ):
                place = (next_z * height + next_y) * width + next_x
                if not (0 <= next_z < depth and 0 <= next_y < height and 0 <= next_x < width) or outside[place]:
                    continue
                at_z, at_y, at_x = z_min + next_z - frame, y_min + next_y - 1, x_min + next_x - 1
                if (
                    z_min <= at_z < z_max
                    and y_min <= at_y < y_max
                    and x_min <= at_x < x_max
                    and labels[at_z, at_y, at_x] == i + 1
                ):
                    continue
                outside[place] = True
                stack[top] = place
                top += 1
        for z in range(z_min, z_max):
            for y in range(y_min, y_max):
                if cancelled[0] != 0:
                    return
                row = ((z - z_min + frame) * height + y - y_min + 1) * width + 1
                for x in range(x_min, x_max):
                    if not outside[row + x - x_min] and labels[z, y, x] == 0:
                        labels[z, y, x] = i + 1
