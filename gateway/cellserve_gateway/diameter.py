"""The diameter of the objects of an image, estimated in two steps (paper, "Test time resizing").

First the size model predicts it from the style of the image in its own size. Then network 0 segments the image at that
scale, and the median diameter of what it finds is the estimate; if it finds nothing, the prediction is.

A caller who leaves the diameter open cannot be blamed for it: an estimate that would enlarge the image beyond the
gateway's limits is raised until the image fits.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from cellserve_postprocess import (
    LARGEST_DIAMETER,
    RecoveryParams,
    bounded_diameter,
    median_diameter,
    recover_masks,
    style_grid,
)
from cellserve_preprocess import TILE, Crew, TileGrid, resize
from numpy.typing import NDArray

from .admission import Share
from .decode import Pixels
from .families import Family
from .job import Job
from .params import DiameterSource, SegmentParams
from .pipeline import Pipeline, Plan, assemble, planes_of, style_of
from .settings import Settings

RAISE = 1.02  # factor by which an estimate that does not fit is raised, until it fits


class Diameters:
    """Finds the diameter where the caller left it open."""

    def __init__(self, settings: Settings, pipeline: Pipeline) -> None:
        self._most_tiles = min(settings.max_tiles, settings.max_pixels_in_flight // (TILE * TILE))
        self._pipeline = pipeline

    async def resolve(
        self, image: Pixels, params: SegmentParams, job: Job, share: Share
    ) -> tuple[SegmentParams, DiameterSource]:
        """Fills in what the caller left open, the diameter included.

        Args:
            image: [C, Y, X], finite.
            params: As the caller sent them.
            job: Lane and deadline; the time and the tiles an estimate takes are added to its timing.
            share: Changed to the pixels that each step of an estimate costs.

        Returns:
            Parameters with nothing left open, and where the diameter came from.

        Raises:
            ServiceError: The model is unknown or not there, the gateway is full, or as `Pipeline.segment`.
            ParameterError: A channel does not exist, or must be named.
        """
        family = self._pipeline.family(params.model)
        params, source = params.resolved(len(image), family)
        if source is DiameterSource.SIZE_MODEL:
            with self._pipeline.watched("estimate"):
                params = replace(params, diameter=await self._estimate(image, params, family, job, share))
        return params, source

    async def _estimate(self, image: Pixels, params: SegmentParams, family: Family, job: Job, share: Share) -> float:
        shape = image.shape[1:]
        with job.stage("preprocess"):
            planes = await self._pipeline.run(job, planes_of, image, params, self._pipeline.crew(job))
        predicted = await self._predict(planes, family, job, share)
        # As the caller wants the image seen, but by one network, and masks as the defaults make them.
        quick = replace(params, ensemble=False, augment=False, recovery=RecoveryParams())
        quick = self._with_diameter(quick, predicted, shape)
        plan = self._pipeline.plan(shape, quick, DiameterSource.SIZE_MODEL)
        share.change(pixels=plan.pixels)
        found = await self._measure(planes, plan, job)
        estimated = self._with_diameter(params, found or predicted, shape)
        assert estimated.diameter is not None
        return estimated.diameter

    async def _predict(self, planes: NDArray[np.float32], family: Family, job: Job, share: Share) -> float:
        """Returns the size model's prediction from the style of an image [2, Y, X]."""
        assert family.size_model is not None
        shape: tuple[int, int] = planes.shape[1:]
        grid = style_grid(shape)
        share.change(pixels=max(math.prod(shape), len(grid) * TILE * TILE))
        network = self._pipeline.triton.network(family.style_network)
        with job.stage("inference"):
            tiles = await self._pipeline.infer(planes, grid, network, ("style",), job)
        return family.size_model.diameter(style_of(tiles))

    async def _measure(self, planes: NDArray[np.float32], plan: Plan, job: Job) -> float:
        """Returns the median diameter of the objects that a segmentation finds, 0 where it finds none."""
        pipeline = self._pipeline
        with job.stage("preprocess"):
            scaled = await pipeline.run(job, resize, planes, plan.scaled, pipeline.crew(job))
        with job.stage("inference"):
            tiles = await pipeline.infer(scaled, plan.grid, plan.network, ("flows",), job)
        del scaled
        # Masks are recovered at the smaller of the two scales: the median is as good, and pixels of large objects
        # have a shorter way.
        shape = min(plan.shape, plan.scaled, key=math.prod)
        with job.stage("reassemble"):
            maps = await pipeline.run(job, assemble, tiles, plan.grid, shape, pipeline.crew(job))
        del tiles
        with job.stage("postprocess"):
            diameter = await pipeline.run(job, _median_diameter, maps, plan.params.recovery, pipeline.crew(job))
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


def _median_diameter(maps: NDArray[np.float32], recovery: RecoveryParams, crew: Crew) -> float:
    return median_diameter(recover_masks(maps, recovery, crew).labels)
