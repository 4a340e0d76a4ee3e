"""Sets that are joined pair by pair."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def union(count: int, first: NDArray[np.integer], second: NDArray[np.integer]) -> NDArray[np.int64]:
    """Join the sets 0..count - 1.

    Args:
        count: number of sets.
        first, second: integers [n], pairs of sets that are one.

    Returns:
        int64 [count], the lowest set of all that each set is joined with.
    """
    roots = np.arange(count, dtype=np.int64)
    while True:
        # Every root of a pair is hung below the lower one; paths then are cut short until all point at their roots.
        left, right = roots[first], roots[second]
        if np.array_equal(left, right):
            return roots
        np.minimum.at(roots, np.maximum(left, right), np.minimum(left, right))
        while True:
            shorter = roots[roots]
            if np.array_equal(shorter, roots):
                break
            roots = shorter
