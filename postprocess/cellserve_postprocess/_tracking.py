"""Kernels that follow the flows from every kept pixel to where it ends. Plain twins of the same names: `reference`."""

import numpy as np
from numpy.typing import NDArray

from ._jit import kernel

BLOCK = 256
"""Pixels that advance together: their steps do not depend on each other, so the processor overlaps them."""
TRAP_MARGIN = 1e-3
"""Pixels by which the corners of a trap must stay inside it: so much that the rounding of positions opens none."""


@kernel
def find_traps(flow: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Cells of the grid, the squares between four pixel centres, that no position leaves.

    One step along bilinear flow maps a cell into the convex hull of where its four corners go. Where that lies inside
    the cell, a position that has entered ends in it, however many steps follow. This spares about half of all steps.

    Args:
        flow: float32 [2, Y + 1, X + 1], zero in the last row and column.

    Returns:
        bool [Y + 1, X + 1], true where the cell right and below of a pixel is a trap.
    """
    traps = np.zeros(flow.shape[1:], np.bool_)
    low = np.float32(TRAP_MARGIN)
    high = np.float32(1 - TRAP_MARGIN)
    for y in range(flow.shape[1] - 1):
        for x in range(flow.shape[2] - 1):
            traps[y, x] = (
                (low <= flow[0, y, x] <= high)
                & (low <= flow[0, y, x + 1] <= high)
                & (low <= -flow[0, y + 1, x] <= high)
                & (low <= -flow[0, y + 1, x + 1] <= high)
                & (low <= flow[1, y, x] <= high)
                & (low <= flow[1, y + 1, x] <= high)
                & (low <= -flow[1, y, x + 1] <= high)
                & (low <= -flow[1, y + 1, x + 1] <= high)
            )
    return traps


@kernel
def follow_bilinear(flow: NDArray[np.float32], starts: NDArray[np.int64], niter: int) -> NDArray[np.int64]:
    """Follow bilinearly interpolated flows.

    Args:
        flow: float32 [2, Y + 1, X + 1], zero in the last row and column: positions never leave the Y x X image, and
            those on its lower or right edge read the padding with weight zero.
        starts: flat indices [n] into the Y x X image.
        niter: number of steps.

    Returns:
        Flat indices [n] of the pixels the positions lie in at the end, fractions dropped.
    """
    width = flow.shape[2] - 1
    stride = np.uint64(flow.shape[2])
    one = np.uint64(1)
    zero = np.float32(0)
    y_max = np.float32(flow.shape[1] - 2)
    x_max = np.float32(width - 1)
    flow_y = flow[0].ravel()
    flow_x = flow[1].ravel()
    traps = find_traps(flow).ravel()
    ends = np.empty(starts.size, np.int64)
    index = np.empty(BLOCK, np.int64)
    y = np.empty(BLOCK, np.float32)
    x = np.empty(BLOCK, np.float32)
    for first in range(0, starts.size, BLOCK):
        active = min(BLOCK, starts.size - first)
        for i in range(active):
            index[i] = first + i
            y[i] = starts[first + i] // width
            x[i] = starts[first + i] % width
        for _ in range(niter):
            moving = 0
            for i in range(active):
                row = np.int64(y[i])
                column = np.int64(x[i])
                part_y = y[i] - np.float32(row)
                part_x = x[i] - np.float32(column)
                # Unsigned: an index that may be negative costs a branch per access.
                here = np.uint64(row) * stride + np.uint64(column)
                below = here + stride
                top = flow_y[here] + part_x * (flow_y[here + one] - flow_y[here])
                bottom = flow_y[below] + part_x * (flow_y[below + one] - flow_y[below])
                new_y = y[i] + (top + part_y * (bottom - top))
                top = flow_x[here] + part_x * (flow_x[here + one] - flow_x[here])
                bottom = flow_x[below] + part_x * (flow_x[below + one] - flow_x[below])
                new_x = x[i] + (top + part_y * (bottom - top))
                # Written so that NaN becomes zero: no network output may send a position outside the image.
                new_y = min(new_y, y_max) if new_y > zero else zero
                new_x = min(new_x, x_max) if new_x > zero else zero
                if traps[here] or (new_y == y[i] and new_x == x[i]):
                    ends[index[i]] = row * width + column
                else:
                    index[moving] = index[i]
                    y[moving] = new_y
                    x[moving] = new_x
                    moving += 1
            active = moving
            if active == 0:
                break
        for i in range(active):
            ends[index[i]] = np.int64(y[i]) * width + np.int64(x[i])
    return ends


@kernel
def follow_nearest(flow: NDArray[np.float32], starts: NDArray[np.int64], niter: int) -> NDArray[np.int64]:
    """Follow the flow of the nearest pixel (as the paper does) to the nearest pixel. Arguments: `follow_bilinear`."""
    width = flow.shape[2] - 1
    stride = np.uint64(flow.shape[2])
    zero = np.float32(0)
    half = np.float32(0.5)
    y_max = np.float32(flow.shape[1] - 2)
    x_max = np.float32(width - 1)
    flow_y = flow[0].ravel()
    flow_x = flow[1].ravel()
    ends = np.empty(starts.size, np.int64)
    index = np.empty(BLOCK, np.int64)
    y = np.empty(BLOCK, np.float32)
    x = np.empty(BLOCK, np.float32)
    for first in range(0, starts.size, BLOCK):
        active = min(BLOCK, starts.size - first)
        for i in range(active):
            index[i] = first + i
            y[i] = starts[first + i] // width
            x[i] = starts[first + i] % width
        for _ in range(niter):
            moving = 0
            for i in range(active):
                nearest = np.uint64(np.int64(y[i] + half)) * stride + np.uint64(np.int64(x[i] + half))
                new_y = y[i] + flow_y[nearest]
                new_x = x[i] + flow_x[nearest]
                new_y = min(new_y, y_max) if new_y > zero else zero
                new_x = min(new_x, x_max) if new_x > zero else zero
                if new_y == y[i] and new_x == x[i]:
                    ends[index[i]] = np.int64(y[i] + half) * width + np.int64(x[i] + half)
                else:
                    index[moving] = index[i]
                    y[moving] = new_y
                    x[moving] = new_x
                    moving += 1
            active = moving
            if active == 0:
                break
        for i in range(active):
            ends[index[i]] = np.int64(y[i] + half) * width + np.int64(x[i] + half)
    return ends
