"""Kernels on parts of an image, of two axes or three: an image is a volume of one plane. Plain twins: `reference`."""

import numpy as np
from cellserve_preprocess.jit import kernel
from numpy.typing import NDArray

from ._tracking import ESCAPED


@kernel
def mark_escaped(ends: NDArray[np.int32], outside: NDArray[np.bool_]) -> None:
    """Write ESCAPED for the pixels that end at some positions, in place.

    Args:
        ends: int32 of any shape, flat indices; negative where no pixel was followed.
        outside: bool, the positions.
    """
    flat_ends = ends.ravel()
    flat_outside = outside.ravel()
    for i in range(flat_ends.size):
        if flat_ends[i] >= 0 and flat_outside[flat_ends[i]]:
            flat_ends[i] = ESCAPED


@kernel
def number_ends(ends: NDArray[np.int32], numbers: NDArray[np.int32]) -> None:
    """Give the pixels the numbers of the positions they end at, in place.

    Args:
        ends: int32 of any shape, flat indices; negative where no pixel was followed, which stays.
        numbers: int32, of the positions.
    """
    flat_ends = ends.ravel()
    flat_numbers = numbers.ravel()
    for i in range(flat_ends.size):
        if flat_ends[i] >= 0:
            flat_ends[i] = flat_numbers[flat_ends[i]]


@kernel
def label_components(counts: NDArray[np.int32], least: int, labels: NDArray[np.int32]) -> int:
    """Number the connected components of the positions with more than `least` pixels, diagonal neighbours included.

    Args:
        counts: int32 [Z, Y, X].
        least: a number of pixels.
        labels: int32 [Z, Y, X], zeros; filled in: 1..N in the order of the first positions.

    Returns:
        N.
    """
    depth, height, width = counts.shape
    dense = 0
    for position in range(counts.size):
        if counts.flat[position] > least:
            dense += 1
    # Each dense position is pushed once.
    stack = np.empty(dense, np.int64)
    found = 0
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                if counts[z, y, x] <= least or labels[z, y, x] != 0:
                    continue
                found += 1
                labels[z, y, x] = found
                stack[0] = (z * height + y) * width + x
                pushed = 1
                while pushed > 0:
                    pushed -= 1
                    row, centre_x = divmod(stack[pushed], width)
                    centre_z, centre_y = divmod(row, height)
                    for near_z in range(max(0, centre_z - 1), min(depth, centre_z + 2)):
                        for near_y in range(max(0, centre_y - 1), min(height, centre_y + 2)):
                            for near_x in range(max(0, centre_x - 1), min(width, centre_x + 2)):
                                if counts[near_z, near_y, near_x] > least and labels[near_z, near_y, near_x] == 0:
                                    labels[near_z, near_y, near_x] = found
                                    stack[pushed] = (near_z * height + near_y) * width + near_x
                                    pushed += 1
    return found


@kernel
def sum_places(labels: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """Pixels of each of the objects 1..count, and the sums of their coordinates: int64 [count, 4], of 1, z, y and x.

    Args:
        labels: int32 [Z, Y, X].
    """
    sums = np.zeros((count, 4), np.int64)
    depth, height, width = labels.shape
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                if labels[z, y, x] > 0:
                    i = labels[z, y, x] - 1
                    sums[i, 0] += 1
                    sums[i, 1] += z
                    sums[i, 2] += y
                    sums[i, 3] += x
    return sums
