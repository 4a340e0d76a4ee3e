"""The plan of one image: what is decided before any work."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from cellserve_contract.params import SegmentParams
from cellserve_contract.sizes import with_recovery_defaults
from cellserve_preprocess import TILE, Sections, TileGrid, plan_sections

from cellserve_gateway.errors import DeadlineTooNear, ImageTooLarge

from .context import RequestContext
from .families import Families
from .limits import ServiceLimits
from .networks import Backend, Network
from .params import DiameterSource
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
        planned = self.sections(shape, params)
        self.check(planned, self.most_tiles, params, context)
        return self.section(planned[0], params, source)

    def section(self, sections: Sections, params: SegmentParams, source: DiameterSource) -> Plan:
        """Returns the execution plan for one of some sections, without a check of limits; arguments as for `plan`."""
        network, grid = self.network(params), sections.grid(params)
        params = with_recovery_defaults(params, self._working_diameter(params))
        return Plan(params, source, network, sections.shape, sections.scaled, sections.recovered, grid)

    def sections(self, shape: tuple[int, ...], params: SegmentParams) -> tuple[Sections, ...]:
        """Returns the sections of an image or a stack; arguments as for `plan_sections`."""
        return plan_sections(shape, params, self._working_diameter(params))

    def _working_diameter(self, params: SegmentParams) -> float:
        return self._families[params.model].diam_mean

    def check(
        self, planned: Sequence[Sections], most_tiles: int, params: SegmentParams, context: RequestContext
    ) -> None:
        """Refuses an image or a stack for its number of tiles, which may be millions; errors as `plan`."""
        tiles = sum(sections.tiles(params) for sections in planned)
        if tiles > most_tiles:
            raise ImageTooLarge(
                f"scaled to objects of {self._families[params.model].diam_mean:g} px the image takes {tiles:,} tiles; "
                f"the limit is {most_tiles:,}: check the diameter",
                resource="tiles",
                value=tiles,
                limit=most_tiles,
            )
        advice = "check the diameter (a small diameter enlarges the image)"
        network, whole = self.network(params), tiles
        if network.any_size:
            pixels = sum(sections.tiles(params) * math.prod(sections.grid(params).sides) for sections in planned)
            whole = pixels // (TILE * TILE)
        self.check_time(network, tiles, context, advice, whole)

    def network(self, params: SegmentParams) -> Network:
        """Returns the network that parameters name; errors as `plan`."""
        return self._backend.network(self._families[params.model].network(params.ensemble))

    def check_time(
        self, network: Network, tiles: int, context: RequestContext, advice: str, whole: int | None = None
    ) -> None:
        """Refuses tiles that the backend cannot compute before the deadline.

        Args:
            network: The network.
            tiles: Number of tiles.
            context: Has the deadline.
            advice: What the caller can do.
            whole: As many tiles of TILE x TILE pixels as have the pixels of the tiles. None: the tiles are whole.

        Raises:
            DeadlineTooNear: The tiles take too long.
        """
        left = max(0.0, context.deadline - asyncio.get_running_loop().time())
        needed = self._backend.least_seconds(network.name, tiles if whole is None else whole, context.priority)
        if needed is not None and needed > left:
            raise DeadlineTooNear(
                f"the image takes {tiles:,} tiles, which need {needed:.1f} s at least; {left:.1f} s are left: "
                f"give more time, or {advice}",
                reason=context.late_reason,
                stage="plan",
                tiles=tiles,
                estimated_s=round(needed, 2),
                left_s=round(left, 2),
            )
