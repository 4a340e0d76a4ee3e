"""Kernel that groups pixels by where they end. Plain twin of the same name: `reference`."""

import numpy as np
from numpy.typing import NDArray

from ._jit import kernel

SEED_COUNT = 10
"""More pixels than these must end at a position for it to found an object."""
SEED_REACH = 2
"""A seed is a maximum among the positions at most this far away: a window of 5 x 5."""
REGION_COUNT = 2
"""More pixels than these must end at a position for it to join the region of a seed (paper: "at least three")."""


@kernel
def cluster(
    starts: NDArray[np.int64], ends: NDArray[np.int64], height: int, width: int
) -> tuple[NDArray[np.int32], int]:
    """Label pixels by the region of dense convergence they end in (paper, "Mask recovery via gradient flow tracking").

    A region grows from a seed through all neighbouring positions that enough pixels end at. Seeds whose regions touch
    would contest every position of them, so the largest takes all: they are one object.

    Args:
        starts: flat indices [n] of pixels.
        ends: flat indices [n] of the pixels they end at.
        height, width: shape of the image.

    Returns:
        int32 [Y, X], 0 or 1..N in the row-major order of the regions' first seeds; and N.
    """
    counts = np.zeros((height, width), np.int32)
    flat_counts = counts.ravel()
    for i in range(ends.size):
        flat_counts[ends[i]] += 1
    regions = np.zeros((height, width), np.int32)
    stack_y = np.empty(ends.size // (REGION_COUNT + 1) + 1, np.int64)
    stack_x = np.empty_like(stack_y)
    objects = 0
    for y in range(height):
        for x in range(width):
            if counts[y, x] <= SEED_COUNT or regions[y, x] > 0 or not _is_maximum(counts, y, x):
                continue
            objects += 1
            regions[y, x] = objects
            stack_y[0] = y
            stack_x[0] = x
            depth = 1
            while depth > 0:
                depth -= 1
                centre_y = stack_y[depth]
                centre_x = stack_x[depth]
                for next_y in range(max(0, centre_y - 1), min(height, centre_y + 2)):
                    for next_x in range(max(0, centre_x - 1), min(width, centre_x + 2)):
                        if counts[next_y, next_x] > REGION_COUNT and regions[next_y, next_x] == 0:
                            regions[next_y, next_x] = objects
                            stack_y[depth] = next_y
                            stack_x[depth] = next_x
                            depth += 1
    flat_regions = regions.ravel()
    labels = np.zeros((height, width), np.int32)
    flat_labels = labels.ravel()
    for i in range(starts.size):
        flat_labels[starts[i]] = flat_regions[ends[i]]
    return labels, objects


@kernel
def _is_maximum(counts: NDArray[np.int32], y: int, x: int) -> bool:
    for near_y in range(max(0, y - SEED_REACH), min(counts.shape[0], y + SEED_REACH + 1)):
        for near_x in range(max(0, x - SEED_REACH), min(counts.shape[1], x + SEED_REACH + 1)):
            if counts[near_y, near_x] > counts[y, x]:
                return False
    return True
