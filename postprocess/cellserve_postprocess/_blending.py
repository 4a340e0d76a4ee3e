"""Kernel that adds a tile to the maps of an image."""

import numpy as np
from numpy.typing import NDArray

from ._jit import kernel


@kernel
def add_tile(
    maps: NDArray[np.float32],
    tile: NDArray[np.float32],
    shares_y: NDArray[np.float32],
    shares_x: NDArray[np.float32],
    corner: tuple[int, int],
    flips: tuple[bool, bool],
    first: int,
    last: int,
) -> None:
    """Add the part of a weighted tile that lies in the rows `first` to `last` (exclusive) of an image.

    Args:
        maps: float32 [3, Y, X]: flow along y, flow along x, logit; added to.
        tile: float32 [3, T, T].
        shares_y, shares_x: float32 [T], weights of the tile's rows and columns.
        corner: (y, x) of the tile in the image; it may lie outside.
        flips: whether the tile is flipped along (y, x); the flow along a flipped axis changes its sign.
        first, last: rows of the image.
    """
    y, x = corner
    flip_y, flip_x = flips
    side = tile.shape[1]
    left = max(0, -x)
    right = min(side, maps.shape[2] - x)
    if right <= left:
        return
    weights = shares_x[left:right]
    for channel in range(3):
        sign = np.float32(-1 if (channel == 0 and flip_y) or (channel == 1 and flip_x) else 1)
        for row in range(max(first, y), min(last, y + side)):
            target = maps[channel, row, x + left : x + right]
            share = shares_y[row - y]
            line = tile[channel, side - 1 - (row - y) if flip_y else row - y]
            if flip_x:
                for i in range(target.size):
                    target[i] += sign * line[side - 1 - left - i] * (share * weights[i])
            else:
                source = line[left:right]
                for i in range(target.size):
                    target[i] += sign * source[i] * (share * weights[i])
