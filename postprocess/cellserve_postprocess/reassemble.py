"""From the outputs of overlapping tiles to the maps of an image."""

from collections.abc import Sequence

import numpy as np
from cellserve_parallel import ThreadGroup, bands
from cellserve_preprocess import MARGIN, TILE, TileGrid
from numpy.typing import NDArray

from ._blending import add_tile

TAPER_EDGE = 92.0
"""Distance from the centre of a tile, in pixels, at which its weight is one half."""
TAPER_BANDWIDTH = 7.5
"""Width of the fall of the weight, in pixels (paper, "Image tiling")."""


def taper() -> NDArray[np.float64]:
    """Weight of the pixels along one axis of a tile, float64 [224]: one inside, falling smoothly towards both ends."""
    distance = np.abs(np.arange(TILE, dtype=np.float64) - (TILE - 1) / 2)
    weight: NDArray[np.float64] = 1 / (1 + np.exp((distance - TAPER_EDGE) / TAPER_BANDWIDTH))
    return weight


def reassemble(
    tiles: Sequence[NDArray[np.float32]] | NDArray[np.float32], grid: TileGrid, threads: ThreadGroup | None = None
) -> NDArray[np.float32]:
    """Average overlapping tiles into the maps of an image (paper, "Image tiling").

    Args:
        tiles: float32 [3, 224, 224] each, the network outputs (5*flow_y, 5*flow_x, logit) of all tiles of the grid, in
            its order. Tiles the grid has flipped are flipped back; the flow along a flipped axis changes its sign.
        grid: the grid that cut the image.
        threads: threads that share the work; the calling thread alone if left out. The result does not depend on it.

    Returns:
        float32 [3, Y, X].

    Raises:
        WorkCancelledError: the work was cancelled.
        ValueError: the tiles are not those of the grid.
    """
    shapes = {tile.shape for tile in tiles}
    if len(tiles) != len(grid) or shapes != {(3, TILE, TILE)}:
        raise ValueError(f"the grid has {len(grid)} tiles of shape (3, {TILE}, {TILE}), not {len(tiles)} of {shapes}")
    height, width = grid.frame
    shares_y = _shares(grid.starts_y, height)
    shares_x = _shares(grid.starts_x, width)
    maps = np.zeros((3, *grid.shape), dtype=np.float32)

    def add(rows: tuple[int, int]) -> None:
        for row, start in enumerate(grid.starts_y):
            y = start - MARGIN
            if y + TILE <= rows[0] or y >= rows[1]:
                continue
            for column, x in enumerate(grid.starts_x):
                index = row * len(grid.starts_x) + column
                # Kernels are compiled for contiguous arrays, read-only ones out of a message included.
                tile = np.require(tiles[index], np.float32, ["C_CONTIGUOUS", "ALIGNED"])
                corner, flips = (y, x - MARGIN), grid.flips(index)
                add_tile(maps, tile, shares_y[row], shares_x[column], corner, flips, *rows)

    (threads or ThreadGroup()).each(add, bands(grid.shape))
    return maps


def _shares(starts: tuple[int, ...], length: int) -> NDArray[np.float32]:
    """Share of each tile in the pixels along one axis, float32 [tiles, 224]; the shares in a pixel sum to one.

    A grid holds every combination of rows and columns, so the sum of its 2-D weights is the product of the sums along
    the axes: dividing along each axis spares the division of the whole image.
    """
    weight = taper()
    total = np.zeros(length)
    for start in starts:
        total[start : start + TILE] += weight
    return np.stack([weight / total[start : start + TILE] for start in starts]).astype(np.float32)
