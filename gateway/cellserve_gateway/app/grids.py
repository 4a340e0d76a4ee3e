"""Grids of tiles that callers describe."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from cellserve_preprocess import MARGIN, TILE, TileGrid

from cellserve_gateway.errors import InvalidRequest


def part_of_grid(
    shape: tuple[int, int],
    starts: tuple[Sequence[int], Sequence[int]],
    part: tuple[range, range],
    augment: bool,
) -> TileGrid:
    """Returns a part of a grid. The memory that this takes depends on how many numbers come, not on their size.

    Args:
        shape: (Y, X) of the whole plane.
        starts: First row in the plane of every row of tiles of the whole grid; first column of every column of tiles.
        part: The rows and the columns of tiles of the part.
        augment: As in `TileGrid`.

    Raises:
        InvalidRequest: The tiles do not cover the framed plane from edge to edge, or the grid has no such part.
    """
    names = (("height", "starts_y", "rows"), ("width", "starts_x", "columns"))
    for along in zip(shape, starts, part, names, strict=True):
        _check_axis(*along)
    starts_y, starts_x = (tuple(start + MARGIN for start in firsts) for firsts in starts)
    return TileGrid(shape, starts_y, starts_x, augment, rows=part[0], columns=part[1])


def _check_axis(length: int, starts: Sequence[int], part: range, names: tuple[str, str, str]) -> None:
    of_length, of_starts, of_part = names
    if length < 1:
        raise _refusal(of_length, f"is {length}; allowed: 1 or more")
    last = max(length + 2 * MARGIN, TILE) - MARGIN - TILE
    if not starts or (starts[0], starts[-1]) != (-MARGIN, last):
        found = f"runs from {starts[0]:,} to {starts[-1]:,}" if starts else "is empty"
        raise _refusal(of_starts, f"{found}; the tiles of {length:,} pixels run from {-MARGIN} to {last:,}")
    steps = np.diff(starts)
    if np.any((steps < 0) | (steps > TILE)):
        raise _refusal(of_starts, f"is out of order, or leaves out pixels; neighbours lie 0 to {TILE} pixels apart")
    if not 0 <= part.start < part.stop <= len(starts):
        some = f"{part.start:,} <= number < {part.stop:,}"
        raise _refusal(of_part, f"is {some}; allowed: one tile or more of 0 <= number < {len(starts):,}")


def _refusal(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(f"grid.{field} {message}", field=f"grid.{field}")
