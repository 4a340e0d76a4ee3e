"""Fill around an image: the border of one exact value that crops, rotations and mosaics leave."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

RUN_SHARE = 0.04
"""Share of the outermost pixels that have the value of the fill one after the other, at least."""

FILL_SHARE = 0.002
"""Share of the image that is fill, at least. Less fill hardly moves a percentile."""

CONTENT_SHARE = 0.4
"""Share of the image inside the fill, at least. A smaller shape may be one large object on an exact background: no
object has more of an image (`max_size_fraction`)."""

SOLID_SHARE = 0.98
"""A shape that covers so much of its bounding box is an image in a larger frame, whatever its size."""

SMALLEST_SIDE = 64
"""Sides of an image that is found by `SOLID_SHARE`, at least, pixels. Smaller ones may be objects."""

ROUGHNESS = 1.1
"""Length of the outline of the content over that of its bounding box, at most. Rectangles, turned rectangles, discs and
stairs have a ratio of one; several objects, or a noisy background of which some pixels are zero, have a larger one."""


@dataclass(frozen=True, slots=True)
class Border:
    """Fill around an image.

    Attributes:
        fill: bool [Y, X] or [Z, Y, X], true outside the image proper.
        value: Intensity of the fill.
    """

    fill: NDArray[np.bool_]
    value: float

    @property
    def share(self) -> float:
        """Share of the pixels that are fill."""
        return float(np.count_nonzero(self.fill)) / self.fill.size


@dataclass(frozen=True, slots=True)
class Content:
    """What lies inside the fill of a plane. One more frame of fill, a pixel wide, is laid around the plane.

    Attributes:
        plane: (Y, X) of the plane.
        area: Number of pixels.
        box: (Y, X) of the bounding box.
        outline: Number of pairs of neighbouring pixels of which one is content.
    """

    plane: tuple[int, int]
    area: int
    box: tuple[int, int]
    outline: int

    @property
    def is_image(self) -> bool:
        """Whether the content is one region of simple outline, the image proper, and whether its fill counts."""
        (height, width), (rows, columns) = self.plane, self.box
        if not self.area or (height * width - self.area) / (height * width) < FILL_SHARE:
            return False
        solid = self.area >= SOLID_SHARE * rows * columns and min(self.box) >= SMALLEST_SIDE
        if self.area < CONTENT_SHARE * (height + 2) * (width + 2) and not solid:
            return False
        return self.outline <= ROUGHNESS * 2 * (rows + columns)


def border_fill(image: NDArray[Any]) -> Border | None:
    """Finds the fill around an image.

    Fill is connected with the border of a plane, has one exact value, and leaves a region of simple outline: the image
    proper. A dark background with values of zero is no fill, because it surrounds objects. In a stack, fill is found
    plane by plane. A stack has one value of fill: that of the first plane with fill.

    Args:
        image: [Y, X] or [Z, Y, X] of any real dtype, finite.

    Returns:
        The fill, or None if there is none.
    """
    if image.ndim == 2:
        return _plane_fill(image)
    found = [_plane_fill(plane) for plane in image]
    planes, value = planes_of_fill(None if border is None else border.value for border in found)
    if value is None:
        return None
    fill = np.zeros(image.shape, np.bool_)
    for z, border in enumerate(found):
        if border is not None and z in planes:
            fill[z] = border.fill
    return Border(fill, value)


def planes_of_fill(values: Iterable[float | None]) -> tuple[list[int], float | None]:
    """Returns the planes of a stack whose fill counts, and its value, from the value of fill of each plane."""
    values = list(values)
    value = next((value for value in values if value is not None), None)
    return [z for z, own in enumerate(values) if own is not None and own == value], value


def frame_value(top: NDArray[Any], right: NDArray[Any], bottom: NDArray[Any], left: NDArray[Any]) -> np.generic | None:
    """Returns the value that the fill of a plane has, if there is any; None if its outermost pixels are too mixed.

    Args:
        top, bottom: [X], the outermost rows.
        right, left: [Y], the outermost columns.
    """
    ring = np.concatenate([top, right[1:], bottom[-2::-1], left[-2:0:-1]])
    starts = np.flatnonzero(np.concatenate([[True], ring[1:] != ring[:-1]]))
    runs = np.diff(starts, append=ring.size)
    if runs.max() < RUN_SHARE * ring.size:
        return None
    value: np.generic = ring[starts[np.argmax(runs)]]
    return value


def _plane_fill(plane: NDArray[Any]) -> Border | None:
    """Finds the fill around a plane [Y, X]."""
    value = frame_value(plane[0], plane[:, -1], plane[-1], plane[:, 0])
    if value is None:
        return None
    # One more frame of fill: the fill of all four sides is then one region.
    fill = cv2.copyMakeBorder((plane == value).view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    cv2.floodFill(fill, None, (0, 0), 2)
    outside = fill == 2
    content = ~outside
    rows, columns = (np.flatnonzero(content.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return None
    outline = np.count_nonzero(content[1:] != content[:-1]) + np.count_nonzero(content[:, 1:] != content[:, :-1])
    height, width = plane.shape
    box = int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1
    if not Content((height, width), int(np.count_nonzero(content)), box, int(outline)).is_image:
        return None
    return Border(outside[1:-1, 1:-1], float(value) + 0.0)
