"""The kernel that finds where paths through a volume are caught."""

import numpy as np
from cellserve_preprocess.jit import inlined, kernel
from numpy.typing import NDArray

from ._tracking import HALF, STEEPEST
from ._window import Window, has_left, step_from

TRAP = np.uint8(1)
"""A cell with a box that no position leaves."""
EXIT = np.uint8(2)
"""A cell at a face of a window inside the volume: positions that left the window are there, too."""
FACE = np.float32(0.002)
"""Voxels that a box keeps away from the faces of its cell: they belong to the next cell."""
SETTLED = 60
"""Steps from the middle of a cell after which a position is as good as at the sink."""
POWERS = 10
"""Products with a matrix after which a vector is as good as its eigenvector."""
LEAST = np.float32(0.1)
"""Added to the diagonal of the matrix: no side of a box becomes zero."""
TRIES = 16
"""Boxes that are tried in a cell, each smaller than the one before."""
SMALLER = np.float32(0.8)
"""Side of a box by that of the one before."""
CELLS_PER_BOX = 8
"""Boxes are looked for until there is one in so many cells."""
MATRIX = 5
ROWS = 8
"""Rows of three numbers that the search for a box works in; the last three are a matrix."""


@kernel
def find_traps(
    flow: NDArray[np.float32], window: Window, first: int, last: int, cells: NDArray[np.uint8]
) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
    """Find boxes that no position leaves, and the cells that lead out of the window.

    A cell is the cube between eight voxel centres. One step along trilinear flow maps a box in a cell into the convex
    hull of where its eight corners go. Where that lies inside the box, whatever rounding adds, a position that has
    entered the box ends in the cell, however many steps follow.

    Args:
        flow: as of `follow_trilinear`.
        window: of the flows.
        first, last: rows of the window; row r is row r % Y of plane r // Y.
        cells: uint8, the first three axes of the flows, zeros; filled in: TRAP or EXIT at the first voxel of a cell.

    Returns:
        Indices of the cells with a box, ascending, uint64 [n]; and the boxes, float32 [n, 6] (lowest z, y, x, highest
        z, y, x).
    """
    depth, height, width = window.shape
    flat_flow = flow.ravel()
    # Room for more would not pay. What is not used of it takes no memory.
    most = (last - first) * width // CELLS_PER_BOX + 1
    numbers = np.empty(most, np.uint64)
    boxes = np.empty((most, 6), np.float32)
    rows = np.empty((ROWS, 3), np.float32)
    found = 0
    for row in range(first, last):
        z, y = divmod(row, height)
        for x in range(width):
            if has_left(
                window,
                np.float32(z + window.origin[0]),
                np.float32(y + window.origin[1]),
                np.float32(x + window.origin[2]),
            ):
                cells[z, y, x] = EXIT
            elif (
                z < depth - 1
                and y < height - 1
                and x < width - 1
                and found < most
                and _may_hold_sink(flow, z, y, x)
                and _find_box(flat_flow, window, z, y, x, rows, boxes[found])
            ):
                cells[z, y, x] = TRAP
                numbers[found] = (z * (height + 1) + y) * (width + 2) + x
                found += 1
    return numbers[:found].copy(), boxes[:found].copy()


@inlined
def _may_hold_sink(flow: NDArray[np.float32], z: int, y: int, x: int) -> bool:
    """Whether each component of the flow has both signs at the corners of a cell, and none is steep."""
    for axis in range(3):
        low = np.float32(np.inf)
        high = np.float32(-np.inf)
        for near_z in range(z, z + 2):
            for near_y in range(y, y + 2):
                for near_x in range(x, x + 2):
                    low = min(low, flow[near_z, near_y, near_x, axis])
                    high = max(high, flow[near_z, near_y, near_x, axis])
        # Written so that NaN is refused.
        if not (-STEEPEST <= low < 0 < high <= STEEPEST):
            return False
    return True


@kernel
def _find_box(
    flow: NDArray[np.float32],
    window: Window,
    z: int,
    y: int,
    x: int,
    rows: NDArray[np.float32],
    box: NDArray[np.float32],
) -> bool:
    """Find a box in a cell around the position where the flow vanishes; false if none is found.

    Args:
        flow: of the window, flat.
        window: of the flows.
        z, y, x: first voxel of the cell, counted in the window.
        rows: float32 [ROWS, 3], room to work in.
        box: float32 [6]; filled in.
    """
    sink, back, ahead, sides = rows[0], rows[1], rows[2], rows[3]
    first = (z + window.origin[0], y + window.origin[1], x + window.origin[2])
    for axis in range(3):
        sink[axis] = first[axis] + HALF
    for _ in range(SETTLED):
        to = _takestep_from(flow, window, sink)
        for axis in range(3):
            sink[axis] = min(max(to[axis], first[axis] + FACE), first[axis] + (1 - FACE))
    size = np.float32(0)
    for axis in range(3):
        back[axis] = sink[axis] - first[axis] - FACE
        ahead[axis] = first[axis] + (1 - FACE) - sink[axis]
    _find_sides(flow, window, rows)
    for axis in range(3):
        size = max(size, back[axis] / sides[axis], ahead[axis] / sides[axis])
    for _ in range(TRIES):
        for axis in range(3):
            box[axis] = sink[axis] - min(back[axis], size * sides[axis])
            box[axis + 3] = sink[axis] + min(ahead[axis], size * sides[axis])
        if _holds(flow, window, box, rows[4]):
            return True
        size *= SMALLER
    return False


@kernel
def _find_sides(flow: NDArray[np.float32], window: Window, rows: NDArray[np.float32]) -> None:
    """Sides of a box around a sink that a step shrinks along all axes alike; the longest side is 1.

    A step multiplies the way from the sink by a matrix; its absolute values bound how the sides of a box change. Their
    eigenvector with the largest eigenvalue is approached.
    """
    sink, back, ahead, sides, position = rows[0], rows[1], rows[2], rows[3], rows[4]
    for axis in range(3):
        sides[axis] = 1
        for i in range(3):
            position[i] = sink[i]
        position[axis] = sink[axis] - HALF * back[axis]
        before = _takestep_from(flow, window, position)
        position[axis] = sink[axis] + HALF * ahead[axis]
        after = _takestep_from(flow, window, position)
        for i in range(3):
            rows[MATRIX + i, axis] = abs(after[i] - before[i]) / (HALF * (back[axis] + ahead[axis]))
    for _ in range(POWERS):
        longest = np.float32(0)
        for i in range(3):
            position[i] = LEAST * sides[i]
            for axis in range(3):
                position[i] += rows[MATRIX + i, axis] * sides[axis]
            longest = max(longest, position[i])
        for i in range(3):
            sides[i] = position[i] / longest


@kernel
def _holds(flow: NDArray[np.float32], window: Window, box: NDArray[np.float32], position: NDArray[np.float32]) -> bool:
    """Whether a step takes the corners of a box in a cell, and so all of the box, into the box."""
    for corner in range(8):
        for axis in range(3):
            position[axis] = box[axis + 3 * (corner >> axis & 1)]
        to = _takestep_from(flow, window, position)
        for axis in range(3):
            if not (box[axis] + window.slack <= to[axis] <= box[axis + 3] - window.slack):
                return False
    return True


@kernel
def _takestep_from(
    flow: NDArray[np.float32], window: Window, position: NDArray[np.float32]
) -> tuple[np.float32, np.float32, np.float32]:
    return step_from(flow, window, position[0], position[1], position[2])
