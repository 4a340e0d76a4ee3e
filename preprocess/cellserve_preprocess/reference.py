"""The plain twin of resizing: slow, readable, and the measure of the kernel, bit for bit."""

import numpy as np
from numpy.typing import NDArray


def resize(plane: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Resize a plane float32 [Y, X] bilinearly: along X, then along Y."""
    for axis in (1, 0):
        left, right, part = _neighbours(plane.shape[axis], shape[axis])
        before, after = np.take(plane, left, axis), np.take(plane, right, axis)
        plane = before + (part if axis == 1 else part[:, np.newaxis]) * (after - before)
    return plane


def _neighbours(length: int, resized: int) -> tuple[list[int], list[int], NDArray[np.float32]]:
    """The pixels on both sides of each pixel of the resized axis, and the way from the first to the second one."""
    left, right, part = [], [], []
    for pixel in range(resized):
        # Its centre lies at (pixel + 0.5) * length / resized - 0.5 pixels.
        position = min(max((2 * pixel + 1) * length - resized, 0), 2 * resized * (length - 1))
        left.append(position // (2 * resized))
        right.append(min(left[-1] + 1, length - 1))
        part.append(position % (2 * resized) / (2 * resized))
    return left, right, np.array(part, np.float32)
