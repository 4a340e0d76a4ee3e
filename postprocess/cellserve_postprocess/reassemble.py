"""From the outputs of overlapping tiles to the maps of an image.

Tiles are summed in fixed point, so that sums do not depend on the order of the tiles (docs/decisions/0026).
"""

from __future__ import annotations

from dataclasses import replace
from threading import Lock

import numpy as np
from cellserve_parallel import ThreadGroup, bands
from cellserve_preprocess import TILE, TileGrid
from numpy.typing import NDArray

from ._blending import add_tile

TAPER_EDGE = 92.0
"""Distance from the centre of a tile, in pixels, at which its weight is one half."""
TAPER_BANDWIDTH = 7.5
"""Width of the fall of the weight, in pixels (paper, "Image tiling")."""

UNIT = 2.0**-20
"""Value of one unit of the sums. Flows (times 5) and logits are about 5: a relative precision of 2e-7."""
LARGEST = 512.0
"""Largest absolute value of an output. Larger ones count as this, so that the sums of three maps fit into int32."""


def taper() -> NDArray[np.float64]:
    """Weight of the pixels along one axis of a tile, float64 [224]: one inside, falling smoothly towards both ends."""
    distance = np.abs(np.arange(TILE, dtype=np.float64) - (TILE - 1) / 2)
    weight: NDArray[np.float64] = 1 / (1 + np.exp((distance - TAPER_EDGE) / TAPER_BANDWIDTH))
    return weight


TileWeights = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Weights [tiles, 224] of the rows and of the columns of tiles of a part of a grid."""


class MapSums:
    """The average of overlapping tiles (paper, "Image tiling"), built up tile by tile.

    The sums are whole numbers, so that the order of the tiles does not matter. Sums of the parts of a grid, joined,
    equal the sums of the whole. An image has its average as soon as all tiles of the grid are added.

    Attributes:
        grid: the grid of the tiles, or a part of a grid.
        sums: int32 [3, Y, X] over the extent of the grid, in units of `UNIT`: 5*flow_y, 5*flow_x, logit. They hold the
            weighted outputs of the tiles added so far. The weights of all tiles of the image sum to one in each pixel.

    Args:
        grid: becomes the attribute.
        sums: sums of tiles that were added elsewhere; zeros if left out.
        weights: `tile_weights` of the grid, computed once for several planes; computed here if left out.
    """

    def __init__(
        self, grid: TileGrid, sums: NDArray[np.int32] | None = None, weights: TileWeights | None = None
    ) -> None:
        self.grid = grid
        rows, columns = grid.extent
        self._corner = rows.start, columns.start
        shape = 3, rows.stop - rows.start, columns.stop - columns.start
        if sums is not None and (sums.shape != shape or sums.dtype != np.int32):
            raise ValueError(f"the sums of this grid are int32 of shape {shape}, not {sums.dtype} of {sums.shape}")
        self.sums: NDArray[np.int32] = np.zeros(shape, np.int32) if sums is None else sums
        self._weights_y, self._weights_x = weights or tile_weights(grid)
        self._lock = Lock()

    def add(self, index: int, tile: NDArray[np.float32]) -> None:
        """Add a tile. Threads may add several at a time.

        Args:
            index: number of the tile in the grid. Each tile is added once.
            tile: float32 [3, 224, 224], the network outputs. Tiles that the grid has flipped are flipped back; the flow
                along a flipped axis changes its sign.

        Raises:
            FloatingPointError: a value is not finite. The sums are of no use any more.
            ValueError: the tile has another shape, or the sums have become maps.
        """
        if not self.sums.size:
            raise ValueError("the sums have become maps and take no more tiles")
        if tile.shape != (3, TILE, TILE):
            raise ValueError(f"the outputs of a tile have shape (3, {TILE}, {TILE}), not {tile.shape}")
        row, column = self.grid.position(index)
        y, x = (own - first for own, first in zip(self.grid.corner(index), self._corner, strict=True))
        # Kernels are compiled for contiguous arrays, read-only ones out of a message included.
        tile = np.require(tile, np.float32, ["C_CONTIGUOUS", "ALIGNED"])
        weights = self._weights_y[row - self.grid.rows.start], self._weights_x[column - self.grid.columns.start]
        with self._lock:
            finite = add_tile(self.sums, tile, *weights, (y, x), self.grid.flips(index), np.float32(LARGEST))
        if not finite:
            raise FloatingPointError("the outputs of a tile are not finite")

    def join(self, part: MapSums) -> None:
        """Add the sums of a part of the grid.

        Raises:
            ValueError: the part is of another grid, or lies outside this one.
        """
        ours, theirs = self.grid, part.grid
        inside = {*theirs.rows} <= {*ours.rows} and {*theirs.columns} <= {*ours.columns}
        if not inside or replace(theirs, rows=ours.rows, columns=ours.columns) != ours:
            raise ValueError("the sums are not those of a part of the grid")
        place = [
            slice(inner.start - first, inner.stop - first)
            for inner, first in zip(theirs.extent, self._corner, strict=True)
        ]
        with self._lock:
            self.sums[:, *place] += part.sums

    def maps(self, threads: ThreadGroup | None = None) -> NDArray[np.float32]:
        """Turn the sums into the maps of the extent of the grid: `to_maps`. No tiles can be added any more."""
        sums, self.sums = self.sums, np.empty((3, 0, 0), np.int32)
        return to_maps(sums, threads)


def to_maps(sums: NDArray[np.int32], threads: ThreadGroup | None = None) -> NDArray[np.float32]:
    """Turn sums into maps, in the memory of the sums.

    Args:
        sums: int32 [3, Y, X] in units of `UNIT`, or [N, 3, Y, X] of N sections, C-contiguous; overwritten.
        threads: threads that share the work; the calling thread alone if left out.

    Returns:
        float32 of the same shape: 5*flow_y, 5*flow_x, logit.

    Raises:
        WorkCancelledError: the work was cancelled. The sums are lost.
    """
    maps = sums.view(np.float32)
    source, target = sums.reshape(-1), maps.reshape(-1)

    def convert(part: tuple[int, int]) -> None:  # small enough for the processor's cache
        some = slice(*part)
        np.multiply(source[some].astype(np.float32), np.float32(UNIT), out=target[some])

    (threads or ThreadGroup()).each(convert, bands((source.size, 1)))
    return maps


def tile_weights(grid: TileGrid) -> TileWeights:
    """Returns the weights of the tiles of a grid along each axis; those of the rows are in units of the sums."""
    return _shares(grid.starts_y, grid.rows) / np.float32(UNIT), _shares(grid.starts_x, grid.columns)


def _shares(starts: tuple[int, ...], part: range) -> NDArray[np.float32]:
    """Share of each tile of a part in the pixels along one axis, float32 [tiles, 224].

    The shares of all tiles of the grid in a pixel sum to one. A grid holds every combination of rows and columns, so
    the sum of its 2-D weights is the product of the sums along the axes: dividing along each axis spares the division
    of the whole image.
    """
    weight, own = taper(), starts[part.start : part.stop]
    first, length = own[0], own[-1] + TILE - own[0]
    total = np.zeros(length)
    for start in starts:
        at = start - first
        if -TILE < at < length:
            total[max(at, 0) : at + TILE] += weight[max(-at, 0) : length - at]
    shares = np.empty((len(own), TILE), np.float32)
    for share, start in zip(shares, own, strict=True):
        share[:] = weight / total[start - first : start - first + TILE]
    return shares
