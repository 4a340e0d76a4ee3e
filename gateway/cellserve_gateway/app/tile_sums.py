"""The networks alone: the sums of the tiles of planes that the caller has prepared."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from cellserve_contract.model_card import Family
from cellserve_contract.params import SegmentParams
from cellserve_postprocess import MapSums, TileWeights, tile_weights
from cellserve_preprocess import TILE, TileGrid
from numpy.typing import NDArray

from cellserve_gateway.errors import AnswerTooLarge, ImageTooLarge, InvalidImage

from .context import RequestContext
from .decode import Pixels
from .limits import ServiceLimits
from .networks import Network
from .pipeline import Pipeline, PlaneOutputs
from .plan import Planner
from .tasks import run_together

CHANNELS = 2
"""Channels that the networks look at: cytoplasm and nucleus."""

SUM_BYTES = 12
"""Bytes of the three sums of a pixel."""

PIXEL_BYTES = 12 + SUM_BYTES
"""Memory of a pixel at most, beside the message and the answer: one channel unpacked (4 bytes) and filled up to two
(8), and the sums."""

WEIGHT_BYTES = 16 * TILE
"""Memory of the weights of a row or a column of tiles."""

ADVICE = "send a smaller part of the grid, or fewer planes"


@dataclass(frozen=True, slots=True)
class TileSums:
    """The sums of the tiles of planes.

    Attributes:
        sums: int32 [N, 3, y, x]; see `MapSums`.
        network: The network as used.
    """

    sums: NDArray[np.int32]
    family: Family
    network: Network


@dataclass(frozen=True, slots=True)
class SumPlan:
    """The execution plan of planes that are ready for the networks.

    Attributes:
        planes: Number of planes.
        size: (y, x) of each plane.
        grid: Tiles of each plane.
        network: Runs on the tiles.
        ahead: Planes in work at a time: their tiles fill the window of the request.
    """

    planes: int
    size: tuple[int, int]
    grid: TileGrid
    network: Network
    ahead: int

    @property
    def pixels(self) -> int:
        """Cost of one plane; as `Plan.pixels`."""
        return max(math.prod(self.size), len(self.grid) * TILE * TILE)

    @property
    def bytes(self) -> int:
        """Memory of the work, beside the message and the answer."""
        weights = WEIGHT_BYTES * (len(self.grid.rows) + len(self.grid.columns))
        return self.planes * math.prod(self.size) * PIXEL_BYTES + weights

    @property
    def answer_bytes(self) -> int:
        """Bytes of the sums."""
        return self.planes * math.prod(self.size) * SUM_BYTES


class TileSummer:
    """Runs the networks on the tiles of planes, and sums the answers.

    Args:
        planner: Knows the networks, and the time that tiles take.
        pipeline: Runs the networks.
        limits: Limits on tiles.
    """

    def __init__(self, planner: Planner, pipeline: Pipeline, limits: ServiceLimits) -> None:
        self._planner = planner
        self._pipeline = pipeline
        self._limits = limits

    def plan(
        self,
        shape: tuple[int, int, int, int],
        grid: TileGrid,
        params: SegmentParams,
        context: RequestContext,
        most_bytes: int,
    ) -> SumPlan:
        """Returns the execution plan of planes.

        Args:
            shape: (N, C, y, x) of the planes.
            grid: Tiles of each plane.
            params: Name the model.
            context: Its deadline bounds the tiles.
            most_bytes: Most bytes of the sums.

        Raises:
            InvalidImage: The planes do not fit the networks, or the grid.
            AnswerTooLarge, ImageTooLarge: The sums or the tiles exceed a limit.
            BackendUnavailable, DeadlineTooNear: As `Planner.plan`.
        """
        planes, channels, *size = shape
        extent = [along.stop - along.start for along in grid.extent]
        if channels > CHANNELS or size != extent:
            raise InvalidImage(
                f"the planes have {channels:,} channels of {size[0]:,} x {size[1]:,} pixels; expected are 1 or "
                f"{CHANNELS} channels of {extent[0]:,} x {extent[1]:,} pixels, in which the tiles of the part lie",
                reason="IMAGE_SIZE_MISMATCH",
            )
        network = self._planner.network(params)
        ahead = 1 + math.ceil(self._pipeline.window(network).size / len(grid))
        plan = SumPlan(planes, (extent[0], extent[1]), grid, network, min(planes, ahead))
        if plan.answer_bytes > most_bytes:
            raise AnswerTooLarge(
                f"the sums would have {plan.answer_bytes:,} bytes; the limit is {most_bytes:,}: {ADVICE}",
                value=plan.answer_bytes,
                limit=most_bytes,
            )
        self._check_tiles(len(grid), self._limits.max_tiles)
        if planes > 1:
            self._check_tiles(planes * len(grid), self._limits.max_stack_tiles)
        self._planner.check_time(network, planes * len(grid), context, ADVICE)
        return plan

    async def sum(self, planes: Pixels, plan: SumPlan, context: RequestContext) -> NDArray[np.int32]:
        """Returns the sums of the tiles, int32 [N, 3, y, x].

        Args:
            planes: float32 [N, C, y, x], finite.
            plan: The execution plan.
            context: Its timing is filled in.

        Raises:
            ServiceError: See its subclasses.
        """
        pipeline, run, grid = self._pipeline, self._pipeline.workers.run, plan.grid
        sums = np.zeros((plan.planes, 3, *plan.size), np.int32)
        window, todo = pipeline.window(plan.network), iter(range(plan.planes))

        async def work(weights: TileWeights) -> None:
            for index in todo:
                plane = await run(context, _filled_up, planes[index])
                collected = PlaneOutputs(MapSums(grid, sums[index], weights), None)
                await pipeline.infer(plane, grid, plan.network, ("maps",), context, window, collected)

        with pipeline.stage(context, "inference"):
            weights = await run(context, tile_weights, grid)
            await run_together(work(weights) for _ in range(plan.ahead))
        metrics, pixels = pipeline.instruments.metrics, plan.planes * math.prod(plan.size)
        metrics.pixels.inc(pixels)
        metrics.image_pixels.observe(pixels)
        return sums

    def _check_tiles(self, tiles: int, most: int) -> None:
        if tiles > most:
            raise ImageTooLarge(
                f"the part takes {tiles:,} tiles; the limit is {most:,}: {ADVICE}",
                resource="tiles",
                value=tiles,
                limit=most,
            )


def _filled_up(plane: Pixels) -> NDArray[np.float32]:
    """Returns a plane [C, y, x] with both channels that the networks look at; one that is missing is zero."""
    channels = np.asarray(plane, np.float32)
    return channels if len(channels) == CHANNELS else np.concatenate((channels, np.zeros_like(channels)))
