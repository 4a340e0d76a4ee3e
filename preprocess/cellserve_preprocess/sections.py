"""The planes that the networks see: an image, or the sections of a stack across one or three axes."""

import math
from dataclasses import dataclass

import numpy as np
from cellserve_contract.params import SegmentParams
from cellserve_contract.sizes import has_small_objects

from .rescale import neighbours, rescaled_shape
from .tile import TileGrid

SECTION_AXES = ((1, 2), (0, 2), (0, 1))
"""Axes of the sections of each view, in a stack [Z, Y, X]: xy, xz and yz sections."""


@dataclass(frozen=True, slots=True)
class Sections:
    """Sections of a stack that are images to the networks; an image is the only section of a stack of one plane.

    Attributes:
        across: Axis that the sections are cut across: 0 for xy sections, 1 for xz, 2 for yz.
        length: Length of the stack along this axis.
        count: Length of the stack as it is cut: resampled, or the same as `length`.
        shape: Rows and columns of a section.
        scaled: Rows and columns at the networks' scale.
        recovered: Rows and columns of the maps that masks are recovered from. The section's shape (paper); for small
            objects, that of the networks' scale.
    """

    across: int
    length: int
    count: int
    shape: tuple[int, int]
    scaled: tuple[int, int]
    recovered: tuple[int, int]

    @property
    def used(self) -> list[int]:
        """Sections that planes of the stack lie at or between; all of a stack that is not resampled."""
        near, parts = neighbours(self.count, self.length)
        found: list[int] = np.union1d(near, near[parts > 0] + 1).tolist()
        return found

    def tiles(self, params: SegmentParams) -> int:
        """Returns the number of tiles of all sections."""
        tiles = TileGrid.count(self.scaled, params.tile_overlap, params.augment, params.tile_margin)
        return len(self.used) * tiles

    def grid(self, params: SegmentParams) -> TileGrid:
        """Returns the tiles of one section."""
        return TileGrid.cover(self.scaled, params.tile_overlap, params.augment, params.tile_margin)


def plan_sections(shape: tuple[int, ...], params: SegmentParams, working_diameter: float) -> tuple[Sections, ...]:
    """Returns the sections that the networks run on, in the order in which their maps are added.

    Args:
        shape: (Y, X) of an image, or (Z, Y, X) of a stack.
        params: Resolved, with a diameter; for a stack also a stack mode and an anisotropy. A volume has three views of
            sections (paper, "3D models"), other modes have the planes of the stack only.
        working_diameter: Diameter of objects that the networks work at, pixels.
    """
    assert params.diameter is not None  # resolved or estimated
    scale = working_diameter / params.diameter
    if len(shape) == 2:
        return (_sections(0, 1, 1, (shape[0], shape[1]), (scale, scale), params),)
    assert params.anisotropy is not None  # resolved
    distances = (params.anisotropy, 1.0, 1.0)
    volume, views = params.stack_mode == "volume", []
    for across in range(3 if volume else 1):
        rows, columns = SECTION_AXES[across]
        scales = scale * distances[rows], scale * distances[columns]
        length = count = shape[across]
        if volume and params.resample_stack:
            count, _ = rescaled_shape((length, 1), (scale * distances[across], 1))
        views.append(_sections(across, length, count, (shape[rows], shape[columns]), scales, params))
    return tuple(views)


def _sections(
    across: int,
    length: int,
    count: int,
    shape: tuple[int, int],
    scales: tuple[float, float],
    params: SegmentParams,
) -> Sections:
    scaled = rescaled_shape(shape, scales)
    recovered = max(shape, scaled, key=math.prod) if has_small_objects(params) else shape
    return Sections(across, length, count, shape, scaled, recovered)
