"""Kernels that follow the flows of a volume from every kept voxel to where it ends. Plain twins: `reference`.

They work like those of `_tracking`, with one difference: they take a window of the volume. Positions are absolute, so
that a path through a window has the same bits as the path through the whole volume. A path that leaves the window ends
as ESCAPED, and can be followed again in a larger window.
"""

import numpy as np
from cellserve_preprocess.jit import inlined, kernel
from numpy.typing import NDArray

from ._tracking import ESCAPED, HALF, NONE, ONE, ROUND
from ._traps3d import EXIT, TRAP
from ._window import Position, Window, cell_of, has_left, inside, step_from, voxel_of

CUBE = 16
"""Side of the cube of voxels that advance together: flows around the cube stay in a near cache."""


@kernel
def keep(
    maps: NDArray[np.float32],
    threshold: np.float32,
    scale: np.float32,
    first: int,
    last: int,
    flow: NDArray[np.float32],
    ends: NDArray[np.int32],
) -> None:
    """Begin with the rows `first` to `last` (exclusive): flows of the voxels above the threshold, and their indices.

    Args:
        maps: float32 [4, Z, Y, X] of the window.
        threshold: of the logit.
        scale: flows are those of the maps divided by this.
        first, last: rows; row r is row r % Y of plane r // Y.
        flow: float32 of the shape that `framed` states, zeros; filled in: along z, y and x.
        ends: int32 [Z, Y, X]; filled in: the flat index of each voxel that is followed, -1 elsewhere.
    """
    height, width = ends.shape[1:]
    for row in range(first, last):
        z, y = divmod(row, height)
        for x in range(width):
            if maps[3, z, y, x] > threshold:
                for axis in range(3):
                    flow[z, y, x, axis] = maps[axis, z, y, x] / scale
                ends[z, y, x] = row * width + x
            else:
                ends[z, y, x] = -1


def count_cubes(shape: tuple[int, ...]) -> int:
    """Number of the cubes, cut at the faces, that a window of that shape consists of."""
    depth, height, width = (-(-length // CUBE) for length in shape)
    return depth * height * width


@kernel
def follow_trilinear(
    flow: NDArray[np.float32],
    cells: NDArray[np.uint8],
    traps: NDArray[np.uint64],
    boxes: NDArray[np.float32],
    window: Window,
    niter: int,
    first: int,
    last: int,
    ends: NDArray[np.int32],
    cancelled: NDArray[np.uint8],
) -> None:
    """Follow trilinearly interpolated flows from the voxels of the cubes `first` to `last` (exclusive).

    Args:
        flow: float32 [Z + 1, Y + 1, X + 2, 3] of the window, along z, y and x; zero behind the last voxel of each axis:
            positions at those faces read the zeros with weight zero.
        cells: of `find_traps`, for all rows.
        traps, boxes: as `find_traps` returns them, for all rows.
        window: of the flows.
        niter: number of steps.
        first, last: cubes of side CUBE, in row-major order.
        ends: int32 [Z, Y, X] of the window, not negative where a voxel is to be followed; becomes the flat index, in
            the window, of the voxel its position lies in at the end, fractions dropped; or ESCAPED.
        cancelled: uint8 [1]; once not zero, the work ends early.
    """
    flat_ends = ends.ravel()
    flat_flow = flow.ravel()
    flat_cells = cells.ravel()
    index = np.empty(CUBE**3, np.int32)
    z = np.empty(CUBE**3, np.float32)
    y = np.empty(CUBE**3, np.float32)
    x = np.empty(CUBE**3, np.float32)
    for cube in range(first, last):
        if cancelled[0] != 0:
            return
        active = _gather(ends, window, cube, index, z, y, x)
        done = 0
        while done < niter and active > 0:
            if done % ROUND < ROUND - 2 or done > niter - 2:
                active = _advance(flat_flow, flat_cells, traps, boxes, window, active, index, z, y, x, flat_ends)
                done += 1
            elif cancelled[0] != 0:
                return
            else:
                active = _watch(flat_flow, flat_cells, window, niter - done, active, index, z, y, x, flat_ends)
                done += 2
        for i in range(active):
            if flat_cells[cell_of(window, z[i], y[i], x[i])] == EXIT:
                flat_ends[index[i]] = ESCAPED
            else:
                flat_ends[index[i]] = voxel_of(window, z[i], y[i], x[i])


@kernel
def _gather(
    ends: NDArray[np.int32],
    window: Window,
    cube: int,
    index: NDArray[np.int32],
    z: NDArray[np.float32],
    y: NDArray[np.float32],
    x: NDArray[np.float32],
) -> np.int64:
    """Collect the voxels of a cube that are to be followed; return their number."""
    depth, height, width = ends.shape
    across = (width - 1) // CUBE + 1
    down = (height - 1) // CUBE + 1
    plane, column = divmod(cube, down * across)
    front = plane * CUBE
    top = column // across * CUBE
    left = column % across * CUBE
    active = np.int64(0)
    for at_z in range(front, min(front + CUBE, depth)):
        for at_y in range(top, min(top + CUBE, height)):
            for at_x in range(left, min(left + CUBE, width)):
                if ends[at_z, at_y, at_x] >= 0:
                    index[active] = (at_z * height + at_y) * width + at_x
                    z[active] = at_z + window.origin[0]
                    y[active] = at_y + window.origin[1]
                    x[active] = at_x + window.origin[2]
                    active += 1
    return active


@kernel
def _advance(
    flow: NDArray[np.float32],
    cells: NDArray[np.uint8],
    traps: NDArray[np.uint64],
    boxes: NDArray[np.float32],
    window: Window,
    active: np.int64,
    index: NDArray[np.int32],
    z: NDArray[np.float32],
    y: NDArray[np.float32],
    x: NDArray[np.float32],
    ends: NDArray[np.int32],
) -> np.int64:
    """Take one step with all positions; those in a trap end, those at an exit escape. Return how many go on."""
    moving = NONE
    for i in range(np.uint64(active)):
        cell = cell_of(window, z[i], y[i], x[i])
        if cells[cell] == EXIT:
            ends[index[i]] = ESCAPED
        elif cells[cell] == TRAP and _is_in(boxes[np.searchsorted(traps, cell)], z[i], y[i], x[i]):
            ends[index[i]] = voxel_of(window, z[i], y[i], x[i])
        else:
            new_z, new_y, new_x = step_from(flow, window, z[i], y[i], x[i])
            index[moving] = index[i]
            z[moving] = new_z
            y[moving] = new_y
            x[moving] = new_x
            moving += ONE
    return np.int64(moving)


@inlined
def _is_in(box: NDArray[np.float32], z: np.float32, y: np.float32, x: np.float32) -> bool:
    return box[0] <= z <= box[3] and box[1] <= y <= box[4] and box[2] <= x <= box[5]  # type: ignore[no-any-return]


@kernel
def _watch(
    flow: NDArray[np.float32],
    cells: NDArray[np.uint8],
    window: Window,
    steps: int,
    active: np.int64,
    index: NDArray[np.int32],
    z: NDArray[np.float32],
    y: NDArray[np.float32],
    x: NDArray[np.float32],
    ends: NDArray[np.int32],
) -> np.int64:
    """Take two of the remaining steps with all positions; those that repeat themselves end."""
    moving = NONE
    for i in range(np.uint64(active)):
        new_z, new_y, new_x = step_from(flow, window, z[i], y[i], x[i])
        if cells[cell_of(window, z[i], y[i], x[i])] == EXIT or cells[cell_of(window, new_z, new_y, new_x)] == EXIT:
            ends[index[i]] = ESCAPED
            continue
        newer_z, newer_y, newer_x = step_from(flow, window, new_z, new_y, new_x)
        if newer_z == z[i] and newer_y == y[i] and newer_x == x[i]:
            # It stays, or goes to and fro; an even number of steps leaves it here.
            if steps % 2 == 0:
                ends[index[i]] = voxel_of(window, z[i], y[i], x[i])
            else:
                ends[index[i]] = voxel_of(window, new_z, new_y, new_x)
        else:
            index[moving] = index[i]
            z[moving] = newer_z
            y[moving] = newer_y
            x[moving] = newer_x
            moving += ONE
    return np.int64(moving)


@kernel
def follow_stepwise(
    flow: NDArray[np.float32],
    window: Window,
    stretched: bool,
    niter: int,
    first: int,
    last: int,
    ends: NDArray[np.int32],
    cancelled: NDArray[np.uint8],
) -> None:
    """Follow flows step by step, without traps. Other arguments: `follow_trilinear`.

    Args:
        stretched: whether flows are trilinear at stretched positions, as in Cellpose 3.1. Otherwise flows are those of
            the nearest voxel, and paths end in the nearest voxel (paper).
    """
    flat_ends = ends.ravel()
    half = np.float32(0) if stretched else HALF  # from a position to the voxel that it ends in
    reach = HALF if stretched else np.float32(0)  # from a position to where its flow is read, at most
    index = np.empty(CUBE**3, np.int32)
    z = np.empty(CUBE**3, np.float32)
    y = np.empty(CUBE**3, np.float32)
    x = np.empty(CUBE**3, np.float32)
    before_z = np.empty(CUBE**3, np.float32)
    before_y = np.empty(CUBE**3, np.float32)
    before_x = np.empty(CUBE**3, np.float32)
    for cube in range(first, last):
        active = _gather(ends, window, cube, index, z, y, x)
        before_z[:active] = -1
        for step in range(niter):
            if active == 0:
                break
            if step % ROUND == 0 and cancelled[0] != 0:
                return
            moving = np.int64(0)
            for i in range(active):
                if _leaves(window, reach, z[i], y[i], x[i]):
                    flat_ends[index[i]] = ESCAPED
                    continue
                if stretched:
                    flow_z, flow_y, flow_x = _stretched(flow, window, z[i], y[i], x[i])
                else:
                    flow_z, flow_y, flow_x = _nearest(flow, window, z[i], y[i], x[i])
                new_z = inside(z[i] + flow_z, window.low[0], window.high[0])
                new_y = inside(y[i] + flow_y, window.low[1], window.high[1])
                new_x = inside(x[i] + flow_x, window.low[2], window.high[2])
                still = new_z == z[i] and new_y == y[i] and new_x == x[i]
                back = new_z == before_z[i] and new_y == before_y[i] and new_x == before_x[i]
                # Back where it was a step ago, a position goes to and fro; an even number of steps leaves it here.
                if still or (back and (niter - step) % 2 == 0):
                    flat_ends[index[i]] = voxel_of(window, z[i] + half, y[i] + half, x[i] + half)
                else:
                    index[moving] = index[i]
                    before_z[moving] = z[i]
                    before_y[moving] = y[i]
                    before_x[moving] = x[i]
                    z[moving] = new_z
                    y[moving] = new_y
                    x[moving] = new_x
                    moving += 1
            active = moving
        for i in range(active):
            if _leaves(window, reach, z[i], y[i], x[i]):
                flat_ends[index[i]] = ESCAPED
            else:
                flat_ends[index[i]] = voxel_of(window, z[i] + half, y[i] + half, x[i] + half)


@inlined
def _leaves(window: Window, reach: np.float32, z: np.float32, y: np.float32, x: np.float32) -> bool:
    """Whether a position is so near to a face of the window that its flow may be read beyond."""
    return bool(has_left(window, z - reach, y - reach, x - reach) or has_left(window, z + reach, y + reach, x + reach))


@inlined
def _nearest(flow: NDArray[np.float32], window: Window, z: np.float32, y: np.float32, x: np.float32) -> Position:
    """The flow of the voxel nearest to a position."""
    at_z = np.int32(z + HALF) - window.origin[0]
    at_y = np.int32(y + HALF) - window.origin[1]
    at_x = np.int32(x + HALF) - window.origin[2]
    return flow[at_z, at_y, at_x, 0], flow[at_z, at_y, at_x, 1], flow[at_z, at_y, at_x, 2]


@inlined
def _stretched(flow: NDArray[np.float32], window: Window, z: np.float32, y: np.float32, x: np.float32) -> Position:
    """The flow that Cellpose 3.1 reads for a position: up to half a voxel nearer to the face, zero beyond the face."""
    read_z = z * window.stretch[0] - window.shift[0]
    read_y = y * window.stretch[1] - window.shift[1]
    read_x = x * window.stretch[2] - window.shift[2]
    floor_z, floor_y, floor_x = np.floor(read_z), np.floor(read_y), np.floor(read_x)
    part_z, part_y, part_x = read_z - floor_z, read_y - floor_y, read_x - floor_x
    # Voxel -1 is the last of the axis, where the frame of zeros lies.
    at_z = np.int32(floor_z) - window.origin[0]
    at_y = np.int32(floor_y) - window.origin[1]
    at_x = np.int32(floor_x) - window.origin[2]
    return (
        _between(flow, at_z, at_y, at_x, part_z, part_y, part_x, 0),
        _between(flow, at_z, at_y, at_x, part_z, part_y, part_x, 1),
        _between(flow, at_z, at_y, at_x, part_z, part_y, part_x, 2),
    )


@inlined
def _between(
    flow: NDArray[np.float32],
    at_z: np.int32,
    at_y: np.int32,
    at_x: np.int32,
    part_z: np.float32,
    part_y: np.float32,
    part_x: np.float32,
    axis: int,
) -> np.float32:
    """One component of the flow between eight voxels; first along z, then along y, then along x."""
    near = _along(flow[at_z, at_y, at_x, axis], flow[at_z + 1, at_y, at_x, axis], part_z)
    far = _along(flow[at_z, at_y + 1, at_x, axis], flow[at_z + 1, at_y + 1, at_x, axis], part_z)
    left = _along(near, far, part_y)
    near = _along(flow[at_z, at_y, at_x + 1, axis], flow[at_z + 1, at_y, at_x + 1, axis], part_z)
    far = _along(flow[at_z, at_y + 1, at_x + 1, axis], flow[at_z + 1, at_y + 1, at_x + 1, axis], part_z)
    return _along(left, _along(near, far, part_y), part_x)


@inlined
def _along(near: np.float32, far: np.float32, part: np.float32) -> np.float32:
    return near + part * (far - near)
