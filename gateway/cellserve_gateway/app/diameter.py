"""The diameter of the objects of an image, estimated in two steps (paper, "Test time resizing").

First the size model predicts it from the style of the image in its own size. Then network 0 segments the image at that
scale, and the median diameter of what it finds is the estimate; if it finds nothing, the prediction is.

A caller who leaves the diameter open cannot be blamed for it: an estimate that would enlarge the image beyond the
gateway's limits is raised until the image fits.
"""

from __future__ import annotations

import math
from dataclasses import asdict, replace

import numpy as np
from cellserve_contract.model_card import Family
from cellserve_contract.params import SegmentParams
from cellserve_contract.warnings import Warnings
from cellserve_parallel import ThreadGroup
from cellserve_postprocess import (
    LARGEST_DIAMETER,
    RecoveryParams,
    SizeModel,
    bounded_diameter,
    median_diameter,
    recover_masks,
    style_grid,
)
from cellserve_preprocess import TILE, TileGrid, resize
from numpy.typing import NDArray

from cellserve_gateway.settings import Settings

from .admission import Reservation
from .context import RequestContext
from .params import DiameterSource
from .pipeline import Pipeline, Plan, assemble, most_tiles, style_of

RAISE = 1.02
"""Factor by which an estimate that does not fit the limits is raised, until the image fits."""


class DiameterEstimator:
    """Estimates the diameter of the objects if the caller did not state one."""

    def __init__(self, settings: Settings, pipeline: Pipeline) -> None:
        self._most_tiles = most_tiles(settings)
        self._pipeline = pipeline

    async def estimate(
        self,
        planes: NDArray[np.float32],
        params: SegmentParams,
        context: RequestContext,
        reservation: Reservation,
    ) -> tuple[float, Warnings]:
        """Estimates the diameter of the objects in an image.

        Args:
            planes: [2, Y, X], normalised.
            params: Resolved, but for the diameter.
            context: Its timing includes the estimate.
            reservation: Resized to the pixels that each step of the estimate costs.

        Returns:
            Pixels, and what to know about the estimate.

        Raises:
            ServiceError: The gateway is full, or as `Pipeline.maps`.
        """
        with self._pipeline.instruments.stage("estimate"):
            return await self._estimate(planes, params, context, reservation), ()

    async def _estimate(
        self, planes: NDArray[np.float32], params: SegmentParams, context: RequestContext, reservation: Reservation
    ) -> float:
        shape: tuple[int, int] = planes.shape[1:]
        predicted = await self._predict(planes, self._pipeline.families[params.model], context, reservation)
        # Channels and normalisation as the caller wants them; one network, and masks by the defaults.
        quick = replace(params, ensemble=False, augment=False, **asdict(RecoveryParams()))
        quick = self._with_diameter(quick, predicted, shape)
        plan = self._pipeline.plan(shape, quick, DiameterSource.SIZE_MODEL, context)
        reservation.resize(pixels=plan.pixels)
        measured = await self._measure(planes, plan, context)
        estimated = self._with_diameter(params, measured or predicted, shape)
        assert estimated.diameter is not None
        return estimated.diameter

    async def _predict(
        self, planes: NDArray[np.float32], family: Family, context: RequestContext, reservation: Reservation
    ) -> float:
        """Returns the size model's prediction from the style of an image [2, Y, X]."""
        assert family.size_model is not None
        shape: tuple[int, int] = planes.shape[1:]
        grid = style_grid(shape)
        reservation.resize(pixels=max(math.prod(shape), len(grid) * TILE * TILE))
        network = self._pipeline.backend.network(family.style_network)
        with context.stage("inference"):
            tiles = await self._pipeline.infer(planes, grid, network, ("style",), context)
        return SizeModel.of(family.size_model).diameter(style_of(tiles))

    async def _measure(self, planes: NDArray[np.float32], plan: Plan, context: RequestContext) -> float:
        """Returns the median diameter of the objects that a segmentation finds; 0 if it finds none."""
        pipeline = self._pipeline
        run, group = pipeline.workers.run, pipeline.workers.group(context)
        with context.stage("preprocess"):
            scaled = await run(context, resize, planes, plan.scaled, group)
        with context.stage("inference"):
            tiles = await pipeline.infer(scaled, plan.grid, plan.network, ("maps",), context)
        del scaled
        # Masks are recovered at the smaller of the two scales: the median is as good, and pixels of large objects
        # have a shorter way.
        shape = min(plan.shape, plan.scaled, key=math.prod)
        with context.stage("reassemble"):
            maps = await run(context, assemble, tiles, plan.grid, shape, group)
        del tiles
        with context.stage("postprocess"):
            diameter = await run(context, _median_diameter, maps, plan.params, group)
        return diameter * math.sqrt(math.prod(plan.shape) / math.prod(shape))

    def _with_diameter(self, params: SegmentParams, diameter: float, shape: tuple[int, int]) -> SegmentParams:
        """Returns parameters with an estimated diameter, raised as far as the limits on tiles and pixels ask for."""
        params = replace(params, diameter=bounded_diameter(diameter))
        while self._tiles(params, shape) > self._most_tiles and diameter < LARGEST_DIAMETER:
            diameter = bounded_diameter(diameter * RAISE)
            params = replace(params, diameter=diameter)
        return params

    def _tiles(self, params: SegmentParams, shape: tuple[int, int]) -> int:
        return TileGrid.count(self._pipeline.scaled(shape, params), params.tile_overlap, params.augment)


def _median_diameter(maps: NDArray[np.float32], recovery: RecoveryParams, threads: ThreadGroup) -> float:
    return median_diameter(recover_masks(maps, recovery, threads).labels)
