"""A window of a volume, and a step in it: what the kernels of tracking share."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from cellserve_preprocess.jit import inlined
from numpy.typing import NDArray

from ._tracking import ROUNDING
from ._trilinear import trilinear

THREE = np.uint64(3)
Position = tuple[np.float32, np.float32, np.float32]
"""Along z, y and x."""


class Window(NamedTuple):
    """A box of voxels of a volume whose flows are at hand. `window_of` makes it.

    Attributes:
        origin: first voxel of the box, (z, y, x).
        shape: voxels of the box along each axis.
        low, high: positions are kept between these: the first and the last voxel of the box along each axis.
        left, right: positions at these or beyond have left the box; no position is at a face that is one of the volume.
        slack: float32, what rounding adds to a position at most.
        stretch, shift: Cellpose 3.1 reads the flow of a position at `stretch` times the position less `shift`. On an
            axis of one voxel they are 1 and 0.
    """

    origin: tuple[int, int, int]
    shape: tuple[int, int, int]
    low: Position
    high: Position
    left: Position
    right: Position
    slack: np.float32
    stretch: Position
    shift: Position


def window_of(origin: tuple[int, int, int], shape: tuple[int, int, int], volume: tuple[int, int, int]) -> Window:
    """The window of that shape at that origin of a volume; `window_of((0, 0, 0), shape, shape)` is the whole."""
    z, y, x = (int(first) for first in origin)
    depth, height, width = (int(length) for length in shape)
    low = (z, y, x)
    high = (z + max(1, depth) - 1, y + max(1, height) - 1, x + max(1, width) - 1)
    left = (low[axis] if origin[axis] > 0 else -1 for axis in range(3))
    right = (high[axis] if origin[axis] + shape[axis] < volume[axis] else np.inf for axis in range(3))
    slack = np.spacing(np.float32(max(volume))) + ROUNDING
    stretch = _floats(length / max(1, length - 1) for length in volume)
    shift = _floats(0.5 * (length > 1) for length in volume)
    faces = _floats(low), _floats(high), _floats(left), _floats(right)
    return Window(low, (depth, height, width), *faces, slack, stretch, shift)


def _floats(numbers: Iterable[float]) -> Position:
    z, y, x = (np.float32(number) for number in numbers)
    return z, y, x


def framed(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Shape of the flows of a window: zeros lie behind the last voxel of each axis, and one more along x.

    Interpolation reads eight numbers at a time, of which two lie behind the voxels.
    """
    depth, height, width = shape
    return depth + 1, height + 1, width + 2, 3


@inlined
def has_left(window: Window, z: np.float32, y: np.float32, x: np.float32) -> bool:
    """Whether a position has reached a face of the window that is not one of the volume, or lies beyond."""
    along_z = z <= window.left[0] or z >= window.right[0]
    along_y = y <= window.left[1] or y >= window.right[1]
    along_x = x <= window.left[2] or x >= window.right[2]
    return bool(along_z or along_y or along_x)


@inlined
def step_from(
    flow: NDArray[np.float32], window: Window, z: np.float32, y: np.float32, x: np.float32
) -> tuple[np.float32, np.float32, np.float32]:
    """Where one step along a flow, here flat, takes a position."""
    row = THREE * np.uint64(window.shape[2] + 2)
    plane = row * np.uint64(window.shape[1] + 1)
    at = THREE * cell_of(window, z, y, x)
    part_z = z - np.float32(np.int32(z))
    part_y = y - np.float32(np.int32(y))
    part_x = x - np.float32(np.int32(x))
    flow_z, flow_y, flow_x = trilinear(flow, at, row, plane, part_z, part_y, part_x)
    return (
        inside(z + flow_z, window.low[0], window.high[0]),
        inside(y + flow_y, window.low[1], window.high[1]),
        inside(x + flow_x, window.low[2], window.high[2]),
    )


@inlined
def cell_of(window: Window, z: np.float32, y: np.float32, x: np.float32) -> np.uint64:
    """Index of the cell of a position. Unsigned, as one that may be negative costs more at each access."""
    row = np.uint64(window.shape[2] + 2)
    plane = row * np.uint64(window.shape[1] + 1)
    return (
        np.uint64(np.uint32(np.int32(z) - window.origin[0])) * plane
        + np.uint64(np.uint32(np.int32(y) - window.origin[1])) * row
        + np.uint64(np.uint32(np.int32(x) - window.origin[2]))
    )


@inlined
def voxel_of(window: Window, z: np.float32, y: np.float32, x: np.float32) -> int:
    """Flat index, in the window, of the voxel of a position."""
    from_front = int(z) - window.origin[0]
    from_top = int(y) - window.origin[1]
    return (from_front * window.shape[1] + from_top) * window.shape[2] + int(x) - window.origin[2]


@inlined
def inside(position: np.float32, low: np.float32, high: np.float32) -> np.float32:
    """A position within the window. NaN becomes the first voxel: no network output may send a position outside."""
    above = position if position > low else low
    return above if above < high else high
