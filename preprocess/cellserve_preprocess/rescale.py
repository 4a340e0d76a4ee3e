"""Resizing, so that objects have the diameter the networks work at."""

import cv2
import numpy as np
from numpy.typing import NDArray


def rescaled_shape(shape: tuple[int, int], scale: float) -> tuple[int, int]:
    """Shape (Y, X) of an image after scaling: fractions of a pixel are dropped, no axis gets shorter than one pixel."""
    height, width = shape
    return max(1, int(height * scale)), max(1, int(width * scale))


def resize(planes: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Resize every plane bilinearly (paper, "Test time resizing").

    Args:
        planes: float32 [C, Y, X], C at least one.
        shape: wanted (Y', X').

    Returns:
        float32 [C, Y', X']; `planes` itself where it has that shape already.
    """
    if planes.shape[1:] == shape:
        return planes
    height, width = shape
    resized = np.empty((planes.shape[0], height, width), dtype=np.float32)
    for source, target in zip(planes, resized, strict=True):
        cv2.resize(source, (width, height), dst=target, interpolation=cv2.INTER_LINEAR)
    return resized
