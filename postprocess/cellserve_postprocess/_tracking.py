"""Kernels that follow the flows from every kept pixel to where it ends. Plain twins of the same names: `reference`.

Flows are read between pixels (`bilinear`) or at the nearest one. What a position does is known before the last step in
three cases, and all three are exact: it has entered a trap, it repeats itself, or a box around it maps into itself.

The arrays may be those of a window: a box of a larger image. Positions are those in the image, because single precision
rounds them by where they are. Positions stay inside the window. A window's outermost pixels that are not the image's
are its rim: the caller makes traps of the rim, or of its flows zeros, so that a path that reaches the rim ends there.
"""

from typing import NamedTuple

import numpy as np
from cellserve_preprocess.jit import inlined, kernel
from numpy.typing import NDArray

from ._bilinear import bilinear

NONE = np.uint64(0)
ONE = np.uint64(1)
TWO = np.uint64(2)
HALF = np.float32(0.5)
ESCAPED = -2
"""End of a path that left its window: a larger window knows more."""
SQUARE = 32
"""Side of the square of pixels that advance together: their steps do not depend on each other, so the processor
overlaps them, and the flows around the square stay in its nearest cache."""
ROUND = 24
"""Of so many steps, the last two are watched: has the position settled?"""
NEAR = 0.5
"""Pixels by which two steps move a position that may have settled."""
SHARES = (np.float32(1 / 2), np.float32(1 / 8))
"""Of the way to the edges of its cell, by which a box is larger than two positions: one is tried after the other."""
TRAP_MARGIN = 1e-3
"""Pixels by which the corners of a trap must stay inside it: so much that the rounding of positions opens none."""
STEEPEST = 4.0
"""Largest flow near which a box is tried: the bound on rounding, ROUNDING, holds up to it."""
ROUNDING = np.float32(1e-5)
"""More than the rounding of an interpolated flow, in pixels: some ten operations on numbers up to STEEPEST."""


class Frame(NamedTuple):
    """Where the arrays of the kernels lie in the image.

    Attributes:
        top, left: row and column of the image that the first pixel is.
        columns: pixels of a row of the arrays, the padding of the flows left out.
        offset: index that `_cell` gives the first pixel before this is subtracted.
        low_y, low_x, high_y, high_x: the first and the last position along each axis.
    """

    top: int
    left: int
    columns: int
    offset: np.uint64
    low_y: np.float32
    low_x: np.float32
    high_y: np.float32
    high_x: np.float32


@inlined
def _frame(origin: tuple[int, int], rows: int, columns: int) -> Frame:
    top, left = origin
    return Frame(
        top,
        left,
        columns,
        np.uint64(top) * np.uint64(columns + 1) + np.uint64(left),
        np.float32(top),
        np.float32(left),
        np.float32(top + rows - 1),
        np.float32(left + columns - 1),
    )


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
    """Begin with the rows `first` to `last` (exclusive): flows of the pixels above the threshold, and their indices.

    Args:
        maps: float32 [3, Y, X].
        threshold: of the logit.
        scale: flows are those of the maps divided by this.
        first, last: rows.
        flow: float32 [Y + 1, X + 1, 2], zeros; filled in: along y and x.
        ends: int32 [Y, X]; filled in: the flat index of each pixel that is followed, -1 elsewhere.
    """
    width = maps.shape[2]
    for y in range(first, last):
        for x in range(width):
            if maps[2, y, x] > threshold:
                flow[y, x, 0] = maps[0, y, x] / scale
                flow[y, x, 1] = maps[1, y, x] / scale
                ends[y, x] = y * width + x
            else:
                ends[y, x] = -1


@kernel
def find_traps(flow: NDArray[np.float32], first: int, last: int, traps: NDArray[np.bool_]) -> None:
    """Find the cells of the grid, the squares between four pixel centres, that no position leaves.

    One step along bilinear flow maps a cell into the convex hull of where its four corners go. Where that lies inside
    the cell, a position that has entered ends in it, however many steps follow. This spares about half of all steps.

    Args:
        flow: as of `follow_bilinear`.
        first, last: rows.
        traps: bool [Y, X]; filled in: true where the cell right and below of a pixel is a trap.
    """
    low = np.float32(TRAP_MARGIN)
    high = np.float32(1 - TRAP_MARGIN)
    for y in range(first, last):
        for x in range(traps.shape[1] - 1):
            traps[y, x] = (
                (low <= flow[y, x, 0] <= high)
                and (low <= flow[y, x + 1, 0] <= high)
                and (low <= -flow[y + 1, x, 0] <= high)
                and (low <= -flow[y + 1, x + 1, 0] <= high)
                and (low <= flow[y, x, 1] <= high)
                and (low <= flow[y + 1, x, 1] <= high)
                and (low <= -flow[y, x + 1, 1] <= high)
                and (low <= -flow[y + 1, x + 1, 1] <= high)
            )


@kernel
def follow_bilinear(
    flow: NDArray[np.float32],
    traps: NDArray[np.bool_],
    niter: int,
    origin: tuple[int, int],
    first: int,
    last: int,
    ends: NDArray[np.int32],
    cancelled: NDArray[np.uint8],
) -> None:
    """Follow bilinearly interpolated flows from the pixels of the rows `first` to `last` (exclusive).

    Args:
        flow: float32 [Y + 1, X + 1, 2], along y and x; zero in the last row and column: positions never leave the
            Y x X image, and those on its lower or right edge read the padding with weight zero.
        traps: bool [Y, X], of `find_traps`.
        niter: number of steps.
        origin: (y, x) of the first pixel in the image.
        first, last: rows of the arrays.
        ends: int32 [Y, X], not negative where a pixel is to be followed; becomes the flat index of the pixel its
            position lies in at the end, fractions dropped.
        cancelled: uint8 [1]; once not zero, the work ends early.
    """
    rows, columns = ends.shape
    frame = _frame(origin, rows, columns)
    flat_ends = ends.ravel()
    flat_flow = flow.ravel()
    flat_traps = traps.ravel()
    slack = np.spacing(np.float32(max(origin[0] + rows, origin[1] + columns))) + ROUNDING
    index = np.empty(SQUARE * SQUARE, np.int32)
    y = np.empty(SQUARE * SQUARE, np.float32)
    x = np.empty(SQUARE * SQUARE, np.float32)
    for top in range(first, last, SQUARE):
        for left in range(0, columns, SQUARE):
            if cancelled[0] != 0:
                return
            active = _gather(ends, frame, top, min(top + SQUARE, last), left, min(left + SQUARE, columns), index, y, x)
            done = 0
            while done < niter and active > 0:
                if done % ROUND < ROUND - 2 or done > niter - 2:
                    active = _advance(flat_flow, frame, flat_traps, active, index, y, x, flat_ends)
                    done += 1
                elif cancelled[0] != 0:
                    return
                else:
                    active = _watch(flat_flow, frame, flat_traps, niter - done, slack, active, index, y, x, flat_ends)
                    done += 2
            for i in range(active):
                flat_ends[index[i]] = _pixel(frame, y[i], x[i])


@kernel
def _gather(
    ends: NDArray[np.int32],
    frame: Frame,
    top: int,
    bottom: int,
    left: int,
    right: int,
    index: NDArray[np.int32],
    y: NDArray[np.float32],
    x: NDArray[np.float32],
) -> np.int64:
    """Collect the pixels of a rectangle that are to be followed; return their number."""
    active = np.int64(0)
    for row in range(top, bottom):
        for column in range(left, right):
            if ends[row, column] >= 0:
                index[active] = row * ends.shape[1] + column
                y[active] = frame.top + row
                x[active] = frame.left + column
                active += 1
    return active


@kernel
def _advance(
    flow: NDArray[np.float32],
    frame: Frame,
    traps: NDArray[np.bool_],
    active: np.int64,
    index: NDArray[np.int32],
    y: NDArray[np.float32],
    x: NDArray[np.float32],
    ends: NDArray[np.int32],
) -> np.int64:
    """Take one step with all positions; those in a trap end. Return how many go on."""
    moving = NONE
    for i in range(np.uint64(active)):
        if traps[_cell(frame, y[i], x[i])]:
            ends[index[i]] = _pixel(frame, y[i], x[i])
        else:
            new_y, new_x = _step(flow, frame, y[i], x[i])
            index[moving] = index[i]
            y[moving] = new_y
            x[moving] = new_x
            moving += ONE
    return np.int64(moving)


@kernel
def _watch(
    flow: NDArray[np.float32],
    frame: Frame,
    traps: NDArray[np.bool_],
    steps: int,
    slack: np.float32,
    active: np.int64,
    index: NDArray[np.int32],
    y: NDArray[np.float32],
    x: NDArray[np.float32],
    ends: NDArray[np.int32],
) -> np.int64:
    """Take two of the remaining steps with all positions; those that repeat themselves or are captive end.

    Those in a trap end, too, before each of the two steps: no step may begin on the rim of a window.
    """
    moving = NONE
    for i in range(np.uint64(active)):
        if traps[_cell(frame, y[i], x[i])]:
            ends[index[i]] = _pixel(frame, y[i], x[i])
            continue
        new_y, new_x = _step(flow, frame, y[i], x[i])
        if traps[_cell(frame, new_y, new_x)]:
            ends[index[i]] = _pixel(frame, new_y, new_x)
            continue
        newer_y, newer_x = _step(flow, frame, new_y, new_x)
        if newer_y == y[i] and newer_x == x[i]:
            # It stays, or goes to and fro; an even number of steps leaves it here.
            if steps % 2 == 0:
                ends[index[i]] = _pixel(frame, y[i], x[i])
            else:
                ends[index[i]] = _pixel(frame, new_y, new_x)
        elif (
            abs(newer_y - y[i]) < NEAR
            and abs(newer_x - x[i]) < NEAR
            and _captive(flow, frame, y[i], x[i], new_y, new_x, slack)
        ):
            ends[index[i]] = _pixel(frame, y[i], x[i])
        else:
            index[moving] = index[i]
            y[moving] = newer_y
            x[moving] = newer_x
            moving += ONE
    return np.int64(moving)


@inlined
def _step(flow: NDArray[np.float32], frame: Frame, y: np.float32, x: np.float32) -> tuple[np.float32, np.float32]:
    """Where one step along a flow, here flat, takes a position."""
    row = np.int32(y)
    column = np.int32(x)
    above = TWO * _cell(frame, y, x)
    below = above + TWO * np.uint64(frame.columns + 1)
    flow_y, flow_x = bilinear(flow, above, below, y - np.float32(row), x - np.float32(column))
    return _inside(y + flow_y, frame.low_y, frame.high_y), _inside(x + flow_x, frame.low_x, frame.high_x)


@inlined
def _cell(frame: Frame, y: np.float32, x: np.float32) -> np.uint64:
    """Index of the cell of a position. Unsigned, as one that may be negative costs more at each access."""
    row = np.uint64(np.uint32(np.int32(y)))
    return row * np.uint64(frame.columns + 1) + np.uint64(np.uint32(np.int32(x))) - frame.offset


@inlined
def _pixel(frame: Frame, y: np.float32, x: np.float32) -> np.int32:
    """Index of the pixel of a position, fractions dropped."""
    return np.int32((np.int32(y) - frame.top) * frame.columns + np.int32(x) - frame.left)


@inlined
def _inside(position: np.float32, low: np.float32, high: np.float32) -> np.float32:
    """A position within the window. NaN becomes the first: no network output may send a position outside."""
    above = position if position > low else low
    return above if above < high else high


@kernel
def _captive(
    flow: NDArray[np.float32],
    frame: Frame,
    y: np.float32,
    x: np.float32,
    next_y: np.float32,
    next_x: np.float32,
    slack: np.float32,
) -> bool:
    """Whether a position, which the next step takes to another place in its cell, provably never leaves the cell.

    One step maps a box in the cell into the convex hull of where its corners go. Where that lies inside the box,
    whatever rounding adds, what is in the box stays there.
    """
    row = np.int32(y)
    column = np.int32(x)
    if np.int32(next_y) != row or np.int32(next_x) != column:
        return False
    here = np.int64(TWO * _cell(frame, y, x))
    for corner in (here, here + 2 * (frame.columns + 1)):
        for i in range(4):
            if not abs(flow[corner + i]) <= STEEPEST:
                return False
    for share in SHARES:
        low_y = min(y, next_y) - (min(y, next_y) - np.float32(row)) * share
        low_x = min(x, next_x) - (min(x, next_x) - np.float32(column)) * share
        high_y = max(y, next_y) + (np.float32(row + 1) - max(y, next_y)) * share
        high_x = max(x, next_x) + (np.float32(column + 1) - max(x, next_x)) * share
        # The lower and right edges belong to the next cell.
        if not (high_y < row + 1 and high_x < column + 1):
            return False
        inside: np.bool_ = np.bool_(True)
        for corner_y in (low_y, high_y):
            for corner_x in (low_x, high_x):
                if inside:
                    to_y, to_x = _step(flow, frame, corner_y, corner_x)
                    inside = low_y + slack <= to_y <= high_y - slack and low_x + slack <= to_x <= high_x - slack
        if inside:
            return True
    return False


@kernel
def follow_nearest(
    flow: NDArray[np.float32],
    niter: int,
    origin: tuple[int, int],
    first: int,
    last: int,
    ends: NDArray[np.int32],
    cancelled: NDArray[np.uint8],
) -> None:
    """Follow the flow of the nearest pixel (as the paper does) to the nearest pixel. Arguments: `follow_bilinear`."""
    rows, columns = ends.shape
    frame = _frame(origin, rows, columns)
    flat_ends = ends.ravel()
    flat_flow = flow.ravel()
    index = np.empty(SQUARE * SQUARE, np.int32)
    y = np.empty(SQUARE * SQUARE, np.float32)
    x = np.empty(SQUARE * SQUARE, np.float32)
    before_y = np.empty(SQUARE * SQUARE, np.float32)
    before_x = np.empty(SQUARE * SQUARE, np.float32)
    for top in range(first, last, SQUARE):
        for left in range(0, columns, SQUARE):
            active = _gather(ends, frame, top, min(top + SQUARE, last), left, min(left + SQUARE, columns), index, y, x)
            before_y[:active] = -1
            for step in range(niter):
                if active == 0:
                    break
                if step % ROUND == 0 and cancelled[0] != 0:
                    return
                moving = np.int64(0)
                for i in range(active):
                    nearest = TWO * _cell(frame, y[i] + HALF, x[i] + HALF)
                    new_y = _inside(y[i] + flat_flow[nearest], frame.low_y, frame.high_y)
                    new_x = _inside(x[i] + flat_flow[nearest + ONE], frame.low_x, frame.high_x)
                    still = new_y == y[i] and new_x == x[i]
                    # Back where it was a step ago, a position goes to and fro; an even number of steps leaves it here.
                    if still or (new_y == before_y[i] and new_x == before_x[i] and (niter - step) % 2 == 0):
                        flat_ends[index[i]] = _pixel(frame, y[i] + HALF, x[i] + HALF)
                    else:
                        index[moving] = index[i]
                        before_y[moving] = y[i]
                        before_x[moving] = x[i]
                        y[moving] = new_y
                        x[moving] = new_x
                        moving += 1
                active = moving
            for i in range(active):
                flat_ends[index[i]] = _pixel(frame, y[i] + HALF, x[i] + HALF)
