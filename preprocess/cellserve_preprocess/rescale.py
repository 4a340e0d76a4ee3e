"""Resizing, so that objects have the diameter the networks work at."""

import cv2
import numpy as np
from cellserve_parallel import ThreadGroup
from numpy.typing import NDArray


def rescaled_shape(shape: tuple[int, int], scale: float) -> tuple[int, int]:
    """Shape (Y, X) of an image after scaling: fractions of a pixel are dropped, no axis gets shorter than one pixel."""
    height, width = shape
    return max(1, int(height * scale)), max(1, int(width * scale))


def resize(
    planes: NDArray[np.float32], shape: tuple[int, int], threads: ThreadGroup | None = None
) -> NDArray[np.float32]:
    """Resize every plane bilinearly (paper, "Test time resizing").

    Args:
        planes: float32 [C, Y, X], C at least one.
        shape: wanted (Y', X').
        threads: threads that share the work, one plane at a time; the calling thread alone if left out.

    Returns:
        float32 [C, Y', X']; `planes` itself where it has that shape already.

    Raises:
        WorkCancelledError: the work was cancelled.
    """
    if planes.shape[1:] == shape:
        return planes
    height, width = shape
    resized = np.empty((planes.shape[0], height, width), dtype=np.float32)

    def resize_plane(number: int) -> None:
        if planes[number].any():
            cv2.resize(planes[number], (width, height), dst=resized[number], interpolation=cv2.INTER_LINEAR)
        else:  # a missing nucleus plane
            resized[number] = 0

    (threads or ThreadGroup()).each(resize_plane, range(planes.shape[0]))
    return resized
