"""Outlines of objects."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ._arrays import kernel_labels
from .objects import measure_extents


def trace_outlines(labels: NDArray[Any]) -> list[NDArray[np.int32]]:
    """Trace the outer border of every object.

    Args:
        labels: integers [Y, X], 0 is background.

    Returns:
        For each number 1..N an int32 array [k, 2]: (y, x) of the border pixels in order, each next to the one before.
        Of an object in several pieces the longest outline is given; a number not in use has k = 0.
    """
    objects = kernel_labels(labels)
    _, boxes = measure_extents(objects, int(objects.max(initial=0)))
    outlines = []
    for number, (y_min, x_min, y_max, x_max) in enumerate(boxes.tolist(), start=1):
        mask = (objects[y_min:y_max, x_min:x_max] == number).astype(np.uint8)
        contours: tuple[NDArray[np.int32], ...] = ()
        if mask.size:
            contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=(x_min, y_min))
        longest = max(contours, key=len, default=np.empty((0, 1, 2), dtype=np.int32))
        outlines.append(np.ascontiguousarray(longest[:, 0, ::-1], dtype=np.int32))
    return outlines
