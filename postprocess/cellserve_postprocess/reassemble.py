"""From the outputs of overlapping tiles to the maps of an image."""

import numpy as np
from cellserve_preprocess import MARGIN, TILE, TileGrid
from numpy.typing import NDArray

TAPER_EDGE = 92.0
"""Distance from the centre of a tile, in pixels, at which its weight is one half."""
TAPER_BANDWIDTH = 7.5
"""Width of the fall of the weight, in pixels (paper, "Image tiling")."""


def taper() -> NDArray[np.float64]:
    """Weight of the pixels along one axis of a tile, float64 [224]: one inside, falling smoothly towards both ends."""
    distance = np.abs(np.arange(TILE, dtype=np.float64) - (TILE - 1) / 2)
    weight: NDArray[np.float64] = 1 / (1 + np.exp((distance - TAPER_EDGE) / TAPER_BANDWIDTH))
    return weight


def reassemble(tiles: NDArray[np.float32], grid: TileGrid) -> NDArray[np.float32]:
    """Average overlapping tiles into the maps of an image (paper, "Image tiling").

    Args:
        tiles: float32 [n, 3, 224, 224], the network outputs (5*flow_y, 5*flow_x, logit) of all tiles of the grid, in
            its order. Tiles the grid has flipped are flipped back; the flow along a flipped axis changes its sign.
        grid: the grid that cut the image.

    Returns:
        float32 [3, Y, X].
    """
    if tiles.shape != (len(grid), 3, TILE, TILE):
        raise ValueError(f"the grid has {len(grid)} tiles of shape (3, {TILE}, {TILE}), not {tiles.shape}")
    height, width = grid.frame
    weights_y = _shares(grid.starts_y, height)
    weights_x = _shares(grid.starts_x, width)
    maps = np.zeros((3, height, width), dtype=np.float32)
    weighted = np.empty((3, TILE, TILE), dtype=np.float32)
    for index, tile in enumerate(tiles):
        row, column = grid.position(index)
        y, x = grid.starts_y[row], grid.starts_x[column]
        np.multiply(_unflip(tile, *grid.flips(index)), np.outer(weights_y[row], weights_x[column]), out=weighted)
        maps[:, y : y + TILE, x : x + TILE] += weighted
    inner = maps[:, MARGIN : MARGIN + grid.shape[0], MARGIN : MARGIN + grid.shape[1]]
    return np.ascontiguousarray(inner)


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


def _unflip(tile: NDArray[np.float32], flip_y: bool, flip_x: bool) -> NDArray[np.float32]:
    if not (flip_y or flip_x):
        return tile
    upright = tile[:, :: -1 if flip_y else 1, :: -1 if flip_x else 1].copy()
    if flip_y:
        upright[0] *= -1
    if flip_x:
        upright[1] *= -1
    return upright
