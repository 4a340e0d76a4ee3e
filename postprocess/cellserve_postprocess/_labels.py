"""Kernels on label images. Plain twins of the same names: `reference`."""

import numpy as np
from numpy.typing import NDArray

from ._jit import kernel


@kernel
def extents(
    labels: NDArray[np.int32], count: int, first: int, last: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Areas and bounding boxes of the objects 1..count in the rows `first` to `last` (exclusive).

    Returns:
        int64 [N] pixels; int32 [N, 4] (y_min, x_min, y_max, x_max), half open, zeros where a number is not in use.
    """
    areas = np.zeros(count, np.int64)
    boxes = np.zeros((count, 4), np.int32)
    for y in range(first, last):
        for x in range(labels.shape[1]):
            if labels[y, x] > 0:
                i = labels[y, x] - 1
                if areas[i] == 0:
                    boxes[i, 0] = y
                    boxes[i, 1] = x
                areas[i] += 1
                boxes[i, 1] = min(boxes[i, 1], x)
                boxes[i, 2] = y + 1
                boxes[i, 3] = max(boxes[i, 3], x + 1)
    return areas, boxes


@kernel
def moments(
    labels: NDArray[np.int32], logit: NDArray[np.float32], count: int, first: int, last: int
) -> NDArray[np.float64]:
    """Sums over the pixels of each object in some rows, float64 [N, 3]: y, x, cell probability."""
    sums = np.zeros((count, 3))
    for y in range(first, last):
        for x in range(labels.shape[1]):
            if labels[y, x] > 0:
                i = labels[y, x] - 1
                sums[i, 0] += y
                sums[i, 1] += x
                sums[i, 2] += 1 / (1 + np.exp(-np.float64(logit[y, x])))
    return sums


@kernel
def renumber(labels: NDArray[np.int32], numbers: NDArray[np.int32], first: int, last: int) -> None:
    """Give the objects in the rows `first` to `last` (exclusive) other numbers, in place.

    Args:
        labels: int32 [Y, X], 0..N.
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
        labels: int32 [Y, X], 0 or 1..N.
        boxes: int32 [N, 4] as `extents` returns them.
        first, last: indices of objects.
        cancelled: uint8 [1]; once not zero, the work ends early.
    """
    found = np.zeros(last - first, np.bool_)
    for i in range(first, last):
        y_min, x_min, y_max, x_max = boxes[i]
        for y in range(y_min, y_max):
            if cancelled[0] != 0:
                return found
            inside = False
            gap = False
            for x in range(x_min, x_max):
                own = labels[y, x] == i + 1
                found[i - first] |= own and gap
                inside |= own
                gap |= inside and labels[y, x] == 0
    return found


@kernel
def fill_holes(
    labels: NDArray[np.int32], boxes: NDArray[np.int32], order: NDArray[np.int64], cancelled: NDArray[np.uint8]
) -> None:
    """Give background that an object encloses to that object, in place.

    Enclosed is what no path of vertical and horizontal steps connects with the outside of the object's bounding box.
    Other objects inside a hole stay; of nested objects each gets the background just inside it, given that `order`
    sorts by the area of the box.

    Args:
        labels: int32 [Y, X], 0 or 1..N.
        boxes: int32 [N, 4] as `extents` returns them.
        order: int64, indices of the objects to fill, smallest box first.
        cancelled: uint8 [1]; once not zero, the work ends early.
    """
    largest = 0
    for i in order:
        largest = max(largest, (boxes[i, 2] - boxes[i, 0] + 2) * (boxes[i, 3] - boxes[i, 1] + 2))
    outside = np.empty(largest, np.bool_)
    stack = np.empty(largest, np.int32)
    for i in order:
        y_min, x_min, y_max, x_max = boxes[i]
        height = y_max - y_min + 2
        width = x_max - x_min + 2
        # A frame of one pixel around the box is outside and connected: one flood from its corner is enough.
        outside[: height * width] = False
        outside[0] = True
        stack[0] = 0
        depth = 1
        while depth > 0:
            if cancelled[0] != 0:
                return
            depth -= 1
            y, x = divmod(stack[depth], width)
            for next_y, next_x in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if not (0 <= next_y < height and 0 <= next_x < width) or outside[next_y * width + next_x]:
                    continue
                framed = 0 < next_y < height - 1 and 0 < next_x < width - 1
                if framed and labels[y_min + next_y - 1, x_min + next_x - 1] == i + 1:
                    continue
                outside[next_y * width + next_x] = True
                stack[depth] = next_y * width + next_x
                depth += 1
        for y in range(1, height - 1):
            if cancelled[0] != 0:
                return
            for x in range(1, width - 1):
                if not outside[y * width + x] and labels[y_min + y - 1, x_min + x - 1] == 0:
                    labels[y_min + y - 1, x_min + x - 1] = i + 1
