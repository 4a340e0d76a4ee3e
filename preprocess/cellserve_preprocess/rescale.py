"""Resizing, so that objects have the diameter the networks work at.

Each pixel of the result depends on its absolute position alone, never on the region that is computed. A region of a
resized image therefore equals the same region of the whole, bit for bit (docs/decisions/0027).
"""

import numpy as np
from cellserve_parallel import ThreadGroup, bands
from numpy.typing import NDArray

from ._interpolation import interpolate
from .tile import Region

_PART_PIXELS = 1 << 20
"""Pixels that one thread computes at a time: about a millisecond of work."""


def rescaled_shape(shape: tuple[int, int], scale: float | tuple[float, float]) -> tuple[int, int]:
    """Shape (Y, X) of an image after scaling: fractions of a pixel are dropped, no axis gets shorter than one pixel.

    Args:
        shape: (Y, X).
        scale: of both axes, or of each.
    """
    (height, width), (scale_y, scale_x) = shape, scale if isinstance(scale, tuple) else (scale, scale)
    return max(1, int(height * scale_y)), max(1, int(width * scale_x))


def resize(
    planes: NDArray[np.float32], shape: tuple[int, int], threads: ThreadGroup | None = None
) -> NDArray[np.float32]:
    """Resize every plane bilinearly (paper, "Test time resizing").

    Pixel centres of both images lie on one another, as in OpenCV (INTER_LINEAR). Beyond the outermost pixel centres,
    values are those of the outermost pixels.

    An axis alone is resized as well: reshape the axes after it into X.

    Args:
        planes: float32 [..., Y, X], finite.
        shape: wanted (Y', X').
        threads: threads that share the work; the calling thread alone if left out. The result does not depend on it.

    Returns:
        float32 [..., Y', X']; `planes` itself where it has that shape already.

    Raises:
        WorkCancelledError: the work was cancelled.
    """
    height, width = planes.shape[-2:]
    if (height, width) == shape:
        return planes
    return resize_region(planes, (0, 0), (height, width), shape, (slice(0, shape[0]), slice(0, shape[1])), threads)


def source_region(source: tuple[int, int], target: tuple[int, int], region: Region) -> Region:
    """Region of an image that a region of the resized image is computed from: the same, if the shapes are.

    Args:
        source: (Y, X) of the image.
        target: (Y', X') of the resized image.
        region: rows and columns of the resized image, not empty.
    """
    if source == target:
        return region
    positions = _positions(source, target, region)
    rows, columns = (_needed(near, length) for (near, _), length in zip(positions, source, strict=True))
    return rows, columns


def neighbours(length: int, resized: int, pixels: slice | None = None) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Where the pixels of a resized axis lie on the axis.

    Args:
        length: of the axis.
        resized: its length once resized.
        pixels: pixels of the resized axis; all if left out.

    Returns:
        For each pixel, the pixel of the axis before it, and the way to the next one, 0 to 1. The way is 0 where there
        is no next one.
    """
    some = slice(0, resized) if pixels is None else pixels
    # Whole numbers in units of 1 / unit pixels, so that they are exact: the same in every region.
    unit = 2.0 * resized
    position = np.arange(some.start, some.stop, dtype=np.float64) * (2 * length) + (length - resized)
    np.minimum(np.maximum(position, 0, out=position), (length - 1) * unit, out=position)
    near = (position / unit).astype(np.intp)
    return near, ((position - near * unit) / unit).astype(np.float32)


def resize_region(
    window: NDArray[np.float32],
    corner: tuple[int, int],
    source: tuple[int, int],
    target: tuple[int, int],
    region: Region,
    threads: ThreadGroup | None = None,
) -> NDArray[np.float32]:
    """Compute a region of resized planes: that region of `resize(planes, target)`, bit for bit.

    Args:
        window: float32 [..., y, x], finite: a part of the planes that holds `source_region(source, target, region)`.
        corner: (Y, X) of the window in the planes.
        source: (Y, X) of the planes.
        target: (Y', X') of the resized planes.
        region: rows and columns of the resized planes, not empty.
        threads: threads that share the work; the calling thread alone if left out.

    Returns:
        float32 [..., rows, columns]; a part of `window` itself if both shapes are equal.

    Raises:
        ValueError: the window does not hold the pixels that are needed.
        WorkCancelledError: the work was cancelled.
    """
    threads, own = threads or ThreadGroup(), window.shape[-2:]
    for needed, first, held in zip(source_region(source, target, region), corner, own, strict=True):
        if needed.start < first or needed.stop > first + held:
            raise ValueError(f"a window at {corner} of shape {own} lacks pixels {needed.start} to {needed.stop}")
    if source == target:
        rows, columns = (slice(r.start - first, r.stop - first) for r, first in zip(region, corner, strict=True))
        return window[..., rows, columns]
    (near_y, parts_y), (near_x, parts_x) = _positions(source, target, region)
    near_y, near_x = near_y - corner[0], near_x - corner[1]
    straight = source[1] == target[1] and corner[1] == region[1].start and own[1] == near_x.size
    inner = int(np.searchsorted(near_x, own[1] - 1))  # the pixels of these columns have a right neighbour
    near_x, parts_x = near_x[:inner], parts_x[:inner]
    # Kernels are compiled for such arrays.
    planes = np.require(window, np.float32, ["C_CONTIGUOUS", "WRITEABLE"]).reshape(-1, *own)
    shape = parts_y.size, region[1].stop - region[1].start
    resized = np.empty((*window.shape[:-2], *shape), np.float32)
    flat = resized.reshape(-1, *shape)

    def resize_rows(part: tuple[int, int, int]) -> None:
        plane, first, last = part
        if planes[plane, near_y[first] : near_y[last - 1] + 2].any():
            interpolate(planes[plane], near_y, parts_y, near_x, parts_x, straight, first, last, flat[plane])
        else:  # a missing nucleus plane
            flat[plane, first:last] = 0

    threads.each(resize_rows, [(plane, *rows) for plane in range(len(planes)) for rows in bands(shape, _PART_PIXELS)])
    return resized


def _positions(
    source: tuple[int, int], target: tuple[int, int], region: Region
) -> list[tuple[NDArray[np.intp], NDArray[np.float32]]]:
    """`neighbours` along both axes of a region."""
    return [neighbours(*axis) for axis in zip(source, target, region, strict=True)]


def _needed(near: NDArray[np.intp], length: int) -> slice:
    """The pixels of an axis that are interpolated: those of `near`, and the next ones."""
    return slice(int(near[0]), min(int(near[-1]) + 2, length))
