"""Kernels that link the label images of consecutive planes. Plain twins of the same names: `reference_stitching`."""

import numpy as np
from cellserve_preprocess.jit import kernel
from numpy.typing import NDArray


@kernel
def scan(
    below: NDArray[np.int32], above: NDArray[np.int32], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """Measure the objects of a plane, and list what they share with those of the plane before, in one pass.

    Args:
        below: int32 [Y, X], the plane before.
        above: int32 [Y, X], the plane; 0..count.
        count: largest number in `above`.

    Returns:
        int64 [count] pixels of each object; int64 [count] flat index of its first pixel, -1 where a number is not in
        use; int32 [R, 3] runs of pixels along x: object below, object above, length.
    """
    areas = np.zeros(count, np.int64)
    firsts = np.full(count, -1, np.int64)
    height, width = above.shape
    # Most pixels are no run of their own. What is not used of it takes no memory.
    runs = np.empty((height * width, 3), np.int32)
    found = 0
    for y in range(height):
        last_below = 0
        last_above = 0
        for x in range(width):
            own = above[y, x]
            other = below[y, x]
            if own > 0:
                if firsts[own - 1] < 0:
                    firsts[own - 1] = y * width + x
                areas[own - 1] += 1
                if other > 0:
                    if own != last_above or other != last_below:
                        runs[found, 0] = other
                        runs[found, 1] = own
                        runs[found, 2] = 0
                        found += 1
                    runs[found - 1, 2] += 1
            last_above = own
            last_below = other
    return areas, firsts, runs[:found].copy()


@kernel
def join(parents: NDArray[np.int64], firsts: NDArray[np.int64], seconds: NDArray[np.int64]) -> None:
    """Join sets pairwise, in place: the first member of a set stands for all.

    Args:
        parents: int64 [N], an earlier member of the same set, or the member itself.
        firsts, seconds: int64 [L], members of the sets to join.
    """
    for k in range(firsts.size):
        a = firsts[k]
        while parents[a] != a:
            parents[a] = parents[parents[a]]
            a = parents[a]
        b = seconds[k]
        while parents[b] != b:
            parents[b] = parents[parents[b]]
            b = parents[b]
        parents[max(a, b)] = min(a, b)


@kernel
def settle(parents: NDArray[np.int64]) -> None:
    """Replace every member's parent by the first member of its set, in place; arguments as of `join`."""
    for i in range(parents.size):
        parents[i] = parents[parents[i]]
