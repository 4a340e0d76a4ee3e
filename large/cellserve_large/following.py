"""Stage one: every kept pixel of a block is followed to where its path ends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from cellserve_contract.params import RecoveryParams
from cellserve_postprocess import stages
from numpy.typing import NDArray

from .geometry import Box, Grid
from .sources import MapSource

HALO = {2: 64, 3: 16}
"""By the number of axes: pixels around a block in which its paths may end at the first try. More are read for the tiles
of the block whose paths go on. In a volume, what lies around a block is soon more than the block."""
TILE = {2: 64, 3: 32}
"""By the number of axes: side of the tiles whose paths are followed again together. Most tiles have no such path."""


@dataclass(frozen=True, slots=True)
class Ends:
    """Where the pixels of a block end.

    Attributes:
        sinks: int32, in the shape of the block: index of the sink of each pixel, negative for none.
        positions: int64 [n], flat index in the image of each sink; in several entries if paths were followed again.
        counts: int32 [n], pixels of the block that end in each sink.
    """

    sinks: NDArray[np.int32]
    positions: NDArray[np.int64]
    counts: NDArray[np.int32]


def follow_block(maps: MapSource, box: Box, params: RecoveryParams) -> Ends:
    """Follow the pixels of a block, reading the maps around it as far as its paths go.

    Paths that leave the window are followed again in a window with twice as much around them, together with those
    that begin in the same tile. A window takes 27 bytes a pixel.

    Args:
        maps: of the whole image.
        box: the block.
        params: validated parameters.
    """
    sinks = np.full(box.shape, stages.ESCAPED, np.int32)
    positions, counts = [np.empty(0, np.int64)], [np.empty(0, np.int32)]
    found = 0
    todo = [(box, HALO[len(box.shape)])] if box.size else []
    while todo:
        part, halo = todo.pop()
        window = part.grown(halo, maps.shape)
        ends = stages.follow(maps.read(window), window.start, tuple(maps.shape), params, part.within(window))
        mine = sinks[part.within(box)]
        ends = np.ascontiguousarray(ends[part.within(window)])
        if found:  # the others are known from a smaller window
            known = mine != stages.ESCAPED
            ends[known] = -1
        places, pixels = stages.sinks(ends, window.shape)
        positions.append(window.to_image(places, maps.shape))
        counts.append(pixels)
        if found:
            ends[ends >= 0] += found
            ends[known] = mine[known]
        mine[...] = ends
        found += places.size
        todo += [(tile, 2 * halo) for tile in _escaped(ends, part)]
    return Ends(sinks, np.concatenate(positions), np.concatenate(counts))


def _escaped(sinks: NDArray[np.int32], part: Box) -> list[Box]:
    """Boxes around the pixels whose paths left their window, one for each tile that has any."""
    if stages.ESCAPED not in sinks:
        return []
    escaped = np.argwhere(sinks == stages.ESCAPED)
    side = TILE[sinks.ndim]
    tiles = np.ravel_multi_index(tuple((escaped // side).T), tuple(-(-length // side) for length in part.shape))
    boxes = []
    for tile in np.unique(tiles):
        inside = escaped[tiles == tile] + part.start
        boxes.append(Box(tuple(inside.min(axis=0).tolist()), tuple((inside.max(axis=0) + 1).tolist())))
    return boxes


def destinations(ends: Ends, grid: Grid) -> NDArray[np.int64]:
    """Returns the blocks in which pixels of a block end, ascending."""
    return np.unique(grid.blocks_of(ends.positions))
