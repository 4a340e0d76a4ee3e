"""Outlines of objects."""

from typing import Any

import cv2
import numpy as np
from cellserve_parallel import ThreadGroup
from numpy.typing import NDArray

from ._arrays import kernel_labels
from .objects import measure_extents

PART = 32
"""Objects that one thread traces at a time."""


def trace_outlines(labels: NDArray[Any], threads: ThreadGroup | None = None) -> list[NDArray[np.int32]]:
    """Trace the outer border of every object.

    Args:
        labels: integers [Y, X], 0 is background.
        threads: threads that share the work; the calling thread alone if left out.

    Returns:
        For each number 1..N an int32 array [k, 2]: (y, x) of the border pixels in order, each next to the one before.
        Of an object in several pieces the longest outline is given; a number not in use has k = 0.

    Raises:
        WorkCancelledError: the work was cancelled.
    """
    threads = threads or ThreadGroup()
    objects = kernel_labels(labels)
    _, boxes = measure_extents(objects, int(objects.max(initial=0)), threads)
    numbers = range(1, len(boxes) + 1)
    parts = [numbers[first : first + PART] for first in range(0, len(boxes), PART)]
    traced = threads.each(lambda part: [_trace(objects, number, boxes[number - 1]) for number in part], parts)
    return [outline for part in traced for outline in part]


def _trace(objects: NDArray[np.int32], number: int, box: NDArray[np.int32]) -> NDArray[np.int32]:
    y_min, x_min, y_max, x_max = box.tolist()
    mask = (objects[y_min:y_max, x_min:x_max] == number).astype(np.uint8)
    contours: tuple[NDArray[np.int32], ...] = ()
    if mask.size:
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=(x_min, y_min))
    longest = max(contours, key=len, default=np.empty((0, 1, 2), dtype=np.int32))
    return np.ascontiguousarray(longest[:, 0, ::-1], dtype=np.int32)
