"""The plan of one image: what is decided before any work."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass

import numpy as np
from cellserve_contract.params import SegmentParams
from cellserve_preprocess import TILE, TileGrid, rescaled_shape

from cellserve_gateway.errors import DeadlineTooNear, ImageTooLarge

from .context import RequestContext
from .families import Families
from .limits import ServiceLimits
from .networks import Backend, Network
from .params import DiameterSource, has_small_objects, with_recovery_defaults
from .results import Wanted


@dataclass(frozen=True, slots=True)
class Plan:
    """The execution plan for one image: resolved parameters, network, scaled size and tiles.

    Attributes:
        shape: (Y, X) of the image.
        scaled: (Y, X) of the image at the networks' scale.
        recovered: (Y, X) of the maps that masks are recovered from. The image's shape (paper); for small objects, that
            of the networks' scale. Results always have the image's shape.
        grid: Tiles of the scaled image.
    """

    params: SegmentParams
    diameter_source: DiameterSource
    network: Network
    shape: tuple[int, int]
    scaled: tuple[int, int]
    recovered: tuple[int, int]
    grid: TileGrid

    @property
    def pixels(self) -> int:
        """Cost of the image: the pixels that the networks run on, or its own pixels if these are more."""
        return max(math.prod(self.shape), len(self.grid) * TILE * TILE)

    def answer_bytes(self, wanted: Wanted) -> int:
        """Returns the bytes of the arrays of an answer: labels as uint16, maps in the type wanted."""
        planes = 2 * ("flows" in wanted.outputs) + ("cell_probability" in wanted.outputs)
        planes += 3 * (wanted.maps_only or "maps" in wanted.outputs)
        labels = 0 if wanted.maps_only or not wanted.labels else 2
        return (labels + np.dtype(wanted.map_type).itemsize * planes) * math.prod(self.shape)


class Planner:
    """Makes plans, and refuses images that exceed a limit or cannot be done in time.

    Args:
        limits: Limit on tiles.
        families: The model families.
        backend: Tells which networks it serves, and how quickly.

    Attributes:
        most_tiles: Most tiles of an image.
    """

    def __init__(self, limits: ServiceLimits, families: Families, backend: Backend) -> None:
        self.most_tiles = limits.max_tiles
        self._families = families
        self._backend = backend

    def plan(
        self, shape: tuple[int, int], params: SegmentParams, source: DiameterSource, context: RequestContext
    ) -> Plan:
        """Returns the execution plan for one image.

        Args:
            shape: (Y, X) of the image.
            params: Resolved, with a diameter.
            source: Where the diameter came from.
            context: Its deadline bounds the tiles.

        Raises:
            ModelUnknown, BackendUnavailable: The model does not exist, or no server has served it yet.
            ImageTooLarge: The image takes too many tiles.
            DeadlineTooNear: The backend cannot compute the tiles before the deadline, even at its best speed.
        """
        tiles = TileGrid.count(self.scaled(shape, params), params.tile_overlap, params.augment)
        self.check(tiles, self.most_tiles, params, context)
        return self.section(shape, params, source)

    def section(
        self,
        shape: tuple[int, int],
        params: SegmentParams,
        source: DiameterSource,
        stretch: tuple[float, float] = (1, 1),
    ) -> Plan:
        """Returns the execution plan for an image, or for one section of a stack, without a check of limits.

        Args:
            shape: Rows and columns.
            params: As for `plan`.
            source: As for `plan`.
            stretch: Distances of rows and of columns, in pixels of the xy planes.
        """
        scaled = self.scaled(shape, params, stretch)
        grid = TileGrid.cover(scaled, params.tile_overlap, params.augment)
        recovered = max(shape, scaled, key=math.prod) if has_small_objects(params) else shape
        return Plan(with_recovery_defaults(params), source, self._network(params), shape, scaled, recovered, grid)

    def scaled(
        self, shape: tuple[int, int], params: SegmentParams, stretch: tuple[float, float] = (1, 1)
    ) -> tuple[int, int]:
        """Returns the shape of an image or section at the networks' scale; arguments as in `section`."""
        assert params.diameter is not None  # resolved or estimated
        scale = self._families[params.model].diam_mean / params.diameter
        return rescaled_shape(shape, (scale * stretch[0], scale * stretch[1]))

    def check(self, tiles: int, most_tiles: int, params: SegmentParams, context: RequestContext) -> None:
        """Refuses an image or a stack for its number of tiles; errors as `plan`."""
        if tiles > most_tiles:
            raise ImageTooLarge(
                f"scaled to objects of {self._families[params.model].diam_mean:g} px the image takes {tiles:,} tiles; "
                f"the limit is {most_tiles:,}: check the diameter",
                resource="tiles",
                value=tiles,
                limit=most_tiles,
            )
        self._check_time(self._network(params), tiles, context)

    def _network(self, params: SegmentParams) -> Network:
        return self._backend.network(self._families[params.model].network(params.ensemble))

    def _check_time(self, network: Network, tiles: int, context: RequestContext) -> None:
        left = max(0.0, context.deadline - asyncio.get_running_loop().time())
        needed = self._backend.least_seconds(network.name, tiles, context.priority)
        if needed is not None and needed > left:
            raise DeadlineTooNear(
                f"the image takes {tiles:,} tiles, which need {needed:.1f} s at least; {left:.1f} s are left: "
                "give more time, or check the diameter (a small diameter enlarges the image)",
                reason=context.late_reason,
                stage="plan",
                tiles=tiles,
                estimated_s=round(needed, 2),
                left_s=round(left, 2),
            )
