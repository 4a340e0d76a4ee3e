"""Kernel that adds a tile to the sums of an image."""

import numpy as np
from cellserve_preprocess.jit import kernel
from numpy.typing import NDArray

_LARGEST_FLOAT = np.finfo(np.float32).max


@kernel
def add_tile(
    sums: NDArray[np.int32],
    tile: NDArray[np.float32],
    weights_y: NDArray[np.float32],
    weights_x: NDArray[np.float32],
    corner: tuple[int, int],
    flips: tuple[bool, bool],
    limit: np.float32,
) -> bool:
    """Add the part of a weighted tile that lies in an image, rounded to whole numbers.

    Args:
        sums: int32 [3, Y, X]: flow along y, flow along x, logit; added to.
        tile: float32 [3, T, T].
        weights_y, weights_x: float32 [T], weights of the tile's rows and columns.
        corner: (y, x) of the tile in the image; it may lie outside.
        flips: whether the tile is flipped along (y, x); the flow along a flipped axis changes its sign.
        limit: values of the tile beyond it, or below its negative, count as this.

    Returns:
        Whether all values of that part are finite. If not, the sums are of no use any more.
    """
    y, x = corner
    flip_y, flip_x = flips
    side = tile.shape[1]
    left = max(0, -x)
    right = min(side, sums.shape[2] - x)
    weights = weights_x[left:right]
    strange = 0
    for channel in range(3):
        sign = np.float32(-1 if (channel == 0 and flip_y) or (channel == 1 and flip_x) else 1)
        for row in range(max(0, y), min(sums.shape[1], y + side)):
            target = sums[channel, row, x + left : x + right]
            weight = sign * weights_y[row - y]
            line = tile[channel, side - 1 - (row - y) if flip_y else row - y]
            if flip_x:
                for i in range(target.size):
                    value = line[side - 1 - left - i]
                    strange += 0 if abs(value) <= _LARGEST_FLOAT else 1
                    value = min(max(value, -limit), limit)
                    target[i] += np.int32(np.rint(value * (weight * weights[i])))
            else:
                source = line[left:right]
                for i in range(target.size):
                    value = source[i]
                    strange += 0 if abs(value) <= _LARGEST_FLOAT else 1
                    value = min(max(value, -limit), limit)
                    target[i] += np.int32(np.rint(value * (weight * weights[i])))
    return strange == 0
