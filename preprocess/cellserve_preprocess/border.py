"""Fill around an image: the border of one exact value that crops, rotations and mosaics leave."""

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
    fill, value = np.zeros(image.shape, np.bool_), None
    for plane, target in zip(image, fill, strict=True):
        found = _plane_fill(plane)
        if found is not None and found.value == (found.value if value is None else value):
            target[:], value = found.fill, found.value
    return None if value is None else Border(fill, value)


def _plane_fill(plane: NDArray[Any]) -> Border | None:
    """Finds the fill around a plane [Y, X]."""
    ring = np.concatenate([plane[0], plane[1:, -1], plane[-1, -2::-1], plane[-2:0:-1, 0]])
    starts = np.flatnonzero(np.concatenate([[True], ring[1:] != ring[:-1]]))
    runs = np.diff(starts, append=ring.size)
    if runs.max() < RUN_SHARE * ring.size:
        return None
    value = ring[starts[np.argmax(runs)]]
    # One more frame of fill: the fill of all four sides is then one region.
    fill = cv2.copyMakeBorder((plane == value).view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    cv2.floodFill(fill, None, (0, 0), 2)
    outside = fill == 2
    if not _is_simple(~outside):
        return None
    border = Border(outside[1:-1, 1:-1], float(value))
    return border if border.share >= FILL_SHARE else None


def _is_simple(content: NDArray[np.bool_]) -> bool:
    """Tells whether content [Y, X] is one region of simple outline; false if there is none. Its border is fill."""
    rows, columns = content.any(axis=1), content.any(axis=0)
    if not rows.any():
        return False
    height, width = (int(np.ptp(np.flatnonzero(lines))) + 1 for lines in (rows, columns))
    area = int(np.count_nonzero(content))
    solid = area >= SOLID_SHARE * height * width and min(height, width) >= SMALLEST_SIDE
    if area < CONTENT_SHARE * content.size and not solid:
        return False
    outline = np.count_nonzero(content[1:] != content[:-1]) + np.count_nonzero(content[:, 1:] != content[:, :-1])
    return bool(outline <= ROUGHNESS * 2 * (height + width))
